package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/client"
	"triage/internal/model"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// routes are the answers of the fake server: the file in testdata/api by method and path.
var routes = map[string]string{
	"GET /api/v1/incidents":                               "incidents.json",
	"GET /api/v1/incidents/INC-2":                         "incident.json",
	"GET /api/v1/incidents/INC-2/verdict":                 "verdict.json",
	"GET /api/v1/incidents/INC-2/verdicts":                "verdicts.json",
	"POST /api/v1/diagnose":                               "verdict.json",
	"GET /api/v1/incidents/INC-2/timeline":                "timeline.json",
	"GET /api/v1/incidents/INC-2/postmortem":              "verdict.json",
	"POST /api/v1/incidents/INC-2/ack":                    "incident.json",
	"POST /api/v1/incidents/INC-2/assign":                 "incident.json",
	"POST /api/v1/incidents/INC-2/notes":                  "incident.json",
	"POST /api/v1/incidents/INC-2/merge":                  "incident.json",
	"POST /api/v1/incidents/INC-2/split":                  "incident.json",
	"POST /api/v1/incidents/INC-2/silence":                "incident-silences.json",
	"GET /api/v1/journal":                                 "journal.json",
	"GET /api/v1/slos":                                    "slos.json",
	"GET /api/v1/dashboards":                              "dashboards.json",
	"POST /api/v1/dashboards":                             "dashboard.json",
	"POST /api/v1/dashboards/import":                      "dashboard-imported.json",
	"GET /api/v1/dashboards/shop":                         "dashboard.json",
	"GET /api/v1/dashboards/shop/versions":                "dashboard-versions.json",
	"DELETE /api/v1/dashboards/shop":                      "",
	"GET /api/v1/schema/dashboard":                        "revisions.json",
	"GET /api/v1/runbooks":                                "runbooks.json",
	"GET /api/v1/runs":                                    "runs.json",
	"POST /api/v1/runs/r1/approve":                        "run.json",
	"POST /api/v1/apply":                                  "apply.json",
	"GET /api/v1/export":                                  "revisions.json",
	"GET /api/v1/revisions":                               "revisions.json",
	"GET /api/v1/slos/checkout":                           "slo.json",
	"POST /api/v1/slos":                                   "rule.json",
	"DELETE /api/v1/slos/checkout":                        "",
	"GET /api/v1/alarms":                                  "alarms.json",
	"POST /api/v1/alarms":                                 "rule.json",
	"DELETE /api/v1/alarms/slow cart":                     "",
	"GET /api/v1/alarms/history":                          "history.json",
	"POST /api/v1/alarms/backtest":                        "backtest.json",
	"GET /api/v1/receivers":                               "receivers.json",
	"POST /api/v1/receivers/ops/test":                     "receiver-test.json",
	"GET /api/v1/notifications":                           "notifications.json",
	"GET /api/v1/silences":                                "silences.json",
	"POST /api/v1/silences":                               "silence.json",
	"DELETE /api/v1/silences/s1":                          "",
	"GET /api/v1/changes":                                 "changes.json",
	"POST /api/v1/changes":                                "change.json",
	"GET /api/v1/services":                                "services.json",
	"GET /api/v1/status":                                  "status.json",
	"GET /api/v1/traces/0af7651916cd43dd8448eb211c80319c": "trace.json",
	"GET /api/v1/logs":                                    "logs.json",
	"GET /api/v1/logs/tail":                               "tail.json",
	"GET /api/v1/errors":                                  "errors.json",
	"GET /api/v1/errors/77fd20939cddeac3":                 "error.json",
	"GET /api/v1/spans":                                   "spans.json",
	"POST /api/v1/sql":                                    "sql.json",
	"POST /prometheus/api/v1/query":                       "vector.json",
	"POST /prometheus/api/v1/query_range":                 "matrix.json",
}

// fake answers from routes and writes down what it was asked.
type fake struct {
	asked strings.Builder
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(&f.asked, "> %s %s %s\n", r.Method, r.URL.RequestURI(), body)
	file, ok := routes[r.Method+" "+r.URL.Path]
	switch {
	case !ok:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"title":"Not Found","status":404,"detail":"there is no such thing"}`)
	case file == "":
		w.WriteHeader(http.StatusNoContent)
	case strings.Contains(string(body), "wrong.yml"):
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"title":"Bad Request","status":400,"detail":"2 problems","errors":[{"location":"wrong.yml:3","message":"Alarm a: spec.expr: is missing"},{"message":"far too long"}]}`)
	case file == "rule.json":
		w.WriteHeader(http.StatusCreated)
		w.Write(body)
	case strings.HasPrefix(r.Header.Get("Accept"), "text/markdown"):
		io.WriteString(w, "# Verdict\n\nin Markdown\n")
	case file == "tail.json":
		for _, s := range []string{"first", "second"} {
			fmt.Fprintf(w, `{"time":"2026-03-01T12:00:00Z","severity":17,"level":"error","service":"cart","body":%q,"attributes":{},"resource":{}}`+"\n", s)
		}
	default:
		b, err := os.ReadFile(filepath.Join("testdata", "api", file))
		if err != nil {
			panic(err)
		}
		w.Write(b)
	}
}

// runCommand runs a command line and gives everything that came of it.
func runCommand(t *testing.T, server, line string, stdin string) string {
	var out, errs bytes.Buffer
	root := newRoot("1.2.3", &options{now: func() time.Time { return noon }})
	root.SetArgs(append([]string{"--server", server}, split(line)...))
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(stdin))
	err := root.ExecuteContext(t.Context())
	text := out.String() + errs.String()
	if err != nil {
		text += "triage: " + err.Error() + "\n"
	}
	return fmt.Sprintf("%s[%d]\n", text, ExitCode(err))
}

// split cuts a command line at spaces outside of single quotes.
func split(line string) (args []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	return args
}

func TestGolden(t *testing.T) {
	t.Setenv("COLUMNS", "110")
	t.Setenv("TRIAGE_SERVER", "")
	t.Setenv("NO_COLOR", "")
	for name, lines := range map[string][]string{
		"help":      {"", "--help", "help exit-codes", "load", "load spans --help"},
		"diagnose":  {"diagnose --service cart --from 2026-03-01T11:45:00Z", "diagnose --incident INC-2 --lang ko", "diagnose --from -15m --markdown"},
		"incidents": {"incidents list", "incidents --status open --limit 3 --check", "incidents list --json", "incidents show INC-2", "incidents show INC-2 --lang ko"},
		"verdict": {"incidents verdict INC-2", "incidents verdict INC-2 --revision 1 --json", "incidents verdict INC-2 --markdown --lang ko",
			"incidents verdict INC-2 --all"},
		"acts": {"incident ack INC-2 --by ann --note 'on it'", "incident ack INC-2 --by ann --undo --json", "incident assign INC-2 bob --by ann", "incident assign INC-2 --by ann",
			"incident note INC-2 --by ann the disk 'is full'", "incident merge INC-2 INC-3 --by ann", "incident split INC-2 automatic-duration --by ann",
			"incident split INC-2 none --by ann", "incident silence INC-2 --by ann", "incident silence INC-2 --for 2h --by ann --note known", "incident silence INC-2 automatic-duration --for 2h --by ann",
			"incident timeline INC-2", "incident timeline INC-2 --json", "incident postmortem INC-2 --lang ko", "incident merge INC-2", "incident ack INC-9 --by ann",
			"journal --from -1h --incident INC-2", "journal --json"},
		"apply": {"apply -f testdata/slo.yml --by ann --note 'begin again' --prune", "apply -f testdata/slo.yml --dry-run --by ann", "apply -f - --by ann --json", "apply -f testdata/nothing.yml",
			"apply", "apply -f testdata/api/empty --by ann", "diff -f testdata/slo.yml", "diff -f testdata/wrong.yml", "diff -f testdata/none.yml", "export --kind Alarm", "revisions", "revisions --json"},
		"runbooks": {"runbooks", "runbooks runs --incident INC-2 --limit 5", "runbooks --json", "runbooks list", "runbooks list --json", "runbooks show r2", "runbooks show r9", "runbooks approve r1 --by ann", "runbooks undo r9 --by ann", "runbooks refuse"},
		"slo":      {"slo", "slo list --check", "slo --json", "slo show checkout", "slo show none", "slo put -f testdata/slo.yml", "slo put -f -", "slo put", "slo delete checkout"},
		"dashboards": {"dashboards", "dashboards --json", "dashboards show shop --version 2", "dashboards show none", "dashboards put -f - --by ann --note 'more room'", "dashboards put",
			"dashboards import testdata/api/dashboard.json --name shop", "dashboards import - --save --by ann", "dashboards import testdata/none.json", "dashboards import - --json",
			"dashboards versions shop", "dashboards restore shop --version 1 --by ann", "dashboards restore shop", "dashboards delete shop", "dashboards delete none", "dashboards schema"},
		"alarms": {"alarms list", "alarms list --state ALARM --check", "alarms rules", "alarms history a1 --from -1h", "alarms put -f testdata/rules.yml",
			"alarms put -f -", "alarms delete 'slow cart'", "alarms backtest testdata/rules.yml --from -1h --per-week 1",
			"alarms backtest testdata/rules.yml --json"},
		"notify": {"notify", "notify list --incident INC-2 --json", "notify receivers", "notify test ops", "notify test nobody", "silences",
			"silences add 'service=\"cart\"' --for 2h --comment moving --by ann", "silences add a=b", "silences end s1"},
		"changes": {"changes list --from -1h", "changes record --service cart --version 2 --at -11m --attr a=b", "changes record --kind flag"},
		"metrics": {"query metrics up", "query metrics up --json --at 2026-03-01T12:00:00Z", "query metrics --from -1h --to now 'rate(x[1m])'"},
		"search":  {"query logs --from 1772362800 --limit 5 service:cart level:error", "query traces 'duration:>2s'", "query traces --json duration:>2s"},
		"sql":     {"query sql 'SELECT 1'", "query sql 'SELECT 1' --json"},
		"trace":   {"trace 0af7651916cd43dd8448eb211c80319c", "trace 0af7651916cd43dd8448eb211c80319c --logs"},
		"tail":    {"logs tail level:error", "logs tail --json"},
		"errors": {"errors", "errors list --service cart --since -6h --text 'time out' --version 2 --limit 5", "errors --json", "errors show 77fd20939cddeac3", "errors show 77fd20939cddeac3 --from -1h --json",
			"errors show 0", "errors --since -1h --from -2h"},
		"services": {"services", "services --edges --from -5m", "status"},
		"mistakes": {"incidents shwo", "diagnose --incident INC-2 --service cart", "alarms put", "incidents verdict INC-2 --all --markdown", "query metrics x --at now --from now", "incidents show", "incidents show INC-9", "query logs 'a OR'", "query logs '시간: 초과'", "diagnose --from yesterday",
			"diagnose --lang fr", "query metrics x --to now", "query metrics x --from now --to -1h", "incidents list --status closed", "alarms put -f testdata/none.yml",
			"changes record", "load spans --to 192.0.2.1:4317", "load spans --rate -1", "nonsense", "version --json=maybe"},
		"completion": {"__complete incidents show ''", "__complete diagnose --service ''", "__complete alarms delete ''", "__complete incidents show INC-2 ''",
			"__complete errors show ''", "__complete errors --service ''", "__complete dashboards show ''"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			srv := httptest.NewServer(f)
			defer srv.Close()
			var got strings.Builder
			for _, line := range lines {
				f.asked.Reset()
				out := runCommand(t, srv.URL, line, `{"name":"from stdin"}`)
				got.WriteString(strings.TrimRight("$ triage "+line, " ") + "\n" + f.asked.String() + out + "\n")
			}
			golden(t, name+".txt", strings.ReplaceAll(got.String(), srv.URL, "http://triage.test"))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", name, diff)
	}
}

func TestUnreachable(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	got := runCommand(t, srv.URL, "incidents list", "")
	want := "triage: no triage at " + srv.URL + `: start one with "triage serve", or name it with --server (connection refused)` + "\n[3]\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if got := runCommand(t, "http://a b", "incidents list", ""); !strings.Contains(got, "is no URL") || !strings.HasSuffix(got, "[2]\n") {
		t.Errorf("a bad URL: %s", got)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		stop()
		<-r.Context().Done()
	}))
	defer srv.Close()
	root := newRoot("1.2.3", &options{})
	root.SetArgs([]string{"--server", srv.URL, "logs", "tail"})
	if err := root.ExecuteContext(ctx); err != nil {
		t.Errorf("a tail that was interrupted ends with %v", err)
	}
}

func TestColour(t *testing.T) {
	e := &env{colour: true}
	if got := e.paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("painted %q", got)
	}
	var out bytes.Buffer
	e.out = &out
	tab := e.newTable("A", ">B")
	tab.add(cell{"가나", red}, "1")
	tab.add("x", 22)
	if err := tab.print(""); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[2mA\x1b[0m      \x1b[2mB\x1b[0m\n\x1b[31m가나\x1b[0m   1\nx     22\n"
	if out.String() != want {
		t.Errorf("table\n%q\nwant\n%q", out.String(), want)
	}
}

func TestMoment(t *testing.T) {
	for s, want := range map[string]time.Time{
		"now": noon, "-15m": noon.Add(-15 * time.Minute), "now-1h30m": noon.Add(-90 * time.Minute), "-1d": noon.AddDate(0, 0, -1),
		"2026-03-01T21:00:00+09:00": noon, "1772366400": noon, "2026-03-01": noon.Add(-12 * time.Hour),
	} {
		if got, ok := parseMoment(s, noon); !ok || !got.Equal(want) {
			t.Errorf("%s is %v, %v; want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "15m ago", "-15", "-1kB", "now+x", "now15m", "tomorrow", "-"} {
		if got, ok := parseMoment(s, noon); ok {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func TestWriting(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{lasting(0), "0 s"}, {lasting(512), "512 ns"}, {lasting(1500), "1.5 µs"}, {lasting(12_345_678), "12.3 ms"},
		{lasting(2500 * time.Millisecond), "2.5 s"}, {lasting(59 * time.Minute), "59m0s"},
		{digits(0), "0"}, {digits(1234.5), "1234"}, {digits(0.0123456), "0.0123"}, {digits(1.5e-9), "1.5e-09"}, {digits(99.96), "100"},
		{count(1234567), "1,234,567"}, {count(-999), "-999"}, {count(-1000), "-1,000"},
		{quantity(0.05, "ratio"), "5%"}, {quantity(0.25, "s"), "250 ms"}, {quantity(3, "1/s"), "3/s"}, {quantity(3, "By"), "3 By"},
		{sparkline([]float64{0, 1, 2}), "▁▅█"}, {sparkline([]float64{3, 3}), "▁▁"}, {sparkline(nil), ""},
		{cut("한국어 이름", 7), "한국어…"}, {cut("short", 7), "short"},
		{clean("a\x1b[31m\n\u202eb"), `a\x1b[31m\n\u202eb`}, {pad("가", 4), "가  "},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// TestColourOnlyAdds holds that a terminal with colours is shown the same text as one without.
func TestColourOnlyAdds(t *testing.T) {
	b, err := os.ReadFile("testdata/api/trace.json")
	if err != nil {
		t.Fatal(err)
	}
	var tr client.Trace
	if err := json.Unmarshal(b, &tr); err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{30, 60, 110, 200} {
		var plainText, coloured bytes.Buffer
		for _, e := range []*env{{out: &plainText, width: width}, {out: &coloured, width: width, colour: true}} {
			if err := e.waterfall(tr, true); err != nil {
				t.Fatal(err)
			}
		}
		stripped := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured.String(), "")
		if diff := cmp.Diff(plainText.String(), stripped); diff != "" || stripped == coloured.String() {
			t.Errorf("width %d (-plain +coloured without its colours):\n%s", width, diff)
		}
		for line := range strings.Lines(plainText.String()) {
			if strings.Contains(line, "  █") && columns(strings.TrimSpace(line)) > width {
				t.Errorf("width %d: a span takes %d columns: %s", width, columns(line), line)
			}
		}
	}
}

// TestTreeOfBrokenTraces draws spans that are their own or each other's parents, or that came twice.
func TestTreeOfBrokenTraces(t *testing.T) {
	span := func(id, parent uint64) client.Span {
		return client.Span{SpanID: model.SpanIDFrom(id), ParentID: model.SpanIDFrom(parent), Name: "x", Resource: &model.Resource{Service: "cart"}}
	}
	tr := client.Trace{Spans: []client.Span{span(1, 1), span(2, 3), span(3, 2), span(4, 9), span(4, 9)}}
	for i := range uint64(40) { // deeper than the tree indents
		tr.Spans = append(tr.Spans, span(100+i, 99+i))
	}
	lines := tree(tr)
	if len(lines) != len(tr.Spans) {
		t.Errorf("%d lines of %d spans", len(lines), len(tr.Spans))
	}
	var out bytes.Buffer
	if err := (&env{out: &out, width: 80}).waterfall(tr, true); err != nil {
		t.Fatal(err)
	}
}

func TestProgressIsShownAndTakenAway(t *testing.T) {
	var screen bytes.Buffer
	e := &env{screen: &screen}
	var q client.SearchQuery
	done := e.showProgress(&q, "spans")
	q.Progress(1_200_000, 20_000_000)
	done()
	if got, want := screen.String(), "\r\x1b[Ksearched 1,200,000 of 20,000,000 spans (6 %)\r\x1b[K"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	q = client.SearchQuery{}
	if (&env{}).showProgress(&q, "spans")(); q.Progress != nil {
		t.Error("progress is asked for where there is no terminal")
	}
}

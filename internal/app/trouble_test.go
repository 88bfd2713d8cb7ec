package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/spf13/pflag"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/runbook"
)

// server is a real one, asked as its users ask it.
type server struct {
	t    *testing.T
	api  string
	dir  string
	stop func()
}

func serve(t *testing.T, change func(*Config)) *server {
	t.Helper()
	config := Default()
	config.Data = t.TempDir()
	config.Listen.HTTP, config.Listen.OTLPHTTP, config.Listen.OTLPGRPC = "127.0.0.1:0", off, off
	config.HostMetrics.Enabled = false
	change(&config)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan map[string]net.Addr, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Config: config, Version: "test", Logger: testLogger(t), Listening: func(a map[string]net.Addr) { ready <- a }})
	}()
	s := &server{t: t, dir: config.Data}
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		done <- nil // it may be stopped twice
	}
	select {
	case addrs := <-ready:
		s.api = "http://" + addrs["http"].String()
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// ask gives the status and the body of an answer, with the token.
func (s *server) ask(method, path, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.api+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(s.dir, tokenFile))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (s *server) read(path string, v any) {
	s.t.Helper()
	status, body := s.ask("GET", path, "")
	if err := json.Unmarshal([]byte(body), v); status != http.StatusOK || err != nil {
		s.t.Fatalf("GET %s: %d %s, %v", path, status, body, err)
	}
}

// until asks until it is so.
func (s *server) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(50 * time.Millisecond) { // the server has its own clock
		if time.Now().After(deadline) {
			s.t.Fatalf("it never came to be that %s", what)
		}
	}
}

func (s *server) states() map[string]alarm.RuleStatus {
	s.t.Helper()
	var got struct {
		Rules []alarm.RuleStatus `json:"rules"`
	}
	s.read("/api/v1/alarms", &got)
	out := map[string]alarm.RuleStatus{}
	for _, r := range got.Rules {
		out[r.Name] = r
	}
	return out
}

// write sends samples as Prometheus does.
func (s *server) write(series []prompb.TimeSeries) {
	s.t.Helper()
	b, err := (&prompb.WriteRequest{Timeseries: series}).Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.Post(s.api+"/prometheus/api/v1/write", "application/x-protobuf", bytes.NewReader(snappy.Encode(nil, b)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode/100 != 2 {
		s.t.Fatalf("remote write: %s %s", res.Status, text)
	}
}

func sampleOf(value float64, pairs ...string) prompb.TimeSeries {
	ts := prompb.TimeSeries{Samples: []prompb.Sample{{Value: value, Timestamp: time.Now().UnixMilli()}}}
	for i := 0; i < len(pairs); i += 2 {
		ts.Labels = append(ts.Labels, prompb.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return ts
}

func ruleOf(name, expr string) alarm.Rule {
	return alarm.Rule{Name: name, Expr: expr, Compare: &alarm.Compare{Op: alarm.Above, Threshold: 0.5}, Period: alarm.Duration(time.Second)}
}

// ofValues is how many periods were judged at once.
var ofValues = regexp.MustCompile(`of \d+ values`)

// Rules that cannot work are refused where that can be known, else they say why, and all others go on.
func TestBadRulesOnARealServer(t *testing.T) {
	s := serve(t, func(c *Config) {
		c.Alarms.Rules = []alarm.Rule{
			ruleOf("good", `vector(1)`), ruleOf("never", `nothing_at_all`), ruleOf("divides", `a_total / on () b_total`), ruleOf("wide", `{__name__=~"wide_.*"}`),
		}
	})
	s.write([]prompb.TimeSeries{sampleOf(3, "__name__", "a_total"), sampleOf(0, "__name__", "b_total")})
	// More than may be selected, of two metrics, because one may not have so many.
	for _, name := range []string{"wide_a", "wide_b"} {
		for i := range 6 {
			var batch []prompb.TimeSeries
			for j := range 10_000 {
				batch = append(batch, sampleOf(1, "__name__", name, "i", fmt.Sprint(i*10_000+j)))
			}
			s.write(batch)
		}
	}
	want := map[string]string{
		"good": "OK ", "never": "PARTIAL_DATA nothing matches: it has had no datapoint yet",
		"divides": "PARTIAL_DATA none of N values is a number, as when it is divided by zero",
		"wide":    "EVALUATION_ERROR expr: it selects more than 100000 series",
	}
	// What a rule selects is counted now and then; saving it anew counts at once.
	for name, c := range map[string]struct{ expr, want string }{
		"a million": {`{__name__=~"wide_.*"}`, "it selects more than 100000 series"}, "zero": {`up / 0`, "1:6: it divides by zero"},
		"none": {`up{job="a",job="b"}`, "it never matches: job cannot have both values"}, "no PromQL": {`sum(`, "parse error"},
	} {
		b, err := json.Marshal(ruleOf(name, c.expr))
		if err != nil {
			t.Fatal(err)
		}
		if status, body := s.ask("POST", "/api/v1/alarms", string(b)); status != http.StatusBadRequest || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want 400 with %s", name, status, body, c.want)
		}
	}
	states := map[string]string{}
	s.until("each rule says how it fares", func() bool {
		ok := true
		for name, r := range s.states() {
			states[name] = string(r.EvaluationState) + " " + ofValues.ReplaceAllString(r.EvaluationReason, "of N values")
			if w, ours := want[name]; ours && name != "wide" && states[name] != w {
				ok = false
			}
		}
		return ok
	})
	var got struct {
		Alarms []model.Alarm `json:"alarms"`
	}
	s.until("the good rule goes off", func() bool {
		s.read("/api/v1/alarms", &got)
		for _, a := range got.Alarms {
			if a.Rule == "good" && a.State == model.StateAlarm {
				return true
			}
		}
		return false
	})

	// A rule of before that selects too much by now is not evaluated after a restart.
	s.stop()
	again := serve(t, func(c *Config) {
		c.Data = s.dir
		c.Alarms.Rules = []alarm.Rule{ruleOf("good", `vector(1)`), ruleOf("wide", `{__name__=~"wide_.*"}`)}
	})
	again.until("the wide rule is in error, and the good one is not", func() bool {
		now := again.states()
		return string(now["wide"].EvaluationState)+" "+now["wide"].EvaluationReason == want["wide"] && now["good"].EvaluationState == alarm.EvaluationOK
	})
}

// A receiver that nobody knows is refused, wherever it is named.
func TestUnknownReceiversOnARealServer(t *testing.T) {
	s := serve(t, func(*Config) {})
	routes := func(receiver string) string {
		b, err := json.Marshal(map[string]any{"files": []map[string]string{{"name": "routes.yml", "text": `apiVersion: triage/v1
kind: Routes
metadata: {name: default}
spec:
  route: {receiver: ` + receiver + `}
  receivers: [{name: ops, webhook_configs: [{url: "http://127.0.0.1:1/"}]}]
`}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if status, body := s.ask("POST", "/api/v1/apply", routes("nobody")); status != http.StatusBadRequest && status != http.StatusUnprocessableEntity || !strings.Contains(body, `undefined receiver \"nobody\" used in route`) {
		t.Errorf("applied routes to nobody: %d %s", status, body)
	}
	if status, body := s.ask("POST", "/api/v1/apply", routes("ops")); status != http.StatusOK {
		t.Errorf("applied routes to ops: %d %s", status, body)
	}
	if status, body := s.ask("POST", "/api/v1/receivers/nobody/test", ""); status != http.StatusNotFound {
		t.Errorf("tested nobody: %d %s", status, body)
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(flags)
	file := filepath.Join(t.TempDir(), "triage.yml")
	err := os.WriteFile(file, []byte("notify: {alertmanager: {route: {receiver: nobody}, receivers: [{name: ops}]}}\n"), 0o644)
	if err := errors.Join(err, flags.Set("config", file)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(flags, func(string) (string, bool) { return "", false }); err == nil || !strings.Contains(err.Error(), `notify.alertmanager: undefined receiver "nobody" used in route`) {
		t.Errorf("a configuration with routes to nobody: %v", err)
	}
}

// A runbook that hangs is stopped and one that fails is shown, in the incident that they were for, and neither is repeated.
func TestBadRunbooksOnARealServer(t *testing.T) {
	s := serve(t, func(c *Config) { c.Alarms.Rules = []alarm.Rule{ruleOf("good", `vector(1)`)} })
	count := filepath.Join(t.TempDir(), "count")
	text := ""
	for name, do := range map[string]string{"hangs": "echo begun; sleep 1000", "fails": "echo no space; exit 3", "works": "echo done"} {
		text += fmt.Sprintf(`---
apiVersion: triage/v1
kind: Runbook
metadata: {name: %s}
spec:
  when: {alarm: {rule: good}}
  do: {command: [sh, -c, "echo %s >> %s; %s"], timeout: 1s}
  approval: none
`, name, name, count, do)
	}
	b, err := json.Marshal(map[string]any{"files": []map[string]string{{"name": "runbooks.yml", "text": text}}})
	if err != nil {
		t.Fatal(err)
	}
	if status, body := s.ask("POST", "/api/v1/apply", string(b)); status != http.StatusOK {
		t.Fatalf("apply: %d %s", status, body)
	}
	want := map[string]string{
		"hangs": "stopped|it took too long and was stopped|begun\n", "fails": "failed|exit status 3|no space\n", "works": "succeeded||done\n",
	}
	var list []runbook.Run
	s.until("all three runbooks have ended", func() bool {
		var got struct {
			Runs []runbook.Run `json:"runs"`
		}
		s.read("/api/v1/runs", &got)
		list = got.Runs
		over := 0
		for _, r := range list {
			if r.State != runbook.Running {
				over++
			}
		}
		return over >= 3
	})
	for _, r := range list {
		if got := string(r.State) + "|" + r.Error + "|" + r.Output; got != want[r.Runbook] {
			t.Errorf("%s: %q, want %q", r.Runbook, got, want[r.Runbook])
		}
	}
	_, timeline := s.ask("GET", "/api/v1/incidents/"+list[0].Incident+"/timeline", "")
	for _, w := range []string{"hangs stopped: ", "fails failed: ", "works succeeded: "} {
		if !strings.Contains(timeline, w) {
			t.Errorf("the timeline has no %q: %s", w, timeline)
		}
	}
	// A restart repeats none, while the alarm still stands.
	s.stop()
	again := serve(t, func(c *Config) {
		c.Data = s.dir
		c.Alarms.Rules = []alarm.Rule{ruleOf("good", `vector(1)`)}
	})
	again.until("the alarm is judged again", func() bool { return again.states()["good"].EvaluationState == alarm.EvaluationOK })
	text2, err := os.ReadFile(count)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text2), "\n"); n != 3 {
		t.Errorf("runbooks ran %d times, want 3", n)
	}
}

package dashboard_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/dashboard"
	"triage/internal/store"
	"triage/internal/store/state"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const minimal = `{"name": "d", "title": "D", "panels": [{"kind": "line", "x": 0, "y": 0, "w": 12, "h": 6, "queries": [{"expr": "up"}]}]}`

func TestParse(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"minimal", minimal, ""},
		{"variables in queries", `{"name": "d", "variables": [{"name": "s"}, {"name": "w", "values": ["1m", "5m"]}, {"name": "by"}], "panels": [
			{"kind": "line", "queries": [{"expr": "topk($n, x)"}]},
			{"kind": "stat", "queries": [{"expr": "sum by ($by) (rate(x{s=~\"$s\"}[${w}])) > 1"}, {"expr": "rate(x[$__rate_interval] offset $w)"}]}]}`,
			`panels[0].queries[0].expr: there is no variable "n"`},
		{"no JSON", `{`, "unexpected EOF"},
		{"unknown key", `{"name": "d", "panes": []}`, `unknown field "panes"`},
		{"two", minimal + minimal, "something follows"},
		{"name", `{"name": "a/b", "panels": []}`, "name: \"a/b\" is no name"},
		{"from", `{"name": "d", "from": "yesterday", "panels": []}`, "from: \"yesterday\" is not such as now-6h"},
		{"kind", `{"name": "d", "panels": [{"kind": "pie"}]}`, `panels[0].kind: "pie" is none of line, stat`},
		{"place", `{"name": "d", "panels": [{"kind": "alarms", "x": 20, "w": 6, "h": 101}]}`, "panels[0].w: columns 20 to 26 are not within the 24 there are\npanels[0].h: rows 0 to 101"},
		{"no query", `{"name": "d", "panels": [{"kind": "line"}]}`, "panels[0].queries: is missing"},
		{"a query of text", `{"name": "d", "panels": [{"kind": "text", "queries": [{"expr": "up"}]}]}`, "panels[0].queries: only line, stat, bar, table have queries"},
		{"PromQL", `{"name": "d", "panels": [{"kind": "line", "queries": [{"expr": "sum(up"}]}]}`, "panels[0].queries[0].expr: 1:7: parse error"},
		{"search", `{"name": "d", "panels": [{"kind": "logs", "search": "a AND"}]}`, "panels[0].search: column"},
		{"a search of lines", `{"name": "d", "panels": [{"kind": "alarms", "search": "a"}]}`, "panels[0].search: only logs"},
		{"variables", `{"name": "d", "variables": [{"name": "1"}, {"name": "a", "multiple": true}, {"name": "a", "values": ["x"], "of": {"label": ""}}, {"name": "c", "of": {"label": "l", "selector": "x{", "match": "("}}], "panels": []}`,
			"variables[0].name: \"1\" is no name"},
		{"limits", `{"name": "d", "panels": [{"kind": "line", "queries": [{"expr": "up"}], "min": 2, "max": 1}]}`, "panels[0].max: 1 is not above min, 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := dashboard.Parse([]byte(test.text))
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want != "" && (!errors.Is(err, dashboard.ErrInvalid) || !strings.Contains(err.Error(), test.want)):
				t.Fatalf("error %v, want %q", err, test.want)
			}
		})
	}
}

// TestVariablesAreAllSaid holds that everything that is wrong is said at once.
func TestVariablesAreAllSaid(t *testing.T) {
	_, err := dashboard.Parse([]byte(`{"name": "d", "variables": [{"name": "a", "multiple": true}, {"name": "a", "values": ["x"], "default": ["x", "y"], "of": {"label": ""}}, {"name": "c", "of": {"label": "l", "selector": "x{", "match": "("}}], "panels": []}`))
	var places []string
	for line := range strings.Lines(strings.TrimPrefix(err.Error(), "dashboard: ")) {
		place, _, _ := strings.Cut(line, ": ")
		places = append(places, place)
	}
	want := []string{"variables[0].values", "variables[1].name", "variables[1].of", "variables[1].default", "variables[1].of.label", "variables[2].of.selector", "variables[2].of.match"}
	if d := cmp.Diff(want, places); d != "" {
		t.Errorf("places (-want +got):\n%s\n%s", d, err)
	}
}

func TestImport(t *testing.T) {
	for _, name := range []string{"grafana", "cloudwatch"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			made, err := dashboard.Import(text, "")
			if err != nil {
				t.Fatal(err)
			}
			if made.Format != name {
				t.Errorf("format %q", made.Format)
			}
			got, err := json.MarshalIndent(made, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := filepath.Join("testdata", name+".want.json")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("imported (-want +got):\n%s", d)
			}
			body, err := json.Marshal(made.Dashboard)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := dashboard.Parse(body); err != nil {
				t.Errorf("what was made is no dashboard: %v", err)
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`[]`, "no JSON object"},
		{`{"title": "x"}`, "neither panels"},
		{`{"apiVersion": "dashboard.grafana.app/v2beta1", "elements": {}}`, "schema v2"},
		{`{"panels": 1}`, "grafana:"},
		{`{"widgets": [{"type": 1}]}`, "cloudwatch:"},
	} {
		if _, err := dashboard.Import([]byte(test.text), ""); !errors.Is(err, dashboard.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.text, err, test.want)
		}
	}
}

// TestWrapped reads dashboards as the tools of their makers print them.
func TestWrapped(t *testing.T) {
	made, err := dashboard.Import([]byte(`{"DashboardArn": "arn", "DashboardName": "Shop_EU", "DashboardBody": "{\"widgets\":[{\"type\":\"text\",\"properties\":{\"markdown\":\"hi\"}}]}"}`), "")
	if err != nil || made.Dashboard.Name != "shop-eu" || made.Dashboard.Title != "Shop_EU" || len(made.Dashboard.Panels) != 1 {
		t.Errorf("%+v, %v", made, err)
	}
}

// TestRowsOfOldGrafana lays out what Grafana had before its grid.
func TestRowsOfOldGrafana(t *testing.T) {
	made, err := dashboard.Import([]byte(`{"title": "Old", "rows": [
		{"title": "", "panels": [{"type": "graph", "title": "a", "span": 6, "targets": [{"expr": "a"}]}, {"type": "graph", "title": "b", "span": 6, "targets": [{"expr": "b"}]}]},
		{"title": "Second", "showTitle": true, "panels": [{"type": "singlestat", "title": "c", "span": 12, "format": "s", "thresholds": "1, 2.5", "repeat": null, "targets": [{"expr": "c"}]}]}]}`), "mine")
	if err != nil {
		t.Fatal(err)
	}
	type at struct {
		Title      string
		X, Y, W, H int
	}
	var got []at
	for _, p := range made.Dashboard.Panels {
		got = append(got, at{p.Title, p.X, p.Y, p.W, p.H})
	}
	if d := cmp.Diff([]at{{"a", 0, 0, 12, 7}, {"b", 12, 0, 12, 7}, {"Second", 0, 7, 24, 1}, {"c", 0, 8, 24, 7}}, got); d != "" {
		t.Errorf("panels (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]dashboard.Limit{{Value: 1}, {Value: 2.5}}, made.Dashboard.Panels[3].Limits); d != "" {
		t.Errorf("limits (-want +got):\n%s", d)
	}
	if made.Dashboard.Name != "mine" || len(made.Lost) > 0 {
		t.Errorf("name %q, lost %v", made.Dashboard.Name, made.Lost)
	}
}

func FuzzImport(f *testing.F) {
	for _, seed := range []string{ // small ones: what is found by a large one takes a minute to make smaller
		`{"panels":[{"type":"graph","targets":[{"expr":"up"}]}]}`,
		`{"panels":[{"type":"row","panels":[{"type":"text","gridPos":{"y":1}}]}]}`,
		`{"panels":[{"type":"logs","targets":[{"expr":"{a=\"b\"} |= \"c\""}]}]}`,
		`{"templating":{"list":[{"name":"a","type":"query","query":"label_values(up, b)"}]}}`,
		`{"rows":[{"panels":[{"type":"graph","span":6}]}]}`,
		`{"widgets":[{"type":"metric","properties":{"metrics":[["A","B","C","d"],["..."],[{"expression":"a+1"}]]}}]}`,
		`{"widgets":[{"type":"log","properties":{"query":"SOURCE 'a' | filter b = 1"}}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		made, err := dashboard.Import(text, "")
		if err != nil {
			if !errors.Is(err, dashboard.ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		if err := made.Dashboard.Validate(); err != nil {
			t.Fatalf("what was made is no dashboard: %v", err)
		}
	})
}

func newKeeper(t *testing.T) (*dashboard.Keeper, *state.Store) {
	t.Helper()
	st, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	clock := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return dashboard.New(dashboard.Options{State: st, Now: func() time.Time { clock = clock.Add(time.Minute); return clock }}), st
}

func parsed(t *testing.T, text string) dashboard.Dashboard {
	t.Helper()
	d, err := dashboard.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestVersions(t *testing.T) {
	k, _ := newKeeper(t)
	ctx := t.Context()
	save := func(title string, of *int) (dashboard.Version, error) {
		d := parsed(t, minimal)
		d.Title = title
		return k.Save(ctx, "a", d, dashboard.Edit{By: "ann", Of: of})
	}
	one, err := save("one", new(int))
	if err != nil || one.Version != 1 {
		t.Fatalf("%+v, %v", one, err)
	}
	if again, err := save("one", nil); err != nil || again.Version != 1 {
		t.Errorf("the same again: version %d, %v", again.Version, err)
	}
	two, err := save("two", &one.Version)
	if err != nil || two.Version != 2 {
		t.Fatalf("%+v, %v", two, err)
	}
	if _, err := save("three", &one.Version); !errors.Is(err, dashboard.ErrConflict) {
		t.Errorf("an edit of what is old: %v", err)
	}
	if v, err := k.Get(ctx, "a", "d", 1); err != nil || v.Dashboard.Title != "one" {
		t.Errorf("version 1: %+v, %v", v, err)
	}
	if _, err := k.Get(ctx, "b", "d", 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant: %v", err)
	}
	if err := k.Delete(ctx, "a", "d"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Get(ctx, "a", "d", 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what was deleted: %v", err)
	}
	if list, err := k.Versions(ctx, "a", "d"); err != nil || len(list) != 2 || list[0].Version != 2 {
		t.Errorf("versions of what was deleted: %v, %v", list, err)
	}
	if back, err := save("two", new(int)); err != nil || back.Version != 3 {
		t.Errorf("had again: %+v, %v", back, err)
	}
}

// TestOldVersionsGo keeps the newest hundred.
func TestOldVersionsGo(t *testing.T) {
	k, _ := newKeeper(t)
	d := parsed(t, minimal)
	for i := range 103 {
		d.Description = strings.Repeat("x", i)
		if _, err := k.Save(t.Context(), "a", d, dashboard.Edit{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := k.Versions(t.Context(), "a", "d")
	if err != nil || len(list) != 100 || list[0].Version != 103 || list[99].Version != 4 {
		t.Errorf("%d versions, %v", len(list), err)
	}
}

// TestStoredByOthers makes versions of what files declare.
func TestStoredByOthers(t *testing.T) {
	k, st := newKeeper(t)
	body, err := json.Marshal(parsed(t, minimal))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SaveDocuments(t.Context(), "a", []store.Document{{Kind: dashboard.DocumentKind, Name: "d", Body: body}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := k.Reload(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	list, err := k.Versions(t.Context(), "a", "d")
	if err != nil || len(list) != 1 || list[0].Note != "applied" {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestBroughtAlong holds that what triage brings is listed, can be replaced, and is there again when that is deleted.
func TestBroughtAlong(t *testing.T) {
	k, _ := newKeeper(t)
	ctx := t.Context()
	v, err := k.Get(ctx, "a", "service", 0)
	if err != nil || v.Version != 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	if err := k.Delete(ctx, "a", "service"); !errors.Is(err, dashboard.ErrInvalid) {
		t.Errorf("deleting it: %v", err)
	}
	v.Dashboard.Title = "Mine"
	if v, err = k.Save(ctx, "a", v.Dashboard, dashboard.Edit{Of: &v.Version}); err != nil || v.Version != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	list, err := k.List(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	var titles []string
	for _, v := range list {
		titles = append(titles, v.Dashboard.Title)
	}
	if d := cmp.Diff([]string{"Mine", "The machine"}, titles); d != "" {
		t.Errorf("titles (-want +got):\n%s", d)
	}
	if err := k.Delete(ctx, "a", "service"); err != nil {
		t.Fatal(err)
	}
	if v, err := k.Get(ctx, "a", "service", 0); err != nil || v.Version != 0 {
		t.Errorf("afterwards: %+v, %v", v, err)
	}
}

package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/alarm"
	"triage/internal/manifest"
	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/slo"
	"triage/internal/store"
	"triage/internal/store/state"
)

const tenant = model.DefaultTenant

var at = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// desk is a Manager with the real owners behind it.
type desk struct {
	t      *testing.T
	s      *state.Store
	alarms *alarm.Evaluator
	m      *manifest.Manager
	routes string
}

func open(t *testing.T) *desk {
	t.Helper()
	s, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	e, err := alarm.New(alarm.Options{State: s, Rules: []alarm.Rule{{Name: "configured", Expr: "up", Compare: &alarm.Compare{Op: "<", Threshold: 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, s: s, alarms: e}
	slos := slo.New(slo.Options{State: s, Rules: e.SetDerived})
	d.m = manifest.New(manifest.Options{State: s, Owners: map[string]manifest.Owner{
		"Alarm": {Check: e.Check, Reload: e.Reload},
		"SLO":   {Together: slo.Together, Reload: slos.Reload},
		"SLI":   {Reload: slos.Reload}, "AlertPolicy": {Reload: slos.Reload}, "AlertCondition": {Reload: slos.Reload},
		"Routes": {Check: func(_ context.Context, _ string, bodies map[string][]byte) (map[string]error, error) {
			out := map[string]error{}
			for name, b := range bodies {
				if strings.Contains(string(b), "nobody") {
					out[name] = errors.New(`undefined receiver "nobody" used in route`)
				}
			}
			return out, nil
		}, Reload: func(ctx context.Context, tenant string) error {
			docs, err := s.Documents(ctx, tenant, notify.RoutesKind)
			d.routes = fmt.Sprintf("%s", docs)
			return err
		}},
	}})
	return d
}

func (d *desk) apply(r manifest.Request, files ...string) (manifest.Result, error) {
	for i, text := range files {
		r.Files = append(r.Files, manifest.File{Name: fmt.Sprintf("%c.yml", 'a'+i), Text: text})
	}
	r.At = at
	return d.m.Apply(d.t.Context(), tenant, r)
}

// must applies and gives what changed in a few words.
func (d *desk) must(r manifest.Request, files ...string) string {
	d.t.Helper()
	result, err := d.apply(r, files...)
	if err != nil {
		d.t.Fatal(err)
	}
	var out []string
	for _, c := range result.Changes {
		out = append(out, string(c.Action)+" "+c.Kind+" "+c.Name)
	}
	return fmt.Sprintf("%d: %s", result.Revision, strings.Join(out, ", "))
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

const (
	queue = `apiVersion: triage/v1
kind: Alarm
metadata: {name: queue is full}
spec:
  expr: max(queue_length)
  compare: {op: ">", threshold: 1000000}
  period: 30s
`
	objective = `apiVersion: openslo/v1
kind: SLO
metadata: {name: answered}
spec:
  service: cart
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {spec: {query: sum(failed_total)}}}
        total: {metricSource: {spec: {query: sum(requests_total)}}}
  timeWindow: [{duration: 28d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.99}]
`
	book = `apiVersion: triage/v1
kind: Runbook
metadata: {name: restart cart}
spec:
  when: {verdict: {mechanism: memory-pressure, entity: "service:cart", confidence: 0.8}}
  do: {restart_unit: cart.service}
`
	rest = `---
apiVersion: triage/v1
kind: Silence
metadata: {name: moving}
spec:
  matchers: ['service="cart"']
  ends: 2030-01-02T00:00:00+09:00
  comment: the database moves
---
apiVersion: triage/v1
kind: Routes
metadata: {name: default}
spec:
  route: {receiver: ops, group_wait: 10s}
  receivers: [{name: ops}]
`
)

func TestApply(t *testing.T) {
	d := open(t)
	equal(t, "a dry run", d.must(manifest.Request{DryRun: true}, queue), "0: create Alarm queue is full")
	equal(t, "nothing came of it", len(d.alarms.Rules(tenant)), 1)

	equal(t, "first", d.must(manifest.Request{By: "ann", Note: "begin"}, queue+"---\n"+objective, rest),
		"1: create Alarm queue is full, create SLO answered, create Silence moving, create Routes default")
	var rules []string
	for _, r := range d.alarms.Rules(tenant) {
		rules = append(rules, string(r.Source)+" "+r.Name)
	}
	equal(t, "rules", rules, []string{"config configured", "api queue is full", "slo slo answered page 1h", "slo slo answered page 6h", "slo slo answered ticket 3d"})
	if !strings.Contains(d.routes, "receiver: ops") {
		t.Errorf("routes were not taken over: %s", d.routes)
	}
	silences, err := notify.New(notify.Options{State: d.s}).Silences(t.Context(), tenant)
	if err != nil || len(silences) != 1 || silences[0].ID != "moving" || !silences[0].Starts.IsZero() {
		t.Errorf("silences %+v, %v", silences, err)
	}

	equal(t, "again", d.must(manifest.Request{}, queue+"---\n"+objective, rest),
		"0: same Alarm queue is full, same SLO answered, same Silence moving, same Routes default")
	altered := strings.Replace(queue, "30s", "1m", 1)
	result, err := d.apply(manifest.Request{DryRun: true}, altered)
	if err != nil || len(result.Changes) != 1 || !strings.Contains(result.Changes[0].Before, "period: 30s") || !strings.Contains(result.Changes[0].After, "period: 1m") {
		t.Errorf("what differs: %+v, %v", result, err)
	}
	equal(t, "an update leaves the rest alone", d.must(manifest.Request{By: "bob"}, altered), "2: update Alarm queue is full")
	equal(t, "pruned", d.must(manifest.Request{By: "bob", Prune: true}, altered, rest), "3: same Alarm queue is full, delete SLO answered, same Silence moving, same Routes default")
	equal(t, "its rules are gone", len(d.alarms.Rules(tenant)), 2)

	list, err := d.m.Revisions(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	var revisions []string
	for _, r := range list {
		revisions = append(revisions, fmt.Sprintf("%d by %s: %d", r.Revision, r.By, len(r.Changes)))
	}
	equal(t, "revisions", revisions, []string{"3 by bob: 1", "2 by bob: 1", "1 by ann: 4"})
	journal, err := d.s.Journal(t.Context(), tenant, "", store.Window{To: at.Add(time.Hour)}, 10)
	if err != nil || len(journal) != 3 || journal[0].Text != "begin: create Alarm queue is full, create SLO answered, create Silence moving, create Routes default" {
		t.Errorf("journal %+v, %v", journal, err)
	}

	// Going back.
	text, err := d.m.Export(t.Context(), tenant, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "back", d.must(manifest.Request{Prune: true}, text), "4: update Alarm queue is full, create SLO answered, same Silence moving, same Routes default")
	now, err := d.m.Export(t.Context(), tenant, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "what is there is what there was", now, text)
	if !strings.Contains(now, "threshold: 1000000\n") {
		t.Errorf("numbers are written otherwise:\n%s", now)
	}
}

// What was not declared in files is exported, and never pruned.
func TestWhatOthersMadeStays(t *testing.T) {
	d := open(t)
	r, err := alarm.ParseRule([]byte(`{"name":"by hand","expr":"up","compare":{"op":"<","threshold":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.alarms.SaveRule(t.Context(), tenant, r); err != nil {
		t.Fatal(err)
	}
	equal(t, "pruned", d.must(manifest.Request{Prune: true}, queue), "1: create Alarm queue is full")
	text, err := d.m.Export(t.Context(), tenant, "Alarm", 0)
	if err != nil || strings.Count(text, "kind: Alarm") != 2 {
		t.Errorf("export %s, %v", text, err)
	}
	equal(t, "the export changes nothing", d.must(manifest.Request{}, text), "2: same Alarm by hand, same Alarm queue is full")
}

func TestAllProblemsAtOnce(t *testing.T) {
	d := open(t)
	_, err := d.apply(manifest.Request{}, `apiVersion: triage/v1
kind: Alarm
metadata: {name: bad}
spec:
  expr: sum(
  compare:
    op: "?"
    threshold: 1
  period: 500ms
  mute: [{}]
---
apiVersion: triage/v1
kind: Alarm
metadata: {name: unknown}
spec:
  expr: up
  compare: {op: ">", threshold: 1}
  color: red
---
apiVersion: triage/v1
kind: Alarm
metadata: {name: long}
spec:
  expr: up
  compare: {op: ">", threshold: high}
---
apiVersion: triage/v1
kind: Alarm
metadata: {name: slow}
spec: {expr: up, compare: {op: ">", threshold: 1}, period: soon}
---
kind: Alarm
---
- a list
`, `apiVersion: triage/v1
kind: Alarm
metadata: {name: first}
spec: {composite: ALARM(second)}
---
apiVersion: triage/v1
kind: Alarm
metadata: {name: second}
spec: {composite: ALARM(first)}
---
apiVersion: triage/v1
kind: Alarm
metadata: {name: configured}
spec: {expr: up, compare: {op: ">", threshold: 1}}
---
apiVersion: triage/v1
kind: Alarm
metadata: {name: first}
spec: {composite: "TRUE"}
`, strings.Replace(objective, "0.99", "99", 1)+rest, strings.Replace(rest, "receiver: ops", "receiver: nobody", 1)+`---
apiVersion: triage/v1
kind: Silence
metadata: {name: everything}
spec:
  matchers: []
  ends: 2030-01-02T00:00:00Z
---
apiVersion: triage/v2
kind: Alarm
`, "kind: [\n", "\n---\n# nothing\n")
	var problems manifest.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%v", err)
	}
	want := []string{
		"a.yml:5: Alarm bad: spec.expr: 1:5: parse error: unclosed left parenthesis",
		`a.yml:7: Alarm bad: spec.compare.op: "?" is none of >, >=, <, <=`,
		"a.yml:9: Alarm bad: spec.period: 500ms is not between 1s and 1w",
		"a.yml:10: Alarm bad: spec.mute[0]: says no time",
		`a.yml:18: Alarm unknown: spec.color: unknown key "color"`,
		"a.yml:25: Alarm long: spec.compare.threshold: cannot unmarshal !!str `high` into float64",
		`a.yml:30: Alarm slow: spec.period: "soon" is not a duration such as 10s or 1m30s`,
		`a.yml:32: apiVersion "": kind Alarm has apiVersion triage/v1`,
		"a.yml:34: a document is an object with apiVersion, kind, metadata and spec",
		"b.yml:4: Alarm first: spec.composite: it is made of itself: first, second, first",
		"b.yml:9: Alarm second: spec.composite: it is made of itself: second, first, second",
		`b.yml:14: Alarm configured: spec: name: "configured" is a rule of the configuration`,
		"b.yml:18: Alarm first: metadata.name: it stands in b.yml:1 already",
		"c.yml:14: SLO answered: spec.objectives[0].target: 99 is not between 0 and 1: there would be no budget",
		`d.yml:4: Silence moving: metadata.name: it stands in c.yml:16 already`,
		"d.yml:12: Routes default: metadata.name: it stands in c.yml:24 already",
		"d.yml:21: Silence everything: spec.matchers: is empty, which would silence everything",
		`d.yml:25: apiVersion "triage/v2": kind Alarm has apiVersion triage/v1`,
		"e.yml:1: did not find expected node content",
	}
	equal(t, "problems", strings.Split(problems.Error(), "\n"), want)
	if docs, _ := d.s.Documents(t.Context(), tenant, alarm.DocumentKind); len(docs) != 0 {
		t.Errorf("%d rules were stored all the same", len(docs))
	}
	_, err = d.apply(manifest.Request{}, strings.Replace(rest, "receiver: ops", "receiver: nobody", 1))
	if err == nil || err.Error() != `a.yml:13: Routes default: spec: undefined receiver "nobody" used in route` {
		t.Errorf("an unknown receiver: %v", err)
	}
}

func TestRunbook(t *testing.T) {
	d := open(t)
	equal(t, "first", d.must(manifest.Request{}, book), "1: create Runbook restart cart")
	text, err := d.m.Export(t.Context(), tenant, "Runbook", 0)
	if err != nil || !strings.Contains(text, "restart_unit: cart.service") || !strings.Contains(text, "approval: required") {
		t.Errorf("export %s, %v", text, err)
	}
	equal(t, "again", d.must(manifest.Request{}, text), "0: same Runbook restart cart")
	_, err = d.apply(manifest.Request{}, strings.Replace(book, "do: {restart_unit: cart.service}", "do: {}", 1))
	if err == nil || err.Error() != "a.yml:6: Runbook restart cart: spec.do: 0 of command, webhook and restart_unit are given, and one is needed" {
		t.Errorf("without an action: %v", err)
	}
}

// A disk that is full leaves all as it was.
func TestDashboard(t *testing.T) {
	d := open(t)
	const board = `
apiVersion: triage/v1
kind: Dashboard
metadata: {name: carts}
spec:
  title: Carts
  variables:
    - {name: service, of: {label: service_name}}
  panels:
    - {kind: line, x: 0, y: 0, w: 12, h: 6, queries: [{expr: 'sum(rate(x_total{service_name=~"$service"}[5m]))'}]}
`
	equal(t, "first", d.must(manifest.Request{}, board), "1: create Dashboard carts")
	text, err := d.m.Export(t.Context(), tenant, "Dashboard", 0)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "again", d.must(manifest.Request{}, text), "0: same Dashboard carts")
	_, err = d.apply(manifest.Request{}, strings.Replace(board, "sum(rate", "sum(rat", 1))
	if err == nil || !strings.HasPrefix(err.Error(), "a.yml:10: Dashboard carts: spec.panels[0].queries[0].expr: 1:5: parse error: unknown function") {
		t.Errorf("a query that is none: %v", err)
	}
	equal(t, "removed", d.must(manifest.Request{Prune: true}, "\n---\n"), "2: delete Dashboard carts")
}

func TestAllOrNothing(t *testing.T) {
	d := open(t)
	if err := d.s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.apply(manifest.Request{}, queue); !errors.Is(err, store.ErrClosed) {
		t.Errorf("apply to a closed store: %v", err)
	}
}

func TestExportOfWhatIsNotThere(t *testing.T) {
	d := open(t)
	if _, err := d.m.Export(t.Context(), tenant, "", 7); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a revision that never was: %v", err)
	}
	if _, err := d.m.Export(t.Context(), tenant, "Alarms", 0); err == nil || !strings.Contains(err.Error(), "is none of Alarm, SLI, AlertCondition, AlertPolicy, SLO") {
		t.Errorf("a kind that is none: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{queue, objective, rest, book, "a: &a [*a]", "---\n---\n", "{", "kind: Alarm\napiVersion: triage/v1\nspec: 1", "? [a]: b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := open(t)
		if _, err := d.apply(manifest.Request{}, text); err != nil {
			if problems := (manifest.Problems)(nil); !errors.As(err, &problems) {
				t.Errorf("what is wrong with the file is no problem of it: %v", err)
			}
			return
		}
		// What was taken is exported so that it changes nothing.
		out, err := d.m.Export(t.Context(), tenant, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		result, err := d.apply(manifest.Request{}, out)
		if err != nil {
			t.Fatalf("%v in what was exported:\n%s", err, out)
		}
		for _, c := range result.Changes {
			if c.Action != manifest.Same {
				t.Errorf("%s %s %s:\n%s\n%s", c.Action, c.Kind, c.Name, c.Before, c.After)
			}
		}
	})
}

const referring = `apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout}
spec:
  service: cart
  indicatorRef: answered
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.99}]
  alertPolicies: [at-night, {alertPolicyRef: by-day}]
`

const referred = `apiVersion: openslo/v1
kind: SLI
metadata: {name: answered}
spec:
  ratioMetric:
    counter: true
    bad: {metricSource: {type: Prometheus, spec: {query: failed_total}}}
    total: {metricSource: {type: Prometheus, spec: {query: requests_total}}}
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: at-night}
spec: {conditions: [{conditionRef: fast}]}
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: by-day}
spec:
  alertWhenBreaching: true
  conditions:
  - {kind: AlertCondition, metadata: {name: slow}, spec: {severity: ticket, condition: {kind: burnrate, op: gte, threshold: 2, lookbackWindow: 1d}}}
---
apiVersion: openslo/v1
kind: AlertCondition
metadata: {name: fast}
spec: {severity: page, condition: {kind: burnrate, op: gt, threshold: 10, lookbackWindow: 1h}}
`

// rules are the alarm rules of SLOs, with their thresholds.
func (d *desk) rules() (out []string) {
	for _, r := range d.alarms.Rules(tenant) {
		if r.Source == alarm.SourceSLO {
			out = append(out, fmt.Sprintf("%s %s %v", r.Name, r.Compare.Op, r.Compare.Threshold))
		}
	}
	return out
}

// SLOs refer to documents of the same files, or of such as were applied before.
func TestReferencesOfSLOs(t *testing.T) {
	want := []string{"slo checkout page 1h > 10", "slo checkout ticket 1d >= 2"}
	for name, files := range map[string][][]string{
		"in one set": {{referring, referred}}, "in one file": {{referring + "---\n" + referred}}, "one after the other": {{referred}, {referring}},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			for _, set := range files {
				d.must(manifest.Request{}, set...)
			}
			if diff := cmp.Diff(want, d.rules()); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			text, err := d.m.Export(t.Context(), tenant, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			if again := d.must(manifest.Request{}, text); strings.Contains(again, "update") || strings.Contains(again, "create") {
				t.Errorf("what was exported changes something: %s", again)
			}
			// What is referred to is changed for all that refer to it.
			d.must(manifest.Request{}, strings.Replace(referred, "threshold: 10", "threshold: 7", 1))
			if got := d.rules()[0]; got != "slo checkout page 1h > 7" {
				t.Errorf("rule %s", got)
			}
		})
	}
}

func TestReferencesToNothing(t *testing.T) {
	d := open(t)
	_, err := d.apply(manifest.Request{}, referring)
	if want := `a.yml:6: SLO checkout: spec.indicatorRef: there is no SLI "answered", neither in what is applied nor stored before
a.yml:10: SLO checkout: spec.alertPolicies[0]: there is no AlertPolicy "at-night", neither in what is applied nor stored before
a.yml:10: SLO checkout: spec.alertPolicies[1]: there is no AlertPolicy "by-day", neither in what is applied nor stored before`; err == nil || err.Error() != want {
		t.Errorf("error %v, want\n%s", err, want)
	}
	d.must(manifest.Request{}, referring, referred)
	for name, c := range map[string]struct{ file, want string }{
		"what is needed is removed": {referring, `a.yml:6: SLO checkout: spec.indicatorRef: there is no SLI "answered"`},
		"by all but what is stored": {strings.ReplaceAll(referring, "checkout", "other"), `a.yml:6: SLO other: spec.indicatorRef`},
		"an indicator that does not fit": {`apiVersion: openslo/v1
kind: SLI
metadata: {name: answered}
spec: {thresholdMetric: {metricSource: {spec: {query: x}}}}
`,
			`a.yml: SLO checkout: it is stored, and would no longer do: spec.objectives[0].op`},
		"a condition that is none":  {strings.Replace(referred, "op: gt,", "op: lt,", 1), `AlertCondition fast: spec.condition.op: "lt" is neither gt nor gte`},
		"a kind that is not needed": {"apiVersion: openslo/v1\nkind: Service\nmetadata: {name: cart}\n", `kind Service is not for here: a service is what its telemetry calls it; leave the document out`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.apply(manifest.Request{Prune: strings.Contains(c.file, "indicatorRef")}, c.file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

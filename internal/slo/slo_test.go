package slo_test

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/slo"
	"triage/internal/store"
	"triage/internal/store/metrics"
	"triage/internal/store/state"
)

const availability = `
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout-availability, displayName: Checkout is available}
spec:
  service: checkout
  indicator:
    metadata: {name: answered}
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {type: Prometheus, spec: {query: 'sum(requests_total{code=~"5.."})'}}}
        total: {metricSource: {type: Prometheus, spec: {query: sum(requests_total)}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: answered, target: 0.99}]
`

// parse reads YAML as the product does: as JSON, after the conversion that its edges make.
func parse(t testing.TB, text string) (slo.SLO, error) {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return slo.Parse(b)
}

func must(t testing.TB, text string) slo.SLO {
	t.Helper()
	s, err := parse(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// world has a service that answered 100 requests a minute for 8 h, by what share of them failed in each minute.
type world struct {
	m   *metrics.Store
	s   *state.Store
	end time.Time
}

func newWorld(t *testing.T, minutes int, failing func(minute int) float64) world {
	t.Helper()
	m, err := metrics.Open(metrics.Options{Dir: t.TempDir(), OutOfOrder: 15 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	w := world{m, s, time.Now().Add(-time.Minute).Truncate(time.Hour)} // the end of all rules' periods
	good, bad := 0.0, 0.0
	series := map[string][]model.Sample{}
	for i := range minutes + 1 {
		at := w.end.Add(time.Duration(i-minutes) * time.Minute).UnixMilli()
		f := failing(i)
		if i > 0 {
			good, bad = good+100*(1-f), bad+100*f
		}
		for name, v := range map[string]float64{"200": good, "503": bad} {
			series[name] = append(series[name], model.Sample{T: at, V: v})
		}
		series["latency"] = append(series["latency"], model.Sample{T: at, V: f})
	}
	var batch []model.Series
	for name, samples := range series {
		ls := labels.FromStrings("__name__", "requests_total", "code", name)
		if name == "latency" {
			ls = labels.FromStrings("__name__", "latency")
		}
		batch = append(batch, model.Series{Labels: ls, Samples: samples})
	}
	if rejected, err := m.Append(t.Context(), model.DefaultTenant, batch); err != nil || rejected.Total() > 0 {
		t.Fatal(err, rejected)
	}
	return w
}

// states are the alarms of an SLO at some time.
func (w world) states(t *testing.T, o slo.SLO, at time.Time) map[string]model.AlarmState {
	t.Helper()
	e, err := alarm.New(alarm.Options{Metrics: w.m, State: w.s, Delay: -1})
	if err != nil {
		t.Fatal(err)
	}
	m := slo.New(slo.Options{Metrics: w.m, State: w.s, Rules: e.SetDerived})
	if err := m.Save(t.Context(), model.DefaultTenant, o); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Evaluate(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	for _, r := range e.Rules(model.DefaultTenant) {
		if r.EvaluationState != alarm.EvaluationOK || r.Source != alarm.SourceSLO {
			t.Errorf("rule %s of %s: %s %s", r.Name, r.Source, r.EvaluationState, r.EvaluationReason)
		}
	}
	out := map[string]model.AlarmState{}
	for _, a := range e.Alarms(model.DefaultTenant) {
		out[strings.TrimPrefix(a.Rule, "slo "+o.Metadata.Name+" ")] = a.State
		if a.Service != o.Spec.Service || a.Labels["slo"] != o.Metadata.Name {
			t.Errorf("labels %v", a.Labels)
		}
	}
	return out
}

func TestBurnRateAlarms(t *testing.T) {
	const minutes = 8 * 60
	since := func(from, to int, share float64) func(int) float64 { // minutes before the end
		return func(i int) float64 {
			if i > minutes-from && i <= minutes-to {
				return share
			}
			return 0.001
		}
	}
	for _, c := range []struct {
		name    string
		failing func(int) float64
		want    map[string]model.AlarmState
	}{
		{"all is well", since(0, 0, 0), map[string]model.AlarmState{"page 1h": "OK", "page 6h": "OK", "ticket 3d": "OK"}},
		{"20 % fail for 70 minutes", since(70, 0, 0.2), map[string]model.AlarmState{"page 1h": "ALARM", "page 6h": "OK", "ticket 3d": "ALARM"}},
		{"it is over since 10 minutes", since(80, 10, 0.2), map[string]model.AlarmState{"page 1h": "OK", "page 6h": "OK", "ticket 3d": "ALARM"}},
		{"everything fails for 3 minutes", since(3, 0, 1), map[string]model.AlarmState{"page 1h": "OK", "page 6h": "OK", "ticket 3d": "OK"}},
		{"8 % fail for 6 hours", since(360, 0, 0.08), map[string]model.AlarmState{"page 1h": "OK", "page 6h": "ALARM", "ticket 3d": "ALARM"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, minutes, c.failing)
			if d := cmp.Diff(c.want, w.states(t, must(t, availability), w.end)); d != "" {
				t.Errorf("alarms (-want +got):\n%s", d)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	const minutes = 8 * 60
	half := func(i int) float64 { // 4 h without a failure, then 1 % of requests fail
		if i > minutes/2 {
			return 0.01
		}
		return 0
	}
	w := newWorld(t, minutes, half)
	m := slo.New(slo.Options{Metrics: w.m, State: w.s, Rules: func(string, []alarm.Rule) {}})
	timeslices := strings.Replace(availability, "budgetingMethod: Occurrences", "budgetingMethod: Timeslices", 1)
	timeslices = strings.Replace(timeslices, "target: 0.99", "target: 0.9, timeSliceTarget: 0.995, timeSliceWindow: 5m", 1)
	threshold := `
apiVersion: openslo/v1
kind: SLO
metadata: {name: fast}
spec:
  service: checkout
  indicator: {spec: {thresholdMetric: {metricSource: {spec: {query: latency}}}}}
  timeWindow: [{duration: 1d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{op: lt, value: 0.005, targetPercent: 75}]
`
	for _, c := range []struct {
		name, text   string
		good, budget float64
		off          float64 // as slices begin and end where they do
		counted      bool
	}{
		{"bad of all", availability, 0.995, 0.01, 1e-4, true},
		{"good of all", strings.Replace(availability, `bad: {metricSource: {type: Prometheus, spec: {query: 'sum(requests_total{code=~"5.."})'}}}`,
			`good: {metricSource: {spec: {query: 'sum(increase(requests_total{code="200"}[{{.window}}]))'}}}`, 1), 0.995, 0.01, 1e-4, true},
		{"slices of time", timeslices, 0.5, 0.1, 0.02, false},
		{"by a threshold", threshold, 0.5, 0.25, 0.02, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, err := m.Status(t.Context(), model.DefaultTenant, must(t, c.text), w.end)
			if err != nil {
				t.Fatal(err)
			}
			if len(st.Objectives) != 1 || len(st.Objectives[0].Series) != 1 {
				t.Fatalf("status %+v", st)
			}
			got := st.Objectives[0].Series[0]
			remaining := 1 - (1-c.good)/c.budget
			if math.Abs(got.Good-c.good) > c.off || math.Abs(got.Remaining-remaining) > c.off/c.budget {
				t.Errorf("good %v, remaining %v; want %v and %v", got.Good, got.Remaining, c.good, remaining)
			}
			if (got.Events != nil) != c.counted || c.counted && (math.Abs(*got.Events-48000) > 500 || math.Abs(*got.Bad-240) > 5) {
				t.Errorf("events %v, bad %v", got.Events, got.Bad)
			}
			for _, b := range got.Burn {
				if b.Window == "1h" && c.counted && math.Abs(b.Rate-1) > 0.01 {
					t.Errorf("burn rate over 1h %v, want 1", b.Rate)
				}
			}
		})
	}
	h, err := m.History(t.Context(), model.DefaultTenant, must(t, availability), 0, store.Window{From: w.end.Add(-8 * time.Hour), To: w.end}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var burns []float64
	for _, p := range h.Series[0].Points {
		burns = append(burns, p.Burn)
	}
	if d := cmp.Diff([]float64{0, 0, 0, 0, 1, 1, 1, 1}, burns, cmpopts.EquateApprox(0, 0.03)); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
}

// Without traffic nothing is used up, and nothing is known.
func TestNoEvents(t *testing.T) {
	w := newWorld(t, 10, func(int) float64 { return 0 })
	o := must(t, strings.ReplaceAll(availability, "requests_total", "other_total"))
	m := slo.New(slo.Options{Metrics: w.m, State: w.s, Rules: func(string, []alarm.Rule) {}})
	st, err := m.Status(t.Context(), model.DefaultTenant, o, w.end)
	if err != nil || len(st.Objectives[0].Series) != 0 {
		t.Errorf("status %+v, %v", st, err)
	}
}

func TestThresholds(t *testing.T) {
	rules := func(change ...string) map[string]float64 {
		out := map[string]float64{}
		for _, r := range must(t, strings.NewReplacer(change...).Replace(availability)).Rules() {
			if err := r.Validate(); err != nil {
				t.Error(err)
			}
			out[strings.TrimPrefix(r.Name, "slo checkout-availability ")+" every "+r.Period.String()] = r.Compare.Threshold
		}
		return out
	}
	for _, c := range []struct {
		name string
		got  map[string]float64
		want map[string]float64
	}{
		{"the workbook's", rules(), map[string]float64{"page 1h every 1m": 14.4, "page 6h every 6m": 6, "ticket 3d every 1h": 1}},
		{"of a week", rules("30d", "7d"), map[string]float64{"page 1h every 1m": 3.36, "page 6h every 6m": 1.4}},
		{"an objective that 14.4 times would never miss", rules("0.99", "0.9"), map[string]float64{"page 1h every 1m": 9, "page 6h every 6m": 6, "ticket 3d every 1h": 1}},
		{"of its own", rules("  budgetingMethod", `  alertPolicies:
  - {kind: AlertPolicy, metadata: {name: p}, spec: {conditions: [{kind: AlertCondition, metadata: {name: c}, spec: {severity: urgent,
      condition: {kind: burnrate, op: gte, threshold: 10, lookbackWindow: 2h, alertAfter: 5m}}}]}}
  budgetingMethod`), map[string]float64{"urgent 2h every 2m": 10}},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

func TestCalendar(t *testing.T) {
	w := newWorld(t, 10, func(int) float64 { return 0 })
	m := slo.New(slo.Options{Metrics: w.m, State: w.s, Rules: func(string, []alarm.Rule) {}})
	for duration, want := range map[string][2]string{
		"1M": {"2026-02-28T15:00:00Z", "2026-03-31T15:00:00Z"}, "1Q": {"2025-12-31T15:00:00Z", "2026-03-31T15:00:00Z"},
		"1w": {"2026-03-11T15:00:00Z", "2026-03-18T15:00:00Z"}, "1Y": {"2025-12-31T15:00:00Z", "2026-12-31T15:00:00Z"},
	} {
		o := must(t, strings.NewReplacer("duration: 30d, isRolling: true", "duration: "+duration+", isRolling: false, calendar: {startTime: '2026-01-01 00:00:00', timeZone: Asia/Seoul}").Replace(availability))
		st, err := m.Status(t.Context(), model.DefaultTenant, o, time.Date(2026, 3, 15, 12, 0, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]string{st.From.Format(time.RFC3339), st.To.Format(time.RFC3339)}; got != want {
			t.Errorf("%s: %v, want %v", duration, got, want)
		}
	}
}

func TestWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"openslo/v1", "openslo/v2", `apiVersion: "openslo/v2" is not openslo/v1`},
		{"checkout-availability", "Check Out", `metadata.name: "Check Out" is not`},
		{"target: 0.99", "target: 1", "spec.objectives[0].target: 1 is not between 0 and 1"},
		{"target: 0.99", "target: 0.9, targetPercent: 90", "spec.objectives[0].targetPercent: is one target too many"},
		{"target: 0.99", "target: 0.9, op: lte", "spec.objectives[0].op: op and value are for threshold metrics"},
		{"Occurrences", "Timeslices", "spec.objectives[0].timeSliceWindow"},
		{"Occurrences", "Guesses", "spec.budgetingMethod"},
		{"30d", "30 days", `spec.timeWindow[0].duration: "30 days" is not`},
		{"isRolling: true", "isRolling: false", "spec.timeWindow[0].calendar: a window that does not roll needs one"},
		{"query: sum(requests_total)", "query: sum(", "spec.indicator.spec.ratioMetric.total.metricSource.spec.query: 1:5: parse error"},
		{"query: sum(requests_total)", "query: 'sum(rate(requests_total[5m]))'", "it is over a fixed time"},
		{"query: sum(requests_total)", "query: '1'", "it yields a scalar"},
		{"type: Prometheus", "type: Datadog", `"Datadog" is none of Prometheus, TriageLogs, TriageSpans: send`},
		{"ratioMetric:", "ratioMetrics:", `unknown field "ratioMetrics"`},
		{"  service: checkout", "  service: checkout\n  indicatorRef: x", "spec.indicatorRef: is one indicator too many"},
		{"type: Prometheus", "metricSourceRef: thanos", `metricSource.metricSourceRef: "thanos": triage measures what it has stored`},
		{"type: Prometheus", "type: TriageSpans", "ratioMetric.bad.metricSource.spec: query: "},
		{"target: 0.99", "target: 0.99, compositeWeight: 2", "spec.objectives[0].indicator: objectives of several indicators"},
		{"  budgetingMethod", "  alertPolicies: [{kind: AlertPolicy, spec: {alertWhenNoData: true, conditions: [{conditionRef: c}]}}]\n  budgetingMethod", "spec.alertPolicies[0].spec.alertWhenNoData: where there"},
		{"  budgetingMethod", "  alertPolicies: [{spec: {conditions: [{conditionRef: c}], notificationTargets: [{targetRef: mail}]}}]\n  budgetingMethod", "spec.alertPolicies[0].spec.notificationTargets: who is told"},
		{"  budgetingMethod", "  alertPolicies: [{}]\n  budgetingMethod", "spec.alertPolicies[0].spec.conditions: is missing"},
	} {
		_, err := parse(t, strings.Replace(availability, c.old, c.new, 1))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s: %v, want %s", c.old, c.new, err, c.want)
		}
	}
	_, err := parse(t, strings.NewReplacer("0.99", "7", "30d", "x").Replace(availability))
	if n := strings.Count(err.Error(), "\n"); n != 1 {
		t.Errorf("not all problems at once: %v", err)
	}
}

func TestKeeping(t *testing.T) {
	w := newWorld(t, 10, func(int) float64 { return 0 })
	told := map[string]int{}
	m := slo.New(slo.Options{Metrics: w.m, State: w.s, Rules: func(tenant string, rules []alarm.Rule) { told[tenant] = len(rules) }})
	o := must(t, availability)
	for _, err := range []error{m.Save(t.Context(), "a", o), m.Save(t.Context(), "a", o), m.Reload(t.Context(), "b")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(map[string]int{"a": 3, "b": 0}, told); d != "" {
		t.Errorf("rules (-want +got):\n%s", d)
	}
	if got, err := m.Get(t.Context(), "a", o.Metadata.Name); err != nil || !cmp.Equal(got, o) {
		t.Errorf("it comes back as %v, %v", got, err)
	}
	if err := m.Delete(t.Context(), "a", o.Metadata.Name); err != nil || told["a"] != 0 {
		t.Errorf("delete: %v, %v", err, maps.Clone(told))
	}
	for name, err := range map[string]error{"delete again": m.Delete(t.Context(), "a", o.Metadata.Name), "of another tenant": func() error { _, err := m.Get(t.Context(), "b", o.Metadata.Name); return err }()} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	o.Spec.Service = ""
	if err := m.Save(t.Context(), "a", o); !errors.Is(err, slo.ErrInvalid) {
		t.Errorf("save a bad one: %v", err)
	}
}

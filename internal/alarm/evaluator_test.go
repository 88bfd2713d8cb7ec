package alarm_test

import (
	gocmp "cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"go.uber.org/goleak"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table is a store.Metrics that knows a value for every expression, label and time.
type table struct {
	store.Metrics // nothing else is asked
	value         func(expr, name string, at time.Time) float64
	names         []string
	err           error
}

func (m *table) Query(_ context.Context, _, expr string, at time.Time) (out []store.Point, err error) {
	for _, n := range m.names {
		out = append(out, store.Point{Labels: map[string]string{"name": n}, At: at, Value: m.value(expr, n, at)})
	}
	return out, m.err
}

func (m *table) QueryRange(_ context.Context, _, expr string, w store.Window, step time.Duration) (out []store.Line, err error) {
	for _, n := range m.names {
		l := store.Line{Labels: map[string]string{"name": n}, Start: w.From, Step: step}
		for at := w.From; !at.After(w.To); at = at.Add(step) {
			l.Values = append(l.Values, m.value(expr, n, at))
		}
		out = append(out, l)
	}
	return out, m.err
}

// minutes gives one value a minute from simStart on, and none before and after.
func minutes(values ...float64) func(string, string, time.Time) float64 {
	return func(_, _ string, at time.Time) float64 {
		i := int(at.Sub(simStart) / time.Minute)
		if at.Before(simStart) || i >= len(values) {
			return math.NaN()
		}
		return values[i]
	}
}

func above(threshold float64) alarm.Rule {
	return alarm.Rule{
		Name: "high", Expr: "x", Compare: &alarm.Compare{Op: alarm.Above, Threshold: threshold},
		Period: alarm.Duration(time.Minute), EvaluationPeriods: 3, DatapointsToAlarm: 2,
	}
}

// evaluate runs an evaluator from one minute to another and writes its transitions down.
func evaluate(t *testing.T, e *alarm.Evaluator, from, to int) (out []string) {
	t.Helper()
	for i := from; i <= to; i++ {
		got, err := e.Evaluate(t.Context(), simStart.Add(time.Duration(i)*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range got {
			s := fmt.Sprintf("%d %s %s->%s", int(tr.Alarm.Since.Sub(simStart)/time.Minute), tr.Alarm.ID, tr.From, tr.Alarm.State)
			if !tr.Alarm.Onset.IsZero() {
				s += fmt.Sprintf(" onset %d", int(tr.Alarm.Onset.Sub(simStart)/time.Minute))
			}
			out = append(out, s)
		}
	}
	return out
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

var atOnce = alarm.Options{Rules: []alarm.Rule{above(10)}, Delay: -1}

func TestThresholdFromOKToAlarmAndBack(t *testing.T) {
	m := &table{names: []string{"a"}, value: minutes(1, 1, 20, 1, 20, 1, 1, 1)}
	s := openState(t)
	e := newEvaluator(t, m, s, atOnce)
	want := []string{
		`0 high{name="a"} INSUFFICIENT_DATA->OK`,
		`4 high{name="a"} OK->ALARM onset 1`,
		`5 high{name="a"} ALARM->OK`,
		`12 high{name="a"} OK->INSUFFICIENT_DATA`,
	}
	equal(t, "transitions", evaluate(t, e, 0, 14), want)
	stored, err := s.Transitions(t.Context(), model.DefaultTenant, "", store.Window{To: simStart.Add(time.Hour)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) != len(want) {
		t.Errorf("%d transitions are stored, want %d", len(stored), len(want))
	}
	got := stored[1].Alarm
	if got.Value != 20 || got.Threshold != 10 || !strings.HasPrefix(got.Reason, "2 of the last 3 datapoints were breaching") {
		t.Errorf("the stored alarm is %+v", got)
	}
	equal(t, "datapoints", got.Datapoints, []float64{20, 1, 20})
}

func TestPeriodsThatWereSkippedAreJudged(t *testing.T) {
	m := &table{names: []string{"a"}, value: minutes(1, 1, 20, 20, 1, 1, 1)}
	e := newEvaluator(t, m, openState(t), atOnce)
	evaluate(t, e, 0, 0)
	equal(t, "transitions", evaluate(t, e, 5, 5), []string{
		`3 high{name="a"} OK->ALARM onset 1`, `5 high{name="a"} ALARM->OK`,
	})
}

func TestAPeriodIsJudgedOnceItsDelayHasPassed(t *testing.T) {
	asked := 0
	m := &table{names: []string{"a"}, value: func(string, string, time.Time) float64 { asked++; return 1 }}
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{above(10)}, Delay: time.Second})
	at := func(d time.Duration) int {
		before := asked
		if _, err := e.Evaluate(t.Context(), simStart.Add(d)); err != nil {
			t.Fatal(err)
		}
		return asked - before
	}
	at(time.Second)
	if n := at(time.Minute + time.Second - time.Nanosecond); n != 0 {
		t.Errorf("asked %d times before the delay has passed", n)
	}
	if n := at(time.Minute + time.Second); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	if n := at(2 * time.Minute); n != 0 {
		t.Errorf("asked %d times in the same period", n)
	}
}

// A restart at any minute changes nothing of what is noticed.
func TestRestartChangesNothing(t *testing.T) {
	values := make([]float64, 120)
	for i := range values {
		values[i] = 10 + float64(i%7)
		if i%40 > 30 {
			values[i] *= 5
		}
	}
	rule := above(1)
	rule.Usual = &alarm.Usual{Factor: 2, Deviations: 3, MinDatapoints: 6}
	opts := alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1}
	m := &table{names: []string{"a", "b"}, value: minutes(values...)}
	last := len(values) - 1
	whole := newEvaluator(t, m, openState(t), opts)
	want := evaluate(t, whole, 0, last)
	if len(want) < 10 {
		t.Fatalf("little happens: %q", want)
	}
	for _, at := range []int{1, 12, 20, 31, 32, 33, 34, 41, 42, 60, 75, 110} {
		s := openState(t)
		got := evaluate(t, newEvaluator(t, m, s, opts), 0, at)
		again := newEvaluator(t, m, s, opts)
		got = append(got, evaluate(t, again, at+1, last)...)
		equal(t, fmt.Sprintf("transitions with a restart after minute %d", at), got, want)
		equal(t, fmt.Sprintf("alarms after a restart after minute %d", at),
			again.Alarms(model.DefaultTenant), whole.Alarms(model.DefaultTenant))
	}
}

// While nothing ran, what others kept of the time is judged as if it had, and what nobody received is not missed.
func TestWhatHappenedMeanwhile(t *testing.T) {
	values := []float64{1, 1, 20, 20, 20, 1, 1, 20, 20, 20, 20, 20, 1, 1, 1, 1}
	opts := atOnce
	m := &table{names: []string{"a"}, value: minutes(values...)}
	want := evaluate(t, newEvaluator(t, m, openState(t), opts), 0, 15)
	s := openState(t)
	got := evaluate(t, newEvaluator(t, m, s, opts), 0, 2)
	got = append(got, evaluate(t, newEvaluator(t, m, s, opts), 8, 15)...)
	equal(t, "transitions with five minutes' pause", got, want)

	nan := math.NaN()
	for _, treat := range []alarm.Missing{alarm.TreatMissing, alarm.TreatNotBreaching, alarm.TreatBreaching} {
		for _, level := range []float64{1, 20} {
			rule := above(10)
			rule.TreatMissingData = treat
			opts := alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1}
			// Nothing from minute 4 to 9, of which triage does not run from 4 to 8; then as before.
			m := &table{names: []string{"a"}, value: minutes(level, level, level, level, nan, nan, nan, nan, nan, nan, level, level, level, level)}
			s := openState(t)
			evaluate(t, newEvaluator(t, m, s, opts), 0, 3)
			if after := evaluate(t, newEvaluator(t, m, s, opts), 8, 13); len(after) != 0 {
				t.Errorf("%s, %v: %v after the pause", treat, level, after)
			}
		}
	}
}

func TestUsualNeedsAPast(t *testing.T) {
	m := &table{names: []string{"a"}, value: minutes(1, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9)}
	rule := above(0)
	rule.Compare, rule.Usual = nil, &alarm.Usual{Factor: 2, MinDatapoints: 6}
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
	equal(t, "transitions", evaluate(t, e, 0, 10), []string{`10 high{name="a"} INSUFFICIENT_DATA->OK`})
	e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
	evaluate(t, e, 0, 3)
	equal(t, "reason", e.Alarms(model.DefaultTenant)[0].Reason, "what is usual is not known yet: 0 of 6 datapoints")
}

// An ongoing fault must not become usual soon, and must in the end.
func TestAFaultIsNotLearntSoon(t *testing.T) {
	m := &table{names: []string{"a"}, value: func(_, _ string, at time.Time) float64 {
		if at.Before(simStart.Add(time.Hour)) {
			return 1
		}
		return 9
	}}
	rule := above(0)
	rule.Compare, rule.Usual = nil, &alarm.Usual{Factor: 2, MinDatapoints: 6}
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
	evaluate(t, e, 0, 70)
	equal(t, "within twelve hours", evaluate(t, e, 71, 60+12*60), []string(nil))
	if got := evaluate(t, e, 60+12*60+1, 60+48*60); len(got) != 1 || !strings.Contains(got[0], "ALARM->OK") {
		t.Errorf("in two days of one-minute periods: %q, want a return to OK", got)
	}
}

func TestMissingSamplesAreMissingData(t *testing.T) {
	m := &table{names: []string{"a"}, value: func(expr, _ string, at time.Time) float64 {
		if expr == "n" {
			return float64(at.Sub(simStart) / time.Minute)
		}
		return 20
	}}
	rule := above(10)
	rule.Samples, rule.MinSamples = "n", 3
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
	equal(t, "transitions", evaluate(t, e, 0, 5), []string{`4 high{name="a"} INSUFFICIENT_DATA->ALARM onset 2`})
}

func TestAFailingRuleStopsNoOther(t *testing.T) {
	bad := above(10)
	bad.Name, bad.Expr = "bad", "y"
	m := &table{names: []string{"a"}, value: minutes(1, 1, 1, 20, 20, 20)}
	failing := &failingExpr{table: m, expr: "y"}
	s := openState(t)
	e := newEvaluator(t, failing, s, alarm.Options{Rules: []alarm.Rule{bad, above(10)}, Delay: -1, Registerer: prometheus.NewRegistry()})
	equal(t, "transitions", evaluate(t, e, 0, 2), []string{`0 high{name="a"} INSUFFICIENT_DATA->OK`})
	status := e.Rules(model.DefaultTenant)
	if s := status[0]; s.EvaluationState != alarm.EvaluationError || s.EvaluationReason != "expr: no such metric" {
		t.Errorf("status of the failing rule: %+v", s)
	}
	if s := status[1]; s.EvaluationState != alarm.EvaluationOK || s.Alarms != 1 || !s.Evaluated.Equal(simStart.Add(2*time.Minute)) {
		t.Errorf("status of the other: %+v", s)
	}
	// What is not the rule's own fault is told apart.
	for err, want := range map[error]alarm.EvaluationState{
		promql.ErrStorage{Err: errors.New("chunk 7 is damaged")}: alarm.EvaluationFailure, store.ErrClosed: alarm.EvaluationFailure,
		store.ErrOverloaded: alarm.EvaluationError,
	} {
		failing.err = fmt.Errorf("query y: %w", err)
		evaluate(t, e, 3, 3)
		if s := e.Rules(model.DefaultTenant)[0]; s.EvaluationState != want || s.EvaluationReason != "expr: query y: "+err.Error() {
			t.Errorf("%v: status %s, %s, want %s", err, s.EvaluationState, s.EvaluationReason, want)
		}
	}
	failing.expr = ""
	equal(t, "transitions once it can be evaluated", evaluate(t, e, 4, 4), []string{
		`4 bad{name="a"} INSUFFICIENT_DATA->ALARM onset 2`, `4 high{name="a"} OK->ALARM onset 2`,
	})
	if s := e.Rules(model.DefaultTenant)[0]; s.EvaluationState != alarm.EvaluationOK {
		t.Errorf("status once it can be evaluated: %+v", s)
	}
}

type failingExpr struct {
	*table
	expr string
	err  error // "no such metric" where nothing is said
}

func (f *failingExpr) failure() error { return gocmp.Or(f.err, errors.New("no such metric")) }

func (f *failingExpr) Query(ctx context.Context, tenant, expr string, at time.Time) ([]store.Point, error) {
	if expr == f.expr {
		return nil, f.failure()
	}
	return f.table.Query(ctx, tenant, expr, at)
}

func (f *failingExpr) QueryRange(ctx context.Context, tenant, expr string, w store.Window, step time.Duration) ([]store.Line, error) {
	if expr == f.expr {
		return nil, f.failure()
	}
	return f.table.QueryRange(ctx, tenant, expr, w, step)
}

func TestRulesComeAndGo(t *testing.T) {
	m := &table{names: []string{"a"}, value: func(string, string, time.Time) float64 { return 20 }}
	s := openState(t)
	e := newEvaluator(t, m, s, atOnce)
	equal(t, "transitions", evaluate(t, e, 0, 1), []string{`0 high{name="a"} INSUFFICIENT_DATA->ALARM onset -3`})

	if err := e.SetRules([]alarm.Rule{{Name: "bad"}}); err == nil {
		t.Error("a bad rule was taken")
	}
	mine := above(10)
	if err := e.SaveRule(t.Context(), model.DefaultTenant, mine); !errors.Is(err, alarm.ErrInvalid) {
		t.Errorf("a rule of the configuration was replaced: %v", err)
	}
	mine.Name = "mine"
	if err := e.SaveRule(t.Context(), model.DefaultTenant, mine); err != nil {
		t.Fatal(err)
	}
	if got := e.Rules(model.DefaultTenant); len(got) != 2 || got[1].Name != "mine" || got[1].Source != alarm.SourceAPI {
		t.Errorf("rules: %+v", got)
	}
	equal(t, "transitions", evaluate(t, e, 2, 2), []string{`2 mine{name="a"} INSUFFICIENT_DATA->ALARM onset -1`})

	// An altered rule keeps its alarms; a removed one ends them.
	altered := above(19)
	if err := e.SetRules([]alarm.Rule{altered}); err != nil {
		t.Fatal(err)
	}
	equal(t, "transitions", evaluate(t, e, 3, 4), []string(nil))
	if err := e.SetRules(nil); err != nil {
		t.Fatal(err)
	}
	equal(t, "transitions", evaluate(t, e, 5, 5), []string{`5 high{name="a"} ALARM->INSUFFICIENT_DATA`})

	// The API's rules are there after a restart, and go when they are deleted.
	e = newEvaluator(t, m, s, alarm.Options{Delay: -1})
	equal(t, "transitions", evaluate(t, e, 6, 7), []string(nil))
	if err := e.DeleteRule(t.Context(), model.DefaultTenant, "mine"); err != nil {
		t.Fatal(err)
	}
	if err := e.DeleteRule(t.Context(), model.DefaultTenant, "mine"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted again: %v", err)
	}
	equal(t, "transitions", evaluate(t, e, 8, 8), []string{`8 mine{name="a"} ALARM->INSUFFICIENT_DATA`})
	left, err := s.Alarms(t.Context(), model.DefaultTenant)
	if err != nil || len(left) != 0 {
		t.Errorf("alarms left: %v %v", left, err)
	}
}

// A rule may go while nothing runs.
func TestAlarmsOfRulesThatAreGoneEnd(t *testing.T) {
	m := &table{names: []string{"a"}, value: func(string, string, time.Time) float64 { return 20 }}
	s := openState(t)
	evaluate(t, newEvaluator(t, m, s, atOnce), 0, 1)
	if err := s.SaveDocuments(t.Context(), model.DefaultTenant, []store.Document{{Kind: alarm.DocumentKind, Name: "unreadable", Body: []byte(`{"of a version": "to come"}`)}}); err != nil {
		t.Fatal(err)
	}
	e := newEvaluator(t, m, s, alarm.Options{Delay: -1})
	equal(t, "transitions", evaluate(t, e, 2, 3), []string{`2 high{name="a"} ALARM->INSUFFICIENT_DATA`})
	if got := e.Rules(model.DefaultTenant); len(got) != 1 || got[0].EvaluationState != alarm.EvaluationError {
		t.Errorf("rules: %+v", got)
	}
}

func TestContributorsThatStayAwayAreForgotten(t *testing.T) {
	m := &table{names: []string{"a"}, value: minutes(1)}
	s := openState(t)
	e := newEvaluator(t, m, s, atOnce)
	evaluate(t, e, 0, 720)
	if n := len(e.Alarms(model.DefaultTenant)); n != 1 {
		t.Errorf("%d alarms, want it still there", n)
	}
	evaluate(t, e, 721, 721)
	if n := len(e.Alarms(model.DefaultTenant)); n != 0 {
		t.Errorf("%d alarms, want it forgotten", n)
	}
	if left, err := s.Alarms(t.Context(), model.DefaultTenant); err != nil || len(left) != 0 {
		t.Errorf("stored: %v %v", left, err)
	}
}

// fullDisk is a state store that takes no alarms while it is full.
type fullDisk struct {
	store.State
	full bool
}

func (f *fullDisk) SaveAlarms(ctx context.Context, tenant string, a []model.Alarm, tr []model.Transition) error {
	if f.full {
		return store.ErrFull
	}
	return f.State.SaveAlarms(ctx, tenant, a, tr)
}

func TestTransitionsWaitForTheStore(t *testing.T) {
	m := &table{names: []string{"a"}, value: minutes(1, 1, 20, 20, 20, 20)}
	s := &fullDisk{State: openState(t)}
	e := newEvaluator(t, m, s, atOnce)
	evaluate(t, e, 0, 2)
	s.full = true
	got, err := e.Evaluate(t.Context(), simStart.Add(3*time.Minute))
	if !errors.Is(err, store.ErrFull) || len(got) != 1 {
		t.Errorf("on a full disk: %v, %v; want the transition and ErrFull", got, err)
	}
	s.full = false
	evaluate(t, e, 4, 4)
	stored, err := s.Transitions(t.Context(), model.DefaultTenant, `high{name="a"}`, store.Window{To: simStart.Add(time.Hour)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "stored afterwards", stored[len(stored)-1:], got)
}

func TestTenantsAreApart(t *testing.T) {
	m := &table{names: []string{"a"}, value: func(string, string, time.Time) float64 { return 1 }}
	opts := atOnce
	opts.Tenants = []string{"one", "two"}
	e := newEvaluator(t, m, openState(t), opts)
	evaluate(t, e, 0, 0)
	for _, tenant := range opts.Tenants {
		if got := e.Alarms(tenant); len(got) != 1 || got[0].Tenant != tenant {
			t.Errorf("alarms of %s: %+v", tenant, got)
		}
	}
	if err := e.SaveRule(t.Context(), "three", above(1)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a rule of an unknown tenant: %v", err)
	}
}

func TestRun(t *testing.T) {
	s := openState(t)
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		m := &table{names: []string{"a"}, value: func(_, _ string, at time.Time) float64 {
			if at.Sub(begun) > 10*time.Minute {
				return 20
			}
			return 1
		}}
		e := newEvaluator(t, m, s, alarm.Options{Rules: []alarm.Rule{above(10)}})
		ctx, cancel := context.WithCancel(t.Context())
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		calls := 0
		var got []string
		done := make(chan error)
		go func() {
			done <- e.Run(ctx, ticker.C, func(_ context.Context, transitions []model.Transition) {
				calls++
				for _, tr := range transitions {
					got = append(got, string(tr.Alarm.State))
				}
			})
		}()
		time.Sleep(15*time.Minute + time.Millisecond)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		equal(t, "transitions", got, []string{"OK", "ALARM"})
		if calls != 15*60 {
			t.Errorf("notify was called %d times, want once a tick", calls)
		}
		// All was saved at the end, not only what changed.
		stored, err := s.Alarms(context.Background(), model.DefaultTenant)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "stored", stored, e.Alarms(model.DefaultTenant))
	})
}

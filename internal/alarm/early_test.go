package alarm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
	"triage/internal/store/metrics"
)

// Expressions that go off early and such that wait, by the comparison. RUN is replaced by a matcher.
var (
	earlyExprs = []struct{ op, expr string }{
		{">", `count_over_time(x{RUN}[1m])`},
		{">=", `max_over_time(x{RUN}[1m])`},
		{">", `max(max_over_time(x{RUN}[2m] offset 10s))`},
		{">", `sum by (i) (count_over_time(x{RUN}[1m]))`},
		{">", `sum(sum_over_time(x_total{RUN}[1m])) / 10 - 3`},
		{">", `sum(2 * changes(x{RUN}[1m]) + 1)`},
		{">", `4 * count(max_over_time(x{RUN}[1m]) > 8)`},
		{">", `1 + clamp_max(max(max_over_time(x{RUN}[1m])), 9)`},
		{">", `10 - min_over_time(x{RUN}[1m])`},
		{"<", `min_over_time(x{RUN}[1m])`},
		{"<=", `min(min_over_time(x{RUN}[1m]))`},
		{"<", `-count_over_time(x{RUN}[1m])`},
		{"<", `min_over_time(x{RUN}[1m]) < 4`},
	}
	waitingExprs = []struct{ op, expr string }{
		{"<", `count_over_time(x{RUN}[1m])`},
		{"<", `max_over_time(x{RUN}[1m])`},
		{">", `x{RUN}`},
		{">", `max(x{RUN})`},
		{">", `rate(x_total{RUN}[1m])`},
		{">", `sum_over_time(x{RUN}[1m])`}, // which may be negative
		{">", `sum(max_over_time(x{RUN}[1m]))`},
		{">", `avg_over_time(x{RUN}[1m])`},
		{">", `avg(max_over_time(x{RUN}[1m]))`},
		{">", `max_over_time(x{RUN}[1m:10s])`}, // of values that are not there yet
		{">", `max_over_time(x{RUN}[1m]) * -1`},
		{">", `max_over_time(x{RUN}[1m]) / min_over_time(x{RUN}[1m])`},
		{">", `min_over_time(x{RUN}[1m])`},
		{">", `count(x{RUN})`},
		{">", `max_over_time(x{RUN}[1m]) < 9`},
		{">", `max_over_time(x{RUN}[1m]) > bool 5`},
		{">", `max_over_time(x{RUN}[1m]) unless count_over_time(x{RUN}[1m]) > 3`},
	}
)

// Whatever comes after a rule went off early, in whatever order, the period that it went off in breaches when it is over.
func TestEarlyIsNeverTakenBack(t *testing.T) {
	m, err := metrics.Open(metrics.Options{Dir: t.TempDir(), OutOfOrder: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	end := time.Now().Add(-time.Minute).Truncate(time.Minute) // the engine refuses samples from the future
	rng := rand.New(rand.NewPCG(1, 2))
	runs := 0
	// run tells when the rule went off: early, when the period was over, or not.
	run := func(t *testing.T, op, expr string) (early, over bool) {
		t.Helper()
		runs++
		matcher := fmt.Sprintf("run=%q", fmt.Sprint(runs))
		rule := above(float64(1 + rng.IntN(8)))
		if rule.Compare.Op = alarm.Op(op); strings.HasPrefix(expr, "-") {
			rule.Compare.Threshold *= -1
		}
		rule.Expr, rule.EvaluationPeriods, rule.DatapointsToAlarm = strings.ReplaceAll(expr, "RUN", matcher), 1, 1
		e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
		evaluate := func(at time.Time) bool {
			if _, err := e.Evaluate(t.Context(), at); err != nil {
				t.Fatal(err)
			}
			for _, r := range e.Rules(model.DefaultTenant) {
				if r.EvaluationState == alarm.EvaluationError {
					t.Fatal(r.EvaluationReason)
				}
			}
			for _, a := range e.Alarms(model.DefaultTenant) {
				if a.State == model.StateAlarm {
					return true
				}
			}
			return false
		}
		evaluate(end.Add(-time.Minute))
		var batch []model.Series
		for i := range 3 {
			for s := -60; s <= 0; s += 1 + rng.IntN(20) {
				at := end.Add(time.Duration(s)*time.Second - time.Duration(rng.IntN(1000))*time.Millisecond).UnixMilli()
				name, v := "x", float64(rng.IntN(15)-3)
				if strings.Contains(expr, "_total") {
					name, v = "x_total", float64(s+70)
				}
				ls := labels.FromStrings("__name__", name, "run", fmt.Sprint(runs), "i", fmt.Sprint(i))
				batch = append(batch, model.Series{Labels: ls, Samples: []model.Sample{{T: at, V: v}}})
			}
		}
		rng.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
		some := rng.IntN(len(batch))
		write := func(list []model.Series) {
			for _, s := range list {
				if _, err := m.Append(t.Context(), model.DefaultTenant, []model.Series{s}); err != nil {
					t.Fatal(err)
				}
			}
		}
		write(batch[:some])
		early = evaluate(end.Add(-20 * time.Second))
		write(batch[some:])
		return early, evaluate(end)
	}
	for _, x := range earlyExprs {
		t.Run(x.expr, func(t *testing.T) {
			fired := 0
			for range 20 {
				early, over := run(t, x.op, x.expr)
				if early && !over {
					t.Fatal("it went off early, and what came later took that back")
				}
				if early {
					fired++
				}
			}
			if fired == 0 {
				t.Error("it never went off early")
			}
		})
	}
	for _, x := range waitingExprs {
		t.Run("wait "+x.expr, func(t *testing.T) {
			for range 8 {
				if early, _ := run(t, x.op, x.expr); early {
					t.Fatal("it went off early, and what comes later may take that back")
				}
			}
		})
	}
}

// lines are log lines that came, by second.
type logLines struct {
	alarm.Events // nothing else is asked
	at           []int
	now          int
}

func (l *logLines) LogCounts(_ context.Context, q store.CountQuery) (out []store.CountStat, err error) {
	for at := q.From; at.Before(q.To); at = at.Add(q.Step) {
		s := store.CountStat{At: at, By: []string{}}
		for _, sec := range l.at {
			if when := simStart.Add(time.Duration(sec) * time.Second); sec <= l.now && !when.Before(at) && when.Before(at.Add(q.Step)) {
				s.Count++
			}
		}
		if s.Count > 0 {
			out = append(out, s)
		}
	}
	return out, nil
}

// seconds runs an evaluator every 5 s, as of what had come by then.
func (l *logLines) run(t *testing.T, e *alarm.Evaluator, to int) (out []string) {
	for l.now = 0; l.now <= to; l.now += 5 {
		got, err := e.Evaluate(t.Context(), simStart.Add(time.Duration(l.now)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range got {
			out = append(out, fmt.Sprintf("%d %s->%s", l.now, tr.From, tr.Alarm.State))
		}
	}
	return out
}

// Of five minutes in which more than three lines are too many, the fourth is enough.
func TestACountGoesOffEarly(t *testing.T) {
	rule := alarm.Rule{Name: "pool", Logs: &alarm.Search{Query: "exhausted"}, Compare: &alarm.Compare{Op: alarm.Above, Threshold: 3},
		Period: alarm.Duration(5 * time.Minute), EvaluationPeriods: 1}
	ev := &logLines{at: []int{310, 311, 312, 330}}
	e := newEvaluator(t, &table{}, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Events: ev, Delay: -1})
	equal(t, "transitions", ev.run(t, e, 1000), []string{"0 INSUFFICIENT_DATA->OK", "350 OK->ALARM", "900 ALARM->OK"})

	// Two of three periods: what was judged counts with what is under way, and the lower side waits.
	rule.EvaluationPeriods, rule.DatapointsToAlarm = 3, 2
	ev = &logLines{at: []int{310, 311, 312, 330, 610, 611, 612, 613}}
	e = newEvaluator(t, &table{}, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Events: ev, Delay: -1})
	equal(t, "transitions of two", ev.run(t, e, 1600), []string{"0 INSUFFICIENT_DATA->OK", "650 OK->ALARM", "1500 ALARM->OK"})
	rule.Compare = &alarm.Compare{Op: alarm.Below, Threshold: 1}
	ev = &logLines{at: []int{10, 310, 910}}
	e = newEvaluator(t, &table{}, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Events: ev, Delay: -1})
	equal(t, "transitions of too few", ev.run(t, e, 1600)[2:], []string{"1500 OK->ALARM"})
}

// A source that is late holds nothing up that is certain already.
func TestEarlyBeforeTheWatermark(t *testing.T) {
	rule := alarm.Rule{Name: "pool", Logs: &alarm.Search{Query: "exhausted"}, Compare: &alarm.Compare{Op: alarm.Above, Threshold: 3},
		Period: alarm.Duration(time.Minute), EvaluationPeriods: 1}
	ev := &logLines{at: []int{1001, 1002, 1003, 1004}}
	l := &line{t: t, sources: alarm.NewSources(), sends: map[string][]string{"otlp": {alarm.LogsKey}}}
	l.e = newEvaluator(t, &table{}, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Events: ev, Delay: -1, Sources: l.sources})
	l.run(0, 1000)
	ev.now = 1005
	equal(t, "transitions", l.run(1000, 1090, "otlp"), []string{"1000 pool{} OK->ALARM"})
	// What is judged once the source is back begins with what came before, and ends nothing.
	ev.now = 1200
	equal(t, "transitions when it is back", l.run(1090, 1300), []string{`1140 pool{} ALARM->OK`})
}

// Many rules of that kind are not all looked at each time.
func TestEarlyLooksAreBounded(t *testing.T) {
	ev := &logLines{at: []int{310, 311, 312, 330}}
	var rules []alarm.Rule
	for i := range 100 {
		rules = append(rules, alarm.Rule{Name: fmt.Sprintf("pool %02d", i), Logs: &alarm.Search{Query: "exhausted"}, Compare: &alarm.Compare{Op: alarm.Above, Threshold: 3},
			Period: alarm.Duration(5 * time.Minute), EvaluationPeriods: 1})
	}
	e := newEvaluator(t, &table{}, openState(t), alarm.Options{Rules: rules, Events: ev, Delay: -1})
	fired := map[int]int{}
	for ev.now = 0; ev.now <= 600; ev.now += 5 {
		got, err := e.Evaluate(t.Context(), simStart.Add(time.Duration(ev.now)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range got {
			if tr.Alarm.State == model.StateAlarm {
				fired[ev.now]++
			}
		}
	}
	equal(t, "alarms by second", fired, map[int]int{350: 20, 355: 20, 360: 20, 365: 20, 370: 20})
}

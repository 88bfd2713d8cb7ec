package alarm_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
)

// counted is what a search finds in each minute from simStart on.
type counted struct {
	stats func(minute int) []store.CountStat
	asked []store.CountQuery
}

func (c *counted) SpanCounts(_ context.Context, q store.CountQuery) (out []store.CountStat, err error) {
	c.asked = append(c.asked, q)
	for at := q.From; at.Before(q.To); at = at.Add(q.Step) {
		for _, s := range c.stats(int(math.Floor(at.Sub(simStart).Minutes()))) {
			s.At = at
			out = append(out, s)
		}
	}
	return out, nil
}

func (c *counted) LogCounts(ctx context.Context, q store.CountQuery) ([]store.CountStat, error) {
	return c.SpanCounts(ctx, q)
}

func TestRuleOnLogs(t *testing.T) {
	ev := &counted{stats: func(minute int) []store.CountStat {
		if minute == 3 || minute == 4 { // and nothing at all otherwise
			return []store.CountStat{{By: []string{"cart"}, Count: 7}}
		}
		return nil
	}}
	rule := above(5)
	rule.Expr, rule.Logs = "", &alarm.Search{Query: `level:error "pool exhausted"`, By: []string{"service.name"}}
	e := newEvaluator(t, &table{}, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Events: ev, Delay: -1})
	equal(t, "transitions", evaluate(t, e, 0, 8), []string{ // a period's rows lie before its end
		`5 high{service.name="cart"} INSUFFICIENT_DATA->ALARM onset 3`, `7 high{service.name="cart"} ALARM->OK`,
	})
	if q := ev.asked[len(ev.asked)-1]; q.Where.String() != `severity:error AND "pool exhausted"` && q.Where.String() != `severity:error "pool exhausted"` || q.Window.Len() != time.Minute {
		t.Errorf("asked for %s in %s", q.Where, q.Window.Len())
	}

	// Without groups, nothing found is 0 from the first period on.
	rule.Logs = &alarm.Search{Query: "x"}
	quiet := &counted{stats: func(int) []store.CountStat { return nil }}
	e = newEvaluator(t, &table{}, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Events: quiet, Delay: -1})
	equal(t, "transitions of nothing", evaluate(t, e, 0, 2), []string{`0 high{} INSUFFICIENT_DATA->OK`})
}

// A percentile of few samples leaves the state as it is, if so asked.
func TestPercentilesOfFewSamples(t *testing.T) {
	counts := []int64{2000, 2000, 2000, 50, 50, 50, 2000, 2000, 2000}
	ev := &counted{stats: func(minute int) []store.CountStat {
		if minute < 0 || minute >= len(counts) {
			return nil
		}
		value := 1.0
		if minute >= 3 {
			value = 9
		}
		return []store.CountStat{{By: []string{}, Count: counts[minute], Quantile: value}}
	}}
	rule := above(5)
	rule.Expr, rule.Spans = "", &alarm.Search{Value: "p99"}
	for treat, want := range map[alarm.LowSamples][]string{
		alarm.LowSamplesEvaluate: {`1 high{} INSUFFICIENT_DATA->OK`, `5 high{} OK->ALARM onset 3`},
		alarm.LowSamplesIgnore:   {`1 high{} INSUFFICIENT_DATA->OK`, `8 high{} OK->ALARM onset 6`},
	} {
		rule.LowSamples = treat
		e := newEvaluator(t, &table{}, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Events: ev, Delay: -1})
		got := evaluate(t, e, 0, 4)
		if a := e.Alarms(model.DefaultTenant)[0]; treat == alarm.LowSamplesIgnore && !strings.Contains(a.Reason, "it takes 1000") {
			t.Errorf("reason: %s", a.Reason)
		}
		equal(t, string(treat), append(got, evaluate(t, e, 5, 8)...), want)
	}
}

func TestRuleOnMetricMath(t *testing.T) {
	// Of every label set the share of errors; "total" has none, and is the same for all.
	m := &table{names: []string{"a", "b"}, value: func(expr, name string, at time.Time) float64 {
		minute := at.Sub(simStart).Minutes()
		switch {
		case minute < 0:
			return math.NaN()
		case expr == "errors" && name == "b" && minute >= 3:
			return 50
		case expr == "errors":
			return 1
		}
		return 100
	}}
	rule := above(20)
	rule.Expr, rule.Math = "", &alarm.Math{Expr: "100 * errors / calls", Metrics: map[string]string{"errors": "errors", "calls": "calls"}}
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
	equal(t, "transitions", evaluate(t, e, 0, 5), []string{
		`0 high{name="a"} INSUFFICIENT_DATA->OK`, `0 high{name="b"} INSUFFICIENT_DATA->OK`, `4 high{name="b"} OK->ALARM onset 2`,
	})
	// Functions over time see the same whether periods are judged one by one or together.
	rule.Math = &alarm.Math{Expr: "RUNNING_SUM(errors) - errors", Metrics: map[string]string{"errors": "errors"}}
	one := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
	evaluate(t, one, 0, 5)
	many := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
	evaluate(t, many, 0, 0)
	evaluate(t, many, 5, 5)
	equal(t, "alarms", many.Alarms(model.DefaultTenant), one.Alarms(model.DefaultTenant))
}

func TestEvaluationStates(t *testing.T) {
	zero := above(1)
	zero.Name, zero.Expr = "divides", "by zero"
	never := above(1)
	never.Name, never.Expr = "never", "none"
	wide := above(1)
	wide.Name, wide.Expr = "wide", "million"
	m := &table{names: []string{"a"}, value: func(expr, _ string, _ time.Time) float64 {
		switch expr {
		case "by zero":
			return math.Inf(1)
		case "none":
			return math.NaN()
		}
		return 1
	}}
	rules := []alarm.Rule{zero, never, wide, above(10)}
	for i := range rules { // what PromQL itself would refuse is not what this is about
		rules[i].Expr = strings.ReplaceAll(rules[i].Expr, " ", "_")
	}
	silent := &table{names: []string{"a"}, value: func(expr, name string, at time.Time) float64 {
		return m.value(strings.ReplaceAll(expr, "_", " "), name, at)
	}}
	nothing := &withoutRows{silent, "none"}
	e := newEvaluator(t, nothing, openState(t), alarm.Options{Rules: rules, Delay: -1, Selects: func(_ context.Context, _, expr string, limit int) (int, error) {
		if expr == "million" {
			return limit, nil
		}
		return 1, nil
	}})
	equal(t, "transitions", evaluate(t, e, 0, 3), []string{`0 high{name="a"} INSUFFICIENT_DATA->OK`})
	want := map[string]string{
		"divides": "PARTIAL_DATA none of 1 values is a number, as when it is divided by zero",
		"never":   "PARTIAL_DATA nothing matches: it has had no datapoint yet",
		"wide":    "EVALUATION_ERROR expr: it selects more than 100000 series",
		"high":    "OK ",
	}
	for _, r := range e.Rules(model.DefaultTenant) {
		equal(t, r.Name, string(r.EvaluationState)+" "+r.EvaluationReason, want[r.Name])
	}
	if err := e.SaveRule(t.Context(), model.DefaultTenant, wideOf("mine")); !errors.Is(err, alarm.ErrInvalid) {
		t.Errorf("a rule that selects a million series was stored: %v", err)
	}
}

func wideOf(name string) alarm.Rule {
	r := above(1)
	r.Name, r.Expr = name, "million"
	return r
}

// withoutRows answers one expression with nothing at all.
type withoutRows struct {
	*table
	expr string
}

func (w *withoutRows) Query(ctx context.Context, tenant, expr string, at time.Time) ([]store.Point, error) {
	if expr == w.expr {
		return nil, nil
	}
	return w.table.Query(ctx, tenant, expr, at)
}

func (w *withoutRows) QueryRange(ctx context.Context, tenant, expr string, r store.Window, step time.Duration) ([]store.Line, error) {
	if expr == w.expr {
		return nil, nil
	}
	return w.table.QueryRange(ctx, tenant, expr, r, step)
}

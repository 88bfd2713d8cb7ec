package alarm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	prom "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"triage/internal/model"
)

// Some conditions cannot be undone by what comes later: when a search has found more lines than it may, no further line makes
// it fewer. A rule of that kind need not wait for the end of a period, nor for a source that is late, to go off. It never
// ends early.

// course is how the value of an expression at one time moves as more of the data come that it is about.
type course int

const (
	anyhow course = iota // it may rise and fall
	fixed
	rises
	falls
)

const (
	// earlyParts is how often a period is looked at before its end, and earlyEvery how far apart these are at least.
	earlyParts = 6
	earlyEvery = 5 * time.Second
	// maxEarly bounds the rules that are looked at early in one evaluation, so that many searches don't cost many times as much;
	// the others wait for a later one, or the end of their period.
	maxEarly = 20
)

// early tells whether a rule goes off as soon as its threshold is crossed: it compares with one threshold, on the side to
// which its datapoints move. These are
//
//   - counts and rates of a search
//   - PromQL whose value at a time only rises (>, >=) or only falls (<, <=) as samples are added: max_over_time,
//     count_over_time, changes and resets rise, sum_over_time does of a counter (..._total, _count, _bucket), min_over_time falls;
//     max and count of what rises, sum of what rises and is not negative, min of what falls; and any of them computed on with
//     constants, or filtered by a constant on the same side.
//
// What is computed from a rate, a mean, a percentile or the latest value can come back, and waits.
func (r Rule) early() bool {
	if r.Compare == nil || r.Usual != nil || r.LowSamples == LowSamplesIgnore {
		return false
	}
	if r.Samples != "" && r.MinSamples > 0 && !r.moves(r.Samples, rises) {
		return false
	}
	way := rises
	switch r.Compare.Op {
	case Above, AtLeast:
	case Below, AtMost:
		way = falls
	default:
		return false
	}
	if s := r.search(); s != nil {
		return way == rises && (s.Value == "count" || s.Value == "rate")
	}
	return r.Expr != "" && r.moves(r.Expr, way)
}

func (r Rule) search() *Search {
	if r.Logs != nil {
		return r.Logs
	}
	return r.Spans
}

func (r Rule) moves(expr string, way course) bool {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	return err == nil && courseOf(parsed) == way
}

// courseOf follows values through an expression.
func courseOf(e parser.Expr) course {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return courseOf(e.Expr)
	case *parser.NumberLiteral:
		return fixed
	case *parser.UnaryExpr:
		if e.Op == parser.SUB {
			return courseOf(e.Expr).turned()
		}
		return courseOf(e.Expr)
	case *parser.Call:
		return courseOfCall(e)
	case *parser.AggregateExpr:
		switch of := courseOf(e.Expr); {
		case of == rises && (e.Op == parser.MAX || e.Op == parser.SUM && neverNegative(e.Expr)), of == falls && e.Op == parser.MIN:
			return of
		case (of == rises || of == falls) && e.Op == parser.COUNT:
			return rises
		}
	case *parser.BinaryExpr:
		return courseOfBinary(e)
	}
	return anyhow
}

func (c course) turned() course {
	switch c {
	case rises:
		return falls
	case falls:
		return rises
	}
	return c
}

func courseOfCall(e *parser.Call) course {
	switch e.Func.Name {
	case "max_over_time", "count_over_time", "changes", "resets":
		if samples(e.Args[0]) != nil {
			return rises
		}
	case "min_over_time":
		if samples(e.Args[0]) != nil {
			return falls
		}
	case "sum_over_time":
		if s := samples(e.Args[0]); s != nil && counts(s) {
			return rises
		}
	case "ceil", "floor":
		return courseOf(e.Args[0])
	case "clamp_min", "clamp_max":
		if courseOf(e.Args[1]) == fixed {
			return courseOf(e.Args[0])
		}
	}
	return anyhow
}

// samples is the selector of what a function is over, nil if it computes with values that are not there yet, as a subquery
// does, or of a time that is set.
func samples(e parser.Expr) *parser.VectorSelector {
	m, ok := unwrap(e).(*parser.MatrixSelector)
	if !ok {
		return nil
	}
	v, ok := m.VectorSelector.(*parser.VectorSelector)
	if !ok || v.Timestamp != nil || v.StartOrEnd != 0 {
		return nil
	}
	return v
}

// counts tells whether a metric is a counter by its name.
func counts(v *parser.VectorSelector) bool {
	return slices.ContainsFunc(v.LabelMatchers, func(m *labels.Matcher) bool {
		return m.Name == prom.MetricNameLabel && m.Type == labels.MatchEqual &&
			slices.ContainsFunc([]string{"_total", "_count", "_bucket"}, func(s string) bool { return strings.HasSuffix(m.Value, s) })
	})
}

// neverNegative tells whether an expression is known to be so: then more series make no sum of it less.
func neverNegative(e parser.Expr) bool {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return neverNegative(e.Expr)
	case *parser.NumberLiteral:
		return e.Val >= 0
	case *parser.AggregateExpr:
		return e.Op == parser.COUNT || neverNegative(e.Expr)
	case *parser.BinaryExpr:
		return (e.Op == parser.ADD || e.Op == parser.MUL || e.Op == parser.DIV) && neverNegative(e.LHS) && neverNegative(e.RHS) ||
			e.Op.IsComparisonOperator() && neverNegative(e.LHS)
	case *parser.Call:
		switch e.Func.Name {
		case "count_over_time", "changes", "resets", "sum_over_time":
			return true
		case "max_over_time":
			s := samples(e.Args[0])
			return s != nil && counts(s)
		}
	}
	return false
}

// courseOfBinary is that of an expression computed on with a constant.
func courseOfBinary(e *parser.BinaryExpr) course {
	left, right := courseOf(e.LHS), courseOf(e.RHS)
	switch {
	case left == fixed && right == fixed:
		return fixed
	case left == fixed && e.Op == parser.ADD:
		return right
	case left == fixed && e.Op == parser.SUB:
		return right.turned()
	case left == fixed && e.Op == parser.MUL && positive(e.LHS):
		return right
	case right != fixed:
		return anyhow
	}
	switch e.Op {
	case parser.ADD, parser.SUB:
		return left
	case parser.MUL, parser.DIV:
		if positive(e.RHS) {
			return left
		}
	case parser.GTR, parser.GTE:
		if left == rises && !e.ReturnBool {
			return left
		}
	case parser.LSS, parser.LTE:
		if left == falls && !e.ReturnBool {
			return left
		}
	}
	return anyhow
}

func positive(e parser.Expr) bool {
	n, ok := unwrap(e).(*parser.NumberLiteral)
	return ok && n.Val > 0
}

// evaluateEarly looks at the periods that cannot be judged yet, the last of which is not over at at. What is breaching in
// them stays so. left is how many more rules may be looked at.
func (w *watch) evaluateEarly(ctx context.Context, src sources, at time.Time, delay time.Duration, left *int) ([]model.Transition, error) {
	period := time.Duration(w.rule.Period)
	if *left == 0 {
		return nil, nil
	}
	slot, _ := w.due(at, delay)
	if part := max(earlyEvery, period/earlyParts); !w.early || w.last.IsZero() || at.Sub(slot) < part || at.Sub(w.lookedAt) < part {
		return nil, nil
	}
	w.lookedAt = at
	*left--
	end := slot.Add(period)
	oldest := end.Add(-time.Duration(w.rule.EvaluationPeriods-1) * period)
	from := w.last.Add(period)
	if from.Before(oldest) {
		from = oldest
	}
	frames, err := w.fetch(ctx, src, from, end)
	if err != nil {
		return nil, err
	}
	breaching := make(map[string][]point) // those ahead, in order of time
	labels := make(map[string]map[string]string)
	for _, f := range frames {
		for id, v := range f.values {
			p := point{Datapoint: Datapoint{At: f.at, Value: v.value}, samples: v.samples}
			if over, _, _ := w.breaching(nil, p); over && v.samples >= w.rule.MinSamples {
				breaching[id], labels[id] = append(breaching[id], p), v.labels
			}
		}
	}
	var out []model.Transition
	for _, id := range slices.Sorted(maps.Keys(breaching)) {
		c := w.contributors[id]
		if c == nil {
			c = w.newContributor(w.newAlarm(id, labels[id], at))
		}
		if tr, ok := w.alarmEarly(c, breaching[id], oldest, end, at); ok {
			if w.contributors[id] == nil && len(w.contributors) >= maxContributors {
				w.dropped++
				continue
			}
			w.contributors[id] = c
			out = append(out, tr)
		}
	}
	return out, nil
}

// alarmEarly lets an alarm go off by what was judged and what lies ahead, if that suffices whatever else comes.
func (w *watch) alarmEarly(c *contributor, ahead []point, oldest, end, at time.Time) (model.Transition, bool) {
	a := &c.alarm
	if a.State == model.StateAlarm {
		return model.Transition{}, false
	}
	var first time.Time
	n := len(ahead)
	for _, p := range c.points {
		if p.Status == DatapointBreaching && !p.At.Before(oldest) {
			n++
			if first.IsZero() {
				first = p.At
			}
		}
	}
	if n < w.rule.DatapointsToAlarm {
		return model.Transition{}, false
	}
	if first.IsZero() {
		first = ahead[0].At
	}
	from, last := a.State, ahead[len(ahead)-1]
	w.enter(c, model.StateAlarm, at)
	c.early, c.seen = end, at
	a.Onset, a.Updated, a.Value, a.Threshold = first.Add(-time.Duration(w.rule.Period)), at, last.Value, w.rule.Compare.Threshold
	a.Reason = fmt.Sprintf("%d of %d datapoints are breaching, %d make an alarm, and what is still to come cannot change that; the latest is %s already, the threshold %s",
		n, w.rule.EvaluationPeriods, w.rule.DatapointsToAlarm, quantity(a.Value, a.Unit), quantity(a.Threshold, a.Unit))
	return transition(from, *a), true
}

package slo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	prom "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// windowParameter stands in queries for the time that they are over, as Sloth's users write it.
const windowParameter = "{{.window}}"

var promOps = map[string]string{"lte": "<=", "gte": ">=", "lt": "<", "gt": ">"}

// over makes a query one over a time: by its parameter, or by counting what each of its series counted in it. What is no
// counter is added up.
func over(query, window string, counter bool) (string, error) {
	if strings.Contains(query, windowParameter) {
		return printed(strings.ReplaceAll(query, windowParameter, window))
	}
	if err := instant(query); err != nil {
		return "", err
	}
	parsed, _ := parser.NewParser(parser.Options{}).ParseExpr(query) // instant has read it
	function := "sum_over_time"
	if counter {
		function = "increase"
	}
	type place struct{ from, to int }
	var places []place
	var wrong error
	parser.Inspect(parsed, func(n parser.Node, path []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			if slices.ContainsFunc(path, func(p parser.Node) bool { _, ranged := p.(*parser.MatrixSelector); return ranged }) {
				wrong = fmt.Errorf("it is over a fixed time: write %s in place of it", windowParameter)
			}
			if n.OriginalOffset != 0 || n.Timestamp != nil {
				wrong = fmt.Errorf("offset and @ cannot be over a time: write the function and %s yourself", windowParameter)
			}
			places = append(places, place{int(n.PosRange.Start), int(n.PosRange.End)})
		case *parser.SubqueryExpr:
			wrong = fmt.Errorf("a subquery is over a fixed time: write %s in place of it", windowParameter)
		}
		return nil
	})
	if wrong != nil {
		return "", wrong
	}
	slices.SortFunc(places, func(a, b place) int { return b.from - a.from })
	for _, p := range places {
		query = query[:p.from] + function + "(" + query[p.from:p.to] + "[" + window + "])" + query[p.to:]
	}
	return printed(query)
}

// printed is a query as PromQL prints it, on one line and without comments, so that it can stand within others.
func printed(query string) (string, error) {
	if err := instant(query); err != nil {
		return "", err
	}
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return "", err
	}
	return parsed.String(), nil
}

// instant says why a query gives no values by label set.
func instant(query string) error {
	if strings.TrimSpace(query) == "" {
		return fmt.Errorf("is missing")
	}
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return err
	}
	if t := parsed.Type(); t != parser.ValueTypeVector {
		return fmt.Errorf("it yields a %s, not an instant vector", parser.DocumentedType(t))
	}
	return nil
}

// promDuration writes a time as PromQL does.
func promDuration(d time.Duration) string { return prom.Duration(d).String() }

// badShare is PromQL for the share of what was bad within a time.
func (s SLO) badShare(o Objective, window time.Duration) string {
	switch s.Spec.BudgetingMethod {
	case Timeslices:
		slice := promDuration(o.TimeSliceWindow.length())
		return fmt.Sprintf("1 - avg_over_time(((1 - (%s)) >= bool %s)[%s:%s])", s.badEvents(o, o.TimeSliceWindow.length()),
			number(o.TimeSliceTarget), promDuration(window), slice)
	case RatioTimeslices:
		return fmt.Sprintf("avg_over_time((%s)[%s:%s])", s.badEvents(o, o.TimeSliceWindow.length()), promDuration(window),
			promDuration(o.TimeSliceWindow.length()))
	}
	return s.badEvents(o, window)
}

// sampleStep is the least time between looks at a metric that is no counter of events.
const sampleStep = time.Minute

// maxSamples bounds these looks.
const maxSamples = 2000

// badEvents is the share of bad events, whatever slices they fall in. With no events at all there is none.
func (s SLO) badEvents(o Objective, window time.Duration) string {
	w := promDuration(window)
	step := promDuration(max(sampleStep, (window / maxSamples).Truncate(time.Second)))
	spec := s.Spec.Indicator.Spec
	if m := spec.ThresholdMetric; m != nil {
		query, _ := printed(m.query()) // which was validated
		return fmt.Sprintf("1 - avg_over_time(((%s) %s bool %s)[%s:%s])", query, promOps[o.Op], number(*o.Value), w, step)
	}
	r := spec.RatioMetric
	if r.Raw != nil {
		query, _ := printed(r.Raw.query())
		mean := fmt.Sprintf("avg_over_time((%s)[%s:%s])", query, w, step)
		if r.RawType == "success" {
			return "1 - " + mean
		}
		return mean
	}
	total := s.counted(r.Total, window)
	if r.Bad != nil {
		return fmt.Sprintf("((%s) or 0 * (%s)) / ((%s) > 0)", s.counted(r.Bad, window), total, total)
	}
	return fmt.Sprintf("clamp_min(1 - ((%s) or 0 * (%s)) / ((%s) > 0), 0)", s.counted(r.Good, window), total, total)
}

// counted is PromQL for a number of events; the query was validated.
func (s SLO) counted(m *Metric, window time.Duration) string {
	for _, c := range s.countings() {
		if c.Metric == m {
			return c.over(promDuration(window))
		}
	}
	q, _ := over(m.query(), promDuration(window), s.Spec.Indicator.Spec.RatioMetric.Counter)
	return q
}

// events is PromQL for the number of all events, "" where it is not events that are counted.
func (s SLO) events(window time.Duration) string {
	r := s.Spec.Indicator.Spec.RatioMetric
	if s.Spec.BudgetingMethod != Occurrences || r == nil || r.Total == nil {
		return ""
	}
	return s.counted(r.Total, window)
}

// burn is PromQL for how many times faster than it may the budget is used up: at 1 it lasts just for its window.
func (s SLO) burn(o Objective, window time.Duration) string {
	return fmt.Sprintf("(%s) / %s", s.badShare(o, window), number(budget(o)))
}

// budget is the share that may be bad.
func budget(o Objective) float64 {
	f, _ := strconv.ParseFloat(strconv.FormatFloat(1-o.target(), 'g', 10, 64), 64) // 1-0.999 is 0.0010000000000000009
	return f
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// labelled adds a label to what a query yields.
func labelled(query, name, value string) string {
	return fmt.Sprintf("label_replace(%s, %q, %s, \"\", \"\")", query, name, strconv.Quote(strings.ReplaceAll(value, "$", "$$")))
}

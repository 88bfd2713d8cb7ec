package alarm

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/parser/posrange"

	"triage/internal/metricmath"
	"triage/internal/model"
	"triage/internal/search"
)

// Validate reports everything that is wrong with a rule that WithDefaults completed.
func (r Rule) Validate() error { return errors.Join(r.problems("")...) }

// ValidateRules reports everything that is wrong with a list of rules, by path: path "alarm.rules" gives
// "alarm.rules[2].period: ...".
func ValidateRules(path string, rules []Rule) error {
	var errs []error
	first := make(map[string]int, len(rules))
	for i, r := range rules {
		at := fmt.Sprintf("%s[%d].", path, i)
		errs = append(errs, r.WithDefaults().problems(at)...)
		if j, twice := first[r.Name]; twice && r.Name != "" {
			errs = append(errs, fmt.Errorf("%sname: %q is also the name of %s[%d]", at, r.Name, path, j))
			continue
		}
		first[r.Name] = i
	}
	byName := make(map[string]Rule, len(rules))
	for _, r := range rules {
		byName[r.Name] = r
	}
	circles := cycles(byName)
	for i, r := range rules {
		if err := circles[r.Name]; err != nil {
			errs = append(errs, fmt.Errorf("%s[%d].composite: %w", path, i, err))
		}
	}
	return errors.Join(errs...)
}

func (r Rule) problems(at string) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(at+field+": "+format, args...))
	}
	switch {
	case r.Name == "":
		bad("name", "is missing")
	case len(r.Name) > maxName:
		bad("name", "is %d bytes long, at most %d are allowed", len(r.Name), maxName)
	}
	switch r.Signal {
	case model.SignalErrors, model.SignalDuration, model.SignalRate, model.SignalMetric:
	default:
		bad("signal", "%q is none of errors, duration, rate, metric", r.Signal)
	}
	errs = append(errs, r.conditionProblems(at)...)
	if r.Samples != "" {
		if err := checkPromQL(r.Samples); err != nil {
			bad("samples", "%w", err)
		}
	}
	if r.MinSamples < 0 || math.IsNaN(r.MinSamples) {
		bad("min_samples", "%v is negative", r.MinSamples)
	}
	counted := r.Samples != "" || r.Logs != nil || r.Spans != nil
	if r.MinSamples > 0 && !counted {
		bad("min_samples", "%v needs samples to count", r.MinSamples)
	}
	switch r.LowSamples {
	case "", LowSamplesEvaluate, LowSamplesIgnore:
	default:
		bad("low_samples", "%q is neither evaluate nor ignore", r.LowSamples)
	}
	switch {
	case r.Percentile != 0 && !(r.Percentile > 0 && r.Percentile < 1):
		bad("percentile", "%v is not between 0 and 1", r.Percentile)
	case r.LowSamples == LowSamplesIgnore && r.percentile() == 0:
		bad("low_samples", "%q needs a percentile", r.LowSamples)
	case r.LowSamples == LowSamplesIgnore && !counted:
		bad("low_samples", "%q needs samples to count", r.LowSamples)
	}
	if r.Composite != "" && (r.Compare != nil || r.Usual != nil) {
		bad("composite", "has no datapoints for compare or usual")
	}
	if r.Composite == "" && r.Compare == nil && r.Usual == nil {
		bad("compare", "neither compare nor usual is given")
	}
	if p := time.Duration(r.Period); p < minPeriod || p > maxPeriod {
		bad("period", "%s is not between %s and %s", r.Period, Duration(minPeriod), Duration(maxPeriod))
	}
	if r.EvaluationPeriods < 1 || r.EvaluationPeriods > maxPeriods {
		bad("evaluation_periods", "%d is not between 1 and %d", r.EvaluationPeriods, maxPeriods)
	}
	switch {
	case r.DatapointsToAlarm < 1:
		bad("datapoints_to_alarm", "%d is less than 1", r.DatapointsToAlarm)
	case r.DatapointsToAlarm > r.EvaluationPeriods:
		bad("datapoints_to_alarm", "%d is more than evaluation_periods (%d)", r.DatapointsToAlarm, r.EvaluationPeriods)
	}
	switch r.TreatMissingData {
	case TreatMissing, TreatNotBreaching, TreatBreaching, TreatIgnore:
	default:
		bad("treat_missing_data", "%q is none of missing, notBreaching, breaching, ignore", r.TreatMissingData)
	}
	if c := r.Compare; c != nil {
		switch _, banded := bandSides[c.Op]; {
		case banded || c.Band != "":
			errs = append(errs, r.bandProblems(at+"compare.")...)
		case c.Op != Above && c.Op != AtLeast && c.Op != Below && c.Op != AtMost:
			bad("compare.op", "%q is none of >, >=, <, <=", c.Op)
		}
		if math.IsNaN(c.Threshold) || math.IsInf(c.Threshold, 0) {
			bad("compare.threshold", "%v is not a number that values can cross", c.Threshold)
		}
	}
	if u := r.Usual; u != nil {
		errs = append(errs, u.problems(at+"usual.", counted)...)
	}
	if s := r.Suppressor; s != nil {
		switch {
		case s.Alarm == "":
			bad("suppressor.alarm", "is missing")
		case s.Alarm == r.Name:
			bad("suppressor.alarm", "it cannot suppress itself")
		}
		if s.Wait < 0 {
			bad("suppressor.wait", "%s is negative", s.Wait)
		}
		if s.Extension < 0 {
			bad("suppressor.extension", "%s is negative", s.Extension)
		}
	}
	for i, m := range r.Mute {
		errs = append(errs, m.problems(fmt.Sprintf("%smute[%d]", at, i))...)
	}
	return errs
}

// bandProblems says what is wrong with a comparison with a band.
func (r Rule) bandProblems(at string) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(at+field+": "+format, args...))
	}
	c := r.Compare
	if _, banded := bandSides[c.Op]; !banded {
		bad("op", "%q is none of %s, %s, %s, by which a band is compared with", c.Op, OutsideBand, AboveBand, BelowBand)
	}
	if c.Threshold != 0 {
		bad("threshold", "%v is one threshold too many beside a band", c.Threshold)
	}
	if r.Usual != nil {
		bad("band", "says what is usual, as usual does: leave one of them out")
	}
	of, _, err := metricmath.ParseBand(c.Band)
	switch {
	case err != nil:
		bad("band", "%w", err)
	case r.Math == nil:
		bad("band", "is over an expression of metric math; for other conditions usual says the same")
	default:
		if e, err := metricmath.Parse(r.Math.Expr); err == nil && !e.Equal(of) {
			bad("band", "is not over %s, which it is compared with", r.Math.Expr)
		}
	}
	return errs
}

// recordPattern is of names of metrics.
var recordPattern = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)

func (u Usual) problems(at string, samples bool) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(at+field+": "+format, args...))
	}
	switch u.Direction {
	case Up, Down, Both:
	default:
		bad("direction", "%q is none of up, down, both", u.Direction)
	}
	switch u.Noise {
	case NoiseSpread, NoiseRatio:
	case NoiseShare, NoiseCount:
		if !samples {
			bad("noise", "%q needs samples to count", u.Noise)
		}
	default:
		bad("noise", "%q is none of spread, ratio, share, count", u.Noise)
	}
	if u.Factor != 0 && !(u.Factor > 1) {
		bad("factor", "%v is not more than 1", u.Factor)
	}
	if !(u.MinDelta >= 0) {
		bad("min_delta", "%v is negative", u.MinDelta)
	}
	if !(u.Deviations >= 0) {
		bad("deviations", "%v is negative", u.Deviations)
	}
	if u.Factor == 0 && u.Deviations == 0 && u.MinDelta == 0 {
		bad("factor", "none of factor, min_delta, deviations is given")
	}
	if u.Record != "" && (!recordPattern.MatchString(u.Record) || len(u.Record) > maxName) {
		bad("record", "%q is not the name of a metric: letters, digits, _ and :, and no digit first", u.Record)
	}
	for i, s := range u.Exclude {
		if !s.From.Before(s.To) {
			bad(fmt.Sprintf("exclude[%d]", i), "from %s is not before to %s", s.From.Format(time.RFC3339), s.To.Format(time.RFC3339))
		}
	}
	if u.MinDatapoints < 1 || u.MinDatapoints > usualLen {
		bad("min_datapoints", "%d is not between 1 and %d", u.MinDatapoints, usualLen)
	}
	return errs
}

// conditionProblems says what is wrong with what gives the datapoints.
func (r Rule) conditionProblems(at string) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(at+field+": "+format, args...))
	}
	var given []string
	for _, c := range []struct {
		name string
		is   bool
	}{{"expr", r.Expr != ""}, {"math", r.Math != nil}, {"logs", r.Logs != nil}, {"spans", r.Spans != nil}, {"composite", r.Composite != ""}} {
		if c.is {
			given = append(given, c.name)
		}
	}
	switch len(given) {
	case 0:
		bad("expr", "is missing")
	case 1:
	default:
		bad(given[1], "is one condition too many beside %s", given[0])
	}
	if r.Expr != "" {
		if err := checkPromQL(r.Expr); err != nil {
			bad("expr", "%w", err)
		}
	}
	if m := r.Math; m != nil {
		if e, err := metricmath.Parse(m.Expr); err != nil {
			bad("math.expr", "%w", err)
		} else {
			for _, id := range e.IDs() {
				if _, ok := m.Metrics[id]; !ok {
					bad("math.expr", "%s is none of math.metrics", id)
				}
			}
		}
		if len(m.Metrics) == 0 {
			bad("math.metrics", "is missing")
		}
		for _, id := range slices.Sorted(maps.Keys(m.Metrics)) {
			if !metricmath.ValidID(id) {
				bad("math.metrics", "%q does not begin with a lower-case letter, followed by letters, digits and underscores", id)
			}
			if err := checkPromQL(m.Metrics[id]); err != nil {
				bad("math.metrics."+id, "%w", err)
			}
		}
	}
	if r.Logs != nil {
		errs = append(errs, r.Logs.problems(at+"logs.", false)...)
	}
	if r.Spans != nil {
		errs = append(errs, r.Spans.problems(at+"spans.", true)...)
	}
	if r.Composite != "" {
		if _, err := parseComposite(r.Composite); err != nil {
			bad("composite", "%w", err)
		}
	}
	return errs
}

// percentilePattern is of p99 and p99.9.
var percentilePattern = regexp.MustCompile(`^p(\d{1,2}(?:\.\d+)?)$`)

// maxBy bounds the attributes that rows are grouped by.
const maxBy = 10

func (s Search) problems(at string, spans bool) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(at+field+": "+format, args...))
	}
	if where, err := search.Parse(s.Query); err != nil {
		bad("query", "%w", err)
	} else if search.HasRelation(where) {
		bad("query", "relations between spans cannot be counted")
	}
	if len(s.By) > maxBy {
		bad("by", "%d attributes are more than %d", len(s.By), maxBy)
	}
	for i, b := range s.By {
		if b == "" || slices.Contains(s.By[:i], b) {
			bad("by", "%q is empty or there twice", b)
		}
	}
	switch v := s.Value; {
	case v == "count" || v == "rate":
	case !spans:
		bad("value", "%q is neither count nor rate", v)
	case v == "errors" || v == "mean" || s.quantile() > 0:
	default:
		bad("value", "%q is none of count, rate, errors, mean, p50, p99 and the like", v)
	}
	return errs
}

// quantile is the share of pNN, 0 of other values.
func (s Search) quantile() float64 {
	m := percentilePattern.FindStringSubmatch(s.Value)
	if m == nil {
		return 0
	}
	p, _ := strconv.ParseFloat(m[1], 64) // digits always parse
	return p / 100
}

// percentile is the one that a datapoint is, 0 if it is none.
func (r Rule) percentile() float64 {
	if r.Percentile == 0 && r.Spans != nil {
		return r.Spans.quantile()
	}
	return r.Percentile
}

// enoughSamples is how many samples a percentile needs to mean anything. It is CloudWatch's bound.
func enoughSamples(p float64) float64 {
	if p == 0 {
		return 0
	}
	return 10 / min(p, 1-p)
}

func (m MuteWindow) problems(at string) (errs []error) {
	absolute := !m.From.IsZero() || !m.To.IsZero()
	repeated := !empty(m.TimeInterval)
	switch {
	case absolute && !m.From.Before(m.To):
		errs = append(errs, fmt.Errorf("%s.to: %s is not after from", at, m.To.Format(time.RFC3339)))
	case !absolute && !repeated:
		errs = append(errs, fmt.Errorf("%s: says no time", at))
	}
	return errs
}

func empty(t timeinterval.TimeInterval) bool {
	return len(t.Times) == 0 && len(t.Weekdays) == 0 && len(t.DaysOfMonth) == 0 && len(t.Months) == 0 && len(t.Years) == 0
}

// checkPromQL says where and why an expression cannot be read, yields no numbers by label set, or cannot work whatever the
// series are.
func checkPromQL(expr string) error {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return err // begins with line:column
	}
	switch t := parsed.Type(); t {
	case parser.ValueTypeVector, parser.ValueTypeScalar:
	default:
		return fmt.Errorf("1:1: it yields a %s, not an instant vector", parser.DocumentedType(t))
	}
	var wrong error
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.BinaryExpr:
			if zero, ok := unwrap(n.RHS).(*parser.NumberLiteral); ok && zero.Val == 0 && (n.Op == parser.DIV || n.Op == parser.MOD) {
				wrong = fmt.Errorf("%s: it divides by zero", place(expr, n.RHS.PositionRange()))
			}
		case *parser.VectorSelector:
			if name := contradiction(n.LabelMatchers); name != "" {
				wrong = fmt.Errorf("%s: it never matches: %s cannot have both values", place(expr, n.PosRange), name)
			}
		}
		return nil
	})
	return wrong
}

func unwrap(e parser.Expr) parser.Expr {
	for {
		p, ok := e.(*parser.ParenExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}

// contradiction names a label that must have two values at once.
func contradiction(ms []*labels.Matcher) string {
	must := map[string]string{}
	for _, m := range ms {
		if m.Type != labels.MatchEqual {
			continue
		}
		if v, ok := must[m.Name]; ok && v != m.Value {
			return m.Name
		}
		must[m.Name] = m.Value
	}
	for _, m := range ms {
		if v, ok := must[m.Name]; ok && !m.Matches(v) {
			return m.Name
		}
	}
	return ""
}

// place is line:column, as PromQL's own errors begin.
func place(text string, r posrange.PositionRange) string {
	before := text[:min(int(r.Start), len(text))]
	line := strings.Count(before, "\n")
	return fmt.Sprintf("%d:%d", line+1, len(before)-strings.LastIndexByte(before, '\n'))
}

package alarm

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	prom "github.com/prometheus/common/model"

	"triage/internal/metricmath"
	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// Events is what rules ask of logs and spans.
type Events interface {
	SpanCounts(ctx context.Context, q store.CountQuery) ([]store.CountStat, error)
	LogCounts(ctx context.Context, q store.CountQuery) ([]store.CountStat, error)
}

// sources are where datapoints come from.
type sources struct {
	metrics store.Metrics
	events  Events
}

// value is one datapoint as the store gave it.
type value struct {
	labels  map[string]string
	value   float64
	samples float64
}

// frame is all datapoints of one period, by contributor.
type frame struct {
	at     time.Time
	values map[string]value
	odd    int // values that are no numbers, as of a division by zero
}

// condition is what of a rule's condition need not be read anew each time.
type condition struct {
	math      *metricmath.Expr
	where     search.Expr
	composite *composite
	early     bool // see Rule.early
}

// newCondition reads the condition of a rule that is valid.
func newCondition(r Rule) (c condition) {
	c.early = r.early()
	// The errors were told when the rule was validated.
	switch {
	case r.Math != nil:
		c.math, _ = metricmath.Parse(r.Math.Expr)
	case r.Logs != nil:
		c.where, _ = search.Parse(r.Logs.Query)
	case r.Spans != nil:
		c.where, _ = search.Parse(r.Spans.Query)
	case r.Composite != "":
		c.composite, _ = parseComposite(r.Composite)
	}
	return c
}

// fetch reads the datapoints of the periods ending from..to.
func (w *watch) fetch(ctx context.Context, src sources, from, to time.Time) ([]frame, error) {
	period := time.Duration(w.rule.Period)
	frames := make([]frame, to.Sub(from)/period+1)
	for i := range frames {
		frames[i] = frame{at: from.Add(time.Duration(i) * period), values: make(map[string]value)}
	}
	var err error
	switch {
	case w.math != nil:
		err = w.fetchMath(ctx, src.metrics, frames)
	case w.where != nil:
		err = w.fetchCounts(ctx, src.events, frames)
	default:
		err = w.read(ctx, src.metrics, w.rule.Expr, frames, func(f *frame, labels map[string]string, v float64) {
			f.put(w.rule.Name, labels, v)
		})
		if err != nil {
			err = fmt.Errorf("expr: %w", err)
		}
	}
	if err != nil || w.rule.Samples == "" {
		return frames, err
	}
	err = w.read(ctx, src.metrics, w.rule.Samples, frames, func(f *frame, labels map[string]string, n float64) {
		id := alarmID(w.rule.Name, labels)
		if v, ok := f.values[id]; ok && n > 0 && !math.IsInf(n, 0) {
			v.samples = n
			f.values[id] = v
		}
	})
	if err != nil {
		return nil, fmt.Errorf("samples: %w", err)
	}
	return frames, nil
}

// put adds a datapoint, unless it is no number.
func (f *frame) put(rule string, labels map[string]string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		f.odd++
		return
	}
	f.values[alarmID(rule, labels)] = value{labels: labels, value: v}
}

// read evaluates PromQL at the end of each frame.
func (w *watch) read(ctx context.Context, m store.Metrics, expr string, frames []frame, put func(f *frame, labels map[string]string, v float64)) error {
	from, to := frames[0].at, frames[len(frames)-1].at
	if len(frames) == 1 {
		points, err := m.Query(ctx, w.tenant, expr, to)
		for _, p := range points {
			delete(p.Labels, prom.MetricNameLabel) // which lines of a range don't have either: an alarm is the same by both
			put(&frames[0], p.Labels, p.Value)
		}
		return err
	}
	period := time.Duration(w.rule.Period)
	lines, err := m.QueryRange(ctx, w.tenant, expr, store.Window{From: from, To: to}, period)
	for _, l := range lines {
		for i, v := range l.Values {
			at := l.Start.Add(time.Duration(i) * l.Step)
			if n := int(at.Sub(from) / period); n >= 0 && n < len(frames) && !math.IsNaN(v) {
				put(&frames[n], l.Labels, v)
			}
		}
	}
	return err
}

// span is how many periods metric math sees.
func (w *watch) span() int { return w.rule.EvaluationPeriods + spare }

// fetchMath computes metric math, for each frame over the periods that end with it: so it makes no difference how many
// frames are read at once.
func (w *watch) fetchMath(ctx context.Context, m store.Metrics, frames []frame) error {
	period := time.Duration(w.rule.Period)
	n := w.span()
	whole := store.Window{From: frames[0].at.Add(-time.Duration(n-1) * period), To: frames[len(frames)-1].at}
	length := len(frames) + n - 1
	common := make(map[string][]float64) // of series without labels
	own := make(map[string]map[string][]float64)
	labels := make(map[string]map[string]string)
	for _, id := range slices.Sorted(maps.Keys(w.rule.Math.Metrics)) {
		lines, err := m.QueryRange(ctx, w.tenant, w.rule.Math.Metrics[id], whole, period)
		if err != nil {
			return fmt.Errorf("math.metrics.%s: %w", id, err)
		}
		for _, l := range lines {
			if len(l.Labels) == 0 {
				common[id] = l.Values
				continue
			}
			key := alarmID(w.rule.Name, l.Labels)
			if own[key] == nil {
				own[key], labels[key] = make(map[string][]float64), l.Labels
			}
			own[key][id] = l.Values
		}
	}
	if len(own) == 0 && len(common) > 0 {
		key := alarmID(w.rule.Name, nil)
		own[key], labels[key] = map[string][]float64{}, map[string]string{}
	}
	nothing := slices.Repeat([]float64{math.NaN()}, length)
	for _, key := range slices.Sorted(maps.Keys(own)) {
		for i := range frames {
			in := metricmath.Input{Start: whole.From.Add(time.Duration(i) * period), Period: period, Len: n, Metrics: make(map[string][]float64)}
			any := false
			for id := range w.rule.Math.Metrics {
				line, ok := own[key][id]
				if !ok {
					line, ok = common[id]
				}
				if !ok || len(line) != length {
					line = nothing
				}
				in.Metrics[id] = line[i : i+n]
				any = any || !math.IsNaN(in.Metrics[id][n-1])
			}
			values, err := w.math.Eval(in)
			if err != nil {
				return fmt.Errorf("math.expr: %w", err)
			}
			if v := values[n-1]; !math.IsNaN(v) || any {
				frames[i].put(w.rule.Name, labels[key], v)
			}
		}
	}
	return nil
}

// maxCounted bounds the rows that one search may give: groups times periods.
const maxCounted = 200_000

// fetchCounts counts what a search finds in each period. Where nothing is found the count is 0, for every contributor that
// is known.
func (w *watch) fetchCounts(ctx context.Context, ev Events, frames []frame) error {
	if ev == nil {
		return fmt.Errorf("there are no logs and spans to search")
	}
	period := time.Duration(w.rule.Period)
	s, ask := w.rule.Logs, ev.LogCounts
	if w.rule.Spans != nil {
		s, ask = w.rule.Spans, ev.SpanCounts
	}
	first := frames[0].at.Add(-period)
	stats, err := ask(ctx, store.CountQuery{
		Tenant: w.tenant, Window: store.Window{From: first, To: frames[len(frames)-1].at}, Where: w.where,
		By: s.By, Step: period, Quantile: s.quantile(), Limit: maxCounted,
	})
	if err != nil {
		return err
	}
	if len(stats) == maxCounted {
		return fmt.Errorf("by %v it finds more than %d groups", s.By, maxCounted)
	}
	groups := make(map[string]map[string]string)
	if len(s.By) == 0 {
		groups[alarmID(w.rule.Name, nil)] = map[string]string{}
	}
	for id, c := range w.contributors {
		groups[id] = c.alarm.Labels
	}
	for _, st := range stats {
		i := int(st.At.Sub(first) / period)
		if i < 0 || i >= len(frames) {
			continue
		}
		labels := make(map[string]string, len(s.By))
		for k, name := range s.By {
			if st.By[k] != "" {
				labels[name] = st.By[k]
			}
		}
		id := alarmID(w.rule.Name, labels)
		groups[id] = labels
		v := value{labels: labels, samples: float64(st.Count)}
		switch s.Value {
		case "count":
			v.value = float64(st.Count)
		case "rate":
			v.value = float64(st.Count) / period.Seconds()
		case "errors":
			v.value = float64(st.Errors) / float64(st.Count)
		case "mean":
			v.value = st.Mean
		default:
			v.value = st.Quantile
		}
		frames[i].values[id] = v
	}
	if s.Value != "count" && s.Value != "rate" {
		return nil // of nothing there is no mean
	}
	for i := range frames {
		for id, labels := range groups {
			if _, ok := frames[i].values[id]; !ok {
				frames[i].values[id] = value{labels: labels}
			}
		}
	}
	return nil
}

// evaluateComposite judges a composite rule by the states of those that it is made of, as they stand at at.
func (w *watch) evaluateComposite(at time.Time, watches map[string]*watch) ([]model.Transition, error) {
	known := func(name string) bool { return watches[name] != nil }
	for _, child := range w.composite.children() {
		if of, ok := ruleOf(child, known); !ok {
			return nil, fmt.Errorf("composite: there is no rule %q", child)
		} else if of == w.rule.Name {
			return nil, fmt.Errorf("composite: %w", errCycle)
		}
	}
	id := alarmID(w.rule.Name, nil)
	c := w.contributors[id]
	if c == nil {
		c = w.newContributor(w.newAlarm(id, map[string]string{}, at))
		w.contributors[id] = c
	}
	state := model.StateOK
	if w.composite.holds(func(child string) model.AlarmState { s, _ := stateOf(child, watches); return s }) {
		state = model.StateAlarm
	}
	from, a := c.alarm.State, &c.alarm
	w.last, c.seen, a.Updated, a.Quiet = at, at, at, w.rule.Quiet
	a.Value, a.Reason = 0, "the rule does not hold: "+w.rule.Composite
	if state == model.StateAlarm {
		a.Value, a.Reason = 1, "the rule holds: "+w.rule.Composite
	}
	if state == from {
		return nil, nil
	}
	w.enter(c, state, at)
	if state == model.StateAlarm {
		// It is about whatever began first among those that it is made of.
		a.Onset, a.Service, a.Operation = at, "", ""
		for _, child := range w.composite.children() {
			_, firing := stateOf(child, watches)
			for _, f := range firing {
				if f.Onset.Before(a.Onset) {
					a.Onset, a.Service, a.Operation = f.Onset, f.Service, f.Operation
				}
			}
		}
	}
	return []model.Transition{transition(from, *a)}, nil
}

// stateOf is the state of one alarm by its ID, or of all of a rule's: ALARM if one is, INSUFFICIENT_DATA if one is or
// there is none, else OK. Those in ALARM are given too.
func stateOf(child string, watches map[string]*watch) (state model.AlarmState, firing []model.Alarm) {
	name, ok := ruleOf(child, func(n string) bool { return watches[n] != nil })
	if !ok {
		return model.StateInsufficient, nil
	}
	w := watches[name]
	state = model.StateOK
	found := false
	for _, id := range slices.Sorted(maps.Keys(w.contributors)) {
		if child != name && id != child {
			continue
		}
		found = true
		switch a := w.contributors[id].alarm; a.State {
		case model.StateAlarm:
			firing = append(firing, a)
		case model.StateInsufficient:
			state = model.StateInsufficient
		}
	}
	switch {
	case len(firing) > 0:
		return model.StateAlarm, firing
	case !found:
		return model.StateInsufficient, nil
	}
	return state, nil
}

package diagnose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"triage/internal/explain"
	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// What a verdict without spans asks of metrics: those that OpenTelemetry's span metrics and service graph connectors
// make, whoever made them. Counters are read as they are, and their differences taken here.
const (
	callsQuery    = `sum by (service_name) (traces_span_metrics_calls_total{span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"})`
	failuresQuery = `sum by (service_name) (traces_span_metrics_calls_total{span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER", status_code="STATUS_CODE_ERROR"})`
	timesQuery    = `sum by (service_name) (traces_span_metrics_duration_seconds_count{span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"})`
	secondsQuery  = `sum by (service_name) (traces_span_metrics_duration_seconds_sum{span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"})`
	graphQuery    = `count by (client, server, connection_type) (traces_service_graph_request_total)`
)

const (
	// lately is how long before the alarm counts as normal where nobody says what is.
	lately = 6 * time.Hour
	// virtual is the connection type of the service graph for a place that reports nothing itself.
	virtual = "virtual_node"
)

// aggregate makes a verdict from metrics and a call graph alone.
func (d *Diagnoser) aggregate(ctx context.Context, req Request, at time.Time) (model.Verdict, []byte, error) {
	if d.sums == nil {
		return model.Verdict{}, nil, fmt.Errorf("a verdict without spans: %w", errors.ErrUnsupported)
	}
	onset, to, _ := times(req, at)
	step := cmp.Or(req.Step, time.Minute)
	if len(req.Normal) == 0 {
		req.Normal = []store.Window{{From: onset.Add(-lately).Truncate(step), To: onset.Truncate(step)}}
	}
	s := &scope{onset: onset, service: req.Service, operation: req.Operation, normal: req.Normal[0], asked: true}
	signal := model.SignalDuration
	if req.Incident != nil {
		_, alarms := req.Incident.Episode()
		for i := range alarms {
			if a := &alarms[i]; a.Service != "" && (s.alarm == nil || a.State == model.StateAlarm && s.alarm.State != model.StateAlarm) {
				s.alarm = a
			}
		}
		if s.alarm != nil {
			s.service, s.operation = s.alarm.Service, s.alarm.Operation
			signal = s.alarm.Signal
		}
	}
	s.whole = store.Window{From: onset, To: to}
	s.bad, s.settled = s.whole, s.whole
	a := &answers{}
	f := &a.facts
	*f = explain.Facts{Onset: onset, Bad: s.whole, Normal: req.Normal[0], Service: s.service, Operation: s.operation, Holders: map[string][]explain.Holder{}}
	if s.service == "" || signal != model.SignalDuration && signal != model.SignalErrors {
		return verdict(req, s, a, nil, at) // metrics alone do not say where something else comes from
	}
	g := locate.Aggregates{Step: step, Failures: signal == model.SignalErrors}
	// The period before the one in which the alarm began is the last that surely was as usual. Periods are counted back
	// from the end, which is where the newest data are.
	now := store.Window{From: to.Add(-step * time.Duration(1+math.Ceil(float64(to.Sub(onset))/float64(step)))), To: to}
	g.Start = now.From
	var err error
	if g.Now, err = d.amounts(ctx, req.Tenant, now, step, g.Failures); err != nil {
		return model.Verdict{}, nil, fmt.Errorf("read what services did since %s: %w", windowText(now), err)
	}
	for _, n := range req.Normal {
		for _, w := range without(n, store.Window{From: now.From.Add(step), To: to}) {
			usual, err := d.amounts(ctx, req.Tenant, w, step, g.Failures)
			if err != nil {
				return model.Verdict{}, nil, fmt.Errorf("read what services usually did in %s: %w", windowText(w), err)
			}
			g.Usual = append(g.Usual, usual)
		}
	}
	if g.Calls, g.Shadow, err = d.graph(ctx, req.Tenant, now, step); err != nil {
		return model.Verdict{}, nil, fmt.Errorf("read who calls whom: %w", err)
	}
	suspects, alarmed := g.Suspects(s.service, onset)
	f.Sampled = 8 // as many as make an anecdote a number: metrics hold every request
	if g.Failures {
		s.failing = 1
	} else {
		s.slow = 1
	}
	a.rivals = func(chosen *explain.Case) []model.RuledOut {
		return explain.PlacesRuledOut(suspects, g.Failures, chosen)
	}
	return verdict(req, s, a, explain.PlaceCases(suspects, alarmed, g.Failures, s.whole), at)
}

// amounts reads what each service did in each period of a window, by the differences of its counters.
func (d *Diagnoser) amounts(ctx context.Context, tenant string, w store.Window, step time.Duration, failures bool) (map[string][]locate.Amount, error) {
	counts, sums := timesQuery, secondsQuery
	if failures {
		counts, sums = callsQuery, failuresQuery
	}
	n := int(math.Ceil(float64(w.Len()) / float64(step)))
	if n <= 0 {
		return nil, nil
	}
	w.To = w.From.Add(time.Duration(n) * step) // the last period may not be over yet
	out := map[string][]locate.Amount{}
	read := func(query string, put func(*locate.Amount, float64)) error {
		lines, err := d.sums.QueryRange(ctx, tenant, query, w, step)
		if err != nil {
			return err
		}
		for _, l := range lines {
			name := l.Labels["service_name"]
			if out[name] == nil {
				out[name] = make([]locate.Amount, n)
			}
			for i := 1; i < len(l.Values) && i <= n; i++ {
				if diff := l.Values[i] - l.Values[i-1]; diff >= 0 { // neither missing nor a counter that began again
					put(&out[name][i-1], diff)
				}
			}
		}
		return nil
	}
	if err := read(counts, func(a *locate.Amount, v float64) { a.Requests = v }); err != nil {
		return nil, err
	}
	return out, read(sums, func(a *locate.Amount, v float64) { a.Sum = v })
}

// graph reads who calls whom, and which places report nothing themselves.
func (d *Diagnoser) graph(ctx context.Context, tenant string, w store.Window, step time.Duration) (calls map[string][]string, shadow map[string]bool, err error) {
	lines, err := d.sums.QueryRange(ctx, tenant, graphQuery, w, step)
	if err != nil {
		return nil, nil, err
	}
	set := map[[2]string]bool{}
	shadow = map[string]bool{}
	for _, l := range lines {
		client, server := l.Labels["client"], l.Labels["server"]
		set[[2]string{client, server}] = true
		if l.Labels["connection_type"] == virtual {
			shadow[server] = true
		}
	}
	calls = map[string][]string{}
	for _, e := range slices.SortedFunc(maps.Keys(set), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		calls[e[0]] = append(calls[e[0]], e[1])
	}
	return calls, shadow, nil
}

// without is what of a window lies outside another.
func without(w, hole store.Window) (out []store.Window) {
	before, after := store.Window{From: w.From, To: minTime(w.To, hole.From)}, store.Window{From: maxTime(w.From, hole.To), To: w.To}
	for _, part := range []store.Window{before, after} {
		if part.Len() > 0 {
			out = append(out, part)
		}
	}
	return out
}

package slo

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"triage/internal/store"
)

// A budget over a month is a sum over hours, of which all but the newest stay what they are. They are added up once, and each
// look at the budget asks for what lies beside whole hours only:
//
//	from      whole hours, kept                          now
//	 |--------|----|----|----|  ...  |----|~~~~|~~~~|------|
//	  asked                                asked again

const (
	hour = time.Hour
	// ledgerLeast is the least time for which hours are kept; what is shorter is asked for as a whole.
	ledgerLeast = 24 * hour
	// settled is when an hour is no longer asked for again: what comes later is seen when all hours are, every refreshEvery.
	settled      = 2 * hour
	refreshEvery = 6 * hour
	// againEvery is how often those that are not settled are asked for again.
	againEvery = 5 * time.Minute
)

// tally is PromQL for what was bad and for all there was within a time, in parts that add up over times: events, slices, or
// looks at a value.
type tally struct {
	bad, total func(window time.Duration) string
	perSecond  bool // they are rates, to be multiplied by the time
}

// tally is an objective's; false if its queries don't add up, as a mean does not.
func (s SLO) tally(o Objective) (tally, bool) {
	spec := s.Spec.Indicator.Spec
	looks := func(bad, any string, step time.Duration) (tally, bool) {
		sub := func(function, query string) func(time.Duration) string {
			return func(w time.Duration) string {
				return fmt.Sprintf("%s((%s)[%s:%s])", function, query, promDuration(w), promDuration(step))
			}
		}
		return tally{bad: sub("sum_over_time", bad), total: sub("count_over_time", any)}, true
	}
	slice := o.TimeSliceWindow.length()
	switch {
	case s.Spec.BudgetingMethod == Timeslices:
		e := s.badEvents(o, slice)
		return looks(fmt.Sprintf("1 - ((1 - (%s)) >= bool %s)", e, number(o.TimeSliceTarget)), e, slice)
	case s.Spec.BudgetingMethod == RatioTimeslices:
		e := s.badEvents(o, slice)
		return looks(e, e, slice)
	case spec.ThresholdMetric != nil:
		q, _ := printed(spec.ThresholdMetric.query())
		return looks(fmt.Sprintf("1 - ((%s) %s bool %s)", q, promOps[o.Op], number(*o.Value)), q, sampleStep)
	case spec.RatioMetric.Raw != nil:
		q, _ := printed(spec.RatioMetric.Raw.query())
		bad := q
		if spec.RatioMetric.RawType == "success" {
			bad = fmt.Sprintf("1 - (%s)", q)
		}
		return looks(bad, q, sampleStep)
	}
	r := spec.RatioMetric
	part := r.Bad
	if part == nil {
		part = r.Good
	}
	counts, rates := addsUp(s.counted(part, hour)), addsUp(s.counted(r.Total, hour))
	if counts != rates || counts == neither {
		return tally{}, false
	}
	t := tally{perSecond: counts == perSecond, total: func(w time.Duration) string { return s.counted(r.Total, w) }}
	t.bad = func(w time.Duration) string { return s.counted(part, w) }
	if r.Good != nil {
		t.bad = func(w time.Duration) string {
			total := s.counted(r.Total, w)
			return fmt.Sprintf("clamp_min((%s) - ((%s) or 0 * (%s)), 0)", total, s.counted(part, w), total)
		}
	}
	return t, true
}

// adding is whether values of times that follow each other add up.
type adding int

const (
	neither adding = iota
	adds
	perSecond // once multiplied by the time
)

// addsUp looks at the functions over time of a query, which all must be of one kind.
func addsUp(query string) adding {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return neither
	}
	kind, mixed := neither, false
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		var is adding
		switch n := n.(type) {
		case *parser.Call:
			switch n.Func.Name {
			case "increase", "sum_over_time", "count_over_time", "changes", "resets":
				is = adds
			case "rate":
				is = perSecond
			case "histogram_count", "histogram_sum", "histogram_fraction", "label_replace", "label_join", "clamp_min", "vector", "scalar":
				return nil
			default:
				mixed = true
				return nil
			}
		case *parser.BinaryExpr:
			// A share of a sum is not the sum of shares, but a product with one is: histogram_fraction(...) * histogram_count(...).
			if n.Op == parser.DIV || n.Op == parser.MOD || n.Op == parser.POW || n.Op.IsComparisonOperator() {
				mixed = true
			}
			return nil
		case *parser.AggregateExpr:
			mixed = mixed || n.Op != parser.SUM
			return nil
		case *parser.SubqueryExpr:
			mixed = true
			return nil
		default:
			return nil
		}
		mixed = mixed || kind != neither && kind != is
		kind = is
		return nil
	})
	if mixed {
		return neither
	}
	return kind
}

// account is what one label set used up.
type account struct {
	labels     map[string]string
	bad, total float64
}

type accounts map[string]*account

func (a accounts) of(labels map[string]string) *account {
	k := key(labels)
	if a[k] == nil {
		a[k] = &account{labels: labels}
	}
	return a[k]
}

// ledger keeps an objective's hours.
type ledger struct {
	mu        sync.Mutex // guards all below; held while hours are asked for
	of        [32]byte   // what it is of: another objective begins anew
	refreshed time.Time  // when all hours were asked for
	asked     time.Time  // when the newest ones were
	// The hours kept begin at begin and end at end; each line has one number an hour.
	begin, end time.Time
	lines      map[string]*line
}

type line struct {
	labels     map[string]string
	bad, total []float64
}

// spent is what an objective used up from from to at, false if that does not add up.
func (m *Manager) spent(ctx context.Context, tenant string, s SLO, i int, o Objective, from, at time.Time) (accounts, bool, error) {
	t, ok := s.tally(o)
	if !ok || at.Sub(from) < ledgerLeast {
		return nil, false, nil
	}
	l := m.ledger(tenant, s, i, o)
	l.mu.Lock()
	defer l.mu.Unlock()
	first, last := from.Add(hour-1).Truncate(hour), at.Truncate(hour)
	if err := m.fill(ctx, tenant, l, t, s.longest(), last, at); err != nil {
		return nil, true, err
	}
	out := accounts{}
	a, b := int(first.Sub(l.begin)/hour), int(last.Sub(l.begin)/hour)
	for _, line := range l.lines {
		acc := out.of(line.labels)
		for h := max(a, 0); h < b; h++ {
			acc.bad += line.bad[h]
			acc.total += line.total[h]
		}
	}
	for _, edge := range []struct {
		end    time.Time
		length time.Duration
	}{{first, first.Sub(from)}, {at, at.Sub(last)}} {
		if edge.length < time.Second {
			continue
		}
		err := m.ask(ctx, tenant, t, store.Window{From: edge.end, To: edge.end}, edge.length, func(labels map[string]string, _ int, bad, total float64) {
			acc := out.of(labels)
			acc.bad += bad
			acc.total += total
		})
		if err != nil {
			return nil, true, err
		}
	}
	return out, true, nil
}

// longest is the longest time that is asked for of an SLO.
func (s SLO) longest() time.Duration {
	length := s.Spec.TimeWindow[0].Duration.length() + 3*24*hour // months are up to a day longer, and a year two
	for _, o := range s.Spec.Objectives {
		for _, a := range s.alerts(o) {
			length = max(length, a.long)
		}
	}
	return length.Truncate(hour)
}

// ledger is where an objective's hours are kept.
func (m *Manager) ledger(tenant string, s SLO, i int, o Objective) *ledger {
	text, _ := json.Marshal([]any{s.Spec.Indicator, s.Spec.BudgetingMethod, s.Spec.TimeWindow, o}) // plain values
	of := sha256.Sum256(text)
	name := fmt.Sprintf("%s/%s/%d", tenant, s.Metadata.Name, i)
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.ledgers[name]
	if l == nil || l.of != of {
		l = &ledger{of: of}
		m.ledgers[name] = l
	}
	return l
}

// fill asks for the whole hours up to last that are not known, or not for sure.
func (m *Manager) fill(ctx context.Context, tenant string, l *ledger, t tally, length time.Duration, last, at time.Time) error {
	begin := last.Add(-length)
	if age := at.Sub(l.asked); l.lines != nil && l.end.Equal(last) && age >= 0 && age < againEvery {
		return nil
	}
	from := begin
	// Ledgers are refreshed at different times, by what they are of.
	due := l.refreshed.Add(refreshEvery - time.Duration(l.of[0])*refreshEvery/1024)
	if l.lines != nil && !begin.Before(l.begin) && at.Before(due) && !at.Before(l.refreshed) {
		from = last.Add(-settled)
		if l.end.Before(from) {
			from = l.end
		}
	} else {
		l.lines, l.begin, l.end, l.refreshed = map[string]*line{}, begin, begin, at
	}
	n := int(last.Sub(l.begin) / hour)
	for _, line := range l.lines {
		line.bad, line.total = sized(line.bad, n), sized(line.total, n)
		clear(line.bad[int(from.Sub(l.begin)/hour):])
		clear(line.total[int(from.Sub(l.begin)/hour):])
	}
	if from.Before(last) {
		err := m.ask(ctx, tenant, t, store.Window{From: from.Add(hour), To: last}, hour, func(labels map[string]string, i int, bad, total float64) {
			k := key(labels)
			if l.lines[k] == nil {
				l.lines[k] = &line{labels, make([]float64, n), make([]float64, n)}
			}
			h := int(from.Sub(l.begin)/hour) + i
			l.lines[k].bad[h] += bad
			l.lines[k].total[h] += total
		})
		if err != nil {
			l.lines = nil // they may hold a part
			return err
		}
	}
	l.end, l.asked = last, at
	l.forget(begin)
	return nil
}

func sized(v []float64, n int) []float64 {
	if len(v) > n {
		return v[:n]
	}
	return append(v, make([]float64, n-len(v))...)
}

// forget drops hours before the longest time, once they are a day's.
func (l *ledger) forget(begin time.Time) {
	n := int(begin.Sub(l.begin) / hour)
	if n < 24 {
		return
	}
	for k, line := range l.lines {
		line.bad, line.total = slices.Clone(line.bad[n:]), slices.Clone(line.total[n:])
		if !slices.ContainsFunc(line.total, func(v float64) bool { return v != 0 }) {
			delete(l.lines, k)
		}
	}
	l.begin = begin
}

// ask asks for what was bad and all there was in the times of one length that end at w.From and each length later, up to w.To.
func (m *Manager) ask(ctx context.Context, tenant string, t tally, w store.Window, length time.Duration, put func(labels map[string]string, i int, bad, total float64)) error {
	scale := 1.0
	if t.perSecond {
		scale = length.Seconds()
	}
	for _, q := range []struct {
		query string
		put   func(labels map[string]string, i int, v float64)
	}{
		{t.total(length), func(labels map[string]string, i int, v float64) { put(labels, i, 0, v) }},
		{t.bad(length), func(labels map[string]string, i int, v float64) { put(labels, i, v, 0) }},
	} {
		if w.From.Equal(w.To) {
			points, err := m.opts.Metrics.Query(ctx, tenant, q.query, w.To)
			if err != nil {
				return err
			}
			for _, p := range points {
				if !math.IsNaN(p.Value) {
					q.put(p.Labels, 0, p.Value*scale)
				}
			}
			continue
		}
		lines, err := m.opts.Metrics.QueryRange(ctx, tenant, q.query, w, length)
		if err != nil {
			return err
		}
		for _, l := range lines {
			for j, v := range l.Values {
				if !math.IsNaN(v) {
					q.put(l.Labels, int(l.Start.Add(time.Duration(j)*l.Step).Sub(w.From)/length), v*scale)
				}
			}
		}
	}
	return nil
}

// prune forgets the ledgers of a tenant's SLOs that are no more.
func (m *Manager) prune(tenant string, list []SLO) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.ledgers {
		if !strings.HasPrefix(name, tenant+"/") {
			continue
		}
		if !slices.ContainsFunc(list, func(s SLO) bool { return strings.HasPrefix(name, tenant+"/"+s.Metadata.Name+"/") }) {
			delete(m.ledgers, name)
		}
	}
}

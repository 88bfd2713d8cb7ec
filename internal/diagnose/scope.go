package diagnose

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"triage/internal/explain"
	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// scope is what a verdict is about: one affected entry operation, since when, against which normal time.
type scope struct {
	alarm              *model.Alarm // the one that stands for the incident, nil if there is none
	service, operation string
	kind               model.SpanKind
	onset              time.Time
	// whole is all the time since the onset; bad is as much of it as holds plenty of requests.
	whole, bad, normal store.Window
	// settled is bad without its last seconds: what started then is known only as far as it was quick.
	settled store.Window
	// slow and failing are how surely requests became slower and fail more often; asked that an alarm said something
	// else (a rate, a metric).
	slow, failing float64
	asked         bool
	// badDuration sets slow requests apart from quick ones; zero if slowness is not the trouble.
	badDuration time.Duration
	now, usual  sum
	shifts      []locate.Shift
	edges       []store.EdgeStat
	changes     []model.Change
	lag         time.Duration
	blind       bool // there are no spans
	// heard are the steps, each as long as step, in which each service told of what it received.
	heard map[string][]time.Time
	step  time.Duration
}

const (
	history   = 10 * time.Minute // of normal time, at most
	lead      = 150 * time.Second
	longest   = 15 * time.Minute // of bad time, at most
	guessBack = 5 * time.Minute  // where nobody says when it began

	// plenty is how many requests to all services are enough to know what is usual, or what is wrong; of a busy system
	// less time is looked at for that, but not less than atLeast before the onset and atLeast after it.
	plenty  = 30_000
	atLeast = 30 * time.Second
	// clean is how much time without trouble nearby must remain for what came before it to be left out.
	clean = time.Minute
)

type operation struct {
	service, name string
	kind          model.SpanKind
}

// sum is what an operation did in a part of the timeline.
type sum struct {
	count, errors int64
	seconds       float64
}

func (s sum) mean() float64  { return s.seconds / float64(max(1, s.count)) }
func (s sum) share() float64 { return float64(s.errors) / float64(max(1, s.count)) }

func (d *Diagnoser) scope(ctx context.Context, req Request, at time.Time) (*scope, error) {
	onset, to, known := times(req, at)
	if to.Sub(onset) > longest {
		to = onset.Add(longest)
	}
	w := store.Window{From: onset.Add(-history), To: to}
	step := time.Second
	if n := w.Len() / (1000 * time.Second); n > 0 {
		step = (n + 1) * time.Second
	}
	w.From = w.From.Truncate(step)
	s := &scope{}
	steps, err := d.events.Timeline(ctx, store.Selection{Tenant: req.Tenant, Window: w,
		Kinds: []model.SpanKind{model.SpanServer, model.SpanConsumer}}, step, 100_000)
	if err != nil {
		return nil, err
	}
	s.blind = len(steps) == 0
	back := enoughBefore(steps, onset, w.From, step)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		s.edges, err = d.events.Edges(gctx, req.Tenant, store.Window{From: back, To: to}, 1000)
		return err
	})
	g.Go(func() (err error) {
		if d.state != nil {
			s.changes, err = d.state.Changes(gctx, req.Tenant, store.Window{From: onset.Add(-explain.ChangeWindow - lead), To: to})
		}
		return err
	})
	var resolved []model.Incident
	g.Go(func() (err error) {
		if d.state != nil {
			resolved, err = d.state.Incidents(gctx, req.Tenant, model.IncidentResolved, 20)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	s.lag = to.Sub(newest(steps, step, w.From))
	settle := min(max(to.Sub(onset)/4, time.Second), 5*time.Second)
	settled := store.Window{From: w.From, To: to.Add(-settle)}
	s.choose(req, steps, onset, settled)
	onset = s.recent(req, onset)
	// Trouble that was over before this one began belongs neither to the usual nor to the change points.
	usual := store.Window{From: w.From, To: onset.Add(-5 * time.Second)}
	steady := locate.Steady(s.own(steps), usual, step)
	for _, own := range s.suffered(steps, onset, resolved, req.Incident) {
		if t := locate.Steady(own, usual, step); usual.To.Sub(t) >= clean {
			steady = maxTime(steady, t)
		}
	}
	recent := store.Window{From: maxTime(steady, onset.Add(-lead).Truncate(step)), To: settled.To}
	s.shifts = locate.Onset(within(steps, recent), recent, step)
	if t := s.began(onset, known); !t.IsZero() {
		onset = t
	}
	s.onset = onset
	s.whole = store.Window{From: onset, To: to}
	s.bad = store.Window{From: onset, To: enoughAfter(steps, onset, to, step)}
	s.settled = store.Window{From: onset, To: minTime(s.bad.To, to.Add(-settle))}
	if s.settled.Len() < 2*time.Second {
		s.settled = s.bad
	}
	// Requests that were under way at the onset belong to neither side, nor what a clock that is behind dates before it.
	margin := 5*time.Second + time.Duration(min(s.usual.mean(), 10)*float64(time.Second))
	back = maxTime(onset.Add(-history), back)
	s.normal = store.Window{From: maxTime(steady, back), To: onset.Add(-margin)}
	if s.normal.Len() < 10*time.Second {
		s.normal.From = back
	}
	s.step, s.heard = step, map[string][]time.Time{}
	for _, t := range steps {
		s.heard[t.Service] = append(s.heard[t.Service], t.At)
	}
	s.measure(steps)
	return s, nil
}

// enoughBefore is how far back from the onset a normal period must reach to hold plenty of requests, and from at the
// furthest.
func enoughBefore(steps []store.TimelineStat, onset, from time.Time, step time.Duration) time.Time {
	return maxTime(from, onset.Add(-enough(steps, step, func(t time.Time) time.Duration { return onset.Sub(t) })))
}

// enoughAfter is the same for the bad time, and to at the furthest.
func enoughAfter(steps []store.TimelineStat, onset, to time.Time, step time.Duration) time.Time {
	return minTime(to, onset.Add(enough(steps, step, func(t time.Time) time.Duration { return t.Sub(onset) })))
}

// enough is the distance within which plenty of requests lie, at least atLeast.
func enough(steps []store.TimelineStat, step time.Duration, distance func(time.Time) time.Duration) time.Duration {
	counts := map[time.Duration]int64{}
	for _, t := range steps {
		if d := distance(t.At); d >= 0 {
			counts[d/step] += t.Count
		}
	}
	var sum int64
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		if sum += counts[k]; sum >= plenty && (k+1)*step >= atLeast {
			return (k + 1) * step
		}
	}
	return math.MaxInt64 / 2
}

// times gives where to look for the onset and where to stop; known tells that somebody said when it began.
func times(req Request, at time.Time) (onset, to time.Time, known bool) {
	to = at
	if inc := req.Incident; inc != nil {
		since, alarms := inc.Episode()
		if inc.ReopenedAt.IsZero() {
			onset = inc.Onset
		}
		for _, a := range alarms {
			if onset.IsZero() || !a.Onset.IsZero() && a.Onset.Before(onset) {
				onset = a.Onset
			}
		}
		if onset.IsZero() {
			onset = since
		}
		if !inc.ResolvedAt.IsZero() && inc.ResolvedAt.Before(to) {
			to = inc.ResolvedAt
		}
	}
	if !req.To.IsZero() && req.To.Before(to) {
		to = req.To
	}
	if !req.From.IsZero() {
		onset = req.From
	}
	known = !onset.IsZero()
	if !known || !onset.Before(to) {
		onset, known = to.Add(-guessBack), false
	}
	return onset.UTC(), to.UTC(), known
}

func newest(steps []store.TimelineStat, step time.Duration, from time.Time) time.Time {
	for _, s := range steps {
		if e := s.At.Add(step); e.After(from) {
			from = e
		}
	}
	return from
}

func within(steps []store.TimelineStat, w store.Window) []store.TimelineStat {
	out := make([]store.TimelineStat, 0, len(steps))
	for _, s := range steps {
		if w.Contains(s.At) {
			out = append(out, s)
		}
	}
	return out
}

// own are the steps of the chosen operation.
func (s *scope) own(steps []store.TimelineStat) (out []store.TimelineStat) {
	for _, t := range steps {
		if t.Service == s.service && t.Operation == s.operation && t.Kind == s.kind {
			out = append(out, t)
		}
	}
	return out
}

// total adds up an operation's steps within a window.
func total(steps []store.TimelineStat, o operation, w store.Window) (t sum) {
	for _, s := range steps {
		if s.Service == o.service && s.Operation == o.name && s.Kind == o.kind && w.Contains(s.At) {
			t.count += s.Count
			t.errors += s.Errors
			t.seconds += s.Mean * float64(s.Count)
		}
	}
	return t
}

// totals adds up every operation's steps within a window, in one pass: there may be as many operations as steps.
func totals(steps []store.TimelineStat, w store.Window) map[operation]sum {
	out := map[operation]sum{}
	for _, s := range steps {
		if w.Contains(s.At) {
			o := operation{s.Service, s.Operation, s.Kind}
			t := out[o]
			t.count += s.Count
			t.errors += s.Errors
			t.seconds += s.Mean * float64(s.Count)
			out[o] = t
		}
	}
	return out
}

// How many times more a request that went bad counts of an operation with an alarm, or with one that is over, than of one
// that never had any.
const alarmed, wasAlarmed = 20, 2

// choose picks the operation that the verdict is about: of the services with alarms (or the one asked for, or all) the
// outermost, because that is what people feel and what its traces contain everything of; of its operations the one with
// the most requests gone bad.
func (s *scope) choose(req Request, steps []store.TimelineStat, onset time.Time, settled store.Window) {
	before := store.Window{From: maxTime(settled.From, onset.Add(-lead)), To: onset.Add(-2 * time.Second)}
	after := store.Window{From: onset, To: settled.To}
	good, bad := totals(steps, before), totals(steps, after)
	ops := map[operation]bool{}
	for _, t := range steps {
		ops[operation{t.Service, t.Operation, t.Kind}] = true
	}
	excess := func(o operation) float64 {
		a, b := bad[o], good[o]
		if a.count == 0 {
			return 0
		}
		slower := min(1, max(0, a.mean()/max(b.mean(), 1e-6)-1.1))
		if b.count == 0 {
			slower = 0
		}
		return float64(a.count)*slower + 2*max(0, float64(a.errors)-b.share()*float64(a.count))
	}
	wanted := func(o operation) bool { return true }
	var alarms []model.Alarm
	if req.Incident != nil {
		_, alarms = req.Incident.Episode()
		alarms = slices.Clone(alarms)
	}
	switch {
	case req.Service != "":
		alarms = slices.DeleteFunc(alarms, func(a model.Alarm) bool { return a.Service != req.Service })
		wanted = func(o operation) bool {
			return o.service == req.Service && (req.Operation == "" || o.name == req.Operation)
		}
	case len(alarms) > 0:
		names := map[string]bool{}
		for _, a := range alarms {
			if a.Service != "" {
				names[a.Service] = true
			}
		}
		outer := s.outermost(names)
		if len(outer) > 0 {
			wanted = func(o operation) bool { return outer[o.service] }
		}
	}
	// An operation with an alarm of its own stands before one without, whose trouble was not enough for one. An alarm that is
	// over still belongs to the incident, but those that last say more.
	weight := map[operation]float64{} // of any kind
	for _, a := range alarms {
		o := operation{service: a.Service, name: a.Operation}
		if a.State == model.StateAlarm {
			weight[o] = max(weight[o], alarmed)
		} else {
			weight[o] = max(weight[o], wasAlarmed)
		}
	}
	best, bestExcess := operation{}, -1.0
	for o := range ops {
		if !wanted(o) {
			continue
		}
		e := excess(o)
		if w := weight[operation{service: o.service, name: o.name}]; w > 0 {
			e = w*e + 1
		}
		if e > bestExcess || e == bestExcess && less(o, best) {
			best, bestExcess = o, e
		}
	}
	s.service, s.operation, s.kind = best.service, best.name, best.kind
	if s.service == "" {
		s.service, s.operation = req.Service, req.Operation
	}
	var standing *model.Alarm
	for i := range alarms {
		if a := &alarms[i]; standing == nil || s.fit(a) > s.fit(standing) {
			standing = a
		}
	}
	s.alarm = standing
	if s.alarm != nil && s.service == "" {
		s.service, s.operation = s.alarm.Service, s.alarm.Operation
	}
	for _, a := range alarms {
		if a.Signal != model.SignalDuration && a.Signal != model.SignalErrors {
			s.asked = true
		}
	}
}

// fit is how well an alarm stands for the chosen operation.
func (s *scope) fit(a *model.Alarm) (f int) {
	if a.Service == s.service {
		f += 4
		if a.Operation == s.operation {
			f += 4
		} else if a.Operation == "" {
			f += 2
		}
	}
	if a.State == model.StateAlarm {
		f++
	}
	if a.Signal == model.SignalDuration {
		f++
	}
	return f
}

func less(a, b operation) bool {
	return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind)) < 0
}

// outermost are those of some services that none of the others calls, directly or not.
func (s *scope) outermost(names map[string]bool) map[string]bool {
	calls := map[string][]string{}
	for _, e := range s.edges {
		if e.Kind == store.EdgeCall && e.From != e.To {
			calls[e.From] = append(calls[e.From], e.To)
		}
	}
	called := map[string]bool{}
	for n := range names {
		seen := map[string]bool{n: true}
		for queue := []string{n}; len(queue) > 0; queue = queue[1:] {
			for _, c := range calls[queue[0]] {
				if !seen[c] {
					seen[c] = true
					called[c] = true
					queue = append(queue, c)
				}
			}
		}
	}
	out := map[string]bool{}
	for n := range names {
		if !called[n] {
			out[n] = true
		}
	}
	if len(out) == 0 {
		return names // they all call each other
	}
	return out
}

// reach are the services that take part in the operation's work, itself among them.
func (s *scope) reach() map[string]bool {
	seen := map[string]bool{s.service: true}
	for queue := []string{s.service}; len(queue) > 0; queue = queue[1:] {
		for _, e := range s.edges {
			if e.From == queue[0] && (e.Kind == store.EdgeCall || e.Kind == store.EdgeMessage) && !seen[e.To] {
				seen[e.To] = true
				queue = append(queue, e.To)
			}
		}
	}
	return seen
}

// unheard adds up, for each service, the gaps in w between steps with spans that are far longer than its others: ten times
// the median, and a quarter of a minute.
func (s *scope) unheard(w store.Window) map[string]time.Duration {
	out := map[string]time.Duration{}
	for service, steps := range s.heard {
		times := slices.DeleteFunc(slices.Clone(steps), func(t time.Time) bool { return !w.Contains(t) })
		if len(times) == 0 {
			continue
		}
		slices.SortFunc(times, time.Time.Compare)
		gaps := make([]time.Duration, 0, len(times)+1)
		last := w.From.Add(-s.step)
		for _, t := range append(slices.Compact(times), w.To) {
			gaps = append(gaps, max(0, t.Sub(last)-s.step))
			last = t
		}
		limit := max(15*time.Second, 10*slices.Sorted(slices.Values(gaps))[len(gaps)/2])
		for _, g := range gaps {
			if g >= limit {
				out[service] += g
			}
		}
	}
	return out
}

// together is how far apart alarms of one trouble begin at most, one after the other.
const together = 2 * time.Minute

// recent is the onset of the trouble to which the chosen operation's own alarm belongs. An incident may be open for long
// when something else happens: what began minutes before that alarm, with nothing in between, is another matter.
func (s *scope) recent(req Request, onset time.Time) time.Time {
	if req.Incident == nil || !req.From.IsZero() || s.alarm == nil || s.alarm.Onset.IsZero() || s.alarm.Service != s.service || s.alarm.Operation != s.operation {
		return onset
	}
	_, alarms := req.Incident.Episode()
	began := s.alarm.Onset
	for _, a := range slices.Backward(slices.SortedFunc(slices.Values(alarms), func(a, b model.Alarm) int { return a.Onset.Compare(b.Onset) })) {
		if a.Onset.Before(began) && began.Sub(a.Onset) <= together && !a.Onset.IsZero() {
			began = a.Onset
		}
	}
	return maxTime(onset, began).UTC()
}

// suffered are the steps, by operation, of the operations nearby that had an alarm before an onset and not long ago: in one of
// some incidents that are over, or in the one that is open.
func (s *scope) suffered(steps []store.TimelineStat, onset time.Time, resolved []model.Incident, open *model.Incident) map[operation][]store.TimelineStat {
	if open != nil {
		resolved = append(slices.Clone(resolved), *open)
	}
	alarmed := map[operation]bool{} // of any kind
	reach := s.reach()
	for _, inc := range resolved {
		if !inc.ResolvedAt.IsZero() && inc.ResolvedAt.Before(onset.Add(-history)) {
			continue
		}
		for _, a := range inc.Alarms {
			if !a.Onset.IsZero() && a.Onset.Before(onset.Add(-atLeast)) && a.Service != "" && a.Operation != "" && reach[a.Service] {
				alarmed[operation{service: a.Service, name: a.Operation}] = true
			}
		}
	}
	out := map[operation][]store.TimelineStat{}
	for _, t := range steps {
		if o := (operation{service: t.Service, name: t.Operation}); alarmed[o] {
			out[o] = append(out[o], t)
		}
	}
	return out
}

// began is the operation's own change point near the time that was given, zero if it has none: the first that its alarm is
// about, or that is grave enough for an alarm of its own, else the first of all.
func (s *scope) began(near time.Time, known bool) time.Time {
	var first, alarming time.Time
	for _, x := range s.shifts {
		if x.Service != s.service || x.Operation != s.operation || x.Kind != s.kind || x.Signal == model.SignalRate {
			continue
		}
		if known && (x.At.Before(near.Add(-2*time.Minute)) || x.At.After(near.Add(time.Minute))) {
			continue
		}
		if first.IsZero() || x.At.Before(first) {
			first = x.At
		}
		about := s.alarm == nil || s.alarm.Service != s.service || s.alarm.Signal == x.Signal
		if (about || x.After-x.Before >= grave) && (alarming.IsZero() || x.At.Before(alarming)) {
			alarming = x.At
		}
	}
	if alarming.IsZero() {
		return first
	}
	return alarming
}

// grave is the change, in seconds or as a share of the requests, from which people want to know.
const grave = 0.05

// measure says how slow and how failing the operation is.
func (s *scope) measure(steps []store.TimelineStat) {
	o := operation{s.service, s.operation, s.kind}
	s.now, s.usual = total(steps, o, s.settled), total(steps, o, s.normal)
	ratio := 1.0
	if s.usual.count > 0 && s.usual.mean() > 0 {
		ratio = s.now.mean() / s.usual.mean()
	}
	for _, x := range s.shifts {
		if x.Service != s.service || x.Operation != s.operation || x.Kind != s.kind {
			continue
		}
		switch x.Signal {
		case model.SignalDuration:
			s.slow = max(s.slow, clamp((ratio-1.1)/0.4))
		case model.SignalErrors:
			s.failing = max(s.failing, clamp((s.now.share()-s.usual.share()-0.005)/0.03))
		}
	}
	var threshold float64
	if s.alarm != nil && s.alarm.Service == s.service {
		switch s.alarm.Signal {
		case model.SignalDuration:
			s.slow = 1
			if s.alarm.Unit == "s" {
				threshold = s.alarm.Threshold
			}
		case model.SignalErrors:
			s.failing = 1
		}
	}
	if s.slow > 0 {
		// Halfway, by factors, between usual and now. Where only the slowest became slower, the alarm knows better.
		limit := math.Sqrt(s.now.mean() * s.usual.mean())
		if s.usual.count == 0 {
			limit = s.now.mean() / 2
		} else if ratio < 1.3 {
			limit = max(threshold, 1.5*s.usual.mean())
		}
		s.badDuration = time.Duration(limit * float64(time.Second))
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func clamp(v float64) float64 { return min(1, max(0, v)) }

// entrySelection picks the operation's requests in a window.
func (s *scope) entrySelection(tenant string, w store.Window) store.Selection {
	return store.Selection{Tenant: tenant, Window: w, Service: s.service, Operation: s.operation, Kinds: []model.SpanKind{s.kind}}
}

// badSelection picks those that were slow or failed; all of them if neither is the trouble.
func (s *scope) badSelection(tenant string, w store.Window) store.Selection {
	sel := s.entrySelection(tenant, w)
	if s.slow > 0 || s.failing > 0 {
		sel.Bad, sel.BadDuration = true, s.badDuration
	}
	return sel
}

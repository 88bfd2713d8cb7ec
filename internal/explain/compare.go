package explain

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"triage/internal/model"
)

// This file compares the behaviour of services in two times, request by request and given the operation: a change of the
// mix of work makes rare code look new, but not within one operation. Yu et al. (Nezha, FSE 2023) compare how often
// patterns of events occur; here the presence of each event is enough, with a test that knows that requests of one minute
// are not independent.

// Deviation is a trait whose share among an operation's requests changed.
type Deviation struct {
	Trait Trait
	In    Operation
	// Count of Requests show it now, Now is their share; Usual is the share among Before earlier requests.
	Count, Requests int
	Now, Usual      float64
	Before          int
	// Score is the squared deviation in units of chance, times the part of the requests that behaves otherwise.
	Score float64
	Line  Line // of TraitLog
	Trace model.TraceID
}

// Slower is an operation's own time, or the wait of an edge, that grew.
type Slower struct {
	From, To   string // of an edge
	Operation  Operation
	Now, Usual float64 // median seconds
	Count      int
	Excess     float64 // seconds in all
	// Deviation is the squared change of the logarithm in units of chance, Score that weighed by the part of all lost time.
	Deviation, Score float64
}

// Busy is the processor of a service: the part of its limit in use, 0 to 1.
type Busy struct {
	Service    string
	Now, Usual float64
	Deviation  float64
	Score      float64
	Metric     string
	Labels     map[string]string
}

// Comparison is what differs between a time and the usual.
type Comparison struct {
	Deviations []Deviation    // best first
	Edges      []Slower       // calls between services, all that could be compared, best first
	Own        []Slower       // operations, likewise
	Busy       []Busy         // services, likewise
	Requests   map[string]int // by service
	// Now and Usual are what was compared.
	Now   *Behaviour   `json:"-"`
	Usual []*Behaviour `json:"-"`
	calls map[string][]string
}

// The constants of the comparison. Each has a reason outside of any data set, and none is sharp.
const (
	// overdispersed is how much more the shares of two times differ than independent requests would: requests of one
	// minute share users, data and caches. With it a share of 5 in 10 against 3 in 10 is nothing however many there are.
	overdispersed = 0.2
	// rare is the least share that is told from none: what never happened in a few minutes may happen in the next.
	rare = 0.02
	// timeSpread is the least spread of the logarithm of times: a factor of e in two of three requests.
	timeSpread = 0.5
	// instant is a time below which factors say nothing, in seconds.
	instant = 1e-3
	// bearable is excess that nobody feels, in seconds over the whole window.
	bearable = 0.5
	// explained is the part of a caller's deviation that vanishes when a callee deviates, however deep below. A caller
	// shows all that goes wrong beneath it, often in more lines than the callee: a third of its score is enough.
	explained, enoughBelow = 0.7, 3
	// convincing is the score at which a case is as likely right as wrong.
	convincing = 20
	// certain caps the score of what needs no more proof.
	certain = 2000
)

// enoughNormal is how many requests of normal time tell how an operation works, without history.
const enoughNormal = 5

// confirmed is how near a share in history must be to that in normal time to make it surer.
const confirmed = 0.1

// Compare compares a time with normal times. History may hold faults, even the same one again, so nothing that normal time
// knows is overruled by it: it makes surer what it agrees with, and tells of operations that normal time hardly shows.
// Medians over times pass over what is rare.
func Compare(now *Behaviour, normal, history []*Behaviour) *Comparison {
	c := &Comparison{Now: now, Usual: slices.Concat(normal, history), Requests: now.Services(), calls: map[string][]string{}}
	times := func(count func(*Behaviour) int) []*Behaviour {
		known := 0
		for _, n := range normal {
			known += count(n)
		}
		if known >= enoughNormal {
			return normal
		}
		return c.Usual
	}
	for _, op := range slices.SortedFunc(maps.Keys(now.Handled), compareOperations) {
		usual := times(func(b *Behaviour) int { return len(b.Handled[op]) })
		confirms := history
		if len(usual) > len(normal) {
			confirms = nil // it is part of the usual itself
		}
		c.operation(op, now, usual, confirms)
		c.own(op, now, usual)
	}
	c.repairLoss()
	for i := range c.Deviations {
		d := &c.Deviations[i]
		d.Score = round(d.test())
	}
	c.Deviations = slices.DeleteFunc(c.Deviations, func(d Deviation) bool { return d.Score < 1 })
	slices.SortStableFunc(c.Deviations, func(a, b Deviation) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), compareOperations(a.In, b.In), compareTraits(a.Trait, b.Trait))
	})
	for _, e := range slices.SortedFunc(maps.Keys(now.Waits), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		var before []float64
		for _, u := range times(func(b *Behaviour) int { return len(b.Waits[e]) }) {
			before = append(before, u.Waits[e]...)
		}
		if s, ok := slower(now.Waits[e], before); ok {
			s.From, s.To = e[0], e[1]
			c.Edges = append(c.Edges, s)
		}
	}
	c.weighTimes()
	return c
}

func compareOperations(a, b Operation) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
}

func compareTraits(a, b Trait) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), compareOperations(a.Operation, b.Operation), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Template, b.Template))
}

// operation compares the traits of one operation. Its usual way is that of requests that succeeded. Where it failed
// always and does not now, it recovered, and whatever else it does now is no fault.
func (c *Comparison) operation(op Operation, now *Behaviour, usual, history []*Behaviour) {
	requests := now.Handled[op]
	failed := 0
	for _, h := range requests {
		if h.Failed {
			failed++
		}
	}
	var all, good [][]Handling
	for _, u := range usual {
		if handled := u.Handled[op]; len(handled) > 0 {
			all = append(all, handled)
			if g := slices.DeleteFunc(slices.Clone(handled), func(h Handling) bool { return h.Failed }); len(g) > 0 {
				good = append(good, g)
			}
		}
	}
	traits := map[Trait]int{}
	for _, h := range requests {
		for t := range h.Traits {
			traits[t]++
			c.called(op, t)
		}
	}
	var earlier [][]Handling
	for _, times := range [][]*Behaviour{usual, history} {
		for _, u := range times {
			for _, h := range u.Handled[op] {
				for t := range h.Traits {
					c.called(op, t) // one that breaks off early no longer calls what it waits for
				}
			}
		}
	}
	for _, u := range history {
		if g := slices.DeleteFunc(slices.Clone(u.Handled[op]), func(h Handling) bool { return h.Failed }); len(g) > 0 {
			earlier = append(earlier, g)
		}
	}
	if len(all) == 0 {
		return // an operation that never ran before has nothing to be compared with
	}
	base := good
	if len(good) == 0 {
		if failed < len(requests) {
			return
		}
		base = all
	}
	for _, times := range base {
		for _, h := range times {
			for t := range h.Traits {
				traits[t] += 0
			}
		}
	}
	add := func(t Trait, count int, base [][]Handling, has func(*Handling) bool) {
		share, n := usualShare(base, has)
		if before, m := usualShare(earlier, has); m > 0 && math.Abs(before-share) < confirmed {
			n += m
		}
		d := Deviation{Trait: t, In: op, Count: count, Requests: len(requests), Now: float64(count) / float64(len(requests)), Usual: share, Before: n}
		d.Trace = example(requests, t, d.Now > d.Usual)
		if t.Kind == TraitLog {
			line, ok := now.Lines[t]
			for i := 0; !ok && i < len(usual); i++ {
				line, ok = usual[i].Lines[t]
			}
			d.Line = line
		}
		c.Deviations = append(c.Deviations, d)
	}
	for _, t := range slices.SortedFunc(maps.Keys(traits), compareTraits) {
		add(t, traits[t], base, func(h *Handling) bool { return h.Traits[t] })
	}
	if failed > 0 {
		add(Trait{Kind: TraitFails, Operation: op}, failed, all, func(h *Handling) bool { return h.Failed })
	}
}

// called notes whom a service calls.
func (c *Comparison) called(op Operation, t Trait) {
	if t.Kind == TraitCall && t.Service != op.Service && !slices.Contains(c.calls[op.Service], t.Service) {
		c.calls[op.Service] = append(c.calls[op.Service], t.Service)
	}
}

// example is a request that shows what changed: one with the trait where it became frequent, else one without.
func example(now []Handling, t Trait, more bool) model.TraceID {
	for i := range now {
		if t.Kind == TraitFails && now[i].Failed || t.Kind != TraitFails && now[i].Traits[t] == more {
			return now[i].Trace
		}
	}
	return model.TraceID{}
}

// usualShare is the median over times of the share of requests with something, each time counting by its requests.
func usualShare(times [][]Handling, has func(*Handling) bool) (share float64, requests int) {
	type point struct {
		share float64
		n     int
	}
	points := make([]point, 0, len(times))
	for _, handled := range times {
		k := 0
		for i := range handled {
			if has(&handled[i]) {
				k++
			}
		}
		points = append(points, point{float64(k) / float64(len(handled)), len(handled)})
		requests += len(handled)
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.share, b.share) })
	seen := 0
	for _, p := range points {
		if seen += p.n; 2*seen >= requests {
			return p.share, requests
		}
	}
	return 0, requests
}

// repairLoss takes general loss of spans into account: if what every request used to show is missing from the middle one
// of all operations by some share, then that share of the spans was lost on the way to us.
func (c *Comparison) repairLoss() {
	for _, kind := range []TraitKind{TraitInner, TraitCall} {
		var kept []float64
		for _, d := range c.Deviations {
			if d.Trait.Kind == kind && d.Usual > 0.9 && d.Requests >= 3 {
				kept = append(kept, d.Now)
			}
		}
		if len(kept) < 20 {
			continue
		}
		q := median(kept)
		for i := range c.Deviations {
			if d := &c.Deviations[i]; d.Trait.Kind == kind {
				d.Usual *= q
			}
		}
	}
}

// test is the score of a deviation: a score test of two shares with overdispersion, the usual share drawn half a request
// towards the middle because "never" was seen only so often.
func (d *Deviation) test() float64 {
	n := float64(d.Before)
	p := min(1-rare, max(rare, (d.Usual*n+0.5)/(n+1)))
	if d.Trait.Kind == TraitFails && d.Now < p {
		return 0 // fewer failures are no fault
	}
	variance := p * (1 - p) * (1/float64(d.Requests) + 1/n + overdispersed)
	delta := math.Abs(d.Now - p)
	return min(certain, delta*delta/variance*delta)
}

func (c *Comparison) own(op Operation, now *Behaviour, usual []*Behaviour) {
	seconds := func(b *Behaviour) (out []float64) {
		for _, h := range b.Handled[op] {
			out = append(out, max(0, h.Own))
		}
		return out
	}
	var before []float64
	for _, u := range usual {
		before = append(before, seconds(u)...)
	}
	if s, ok := slower(seconds(now), before); ok {
		s.Operation = op
		c.Own = append(c.Own, s)
	}
}

// slower compares medians of times on a scale of factors; ok tells that both sides have some.
func slower(now, before []float64) (s Slower, ok bool) {
	if len(now) == 0 || len(before) == 0 {
		return s, false
	}
	logs := func(v []float64) []float64 {
		out := make([]float64, len(v))
		for i, x := range v {
			out[i] = math.Log(x + instant)
		}
		return out
	}
	a, b := logs(now), logs(before)
	middle, usual := median(a), median(b)
	s = Slower{Now: max(0, round(math.Exp(middle)-instant)), Usual: max(0, round(math.Exp(usual)-instant)), Count: len(now)}
	if middle <= usual {
		return s, true
	}
	spread := max(1.4826*median(distances(b, usual)), timeSpread)
	s.Deviation = (middle - usual) * (middle - usual) / (spread * spread * (1/float64(len(a)) + 1/float64(len(b)) + overdispersed))
	for _, x := range now {
		s.Excess += max(0, x-s.Usual)
	}
	return s, true
}

func distances(v []float64, from float64) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = math.Abs(x - from)
	}
	return out
}

// weighTimes weighs each slower place by its part of all the time that was lost.
func (c *Comparison) weighTimes() {
	all := bearable
	for _, times := range [][]Slower{c.Edges, c.Own} {
		for _, s := range times {
			all += s.Excess
		}
	}
	for _, times := range [][]Slower{c.Edges, c.Own} {
		for i := range times {
			times[i].Score = round(min(certain, times[i].Deviation*times[i].Excess/all))
		}
		slices.SortStableFunc(times, func(a, b Slower) int { return cmp.Compare(b.Score, a.Score) })
	}
}

// AddBusy adds what is known of processors: values of the part of the limit in use, during and before. A processor that
// is mostly idle is no cause, however unusual.
func (c *Comparison) AddBusy(b Busy, now, before []float64) {
	if len(now) == 0 || len(before) < 4 {
		return
	}
	b.Now, b.Usual = round(slices.Max(now)), round(median(before))
	spread := 1.4826*median(distances(before, b.Usual)) + 0.005 + 0.1*b.Usual
	b.Deviation = round((b.Now - b.Usual) / spread)
	if b.Deviation > 0 {
		b.Score = round(min(certain, b.Deviation*b.Deviation) * ramp(b.Now, 0.2, 0.8))
	}
	c.Busy = append(c.Busy, b)
	slices.SortStableFunc(c.Busy, func(a, b Busy) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Service, b.Service))
	})
}

// strongest is the largest score of each service, by any sign.
func (c *Comparison) strongest() map[string]float64 {
	out := map[string]float64{}
	raise := func(service string, score float64) { out[service] = max(out[service], score) }
	for _, d := range c.Deviations {
		raise(d.In.Service, d.Score)
	}
	for _, n := range c.networks() {
		raise(n.service, n.score)
	}
	for s, o := range c.ownTimes() {
		raise(s, o.score)
	}
	for _, b := range c.Busy {
		raise(b.Service, b.Score)
	}
	return out
}

// network is the connection of one service as far as its edges were slower.
type network struct {
	service string
	score   float64
	edges   []Slower // those that were slower, best first
	all     int      // edges on that side
}

// networks accuses the service that slow edges have in common: all that call it, or all that it calls. The callee is
// preferred, for a caller with one callee has no other side to compare with.
func (c *Comparison) networks() (out []network) {
	in, from := map[string][]Slower{}, map[string][]Slower{}
	for _, e := range c.Edges {
		if e.From != e.To {
			in[e.To] = append(in[e.To], e)
			from[e.From] = append(from[e.From], e)
		}
	}
	part := func(service string, edges []Slower, weight float64) network {
		n := network{service: service, all: len(edges)}
		for _, e := range edges {
			if e.Deviation > convincing/2 {
				n.edges = append(n.edges, e)
			}
			n.score += e.Score
		}
		n.score = round(min(certain, weight*n.score*float64(len(n.edges))/float64(max(1, n.all))))
		return n
	}
	services := map[string]bool{}
	for s := range in {
		services[s] = true
	}
	for s := range from {
		services[s] = true
	}
	for _, s := range slices.Sorted(maps.Keys(services)) {
		n := part(s, in[s], 1)
		if o := part(s, from[s], 0.9); o.score > n.score {
			n = o
		}
		if n.score > 0 {
			out = append(out, n)
		}
	}
	return out
}

type ownTime struct {
	score float64
	worst Slower
}

// ownTimes adds up the operations of each service that took longer by themselves.
func (c *Comparison) ownTimes() map[string]ownTime {
	out := map[string]ownTime{}
	for _, s := range c.Own {
		o := out[s.Operation.Service]
		if o.score == 0 {
			o.worst = s
		}
		o.score = round(min(certain, o.score+s.Score))
		out[s.Operation.Service] = o
	}
	return out
}

// below is the largest score among the services that one calls, however deep, and whose it is.
func (c *Comparison) below(service string, scores map[string]float64) (best float64, whose string) {
	seen := map[string]bool{service: true}
	for queue := []string{service}; len(queue) > 0; queue = queue[1:] {
		for _, callee := range c.calls[queue[0]] {
			if !seen[callee] {
				seen[callee] = true
				queue = append(queue, callee)
				if scores[callee] > best {
					best, whose = scores[callee], callee
				}
			}
		}
	}
	return best, whose
}

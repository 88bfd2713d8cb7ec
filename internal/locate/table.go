package locate

import (
	"cmp"
	"math"
	"slices"

	"triage/internal/model"
)

// Profile is what one request was made of.
type Profile struct {
	Trace   model.TraceID
	Entry   model.SpanID
	Seconds float64 // the entry's duration, with the queue's wait before it
	Failed  bool
	// Times are exclusive seconds on the critical path, in order of entity.
	Times []EntityTime
	// Origin is where a failed request's failure began, nil if it didn't fail.
	Origin *Origin
	spans  map[model.Entity]spanCount
}

// EntityTime is a request's exclusive time in one entity.
type EntityTime struct {
	Entity  model.Entity
	Seconds float64
}

type spanCount struct{ all, failed int }

// Time is the request's exclusive seconds in an entity.
func (p *Profile) Time(e model.Entity) float64 {
	i, ok := slices.BinarySearchFunc(p.Times, e, func(t EntityTime, e model.Entity) int { return cmp.Compare(t.Entity, e) })
	if !ok {
		return 0
	}
	return p.Times[i].Seconds
}

// Profiles takes traces apart. Traces whose entry isn't among their spans are left out.
func Profiles(traces []Trace, peers Peers) []Profile {
	out := make([]Profile, 0, len(traces))
	for _, tr := range traces {
		if p, ok := profile(tr, peers); ok {
			out = append(out, p)
		}
	}
	return out
}

func profile(tr Trace, peers Peers) (Profile, bool) {
	if len(tr.Spans) == 0 {
		return Profile{}, false
	}
	t := build(tr.Spans)
	entry := t.main()
	if !tr.Entry.IsZero() {
		var ok bool
		if entry, ok = t.entry(tr.Entry); !ok {
			return Profile{}, false
		}
	}
	e := &t.nodes[entry]
	p := Profile{
		Trace: e.span.TraceID, Entry: e.span.SpanID, Failed: e.span.Status == model.StatusError,
		Seconds: float64(e.end-e.start) / 1e9, spans: map[model.Entity]spanCount{},
	}
	times := map[model.Entity]int64{}
	for _, s := range t.path(entry) {
		times[t.entity(s.node, peers)] += s.own
	}
	if q, wait := t.queueWait(entry); wait > 0 {
		times[q] += wait
		p.Seconds += float64(wait) / 1e9
	}
	for name, ns := range times {
		p.Times = append(p.Times, EntityTime{name, float64(ns) / 1e9})
	}
	slices.SortFunc(p.Times, func(a, b EntityTime) int { return cmp.Compare(a.Entity, b.Entity) })
	for stack := []int{entry}; len(stack) > 0; {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		name := t.entity(i, peers)
		c := p.spans[name]
		c.all++
		if t.nodes[i].span.Status == model.StatusError {
			c.failed++
		}
		p.spans[name] = c
		for _, k := range t.nodes[i].children {
			if !t.nodes[k].async {
				stack = append(stack, k)
			}
		}
	}
	if p.Failed {
		o := t.origin(entry, peers)
		p.Origin = &o
	}
	return p, true
}

// entry finds the node of a span ID, of a shared ID the half that receives.
func (t *tree) entry(id model.SpanID) (int, bool) {
	i, ok := t.byID[id]
	if !ok {
		return 0, false
	}
	if t.nodes[i].span.Kind == model.SpanClient {
		for _, c := range t.nodes[i].children {
			if t.nodes[c].span.SpanID == id {
				return c, true
			}
		}
	}
	return i, true
}

// queueWait is how long a consumed message lay between its producer and its consumer.
func (t *tree) queueWait(i int) (model.Entity, int64) {
	n := &t.nodes[i]
	if n.span.Kind != model.SpanConsumer {
		return "", 0
	}
	from := n.parent
	if from < 0 || t.nodes[from].span.Kind != model.SpanProducer {
		for _, l := range n.span.Links {
			if j, ok := t.byID[l.SpanID]; ok && l.TraceID == n.span.TraceID && t.nodes[j].span.Kind == model.SpanProducer {
				from = j
			}
		}
	}
	if from < 0 || t.nodes[from].span.Kind != model.SpanProducer {
		return "", 0
	}
	q := Destination(n.span)
	if q == "" {
		q = Destination(t.nodes[from].span)
	}
	return model.QueueEntity(q), max(0, n.start-t.nodes[from].end)
}

// Table is the table of times: the mean exclusive seconds that a request spends in each entity, now and usually,
// longest now first. Entities that take no time and have no failures are left out.
func Table(bad, normal []Trace) []model.Where {
	peers := Learn(bad, normal)
	return Sum(Profiles(bad, peers), Profiles(normal, peers))
}

// Sum makes the table of profiles.
func Sum(bad, normal []Profile) []model.Where {
	rows := map[model.Entity]*model.Where{}
	counts := map[model.Entity]spanCount{}
	row := func(e model.Entity) *model.Where {
		if rows[e] == nil {
			rows[e] = &model.Where{Entity: e}
		}
		return rows[e]
	}
	var total float64
	for i := range bad {
		for _, t := range bad[i].Times {
			row(t.Entity).ExclusiveS += t.Seconds / float64(len(bad))
			total += t.Seconds / float64(len(bad))
		}
		for e, c := range bad[i].spans {
			row(e)
			sum := counts[e]
			counts[e] = spanCount{sum.all + c.all, sum.failed + c.failed}
		}
	}
	for i := range normal {
		for _, t := range normal[i].Times {
			row(t.Entity).UsualS += t.Seconds / float64(len(normal))
		}
	}
	out := make([]model.Where, 0, len(rows))
	for e, r := range rows {
		if c := counts[e]; c.all > 0 {
			r.Errors = round(float64(c.failed) / float64(c.all))
		}
		if total > 0 {
			r.Share = round(r.ExclusiveS / total)
		}
		r.BadTrace = typical(bad, e, r.ExclusiveS)
		r.NormalTrace = typical(normal, e, r.UsualS)
		r.ExclusiveS, r.UsualS = round(r.ExclusiveS), round(r.UsualS)
		if r.ExclusiveS == 0 && r.UsualS == 0 && r.Errors == 0 {
			continue
		}
		out = append(out, *r)
	}
	slices.SortFunc(out, longestFirst)
	return out
}

func longestFirst(a, b model.Where) int {
	return cmp.Or(cmp.Compare(b.ExclusiveS, a.ExclusiveS), cmp.Compare(a.Entity, b.Entity))
}

// typical is the trace whose time in the entity is nearest to the mean, so that the example shows what the row says.
func typical(profiles []Profile, e model.Entity, mean float64) string {
	best, distance := "", math.Inf(1)
	for i := range profiles {
		d := math.Abs(profiles[i].Time(e) - mean)
		id := profiles[i].Trace.String()
		if d < distance || d == distance && id < best {
			best, distance = id, d
		}
	}
	return best
}

// round cuts what differs only by the order of additions.
func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }

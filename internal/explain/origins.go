package explain

import (
	"cmp"
	"slices"

	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// MoveUnreached moves failures of services that could not connect to what they could not connect to. A client makes the
// span of a call once it has a connection, so when the other side is gone there is no call to see: the failure seems to
// be the service's own, and its usual calls have ceased. It needs both: the error speaks of a connection, and of the
// databases, queues, hosts and services that the service usually calls one fell silent or fails throughout.
func (f *Facts) MoveUnreached() {
	for i := range f.Origins {
		o := &f.Origins[i]
		if o.Entity.Kind() != "service" || 2*o.Unreached < o.Count {
			continue
		}
		if to := f.silent(o.Entity.Name()); to != "" {
			o.Entity, o.Unanswered = to, o.Unreached
		}
	}
	f.joinOrigins()
}

// MoveImpatient moves failures of calls that were given up to whoever gave up, if its patience is what changed: where nothing
// is slow, and where the calls were given up before they had taken twice what they usually take. Nobody who gives up that
// soon did so before.
func (f *Facts) MoveImpatient() {
	for i := range f.Origins {
		o := &f.Origins[i]
		if o.By == "" || 2*o.GaveUp < o.Count || f.Slow > 0 && !f.impatient(o) {
			continue
		}
		o.Entity, o.Unanswered = model.ServiceEntity(o.By), 0
		if f.Slow > 0 {
			o.GaveUp = 0 // it is no slowness of anybody
		}
	}
	f.joinOrigins()
}

// impatient tells whether calls were given up sooner than fits what they usually take.
func (f *Facts) impatient(o *locate.OriginCount) bool {
	kind := store.EdgeCall
	to := o.AwaitedOf.Name()
	switch o.AwaitedOf.Kind() {
	case "edge":
		_, to = o.AwaitedOf.Ends()
	case "database":
		kind = store.EdgeDatabase
	case "remote":
		kind = store.EdgeRemote
	default:
		return false
	}
	_, usual := f.Edge(o.By, to, kind)
	return usual.Count > 0 && o.Waited/float64(o.GaveUp) < 2*usual.ClientMean
}

// MoveLost moves failures to where others of the same requests begin deeper. It is for traces of which many spans are lost: a
// service fails whenever what it calls fails, and where the spans of that call are lost it looks as if it failed by itself.
func (f *Facts) MoveLost() {
	total := 0
	for _, o := range f.Origins {
		total += o.Count
	}
	moved := make([]model.Entity, len(f.Origins))
	for i, o := range f.Origins {
		below := f.below(o.Entity)
		for _, deeper := range f.Origins { // the most frequent first
			if deeper.Entity != o.Entity && below[deeper.Entity] && float64(deeper.Count) >= seenBelow*float64(total) {
				moved[i] = deeper.Entity
				below = f.below(deeper.Entity)
			}
		}
	}
	for i, e := range moved {
		if e != "" {
			f.Origins[i].Entity = e
		}
	}
	f.joinOrigins()
}

// seenBelow is the part of the failures that is still seen where they begin, though half of the spans of the way are lost.
const seenBelow = 0.15

// below is all that a service, or the called side of an edge, asks directly or not.
func (f *Facts) below(e model.Entity) map[model.Entity]bool {
	out := map[model.Entity]bool{}
	var queue []string
	switch e.Kind() {
	case "service":
		queue = []string{e.Name()}
	case "edge":
		_, to := e.Ends()
		queue = []string{to}
		out[model.ServiceEntity(to)] = true
	}
	for seen := map[string]bool{}; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		for _, x := range slices.Concat(f.EdgesNow, f.EdgesUsual) {
			if x.From != queue[0] {
				continue
			}
			switch x.Kind {
			case store.EdgeCall:
				queue = append(queue, x.To)
				out[model.EdgeEntity(x.From, x.To)], out[model.ServiceEntity(x.To)] = true, true
			case store.EdgeDatabase:
				out[model.DatabaseEntity(x.To)] = true
			case store.EdgeRemote:
				out[model.RemoteEntity(x.To)] = true
			}
		}
	}
	delete(out, e)
	return out
}

// joinOrigins makes one row of those of one entity, and puts the most frequent first.
func (f *Facts) joinOrigins() {
	slices.SortStableFunc(f.Origins, func(a, b locate.OriginCount) int { return cmp.Compare(a.Entity, b.Entity) })
	out := f.Origins[:0]
	for _, o := range f.Origins {
		if n := len(out); n > 0 && out[n-1].Entity == o.Entity {
			last := &out[n-1]
			last.Count, last.GaveUp, last.Unanswered = last.Count+o.Count, last.GaveUp+o.GaveUp, last.Unanswered+o.Unanswered
			last.Unreached, last.Exceptions, last.Waited = last.Unreached+o.Unreached, last.Exceptions+o.Exceptions, last.Waited+o.Waited
			continue
		}
		out = append(out, o)
	}
	f.Origins = out
	slices.SortStableFunc(f.Origins, func(a, b locate.OriginCount) int { return b.Count - a.Count })
}

// silent is what a service usually calls and now doesn't reach: of several the one it called most, "" if there is none.
// A network may let some calls to another service through.
func (f *Facts) silent(service string) model.Entity {
	entities := map[store.EdgeKind]func(string) model.Entity{
		store.EdgeDatabase: model.DatabaseEntity, store.EdgeQueue: model.QueueEntity, store.EdgeRemote: model.RemoteEntity,
		store.EdgeCall: func(to string) model.Entity { return model.EdgeEntity(service, to) },
	}
	var best model.Entity
	var most int64
	for _, e := range f.EdgesUsual {
		entity, ok := entities[e.Kind]
		if !ok || e.From != service || e.To == service || e.Count <= most {
			continue
		}
		enough := 0.7
		if e.Kind == store.EdgeCall {
			enough = 0.3
		}
		if f.silence(e) > enough {
			best, most = entity(e.To), e.Count
		}
	}
	return best
}

// silence is how much of an edge's usual calls now don't come back with an answer, 0 to 1.
func (f *Facts) silence(usual store.EdgeStat) float64 {
	now, _ := f.Edge(usual.From, usual.To, usual.Kind)
	return max(0, 1-ratio(perSecond(now.Count-now.Errors, f.Bad), perSecond(usual.Count-usual.Errors, f.Normal), 0.01))
}

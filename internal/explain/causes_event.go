package explain

import (
	"slices"

	"triage/internal/model"
	"triage/internal/store"
)

// floods accuses a service that sends far more messages than usual to one that suffers. Required: the messages surged,
// and the trouble lies in who consumes them, in what that one uses, or in the queue between. Contradicting: the sender
// itself received more than usual; then it only passes on.
func floods(f *Facts) (cases []Case) {
	seen := map[string]bool{}
	for _, e := range f.EdgesNow {
		if e.Kind == store.EdgeMessage && !seen[e.To] {
			seen[e.To] = true
			cases = append(cases, floodsInto(f, e.To)...)
		}
	}
	return cases
}

func floodsInto(f *Facts, consumer string) (cases []Case) {
	for _, e := range f.EdgesNow {
		if e.Kind != store.EdgeMessage || e.To != consumer || e.From == consumer {
			continue
		}
		_, before := f.Edge(e.From, e.To, e.Kind)
		s, rateNow, rateUsual := f.surge(e.To, e.Count, before.Count)
		if s == 0 {
			continue
		}
		place := f.Blame(model.ServiceEntity(consumer)) + f.Beneath(consumer, "database") + 0.7*f.Above(consumer) +
			f.Beneath(consumer, "queue")
		for _, q := range f.Entities("queue") {
			if f.Service == consumer && len(f.Users(q)) == 0 {
				place += f.Blame(q)
			}
		}
		in, inUsual := f.entries(e.From, model.SpanServer)
		upstream, _, _ := f.surge(e.From, in, inUsual)
		c := Case{Cause: model.Cause{Class: model.ClassEvent, Entity: model.ServiceEntity(e.From), Onset: f.serviceOnset(e.From)}}
		c.Required = []Sign{
			{"flood", s, f.floodEvidence(e, rateNow, rateUsual)},
			{"place", ramp(place, 0.15, 0.45), f.placeEvidence(model.ServiceEntity(consumer))},
		}
		c.Supporting = []Sign{f.shortage(consumer), {"sender's own load as usual", 0.7 * (1 - upstream), nil}}
		c.Contradicting = []Sign{{"upstream", 0.8 * upstream, nil}}
		if !slices.ContainsFunc(cases, func(o Case) bool { return o.Entity == c.Entity }) {
			cases = append(cases, c)
		}
	}
	return cases
}

// shortage is the resource of a service that is nearest to its end, of any service if none is named.
func (f *Facts) shortage(service string) Sign {
	s := Sign{Name: "resource"}
	for _, r := range f.Resources {
		if (service == "" || r.Service == service) && r.Strength > s.Strength {
			s.Strength, s.Evidence = r.Strength, f.seriesEvidence(r, r.Signs[0])
			if r.Kind == Pool {
				s.Evidence = f.poolEvidence(r)
			}
		}
	}
	return s
}

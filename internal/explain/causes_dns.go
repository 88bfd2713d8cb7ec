package explain

import (
	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// unresolvedNames accuses the resolution of a name: a service cannot find what it calls, though that may be well.
// Required: failures that begin on the way there, or lines of whoever calls, speak of a name that is not resolved, and
// the trouble lies there. Supporting: the calls have ceased; others still reach the other side. Contradicting: a change
// of the caller, which may have given it a wrong name. Connections that are open need no name, so that some calls may
// go on for a while.
func unresolvedNames(f *Facts) (cases []Case) {
	seen := map[model.Entity]bool{}
	for _, o := range f.Origins {
		e, place := o.Entity, f.Blame(o.Entity)
		callers := f.Users(e)
		switch e.Kind() {
		case "edge":
			from, _ := e.Ends()
			callers = []string{from}
		case "service":
			// Some clients make no span of a call without a connection; then whoever wanted to call seems to fail.
			from := e.Name()
			if e = f.silent(from); e == "" {
				continue
			}
			callers, place = []string{from}, place+f.Blame(e)
		}
		if len(callers) == 0 || seen[e] {
			continue
		}
		seen[e] = true
		from := callers[0]
		said, saying := f.says(from, locate.ResolverWords)
		c := Case{Cause: model.Cause{Class: model.ClassNetwork, Entity: e, Onset: f.serviceOnset(from)}}
		c.Required = []Sign{
			{"unresolved", said, saying},
			{"trouble", max(f.Failing, f.Slow), nil},
			{"place", ramp(place, 0.2, 0.5), f.placeEvidence(e)},
		}
		var ceased, others float64
		for _, usual := range f.EdgesUsual {
			switch {
			case usual.From == from && leads(usual, e):
				ceased = max(ceased, f.silence(usual))
			case usual.From != from && leads(usual, e):
				others = max(others, 1-f.silence(usual))
			}
		}
		c.Supporting = []Sign{{"ceased", 0.7 * ceased, nil}, {"others reach it", 0.6 * others, nil}, {"most", ramp(place, 0.5, 0.9), nil}}
		c.Contradicting = []Sign{{"change", 0.7 * f.changed(from), nil}}
		cases = append(cases, c)
	}
	return cases
}

// leads tells whether calls of an edge go where an entity is.
func leads(s store.EdgeStat, e model.Entity) bool {
	if e.Kind() == "edge" {
		_, to := e.Ends()
		return s.Kind == store.EdgeCall && s.To == to
	}
	return s.To == e.Name()
}

// unresolved is how surely a service cannot resolve the names that it calls.
func (f *Facts) unresolved(service string) float64 {
	said, _ := f.says(service, locate.ResolverWords)
	return said
}

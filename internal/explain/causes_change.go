package explain

import (
	"strings"

	"triage/internal/model"
)

// This file accuses changes. An innocent change must not be convicted, so time alone is never enough: the trouble must
// lie in what was changed, and whatever has a cause of its own (a holder, a flood, a surge) speaks for the change's
// innocence.

func deployments(f *Facts) []Case {
	return f.accuseChanges(func(c *NearChange) bool { return isDeployment(&c.Change) })
}

func configurations(f *Facts) []Case {
	return f.accuseChanges(func(c *NearChange) bool { return !isDeployment(&c.Change) })
}

func isDeployment(c *model.Change) bool {
	k := strings.ToLower(c.Kind)
	return c.Version != "" || strings.HasPrefix(k, "deploy") || k == "release" || k == "rollback"
}

func (f *Facts) accuseChanges(take func(*NearChange) bool) (cases []Case) {
	for i := range f.Changes {
		c := &f.Changes[i]
		if !take(c) {
			continue
		}
		k := Case{Cause: model.Cause{Class: model.ClassChange, Entity: c.Entity(), Onset: c.At}}
		k.Required = []Sign{
			{"time", ramp(c.Timing, 0.1, 0.9), f.ChangeEvidence(c)},
			{"place", ramp(f.reach(c.Service), 0.2, 0.5), f.placeEvidence(model.ServiceEntity(c.Service))},
		}
		if c.Split {
			k.Supporting = append(k.Supporting, Sign{"version", ramp(c.Affected-c.Others, 0.1, 0.5), f.splitEvidence(c)})
			// Old and new run side by side and suffer alike: the version makes no difference.
			k.Contradicting = append(k.Contradicting, Sign{"version", 0.9 * (1 - ramp(c.Affected-c.Others, 0.02, 0.15)), nil})
		}
		for j := range f.Templates {
			if t := &f.Templates[j]; t.Service == c.Service && t.Appeared() && t.Severity >= 13 {
				k.Supporting = append(k.Supporting, Sign{"log", 0.5, f.templateEvidence(t)})
				break
			}
		}
		k.Supporting = append(k.Supporting, Sign{"just before", ramp(120-c.Before.Seconds(), 0, 100), nil})
		if short := f.shortage(c.Service); c.Service != "" && short.Strength > 0.3 {
			short.Strength = 0.3 // shows how the change does its harm more than that it does
			k.Supporting = append(k.Supporting, short)
		}
		if c.Reverts {
			k.Contradicting = append(k.Contradicting, Sign{"ran well before", 0.6, nil})
		}
		k.Contradicting = append(k.Contradicting,
			Sign{"holder", 0.9 * f.exhausted(c.Service), nil},
			Sign{"flood", 0.8 * strongest(floodsInto(f, c.Service)), nil},
			Sign{"surge", 0.6 * f.entrySurge(), nil},
			Sign{"one user", 0.8 * f.userSuffers(), nil},
		)
		cases = append(cases, k)
	}
	return cases
}

// reach is how much of the trouble lies where a change of a service can cause it: in its own code above all, in what
// it calls if it now calls wrongly or elsewhere, on the way to it if it no longer answers.
func (f *Facts) reach(service string) float64 {
	if service == "" {
		return 0.4 // touches everything, and so nothing in particular
	}
	return min(1, f.Blame(model.ServiceEntity(service))+0.6*f.Beneath(service, "edge")+0.6*f.Beneath(service, "database")+
		0.6*f.Beneath(service, "remote")+0.4*f.Beneath(service, "queue")+0.4*f.Above(service))
}

// changed is how surely a change is to blame for what a service does.
func (f *Facts) changed(service string) (best float64) {
	for i := range f.Changes {
		if c := &f.Changes[i]; c.Service == service || c.Service == "" {
			for _, k := range f.accuseChanges(func(o *NearChange) bool { return o == c }) {
				best = max(best, score(k))
			}
		}
	}
	return best
}

// exhausted is how surely somebody exhausted a pool of the service.
func (f *Facts) exhausted(service string) float64 {
	return min(f.Holder(service).Strength, f.poolTrouble(service))
}

// poolTrouble is how surely a service's pool ran out and requests wait for it.
func (f *Facts) poolTrouble(service string) float64 {
	r := f.Resource(service, Pool)
	return min(ramp(r.Strength, 0.1, 0.6), f.manyWait(r))
}

package explain

import (
	"cmp"
	"slices"

	"triage/internal/model"
)

// Sign is one observation that speaks for or against a case, with its strength from 0 to 1.
type Sign struct {
	// Name says what was looked at, for the stored answers.
	Name     string
	Strength float64
	// Evidence is what a person is shown, nil if the number says nothing to them.
	Evidence *model.Evidence
}

// Case is an accusation: a cause with what it requires, what supports it and what contradicts it.
type Case struct {
	model.Cause
	Required, Supporting, Contradicting []Sign
}

// Mechanism is one way in which systems fail. Accuse brings a case for each entity that could be at fault; it may bring
// hopeless ones, their score says so.
type Mechanism struct {
	Name   model.Mechanism
	Accuse func(*Facts) []Case
}

// Catalogue is all mechanisms. The order is that of causes before their effects: somebody's requests or an event
// exhaust a resource, an exhausted resource slows down code; where two cases score alike, the earlier one is told.
func Catalogue() []Mechanism {
	return []Mechanism{
		{model.BadDeployment, deployments},      // before all it may have altered
		{model.Configuration, configurations},   // likewise
		{model.EventFlood, floods},              // before the resources that it exhausts
		{model.RetryStorm, retryStorms},         // before what it overloads
		{model.PoolExhaustion, exhausters},      // who holds the pool, before the pool
		{model.HotKey, hotKeys},                 // before the load as a whole
		{model.AbnormalRequests, abnormalUsers}, // whose own requests alone suffer
		{model.CacheStampede, cacheStampedes},   // before the database that it burdens
		{model.SlowConsumer, slowConsumers},     // before the code that is merely slow
		{model.LockWait, lockWaits},             // before the statements that wait
		{model.SlowQuery, slowQueries},          // before the pool that slow queries fill
		{model.DNSFailure, unresolvedNames},     // before what cannot be reached without a name
		{model.DiskFull, fullDisks},             // before the code that cannot write
		{model.DependencyDown, outages},
		{model.SlowDependency, slowRemotes},
		{model.NetworkLoss, losses},
		{model.NetworkDelay, delays},
		{model.MemoryPressure, memoryPressure}, // before the CPU that its collections take
		{model.CPUSaturation, cpuSaturation},
		{model.PoolExhaustion, exhaustedPools},
		{model.DescriptorExhaustion, exhaustedDescriptors},
		{model.TrafficSurge, trafficSurges}, // before code that is merely overrun
		{model.FailingCode, failingCode},
		{model.SlowCode, slowCode}, // what remains when nothing else explains it
	}
}

// Judge scores every case of the catalogue, best first. What scores less than a twentieth is dropped.
func Judge(f *Facts) []Case {
	var out []Case
	seen := map[model.Entity]map[model.Mechanism]bool{}
	for _, m := range Catalogue() {
		for _, c := range m.Accuse(f) {
			c.Mechanism = m.Name
			c.Confidence = round(score(c))
			if c.Confidence < 0.05 || seen[c.Entity][c.Mechanism] {
				continue
			}
			if seen[c.Entity] == nil {
				seen[c.Entity] = map[model.Mechanism]bool{}
			}
			seen[c.Entity][c.Mechanism] = true
			if c.Onset.IsZero() {
				c.Onset = f.Onset
			}
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b Case) int {
		return cmp.Or(cmp.Compare(b.Confidence, a.Confidence), cmp.Compare(a.Entity, b.Entity))
	})
	return out
}

// score weighs a case. A chain of required signs is as strong as its weakest; support adds at most a quarter, because
// much of it is not independent; each contradiction takes its part of what is left.
func score(c Case) float64 {
	if len(c.Required) == 0 {
		return 0
	}
	s := 1.0
	for _, r := range c.Required {
		s = min(s, r.Strength)
	}
	var support []float64
	for _, r := range c.Supporting {
		support = append(support, min(0.9, r.Strength))
	}
	s *= 0.72 + 0.25*combine(support...)
	for _, r := range c.Contradicting {
		s *= 1 - min(0.97, r.Strength)
	}
	return s
}

// strongest is the score of the best of some cases, as a contradiction of those that they would explain.
func strongest(cases []Case) (best float64) {
	for _, c := range cases {
		best = max(best, score(c))
	}
	return best
}

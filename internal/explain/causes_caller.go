package explain

import (
	"slices"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// This file accuses callers: somebody whose requests exhaust what all share, somebody whose requests alone suffer, and
// everybody at once (a surge).

// exhausters accuses whoever holds an exhausted pool. Required: the pool of a service ran out, the affected requests
// lose their time in that service or its database, and one caller holds a dominant share of the connections that is
// far above its usual. A service that waits for its pool shows as own time, because waiting is no span of its own.
func exhausters(f *Facts) (cases []Case) {
	for _, r := range f.Resources {
		if r.Kind != Pool || r.Strength < 0.1 {
			continue
		}
		h := f.Holder(r.Service)
		if h.Strength == 0 {
			continue
		}
		c := Case{Cause: model.Cause{Class: model.ClassCaller, Entity: CallerEntity(h.Key, h.Value), Resource: model.PoolEntity(r.Service)}}
		c.Required = []Sign{
			{"holder", ramp(h.Strength, 0, 0.8), f.holderEvidence(r.Service, h)},
			{"pool", ramp(r.Strength, 0.1, 0.6), f.poolEvidence(r)},
			{"many wait", f.manyWait(r), nil},
			f.lost(r.Service, 0.1, 0.35),
		}
		c.Supporting = f.poolSupport(r)
		c.Supporting = append(c.Supporting, f.othersWait(r.Service, h))
		c.Contradicting = []Sign{{"flood", 0.6 * strongest(floodsInto(f, r.Service)), nil}}
		c.Onset = earliest(r)
		cases = append(cases, c)
	}
	return cases
}

// exhaustedPools accuses a pool that ran out where nobody can be found who exhausted it.
func exhaustedPools(f *Facts) (cases []Case) {
	for _, r := range f.Resources {
		if r.Kind != Pool || r.Strength < 0.1 {
			continue
		}
		c := Case{Cause: model.Cause{Class: model.ClassResource, Entity: model.PoolEntity(r.Service), Resource: model.PoolEntity(r.Service)}}
		c.Required = []Sign{
			{"pool", ramp(r.Strength, 0.1, 0.6), f.poolEvidence(r)},
			{"many wait", f.manyWait(r), nil},
			f.lost(r.Service, 0.1, 0.35),
		}
		c.Supporting = f.poolSupport(r)
		c.Contradicting = []Sign{
			{"holder", 0.9 * f.Holder(r.Service).Strength, nil},
			{"slow database", 0.75 * f.slowestDatabase(r.Service), nil},
			{"flood", 0.8 * strongest(floodsInto(f, r.Service)), nil},
			{"change", 0.6 * f.changed(r.Service), nil},
			{"surge", 0.5 * f.entrySurge(), nil},
		}
		c.Onset = earliest(r)
		cases = append(cases, c)
	}
	return cases
}

// lost is that the affected requests lose their time, or fail, in a service or in the databases that it uses.
func (f *Facts) lost(service string, lo, hi float64) Sign {
	e := model.ServiceEntity(service)
	return Sign{"place", ramp(f.Blame(e)+0.7*f.Beneath(service, "database"), lo, hi), f.placeEvidence(e)}
}

// manyWait is how well the waits that a pool reports explain the trouble: a good part of the service's requests must
// have waited, and for about as long as requests became slower. Pools that report neither are believed.
func (f *Facts) manyWait(r Resource) float64 {
	best, known := 0.0, false
	calls, _ := f.entries(r.Service, model.SpanServer)
	messages, _ := f.entries(r.Service, model.SpanConsumer)
	requests := perSecond(calls+messages, f.Bad)
	for _, s := range r.Signs {
		if s.Role != "waits" || requests == 0 {
			continue
		}
		name := strings.ToLower(s.Metric)
		switch {
		case strings.Contains(name, "duration") || strings.Contains(name, "time"):
			unit := 1.0
			if strings.Contains(name, "milliseconds") || strings.Contains(name, "_ms") {
				unit = 1e-3
			}
			row := f.Row(model.ServiceEntity(r.Service))
			if growth := row.ExclusiveS - row.UsualS; growth > 0 && strings.Contains(name, "total") {
				known, best = true, max(best, ramp(s.Now*unit/requests/growth, 0.05, 0.3))
			}
		case strings.Contains(name, "wait") && strings.Contains(name, "total"):
			known, best = true, max(best, ramp(s.Now/requests, 0.03, 0.2))
		}
	}
	if !known {
		return 1
	}
	return best
}

func (f *Facts) poolSupport(r Resource) (out []Sign) {
	for _, s := range r.Signs {
		if s.Strength > 0 && s.Role == "waits" {
			out = append(out, Sign{"waits", s.Strength, f.seriesEvidence(r, s)})
			break
		}
	}
	if sign, t := PoolLogs(r.Service, f.Templates); t != nil {
		out = append(out, Sign{"log", sign.Strength, f.templateEvidence(t)})
	}
	// Quick queries beside slow requests: the time passes before the query.
	for _, e := range f.Entities("database") {
		if row := f.Row(e); slices.Contains(f.Users(e), r.Service) && row.UsualS > 0 {
			now, usual := f.Edge(r.Service, e.Name(), store.EdgeDatabase)
			factor := f.databaseFactor(r.Service, e.Name())
			out = append(out, Sign{"database as usual", 1 - ramp(factor, 1.3, 2.5), f.asUsual("database_usual", e, now.ClientMean, usual.ClientMean)})
		}
	}
	return out
}

// othersWait is that requests of everybody suffer, not only the holder's.
func (f *Facts) othersWait(service string, h Holder) Sign {
	return Sign{"others wait", ramp(f.BadShare-h.RequestsShare, 0.05, 0.4), nil}
}

func (f *Facts) slowestDatabase(service string) (worst float64) {
	for _, e := range f.Entities("database") {
		if slices.Contains(f.Users(e), service) {
			worst = max(worst, ramp(f.databaseFactor(service, e.Name()), 1.8, 3.5))
		}
	}
	return worst
}

func earliest(r Resource) (at time.Time) {
	for _, s := range r.Signs {
		if s.Strength > 0.3 && !s.Onset.IsZero() && (at.IsZero() || s.Onset.Before(at)) {
			at = s.Onset
		}
	}
	return at
}

// abnormalUsers accuses a caller whose own requests alone are slow or fail: his value of an attribute sets the bad
// requests apart from good ones of the same time. It says less than a resource that he exhausted.
func abnormalUsers(f *Facts) (cases []Case) {
	for _, a := range f.Attributes {
		if !slices.Contains(CallerKeys, a.Key) {
			continue
		}
		c := Case{Cause: model.Cause{Class: model.ClassCaller, Entity: CallerEntity(a.Key, a.Value)}}
		c.Required = []Sign{
			{"set apart", ramp(a.Score, 0.45, 0.8), f.attributeEvidence(a)},
			{"others are well", 1 - ramp(f.BadShare, 0.5, 0.85), nil},
			{"often", ramp(float64(a.Count), 2, 6), nil},
		}
		// A version, host or flag that sets them apart just as well is the better explanation.
		for _, b := range f.Attributes {
			if rank(b.Key) == len(CallerKeys) && (b.Key == "service.version" || b.Key == "service.instance.id") {
				c.Contradicting = append(c.Contradicting, Sign{b.Key, 0.6 * ramp(b.Score-a.Score+0.1, 0, 0.2), nil})
			}
		}
		cases = append(cases, c)
		break
	}
	return cases
}

// userSuffers is how surely one caller's requests alone are bad.
func (f *Facts) userSuffers() float64 { return strongest(abnormalUsers(f)) }

// trafficSurges accuses the load itself: the affected service receives far more than usual and nothing else stands
// out. The caller is named where one of them brought the growth.
func trafficSurges(f *Facts) []Case {
	if f.Service == "" || f.Kind == model.SpanConsumer {
		return nil
	}
	now, usual := f.entries(f.Service, model.SpanServer)
	s, rateNow, rateUsual := f.surge(f.Service, now, usual)
	if s == 0 {
		return nil
	}
	entity, grown := model.ServiceEntity(f.Service), rateNow-rateUsual
	for _, e := range f.EdgesNow {
		if e.To != f.Service || e.Kind != store.EdgeCall {
			continue
		}
		_, before := f.Edge(e.From, e.To, e.Kind)
		if perSecond(e.Count, f.Bad)-perSecond(before.Count, f.Normal) > 0.6*grown {
			entity = model.ServiceEntity(e.From)
		}
	}
	for _, h := range f.Holders[f.Service] {
		if h.RequestsShare > 0.4 && h.Strength > 0.5 {
			entity = CallerEntity(h.Key, h.Value)
			break
		}
	}
	c := Case{Cause: model.Cause{Class: model.ClassCaller, Entity: entity}}
	c.Required = []Sign{
		{"surge", s, f.rateEvidence("surge", model.ServiceEntity(f.Service), rateNow, rateUsual, f.Service)},
		{"trouble", max(f.Slow, f.Failing), nil},
	}
	c.Supporting = []Sign{f.shortage("")}
	c.Contradicting = []Sign{{"hot key", 0.8 * f.hotKey(), nil}}
	return []Case{c}
}

// entrySurge is how surely the affected service receives more than usual.
func (f *Facts) entrySurge() float64 { return strongest(trafficSurges(f)) }

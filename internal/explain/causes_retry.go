package explain

import (
	"triage/internal/model"
	"triage/internal/store"
)

// tries is how often clients repeat a call at most by what is widespread: three to five times by the defaults of cloud
// SDKs, of gRPC's retry policy (gRFC A6) and of service meshes. Beyond it retries do not cure a failure, they are one.
const tries = 5

// retryStorms accuses a service whose repeated calls keep overloaded what it calls (Bronson et al., Metastable Failures in
// Distributed Systems, HotOS 2021). Required: it calls the other side far more often for each of its own requests than
// before, more often than bounded retries do, most calls fail, and the trouble lies there. Supporting: its own requests
// are no more than usual; the other side says that it is asked too much. Contradicting: a change, which brought the
// retries. An outage is the rival: it makes calls fail, and bounded retries multiply them a little.
func retryStorms(f *Facts) (cases []Case) {
	for _, e := range f.EdgesNow {
		if c := f.retryStorm(e); len(c.Required) > 0 {
			c.Contradicting = append(c.Contradicting, Sign{"change", 0.8 * f.changed(e.From), nil})
			cases = append(cases, c)
		}
	}
	return cases
}

func (f *Facts) retryStorm(e store.EdgeStat) Case {
	target, ok := map[store.EdgeKind]model.Entity{store.EdgeCall: model.EdgeEntity(e.From, e.To),
		store.EdgeRemote: model.RemoteEntity(e.To), store.EdgeDatabase: model.DatabaseEntity(e.To)}[e.Kind]
	_, before := f.Edge(e.From, e.To, e.Kind)
	now, usual := f.received(e.From)
	if !ok || before.Count == 0 || now == 0 || usual == 0 {
		return Case{}
	}
	each, eachUsual := float64(e.Count)/float64(now), float64(before.Count)/float64(usual)
	from := model.ServiceEntity(e.From)
	place := f.Blame(from) + f.Blame(target)
	if e.Kind == store.EdgeCall {
		place += f.Blame(model.ServiceEntity(e.To)) + f.Beneath(e.To, "database") + f.Beneath(e.To, "remote")
	}
	grown, _, _ := f.surge(e.From, now, usual)
	said, saying := f.says(e.From, tooManyWords)
	c := Case{Cause: model.Cause{Class: model.ClassCaller, Entity: from, Onset: f.serviceOnset(e.From)}}
	c.Required = []Sign{
		{"repeats", ramp(ratio(each, eachUsual, 0.02), tries, 2*tries), f.compare("repeats", "edge", target, each, eachUsual, "", e.From, Name(target), Digits2(each), Digits2(eachUsual))},
		{"fail", ramp(float64(e.Errors)/float64(e.Count), 0.2, 0.5), f.compare("repeats_fail", "edge", target, float64(e.Errors)/float64(e.Count),
			float64(before.Errors)/float64(before.Count), "ratio", Name(target), Percent(float64(e.Errors)/float64(e.Count)), Percent(float64(before.Errors)/float64(before.Count)))},
		{"place", ramp(place, 0.2, 0.5), f.placeEvidence(target)},
	}
	c.Supporting = []Sign{{"own load as usual", 0.8 * (1 - grown), nil}, {"too many", 0.6 * said, saying}, {"most", ramp(place, 0.5, 0.9), nil}}
	return c
}

// tooManyWords are what servers answer when they are asked too often: HTTP's 429 and 503 and gRPC's status 8, in words.
var tooManyWords = []string{"too many requests", "rate limit", "rate exceeded", "throttl", "quota exceeded", "slow down", "slowdown",
	"resource_exhausted", "resource exhausted", "retry later"}

// storm is how surely retries to an entity, by any of those who call it, keep it overloaded.
func (f *Facts) storm(target model.Entity) (worst float64) {
	for _, e := range f.EdgesNow {
		to := target.Name()
		if target.Kind() == "edge" {
			var from string
			if from, to = target.Ends(); from != e.From {
				continue
			}
		}
		if e.To == to {
			worst = max(worst, score(f.retryStorm(e)))
		}
	}
	return worst
}

// received counts what a service was asked or sent in the two windows.
func (f *Facts) received(service string) (now, usual int64) {
	calls, callsUsual := f.entries(service, model.SpanServer)
	messages, messagesUsual := f.entries(service, model.SpanConsumer)
	return calls + messages, callsUsual + messagesUsual
}

// retries is how surely a service takes part in a storm of retries, on either side.
func (f *Facts) retries(service string) (worst float64) {
	for _, e := range f.EdgesNow {
		if e.From == service || e.Kind == store.EdgeCall && e.To == service {
			worst = max(worst, score(f.retryStorm(e)))
		}
	}
	return worst
}

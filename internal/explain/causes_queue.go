package explain

import (
	"triage/internal/model"
	"triage/internal/store"
)

// slowConsumers accuses a consumer that cannot keep up with its queue. Required: it takes longer for a message than
// before, the messages wait longer until it takes them, and not because more are sent. Contradicting: whatever makes its
// code slow through no fault of its own, or that the time passes in what it calls. Waiting is what sets it apart from
// slow code: each message is late by all those before it, so that it gets worse by itself (Little, A proof for the
// queuing formula L = λW, 1961).
func slowConsumers(f *Facts) (cases []Case) {
	seen := map[string]bool{}
	for _, e := range f.EdgesNow {
		if e.Kind == store.EdgeMessage && !seen[e.To] {
			seen[e.To] = true
			if c := f.slowConsumer(e.To); len(c.Required) > 0 {
				c.Contradicting = append(c.Contradicting, f.excuses(e.To)...)
				cases = append(cases, c)
			}
		}
	}
	return cases
}

// slowConsumer is the case against one consumer, without the excuses of its code.
func (f *Facts) slowConsumer(service string) Case {
	now, usual := f.consuming(f.OpsNow, service), f.consuming(f.OpsUsual, service)
	if now.Count == 0 || usual.Count == 0 {
		return Case{}
	}
	var wait, waitUsual float64
	for _, e := range f.EdgesNow {
		if _, before := f.Edge(e.From, e.To, e.Kind); e.Kind == store.EdgeMessage && e.To == service && e.WaitMean > wait {
			wait, waitUsual = e.WaitMean, before.WaitMean
		}
	}
	var queue model.Entity
	var queued float64
	for _, q := range f.Entities("queue") {
		if b := f.Blame(q); f.Service == service && b > queued {
			queue, queued = q, b
		}
	}
	sent, _, _ := f.surge(service, now.Count, usual.Count)
	e := model.ServiceEntity(service)
	around := f.Beneath(service, "database") + f.Beneath(service, "remote") + f.Beneath(service, "edge")
	c := Case{Cause: model.Cause{Class: model.ClassSelf, Entity: e, Resource: queue, Onset: f.serviceOnset(service)}}
	c.Required = []Sign{
		{"slower", ramp(ratio(now.Mean, usual.Mean, 1e-3), 1.5, 3), f.compare("consumes", "trace", e, now.Mean, usual.Mean, "s", service, Seconds(now.Mean), Seconds(usual.Mean))},
		{"messages wait", ramp(ratio(wait, waitUsual, 0.02), 3, 10), f.compare("queue_wait", "edge", e, wait, waitUsual, "s", service, Seconds(wait), Seconds(waitUsual))},
		{"place", ramp(f.Blame(e)+queued, 0.2, 0.5), f.placeEvidence(e)},
	}
	c.Supporting = []Sign{{"as many as usual", 1 - sent, nil}, {"most", ramp(f.Blame(e)+queued, 0.5, 0.9), nil}}
	c.Contradicting = []Sign{{"surge", 0.9 * sent, nil}, {"beneath", 0.9 * ramp(around, 0.2, 0.5), nil}}
	return c
}

// consuming is all that a service does with messages, as one operation.
func (f *Facts) consuming(stats []store.OperationStat, service string) (sum store.OperationStat) {
	for _, s := range stats {
		if s.Service == service && s.Kind == model.SpanConsumer {
			sum.Mean += s.Mean * float64(s.Count)
			sum.Count += s.Count
		}
	}
	sum.Mean /= float64(max(1, sum.Count))
	return sum
}

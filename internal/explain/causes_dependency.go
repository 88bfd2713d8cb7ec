package explain

import (
	"strings"

	"triage/internal/model"
	"triage/internal/store"
)

// This file accuses what is called: databases and remote hosts that are slow or down, and what lies between services.

// slowQueries accuses a database. Required: its calls take longer than usual, and either the requests lose their time
// there, or they lose it waiting for a pool that slow calls keep full. Contradicting: one caller holds the database;
// then the database does what it is asked.
func slowQueries(f *Facts) (cases []Case) {
	for _, e := range f.databases() {
		var factor, waiting, held, locked, missed, changed, flood, starved float64
		var user string
		for _, s := range f.Users(e) {
			if x := f.databaseFactor(s, e.Name()); x > factor {
				factor, user = x, s
			}
			waiting = max(waiting, min(f.poolTrouble(s), ramp(f.Blame(model.ServiceEntity(s)), 0.1, 0.4)))
			held = max(held, f.Holder(s).Strength)
			locked = max(locked, score(f.lockWait(e, s)))
			missed = max(missed, score(f.cacheStampede(s)))
			changed = max(changed, f.changed(s))
			flood = max(flood, strongest(floodsInto(f, s)))
			starved = max(starved, f.starved(s))
		}
		if user == "" {
			row := f.Row(e)
			factor = ratio(row.ExclusiveS, row.UsualS, 1e-3)
		}
		now, usual := f.Edge(user, e.Name(), store.EdgeDatabase)
		c := Case{Cause: model.Cause{Class: model.ClassDependency, Entity: e}}
		c.Required = []Sign{
			{"slower", ramp(factor, 1.3, 2.5), f.compare("database_slow", "edge", e, now.ClientMean, usual.ClientMean, "s", Name(e), Seconds(now.ClientMean), Seconds(usual.ClientMean))},
			{"place", max(ramp(f.Blame(e), 0.15, 0.5), waiting), f.placeEvidence(e)},
		}
		c.Supporting = []Sign{{"by far", ramp(factor, 2.5, 8), nil}, {"most", ramp(f.Blame(e), 0.5, 0.9), nil}}
		c.Contradicting = []Sign{
			{"holder", 0.9 * held, nil},
			{"locks", 0.85 * locked, nil},
			{"cache", 0.9 * missed, nil},
			{"change", 0.6 * changed, nil},
			{"flood", 0.7 * flood, nil},
			{"surge", 0.6 * f.entrySurge(), nil},
			{"one user", 0.7 * f.userSuffers(), nil},
			{"who asks is starved", 0.8 * starved, nil},
		}
		cases = append(cases, c)
	}
	return cases
}

// databases are those of the table and those that the services in it use.
func (f *Facts) databases() []model.Entity {
	out := f.Entities("database")
	for _, e := range f.EdgesNow {
		d := model.DatabaseEntity(e.To)
		if e.Kind == store.EdgeDatabase && f.Row(model.ServiceEntity(e.From)).Entity != "" && f.Row(d).Entity == "" {
			out = append(out, d)
		}
	}
	return out
}

// outages accuses what no longer answers: calls to a database, remote host or service fail there, where the other side
// has no part in it.
func outages(f *Facts) (cases []Case) {
	for _, e := range f.Entities("") {
		target := e
		failed, all := f.unanswered(e)
		fails := ramp(float64(failed)/float64(max(1, all)), 0.15, 0.5)
		switch e.Kind() {
		case "database", "remote", "queue":
			if all == 0 {
				fails = f.doneWithout(e)
			}
		case "service":
			// Of one that sends no spans only its callers could tell that it answers; one that logs or counts is there.
			if _, ok := f.Untraced[e.Name()]; !ok {
				continue
			}
		case "edge":
			// A service whose spans ceased is down; one that goes on answering was cut off by the network.
			_, to := e.Ends()
			if f.lives(e) > 0.67 {
				continue
			}
			target = model.ServiceEntity(to)
		default:
			continue
		}
		if fails == 0 {
			continue
		}
		c := Case{Cause: model.Cause{Class: model.ClassDependency, Entity: target}}
		c.Required = []Sign{
			{"fails", fails, f.outageEvidence(e, target)},
			{"failing", max(f.Failing, f.Slow), nil},
			{"place", ramp(f.Blame(e), 0.2, 0.5), f.placeEvidence(e)},
		}
		c.Supporting = []Sign{{"most", ramp(f.Blame(e), 0.5, 0.95), nil}}
		if e.Kind() == "edge" {
			c.Supporting = append(c.Supporting, Sign{"silent", 1 - f.lives(e), nil})
		} else {
			// A slow one lets some time out; one that is down fails most.
			c.Required = append(c.Required, f.edgeFailures(e))
		}
		c.Contradicting = []Sign{{"disk", 0.9 * f.diskTrouble(e), nil}, {"retries", 0.9 * f.storm(e), nil}}
		callers := f.Users(e)
		if e.Kind() == "edge" {
			from, _ := e.Ends()
			callers = []string{from}
		}
		for _, s := range callers {
			c.Contradicting = append(c.Contradicting, Sign{"change", 0.6 * f.changed(s), nil}, Sign{"name", 0.9 * f.unresolved(s), nil})
		}
		cases = append(cases, c)
	}
	return cases
}

// unanswered counts failures that began at an entity for want of an answer, and all failures that weren't slowness of
// somebody else. A failure that a database or remote host answered with is its own too: nobody sees its inside.
func (f *Facts) unanswered(e model.Entity) (at, all int) {
	for _, o := range f.Origins {
		switch {
		case o.Entity != e:
			all += f.hard(o)
		case e.Kind() == "edge", e.Kind() == "service":
			at, all = at+o.Unanswered, all+o.Count
		default:
			at, all = at+o.Count, all+o.Count
		}
	}
	return at, all
}

// doneWithout is how surely an entity is down whose callers do without it: its calls fail, most of them, and no request does.
func (f *Facts) doneWithout(e model.Entity) float64 { return ramp(f.callsFail(e), 0.4, 0.7) }

// edgeFailures tells how many calls to an entity fail.
func (f *Facts) edgeFailures(e model.Entity) Sign {
	return Sign{"calls fail", ramp(f.callsFail(e), 0.1, 0.4), nil}
}

// callsFail is the share of failed calls to an entity above the usual.
func (f *Facts) callsFail(e model.Entity) float64 {
	now, usual := f.failed(e)
	return max(0, now-usual)
}

// failed is the share of failed calls to an entity now and before, of the user that fares worst.
func (f *Facts) failed(e model.Entity) (now, usual float64) {
	name := e.Name()
	if u, ok := f.Untraced[name]; ok && e.Kind() == "service" {
		name = u.Host
	}
	worse := func(a, b float64) {
		if a-b > now-usual {
			now, usual = a, b
		}
	}
	for _, s := range f.EdgesNow {
		if s.To == name && s.Count > 0 {
			_, before := f.Edge(s.From, s.To, s.Kind)
			worse(float64(s.Errors)/float64(s.Count), ratio(float64(before.Errors), float64(before.Count), 1))
		}
	}
	for _, o := range f.Origins {
		if o.Entity != e || o.Unreached == 0 {
			continue
		}
		// Where no connection can be made there are no calls that could fail.
		for _, s := range f.EdgesUsual {
			if s.To == name {
				worse(f.silence(s), 0)
			}
		}
	}
	return now, usual
}

// alive is what a service receives now, as a part of what it usually receives.
func (f *Facts) alive(service string) float64 {
	nowS, usualS := f.entries(service, model.SpanServer)
	nowC, usualC := f.entries(service, model.SpanConsumer)
	return ratio(perSecond(nowS+nowC, f.Bad), perSecond(usualS+usualC, f.Normal), 0.01)
}

// lives tells how surely the called side of an edge is there. Where nobody listens connections are refused, and what still
// answers may be another instance of it; one whose connections merely break or stall answers some all the same.
func (f *Facts) lives(e model.Entity) float64 {
	_, to := e.Ends()
	for _, o := range f.Origins {
		if text := strings.ToLower(o.Message); o.Entity == e && (strings.Contains(text, "connection refused") || strings.Contains(text, "econnrefused")) {
			return ramp(f.alive(to), 0.1, 0.4)
		}
	}
	return ramp(f.alive(to), 0.05, 0.2)
}

// slowRemotes accuses a remote host, whose inside nobody sees, of being slow.
func slowRemotes(f *Facts) (cases []Case) {
	for _, e := range f.Entities("remote") {
		row := f.Row(e)
		c := Case{Cause: model.Cause{Class: model.ClassDependency, Entity: e}}
		c.Required = []Sign{
			{"slower", f.Slow * ramp(ratio(row.ExclusiveS, row.UsualS, 1e-3), 1.3, 2.5), nil},
			{"place", ramp(f.Blame(e), 0.2, 0.5), f.placeEvidence(e)},
		}
		c.Supporting = []Sign{{"most", ramp(f.Blame(e), 0.5, 0.9), nil}}
		failed, all := f.unanswered(e)
		fails := ramp(float64(failed)/float64(max(1, all)), 0.3, 0.7) * f.Failing
		if all == 0 {
			fails = f.doneWithout(e)
		}
		c.Contradicting = []Sign{{"retries", 0.9 * f.storm(e), nil}, {"fails", 0.8 * fails, nil}}
		for _, s := range f.Users(e) {
			c.Contradicting = append(c.Contradicting, Sign{"change", 0.6 * f.changed(s), nil})
		}
		cases = append(cases, c)
	}
	return append(cases, f.beyondUntraced(model.ClassDependency)...)
}

// delays accuses an edge on which every call takes longer. Required: what neither side accounts for grew, by the
// median. Contradicting: the callee is short of CPU or memory, which also keeps calls waiting outside its spans.
func delays(f *Facts) (cases []Case) {
	for _, e := range f.Entities("edge") {
		from, to := e.Ends()
		now, usual := f.Edge(from, to, store.EdgeCall)
		factor := ratio(now.WaitP50, usual.WaitP50, 200e-6)
		if now.Count == 0 || usual.Count == 0 {
			row := f.Row(e)
			factor = ratio(row.ExclusiveS, row.UsualS, 1e-3)
		}
		c := Case{Cause: model.Cause{Class: model.ClassNetwork, Entity: e, Onset: f.serviceOnset(from)}}
		c.Required = []Sign{
			{"slow", f.Slow, nil},
			{"wait", ramp(factor, 1.5, 4), f.edgeEvidence(e, now, usual)},
			{"place", ramp(f.Blame(e), 0.2, 0.5), f.placeEvidence(e)},
		}
		c.Supporting = []Sign{
			{"callee as usual", 1 - ramp(ratio(now.ServerMean, usual.ServerMean, 1e-4), 1.2, 2), f.asUsual("server_usual", model.ServiceEntity(to), now.ServerMean, usual.ServerMean)},
			{"most", ramp(f.Blame(e), 0.5, 0.9), nil},
		}
		c.Contradicting = append(f.sick(from, to), Sign{"change", 0.6 * f.changed(from), nil})
		cases = append(cases, c)
	}
	return append(cases, f.beyondUntraced(model.ClassNetwork)...)
}

// losses accuses an edge on which some calls break or stall while the others are as quick as usual.
func losses(f *Facts) (cases []Case) {
	for _, e := range f.Entities("edge") {
		from, to := e.Ends()
		now, usual := f.Edge(from, to, store.EdgeCall)
		failed, all := f.unanswered(e)
		broken := ramp(float64(failed)/float64(max(1, all)), 0.1, 0.4) * f.Failing
		// Stalls: the mean wait grew far more than the median.
		stalled := f.Slow * ramp(ratio(now.WaitMean, max(now.WaitP50, usual.WaitMean), 200e-6), 3, 8) *
			(1 - ramp(ratio(now.WaitP50, usual.WaitP50, 200e-6), 2, 5))
		c := Case{Cause: model.Cause{Class: model.ClassNetwork, Entity: e, Onset: f.serviceOnset(from)}}
		c.Required = []Sign{
			{"lost", max(broken, stalled), f.lossEvidence(e, now)},
			{"place", ramp(f.Blame(e), 0.2, 0.5), f.placeEvidence(e)},
			{"callee lives", f.lives(e), nil},
		}
		c.Supporting = []Sign{
			{"others as quick as usual", 0.7 * (1 - ramp(ratio(now.WaitP50, usual.WaitP50, 200e-6), 2, 4)), nil},
			{"most", ramp(f.Blame(e), 0.5, 0.9), nil},
		}
		c.Contradicting = append(f.sick(from, to), Sign{"change", 0.6 * max(f.changed(from), f.changed(to)), nil},
			Sign{"name", 0.9 * f.unresolved(from), nil}, Sign{"retries", 0.9 * f.storm(e), nil})
		cases = append(cases, c)
	}
	return cases
}

// sick is that a service at either end of a call is short of CPU or memory: then calls wait outside of the callee's
// spans without any fault of the network.
func (f *Facts) sick(services ...string) (signs []Sign) {
	for _, s := range services {
		signs = append(signs, Sign{"cpu of " + s, 0.8 * ramp(f.Resource(s, CPU).Strength, 0.15, 0.7), nil},
			Sign{"memory of " + s, 0.7 * f.Resource(s, Memory).Strength, nil})
	}
	return signs
}

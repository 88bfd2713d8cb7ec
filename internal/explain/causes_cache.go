package explain

import "triage/internal/model"

// cacheStampedes accuses a service whose cache no longer answers, so that each request works out what one worked out for
// all before. Required: an operation that seldom sent a statement to the database now sends it almost each time, though
// it is asked no more than usual; and its time passes in that statement, in the database or behind it. A statement that
// was never sent before is new code instead. Contradicting: a change, or that requests became more.
func cacheStampedes(f *Facts) (cases []Case) {
	for _, e := range f.Entities("service") {
		if c := f.cacheStampede(e.Name()); len(c.Required) > 0 {
			c.Contradicting = append(c.Contradicting, Sign{"change", 0.8 * f.changed(e.Name()), nil})
			cases = append(cases, c)
		}
	}
	return cases
}

// cacheStampede is the strongest case of a service's statements.
func (f *Facts) cacheStampede(service string) (best Case) {
	e := model.ServiceEntity(service)
	for i := range f.Statements[service] {
		s := &f.Statements[service][i]
		now, usual := f.asked(service, s.Operation)
		if s.Usual.Count == 0 || s.Now.Count == 0 || now == 0 || usual == 0 {
			continue
		}
		each, eachUsual := float64(s.Now.Count)/float64(now), float64(s.Usual.Count)/float64(usual)
		grown, _, _ := f.surge(service, now, usual)
		c := Case{Cause: model.Cause{Class: model.ClassSelf, Entity: e, Onset: f.serviceOnset(service)}}
		c.Required = []Sign{
			{"misses", (1 - ramp(eachUsual, 0.3, 0.6)) * ramp(each, 0.25, 0.6) * ramp(ratio(each, eachUsual, 0.005), 3, 6),
				f.compare("misses", "edge", e, each, eachUsual, "", s.Operation, Digits2(each), Digits2(eachUsual), short(s.Text))},
			{"place", ramp(f.Blame(e)+f.Beneath(service, "database"), 0.25, 0.6), f.placeEvidence(e)},
		}
		c.Supporting = []Sign{
			{"asked as usual", 0.8 * (1 - grown), nil},
			{"at once", ramp(float64(s.Now.Count)*s.Now.Mean/max(f.Bad.Len().Seconds(), 1), 0.1, 1), nil},
		}
		c.Contradicting = []Sign{{"surge", 0.6 * f.entrySurge(), nil}, {"holder", 0.8 * f.exhausted(service), nil}}
		if score(c) > score(best) {
			best = c
		}
	}
	return best
}

// asked counts the requests of one operation of a service in the two windows.
func (f *Facts) asked(service, operation string) (now, usual int64) {
	for _, s := range f.OpsNow {
		if s.Service == service && s.Operation == operation {
			now += s.Count
		}
	}
	for _, s := range f.OpsUsual {
		if s.Service == service && s.Operation == operation {
			usual += s.Count
		}
	}
	return now, usual
}

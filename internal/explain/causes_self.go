package explain

import (
	"strings"

	"triage/internal/model"
)

// This file accuses a service's own code and the resources of its own process.

// slowCode accuses a service's own code: its own time grew, and nothing that would explain it is to be seen. It is the
// verdict that remains, so whatever else explains a service's own time contradicts it.
func slowCode(f *Facts) (cases []Case) {
	for _, e := range f.Entities("service") {
		row, s := f.Row(e), e.Name()
		c := Case{Cause: model.Cause{Class: model.ClassSelf, Entity: e, Onset: f.serviceOnset(s)}}
		c.Required = []Sign{
			{"slow", f.Slow, nil},
			{"grew", ramp(ratio(row.ExclusiveS, row.UsualS, 1e-3), 1.25, 2), nil},
			{"place", ramp(f.Blame(e), 0.25, 0.6), f.placeEvidence(e)},
		}
		c.Supporting = []Sign{{"most", ramp(f.Blame(e), 0.5, 0.9), nil}}
		if part, known := f.spread(s); known {
			c.Supporting = append(c.Supporting, Sign{"some operations only", 0.6 * (1 - part), nil})
		}
		c.Contradicting = append(f.excuses(s), f.untraced(s)...)
		c.Contradicting = append(c.Contradicting, Sign{"consumer", 0.85 * score(f.slowConsumer(s)), nil})
		cases = append(cases, c)
	}
	return cases
}

// failingCode accuses code in which failures begin: the deepest failing span is the service's own work.
func failingCode(f *Facts) (cases []Case) {
	for _, e := range f.Entities("service") {
		s := e.Name()
		var at, hard, thrown int
		for _, o := range f.Origins {
			hard += f.hard(o)
			if o.Entity == e {
				at, thrown = f.hard(o), o.Exceptions
				if _, ok := f.Untraced[s]; ok {
					at -= o.Unanswered // the code of a service that did not answer may never have run
				}
			}
		}
		if at <= 0 {
			continue
		}
		c := Case{Cause: model.Cause{Class: model.ClassSelf, Entity: e, Onset: f.serviceOnset(s)}}
		c.Required = []Sign{
			{"failing", f.Failing, nil},
			{"origin", ramp(float64(at)/float64(hard), 0.25, 0.6), f.originEvidence(e)},
			{"place", ramp(f.Blame(e), 0.2, 0.5), nil},
		}
		c.Supporting = []Sign{{"exceptions", 0.6 * ramp(float64(thrown)/float64(at), 0.2, 0.8), nil}}
		for i := range f.Templates {
			if t := &f.Templates[i]; t.Service == s && t.Score > 0 && t.Severity >= 17 {
				c.Supporting = append(c.Supporting, Sign{"log", 0.6, f.templateEvidence(t)})
				break
			}
		}
		c.Contradicting = f.excuses(s)
		cases = append(cases, c)
	}
	return cases
}

// excuses is what makes a service's code slow or failing through no fault of its own.
func (f *Facts) excuses(service string) []Sign {
	return []Sign{
		{"pool", 0.95 * f.poolTrouble(service), nil},
		{"cpu", 0.85 * f.starved(service), nil},
		{"memory", 0.85 * ramp(f.Resource(service, Memory).Strength, 0.2, 0.7), nil},
		{"hot key", 0.85 * f.hotKey(), nil},
		{"cache", 0.9 * score(f.cacheStampede(service)), nil},
		{"retries", 0.9 * f.retries(service), nil},
		{"disk", 0.9 * f.diskTrouble(model.ServiceEntity(service)), nil},
		{"name", 0.9 * f.unresolved(service), nil},
		{"descriptors", 0.8 * f.Resource(service, Descriptors).Strength, nil},
		{"change", 0.85 * f.changed(service), nil},
		{"flood", 0.7 * strongest(floodsInto(f, service)), nil},
		{"surge", 0.6 * f.entrySurge(), nil},
		{"one user", 0.7 * f.userSuffers(), nil},
	}
}

// processWide is how well trouble of a service fits its whole process: a shortage slows all operations, a bug those
// that run it. Unknown counts as fitting.
func (f *Facts) processWide(service string) float64 {
	if part, known := f.spread(service); known {
		return 0.35 + 0.65*ramp(part, 0.4, 0.8)
	}
	return 1
}

// starved is how surely a service is short of CPU in all it does. Its clock runs on while it cannot, so that whatever it
// waits for seems slow.
func (f *Facts) starved(service string) float64 {
	return ramp(f.Resource(service, CPU).Strength, 0.3, 0.8) * f.processWide(service) * (1 - f.works(service))
}

// works is how surely a service is busy with its own code rather than short of a processor, where its scheduler tells how long
// work waits for one: what is added to a request are hundreds of such waits, and passes in the service itself.
func (f *Facts) works(service string) float64 {
	e := model.ServiceEntity(service)
	row := f.Row(e)
	for _, s := range f.Resource(service, CPU).Signs {
		if s.Role == "throttled" && s.Strength > 0.3 {
			return 0
		}
		if s.Role == "starved" && strings.Contains(s.Metric, "sched") {
			waits := ratio(s.Now, row.ExclusiveS-row.UsualS, 1e-3)
			return (1 - ramp(waits, 0.005, 0.02)) * ramp(f.Blame(e), 0.4, 0.7)
		}
	}
	return 0
}

// cpuSaturation accuses a process without enough CPU: it uses all it may, is throttled, or waits for a processor, and
// everything it does takes longer, also what it waits for, since its clock runs on while it cannot.
func cpuSaturation(f *Facts) []Case {
	return f.shortages(CPU, []Sign{{"surge", 0.5 * f.entrySurge(), nil}}, func(r Resource) []Sign {
		return []Sign{
			{"one operation only", 0.6 * (1 - f.processWide(r.Service)), nil},
			{"its own work", 0.6 * f.works(r.Service), nil},
			{"memory", 0.6 * ramp(f.Resource(r.Service, Memory).Strength, 0.3, 0.8), nil},
		}
	})
}

// memoryPressure accuses a process that runs out of memory and spends its time looking for more.
func memoryPressure(f *Facts) []Case { return f.shortages(Memory, nil, nil) }

// exhaustedDescriptors accuses a process that cannot open another file or socket.
func exhaustedDescriptors(f *Facts) []Case { return f.shortages(Descriptors, nil, nil) }

func (f *Facts) shortages(kind ResourceKind, against []Sign, more func(Resource) []Sign) (cases []Case) {
	for _, r := range f.Resources {
		if r.Kind != kind || r.Strength < 0.1 {
			continue
		}
		e := model.ServiceEntity(r.Service)
		parts := []float64{f.Blame(e), 0.5 * f.Above(r.Service), 0.5 * f.Beneath(r.Service, "database"),
			0.5 * f.Beneath(r.Service, "remote"), 0.5 * f.Beneath(r.Service, "edge")}
		var place float64
		around := 0
		for _, part := range parts {
			if place += part; part > 0.02 {
				around++
			}
		}
		c := Case{Cause: model.Cause{Class: model.ClassResource, Entity: e, Onset: earliest(r), Resource: e}}
		c.Required = []Sign{
			{string(kind), ramp(r.Strength, 0.15, 0.7), f.seriesEvidence(r, r.Signs[0])},
			{"place", ramp(place, 0.2, 0.5), f.placeEvidence(e)},
		}
		// A process that cannot go on sees everything it waits for take longer; no other single cause does that.
		c.Supporting = append(c.Supporting, Sign{"all it waits for", 0.7 * ramp(float64(around), 1, 3), nil})
		for _, s := range r.Signs[1:] {
			if s.Strength > 0.3 {
				c.Supporting = append(c.Supporting, Sign{s.Role, 0.7 * s.Strength, f.seriesEvidence(r, s)})
			}
		}
		c.Contradicting = append([]Sign{
			{"change", 0.7 * f.changed(r.Service), nil},
			{"flood", 0.8 * strongest(floodsInto(f, r.Service)), nil},
			{"pool", 0.6 * f.exhausted(r.Service), nil},
		}, against...)
		if more != nil {
			c.Contradicting = append(c.Contradicting, more(r)...)
		}
		cases = append(cases, c)
	}
	return cases
}

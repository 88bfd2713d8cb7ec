package explain

import (
	"slices"
	"strings"

	"triage/internal/model"
)

// This file reads what services and failures say of themselves: operating systems and libraries name some states in
// words of their own, which stand in the errors that services pass on and log. Words are lower case.

// says is how surely a service, or a failure that begins in it or in what it calls, speaks in one of some words, with
// the failure or the line that does.
func (f *Facts) says(service string, words []string) (float64, *model.Evidence) {
	for _, o := range f.Origins {
		if f.near(o.Entity, service) {
			if said, ev := f.saidAt(o.Entity, words); said > 0 {
				return said, ev
			}
		}
	}
	return f.logged(service, words)
}

// saidAt is the same of the failures that begin in an entity.
func (f *Facts) saidAt(e model.Entity, words []string) (float64, *model.Evidence) {
	all := 0
	for _, o := range f.Origins {
		all += o.Count
	}
	for _, o := range f.Origins {
		if o.Entity == e && speaks(o.Message, words) {
			return ramp(float64(o.Count)/float64(all), 0.05, 0.3), f.originEvidence(e)
		}
	}
	return 0, nil
}

// logged is the same of the lines that a service logs more often than usual.
func (f *Facts) logged(service string, words []string) (float64, *model.Evidence) {
	for i := range f.Templates {
		t := &f.Templates[i]
		if t.Service == service && t.Score > 0 && (speaks(t.Sample, words) || speaks(t.Reason, words)) {
			return ramp(float64(t.Now), 0, 4), f.templateEvidence(t)
		}
	}
	return 0, nil
}

func speaks(text string, words []string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// near tells whether an entity is a service or what it calls.
func (f *Facts) near(e model.Entity, service string) bool {
	if e.Kind() == "edge" {
		from, _ := e.Ends()
		return from == service
	}
	return e == model.ServiceEntity(service) || slices.Contains(f.Users(e), service)
}

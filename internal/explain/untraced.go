package explain

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// Untraced is a service that sends no spans, only metrics or log lines: all that is seen of its work is how long its
// callers wait for it, and what it says of itself.
type Untraced struct {
	// Host is the address by which its callers know it.
	Host string
	// Answers is how long its answers take, by its own metrics.
	Answers Timing
	// Calls is how long its own calls to Callee take, which of those it calls became slower the most.
	Calls  Timing
	Callee string
}

// Timing is a mean duration now and before the onset, in whatever unit it was reported; zero if it was not.
type Timing struct{ Now, Usual float64 }

// added is how much longer it takes now, in its unit.
func (t Timing) added() float64 { return max(0, t.Now-t.Usual) }

// growth is how much longer it takes now, as a factor; known is false without a number before the onset.
func (t Timing) growth() (factor float64, known bool) {
	if t.Usual <= 0 || t.Now <= 0 {
		return 1, false
	}
	return t.Now / t.Usual, true
}

// HostServices are the names that a service behind a host would go by: the host's own, and its first label, which is the
// name of a service within a cluster's DNS.
func HostServices(host string) []string {
	first, _, dotted := strings.Cut(host, ".")
	if !dotted || first == "" {
		return []string{host}
	}
	return []string{host, first}
}

// NewUntraced reads from a service's metrics how long its answers and its calls take, by OpenTelemetry's names (server
// and client durations of HTTP, RPC and databases).
func NewUntraced(host string, lines []store.Line, onset time.Time) Untraced {
	all := measures(lines, onset)
	u := Untraced{Host: host, Answers: timing(all, "server", "")}
	asked := map[string]bool{"": true}
	for i := range all {
		callee := all[i].line.Labels["server_address"]
		if asked[callee] {
			continue
		}
		asked[callee] = true
		if t := timing(all, "client", callee); t.added() > u.Calls.added() {
			u.Callee, u.Calls = callee, t
		}
	}
	return u
}

// timing is the mean over the series of one metric, weighted by how often each happened. Of several metrics the one
// that counts most often is taken: they may have different units. Given an address, only calls to it count.
func timing(all []measure, side, address string) (best Timing) {
	type sum struct{ now, usual, nowRate, usualRate float64 }
	sums := map[string]*sum{}
	var names []string
	for i := range all {
		m := &all[i]
		if address != "" && m.line.Labels["server_address"] != address {
			continue
		}
		if m.line.Type != "mean" || !slices.Contains(m.words, side) || !m.has("duration", "latency") {
			continue
		}
		name, _, _ := strings.Cut(m.line.Name, ":")
		s := sums[name]
		if s == nil {
			s = &sum{}
			sums[name] = s
			names = append(names, name)
		}
		now, usual := rateBeside(all, m)
		if v := m.now(); now > 0 && !math.IsNaN(v) {
			s.now, s.nowRate = s.now+now*v, s.nowRate+now
		}
		if v := m.usual(); usual > 0 && !math.IsNaN(v) {
			s.usual, s.usualRate = s.usual+usual*v, s.usualRate+usual
		}
	}
	most := 0.0
	for _, name := range names {
		s := sums[name]
		if s.nowRate > 0 && s.usualRate > 0 && s.usualRate > most {
			best, most = Timing{s.now / s.nowRate, s.usual / s.usualRate}, s.usualRate
		}
	}
	return best
}

// rateBeside is how often what a mean tells of happened: the rate of the same histogram with the same labels.
func rateBeside(all []measure, mean *measure) (now, usual float64) {
	name, _, _ := strings.Cut(mean.line.Name, ":")
	labels := labelText(mean.line.Labels)
	for i := range all {
		m := &all[i]
		if m.line.Type == "rate" && strings.HasPrefix(m.line.Name, name+":") && labelText(m.line.Labels) == labels {
			return m.now(), m.usual()
		}
	}
	return 0, 0
}

// untraced is what speaks against a service's own code where nobody saw its spans: it answers as quickly as usual, so
// that the time is lost on the way, or what it calls itself became slower.
func (f *Facts) untraced(service string) (against []Sign) {
	u, ok := f.Untraced[service]
	if !ok {
		return nil
	}
	answers, known := u.Answers.growth()
	if !known {
		return []Sign{{"unseen", 0.15, nil}}
	}
	return []Sign{
		{"answers as usual", 0.8 * (1 - ramp(answers, 1.2, 1.8)), nil},
		{"calls slower", 0.8 * ramp(u.Calls.added()/max(u.Answers.added(), 1e-9), 0.3, 0.8), nil},
	}
}

// beyondUntraced accuses what is around a service that sends no spans. Its callers wait for it longer than usual: if by
// its own metrics it answers as quickly as ever, the time is lost between them; if what it calls takes that much longer,
// there.
func (f *Facts) beyondUntraced(class model.Class) (cases []Case) {
	for _, name := range slices.Sorted(maps.Keys(f.Untraced)) {
		u, e := f.Untraced[name], model.ServiceEntity(name)
		row := f.Row(e)
		factor, known := u.Answers.growth()
		if !known {
			continue
		}
		c := Case{Cause: model.Cause{Class: class}}
		c.Required = []Sign{
			{"slow", f.Slow * ramp(ratio(row.ExclusiveS, row.UsualS, 1e-3), 1.3, 2.5), nil},
			{"place", ramp(f.Blame(e), 0.2, 0.5), f.placeEvidence(e)},
		}
		switch class {
		case model.ClassNetwork:
			callers := f.Users(model.RemoteEntity(u.Host))
			if len(callers) == 0 {
				continue
			}
			c.Entity = model.EdgeEntity(callers[0], name)
			c.Required = append(c.Required, Sign{"answers as usual", 1 - ramp(factor, 1.2, 1.8), nil})
			c.Contradicting = f.sick(name)
		default:
			if u.Callee == "" {
				continue
			}
			c.Entity = model.RemoteEntity(u.Callee)
			c.Required = append(c.Required, Sign{"its calls", ramp(u.Calls.added()/max(u.Answers.added(), 1e-9), 0.3, 0.8), nil})
		}
		c.Supporting = []Sign{{"most", ramp(f.Blame(e), 0.5, 0.9), nil}}
		c.Contradicting = append(c.Contradicting, Sign{"change", 0.6 * f.changed(name), nil})
		cases = append(cases, c)
	}
	return cases
}

// Package explain answers "why": it turns what was measured around an onset into signs, each one kind of evidence in a
// file of its own (log templates, attributes, resources and their holders, changes), and weighs them with a catalogue
// of mechanisms, each with evidence that is required, that supports and that contradicts.
//
// Everything here is a pure function of Facts and safe for concurrent use: no clock, no store, no random choice.
// Latency and errors are symptoms here, never causes.
package explain

import (
	"cmp"

	"slices"
	"strings"
	"time"

	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// Facts is what was measured of one incident. Diagnose fills it; the catalogue reads it.
type Facts struct {
	Onset       time.Time
	Bad, Normal store.Window
	// Service, Operation and Kind are the affected entry operation.
	Service, Operation string
	Kind               model.SpanKind
	// Slow and Failing say how surely requests became slower and fail more often, 0 to 1.
	Slow, Failing float64
	// BadShare is the part of the operation's requests that was slow or failed, 0 to 1.
	BadShare float64

	Where []model.Where
	// Origins are where the failures of Sampled affected requests began; Failed of them failed.
	Origins         []locate.OriginCount
	Sampled, Failed int

	OpsNow, OpsUsual     []store.OperationStat
	EdgesNow, EdgesUsual []store.EdgeStat
	Shifts               []locate.Shift

	Templates  []TemplateShift
	Attributes []ValueShift
	Resources  []Resource
	Holders    map[string][]Holder    // by the service whose resource is held
	Statements map[string][]Statement // by the service that sends them
	Changes    []NearChange
	Keys       []KeyShare // what the affected operation's requests are about
	// Unheard is how long of Normal a service, by name, told nothing of what it received. It may have received it.
	Unheard map[string]time.Duration
	// Untraced are the services that send no spans, by name.
	Untraced map[string]Untraced
}

// Blame is the part of the trouble that passes in an entity, 0 to 1: of slow requests its part of the additional time,
// of failed ones the part that began there. Requests that failed because their time was up count as slow, if any are.
func (f *Facts) Blame(e model.Entity) float64 {
	hard, at := 0, 0
	for _, o := range f.Origins {
		hard += f.hard(o)
		if o.Entity == e {
			at += f.hard(o)
		}
	}
	var failures, part float64
	if hard > 0 && f.Sampled > 0 {
		failures = float64(at) / float64(hard)
		part = float64(hard) / float64(f.Sampled)
	}
	var growth, all float64
	for _, w := range f.Where {
		d := max(0, w.ExclusiveS-w.UsualS)
		all += d
		if w.Entity == e {
			growth = d
		}
	}
	if all > 0 {
		growth /= all
	}
	switch {
	case f.Slow == 0:
		return failures * min(1, f.Failing)
	case f.Failing == 0:
		return growth
	}
	return growth*(1-part) + failures*part
}

// hard is how many failures are more than slowness. Where nothing is slow, whoever gave up did so too soon.
func (f *Facts) hard(o locate.OriginCount) int {
	if f.Slow == 0 {
		return o.Count
	}
	return o.Count - o.GaveUp
}

// Row is the entity's row of the table of times; its zero value names nothing.
func (f *Facts) Row(e model.Entity) model.Where {
	for _, w := range f.Where {
		if w.Entity == e {
			return w
		}
	}
	return model.Where{}
}

// Entities are all that the table of times and the origins of failures name, of one kind ("" for all), sorted.
func (f *Facts) Entities(kind string) []model.Entity {
	seen := map[model.Entity]bool{}
	for _, w := range f.Where {
		seen[w.Entity] = true
	}
	for _, o := range f.Origins {
		seen[o.Entity] = true
	}
	out := make([]model.Entity, 0, len(seen))
	for e := range seen {
		if kind == "" || e.Kind() == kind {
			out = append(out, e)
		}
	}
	slices.Sort(out)
	return out
}

// Users are the services that use a database, queue or remote host, most calls first.
func (f *Facts) Users(e model.Entity) []string {
	kinds := map[string]store.EdgeKind{"database": store.EdgeDatabase, "queue": store.EdgeQueue, "remote": store.EdgeRemote}
	kind, ok := kinds[e.Kind()]
	if !ok {
		return nil
	}
	counts := map[string]int64{}
	for _, edges := range [][]store.EdgeStat{f.EdgesNow, f.EdgesUsual} {
		for _, s := range edges {
			if s.Kind == kind && s.To == e.Name() {
				counts[s.From] += s.Count
			}
		}
	}
	out := make([]string, 0, len(counts))
	for s := range counts {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	return out
}

// Beneath is the blame of what a service calls of one kind: its databases, its remote hosts, its outgoing edges.
func (f *Facts) Beneath(service, kind string) (sum float64) {
	for _, e := range f.Entities(kind) {
		if kind == "edge" {
			if from, _ := e.Ends(); from == service {
				sum += f.Blame(e)
			}
			continue
		}
		if users := f.Users(e); slices.Contains(users, service) {
			sum += f.Blame(e) / float64(len(users))
		}
	}
	return sum
}

// Above is the blame of the edges that lead to a service.
func (f *Facts) Above(service string) (sum float64) {
	for _, e := range f.Entities("edge") {
		if _, to := e.Ends(); to == service {
			sum += f.Blame(e)
		}
	}
	return sum
}

// Edge finds what went along an edge in the two windows.
func (f *Facts) Edge(from, to string, kind store.EdgeKind) (now, usual store.EdgeStat) {
	find := func(edges []store.EdgeStat) (sum store.EdgeStat) {
		for _, e := range edges {
			if e.From == from && e.To == to && e.Kind == kind {
				return e
			}
		}
		return store.EdgeStat{}
	}
	return find(f.EdgesNow), find(f.EdgesUsual)
}

// Resource finds a service's resource of a kind; its zero value is healthy.
func (f *Facts) Resource(service string, kind ResourceKind) Resource {
	for _, r := range f.Resources {
		if r.Service == service && r.Kind == kind {
			return r
		}
	}
	return Resource{Kind: kind, Service: service, Level: -1, LevelUsual: -1}
}

// Holder is the strongest holder of a service's resources; its zero value holds nothing.
func (f *Facts) Holder(service string) Holder {
	if h := f.Holders[service]; len(h) > 0 {
		return h[0]
	}
	return Holder{Others: 1}
}

// perSecond is how often a window's count happened a second.
func perSecond(n int64, w store.Window) float64 {
	if s := w.Len().Seconds(); s > 0 {
		return float64(n) / s
	}
	return 0
}

// surge is how surely a count of what a service received grew, 0 to 1, with the two rates. Time of which the service told
// nothing is no time in which it received nothing: telemetry that comes back is no surge.
func (f *Facts) surge(service string, now, usual int64) (strength, rateNow, rateUsual float64) {
	heard := f.Normal
	heard.From = heard.From.Add(min(f.Unheard[service], heard.Len()))
	rateNow, rateUsual = perSecond(now, f.Bad), perSecond(usual, heard)
	if gRates(now, usual, f.Bad.Len().Seconds(), heard.Len().Seconds()) < 20 {
		return 0, rateNow, rateUsual
	}
	return ramp(ratio(rateNow, rateUsual, 0.1), 1.5, 2.5), rateNow, rateUsual
}

// entries counts what a service received in the two windows: by calls, or by messages.
func (f *Facts) entries(service string, kind model.SpanKind) (now, usual int64) {
	count := func(stats []store.OperationStat) (n int64) {
		for _, s := range stats {
			if s.Service == service && s.Kind == kind {
				n += s.Count
			}
		}
		return n
	}
	return count(f.OpsNow), count(f.OpsUsual)
}

// spread is the part of a service's operations that became slower: trouble of the whole process shows in all of them, a
// bug in some code in those that run it. known is false if fewer than two can be compared.
func (f *Facts) spread(service string) (part float64, known bool) {
	var n, slower float64
	for _, a := range f.OpsNow {
		if a.Service != service || !a.Kind.Entry() || a.Count < 5 {
			continue
		}
		for _, b := range f.OpsUsual {
			if b.Service == service && b.Operation == a.Operation && b.Kind == a.Kind && b.Count >= 5 {
				n++
				if a.P50 > 1.25*b.P50 || a.Mean > 1.5*b.Mean {
					slower++
				}
			}
		}
	}
	if n < 2 {
		return 0, false
	}
	return slower / n, true
}

// databaseFactor is how much longer a service's use of a database lasts for ordinary requests than before: those of a
// dominant holder are left out.
func (f *Facts) databaseFactor(service, database string) float64 {
	for _, h := range f.Holders[service] {
		if h.Measure == DatabaseSeconds && h.Strength >= 0.3 {
			return h.Others
		}
	}
	now, usual := f.Edge(service, database, store.EdgeDatabase)
	if now.Count == 0 || usual.Count == 0 {
		return 1
	}
	return ratio(now.ClientMean, usual.ClientMean, 50e-6)
}

// Onsets gives the earliest change of a service's operations for the worse; zero if none was seen.
func (f *Facts) serviceOnset(service string) time.Time {
	for _, s := range f.Shifts {
		if s.Service == service && (s.Signal != model.SignalRate || s.After > s.Before) {
			return s.At
		}
	}
	return time.Time{}
}

// poolWords tell that a log line speaks of waiting for a connection: one of each.
var poolWords = [2][]string{
	{"pool", "connection", "connections", "conn"},
	{"exhausted", "acquire", "acquiring", "waited", "waiting", "timeout", "timed out", "too many", "no free", "busy", "unavailable"},
}

// PoolLogs finds new log lines of a service that speak of waiting for connections: the sign of an exhausted pool that
// sends no metrics.
func PoolLogs(service string, templates []TemplateShift) (SeriesSign, *TemplateShift) {
	for i := range templates {
		t := &templates[i]
		if t.Service != service || t.Score <= 0 {
			continue
		}
		text := strings.ToLower(t.Sample)
		hit := 0
		for _, words := range poolWords {
			if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) }) {
				hit++
			}
		}
		if hit == 2 {
			s := 0.45
			if t.Appeared() || t.RateNow > 10*t.RateUsual {
				s = 0.65
			}
			return SeriesSign{Role: "logs", Now: t.RateNow, Usual: t.RateUsual, Strength: s, Onset: t.First}, t
		}
	}
	return SeriesSign{}, nil
}

// AddPoolLogs adds a pool for each of the services whose metrics show none but whose log lines speak of one.
func (f *Facts) AddPoolLogs(services []string) {
	for _, s := range services {
		if f.Resource(s, Pool).Strength >= 0.1 {
			continue
		}
		if sign, t := PoolLogs(s, f.Templates); t != nil {
			f.Resources = slices.DeleteFunc(f.Resources, func(r Resource) bool { return r.Service == s && r.Kind == Pool })
			f.Resources = append(f.Resources, Resource{Kind: Pool, Service: s, Level: -1, LevelUsual: -1,
				Strength: sign.Strength, Signs: []SeriesSign{sign}})
		}
	}
}

// Suspects are the services in or next to which the trouble lies, most blamed first: their resources, holders and
// versions are worth asking for.
func (f *Facts) Suspects(limit int) []string {
	blame := map[string]float64{}
	for _, e := range f.Entities("") {
		b := f.Blame(e)
		if b < 0.08 {
			continue
		}
		switch e.Kind() {
		case "service":
			blame[e.Name()] += b
		case "edge":
			from, to := e.Ends()
			blame[from] += b / 2
			blame[to] += b
		default:
			for _, s := range f.Users(e) {
				blame[s] += b
			}
		}
	}
	if f.Service != "" && len(blame) == 0 {
		blame[f.Service] = 1
	}
	out := make([]string, 0, len(blame))
	for s := range blame {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(round(blame[b]), round(blame[a])), cmp.Compare(a, b)) })
	return out[:min(limit, len(out))]
}

package locate

import (
	"maps"
	"slices"

	"triage/internal/model"
)

// This file makes the table of times where many spans are lost. Taken trace by trace, the time of a lost span falls to
// whoever called, so that every row is wrong in its own way. But spans are lost without regard to what they took: the mean
// of those that arrived is right, and so is the ratio of the calls to the requests that one service reports. From these
// alone the means of a request follow: what a service takes, less what its calls take; and what a call takes, less what the
// other side takes for it. That knows no critical path: calls that ran side by side make their caller's own time too small.

// Pool corrects a table of times by the means over the spans of all traces of each set. It is for sets of which many spans
// are lost. A table is left as it is where nothing can be said so: services that call one another in a circle, or whose
// spans are all lost.
func Pool(table []model.Where, bad, normal []Trace, peers Peers, entry string) []model.Where {
	now, usual := pooled(bad, peers, entry), pooled(normal, peers, entry)
	if now == nil || usual == nil {
		return table
	}
	rows := map[model.Entity]model.Where{}
	for _, r := range table {
		rows[r.Entity] = r
	}
	total := 0.0
	for _, e := range sortedKeys(now) {
		total += now[e]
	}
	var out []model.Where
	for _, e := range sortedKeys(either(now, usual)) {
		r := rows[e]
		r.Entity, r.ExclusiveS, r.UsualS, r.Share = e, round(now[e]), round(usual[e]), 0
		if total > 0 {
			r.Share = round(now[e] / total)
		}
		if r.ExclusiveS != 0 || r.UsualS != 0 || r.Errors != 0 {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, longestFirst)
	return out
}

// seconds are a request's exclusive seconds by entity.
type seconds = map[model.Entity]float64

// amount is how many spans there are, and their seconds in all.
type amount struct {
	n       int
	seconds float64
}

func (a *amount) add(s *model.Span) { a.n, a.seconds = a.n+1, a.seconds+float64(end(s)-s.Start)/1e9 }

func (a amount) mean() float64 { return a.seconds / float64(max(1, a.n)) }

// pool is what is known of one set of traces.
type pool struct {
	served map[string]amount // by service
	// requests are as many as fit the calls that are seen of a service.
	requests map[string]float64
	parts    map[[2]string]amount         // of served, by caller and service, where the call is known
	lost     map[string]int               // of served, those whose call was lost
	calls    map[string]map[callee]amount // by caller
	times    seconds
}

// callee is what a call is to: a service, or an entity that sends no spans.
type callee struct {
	service string
	entity  model.Entity
}

// enough is how many spans make a mean of one caller's.
const enough = 5

func pooled(traces []Trace, peers Peers, entry string) seconds {
	p := pool{served: map[string]amount{}, requests: map[string]float64{}, parts: map[[2]string]amount{}, lost: map[string]int{},
		calls: map[string]map[callee]amount{}, times: seconds{}}
	for _, tr := range traces {
		t := build(tr.Spans)
		for i := range t.nodes {
			p.take(t, i, peers)
		}
	}
	for service, a := range p.served {
		p.requests[service] = float64(a.n)
	}
	// Traces are chosen by their entry, whose span is therefore never lost as its calls are.
	p.requests[entry] *= p.arrived(entry)
	if p.served[entry].n == 0 || !p.visit(entry, "", 1, nil) {
		return nil
	}
	// Few spans make a rough ratio; the parts are never more than the whole.
	whole, sum := p.served[entry].mean(), 0.0
	for _, e := range sortedKeys(p.times) {
		sum += p.times[e]
	}
	if sum > whole {
		for e := range p.times {
			p.times[e] *= whole / sum
		}
	}
	return p.times
}

// arrived is the part of a service's calls that were not lost, as those whom it called tell.
func (p *pool) arrived(service string) float64 {
	var known, lost float64
	for to := range p.calls[service] {
		if part := p.parts[[2]string{service, to.service}].n; part > 0 {
			all := 0
			for pair, a := range p.parts {
				if pair[1] == to.service {
					all += a.n
				}
			}
			known += float64(part)
			lost += float64(p.lost[to.service]) * float64(part) / float64(all)
		}
	}
	if known == 0 {
		return 1
	}
	return known / (known + lost)
}

func (p *pool) take(t *tree, i int, peers Peers) {
	s := t.nodes[i].span
	from := s.Service()
	switch s.Kind {
	case model.SpanServer, model.SpanConsumer:
		a := p.served[from]
		a.add(s)
		p.served[from] = a
		if up := t.nodes[i].parent; up >= 0 {
			pair := [2]string{t.nodes[up].span.Service(), from}
			a := p.parts[pair]
			a.add(s)
			p.parts[pair] = a
		} else if !s.ParentID.IsZero() {
			p.lost[from]++
		}
	case model.SpanClient:
		to := callee{entity: t.entity(i, peers)}
		if to.entity.Kind() == "edge" {
			_, to.service = to.entity.Ends()
		}
		if p.calls[from] == nil {
			p.calls[from] = map[callee]amount{}
		}
		a := p.calls[from][to]
		a.add(s)
		p.calls[from][to] = a
	}
}

// visit adds what a service takes that is asked a number of times for each request, and what it calls. It is false if the
// service is on its own way.
func (p *pool) visit(service, caller string, times float64, way []string) bool {
	if slices.Contains(way, service) {
		return false
	}
	way = append(way, service)
	own := p.mean(caller, service)
	for _, to := range slices.SortedFunc(maps.Keys(p.calls[service]), compareCallees) {
		c := p.calls[service][to]
		each := float64(c.n) / max(1, p.requests[service])
		own -= each * c.mean()
		took := c.mean()
		if to.service != "" && p.served[to.service].n > 0 {
			took -= p.mean(service, to.service)
			if !p.visit(to.service, service, times*each, way) {
				return false
			}
		}
		p.times[to.entity] += times * each * max(0, took)
	}
	p.times[model.ServiceEntity(service)] += times * max(0, own)
	return true
}

// mean is what a service takes for a caller, as far as it is known for this one.
func (p *pool) mean(caller, service string) float64 {
	if part := p.parts[[2]string{caller, service}]; part.n >= enough {
		return part.mean()
	}
	return p.served[service].mean()
}

// either has the keys of both.
func either(a, b seconds) seconds {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func compareCallees(a, b callee) int {
	return slices.Compare([]string{a.service, string(a.entity)}, []string{b.service, string(b.entity)})
}

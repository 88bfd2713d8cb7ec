package explain

import (
	"cmp"
	"maps"
	"slices"

	"triage/internal/model"
	"triage/internal/store"
)

// shown is how many traits of one service stand as evidence.
const shown = 6

// Cases turns a comparison into accusations, best first: code that behaves otherwise, code that takes longer, a network
// that keeps calls waiting, a processor that is busy. w is the window that was compared, for links.
func (c *Comparison) Cases(w store.Window) []Case {
	var out []Case
	scores := c.strongest()
	add := func(class model.Class, e model.Entity, m model.Mechanism, score float64, evidence ...*model.Evidence) {
		k := Case{Cause: model.Cause{Class: class, Entity: e, Mechanism: m, Onset: w.From, Confidence: round(score / (score + convincing))}}
		for i, ev := range evidence {
			s := Sign{Name: ev.Key, Strength: k.Confidence, Evidence: ev}
			if i == 0 {
				k.Required = append(k.Required, s)
			} else {
				k.Supporting = append(k.Supporting, Sign{s.Name, 1, s.Evidence})
			}
		}
		out = append(out, k)
	}
	traits := map[string][]Deviation{}
	for _, d := range c.Deviations {
		traits[d.In.Service] = append(traits[d.In.Service], d)
	}
	for _, s := range slices.Sorted(maps.Keys(traits)) {
		best, _ := c.below(s, scores)
		score := traits[s][0].Score
		score *= 1 - explained*min(1, enoughBelow*best/score)
		add(model.ClassSelf, model.ServiceEntity(s), model.FailingCode, score, deviationEvidence(traits[s], w)...)
	}
	own := c.ownTimes()
	for _, s := range slices.Sorted(maps.Keys(own)) {
		o := own[s]
		add(model.ClassSelf, model.ServiceEntity(s), model.SlowCode, o.score, o.worst.ownEvidence(w))
	}
	for _, n := range c.networks() {
		e := model.ServiceEntity(n.service)
		if n.all == 1 && len(n.edges) == 1 {
			e = model.EdgeEntity(n.edges[0].From, n.edges[0].To)
		}
		evidence := make([]*model.Evidence, len(n.edges))
		for i := range n.edges {
			evidence[i] = n.edges[i].edgeEvidence(w)
		}
		add(model.ClassNetwork, e, model.NetworkDelay, n.score, evidence...)
	}
	for _, b := range c.Busy {
		if b.Score > 0 {
			add(model.ClassResource, model.ServiceEntity(b.Service), model.CPUSaturation, b.Score, b.evidence(w))
		}
	}
	out = slices.DeleteFunc(out, func(k Case) bool { return k.Confidence < 0.05 || len(k.Required) == 0 })
	slices.SortStableFunc(out, func(a, b Case) int {
		return cmp.Or(cmp.Compare(b.Confidence, a.Confidence), cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.Mechanism, b.Mechanism))
	})
	return out
}

// deviationEvidence tells the strongest deviations of a service. A failing share comes last, because it is a symptom.
func deviationEvidence(d []Deviation, w store.Window) (out []*model.Evidence) {
	sorted := slices.Clone(d)
	slices.SortStableFunc(sorted, func(a, b Deviation) int {
		last := func(d Deviation) int {
			if d.Trait.Kind == TraitFails {
				return 1
			}
			return 0
		}
		return cmp.Compare(last(a), last(b))
	})
	seen := map[Trait]bool{}
	for i := range sorted {
		x := &sorted[i]
		if len(out) == shown || x.Score < d[0].Score/10 && len(out) > 0 {
			break
		}
		if seen[x.Trait] {
			continue
		}
		seen[x.Trait] = true
		out = append(out, x.evidence(w))
	}
	return out
}

func (d *Deviation) evidence(w store.Window) *model.Evidence {
	e := &model.Evidence{Kind: "trace", Entity: model.ServiceEntity(d.In.Service), Value: round(d.Now), Usual: round(d.Usual), Unit: "ratio"}
	if !d.Trace.IsZero() {
		e.Link = TraceLink(d.Trace.String())
	} else {
		e.Link = SpansLink(w, Field("service", d.In.Service))
	}
	what := d.Trait.Name
	switch d.Trait.Kind {
	case TraitLog:
		e.Kind = "log"
		e.Key = "request_logs"
		what = short(d.Line.Text)
		e.Link = LogsLink(w, Query(Field("service", d.In.Service), "template:"+templateText(d.Line.Template)))
	case TraitInner:
		e.Key = "request_runs"
	case TraitCall:
		e.Key, what = "request_calls", d.Trait.Service+" "+d.Trait.Operation.Name
	case TraitFails:
		e.Key = "request_fails"
	}
	e.Args = []string{d.In.Service, d.In.Name, Percent(d.Now), Percent(d.Usual), what}
	if d.Trait.Kind == TraitLog && d.Line.Before != "" && d.Line.After != "" {
		e.Key = "request_logs_between"
		e.Args = append(e.Args, short(d.Line.Before), short(d.Line.After))
	}
	return e
}

func (s *Slower) ownEvidence(w store.Window) *model.Evidence {
	return &model.Evidence{Kind: "trace", Entity: model.ServiceEntity(s.Operation.Service), Key: "own_time", Unit: "s",
		Args:  []string{s.Operation.Service, s.Operation.Name, Seconds(s.Now), Seconds(s.Usual)},
		Value: s.Now, Usual: s.Usual, Link: SpansLink(w, Query(Field("service", s.Operation.Service), Field("name", s.Operation.Name)))}
}

func (s *Slower) edgeEvidence(w store.Window) *model.Evidence {
	e := model.EdgeEntity(s.From, s.To)
	return &model.Evidence{Kind: "edge", Entity: e, Key: "edge_wait", Args: []string{Name(e), Seconds(s.Now), Seconds(s.Usual)},
		Value: s.Now, Usual: s.Usual, Unit: "s", Link: ServicesLink(w)}
}

func (b *Busy) evidence(w store.Window) *model.Evidence {
	return &model.Evidence{Kind: "metric", Entity: model.ServiceEntity(b.Service), Key: "cpu", Args: []string{b.Service, Percent(b.Now), Percent(b.Usual)},
		Value: b.Now, Usual: b.Usual, Unit: "ratio", Link: MetricLink(w, b.Metric, b.Labels)}
}

// RuledOut lists the main rivals of a verdict and the number against each: those that changed, but call what changed
// more, and those that handle their requests as they usually do, busiest first.
func (c *Comparison) RuledOut(chosen *Case) (out []model.RuledOut) {
	scores := c.strongest()
	accused := ""
	if chosen != nil {
		accused = chosen.Entity.Name()
	}
	services := slices.SortedFunc(maps.Keys(c.Requests), func(a, b string) int {
		return cmp.Or(cmp.Compare(scores[b], scores[a]), cmp.Compare(c.Requests[b], c.Requests[a]), cmp.Compare(a, b))
	})
	largest := map[string]*Deviation{}
	for i := range c.Deviations {
		if d := &c.Deviations[i]; largest[d.In.Service] == nil {
			largest[d.In.Service] = d
		}
	}
	for _, s := range services {
		d := largest[s]
		if s == accused || d == nil {
			continue
		}
		below, whose := c.below(s, scores)
		switch {
		case d.Score >= convincing/2 && below*enoughBelow > d.Score:
			out = append(out, model.RuledOut{Class: model.ClassSelf, Entity: model.ServiceEntity(s), Value: round(d.Score), Key: "changed_below",
				Args: []string{s, d.In.Name, Percent(d.Now), Percent(d.Usual), whose}})
		case scores[s] < convincing/2:
			out = append(out, model.RuledOut{Class: model.ClassSelf, Entity: model.ServiceEntity(s), Value: round(d.Score), Key: "behaves_usual",
				Args: []string{s, Digits(float64(c.Requests[s])), Percent(d.Now), Percent(d.Usual)}})
		}
		if len(out) == 4 {
			break
		}
	}
	for _, e := range c.Edges {
		if e.Score < 1 && len(out) < 8 && e.From != accused && e.To != accused {
			n := model.EdgeEntity(e.From, e.To)
			out = append(out, model.RuledOut{Class: model.ClassNetwork, Entity: n, Value: e.Now, Key: "network_usual", Args: []string{Name(n), Seconds(e.Now), Seconds(e.Usual)}})
		}
	}
	for _, b := range c.Busy {
		if b.Score < convincing/2 && len(out) < 12 && b.Service != accused {
			out = append(out, model.RuledOut{Class: model.ClassResource, Entity: model.ServiceEntity(b.Service), Value: b.Now, Key: "cpu_usual",
				Args: []string{b.Service, Percent(b.Now), Percent(b.Usual)}})
		}
	}
	return out
}

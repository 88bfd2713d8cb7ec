package diagnose

import (
	"cmp"
	"math"
	"slices"
	"time"

	"triage/internal/explain"
	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

const (
	maxCandidates = 8
	maxEvidence   = 14
	maxRuledOut   = 12
	maxWhere      = 12
)

// conclude puts the verdict together.
func conclude(req Request, s *scope, a *answers, cases []explain.Case, at time.Time) model.Verdict {
	f := &a.facts
	v := model.Verdict{
		ID: verdictID(req, at), Revision: 1, At: at.UTC(), What: what(s), Where: f.Where, Impact: a.impact, Telemetry: a.telemetry,
		Candidates: []model.Cause{}, Evidence: []model.Evidence{}, RuledOut: []model.RuledOut{},
	}
	if req.Incident != nil {
		v.Incident = req.Incident.ID
		if old := req.Incident.Verdict; old != nil {
			v.Revision = old.Revision + 1
		}
	}
	v.Telemetry.LagS = round(max(0, s.lag.Seconds()))
	if len(v.Where) > maxWhere {
		v.Where = v.Where[:maxWhere]
	}
	trust := trust(v.Telemetry, f.Sampled)
	for i := range cases {
		c := &cases[i].Cause
		c.Confidence = round(c.Confidence * trust * doubt(cases, i))
		c.Onset = c.Onset.UTC()
	}
	slices.SortStableFunc(cases, func(a, b explain.Case) int { return cmp.Compare(b.Confidence, a.Confidence) })
	var chosen *explain.Case
	if len(cases) > 0 && cases[0].Confidence >= sure {
		chosen = &cases[0]
		why := chosen.Cause
		v.Why = &why
	}
	for i := range cases[:min(len(cases), maxCandidates)] {
		v.Candidates = append(v.Candidates, cases[i].Cause)
	}
	v.FirstFailure = first(f)
	v.Evidence = evidence(f, chosen)
	if a.rivals != nil {
		v.RuledOut = a.rivals(chosen)
	}
	v.RuledOut = append(v.RuledOut, explain.Rivals(f, chosen)...)
	if len(v.RuledOut) > maxRuledOut {
		v.RuledOut = spread(v.RuledOut, maxRuledOut)
	}
	for i := range v.Evidence {
		v.Evidence[i].Claim = sentence("en", v.Evidence[i].Key, v.Evidence[i].Args)
	}
	for i := range v.RuledOut {
		v.RuledOut[i].Reason = sentence("en", v.RuledOut[i].Key, v.RuledOut[i].Args)
	}
	v.Text = map[string]string{"en": Text(v, "en"), "ko": Text(v, "ko")}
	return v
}

func what(s *scope) model.What {
	w := model.What{Service: s.service, Operation: s.operation, Since: s.onset, Signal: model.SignalDuration,
		Value: round(s.now.mean()), Usual: round(s.usual.mean()), Unit: "s"}
	if s.failing > s.slow {
		w.Signal, w.Value, w.Usual, w.Unit = model.SignalErrors, round(s.now.share()), round(s.usual.share()), "ratio"
	}
	if a := s.alarm; a != nil {
		w.Alarm = cmp.Or(a.ID, a.Rule)
		w.Signal, w.Unit = a.Signal, a.Unit
		w.Value, w.Usual = round(a.Value), round(a.Usual)
		if a.Service != "" {
			w.Service, w.Operation = a.Service, cmp.Or(a.Operation, s.operation)
			if a.Service != s.service {
				w.Operation = a.Operation
			}
		}
	}
	return w
}

// trust is how far the telemetry can be believed, 0 to 1: lost parents break critical paths, lag hides what is slow,
// clocks that differ blur what lies between two services, of rare failures sampling keeps few, a handful of traces is an
// anecdote, and what cannot be read might say otherwise.
func trust(t model.Telemetry, sampled int) float64 {
	known := 1.0
	if t.Missing != "" {
		known = 0.9
	}
	return known * (1 - 0.5*clamp((t.OrphanSpans-0.05)/0.45)) *
		(1 - 0.3*clamp((t.LagS-20)/100)) *
		(1 - 0.1*clamp((t.SkewS-skewed)/(1-skewed))) *
		(1 - 0.1*clamp(unsampled(t))) *
		(1 - 0.1*clamp((t.LogsWithoutSpan-0.5)/0.5)) *
		(0.4 + 0.6*clamp(float64(sampled)/8))
}

// skewed is the difference of clocks, in seconds, from which it is told: what computers without a common clock drift apart.
const skewed = 0.05

// unsampled is the part of the requests whose traces are not kept.
func unsampled(t model.Telemetry) float64 {
	if t.Sampling == 0 {
		return 0
	}
	return 1 - t.Sampling
}

// doubt lowers a case that has a serious rival. A pool beside whoever exhausted it is no rival.
func doubt(cases []explain.Case, i int) float64 {
	best := 0.0
	for j := range cases {
		if j == i || cases[j].Resource != "" && cases[j].Resource == cases[i].Resource || cases[j].Entity == cases[i].Entity {
			continue
		}
		best = max(best, cases[j].Confidence)
	}
	r := min(1, best/max(cases[i].Confidence, 1e-9))
	return 1 - 0.3*r*r
}

// first is the first symptom: the earliest lasting change for the worse. Steps are a second or more wide and clocks
// differ, so of those that began together the most blamed counts.
func first(f *explain.Facts) *model.Failure {
	var worse []locate.Shift
	for _, s := range f.Shifts {
		if s.Signal != model.SignalRate {
			worse = append(worse, s)
		}
	}
	if len(worse) == 0 {
		return nil
	}
	best := worse[0]
	for _, s := range worse[1:] {
		if s.At.Sub(worse[0].At) > 2*time.Second {
			break
		}
		if blame(f, s.Service) > blame(f, best.Service)+1e-9 {
			best = s
		}
	}
	symptom := "duration " + explain.Seconds(best.Before) + " → " + explain.Seconds(best.After)
	if best.Signal == model.SignalErrors {
		symptom = "errors " + explain.Percent(best.Before) + " → " + explain.Percent(best.After)
	}
	return &model.Failure{Entity: model.ServiceEntity(best.Service), Operation: best.Operation, At: best.At.UTC(), Symptom: symptom}
}

// blame is the trouble in a service and in what it calls directly, which has no operations of its own to be seen.
func blame(f *explain.Facts, service string) float64 {
	b := f.Blame(model.ServiceEntity(service))
	for _, kind := range []string{"database", "remote", "queue", "edge"} {
		b += f.Beneath(service, kind)
	}
	return b
}

// evidence lists what the verdict rests on, strongest first: what the cause requires, what supports it, then what else
// a person would want to see.
func evidence(f *explain.Facts, c *explain.Case) []model.Evidence {
	out := []model.Evidence{}
	seen := map[string]bool{}
	add := func(e *model.Evidence) {
		if e == nil || len(out) >= maxEvidence {
			return
		}
		id := e.Key + "|" + string(e.Entity) + "|" + join(e.Args)
		if !seen[id] {
			seen[id] = true
			out = append(out, *e)
		}
	}
	if c != nil {
		for _, s := range c.Required {
			add(s.Evidence)
		}
		for _, s := range c.Supporting {
			if s.Strength > 0.2 {
				add(s.Evidence)
			}
		}
	}
	for _, e := range f.Extra(3) {
		add(&e)
	}
	for i := range f.Changes[:min(3, len(f.Changes))] {
		add(f.ChangeEvidence(&f.Changes[i]))
	}
	return out
}

func join(args []string) (s string) {
	for _, a := range args {
		s += a + "\x00"
	}
	return s
}

// spread keeps some of a list, the same part of every class, so that none disappears.
func spread(all []model.RuledOut, limit int) []model.RuledOut {
	taken := make([]bool, len(all))
	n := 0
	for round := 0; n < limit; round++ {
		count := map[model.Class]int{}
		for i := range all {
			if count[all[i].Class] == round && !taken[i] && n < limit {
				taken[i] = true
				n++
			}
			count[all[i].Class]++
		}
	}
	out := make([]model.RuledOut, 0, limit)
	for i := range all {
		if taken[i] {
			out = append(out, all[i])
		}
	}
	return out
}

func round(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return math.Round(v*1e6) / 1e6
}

var _ Events = store.Events(nil)

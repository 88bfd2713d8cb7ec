package exam

import (
	"cmp"
	"math"
	"slices"

	"triage/demo/scenario"
	"triage/internal/model"
)

// Summary is what the runs of an exam come to.
type Summary struct {
	Terms Terms `json:"exam"`
	Score
	// Named is the number of verdicts that named a cause, and Nothing that of runs without a verdict.
	Named   int `json:"named"`
	Nothing int `json:"nothing"`
	// Alarm and Verdict are the seconds from the injection to each, where there was one.
	Alarm   Times `json:"alarm_s"`
	Verdict Times `json:"verdict_s"`
	// Unsettled are the runs in which something was still alarmed at the injection.
	Unsettled int   `json:"unsettled"`
	Quiet     Quiet `json:"quiet"`
	// FalsePerHour are the verdicts that blamed something while nothing was wrong, by hour of such time.
	FalsePerHour float64 `json:"false_verdicts_per_hour"`
	Scenarios    []Group `json:"scenarios"`
	Classes      []Group `json:"classes"`
	// Reliability compares confidences with how often they were right, and Brier is their mean squared distance from
	// what was so: 0 is perfect, 0.25 what a coin knows. Both are of the verdicts that named a cause.
	Reliability []Bin   `json:"reliability"`
	Brier       float64 `json:"brier"`
}

// Score counts runs, and those of them in which something was right.
type Score struct {
	Runs      int   `json:"runs"`
	Class     Count `json:"class"`
	Entity    Count `json:"entity"`
	Mechanism Count `json:"mechanism"`
	All       Count `json:"all"`
}

// Count is a number of runs by place.
type Count struct {
	First int `json:"first"`
	Three int `json:"three"`
}

func (c *Count) add(p Place) {
	if p.First {
		c.First++
	}
	if p.Three {
		c.Three++
	}
}

func (s *Score) add(g Grade) {
	s.Runs++
	s.Class.add(g.Class)
	s.Entity.add(g.Entity)
	s.Mechanism.add(g.Mechanism)
	s.All.add(g.All)
}

// Group is the score of runs that have something in common.
type Group struct {
	Name string `json:"name"`
	Score
	Verdict Times `json:"verdict_s"`
}

// Times sums up seconds. The quantiles are those of the nearest rank; all are 0 without any.
type Times struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
}

// Bin is the verdicts of one tenth of confidence: From is in it and To is not, but for 1.
type Bin struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
	N    int     `json:"n"`
	// Confidence is the mean of them, Right the share that was right in all three.
	Confidence float64 `json:"confidence"`
	Right      float64 `json:"right"`
}

// Summarize works it out. Groups are in the order of their names.
func Summarize(terms Terms, runs []Run) Summary {
	s := Summary{Terms: terms, Scenarios: []Group{}, Classes: []Group{}, Reliability: []Bin{}}
	var alarms, verdicts []float64
	for _, r := range runs {
		s.add(r.Right)
		s.Quiet.Add(r.Quiet)
		if r.DetectedAfterS != nil {
			alarms = append(alarms, *r.DetectedAfterS)
		}
		if r.VerdictAfterS != nil {
			verdicts = append(verdicts, *r.VerdictAfterS)
		} else {
			s.Nothing++
		}
		if !r.Settled {
			s.Unsettled++
		}
	}
	s.Alarm, s.Verdict = sum(alarms), sum(verdicts)
	if s.Quiet.Seconds > 0 {
		s.FalsePerHour = round(float64(s.Quiet.Verdicts) * 3600 / s.Quiet.Seconds)
	}
	s.Scenarios = groups(runs, func(r Run) string { return r.Scenario })
	s.Classes = groups(runs, func(r Run) string { return string(class(r.Truths)) })
	s.reliability(runs)
	return s
}

// class is the first truth's, which is the drawn fault's.
func class(truths []scenario.Truth) model.Class {
	if len(truths) == 0 {
		return ""
	}
	return truths[0].Class
}

func groups(runs []Run, name func(Run) string) []Group {
	byName, times := map[string]*Group{}, map[string][]float64{}
	for _, r := range runs {
		n := name(r)
		if byName[n] == nil {
			byName[n] = &Group{Name: n}
		}
		byName[n].add(r.Right)
		if r.VerdictAfterS != nil {
			times[n] = append(times[n], *r.VerdictAfterS)
		}
	}
	out := make([]Group, 0, len(byName))
	for n, g := range byName {
		g.Verdict = sum(times[n])
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func sum(seconds []float64) Times {
	if len(seconds) == 0 {
		return Times{}
	}
	slices.Sort(seconds)
	rank := func(q float64) float64 { return seconds[int(math.Ceil(q*float64(len(seconds))))-1] }
	return Times{len(seconds), rank(0.5), rank(0.9)}
}

// reliability fills the bins, of which empty ones are left out.
func (s *Summary) reliability(runs []Run) {
	var n, right [10]int
	var confidence [10]float64
	for _, r := range runs {
		if r.Verdict == nil || r.Verdict.Why == nil {
			continue
		}
		c, was := r.Verdict.Why.Confidence, 0.0
		// A confidence has six digits; the sum keeps 0.3 out of the bin before it.
		bin := min(9, max(0, int(c*10+1e-7)))
		n[bin]++
		confidence[bin] += c
		if r.Right.All.First {
			right[bin]++
			was = 1
		}
		s.Named++
		s.Brier += (c - was) * (c - was)
	}
	if s.Named > 0 {
		s.Brier = round(s.Brier / float64(s.Named))
	}
	for i := range n {
		if n[i] > 0 {
			s.Reliability = append(s.Reliability, Bin{
				From: float64(i) / 10, To: float64(i+1) / 10, N: n[i],
				Confidence: round(confidence[i] / float64(n[i])), Right: round(float64(right[i]) / float64(n[i])),
			})
		}
	}
}

func round(f float64) float64 { return math.Round(f*1e4) / 1e4 }

package exam

import (
	"math"
	"slices"
	"time"

	"triage/demo/scenario"
	"triage/internal/model"
)

// Run is one run of an exam, finished: what was broken, what was said of it, and how right that was.
type Run struct {
	Run       int    `json:"run"`
	Scenario  string `json:"scenario"`
	Confusing bool   `json:"confusing"`
	// Target says what was drawn.
	Target string `json:"target"`
	// Rate is the customers' in requests a second, WaitS how long nothing happened before the injection.
	Rate  float64 `json:"rate"`
	WaitS float64 `json:"wait_s"`
	// At is the injection, Truths what would have been right.
	At     time.Time        `json:"at"`
	Truths []scenario.Truth `json:"truths"`
	// Times are counted from the injection, and null for what didn't happen.
	DetectedAfterS *float64 `json:"detected_after_s"`
	VerdictAfterS  *float64 `json:"verdict_after_s"`
	// Verdict is the first that was made after the injection.
	Verdict *model.Verdict `json:"verdict"`
	Right   Grade          `json:"right"`
	// Settled tells that nothing was alarmed any more at the injection.
	Settled bool  `json:"settled"`
	Quiet   Quiet `json:"quiet"`
}

// Quiet is a time in which nothing was wrong, and what was found in it nevertheless.
type Quiet struct {
	Seconds float64 `json:"seconds"`
	// Incidents began in it, and Verdicts are those of them that blamed something.
	Incidents int `json:"incidents"`
	Verdicts  int `json:"verdicts"`
}

// Add adds another time.
func (q *Quiet) Add(o Quiet) {
	q.Seconds += o.Seconds
	q.Incidents += o.Incidents
	q.Verdicts += o.Verdicts
}

// Grade is how much of an answer was right.
type Grade struct {
	Class     Place `json:"class"`
	Entity    Place `json:"entity"`
	Mechanism Place `json:"mechanism"`
	// All counts what has all three of one truth.
	All Place `json:"all"`
}

// Place is where something right stood in an answer.
type Place struct {
	// First is what the verdict named as the cause; Three is that or one of its first three candidates.
	First bool `json:"first"`
	Three bool `json:"three"`
}

// Mark compares a verdict, which may be nil, with the truths of which any is right.
func Mark(truths []scenario.Truth, v *model.Verdict) Grade {
	if v == nil {
		return Grade{}
	}
	var named []model.Cause
	if v.Why != nil {
		named = append(named, *v.Why)
	}
	three := slices.Concat(named, v.Candidates[:min(3, len(v.Candidates))])
	place := func(same func(scenario.Truth, model.Cause) bool) Place {
		right := func(c model.Cause) bool {
			return slices.ContainsFunc(truths, func(t scenario.Truth) bool { return same(t, c) })
		}
		return Place{slices.ContainsFunc(named, right), slices.ContainsFunc(three, right)}
	}
	return Grade{
		Class:     place(func(t scenario.Truth, c model.Cause) bool { return t.Class == c.Class }),
		Entity:    place(func(t scenario.Truth, c model.Cause) bool { return t.Entity == c.Entity }),
		Mechanism: place(func(t scenario.Truth, c model.Cause) bool { return t.Mechanism == c.Mechanism }),
		All:       place(func(t scenario.Truth, c model.Cause) bool { return t.Is(&c) }),
	}
}

// Tenth rounds seconds as they are printed.
func Tenth(s float64) float64 { return math.Round(s*10) / 10 }

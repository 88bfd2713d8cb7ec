package alarm

import (
	"math"
	"time"

	"triage/internal/store"
)

const (
	// steady is how many batches must have come from a source, and steadyFor for how long, before its silence means anything:
	// what was sent at once was all there was.
	steady    = 20
	steadyFor = 2 * time.Minute
	// When nothing has come from a source for half as long again as the longest pause that it makes, rules wait at its watermark.
	// It is late after lateFactor times that pause: what lies in between was not seen. It is silent, which is an alarm, after
	// silentFactor times. All are the least times at least.
	holdFactor, lateFactor, silentFactor = 1.5, 3, 10
	leastHold, leastLate, leastSilent    = 2 * time.Second, 5 * time.Second, time.Minute
	// forgetPause is the part of the longest pause that each batch takes away, so that it follows how the source is now.
	forgetPause = 0.01
)

// pulse is how regularly something comes.
type pulse struct {
	last    time.Time // the watermark; of what was restored, when that was
	begun   time.Time // since when it has come without being silent
	pause   time.Duration
	batches int
	silence store.Window // the last time it was late
	down    bool         // it is told to be silent
}

func restoredPulse(pause time.Duration, down, at time.Time) pulse {
	if !down.IsZero() {
		at = down
	}
	return pulse{last: at, begun: at.Add(-established), pause: pause, batches: steady, down: !down.IsZero()}
}

// beat takes in that something came at a time. More of the same time is the same. What was missed before is missed until
// settled after it: what comes first is not all there is.
func (p *pulse) beat(at time.Time, settled time.Duration) {
	if p.batches == 0 {
		p.last, p.begun = at, at
	}
	pause := at.Sub(p.last)
	if pause <= 0 && p.batches > 0 {
		return
	}
	switch {
	case p.batches >= steady && pause > p.late():
		p.silence = store.Window{From: p.last, To: at.Add(settled)}
		switch {
		case pause <= p.silent():
		case p.steady():
			p.begun = at.Add(-steadyFor) // it is what it was
		default:
			p.begun = at
		}
	case p.batches < steady || pause < p.silent():
		p.pause = max(pause, time.Duration(float64(p.pause)*(1-forgetPause)))
	}
	p.last = at
	p.batches++
}

func (p *pulse) hold() time.Duration {
	return max(leastHold, time.Duration(holdFactor*float64(p.pause)))
}
func (p *pulse) late() time.Duration   { return max(leastLate, lateFactor*p.pause) }
func (p *pulse) silent() time.Duration { return max(leastSilent, silentFactor*p.pause) }

// pass lets a time pass in which nobody could be heard.
func (p *pulse) pass(length time.Duration) {
	if p.batches > 0 && !p.down {
		p.last = p.last.Add(length)
	}
}

// held tells whether to wait for it.
func (p *pulse) held(at time.Time) bool { return p.steady() && at.Sub(p.last) > p.hold() }

// steady tells whether a silence of it would mean something.
func (p *pulse) steady() bool { return p.batches >= steady && p.last.Sub(p.begun) >= steadyFor }

// missed tells whether its silence is an alarm: not when it is no longer expected.
func (p *pulse) missed(at time.Time) bool {
	silence := at.Sub(p.last)
	return p.steady() && silence > p.silent() && silence <= forgetAfter
}

// improbability is how improbable it is, in decades, that what comes so likely does not.
func improbability(likely float64) float64 {
	const most = 0.99 // a single call means little, however sure the past is
	return -math.Log10(1 - min(max(likely, 0), most))
}

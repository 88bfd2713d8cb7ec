// Package usual learns what is usual for one series of values, value by value, and says of each how unusual it is and
// between which bounds the next ones are expected. It is pure: values and times in, scores and bands out.
//
// A Series looks at a value in three ways, each against the series' own past:
//
//	shift      has the level of the last hour, as 12 values, left that of the last 360?
//	variation  do the last 12 values move more, or less, than the last 360?
//	season     is the value unlike those of the same hour of the same weekday?
//
// The answers have no common unit, so each is turned into its surprise: how rare it has been in this series, in decades.
// The score is the sum of the squares of what exceeds one decade, so that strong evidence of one kind counts for more
// than weak evidence of all. A score is given once for an event: what follows it is scored only if it is clearly more
// unusual.
//
// The scores of a series do not depend on what comes later. A Series is of fixed size (under 16 KiB), holds no pointers,
// and is not safe for concurrent use.
package usual

import (
	"math"
	"time"
)

const (
	// windowLen is how many values make the recent past: half an hour of 5 s periods, 30 hours of 5 min.
	windowLen = 360
	// shortLen is how many values show that something has changed: fewer are noise, more are late.
	shortLen = 12
	// minPast is how many values must be known before any is judged.
	minPast = 16
	// quiet is after how many values without anything more unusual an event is over.
	quiet = 100
	// clearly is by which factor a later value of an event must be more unusual to be scored.
	clearly = 1.3
	// reach is how many usual distances a value may draw its season: a past incident moves it no further.
	reach = 4
	// floor is the smallest scale on which a value is unusual, as a share of its size: less is rounding.
	floor = 1e-4
)

// Series is what is known of a series. The zero value knows nothing.
type Series struct {
	values  window // the values
	steps   window // absolute differences between neighbours
	misses  window // absolute distances from the season
	season  Season
	recent  [shortLen]float32 // a ring of the last values
	seen    int
	shift   tail
	vary    tail
	unusual tail

	worst float64 // largest sum of the event
	since int     // values since it
}

// Observe takes a value in and scores it: 0 is nothing unusual, about 4 is once in a thousand values, 10 and more what
// the series has not shown before. Times must not go back; a value that is not finite is passed over.
func (s *Series) Observe(at time.Time, value float64) float64 {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return 0
	}
	j := s.judge(at, value)
	s.shift.add(j.shift)
	s.vary.add(j.variation)
	s.unusual.add(j.season)
	if s.seen > 0 {
		s.steps.add(float32(math.Abs(value - s.last(0))))
	}
	limit := math.Inf(1)
	if j.known {
		if j.scale > 0 {
			limit = reach * j.scale
		}
		s.misses.add(float32(math.Abs(value - j.expected)))
	}
	s.season.Observe(at, value, limit)
	s.values.add(float32(value))
	s.recent[s.seen%shortLen] = float32(value)
	s.seen++
	return s.once(j.sum)
}

// Judge scores a value as Observe does and learns nothing from it: of a time that is excluded, for it is known to have
// been unlike others.
func (s *Series) Judge(at time.Time, value float64) float64 {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return 0
	}
	return s.once(s.judge(at, value).sum)
}

// judgement is what is thought of one value.
type judgement struct {
	shift, variation, season float64 // the three answers
	expected, scale          float64 // by the season, and the usual distance from it
	known                    bool    // expected is
	sum                      float64
}

func (s *Series) judge(at time.Time, value float64) (j judgement) {
	j.shift, j.variation = s.shifted(value), s.varied(value)
	if j.expected, j.known = s.season.Hour(at); j.known && s.misses.n > minPast {
		j.scale = s.misses.median() + 0.2*s.misses.mean() + least(j.expected)
		j.season = math.Abs(value-j.expected) / j.scale
	}
	j.sum = square(s.shift.surprise(j.shift)) + square(s.vary.surprise(j.variation)) + square(s.unusual.surprise(j.season))
	return j
}

// Band is between which bounds a value is usual.
type Band struct{ Lower, Usual, Upper float64 }

// Band gives the bounds for a value at a time, so many standard deviations of the usual noise from what is expected: by
// the recent past, and by the same hour of earlier days or weeks where they are known. It is not known (false) of a
// series of which there are too few values.
func (s *Series) Band(at time.Time, deviations float64) (b Band, known bool) {
	if s.values.n < minPast {
		return Band{}, false
	}
	b.Usual = s.values.median()
	far := deviations * (1.4826*s.values.deviation(b.Usual) + least(b.Usual))
	b.Lower, b.Upper = b.Usual-far, b.Usual+far
	if expected, deviation, known := s.season.Usual(at); known {
		far := deviations * (deviation + least(expected))
		b.Lower, b.Usual, b.Upper = min(b.Lower, expected-far), expected, max(b.Upper, expected+far)
	}
	return b, true
}

func square(decades float64) float64 {
	over := max(0, decades-1)
	return over * over
}

// once lets the sum of an event pass only where it rises clearly.
func (s *Series) once(sum float64) (score float64) {
	s.since++
	if s.since > quiet {
		s.worst = 0
	}
	if sum > s.worst*clearly {
		score = sum
	}
	if sum > s.worst {
		s.worst, s.since = sum, 0
	}
	return score
}

// last is the value before the newest i ones.
func (s *Series) last(i int) float64 { return float64(s.recent[(s.seen-1-i)%shortLen]) }

// shifted is how far the median of the newest values has left that of the recent past, in its spreads.
func (s *Series) shifted(value float64) float64 {
	if s.values.n <= 4*shortLen {
		return 0
	}
	var w window
	w.add(float32(value))
	for i := range shortLen - 1 {
		w.add(float32(s.last(i)))
	}
	median := s.values.median()
	return math.Abs(w.median()-median) / (1.4826*s.values.deviation(median) + 0.1*s.values.standard() + least(median))
}

// varied is how much more, or less, the newest values vary than the recent past, as the logarithm of the ratio.
func (s *Series) varied(value float64) float64 {
	if s.values.n <= 4*shortLen {
		return 0
	}
	now := math.Abs(value - s.last(0))
	for i := range shortLen - 2 {
		now += math.Abs(s.last(i) - s.last(i+1))
	}
	now /= shortLen - 1
	usual := s.steps.mean()
	least := 0.1*usual + least(s.values.median())
	return math.Abs(math.Log((now + least) / (usual + least)))
}

// least is the smallest distance that means anything for values of a size.
func least(size float64) float64 { return 1e-9 + floor*math.Abs(size) }

package usual

import (
	"math"
	"time"
)

// hours is how many cells a Season has: the hours of a week, in UTC.
const hours = 7 * 24

const (
	// every is the time a value stands for at most, and memory the time of an hour's own values after which their weight
	// has fallen to 1/e. An hour of a week comes once a week, so that about the last three weeks count.
	every  = 5 * time.Minute
	memory = 97 * time.Minute
	// lately is the time over which the trend is taken.
	lately = 24 * time.Hour
	// weeksKnown and daysKnown are how often an hour must have come to be known by itself, and by all days alike.
	weeksKnown = 2
	daysKnown  = 3
	// perDeviation turns a mean absolute deviation into the standard deviation of normal noise.
	perDeviation = 1.2533
)

// Season is what is usual at each hour of the week. Until an hour has come in two earlier weeks, Usual goes by the same
// hour of all days, and until it has come on three earlier days it knows nothing. The zero value knows nothing. It keeps
// 24 bits of a value.
type Season struct {
	cells [hours]cell
	trend float32 // how far values of late are above what their hours were
	last  int64   // second of the last value, since 1970
}

type cell struct {
	mean, deviation float32 // of the values, and of their absolute distances from the mean
	n               uint16  // values
	days            uint16  // on which there were any
	day             int32   // the last of these, since 1970
}

// Observe takes a value in. What is further from the usual than limit draws it no further, and from three times
// as far not at all, so that an incident leaves little behind.
func (s *Season) Observe(at time.Time, value, limit float64) {
	i, day := place(at)
	c := &s.cells[i]
	since := max(0, at.Sub(time.Unix(s.last, 0)))
	if expected, _, known := s.Usual(at); known {
		above := value - expected + float64(s.trend)
		s.trend += float32(share(min(since, lately), lately) * (draw(above, limit) - float64(s.trend)))
	}
	s.last = at.Unix()
	if c.n == 0 || c.day != day {
		c.days, c.day = min(c.days, math.MaxUint16-1)+1, day
	}
	c.n = min(c.n, math.MaxUint16-1) + 1
	if c.n == 1 {
		limit = math.Inf(1) // there is no usual yet to be far from
	}
	miss := draw(value-float64(c.mean), limit)
	slowest := share(min(since, every), memory)
	if c.n > 1 {
		c.deviation += float32(max(slowest, 1/float64(c.n-1)) * (math.Abs(miss) - float64(c.deviation)))
	}
	c.mean += float32(max(slowest, 1/float64(c.n)) * miss)
}

// share is the weight of a time among all before it, which fade with a time constant.
func share(of, constant time.Duration) float64 {
	return -math.Expm1(-of.Seconds() / constant.Seconds())
}

// draw is how far a distance draws a mean: by no more than limit, and not at all from so far away that it is another
// matter (Hampel's influence function, without its slope).
func draw(x, limit float64) float64 {
	if math.Abs(x) > 3*limit {
		return 0
	}
	return max(-limit, min(limit, x))
}

// place is the hour of the week, and the day since 1970.
func place(at time.Time) (hour int, day int32) {
	at = at.UTC()
	return int(at.Weekday())*24 + at.Hour(), int32(at.Unix() / 86400)
}

// Hour is the mean of what was seen in this hour of the week, at first of the very hour.
func (s *Season) Hour(at time.Time) (mean float64, known bool) {
	i, _ := place(at)
	return float64(s.cells[i].mean), s.cells[i].n >= 2
}

// Usual is what is expected at a time, with its standard deviation, by the same hour of earlier days. What values of late
// are above that is expected to go on.
func (s *Season) Usual(at time.Time) (expected, deviation float64, known bool) {
	i, day := place(at)
	if c := s.cells[i]; c.before(day) >= weeksKnown {
		return float64(c.mean + s.trend), perDeviation * float64(c.deviation), true
	}
	days, earlier := 0.0, 0
	var lowest, highest float64
	for j := i % 24; j < hours; j += 24 {
		c := s.cells[j]
		if c.n == 0 {
			continue
		}
		mean, of := float64(c.mean), float64(c.days)
		if days == 0 {
			lowest, highest = mean, mean
		}
		lowest, highest = min(lowest, mean), max(highest, mean)
		days, earlier = days+of, earlier+c.before(day)
		expected += of * mean
		deviation += of * float64(c.deviation)
	}
	if earlier < daysKnown {
		return 0, 0, false
	}
	// Days may differ as a weekend does, and nobody knows yet which do.
	return expected/days + float64(s.trend), perDeviation*deviation/days + (highest-lowest)/2, true
}

// before is on how many days before one there were values.
func (c cell) before(day int32) int {
	if c.n > 0 && c.day == day {
		return int(c.days) - 1
	}
	return int(c.days)
}

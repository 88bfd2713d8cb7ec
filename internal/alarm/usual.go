package alarm

import (
	"math"
	"slices"
	"time"

	baseline "triage/internal/usual"
)

// usualLen is how many datapoints the past of a contributor holds: half an hour of 5 s periods.
const usualLen = 360

// usual is the past of one contributor: its last usualLen datapoints that were not part of an ALARM, and what was usual at
// each hour of the week. Medians make it blind to what was short, and its length slow to learn what lasts.
type usual struct {
	ring    []observation // in the order of arrival, oldest at next once full
	next    int
	sorted  []float64 // scaled values of the ring
	noise   Noise
	season  *baseline.Season // of scaled values; nil for a rule that does not ask for what is usual
	exclude []Span
}

// observation is a datapoint that is kept.
type observation struct{ value, samples float64 }

// scaled is v on the scale on which noise is as large above as below, and as large for much as for little.
func (n Noise) scaled(v float64) float64 {
	switch n {
	case NoiseRatio:
		return math.Log(max(v, 1e-9)) // a duration of zero is shorter than any clock can tell
	case NoiseCount:
		return math.Sqrt(max(v, 0))
	}
	return v
}

// unscaled is the inverse of scaled.
func (n Noise) unscaled(s float64) float64 {
	switch n {
	case NoiseRatio:
		return math.Exp(min(s, 300)) // so that it stays a number
	case NoiseCount:
		return max(s, 0) * max(s, 0)
	}
	return s
}

// add takes a datapoint in, and the oldest out once the ring is full.
func (u *usual) add(o observation) {
	if len(u.ring) < usualLen {
		u.ring = append(u.ring, o)
	} else {
		i, _ := slices.BinarySearch(u.sorted, u.noise.scaled(u.ring[u.next].value))
		u.sorted = slices.Delete(u.sorted, i, i+1)
		u.ring[u.next] = o
		u.next = (u.next + 1) % usualLen
	}
	s := u.noise.scaled(o.value)
	i, _ := slices.BinarySearch(u.sorted, s)
	u.sorted = slices.Insert(u.sorted, i, s)
}

// excluded tells whether what is of a time is no example of what is usual.
func (u *usual) excluded(at time.Time) bool {
	return slices.ContainsFunc(u.exclude, func(s Span) bool { return s.contains(at) })
}

// addToSeason makes a datapoint part of what is usual at its hour.
func (u *usual) addToSeason(at time.Time, value float64) {
	if u.season != nil {
		u.season.Observe(at, u.noise.scaled(value), u.reach())
	}
}

// seasonReach is how many standard deviations of the noise a datapoint may draw its hour, so that faults which nobody saw
// leave little behind.
const seasonReach = 6

func (u *usual) reach() float64 {
	if len(u.sorted) > 0 {
		if spread := 1.4826 * medianDeviation(u.sorted, middle(u.sorted)); spread > 0 {
			return seasonReach * spread
		}
	}
	return math.Inf(1)
}

// level is the past in a few numbers.
type level struct {
	known    int     // datapoints
	usual    float64 // median value, or the mean share
	median   float64 // scaled
	spread   float64 // standard deviation by way of the median absolute deviation, scaled
	low      float64 // value below which 1 in 20 lie
	high     float64 // and above
	samples  float64 // mean by datapoint
	observed float64 // samples in all
	// What is usual at this hour, where earlier days tell.
	seasonal     bool
	hourly       float64 // scaled
	hourlySpread float64
}

// level is the past as seen at a time.
func (u *usual) level(at time.Time) level {
	l := level{known: len(u.ring)}
	if l.known == 0 {
		return l
	}
	if u.season != nil {
		l.hourly, l.hourlySpread, l.seasonal = u.season.Usual(at)
	}
	var hits float64
	for _, o := range u.ring {
		l.observed += o.samples
		hits += o.value * o.samples
	}
	l.samples = l.observed / float64(l.known)
	l.median = middle(u.sorted)
	l.spread = 1.4826 * medianDeviation(u.sorted, l.median)
	few := (l.known - 1) / 20
	l.low, l.high = u.noise.unscaled(u.sorted[few]), u.noise.unscaled(u.sorted[l.known-1-few])
	l.usual = u.noise.unscaled(l.median)
	if u.noise == NoiseShare && l.observed > 0 {
		l.usual = hits / l.observed // most shares are 0, so that their median says nothing
	}
	return l
}

func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// medianDeviation is the median of |x - centre|: it walks from the centre outwards, always to the nearer side.
func medianDeviation(sorted []float64, centre float64) float64 {
	right, _ := slices.BinarySearch(sorted, centre)
	left := right - 1
	var d float64
	for range len(sorted)/2 + 1 {
		if right >= len(sorted) || left >= 0 && centre-sorted[left] <= sorted[right]-centre {
			d = centre - sorted[left]
			left--
		} else {
			d = sorted[right] - centre
			right++
		}
	}
	return d
}

// breach tells whether a datapoint is unlike the past, and the threshold on the side it is nearer to.
func (u Usual) breach(l level, o observation) (breaching bool, threshold float64) {
	up := u.Direction == Up || u.Direction == Both && o.value >= l.usual
	threshold = u.threshold(l, o.samples, up)
	if up {
		breaching = o.value > threshold
	} else {
		breaching = o.value < threshold
	}
	return breaching && u.improbable(l, o, up), threshold
}

// threshold is how far a datapoint of so many samples may be from the past on one side. Where the hour is known, a
// datapoint must be unlike both the last datapoints and those of the same hour of earlier days: what comes every morning
// is no surprise, and what has gone on for a while and was seen to is none either.
func (u Usual) threshold(l level, samples float64, up bool) float64 {
	// The measured noise of few datapoints is itself uncertain.
	distance := u.Deviations * l.spread * (1 + 6/float64(l.known))
	few := 1.0
	counted := u.Noise == NoiseShare || u.Noise == NoiseCount
	if !counted && samples > 0 && samples < l.samples { // fewer samples are noisier
		few = math.Sqrt(l.samples / samples)
	}
	further := math.Max
	if !up {
		further = math.Min
		distance, few = -distance, -few
	}
	far := u.Noise.unscaled(l.median + distance*math.Abs(few))
	if u.Noise == NoiseCount && up {
		far = max(far, l.high)
	} else if u.Noise == NoiseCount {
		far = min(far, l.low)
	}
	t := further(u.away(l.usual, up), far)
	if l.seasonal {
		t = further(t, u.away(u.Noise.unscaled(l.hourly), up))
		t = further(t, u.Noise.unscaled(l.hourly+u.Deviations*l.hourlySpread*few))
	}
	return t
}

// away is the value on one side of what is usual from which on Factor and MinDelta hold.
func (u Usual) away(usual float64, up bool) float64 {
	if up {
		t := usual + u.MinDelta
		if u.Factor > 0 {
			t = max(t, usual*u.Factor)
		}
		return t
	}
	t := usual - u.MinDelta
	if u.Factor > 0 {
		t = min(t, usual/u.Factor)
	}
	return t
}

// improbable tells whether chance alone gives such a count less often than Deviations allow. Other noise than that of
// counting is in the threshold already.
func (u Usual) improbable(l level, o observation, up bool) bool {
	if u.Deviations == 0 {
		return true
	}
	limit := math.Erfc(u.Deviations/math.Sqrt2) / 2
	switch u.Noise {
	case NoiseShare:
		// Half a hit in fifty more samples: what has never failed yet fails one day, and 1 in 100 is never surprising.
		p := min(1, max(0.01, (l.usual*l.observed+0.5)/(l.observed+50)))
		if n := math.Round(o.samples); up {
			return binomialTail(n, p, math.Round(o.value*n)) < limit
		} else {
			return binomialTail(n, 1-p, n-math.Round(o.value*n)) < limit
		}
	case NoiseCount:
		return poissonTail(l.samples, math.Round(o.samples), up) < limit
	}
	return true
}

// binomialTail is the probability of k or more hits in n trials of probability p.
func binomialTail(n, p, k float64) float64 {
	if k <= n*p || k > n {
		return 1 // only what is more than expected is asked for
	}
	return tail(func(i float64) float64 {
		a, _ := math.Lgamma(n + 1)
		b, _ := math.Lgamma(i + 1)
		c, _ := math.Lgamma(n - i + 1)
		return math.Exp(a - b - c + i*math.Log(p) + (n-i)*math.Log1p(-p))
	}, k, n, 1)
}

// poissonTail is the probability of k or more (up) or k or fewer events where mean are expected.
func poissonTail(mean, k float64, up bool) float64 {
	if up == (k <= mean) {
		return 1
	}
	if mean == 0 {
		return 0
	}
	p := func(i float64) float64 {
		a, _ := math.Lgamma(i + 1)
		return math.Exp(i*math.Log(mean) - mean - a)
	}
	if up {
		return tail(p, k, math.Inf(1), 1)
	}
	return tail(p, k, 0, -1)
}

// tail adds up probabilities from k to end, which fall all the way, until they no longer matter.
func tail(p func(float64) float64, k, end, step float64) (sum float64) {
	for i := k; step*(end-i) >= 0; i += step {
		x := p(i)
		sum += x
		if x <= sum*1e-9 {
			break
		}
	}
	return sum
}

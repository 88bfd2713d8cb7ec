package locate

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// This file locates without spans: from what each place did, period by period, and from who calls whom. That is all that
// CloudWatch, X-Ray's statistics or a service mesh's metrics tell.
//
// A cause has three marks. Its excess (requests times what each took, or failed, more than just before) follows the
// course of the alarm. What it calls does not explain that excess. And the excess is large against the noise that the
// place showed in normal time. The rows before the alarm give the level, because systems drift over months; normal time
// gives the noise alone. Compare the traversals of Hardt et al., "The PetShop dataset", CLeaR 2024, which look for the
// deepest anomalous place and weigh neither excess nor noise.

// Amount is what a place did in one period: how many requests it served, and the seconds they took in all or how many of
// them failed.
type Amount struct{ Requests, Sum float64 }

// Aggregates is what is known of a system by metrics alone.
type Aggregates struct {
	Start time.Time // of the first period of Now
	Step  time.Duration
	// Now is what each place did around the alarm. Usual is the same of stretches of normal time; it may be empty.
	Now   map[string][]Amount
	Usual []map[string][]Amount
	// Calls says whom each place calls.
	Calls map[string][]string
	// Shadow marks places that are only seen by their callers: a host that sends no telemetry, or the address of a place
	// that also reports for itself.
	Shadow map[string]bool
	// Failures tells that Sum counts failures rather than seconds.
	Failures bool
}

// Suspect is a place and how far it can be the cause.
type Suspect struct {
	Place  string
	Shadow bool
	// Excess is seconds, or failures, more than before while the alarm lasted; Own is what none of its callees explains.
	Excess, Own float64
	// Value and Level are the mean of a request during the alarm and before it.
	Value, Level float64
	// Deviation is Excess in units of its noise.
	Deviation float64
	// Score joins the place's deviation with the alarm's own, weighed by the part of the alarm that Own covers.
	Score float64
}

// What the noise of a place is at least, so that two quiet hours do not make every hiccup significant.
const (
	// spread is the deviation of one request, as a part of the level.
	spread = 0.3
	// wobble is how far a level moves by itself, as a part of it, however many requests it rests on.
	wobble, wobbleSeconds = 0.05, 1e-3
	// wobbleFailures is the same of the share of failures; half a failure is always chance.
	wobbleFailures, chanceFailures = 0.002, 0.5
	// explains is the deviation from which a callee's excess is taken to pass on to its callers.
	explains = 3
	// hearsay is what remains of the score of a shadow: what only its callers tell of it holds their own trouble and that of
	// the way there too.
	hearsay = 0.7
	// shadowed is what remains of the score of a shadow beside a significant real place: of a place and its address, the
	// place is meant.
	shadowed = 0.3
)

// Significant is the score from which a suspect is more than chance: normal time reaches it in fewer than one window of
// thirty, over all places.
const Significant = 4.5

// Suspects ranks the places that the target reaches, best first, for an alarm on the target that began at onset. Only
// periods after the onset belong to the alarm, and only as far as the target itself was worse than before. The second
// answer is the target's own row, for the alarm itself may be chance.
func (a *Aggregates) Suspects(target string, onset time.Time) (ranked []Suspect, own Suspect) {
	weights := a.course(target, onset)
	if weights == nil {
		return nil, Suspect{Place: target}
	}
	reached := a.reached(target)
	all := make(map[string]*Suspect, len(reached))
	for _, p := range reached {
		s := a.measure(p, weights)
		all[p] = &s
	}
	alarm := all[target]
	for _, p := range reached {
		s := all[p]
		s.Own = s.Excess
		for _, c := range a.Calls[p] {
			if callee := all[c]; c != p && callee.Deviation > explains {
				s.Own -= max(0, callee.Excess)
			}
		}
		s.Own = max(0, s.Own)
		// The alarm and the place are two witnesses: Stouffer's sum of their deviations.
		d := s.Deviation
		if p != target {
			d = (max(0, d) + max(0, alarm.Deviation)) / math.Sqrt2
		}
		if alarm.Excess > 0 {
			s.Score = max(0, d) * min(1, s.Own/alarm.Excess)
		}
		if s.Score > 0 {
			ranked = append(ranked, *s)
		}
	}
	doubt := hearsay
	if slices.ContainsFunc(ranked, func(s Suspect) bool { return !s.Shadow && s.Score > Significant }) {
		doubt = shadowed
	}
	for i := range ranked {
		if ranked[i].Shadow {
			ranked[i].Score *= doubt
		}
	}
	slices.SortFunc(ranked, func(x, y Suspect) int {
		return cmp.Or(cmp.Compare(round(y.Score), round(x.Score)), cmp.Compare(x.Place, y.Place))
	})
	return ranked, *alarm
}

// course is how bad each period was for the target, 0 to 1; nil if none was worse than before.
func (a *Aggregates) course(target string, onset time.Time) []float64 {
	row := a.Now[target]
	before := make([]float64, len(row))
	first := len(row)
	for i := range row {
		if end := a.Start.Add(time.Duration(i+1) * a.Step); !end.After(onset) {
			before[i] = 1
		} else {
			first = min(first, i)
		}
	}
	level, n := mean(row, before)
	if n == 0 {
		return nil
	}
	out := make([]float64, len(row))
	worst := 0.0
	for i := first; i < len(row); i++ {
		if row[i].Requests > 0 {
			out[i] = max(0, row[i].Sum/row[i].Requests-level)
			worst = max(worst, out[i])
		}
	}
	if worst == 0 {
		return nil
	}
	for i := range out {
		out[i] /= worst
	}
	return out
}

// measure compares a place's periods with the alarm's course: the level is that of the periods that were as usual.
func (a *Aggregates) measure(place string, course []float64) Suspect {
	s := Suspect{Place: place, Shadow: a.Shadow[place]}
	row := a.Now[place]
	calm := make([]float64, len(course))
	for i, w := range course {
		calm[i] = 1 - w
	}
	var requests, sum, squares float64
	for i := range min(len(row), len(course)) {
		requests += course[i] * row[i].Requests
		sum += course[i] * row[i].Sum
		squares += course[i] * course[i] * row[i].Requests
	}
	if requests == 0 {
		return s
	}
	s.Value = sum / requests
	noise, usual, known := a.noise(place)
	level, rest := mean(row, calm)
	if rest == 0 {
		level, rest = usual, math.Inf(1)
	}
	s.Level = level
	s.Excess = sum - requests*level
	var fixed float64
	if a.Failures {
		noise = math.Hypot(noise, math.Sqrt(max(0, level*(1-level))))
		fixed = chanceFailures + wobbleFailures*requests
	} else {
		if known && level > 0 {
			noise = max(noise, spread*level)
		} else {
			noise = max(s.Value, level) // of a place never seen before any time is possible
		}
		fixed = (wobble*level + wobbleSeconds) * requests
	}
	deviation := math.Hypot(noise*math.Sqrt(squares+requests*requests/rest), fixed)
	s.Deviation = s.Excess / deviation
	return s
}

// noise is the deviation of one request of a place in normal time, told by the differences of neighbouring periods, which
// no slow drift disturbs; and the usual level. Nine of ten differences of a normal distribution lie within 1.645.
func (a *Aggregates) noise(place string) (deviation, level float64, known bool) {
	var differences, levels []float64
	for _, stretch := range a.Usual {
		row := stretch[place]
		for i := 1; i < len(row); i++ {
			x, y := row[i-1], row[i]
			if x.Requests > 0 && y.Requests > 0 {
				differences = append(differences, math.Abs(x.Sum/x.Requests-y.Sum/y.Requests)/math.Sqrt(1/x.Requests+1/y.Requests))
				levels = append(levels, y.Sum/y.Requests)
			}
		}
	}
	if len(differences) == 0 {
		return 0, 0, false
	}
	slices.Sort(differences)
	slices.Sort(levels)
	return differences[min(len(differences)-1, len(differences)*9/10)] / 1.645, levels[len(levels)/2], true
}

// reached are the target and all it calls, directly or not, sorted.
func (a *Aggregates) reached(target string) []string {
	seen := map[string]bool{target: true}
	out := []string{target}
	for k := 0; k < len(out); k++ {
		for _, c := range a.Calls[out[k]] {
			if !seen[c] {
				seen[c] = true
				out = append(out, c)
			}
		}
	}
	slices.Sort(out)
	return out
}

// mean is what a request took or failed in the weighted periods, and on how many requests that rests.
func mean(row []Amount, weights []float64) (value, requests float64) {
	var sum float64
	for i := range min(len(row), len(weights)) {
		requests += weights[i] * row[i].Requests
		sum += weights[i] * row[i].Sum
	}
	if requests == 0 {
		return 0, 0
	}
	return sum / requests, requests
}

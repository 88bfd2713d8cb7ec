package locate

import (
	"cmp"
	"math"
	"slices"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// Shift is a lasting change of what one operation does.
type Shift struct {
	Service, Operation string
	Kind               model.SpanKind
	Signal             model.Signal // duration, errors or rate
	// At is the start of the first step after the change.
	At            time.Time
	Before, After float64 // mean seconds, share of failures, or calls a second
	// Score is how surely it changed, in natural logarithms of likelihood.
	Score float64
}

// Onset finds the change points of each operation's duration, share of failures and rate of calls. Only changes for
// the worse are reported (any change of rate is), at most one a signal and operation, earliest first. Steps in which an
// operation wasn't called may be missing.
func Onset(steps []store.TimelineStat, w store.Window, step time.Duration) []Shift {
	n := int((w.Len() + step - 1) / step)
	if n < 4 || step <= 0 {
		return nil
	}
	type key struct {
		service, operation string
		kind               model.SpanKind
	}
	type series struct {
		calls, errors []int64
		mean          []float64
	}
	all := map[key]*series{}
	var keys []key
	for _, s := range steps {
		i := int(s.At.Sub(w.From) / step)
		if i < 0 || i >= n || s.At.Before(w.From) {
			continue
		}
		k := key{s.Service, s.Operation, s.Kind}
		if all[k] == nil {
			all[k] = &series{make([]int64, n), make([]int64, n), make([]float64, n)}
			keys = append(keys, k)
		}
		r := all[k]
		r.calls[i], r.errors[i], r.mean[i] = s.Count, s.Errors, s.Mean
	}
	var out []Shift
	for _, k := range keys {
		r := all[k]
		add := func(signal model.Signal, i int, before, after, score float64) {
			out = append(out, Shift{k.service, k.operation, k.kind, signal, w.From.Add(time.Duration(i) * step),
				round(before), round(after), round(score)})
		}
		if i, before, after, score, ok := meanShift(r.mean, r.calls); ok && after > before {
			add(model.SignalDuration, i, before, after, score)
		}
		if i, before, after, score, ok := shareShift(r.errors, r.calls); ok && after > before {
			add(model.SignalErrors, i, before, after, score)
		}
		if i, before, after, score, ok := rateShift(r.calls); ok {
			add(model.SignalRate, i, before/step.Seconds(), after/step.Seconds(), score)
		}
	}
	slices.SortFunc(out, func(a, b Shift) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(b.Score, a.Score), cmp.Compare(a.Service, b.Service),
			cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Signal, b.Signal))
	})
	return out
}

// minSide is how many steps must lie on each side of a change point, minScore how sure it must be.
const (
	minSide  = 2
	minScore = 6
)

// meanShift finds where a mean duration rose. Durations vary by factors, so their logarithms are compared: the split
// that explains most of the variance, kept if the difference is large against what remains and at least 15 %.
func meanShift(mean []float64, calls []int64) (at int, before, after, score float64, ok bool) {
	var y []float64
	var idx []int
	for i := range mean {
		if calls[i] > 0 && mean[i] > 0 {
			y = append(y, math.Log(mean[i]))
			idx = append(idx, i)
		}
	}
	if len(y) < 2*minSide {
		return
	}
	k, gain, rest := split(y)
	if k == 0 {
		return
	}
	m1, m2 := average(y[:k]), average(y[k:])
	n := float64(len(y))
	// A floor of noise keeps a perfectly smooth series from being certain of nothing.
	score = n / 2 * math.Log1p(gain/(rest+n*1e-4))
	if score < minScore || m2-m1 < math.Log(1.15) {
		return
	}
	// The change may have begun earlier, in steps that only part of the calls felt.
	limit := m1 + max(3*math.Sqrt(variance(y[:k])), (m2-m1)/4)
	for k > minSide && y[k-1] > limit {
		k--
	}
	at = idx[k]
	before, after = weighted(mean, calls, 0, at), weighted(mean, calls, at, len(mean))
	return at, before, after, score, true
}

func split(y []float64) (k int, gain, rest float64) {
	var sum, total, squares float64
	for _, v := range y {
		total += v
		squares += v * v
	}
	n := float64(len(y))
	for i := 1; i < len(y); i++ {
		sum += y[i-1]
		if i < minSide || len(y)-i < minSide {
			continue
		}
		a, b := float64(i), n-float64(i)
		d := sum/a - (total-sum)/b
		if g := a * b / n * d * d; g > gain {
			k, gain = i, g
		}
	}
	return k, gain, max(0, squares-total*total/n-gain)
}

func average(y []float64) (m float64) {
	for _, v := range y {
		m += v / float64(len(y))
	}
	return m
}

func variance(y []float64) (v float64) {
	m := average(y)
	for _, x := range y {
		v += (x - m) * (x - m) / float64(len(y))
	}
	return v
}

func weighted(mean []float64, calls []int64, from, to int) float64 {
	var sum float64
	var n int64
	for i := from; i < to; i++ {
		sum += mean[i] * float64(calls[i])
		n += calls[i]
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

// shareShift finds where a share of failures rose, by the likelihood of two shares against one.
func shareShift(failed, calls []int64) (at int, before, after, score float64, ok bool) {
	f, c := prefix(failed), prefix(calls)
	n := len(calls)
	whole := bernoulli(f[n], c[n])
	for i := 1; i < n; i++ {
		if c[i] == 0 || c[n] == c[i] {
			continue
		}
		g := bernoulli(f[i], c[i]) + bernoulli(f[n]-f[i], c[n]-c[i]) - whole
		if g > score {
			at, score = i, g
			before, after = float64(f[i])/float64(c[i]), float64(f[n]-f[i])/float64(c[n]-c[i])
		}
	}
	return at, before, after, score, score >= minScore && math.Abs(after-before) >= 0.01
}

func bernoulli(k, n int64) float64 {
	if k <= 0 || k >= n {
		return 0
	}
	p := float64(k) / float64(n)
	return float64(k)*math.Log(p) + float64(n-k)*math.Log(1-p)
}

// rateShift finds where the number of calls changed by a half or more.
func rateShift(calls []int64) (at int, before, after, score float64, ok bool) {
	c := prefix(calls)
	n := len(calls)
	poisson := func(k int64, steps int) float64 {
		if k == 0 {
			return 0
		}
		return float64(k) * math.Log(float64(k)/float64(steps))
	}
	for i := minSide; i <= n-minSide; i++ {
		if g := poisson(c[i], i) + poisson(c[n]-c[i], n-i) - poisson(c[n], n); g > score {
			at, score = i, g
			before, after = float64(c[i])/float64(i), float64(c[n]-c[i])/float64(n-i)
		}
	}
	return at, before, after, score, score >= minScore && (after >= 1.5*before || before >= 1.5*after)
}

func prefix(v []int64) []int64 {
	p := make([]int64, len(v)+1)
	for i := range v {
		p[i+1] = p[i] + v[i]
	}
	return p
}

// Steady is where the last stretch of w without trouble of its own begins: after the last time that an operation's
// duration or failures fell back. What came before that isn't usual, and a later rise may be the trouble in question.
// steps are those of the one operation.
//
// One change point over the whole of w misses a short trouble between two long good times, because the means of both sides
// are then nearly the same. So it is sought in intervals of many lengths that overlap by half (seeded binary segmentation:
// Kovács et al., Biometrika 110, 2023).
func Steady(steps []store.TimelineStat, w store.Window, step time.Duration) time.Time {
	if step <= 0 || w.Len() < 4*step {
		return w.From
	}
	n := int((w.Len() + step - 1) / step)
	calls, failed, mean := make([]int64, n), make([]int64, n), make([]float64, n)
	for _, s := range steps {
		if i := int(s.At.Sub(w.From) / step); !s.At.Before(w.From) && i < n {
			calls[i], failed[i], mean[i] = s.Count, s.Errors, s.Mean
		}
	}
	from := 0
	for size := min(n, shortest); ; size = min(n, 2*size) {
		// The more intervals, the more of them look odd by chance; and what is short and small spoils nothing.
		t := threshold{minScore + math.Log(2*float64(n)/float64(size)-1), math.Log(4. / 3), 0.02}
		if size < n {
			t.factor, t.share = math.Log(2), 0.1
		}
		for to := n; to > from; to -= max(1, size/2) {
			// An interval may hold several ends of troubles; the last one counts.
			for at := max(from, to-size); at < to; at = from {
				next := max(fell(mean[at:to], calls[at:to], t), recovered(failed[at:to], calls[at:to], t))
				if next == 0 {
					break
				}
				from = at + next
			}
		}
		if size == n {
			return w.From.Add(time.Duration(from) * step)
		}
	}
}

// shortest is the length, in steps, of the shortest intervals in which the end of a trouble is sought.
const shortest = 30

// threshold is what an end of trouble must reach: how sure it is, and by what factor (its logarithm) durations or by how
// much the share of failures fell.
type threshold struct{ score, factor, share float64 }

// fell is the step at which a mean duration fell, 0 if it never did.
func fell(mean []float64, calls []int64, least threshold) int {
	var y []float64
	var idx []int
	for i := range mean {
		if calls[i] > 0 && mean[i] > 0 {
			y = append(y, math.Log(mean[i]))
			idx = append(idx, i)
		}
	}
	var sum, total, squares, gain float64
	at, n := 0, float64(len(y))
	for _, v := range y {
		total += v
		squares += v * v
	}
	for i := 1; i < len(y); i++ {
		sum += y[i-1]
		a, b := float64(i), n-float64(i)
		if i < minSide || b < minSide || sum/a-(total-sum)/b < least.factor {
			continue
		}
		d := sum/a - (total-sum)/b
		if g := a * b / n * d * d; g > gain {
			at, gain = i, g
		}
	}
	if at == 0 {
		return 0
	}
	rest := max(0, squares-total*total/n-gain)
	if n/2*math.Log1p(gain/(rest+n*1e-4)) < least.score {
		return 0
	}
	return idx[at]
}

// recovered is the step at which the share of failures fell, 0 if it never did.
func recovered(failed, calls []int64, least threshold) int {
	f, c := prefix(failed), prefix(calls)
	n := len(calls)
	whole, best, at := bernoulli(f[n], c[n]), least.score, 0
	for i := 1; i < n; i++ {
		if c[i] == 0 || c[n] == c[i] {
			continue
		}
		before, after := float64(f[i])/float64(c[i]), float64(f[n]-f[i])/float64(c[n]-c[i])
		if g := bernoulli(f[i], c[i]) + bernoulli(f[n]-f[i], c[n]-c[i]) - whole; before-after >= least.share && g > best {
			at, best = i, g
		}
	}
	return at
}

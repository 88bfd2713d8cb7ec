package alarm_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
	"triage/internal/store/state"
)

// simStart is the first second of every simulation.
var simStart = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// operation is simulated traffic: Poisson arrivals, lognormal durations, independent errors.
type operation struct {
	service, name string
	rate          float64 // requests a second
	median, sigma float64 // of durations, s
	errors        float64 // share

	// What the deriver has counted at each of its writes.
	calls, failed []float64
	seconds       []float64
}

// shape is what happens to an operation at a moment.
type shape struct{ rate, slower, plus, errors float64 }

// world is a store.Metrics that answers the automatic rules from simulated operations: a deriver counts spans as they
// arrive, 1 to 3 s after their end, and writes every 5 s at a phase of its own.
type world struct {
	store.Metrics // nothing else is asked
	ops           []*operation
	phase         time.Duration
	answers       map[string]func(o *operation, last int) float64
}

const writeEvery = 5 * time.Second

func newWorld(rng *rand.Rand, ops []*operation, length time.Duration, at func(o *operation, second float64) shape) *world {
	w := &world{ops: ops, phase: time.Duration(rng.Int64N(int64(writeEvery)))}
	writes := int(length/writeEvery) + 1
	for _, o := range ops {
		o.calls, o.failed, o.seconds = make([]float64, writes), make([]float64, writes), make([]float64, writes)
		for t := 0.0; t < length.Seconds(); {
			s := at(o, t)
			r := o.rate * s.rate
			if r <= 0 {
				t++
				continue
			}
			t += rng.ExpFloat64() / r
			d := o.median*s.slower*math.Exp(o.sigma*rng.NormFloat64()) + s.plus
			seen := t + d + 1 + 2*rng.Float64()
			i := int(math.Ceil((seen - w.phase.Seconds()) / writeEvery.Seconds()))
			if i < 0 || i >= writes {
				continue
			}
			o.calls[i]++
			o.seconds[i] += d
			if rng.Float64() < o.errors+s.errors {
				o.failed[i]++
			}
		}
		for i := 1; i < writes; i++ {
			o.calls[i] += o.calls[i-1]
			o.failed[i] += o.failed[i-1]
			o.seconds[i] += o.seconds[i-1]
		}
	}
	auto := alarm.Automatic()
	w.answers = map[string]func(o *operation, last int) float64{
		auto[0].Expr: func(o *operation, last int) float64 {
			n := o.errorWrites(last)
			return (o.failed[last] - o.failed[last-n]) / (o.calls[last] - o.calls[last-n])
		},
		auto[0].Samples: func(o *operation, last int) float64 { return o.calls[last] - o.calls[last-o.errorWrites(last)] },
		auto[1].Expr: func(o *operation, last int) float64 {
			return (o.seconds[last] - o.seconds[last-1]) / (o.calls[last] - o.calls[last-1])
		},
		auto[1].Samples: func(o *operation, last int) float64 { return o.calls[last] - o.calls[last-1] },
		auto[2].Expr:    func(o *operation, last int) float64 { return (o.calls[last] - o.calls[last-1]) / writeEvery.Seconds() },
	}
	return w
}

// errorWrites is over how many writes the rule of errors looks.
func (o *operation) errorWrites(last int) int {
	if o.calls[last]-o.calls[last-1] >= 20 {
		return 1
	}
	return 2
}

func (w *world) value(o *operation, expr string, at time.Time) float64 {
	last := int((at.Sub(simStart) - w.phase) / writeEvery)
	if last >= len(o.calls) || last < 2 {
		return math.NaN()
	}
	return w.answers[expr](o, last)
}

func (o *operation) labels() map[string]string {
	return map[string]string{"service_name": o.service, "span_name": o.name}
}

func (w *world) Query(_ context.Context, _, expr string, at time.Time) (out []store.Point, err error) {
	for _, o := range w.ops {
		out = append(out, store.Point{Labels: o.labels(), At: at, Value: w.value(o, expr, at)})
	}
	return out, nil
}

func (w *world) QueryRange(_ context.Context, _, expr string, r store.Window, step time.Duration) (out []store.Line, err error) {
	for _, o := range w.ops {
		l := store.Line{Labels: o.labels(), Start: r.From, Step: step}
		for at := r.From; !at.After(r.To); at = at.Add(step) {
			l.Values = append(l.Values, w.value(o, expr, at))
		}
		out = append(out, l)
	}
	return out, nil
}

// thirty operations of little traffic, fast and slow, steady and not.
func thirty(rng *rand.Rand) (ops []*operation) {
	for i := range 30 {
		ops = append(ops, &operation{
			service: fmt.Sprintf("s%d", i%6), name: fmt.Sprintf("op%d", i),
			rate:   0.5 * math.Pow(40, rng.Float64()),    // 0.5 to 20 a second
			median: 0.003 * math.Pow(150, rng.Float64()), // 3 to 450 ms
			sigma:  0.2 + 0.6*rng.Float64(),
			errors: 0.01 * rng.Float64() * rng.Float64(),
		})
	}
	return ops
}

// quiet is what operations do while nothing is wrong: load and durations drift by the hour, load doubles in the second
// hour and the mix shifts, and every ten minutes something halts the machine for a second and a half.
func quiet(o *operation, t float64) shape {
	phase := float64(len(o.name)) + o.sigma*10
	s := shape{rate: 1 + 0.3*math.Sin(t/500+phase), slower: 1 + 0.2*math.Sin(t/700+2*phase)}
	if t > 3600 {
		s.rate *= 2
		s.slower *= 1.15
	}
	if t > 5400 && o.sigma > 0.5 {
		s.rate *= 0.7
	}
	if m := math.Mod(t, 600); m > 300 && m < 301.5 {
		s.plus = 301.5 - m
	}
	return s
}

// simulate evaluates every second and returns all transitions into ALARM.
func simulate(t *testing.T, w *world, length time.Duration) (out []model.Transition) {
	t.Helper()
	e := newEvaluator(t, w, openState(t), alarm.Options{Automatic: alarm.Automatic()})
	for at := simStart; at.Before(simStart.Add(length)); at = at.Add(time.Second) {
		transitions, err := e.Evaluate(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range transitions {
			if tr.Alarm.State == model.StateAlarm {
				out = append(out, tr)
			}
		}
	}
	return out
}

func openState(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newEvaluator(t testing.TB, m store.Metrics, s store.State, opts alarm.Options) *alarm.Evaluator {
	t.Helper()
	opts.Metrics, opts.State = m, s
	e, err := alarm.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestQuietHoursAreQuiet(t *testing.T) {
	const length = 90 * time.Minute
	for seed := range uint64(2) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			for _, tr := range simulate(t, newWorld(rng, thirty(rng), length, quiet), length) {
				t.Errorf("%s after %s: %s", tr.Alarm.ID, tr.Alarm.Since.Sub(simStart), tr.Alarm.Reason)
			}
		})
	}
}

func TestFaultsAreSeenInTime(t *testing.T) {
	const length, begin = 12 * time.Minute, 600.0
	for _, c := range []struct {
		name   string
		signal model.Signal
		fault  shape
		rate   float64
		within time.Duration
	}{
		{"five times slower, busy", model.SignalDuration, shape{rate: 1, slower: 5}, 20, 25 * time.Second},
		{"five times slower, quiet", model.SignalDuration, shape{rate: 1, slower: 5}, 1, 30 * time.Second},
		{"one fifth fails, busy", model.SignalErrors, shape{rate: 1, slower: 1, errors: 0.2}, 20, 25 * time.Second},
		{"one fifth fails", model.SignalErrors, shape{rate: 1, slower: 1, errors: 0.2}, 5, 30 * time.Second},
		{"one half fails, quiet", model.SignalErrors, shape{rate: 1, slower: 1, errors: 0.5}, 1, 35 * time.Second},
		{"all fails, quiet", model.SignalErrors, shape{rate: 1, slower: 1, errors: 1}, 0.7, 35 * time.Second},
		{"flood", model.SignalRate, shape{rate: 10, slower: 1}, 3, 30 * time.Second},
		{"silence", model.SignalRate, shape{rate: 0, slower: 1}, 5, 35 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(5) {
				rng := rand.New(rand.NewPCG(seed, 2))
				o := &operation{service: "cart", name: "GET /cart", rate: c.rate, median: 0.08, sigma: 0.5, errors: 0.002}
				w := newWorld(rng, []*operation{o}, length, func(o *operation, t float64) shape {
					if t >= begin {
						return c.fault
					}
					return shape{rate: 1, slower: 1}
				})
				var delay time.Duration
				for _, tr := range simulate(t, w, length) {
					if tr.Alarm.Signal == c.signal && delay == 0 {
						delay = tr.Alarm.Since.Sub(simStart.Add(600*time.Second)) + time.Second
						t.Logf("seed %d: %s, onset %s", seed, delay, tr.Alarm.Onset.Sub(simStart.Add(600*time.Second)))
					}
				}
				if delay <= 0 || delay > c.within {
					t.Errorf("seed %d: ALARM after %s, want within %s", seed, delay, c.within)
				}
			}
		})
	}
}

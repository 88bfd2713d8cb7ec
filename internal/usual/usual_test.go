package usual_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"syscall"
	"testing"
	"time"

	"triage/internal/usual"
)

var start = time.Date(2030, 1, 7, 0, 0, 0, 0, time.UTC) // a Monday

const step = 5 * time.Minute

// day is how many steps a day has.
const day = int(24 * time.Hour / step)

// generated is a series with a daily and a weekly season and noise; fault changes value i.
func generated(seed uint64, n int, fault func(i int, v float64) float64) (times []time.Time, values []float64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range n {
		at := start.Add(time.Duration(i) * step)
		hour := at.Sub(at.Truncate(24 * time.Hour)).Hours()
		v := 100 + 40*math.Sin(2*math.Pi*(hour-6)/24)
		if at.Weekday() == time.Saturday || at.Weekday() == time.Sunday {
			v -= 20
		}
		v += 3 * rng.NormFloat64()
		if fault != nil {
			v = fault(i, v)
		}
		times, values = append(times, at), append(values, v)
	}
	return times, values
}

func scores(times []time.Time, values []float64) (out []float64) {
	var s usual.Series
	for i, v := range values {
		out = append(out, s.Observe(times[i], v))
	}
	return out
}

func TestScoresOfAPrefix(t *testing.T) {
	for seed := range uint64(3) {
		times, values := generated(seed, 10*day, func(i int, v float64) float64 {
			if i%1000 > 990 {
				return v * 3
			}
			return v
		})
		all := scores(times, values)
		for _, n := range []int{1, 17, 400, 1500, len(values) - 1} {
			if got := scores(times[:n], values[:n]); !reflect.DeepEqual(got, all[:n]) {
				t.Errorf("seed %d: the first %d scores change with what follows", seed, n)
			}
		}
	}
}

func TestSeesFaults(t *testing.T) {
	const n, at = 21, 17 * 288 // days, and the first value of the fault
	for name, fault := range map[string]func(i int, v float64) float64{
		"spike":            func(i int, v float64) float64 { return v + 80 },
		"outage":           func(i int, v float64) float64 { return 0 },
		"level":            func(i int, v float64) float64 { return v + 60 },
		"jitter":           func(i int, v float64) float64 { return v + 30*float64(i%2*2-1) },
		"stands still":     func(i int, v float64) float64 { return 60 },
		"a day in reverse": func(i int, v float64) float64 { return 200 - v },
	} {
		for seed := range uint64(5) {
			times, values := generated(seed, n*day, func(i int, v float64) float64 {
				if i < at || i >= at+day/2 {
					return v
				}
				return fault(i, v)
			})
			got := scores(times, values)
			worst, within := 0.0, 0.0
			for i := 7 * day; i < at+day/2; i++ {
				if i < at {
					worst = max(worst, got[i])
				} else {
					within = max(within, got[i])
				}
			}
			if within <= worst {
				t.Errorf("%s, seed %d: scored %.1f, the ten days before it up to %.1f", name, seed, within, worst)
			}
		}
	}
}

// An event is told once, not at each of its values.
func TestToldOnce(t *testing.T) {
	times, values := generated(1, 21*day, func(i int, v float64) float64 {
		if i >= 17*day {
			return v + 200
		}
		return v
	})
	told := 0
	for _, score := range scores(times, values)[17*day : 17*day+100] {
		if score > 10 {
			told++
		}
	}
	if told < 1 || told > 8 {
		t.Errorf("told %d times of 100, want 1 to 8", told)
	}
}

func TestQuietSeriesScoreNothing(t *testing.T) {
	flat := make([]float64, 2000)
	wave := make([]float64, 2000)
	times, _ := generated(1, 2000, nil)
	for i := range flat {
		flat[i], wave[i] = 45, []float64{20, 80}[i/10%2]
	}
	for name, values := range map[string][]float64{"flat": flat, "square wave": wave} {
		for i, score := range scores(times, values) {
			if score > 10 {
				t.Errorf("%s: value %d scores %.1f", name, i, score)
			}
		}
	}
}

func TestOddValues(t *testing.T) {
	times, values := generated(2, 1000, nil)
	want := scores(times, values)
	var s usual.Series
	for i, v := range values {
		for _, odd := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			if got := s.Observe(times[i], odd); got != 0 {
				t.Fatalf("%v scores %v", odd, got)
			}
		}
		if got := s.Observe(times[i], v); got != want[i] {
			t.Fatalf("value %d scores %v beside odd values, %v without", i, got, want[i])
		}
	}
	if score := s.Observe(times[999].Add(step), math.MaxFloat64); math.IsNaN(score) || math.IsInf(score, 0) {
		t.Errorf("the largest number scores %v", score)
	}
	if b, _ := s.Band(times[999].Add(2*step), 3); math.IsNaN(b.Lower) || math.IsNaN(b.Upper) {
		t.Errorf("the band after it is %v", b)
	}
}

func TestExcludedValuesTeachNothing(t *testing.T) {
	times, values := generated(3, 8*day, nil)
	var s, without usual.Series
	for i, v := range values {
		s.Observe(times[i], v)
		without.Observe(times[i], v)
	}
	end := times[len(times)-1]
	for i := range 100 {
		s.Judge(end.Add(time.Duration(i+1)*step), 900)
	}
	at := end.Add(101 * step)
	got, _ := s.Band(at, 3)
	want, _ := without.Band(at, 3)
	if got != want {
		t.Errorf("band %v, want %v", got, want)
	}
	if s.Judge(at, 2000) == 0 {
		t.Error("what is excluded is not judged")
	}
}

func TestBand(t *testing.T) {
	times, values := generated(4, 28*day, func(i int, v float64) float64 {
		if i/day == 16 { // a whole day of an incident
			return v + 300
		}
		return v
	})
	var s usual.Series
	if _, known := s.Band(times[0], 3); known {
		t.Error("a band of nothing")
	}
	outside, week := 0, 0
	for i, v := range values {
		if i >= 21*day {
			b, known := s.Band(times[i], 4)
			if !known || b.Lower > b.Usual || b.Usual > b.Upper {
				t.Fatalf("band %v of value %d, known %v", b, i, known)
			}
			if v < b.Lower || v > b.Upper {
				outside++
			}
			if math.Abs(b.Usual-v) > 20 {
				week++
			}
		}
		s.Observe(times[i], v)
	}
	if n := 7 * day; outside > n/100 || week > n/10 {
		t.Errorf("%d of %d usual values are outside, %d far from what is expected", outside, n, week)
	}
}

func TestSeason(t *testing.T) {
	var s usual.Season
	feed := func(from, to int, value func(at time.Time) float64) {
		for i := from * day; i < to*day; i++ {
			at := start.Add(time.Duration(i) * step)
			s.Observe(at, value(at), math.Inf(1))
		}
	}
	of := func(at time.Time) float64 {
		if at.Weekday() == time.Sunday {
			return 50
		}
		return float64(100 + at.Hour())
	}
	noon := func(d int) time.Time { return start.Add(time.Duration(d)*24*time.Hour + 12*time.Hour) }
	feed(0, 2, of)
	if _, _, known := s.Usual(noon(2)); known {
		t.Error("two days tell of a third")
	}
	feed(2, 4, of)
	if got, _, known := s.Usual(noon(4)); !known || math.Abs(got-112) > 1 {
		t.Errorf("noon after four days: %v, %v, want 112", got, known)
	}
	feed(4, 21, of)
	if got, _, _ := s.Usual(noon(27)); math.Abs(got-50) > 2 {
		t.Errorf("noon of a Sunday after three weeks: %v, want 50", got)
	}
	if got, _, _ := s.Usual(noon(28)); math.Abs(got-112) > 2 {
		t.Errorf("noon of a Monday after three weeks: %v, want 112", got)
	}
	// What two days were above is expected to go on.
	feed(21, 23, func(at time.Time) float64 { return of(at) + 30 })
	if got, _, _ := s.Usual(noon(23)); got < 130 || got > 145 {
		t.Errorf("noon after two days of 30 more: %v, want about 142", got)
	}
}

func TestSize(t *testing.T) {
	if size := reflect.TypeFor[usual.Series]().Size(); size > 16<<10 {
		t.Errorf("a series takes %d bytes", size)
	}
}

func BenchmarkObserve(b *testing.B) {
	times, values := generated(5, 30*day, nil)
	var s usual.Series
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		round := time.Duration(i/len(values)) * 28 * 24 * time.Hour
		s.Observe(times[i%len(times)].Add(round), values[i%len(values)])
	}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/point")
	b.ReportMetric(float64(reflect.TypeFor[usual.Series]().Size()), "B/series")
}

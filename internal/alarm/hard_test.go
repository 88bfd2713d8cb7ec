package alarm_test
import ("testing";"math/rand/v2";"time";"math")
func TestHard(t *testing.T) {
	const length = 3 * time.Hour
	tot := 0
	for seed := uint64(100); seed < 112; seed++ {
		rng := rand.New(rand.NewPCG(seed, 1))
		for _, tr := range simulate(t, newWorld(rng, thirty(rng), length, quiet), length) {
			tot++
			t.Logf("seed %d: %s after %s: %s", seed, tr.Alarm.ID, tr.Alarm.Since.Sub(simStart), tr.Alarm.Reason)
		}
	}
	t.Logf("total %d in %d hours", tot, 36)
	// bursts: users' sessions: rate x8 for 10 s each 3 minutes; cold start of 20 s; sigma 1.2
	tot = 0
	for seed := uint64(200); seed < 206; seed++ {
		rng := rand.New(rand.NewPCG(seed, 1))
		ops := thirty(rng)
		for _, o := range ops { o.sigma = 0.6+0.6*rng.Float64() }
		w := newWorld(rng, ops, length, func(o *operation, s float64) shape {
			x := quiet(o, s)
			if m := math.Mod(s+o.sigma*1000, 180); m < 10 { x.rate *= 4 }
			if s < 20 { x.slower *= 10 }
			return x
		})
		for _, tr := range simulate(t, w, length) {
			tot++
			t.Logf("seed %d: %s after %s: %s", seed, tr.Alarm.ID, tr.Alarm.Since.Sub(simStart), tr.Alarm.Reason)
		}
	}
	t.Logf("bursty total %d in %d hours", tot, 18)
}

package locate_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"triage/internal/locate"
)

// mesh is a system known by metrics alone: web calls cart and, without waiting, mail; cart calls db; web also sees cart by
// its address.
type mesh struct {
	r     *rand.Rand
	level map[string]float64 // seconds a request
}

func newMesh(seed uint64) *mesh {
	return &mesh{rand.New(rand.NewPCG(seed, 1)), map[string]float64{"web": 0.08, "cart": 0.02, "db": 0.01, "mail": 2, "cart.local": 0.021}}
}

// rows are n periods; excess adds seconds to each request of a node in a period.
func (m *mesh) rows(n int, excess func(node string, i int) float64) map[string][]locate.Amount {
	requests := map[string]float64{"web": 700, "cart": 700, "db": 1400, "mail": 10, "cart.local": 700}
	out := map[string][]locate.Amount{}
	for _, node := range []string{"web", "cart", "db", "mail", "cart.local"} { // in order, so that a seed gives one system
		for i := range n {
			c := requests[node]
			noise := 1 + 0.5*m.r.NormFloat64()/math.Sqrt(c)
			out[node] = append(out[node], locate.Amount{Requests: c, Sum: c * (m.level[node]*noise + excess(node, i))})
		}
	}
	return out
}

func (m *mesh) aggregates(excess func(node string, i int) float64) locate.Aggregates {
	calm := func(string, int) float64 { return 0 }
	return locate.Aggregates{
		Start: start, Step: 5 * time.Minute, Usual: []map[string][]locate.Amount{m.rows(100, calm)}, Now: m.rows(5, excess),
		Calls:  map[string][]string{"web": {"cart", "mail", "cart.local"}, "cart": {"db"}},
		Shadow: map[string]bool{"cart.local": true},
	}
}

var start = time.Unix(1_700_000_000, 0).UTC()

// The alarm rings in the second period.
var rings = start.Add(7 * time.Minute)

func TestSuspects(t *testing.T) {
	shape := []float64{0, 0.4, 1, 1, 0.1}
	for _, c := range []struct {
		name   string
		excess map[string]float64 // seconds a request while it lasts
		want   string
	}{
		{"the database is slow, and all above it", map[string]float64{"db": 0.01, "cart": 0.02, "cart.local": 0.02, "web": 0.02}, "db"},
		{"the cart itself is slow", map[string]float64{"cart": 0.02, "cart.local": 0.02, "web": 0.02}, "cart"},
		{"the web itself is slow", map[string]float64{"web": 0.06}, "web"},
		{"only the way to the cart is slow", map[string]float64{"cart.local": 0.03, "web": 0.03}, "cart.local"},
		{"mail is slow by chance as well", map[string]float64{"cart": 0.02, "cart.local": 0.02, "web": 0.02, "mail": 1}, "cart"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(5) {
				a := newMesh(seed).aggregates(func(node string, i int) float64 { return c.excess[node] * shape[i] })
				ranked, alarm := a.Suspects("web", rings)
				if len(ranked) == 0 || ranked[0].Place != c.want || ranked[0].Score < locate.Significant {
					t.Fatalf("seed %d: %+v, want %s first", seed, ranked, c.want)
				}
				if alarm.Excess <= 0 {
					t.Errorf("seed %d: the alarm has no excess: %+v", seed, alarm)
				}
			}
		})
	}
}

// Levels drift over months; only what changes just before the alarm counts.
func TestSuspectsDrift(t *testing.T) {
	m := newMesh(1)
	usual := m.rows(100, func(string, int) float64 { return 0 })
	m.level["db"], m.level["mail"] = 0.03, 4
	a := m.aggregates(func(node string, i int) float64 {
		if i > 0 && i < 4 && (node == "cart" || node == "web") {
			return 0.02
		}
		return 0
	})
	a.Usual = []map[string][]locate.Amount{usual}
	if ranked, _ := a.Suspects("web", rings); len(ranked) == 0 || ranked[0].Place != "cart" {
		t.Errorf("suspects: %+v, want cart first", ranked)
	}
}

func TestSuspectsSilence(t *testing.T) {
	loud := 0
	for seed := range uint64(100) {
		a := newMesh(seed).aggregates(func(string, int) float64 { return 0 })
		if ranked, _ := a.Suspects("web", rings); len(ranked) > 0 && ranked[0].Score >= locate.Significant {
			loud++
		}
	}
	if loud > 5 {
		t.Errorf("a suspect in %d of 100 normal windows", loud)
	}
}

func TestSuspectsFailures(t *testing.T) {
	a := newMesh(3).aggregates(func(string, int) float64 { return 0 })
	failures := func(share ...float64) (out []locate.Amount) {
		for _, s := range share {
			out = append(out, locate.Amount{Requests: 700, Sum: 700 * s})
		}
		return out
	}
	a.Failures = true
	a.Usual = nil // nothing is known of normal time
	a.Now = map[string][]locate.Amount{
		"web": failures(0, 0.01, 0.04, 0.03, 0), "cart": failures(0, 0.01, 0.04, 0.03, 0), "db": failures(0, 0, 0, 0, 0), "mail": failures(0.5, 0.4, 0.6, 0.5, 0.5),
	}
	if ranked, _ := a.Suspects("web", rings); len(ranked) == 0 || ranked[0].Place != "cart" {
		t.Errorf("suspects: %+v, want cart first", ranked)
	}
	if ranked, _ := a.Suspects("unheard of", rings); len(ranked) != 0 {
		t.Errorf("suspects of an unknown place: %+v, want none", ranked)
	}
}

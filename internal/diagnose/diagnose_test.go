package diagnose_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/diagnose"
	"triage/internal/diagnose/simtest"
	"triage/internal/model"
)

var update = flag.Bool("update", false, "rewrite testdata")

var start = time.Date(2026, 3, 2, 14, 2, 0, 0, time.UTC)

func deployment(service, version string, at time.Time) model.Change {
	return model.Change{ID: "c-" + service, At: at, Kind: "deployment", Service: service, Version: version, Summary: "release " + version}
}

var onset = start.Add(40 * time.Second)

type scenario struct {
	name  string
	fault simtest.Fault
	want  string // class entity mechanism
}

var scenarios = []scenario{
	{"greedy-user", simtest.Fault{GreedyUser: "u-13x", GreedyRate: 4, GreedyHold: 3 * time.Second}, "caller user:u-13x pool-exhaustion"},
	{"greedy-user-query", simtest.Fault{GreedyUser: "u-13x", GreedyRate: 4, GreedyHold: 3 * time.Second, GreedyQuery: true}, "caller user:u-13x pool-exhaustion"},
	{"greedy-user-innocent-change", simtest.Fault{GreedyUser: "u-13x", GreedyRate: 4, GreedyHold: 3 * time.Second,
		Changes: []model.Change{deployment("catalog", "7", onset.Add(-12*time.Second)), {ID: "f", At: onset.Add(-20 * time.Second), Kind: "flag", Service: "billing", Key: "new-rates"}}},
		"caller user:u-13x pool-exhaustion"},
	{"greedy-user-change-of-the-victim", simtest.Fault{GreedyUser: "u-13x", GreedyRate: 4, GreedyHold: 3 * time.Second,
		Changes: []model.Change{deployment("cart", "8", onset.Add(-15*time.Second))}}, "caller user:u-13x pool-exhaustion"},
	{"slow-user", simtest.Fault{SlowUser: "u-77x", UserLatency: 2 * time.Second}, "caller user:u-77x abnormal-requests"},
	{"slow-query", simtest.Fault{QueryFactor: 8}, "dependency database:cartdb slow-query"},
	{"slow-query-fills-pool", simtest.Fault{QueryFactor: 80}, "dependency database:cartdb slow-query"},
	{"slow-code", simtest.Fault{CartCode: 400 * time.Millisecond}, "self service:cart slow-code"},
	{"slow-code-innocent-change", simtest.Fault{CartCode: 400 * time.Millisecond, Changes: []model.Change{deployment("billing", "5", onset.Add(-10*time.Second))}}, "self service:cart slow-code"},
	{"failing-code", simtest.Fault{BillingErrors: 0.5}, "self service:billing failing-code"},
	{"network-delay", simtest.Fault{EdgeDelay: 250 * time.Millisecond}, "network edge:frontend->cart network-delay"},
	{"network-loss", simtest.Fault{EdgeLoss: 0.3}, "network edge:frontend->cart network-loss"},
	{"network-stall", simtest.Fault{EdgeLoss: 0.1, EdgeStall: 0.25}, "network edge:frontend->cart network-loss"},
	{"event-flood", simtest.Fault{FloodFactor: 100}, "event service:newsletter event-flood"},
	{"bad-deploy", simtest.Fault{BillingCode: 300 * time.Millisecond, Version: "2", Changes: []model.Change{deployment("billing", "2", onset.Add(-time.Second))}}, "change change:billing@2 bad-deployment"},
	{"bad-deploy-unrecorded", simtest.Fault{BillingErrors: 0.4, Version: "2"}, "change change:billing@2 bad-deployment"},
	{"config-change", simtest.Fault{PoolSize: 1, CartCode: 0, QueryFactor: 1.2, Changes: []model.Change{{ID: "k", At: onset.Add(-500 * time.Millisecond), Kind: "configuration", Service: "cart", Key: "cart.pool.size", From: "8", To: "1"}}},
		"change change:cart.pool.size configuration"},
	{"pool-too-small", simtest.Fault{PoolSize: 1}, "resource pool:cart pool-exhaustion"},
	{"cpu-hog", simtest.Fault{CartFactor: 12, CartCPU: 0.99}, "resource service:cart cpu-saturation"},
	{"memory-leak", simtest.Fault{CartFactor: 8, CartMemory: 0.2, CartCPU: 0.6}, "resource service:cart memory-pressure"},
	{"outage", simtest.Fault{BankDown: true}, "dependency remote:bank.example dependency-down"},
	{"slow-remote", simtest.Fault{BankDelay: time.Second}, "dependency remote:bank.example slow-dependency"},
	{"surge", simtest.Fault{Surge: 60}, "caller service:frontend traffic-surge"},
	{"nothing", simtest.Fault{}, "none"},
	{"nothing-with-change", simtest.Fault{Changes: []model.Change{deployment("cart", "9", onset.Add(-5*time.Second))}}, "none"},
}

// rate is the load: a pool of one connection is enough for the usual one.
func (s scenario) rate() float64 {
	if s.fault.PoolSize > 0 {
		return 90
	}
	return 15
}

func (s scenario) world(seed uint64) simtest.World {
	return simtest.World{Start: start, Normal: 40 * time.Second, Bad: 18 * time.Second, Rate: s.rate(), Seed: seed, Fault: s.fault}
}

func run(t testing.TB, w simtest.World) (model.Verdict, []byte) {
	t.Helper()
	st, inc := w.Run()
	d := diagnose.New(diagnose.Options{Events: st, Metrics: st, State: st})
	req := diagnose.Request{Incident: &inc}
	if len(inc.Alarms) == 0 {
		req = diagnose.Request{Service: "frontend", From: w.Onset(), To: w.At()}
	}
	v, answers, err := d.Diagnose(context.Background(), req, w.At())
	if err != nil {
		t.Fatal(err)
	}
	return v, answers
}

func answer(c *model.Cause) string {
	if c == nil {
		return "none"
	}
	return string(c.Class) + " " + string(c.Entity) + " " + string(c.Mechanism)
}

func TestScenarios(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			v, _ := run(t, s.world(1))
			if got := answer(v.Why); got != s.want {
				t.Errorf("verdict: %s, want %s\n%s", got, s.want, v.Text["en"])
			}
			golden(t, s.name+".en.txt", diagnose.Text(v, "en"))
			golden(t, s.name+".ko.txt", diagnose.Text(v, "ko"))
		})
	}
}

// TestSeeds holds the share of right verdicts over other worlds with the same faults: another seed, more history, a
// later verdict.
func TestSeeds(t *testing.T) {
	right, all, wrong := 0, 0, 0
	for _, s := range scenarios {
		for seed := uint64(2); seed < 8; seed++ {
			w := s.world(seed)
			if s.rate() == 15 && seed%2 == 0 && s.fault.Surge == 0 {
				w.Normal, w.Bad, w.Start = 3*time.Minute, 40*time.Second, start.Add(-140*time.Second)
			}
			v, _ := run(t, w)
			all++
			got := answer(v.Why)
			if got == s.want {
				right++
				continue
			}
			if v.Why != nil {
				wrong++
			}
			t.Logf("%s seed %d: %s, want %s: %v", s.name, seed, got, s.want, v.Candidates)
		}
	}
	t.Logf("%d of %d right, %d wrong", right, all, wrong)
	if right*100 < all*95 {
		t.Errorf("%d of %d right", right, all)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

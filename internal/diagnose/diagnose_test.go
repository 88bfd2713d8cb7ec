package diagnose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/diagnose"
	"triage/internal/diagnose/simtest"
	"triage/internal/explain"
	"triage/internal/model"
	"triage/internal/store"
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
	{"greedy-user-known", simtest.Fault{GreedyUser: "u-13", GreedyRate: 4, GreedyHold: 3 * time.Second}, "caller user:u-13 pool-exhaustion"},
	{"greedy-user-long-holds", simtest.Fault{GreedyUser: "u-13", GreedyRate: 1.5, GreedyHold: 8 * time.Second}, "caller user:u-13 pool-exhaustion"},
	{"greedy-user-brief-holds", simtest.Fault{GreedyUser: "u-13", GreedyRate: 25, GreedyHold: 350 * time.Millisecond}, "caller user:u-13 pool-exhaustion"},
	{"greedy-user-innocent-change", simtest.Fault{GreedyUser: "u-13x", GreedyRate: 4, GreedyHold: 3 * time.Second,
		Changes: []model.Change{deployment("catalog", "7", onset.Add(-12*time.Second)), {ID: "f", At: onset.Add(-20 * time.Second), Kind: "flag", Service: "billing", Key: "new-rates"}}},
		"caller user:u-13x pool-exhaustion"},
	{"greedy-user-change-of-the-victim", simtest.Fault{GreedyUser: "u-13x", GreedyRate: 4, GreedyHold: 3 * time.Second,
		Changes: []model.Change{deployment("cart", "8", onset.Add(-15*time.Second))}}, "caller user:u-13x pool-exhaustion"},
	{"slow-user", simtest.Fault{SlowUser: "u-77x", UserLatency: 2 * time.Second}, "caller user:u-77x abnormal-requests"},
	{"hot-key", simtest.Fault{HotItem: "/browse/7x", HotRate: 45}, "caller key:/browse/7x hot-key"},
	{"slow-query", simtest.Fault{QueryFactor: 8}, "dependency database:cartdb slow-query"},
	{"slow-query-fills-pool", simtest.Fault{QueryFactor: 80}, "dependency database:cartdb slow-query"},
	{"lock-wait", simtest.Fault{LockHold: 600 * time.Millisecond}, "dependency database:cartdb lock-wait"},
	{"slow-code", simtest.Fault{CartCode: 400 * time.Millisecond}, "self service:cart slow-code"},
	{"slow-code-innocent-change", simtest.Fault{CartCode: 400 * time.Millisecond, Changes: []model.Change{deployment("billing", "5", onset.Add(-10*time.Second))}}, "self service:cart slow-code"},
	{"failing-code", simtest.Fault{BillingErrors: 0.5}, "self service:billing failing-code"},
	{"network-delay", simtest.Fault{EdgeDelay: 250 * time.Millisecond}, "network edge:frontend->cart network-delay"},
	{"network-loss", simtest.Fault{EdgeLoss: 0.3}, "network edge:frontend->cart network-loss"},
	{"network-stall", simtest.Fault{EdgeLoss: 0.1, EdgeStall: 0.25}, "network edge:frontend->cart network-loss"},
	{"disk-full", simtest.Fault{BillingErrors: 1, BillingSays: "write /var/ledger/7.log: no space left on device"}, "resource service:billing disk-full"},
	{"dns-failure", simtest.Fault{EdgeLoss: 0.9, EdgeSays: "dial tcp: lookup cart.internal on 10.0.0.2:53: no such host"}, "network edge:frontend->cart dns-failure"},
	{"dns-failure-outside", simtest.Fault{BankDown: true, BankSays: "getaddrinfo EAI_AGAIN bank.example"}, "network remote:bank.example dns-failure"},
	{"retry-storm", simtest.Fault{BankRetries: 40}, "caller service:billing retry-storm"},
	{"cache-stampede", simtest.Fault{CacheLost: true}, "self service:catalog cache-stampede"},
	{"slow-consumer", simtest.Fault{MessageWork: 900 * time.Millisecond}, "self service:cart slow-consumer"},
	{"event-flood", simtest.Fault{FloodFactor: 100}, "event service:newsletter event-flood"},
	{"bad-deploy", simtest.Fault{BillingCode: 300 * time.Millisecond, Version: "2", Changes: []model.Change{deployment("billing", "2", onset.Add(-time.Second))}}, "change change:billing@2 bad-deployment"},
	{"bad-deploy-unrecorded", simtest.Fault{BillingErrors: 0.4, Version: "2"}, "change change:billing@2 bad-deployment"},
	{"config-change", simtest.Fault{PoolSize: 1, CartCode: 0, QueryFactor: 1.2, Changes: []model.Change{{ID: "k", At: onset.Add(-500 * time.Millisecond), Kind: "configuration", Service: "cart", Key: "cart.pool.size", From: "8", To: "1"}}},
		"change change:cart.pool.size configuration"},
	{"pool-too-small", simtest.Fault{PoolSize: 1}, "resource pool:cart pool-exhaustion"},
	{"cpu-hog", simtest.Fault{CartFactor: 12, CartCPU: 0.99}, "resource service:cart cpu-saturation"},
	{"memory-leak", simtest.Fault{CartFactor: 8, CartMemory: 0.2, CartCPU: 0.6}, "resource service:cart memory-pressure"},
	{"outage-with-retries", simtest.Fault{BankRetries: 3}, "dependency remote:bank.example dependency-down"},
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
	if testing.Short() {
		t.Skip("many worlds")
	}
	right, all, wrong := 0, 0, 0
	for _, s := range scenarios {
		for seed := uint64(2); seed < 4; seed++ {
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

// TestTelemetry runs faults under telemetry that is late, skewed or partly missing.
func TestTelemetry(t *testing.T) {
	suffering := map[string]func(*simtest.World){
		"late":         func(w *simtest.World) { w.Delay = 5 * time.Second },
		"skewed":       func(w *simtest.World) { w.Skew = 700 * time.Millisecond },
		"behind":       func(w *simtest.World) { w.Skew = -3 * time.Second },
		"no series":    func(w *simtest.World) { w.NoSeries = true },
		"no logs":      func(w *simtest.World) { w.NoLogs = true },
		"inner alarms": func(w *simtest.World) { w.AlarmsOf = "cart" },
		"earlier trouble": func(w *simtest.World) {
			w.Normal, w.Earlier = 4*time.Minute, true
			w.Start = onset.Add(-w.Normal)
		},
		"early": func(w *simtest.World) { w.Bad = 12 * time.Second },
		"long":  func(w *simtest.World) { w.Bad = 100 * time.Second },
	}
	for _, s := range scenarios {
		switch s.name {
		case "greedy-user", "greedy-user-query", "slow-code", "network-delay", "slow-query", "event-flood":
		default:
			continue
		}
		for name, suffer := range suffering {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				w := s.world(11)
				suffer(&w)
				v, _ := run(t, w)
				if got := answer(v.Why); got != s.want {
					t.Errorf("verdict: %s, want %s\n%s", got, s.want, v.Text["en"])
				}
			})
		}
	}
}

// TestUntraced runs faults in a service that sends no spans: its callers see how long it takes, and its metrics and log
// lines tell that it is no stranger.
func TestUntraced(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault simtest.Fault
		only  func(*simtest.World)
		want  string
	}{
		{"slow, with metrics only", simtest.Fault{BillingCode: 300 * time.Millisecond}, func(w *simtest.World) { w.NoLogs = true }, "self service:billing slow-code"},
		{"failing, with metrics only", simtest.Fault{BillingErrors: 0.5}, func(w *simtest.World) { w.NoLogs = true }, "self service:billing failing-code"},
		{"failing, with logs only", simtest.Fault{BillingErrors: 0.5}, func(w *simtest.World) { w.NoSeries = true }, "self service:billing failing-code"},
		{"slow, and nothing tells of it", simtest.Fault{BillingCode: 300 * time.Millisecond}, func(w *simtest.World) { w.NoLogs, w.NoSeries = true, true },
			"dependency remote:billing.internal slow-dependency"},
		{"delayed on the way to it", simtest.Fault{BillingDelay: 300 * time.Millisecond}, func(w *simtest.World) { w.NoLogs = true }, "network edge:frontend->billing network-delay"},
		{"slow behind an address", simtest.Fault{BillingCode: 300 * time.Millisecond}, func(w *simtest.World) { w.NoLogs, w.ByAddress = true, true }, "self service:billing slow-code"},
		{"slow behind an address, and nothing tells of it", simtest.Fault{BillingCode: 300 * time.Millisecond}, func(w *simtest.World) { w.NoLogs, w.NoSeries, w.ByAddress = true, true, true },
			"dependency remote:10.0.0.7 slow-dependency"},
		{"delayed on the way to an address", simtest.Fault{BillingDelay: 300 * time.Millisecond}, func(w *simtest.World) { w.NoLogs, w.ByAddress = true, true },
			"network edge:frontend->billing network-delay"},
		{"what it calls is slow", simtest.Fault{BankDelay: 300 * time.Millisecond}, func(w *simtest.World) { w.NoLogs = true }, "dependency remote:bank.example slow-dependency"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := scenario{fault: c.fault}.world(5)
			w.Untraced = "billing"
			c.only(&w)
			v, _ := run(t, w)
			if got := answer(v.Why); got != c.want {
				t.Errorf("verdict: %s, want %s\n%s", got, c.want, v.Text["en"])
			}
		})
	}
}

// TestAgain holds that a verdict is the same each time, and that it can be judged again from the answers stored with it.
func TestAgain(t *testing.T) {
	for _, s := range scenarios {
		v, answers := run(t, s.world(1))
		w, again := run(t, s.world(1))
		if d := cmp.Diff(v, w); d != "" {
			t.Fatalf("%s: verdicts differ:\n%s", s.name, d)
		}
		if !bytes.Equal(answers, again) {
			t.Errorf("%s: answers differ", s.name)
		}
		var kept struct{ Facts explain.Facts }
		if err := json.Unmarshal(answers, &kept); err != nil {
			t.Fatal(err)
		}
		cases := explain.Judge(&kept.Facts)
		if v.Why != nil && (len(cases) == 0 || cases[0].Entity != v.Why.Entity || cases[0].Mechanism != v.Why.Mechanism) {
			t.Errorf("%s: judged again: %+v, want %+v", s.name, cases, v.Why)
		}
		for _, e := range v.Evidence {
			if e.Link == "" || e.Claim == "" || e.Kind == "" {
				t.Errorf("%s: incomplete evidence %+v", s.name, e)
			}
		}
	}
}

// TestLostSpans holds that a verdict finds its place although nearly half of the spans that are not a trace's first are lost.
func TestLostSpans(t *testing.T) {
	for _, s := range scenarios {
		if !slices.Contains([]string{"network-delay", "slow-code", "slow-remote", "failing-code"}, s.name) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			w := s.world(3)
			st, inc := w.Run()
			lose := rand.New(rand.NewPCG(3, 0))
			st.Spans = slices.DeleteFunc(st.Spans, func(s model.Span) bool { return !s.ParentID.IsZero() && lose.Float64() < 0.45 })
			st.Index()
			v, _, err := diagnose.New(diagnose.Options{Events: st, Metrics: st, State: st}).Diagnose(context.Background(), diagnose.Request{Incident: &inc}, w.At())
			if err != nil {
				t.Fatal(err)
			}
			if got := answer(v.Why); got != s.want {
				t.Errorf("verdict: %s, want %s\n%s", got, s.want, v.Text["en"])
			}
		})
	}
}

// TestAlarmStandsBeforeNumbers holds that the verdict is about what is alarmed, though more requests of another operation of
// that service became slower, too little for an alarm.
func TestAlarmStandsBeforeNumbers(t *testing.T) {
	w := scenario{fault: simtest.Fault{BillingErrors: 0.2}}.world(1)
	st, inc := w.Run()
	for i := range st.Spans {
		if s := &st.Spans[i]; s.Name == "GET /browse" && s.Start >= w.Onset().UnixNano() {
			s.Duration *= 3
		}
	}
	v, _, err := diagnose.New(diagnose.Options{Events: st, Metrics: st, State: st}).Diagnose(context.Background(), diagnose.Request{Incident: &inc}, w.At())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := answer(v.Why), "self service:billing failing-code"; got != want || v.What.Operation == "GET /browse" {
		t.Errorf("verdict about %q: %s, want %s", v.What.Operation, got, want)
	}
}

// lame answers what a verdict cannot do without, and fails at everything else.
type lame struct{ *simtest.Store }

func (lame) TemplateCounts(context.Context, string, store.Window, store.Window, int) ([]store.TemplateCount, error) {
	return nil, errors.New("block is corrupt")
}

func (lame) AttributeDifference(context.Context, store.DifferenceQuery) (store.Difference, error) {
	return store.Difference{}, errors.New("block is corrupt")
}

func (lame) Values(context.Context, store.Selection, string, int) ([]store.ValueStat, error) {
	return nil, errors.New("block is corrupt")
}

func (lame) RPCServers(context.Context, string, string, store.Window) ([]string, error) {
	return nil, errors.New("block is corrupt")
}

func (lame) ServiceSeries(context.Context, string, string, store.Window, time.Duration, int) ([]store.Line, error) {
	return nil, errors.New("block is corrupt")
}

func TestUnansweredQuestions(t *testing.T) {
	w := scenario{fault: simtest.Fault{CartCode: 400 * time.Millisecond}}.world(1)
	st, inc := w.Run()
	d := diagnose.New(diagnose.Options{Events: lame{st}, Metrics: lame{st}})
	v, _, err := d.Diagnose(context.Background(), diagnose.Request{Incident: &inc}, w.At())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := answer(v.Why), "self service:cart slow-code"; got != want {
		t.Errorf("verdict: %s, want %s", got, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := diagnose.New(diagnose.Options{Events: canceled{st}}).Diagnose(ctx, diagnose.Request{Incident: &inc}, w.At()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}

type canceled struct{ *simtest.Store }

func (canceled) Timeline(ctx context.Context, _ store.Selection, _ time.Duration, _ int) ([]store.TimelineStat, error) {
	return nil, ctx.Err()
}

func TestNoData(t *testing.T) {
	st := &simtest.Store{}
	st.Index()
	d := diagnose.New(diagnose.Options{Events: st})
	for name, req := range map[string]diagnose.Request{
		"nothing asked": {},
		"a service":     {Service: "cart"},
		"an incident":   {Incident: &model.Incident{ID: "INC-9", Onset: onset, Alarms: []model.Alarm{{ID: "a", Service: "cart", Signal: model.SignalDuration, State: model.StateAlarm}}}},
		"an empty one":  {Incident: &model.Incident{ID: "INC-9"}},
	} {
		v, _, err := d.Diagnose(context.Background(), req, onset.Add(20*time.Second))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if v.Why != nil || v.Text["en"] == "" || v.Text["ko"] == "" {
			t.Errorf("%s: got %+v", name, v)
		}
	}
}

func TestMarkdown(t *testing.T) {
	v, _ := run(t, scenarios[0].world(1))
	golden(t, "markdown.en.md", diagnose.Markdown(v, "en"))
	golden(t, "markdown.ko.md", diagnose.Markdown(v, "ko"))
}

func TestRevision(t *testing.T) {
	w := scenarios[0].world(1)
	st, inc := w.Run()
	d := diagnose.New(diagnose.Options{Events: st, Metrics: st, State: st})
	v, _, err := d.Diagnose(context.Background(), diagnose.Request{Incident: &inc}, w.At())
	if err != nil {
		t.Fatal(err)
	}
	inc.Verdict = &v
	again, _, err := d.Diagnose(context.Background(), diagnose.Request{Incident: &inc}, w.At())
	if err != nil {
		t.Fatal(err)
	}
	if v.Revision != 1 || again.Revision != 2 || v.ID != again.ID {
		t.Errorf("revisions %s %d and %s %d", v.ID, v.Revision, again.ID, again.Revision)
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

package explain_test

import (
	"testing"
	"time"

	"triage/internal/explain"
	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// sound are facts of a request to cart in which nothing is wrong but that it is slow; each test adds what is.
func sound() explain.Facts {
	return explain.Facts{Onset: onset, Bad: bad, Normal: normal, Service: "cart", Operation: "Reserve", Kind: model.SpanServer, Slow: 1, BadShare: 0.6, Sampled: 20,
		OpsNow: ops2("cart", "Reserve", model.SpanServer, rate(20, bad), 0.2), OpsUsual: ops2("cart", "Reserve", model.SpanServer, rate(20, normal), 0.02)}
}

func ops2(service, operation string, kind model.SpanKind, n int64, mean float64) []store.OperationStat {
	return []store.OperationStat{{Service: service, Operation: operation, Kind: kind, Count: n, Mean: mean, P50: mean}}
}

// rate is how many come in a window at so many a second.
func rate(perSecond float64, w store.Window) int64 { return int64(perSecond * w.Len().Seconds()) }

// accused is how surely a mechanism is.
func accused(f *explain.Facts, m model.Mechanism) float64 {
	for _, c := range explain.Judge(f) {
		if c.Mechanism == m {
			return c.Confidence
		}
	}
	return 0
}

// TestRivals holds for each of some mechanisms what accuses it, and that what looks alike does not.
func TestRivals(t *testing.T) {
	calls := func(times, errors float64) explain.Facts {
		f := sound()
		edge := store.EdgeStat{From: "cart", To: "bank.example", Kind: store.EdgeRemote, Count: rate(20, normal), ClientMean: 0.02}
		f.EdgesUsual = []store.EdgeStat{edge}
		edge.Count = rate(20*times, bad)
		edge.Errors = int64(errors * float64(edge.Count))
		f.EdgesNow = []store.EdgeStat{edge}
		f.Where = []model.Where{{Entity: "remote:bank.example", ExclusiveS: 0.2, UsualS: 0.02}}
		return f
	}
	statement := func(now, usual float64) explain.Facts {
		f := sound()
		f.Statements = map[string][]explain.Statement{"cart": {{Text: "SELECT n", Operation: "Reserve",
			Now: explain.Calls{Count: rate(now*20, bad), Mean: 0.18}, Usual: explain.Calls{Count: rate(usual*20, normal), Mean: 0.17}}}}
		f.Where = []model.Where{{Entity: "database:cartdb", ExclusiveS: 0.18, UsualS: 0.01}, {Entity: "service:cart", ExclusiveS: 0.01, UsualS: 0.01}}
		f.EdgesNow = []store.EdgeStat{{From: "cart", To: "cartdb", Kind: store.EdgeDatabase, Count: rate(now*20, bad), ClientMean: 0.18}}
		f.EdgesUsual = []store.EdgeStat{{From: "cart", To: "cartdb", Kind: store.EdgeDatabase, Count: rate(usual*20, normal), ClientMean: 0.17}}
		return f
	}
	key := func(share, usual, seconds, others float64) explain.Facts {
		f := sound()
		f.Where = []model.Where{{Entity: "service:cart", ExclusiveS: 0.2, UsualS: 0.02}}
		all, before := int64(1000), int64(1000)
		a, b := int64(share*1000), int64(usual*1000)
		f.Keys = explain.Shares(store.Difference{A: all, B: before, SecondsA: float64(a)*seconds + float64(all-a)*others, Values: []store.DifferenceValue{
			{Key: "url.path", Value: "/x", A: a, B: b, SecondsA: float64(a) * seconds}}})
		return f
	}
	messages := func(sent, work, wait float64) explain.Facts {
		f := sound()
		f.Operation, f.Kind = "process x", model.SpanConsumer
		f.OpsNow = ops2("cart", "process x", model.SpanConsumer, rate(5*sent, bad), work)
		f.OpsUsual = ops2("cart", "process x", model.SpanConsumer, rate(5, normal), 0.02)
		f.EdgesNow = []store.EdgeStat{{From: "news", To: "cart", Kind: store.EdgeMessage, Count: rate(5*sent, bad), WaitMean: wait, WaitP50: wait}}
		f.EdgesUsual = []store.EdgeStat{{From: "news", To: "cart", Kind: store.EdgeMessage, Count: rate(5, normal), WaitMean: 0.005, WaitP50: 0.005}}
		f.Where = []model.Where{{Entity: "service:cart", ExclusiveS: work, UsualS: 0.02}, {Entity: "queue:x", ExclusiveS: wait, UsualS: 0.005}}
		return f
	}
	crowd := key(0.8, 0.01, 0.25, 0.02)
	crowd.Attributes = []explain.ValueShift{{Key: "user.id", Value: "u-1", Bad: 1, Rest: 0.02, Count: 300, Score: 0.98}}
	released := key(0.8, 0.01, 0.25, 0.02) // what is weighed against each other must not go round in circles
	released.OpsNow[0].Count *= 4
	released.Changes = explain.Changes([]model.Change{{ID: "c", At: onset.Add(-20 * time.Minute), Kind: "deployment", Service: "cart", Version: "2"}}, nil, onset, 0)
	onDisk := sound()
	onDisk.Slow, onDisk.Failing, onDisk.Failed = 0, 1, 20
	onDisk.Origins = []locate.OriginCount{{Entity: "database:cartdb", Count: 20, Message: `could not extend file "base/16": No space left on device`}}
	for _, c := range []struct {
		name  string
		facts explain.Facts
		of    model.Mechanism
		want  bool
	}{
		{"a hundred failing calls a request", calls(100, 1), model.RetryStorm, true},
		{"three tries of an outage", calls(3, 1), model.RetryStorm, false},
		{"a hundred calls that succeed", calls(100, 0), model.RetryStorm, false},
		{"an outage that requests go on without", calls(1, 0.9), model.DependencyDown, true},
		{"a host of which some calls fail", calls(1, 0.2), model.DependencyDown, false},
		{"a host that answers late", calls(1, 0.2), model.SlowDependency, true},
		{"a host that does not answer", calls(1, 0.9), model.SlowDependency, false},
		{"a cache that is lost", statement(1, 0.02), model.CacheStampede, true},
		{"a statement that nobody sent before", statement(1, 0), model.CacheStampede, false},
		{"a statement of each request, as ever", statement(1, 1), model.CacheStampede, false},
		{"what everybody wants", key(0.8, 0.01, 0.25, 0.02), model.HotKey, true},
		{"what everybody wants, long after a release", released, model.HotKey, true},
		{"what everybody always wanted", key(0.8, 0.8, 0.25, 0.02), model.HotKey, false},
		{"a favourite among what is all slow", key(0.8, 0.01, 0.2, 0.2), model.HotKey, false},
		{"what one user wants", crowd, model.HotKey, false},
		{"a consumer that falls behind", messages(1, 0.5, 4), model.SlowConsumer, true},
		{"a consumer that is slow and keeps up", messages(1, 0.1, 0.006), model.SlowConsumer, false},
		{"a consumer that is sent too much", messages(50, 0.06, 4), model.SlowConsumer, false},
		{"a database without room", onDisk, model.DiskFull, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := accused(&c.facts, c.of); (got >= 0.5) != c.want {
				t.Errorf("%s is accused with %.2f, want it to be told: %v", c.of, got, c.want)
			}
		})
	}
}

// TestBusyOrStarved holds code that works too much and code that waits for a processor apart: both use it up.
func TestBusyOrStarved(t *testing.T) {
	for _, c := range []struct {
		name  string
		waits float64
		where []model.Where
		want  model.Mechanism
	}{
		{"works", 0.0008, []model.Where{{Entity: "service:cart", ExclusiveS: 0.26, UsualS: 0.005}, {Entity: "edge:web->cart", ExclusiveS: 0.02, UsualS: 0.001},
			{Entity: "edge:cart->mail", ExclusiveS: 0.07, UsualS: 0.001}}, model.SlowCode},
		{"waits", 0.03, []model.Where{{Entity: "service:cart", ExclusiveS: 0.06, UsualS: 0.005}, {Entity: "edge:web->cart", ExclusiveS: 0.08, UsualS: 0.001},
			{Entity: "edge:cart->mail", ExclusiveS: 0.1, UsualS: 0.001}}, model.CPUSaturation},
	} {
		f := sound()
		f.Where = c.where
		f.Resources = []explain.Resource{{Kind: explain.CPU, Service: "cart", Level: 0.75, LevelUsual: 0.01, Strength: 0.7, Signs: []explain.SeriesSign{
			{Role: "used", Metric: "process_cpu_time_seconds_total", Now: 0.75, Usual: 0.01, Limit: 1, Strength: 0.7},
			{Role: "starved", Metric: "go_schedule_duration_seconds:mean", Now: c.waits, Usual: 40e-6, Strength: 0.7}}}}
		if got := explain.Judge(&f); len(got) == 0 || got[0].Mechanism != c.want {
			t.Errorf("who %s is judged %+v, want %s", c.name, got, c.want)
		}
	}
}

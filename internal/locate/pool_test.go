package locate_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"triage/internal/locate"
	"triage/internal/model"
)

// TestPoolSeesThroughLoss loses half of the spans of a chain whose network became slow. Trace by trace, the time falls to
// whoever called; by the means it is where it belongs.
func TestPoolSeesThroughLoss(t *testing.T) {
	usual := chain(1, 60, 1)
	slow := chain(2, 60, 270)
	peers := locate.Learn(usual, slow)
	sum := locate.Sum(locate.Profiles(slow, peers), locate.Profiles(usual, peers))
	share := func(rows []model.Where, e model.Entity) float64 {
		for _, r := range rows {
			if r.Entity == e {
				return r.Share
			}
		}
		return 0
	}
	const network = "edge:cart->stock"
	if got := share(sum, network); got > 0.6 {
		t.Fatalf("trace by trace the network has %.2f of the time: nothing to see through", got)
	}
	pooled := locate.Pool(sum, slow, usual, peers, "shop")
	if got := share(pooled, network); got < 0.85 {
		t.Errorf("the network has %.2f of the time, want nearly all of it: %+v", got, pooled)
	}
	for _, r := range pooled {
		if r.Entity == network && math.Abs(r.ExclusiveS-0.27) > 0.1 {
			t.Errorf("the network takes %.3f s, want about 0.27 s", r.ExclusiveS)
		}
	}
}

// TestPoolLeavesCirclesAlone holds that a table that cannot be corrected stays.
func TestPoolLeavesCirclesAlone(t *testing.T) {
	traces := chain(1, 10, 1)
	for i := range traces {
		for k := range traces[i].Spans {
			if s := &traces[i].Spans[k]; s.Service() == "stock" {
				s.Resource = resource("shop")
			}
		}
	}
	peers := locate.Learn(traces)
	sum := locate.Sum(locate.Profiles(traces, peers), locate.Profiles(traces, peers))
	got := locate.Pool(sum, traces, traces, peers, "shop")
	if len(got) != len(sum) || got[0] != sum[0] {
		t.Errorf("got %+v, want %+v", got, sum)
	}
}

// chain is traces of a request from shop over cart to stock, half of whose spans but the first are lost. Wire is how long
// messages between the last two are on their way, in milliseconds.
func chain(seed uint64, n int, wire int64) []locate.Trace {
	rng := rand.New(rand.NewPCG(seed, 0))
	out := make([]locate.Trace, n)
	for i := range out {
		id := model.TraceID{byte(seed), byte(i), 1}
		var spans []model.Span
		add := func(number, parent uint64, service string, kind model.SpanKind, start, took int64, attrs ...string) {
			if number > 1 && rng.IntN(2) == 0 {
				return
			}
			s := span(number, parent, service, kind, int64(i)*1000+start, took, attrs...)
			s.TraceID = id
			spans = append(spans, s)
		}
		add(1, 0, "shop", model.SpanServer, 0, wire+14)
		add(2, 1, "shop", model.SpanClient, 2, wire+10, "server.address", "cart")
		add(3, 2, "cart", model.SpanServer, 3, wire+8)
		add(4, 3, "cart", model.SpanClient, 5, wire+5, "server.address", "stock")
		add(5, 4, "stock", model.SpanServer, 5+wire/2, 4)
		out[i] = locate.Trace{Spans: spans, Entry: spans[0].SpanID}
	}
	return out
}

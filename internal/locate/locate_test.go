package locate_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

var resources = map[string]*model.Resource{}

func resource(service string) *model.Resource {
	if resources[service] == nil {
		resources[service] = &model.Resource{Service: service, Attrs: model.Attrs{{Key: "host.name", Value: model.String("host-" + service)}}}
	}
	return resources[service]
}

// span makes a span; times are milliseconds.
func span(id, parent uint64, service string, kind model.SpanKind, start, duration int64, attrs ...string) model.Span {
	s := model.Span{TraceID: model.TraceIDFrom(1, 1), SpanID: model.SpanIDFrom(id), ParentID: model.SpanIDFrom(parent),
		Name: fmt.Sprintf("%s-%d", service, id), Kind: kind, Start: start * 1e6, Duration: duration * 1e6, Resource: resource(service)}
	for i := 0; i+1 < len(attrs); i += 2 {
		s.Attrs = append(s.Attrs, model.Attr{Key: attrs[i], Value: model.String(attrs[i+1])})
	}
	return s
}

func failed(s model.Span, message string) model.Span {
	s.Status, s.StatusMessage = model.StatusError, message
	return s
}

const (
	server   = model.SpanServer
	client   = model.SpanClient
	internal = model.SpanInternal
	producer = model.SpanProducer
	consumer = model.SpanConsumer
)

func TestPath(t *testing.T) {
	for _, c := range []struct {
		name  string
		spans []model.Span
		want  map[uint64]int64 // ms by span
	}{
		{"nothing", nil, map[uint64]int64{}},
		{"one", []model.Span{span(1, 0, "a", server, 0, 10)}, map[uint64]int64{1: 10}},
		{"in turn", []model.Span{span(1, 0, "a", server, 0, 100), span(2, 1, "a", internal, 10, 20), span(3, 1, "a", internal, 50, 30)},
			map[uint64]int64{1: 50, 2: 20, 3: 30}},
		{"side by side", []model.Span{span(1, 0, "a", server, 0, 100), span(2, 1, "a", internal, 10, 40), span(3, 1, "a", internal, 20, 60)},
			map[uint64]int64{1: 30, 2: 10, 3: 60}},
		{"call", []model.Span{span(1, 0, "a", server, 0, 100), span(2, 1, "a", client, 10, 80), span(3, 2, "b", server, 15, 60)},
			map[uint64]int64{1: 20, 2: 20, 3: 60}},
		{"the callee's clock is an hour behind", []model.Span{span(1, 0, "a", server, 3_600_000, 100), span(2, 1, "a", client, 3_600_010, 80), span(3, 2, "b", server, 15, 60)},
			map[uint64]int64{1: 20, 2: 20, 3: 60}},
		{"the callee outlives its caller", []model.Span{span(1, 0, "a", server, 0, 100), span(2, 1, "a", client, 10, 80), span(3, 2, "b", server, 15, 5000)},
			map[uint64]int64{1: 20, 2: 5, 3: 75}},
		{"nobody waits for a consumer", []model.Span{span(1, 0, "a", server, 0, 50), span(2, 1, "a", producer, 10, 5), span(3, 2, "b", consumer, 12, 1000)},
			map[uint64]int64{1: 45, 2: 5}},
		{"work after the answer", []model.Span{span(1, 0, "a", server, 0, 50), span(2, 1, "a", internal, 60, 500)}, map[uint64]int64{1: 50}},
		{"lost parent", []model.Span{span(1, 0, "a", server, 0, 50), span(3, 9, "b", server, 5, 5)}, map[uint64]int64{1: 50}},
		{"no root", []model.Span{span(2, 9, "b", server, 0, 50), span(3, 9, "b", server, 5, 70)}, map[uint64]int64{3: 70}},
		{"own parent", []model.Span{span(1, 1, "a", server, 0, 50)}, map[uint64]int64{1: 50}},
		{"cycle", []model.Span{span(1, 3, "a", server, 0, 50), span(2, 1, "a", internal, 10, 10), span(3, 2, "a", internal, 12, 5)},
			map[uint64]int64{1: 40, 2: 5, 3: 5}},
		{"sent twice", []model.Span{span(1, 0, "a", server, 0, 50), span(2, 1, "a", internal, 10, 10), span(2, 1, "a", internal, 10, 10)},
			map[uint64]int64{1: 40, 2: 10}},
		{"shared ID", []model.Span{span(1, 0, "a", server, 0, 100), span(2, 1, "a", client, 10, 80), span(2, 1, "b", server, 15, 60), span(3, 2, "b", client, 20, 10)},
			map[uint64]int64{1: 20, 2: 70, 3: 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[uint64]int64{}
			for _, s := range locate.Path(c.spans) {
				got[s.SpanID.Uint64()] += s.ExclusiveNS / 1e6
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// random makes a trace as bad senders would: lost parents, cycles, double and zero IDs, skew, absurd times.
func random(r *rand.Rand, n int) []model.Span {
	kinds := []model.SpanKind{0, internal, server, client, producer, consumer}
	spans := make([]model.Span, 0, n)
	for i := range n {
		s := span(uint64(r.IntN(n)+i%2), uint64(r.IntN(n+2)), string(rune('a'+r.IntN(4))), kinds[r.IntN(len(kinds))], int64(r.IntN(1000)), int64(r.IntN(500)))
		switch r.IntN(20) {
		case 0:
			s.ParentID = s.SpanID
		case 1:
			s.ParentID = model.SpanID{}
		case 2:
			s.Duration = math.MaxInt64 - s.Start - int64(r.IntN(3))
		case 3:
			s.Start = -s.Start * 1e12
		case 4:
			s.Attrs = model.Attrs{{Key: "db.system", Value: model.String("x")}}
		case 5:
			s = failed(s, "deadline")
		case 6:
			s.Links = []model.Link{{TraceID: s.TraceID, SpanID: model.SpanIDFrom(uint64(r.IntN(n)))}}
		}
		spans = append(spans, s)
	}
	return spans
}

// check holds what is true of every trace: nothing is negative, and the parts add up to a span that can be the root.
func check(t *testing.T, spans []model.Span) {
	t.Helper()
	var sum int64
	steps := locate.Path(spans)
	for _, s := range steps {
		if s.ExclusiveNS < 0 {
			t.Fatalf("span %s: exclusive time %d", s.SpanID, s.ExclusiveNS)
		}
		sum += s.ExclusiveNS
	}
	if len(spans) == 0 {
		return
	}
	for i := range spans {
		if spans[i].Duration == sum {
			return
		}
	}
	t.Fatalf("exclusive times add up to %d, which is no span's duration", sum)
}

func TestRandomTraces(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		spans := random(r, 1+r.IntN(40))
		check(t, spans)
		want := locate.Path(spans)
		shuffled := append([]model.Span(nil), spans...)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		check(t, shuffled)
		var a, b int64
		for _, s := range want {
			a += s.ExclusiveNS
		}
		for _, s := range locate.Path(shuffled) {
			b += s.ExclusiveNS
		}
		if a != b {
			t.Fatalf("seed %d: %d as made, %d shuffled", seed, a, b)
		}
		locate.Table([]locate.Trace{{Spans: spans}}, []locate.Trace{{Spans: shuffled, Entry: spans[0].SpanID}})
	}
}

func FuzzPath(f *testing.F) {
	f.Add([]byte{1, 0, 2, 0, 50, 2, 1, 3, 10, 20, 3, 2, 2, 12, 5})
	f.Add([]byte{1, 2, 2, 0, 50, 2, 1, 3, 10, 20})
	f.Fuzz(func(t *testing.T, b []byte) {
		var spans []model.Span
		for ; len(b) >= 5 && len(spans) < 200; b = b[5:] {
			spans = append(spans, span(uint64(b[0]), uint64(b[1]), string(rune('a'+b[2]>>6)), model.SpanKind(b[2]%6), int64(b[3]), int64(b[4])))
		}
		check(t, spans)
		locate.Table([]locate.Trace{{Spans: spans}}, nil)
	})
}

func TestTable(t *testing.T) {
	trace := func(id uint64, cart, wire, query int64) []model.Span {
		d := cart + query
		spans := []model.Span{
			span(1, 0, "frontend", server, 0, d+2*wire+20),
			span(2, 1, "frontend", client, 10, d+2*wire, "server.address", "cart", "server.port", "80"),
			span(3, 2, "cart", server, 10+wire, d),
			span(4, 3, "cart", client, 10+wire+cart, query, "db.system.name", "postgresql", "db.namespace", "cartdb"),
		}
		for i := range spans {
			spans[i].TraceID = model.TraceIDFrom(0, id)
		}
		return spans
	}
	bad := []locate.Trace{{Spans: trace(1, 100, 5, 10)}, {Spans: trace(2, 200, 5, 20)}}
	normal := []locate.Trace{{Spans: trace(3, 10, 5, 10)}}
	got := locate.Table(bad, normal)
	want := []model.Where{
		{Entity: "service:cart", ExclusiveS: 0.15, UsualS: 0.01},
		{Entity: "service:frontend", ExclusiveS: 0.02, UsualS: 0.02},
		{Entity: "database:cartdb", ExclusiveS: 0.015, UsualS: 0.01},
		{Entity: "edge:frontend->cart", ExclusiveS: 0.01, UsualS: 0.01},
	}
	sum := 0.0
	for i := range got {
		sum += got[i].Share
		got[i].Share = 0
		if got[i].BadTrace == "" || got[i].NormalTrace == "" {
			t.Errorf("%s has no example", got[i].Entity)
		}
		got[i].BadTrace, got[i].NormalTrace = "", ""
	}
	if math.Abs(sum-1) > 1e-5 {
		t.Errorf("shares add up to %v", sum)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLostCallBelongsToTheEdge(t *testing.T) {
	address := []string{"server.address", "cart.internal", "server.port", "80"}
	normal := []locate.Trace{{Spans: []model.Span{span(1, 0, "frontend", server, 0, 50), span(2, 1, "frontend", client, 10, 20, address...), span(3, 2, "cart", server, 12, 10)}}}
	bad := []locate.Trace{{Spans: []model.Span{failed(span(1, 0, "frontend", server, 0, 2000), "x"), failed(span(2, 1, "frontend", client, 10, 1900, address...), "connection reset")}}}
	if got := locate.Table(bad, normal)[0]; got.Entity != "edge:frontend->cart" || got.Errors != 1 {
		t.Errorf("got %+v", got)
	}
	if got := locate.Table(bad, nil)[0]; got.Entity != "remote:cart.internal" {
		t.Errorf("without a call that was answered: got %+v", got)
	}
}

func TestQueueWait(t *testing.T) {
	spans := []model.Span{span(1, 0, "mailer", producer, 0, 5, "messaging.destination.name", "jobs"), span(2, 1, "worker", consumer, 105, 20, "messaging.destination.name", "jobs")}
	got := locate.Table([]locate.Trace{{Spans: spans, Entry: model.SpanIDFrom(2)}}, nil)
	if len(got) != 2 || got[0].Entity != "queue:jobs" || got[0].ExclusiveS != 0.1 || got[1].Entity != "service:worker" || got[1].ExclusiveS != 0.02 {
		t.Errorf("got %+v", got)
	}
}

func TestOrigins(t *testing.T) {
	thrown := failed(span(3, 2, "cart", server, 12, 10), "boom")
	thrown.Events = []model.SpanEvent{{Name: "exception", Attrs: model.Attrs{{Key: "exception.type", Value: model.String("E")}}}}
	for _, c := range []struct {
		name  string
		spans []model.Span
		want  locate.OriginCount
	}{
		{"deepest", []model.Span{failed(span(1, 0, "frontend", server, 0, 50), ""), failed(span(2, 1, "frontend", client, 10, 20), ""), thrown},
			locate.OriginCount{Entity: "service:cart", Operation: "cart-3", Count: 1, Exceptions: 1, Message: "boom"}},
		{"on the way", []model.Span{failed(span(1, 0, "frontend", server, 0, 50), ""), failed(span(2, 1, "frontend", client, 10, 20), "reset"), span(3, 2, "cart", server, 12, 10)},
			locate.OriginCount{Entity: "edge:frontend->cart", Operation: "frontend-2", Count: 1, Unanswered: 1, Message: "reset"}},
		{"answered without a mark", []model.Span{failed(span(1, 0, "frontend", server, 0, 50), ""), failed(span(2, 1, "frontend", client, 10, 20, "http.response.status_code", "503"), ""), span(3, 2, "cart", server, 12, 10)},
			locate.OriginCount{Entity: "service:cart", Operation: "cart-3", Count: 1}},
		{"gave up waiting", []model.Span{failed(span(1, 0, "frontend", server, 0, 1050), ""), failed(span(2, 1, "frontend", client, 10, 1000), "context deadline exceeded"),
			span(3, 2, "cart", server, 12, 2000), span(4, 3, "cart", client, 20, 1900, "db.system", "mysql", "db.name", "cartdb")},
			locate.OriginCount{Entity: "database:cartdb", Operation: "frontend-2", Count: 1, GaveUp: 1, By: "frontend", Waited: 1, AwaitedOf: "edge:frontend->cart",
				Message: "context deadline exceeded"}},
		{"told to stop", []model.Span{failed(span(1, 0, "frontend", server, 0, 50), ""), failed(span(2, 1, "frontend", client, 10, 20), "deadline exceeded"), failed(span(3, 2, "cart", server, 12, 17), "write failed")},
			locate.OriginCount{Entity: "service:cart", Operation: "cart-3", Count: 1, GaveUp: 1, By: "frontend", Waited: 0.02, AwaitedOf: "edge:frontend->cart",
				Message: "write failed"}},
		{"failed long before the caller gave up", []model.Span{failed(span(1, 0, "frontend", server, 0, 50), ""), failed(span(2, 1, "frontend", client, 10, 30), "deadline exceeded"), failed(span(3, 2, "cart", server, 12, 5), "write failed")},
			locate.OriginCount{Entity: "service:cart", Operation: "cart-3", Count: 1, Message: "write failed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			traces := []locate.Trace{{Spans: c.spans}}
			got := locate.Origins(locate.Profiles(traces, locate.Learn(traces)))
			if len(got) != 1 {
				t.Fatalf("got %+v", got)
			}
			got[0].Trace = ""
			if d := cmp.Diff(c.want, got[0]); d != "" {
				t.Error(d)
			}
		})
	}
}

func timeline(mean func(i int) float64, failed func(i int) int64, n int) (out []store.TimelineStat) {
	for i := range n {
		out = append(out, store.TimelineStat{At: time.Unix(int64(i), 0).UTC(), Service: "cart", Operation: "get", Kind: server, Count: 20, Errors: failed(i), Mean: mean(i)})
	}
	return out
}

func TestOnset(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	noise := func(m float64) float64 { return m * math.Exp(0.1*r.NormFloat64()) }
	none := func(int) int64 { return 0 }
	w := store.Window{From: time.Unix(0, 0).UTC(), To: time.Unix(60, 0).UTC()}
	for _, c := range []struct {
		name  string
		steps []store.TimelineStat
		want  int64 // -1 for none
	}{
		{"flat", timeline(func(int) float64 { return noise(0.1) }, none, 60), -1},
		{"constant", timeline(func(int) float64 { return 0.1 }, none, 60), -1},
		{"faster", timeline(func(i int) float64 { return noise([]float64{0.1, 0.03}[i/30]) }, none, 60), -1},
		{"step", timeline(func(i int) float64 {
			if i >= 45 {
				return noise(0.5)
			}
			return noise(0.1)
		}, none, 60), 45},
		{"ramp", timeline(func(i int) float64 { return noise(0.1 + 0.1*float64(max(0, i-40))) }, none, 60), 42},
		{"errors", timeline(func(int) float64 { return noise(0.1) }, func(i int) int64 { return int64(i / 50 * 3) }, 60), 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := int64(-1)
			if s := locate.Onset(c.steps, w, time.Second); len(s) > 0 {
				got = s[0].At.Unix()
			}
			if d := got - c.want; d < -2 || d > 2 {
				t.Errorf("onset at %d, want %d", got, c.want)
			}
		})
	}
}

func TestSteady(t *testing.T) {
	w := store.Window{From: time.Unix(0, 0).UTC(), To: time.Unix(600, 0).UTC()}
	bump := func(from, to int) []store.TimelineStat {
		return timeline(func(i int) float64 {
			if i >= from && i < to {
				return 0.5 + 0.01*float64(i%3)
			}
			return 0.1 + 0.01*float64(i%3)
		}, func(int) int64 { return 0 }, 600)
	}
	for _, c := range []struct {
		name     string
		from, to int
		want     int64
	}{
		{"never", 0, 0, 0},
		{"over", 40, 270, 270},
		{"at first", 0, 30, 30},
		{"short, long ago", 190, 206, 206},
		{"short, a moment ago", 560, 576, 576},
		{"the present rise stays", 590, 600, 0},
	} {
		if got := locate.Steady(bump(c.from, c.to), w, time.Second).Unix(); got != c.want {
			t.Errorf("%s: steady from %d, want %d", c.name, got, c.want)
		}
	}
}

func BenchmarkPath(b *testing.B) {
	for _, n := range []int{20, 200, 1000} {
		r := rand.New(rand.NewPCG(7, 7))
		spans := []model.Span{span(1, 0, "s0", server, 0, 100_000)}
		for i := 2; i <= n; i++ {
			p := spans[r.IntN(len(spans))]
			kind := []model.SpanKind{internal, client, server}[r.IntN(3)]
			start := p.Start/1e6 + r.Int64N(max(1, p.Duration/1e6))
			spans = append(spans, span(uint64(i), p.SpanID.Uint64(), fmt.Sprintf("s%d", r.IntN(12)), kind, start, r.Int64N(max(1, p.End()/1e6-start))))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				locate.Path(spans)
			}
		})
	}
}

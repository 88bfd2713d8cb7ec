package load

import (
	"math/rand/v2"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// BenchmarkSpans measures what a made-up span costs before it is sent: the generator must outrun the receiver it loads.
func BenchmarkSpans(b *testing.B) {
	m := &spanMaker{newWorld(rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(2, 2))), nil}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n += m.make(500, window{time.Unix(1_772_366_400, 0), time.Unix(1_772_366_401, 0)}).items
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "spans/s")
}

// BenchmarkShape tells how large a span is on the wire.
func BenchmarkShape(b *testing.B) {
	w := newWorld(rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(2, 2)))
	var bytes, spans, traces int
	for b.Loop() {
		batch := newBatch()
		for range 50 {
			t := &traceMaker{world: w, batch: batch, trace: w.traceID(), user: w.user.Uint64(), left: maxSpans}
			t.serve(0, [8]byte{}, time.Unix(1_772_366_400, 0))
			spans += t.made
			traces++
		}
		bytes += (&ptrace.ProtoMarshaler{}).TracesSize(batch.traces)
	}
	b.ReportMetric(float64(bytes)/float64(spans), "B/span")
	b.ReportMetric(float64(spans)/float64(traces), "spans/trace")
}

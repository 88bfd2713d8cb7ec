package events

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// benchSpans are spans of traces of eight, over ten services, with fifteen attributes each.
func benchSpans(n, from int) []model.Span {
	out := make([]model.Span, n)
	resources := make([]*model.Resource, 10)
	for i := range resources {
		name := fmt.Sprintf("service-%d", i)
		resources[i] = &model.Resource{Service: name, Attrs: model.Attrs{{Key: "service.name", Value: model.String(name)},
			{Key: "service.version", Value: model.String("1.4." + fmt.Sprint(i))}, {Key: "host.name", Value: model.String(fmt.Sprint("host-", i%4))}}}
	}
	scope := &model.Scope{Name: "otelhttp", Version: "0.70.0"}
	for i := range out {
		k := from + i
		random := uint64(k/8)*0x9e3779b97f4a7c15 + 12345
		s := model.Span{TraceID: model.TraceIDFrom(random, random*31), SpanID: model.SpanIDFrom(uint64(k)*0x9e3779b97f4a7c15 + 1), Name: fmt.Sprint("GET /things/", k%17),
			Kind: model.SpanKind(1 + k%5), Start: testTime.UnixNano() + int64(k)*50_000, Duration: int64(1e6 + (uint64(k)*2654435761)%5e7), Resource: resources[k%10], Scope: scope}
		if k%50 == 0 {
			s.Status = model.StatusError
		}
		s.Attrs = model.Attrs{
			{Key: "http.request.method", Value: model.String("GET")}, {Key: "http.route", Value: model.String(fmt.Sprint("/things/", k%17))},
			{Key: "http.response.status_code", Value: model.Int(200)}, {Key: "url.path", Value: model.String(fmt.Sprint("/things/", k%1000))},
			{Key: "server.address", Value: model.String("10.0.0.1")}, {Key: "server.port", Value: model.Int(8080)},
			{Key: "user.id", Value: model.String(fmt.Sprint("user-", k%997))}, {Key: "network.protocol.version", Value: model.String("1.1")},
			{Key: "client.address", Value: model.String(fmt.Sprintf("10.1.%d.%d", k%200, k%251))}, {Key: "user_agent.original", Value: model.String("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0")},
			{Key: "thread.id", Value: model.Int(int64(k % 64))}, {Key: "code.function.name", Value: model.String("handleThing")},
			{Key: "request.id", Value: model.String(fmt.Sprintf("%016x", random+uint64(k)))}, {Key: "retry", Value: model.Bool(false)}, {Key: "cost", Value: model.Double(float64(k%100) / 7)}}
		out[i] = s
	}
	return out
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 8} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openTest(b, b.TempDir(), nil)
			defer s.Close()
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			defer func() { cancel(); <-done }()
			batch := &model.Batch{Spans: benchSpans(1000, 0)}
			b.SetParallelism(writers)
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Append(ctx, batch); err != nil && err != store.ErrOverloaded {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N*1000)/time.Since(start).Seconds(), "spans/s")
		})
	}
}

func BenchmarkEncodeRecord(b *testing.B) {
	batch := &model.Batch{Spans: benchSpans(1000, 0)}
	b.ReportAllocs()
	for b.Loop() {
		rec := encodeRecord(batch, "default", 1)
		b.SetBytes(int64(len(rec.payload)))
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	rec := encodeRecord(&model.Batch{Spans: benchSpans(1000, 0)}, "default", 1)
	b.SetBytes(int64(len(rec.payload)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decodeRecord(rec.payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteBlock(b *testing.B) {
	s := openTest(b, b.TempDir(), nil)
	defer s.Close()
	spansOf := benchSpans(50_000, 0)
	rows := &partRows{}
	for i := range spansOf {
		rows.spans = append(rows.spans, &spansOf[i])
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		blk, err := s.writeRows(s.dir("tmp")+"/bench.parquet", partition{"default", spans}, rows, true)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(blk.Size)/float64(len(spansOf)), "B/span")
	}
	b.ReportMetric(float64(b.N*len(spansOf))/b.Elapsed().Seconds(), "spans/s")
}

// fillBench makes n spans in blocks of 50,000.
func fillBench(b *testing.B, n int) *Store {
	s := openTest(b, b.TempDir(), nil)
	ctx := context.Background()
	for from := 0; from < n; from += 50_000 {
		if _, err := s.Append(ctx, &model.Batch{Spans: benchSpans(min(50_000, n-from), from)}); err != nil {
			b.Fatal(err)
		}
		if err := s.flushAll(ctx); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// BenchmarkMerge merges four blocks by column and by row, which gives the same block.
func BenchmarkMerge(b *testing.B) {
	const rows = 200_000
	s := fillBench(b, rows)
	defer s.Close()
	p := partition{"default", spans}
	inputs := s.catalog.blocks[p]
	for _, how := range []struct {
		name  string
		merge func(context.Context, *blockWriter, []*block) (int64, error)
	}{{"columns", s.mergeColumns}, {"rows", s.mergeRows}} {
		b.Run(how.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				v := newSurvey(p.signal)
				for _, in := range inputs {
					v.block(in.layout)
				}
				w, err := newBlockWriter(s.disk, s.dir("tmp")+"/merged.parquet", p.signal, v.layout())
				if err != nil {
					b.Fatal(err)
				}
				if n, err := how.merge(b.Context(), w, inputs); err != nil || n != rows {
					b.Fatalf("merged %d rows: %v", n, err)
				}
				if _, err := w.finish(p, true); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "spans/s")
		})
	}
}

func resident() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	var all, rss float64
	if err == nil {
		fmt.Sscan(string(text), &all, &rss)
	}
	return rss * float64(os.Getpagesize()) / 1e6
}

func BenchmarkQuestions(b *testing.B) {
	s := fillBench(b, benchRows())
	defer s.Close()
	ctx := context.Background()
	id := benchSpans(1, 500_000)[0].TraceID
	failed := model.StatusError
	for _, q := range []struct {
		name string
		ask  func() error
	}{
		{"trace", func() error { _, err := s.Trace(ctx, "", id); return err }},
		{"newest100", func() error {
			_, err := s.Spans(ctx, store.Query{Where: search.Match{Field: "service", Value: "service-3"}, Limit: 100})
			return err
		}},
		{"operations", func() error { _, err := s.Operations(ctx, store.Selection{}, 100); return err }},
		{"edges", func() error { _, err := s.Edges(ctx, "", store.Window{}, 100); return err }},
		{"difference", func() error {
			_, err := s.AttributeDifference(ctx, store.DifferenceQuery{A: store.Selection{Status: &failed}, B: store.Selection{NotStatus: &failed}, Limit: 20})
			return err
		}},
		{"difference_from_trace_1s", func() error {
			w := store.Window{From: testTime, To: testTime.Add(time.Second)}
			_, err := s.AttributeDifference(ctx, store.DifferenceQuery{A: store.Selection{Window: w, Status: &failed}, B: store.Selection{Window: w, NotStatus: &failed}, Limit: 20, FromTrace: true})
			return err
		}},
	} {
		b.Run(q.name, func(b *testing.B) {
			for b.Loop() {
				if err := q.ask(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(resident(), "MB-resident")
		})
	}
}

// benchRows is how many spans the questions are asked of.
func benchRows() int {
	var n int
	if fmt.Sscan(os.Getenv("TRIAGE_BENCH_ROWS"), &n); n > 0 {
		return n
	}
	return 1_000_000
}

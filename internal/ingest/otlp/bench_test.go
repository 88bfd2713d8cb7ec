package otlp_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"triage/internal/ingest"
	"triage/internal/ingest/otlp"
	"triage/internal/model"
)

// protoOf writes JSON as protobuf.
func protoOf(t testing.TB, signal, text string) []byte {
	t.Helper()
	var r interface {
		UnmarshalJSON([]byte) error
		MarshalProto() ([]byte, error)
	}
	switch signal {
	case "logs":
		r = plogotlp.NewExportRequest()
	default:
		r = pmetricotlp.NewExportRequest()
	}
	if err := r.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	data, err := r.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type nothing struct{}

func (nothing) Accept(context.Context, *model.Batch) (ingest.Result, error) {
	return ingest.Result{}, nil
}

// fifteen puts as many attributes as a usual HTTP span has.
func fifteen(m pcommon.Map, i int) {
	m.PutStr("http.request.method", "GET")
	m.PutStr("http.route", fmt.Sprintf("/api/items/{id}/%d", i%7))
	m.PutStr("url.path", fmt.Sprintf("/api/items/%d", i))
	m.PutInt("http.response.status_code", 200)
	m.PutStr("server.address", "catalog.example.com")
	m.PutInt("server.port", 8080)
	m.PutStr("network.protocol.version", "1.1")
	m.PutStr("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)")
	m.PutStr("client.address", fmt.Sprintf("10.0.%d.%d", i/256%256, i%256))
	m.PutStr("user.id", fmt.Sprintf("user-%d", i%1000))
	m.PutBool("cache.hit", i%3 == 0)
	m.PutInt("http.response.body.size", int64(i*17))
	m.PutDouble("sampling.ratio", 0.5)
	m.PutStr("thread.name", fmt.Sprintf("worker-%d", i%16))
	m.PutInt("thread.id", int64(i%16))
}

func benchmark(b *testing.B, path, contentType string, data []byte, items int) {
	h := otlp.New(otlp.Options{Sink: nothing{}}).Handler()
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r, err := http.NewRequest("POST", path, bytes.NewReader(data))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(items)*float64(b.N)/b.Elapsed().Seconds(), "items/s")
}

func BenchmarkTraces(b *testing.B) {
	const n = 1000
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "cart")
	ss := rs.ScopeSpans().AppendEmpty()
	for i := range n {
		sp := newSpan(ss.Spans())
		sp.SetSpanID(pcommon.SpanID{1, byte(i >> 8), byte(i)})
		sp.SetName("GET /api/items/{id}")
		sp.SetKind(ptrace.SpanKindServer)
		fifteen(sp.Attributes(), i)
	}
	req := ptraceotlp.NewExportRequestFromTraces(td)
	pb, _ := req.MarshalProto()
	js, _ := req.MarshalJSON()
	b.Run("protobuf", func(b *testing.B) { benchmark(b, "/v1/traces", pbType, pb, n) })
	b.Run("json", func(b *testing.B) { benchmark(b, "/v1/traces", jsonType, js, n) })
}

func BenchmarkLogs(b *testing.B) {
	const n = 1000
	ld := plog.NewLogs()
	sl := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	for i := range n {
		r := sl.LogRecords().AppendEmpty()
		r.SetTimestamp(1)
		r.Body().SetStr(fmt.Sprintf("request %d handled in %d ms", i, i%50))
		r.Attributes().PutStr("logger.name", "http")
		r.Attributes().PutInt("thread.id", int64(i%16))
		r.Attributes().PutStr("code.function.name", "handle")
	}
	pb, _ := plogotlp.NewExportRequestFromLogs(ld).MarshalProto()
	benchmark(b, "/v1/logs", pbType, pb, n)
}

func BenchmarkMetrics(b *testing.B) {
	for _, temporality := range []pmetric.AggregationTemporality{pmetric.AggregationTemporalityCumulative, pmetric.AggregationTemporalityDelta} {
		const n = 1000
		md := pmetric.NewMetrics()
		rm := md.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("service.name", "cart")
		sm := rm.ScopeMetrics().AppendEmpty()
		for i := range n / 10 {
			m := sm.Metrics().AppendEmpty()
			m.SetName(fmt.Sprintf("metric.%d", i))
			m.SetUnit("s")
			s := m.SetEmptySum()
			s.SetIsMonotonic(true)
			s.SetAggregationTemporality(temporality)
			for j := range 10 {
				p := s.DataPoints().AppendEmpty()
				p.SetStartTimestamp(1)
				p.SetTimestamp(2_000_000)
				p.SetDoubleValue(1)
				p.Attributes().PutStr("http.route", fmt.Sprintf("/r/%d", j))
				p.Attributes().PutStr("http.request.method", "GET")
				p.Attributes().PutInt("http.response.status_code", 200)
			}
		}
		pb, _ := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
		b.Run(temporality.String(), func(b *testing.B) { benchmark(b, "/v1/metrics", pbType, pb, n) })
	}
}

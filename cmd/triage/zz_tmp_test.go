package main

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

func TestTmpServices(t *testing.T) {
	s := serve(t, t.TempDir(), "--host-metrics-enabled=false")
	for from := 0; from < 300000; from += 20000 {
		td := ptrace.NewTraces()
		now := pcommon.NewTimestampFromTime(time.Now())
		for i := range 20000 {
			rs := td.ResourceSpans().AppendEmpty()
			rs.Resource().Attributes().PutStr("service.name", "svc"+strconv.Itoa(from+i))
			rs.Resource().Attributes().PutStr("key"+strconv.Itoa(from+i), "v")
			span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
			span.SetTraceID(pcommon.TraceID{1, 2, 3, 9, byte(i)})
			span.SetSpanID(spanID(from + i + 1))
			span.SetName("GET")
			span.SetKind(ptrace.SpanKindServer)
			span.SetStartTimestamp(now - 1e6)
			span.SetEndTimestamp(now)
		}
		b, _ := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
		start := time.Now()
		a := otlp("traces", protobuf, b)(t, s)
		t.Logf("%d %s %.200q %s", from, a.status, a.text, time.Since(start))
		if a.status == "429" {
			from -= 20000
			time.Sleep(50 * time.Millisecond)
		}
	}
	for range 4 {
		time.Sleep(10 * time.Second)
		start := time.Now()
		a := request(t, "GET", s.api+"/-/ready", nil)
		t.Logf("%d MiB ready %s %s", s.peakMemory(t), a.status, time.Since(start))
		start = time.Now()
		a = request(t, "GET", s.api+"/api/v1/spans?q=service:svc299999", nil)
		t.Logf("search %s %d bytes %s", a.status, len(a.text), time.Since(start))
		start = time.Now()
		a = request(t, "GET", s.api+"/api/v1/alarms", nil)
		t.Logf("alarms %s %d bytes %s", a.status, len(a.text), time.Since(start))
	}
	start := time.Now()
	code := s.end(t, syscall.SIGTERM)
	t.Logf("end %d took %s\n%s", code, time.Since(start), s.log)
}

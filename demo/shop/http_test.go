package shop

import (
	"strings"
	"testing"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// TestUnresolved has a process that cannot resolve a name, and holds that its spans and lines say what Go's resolver does.
func TestUnresolved(t *testing.T) {
	for strength, want := range map[float64]string{1: "lookup acquirer.example on 10.96.0.10:53: no such host",
		2: "lookup acquirer.example on 10.96.0.10:53: server misbehaving"} {
		spans, logs := tracetest.NewInMemoryExporter(), &logSink{}
		cfg := Config{Process: "payment", Version: "1", Hosts: map[string]string{"acquirer.example": "127.0.0.1:1"},
			Faults: []Fault{{Name: unresolved, Operation: "acquirer.example", Strength: strength}}}
		charge(t, cfg, Sinks{Spans: sdktrace.NewSimpleSpanProcessor(spans), Logs: sdklog.NewSimpleProcessor(logs)}, nil)
		calls := 0
		for _, s := range spans.GetSpans() {
			if s.SpanKind == trace.SpanKindClient {
				if calls++; !strings.Contains(s.Status.Description, want) {
					t.Errorf("a call ends with %q, want %q", s.Status.Description, want)
				}
			}
		}
		if calls != 2 || logs.len() == 0 {
			t.Errorf("%d calls and %d lines, want two and some", calls, logs.len())
		}
	}
}

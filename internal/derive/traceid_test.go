package derive

import (
	"testing"

	"triage/internal/model"
)

const (
	traceHex = "0af7651916cd43dd8448eb211c80319c"
	spanHex  = "b7ad6b7169203331"
	xray     = "1-0af76519-16cd43dd8448eb211c80319c"
)

func TestLinkFromText(t *testing.T) {
	const none = ""
	tests := []struct{ text, trace, span string }{
		{"done trace_id=" + traceHex + " span_id=" + spanHex, traceHex, spanHex},
		{`{"traceId":"` + traceHex + `","spanId":"` + spanHex + `"}`, traceHex, spanHex},
		{`{"log":"{\"trace_id\":\"` + traceHex + `\",\"span_id\":\"` + spanHex + `\"}"}`, traceHex, spanHex},
		{`{"trace":{"id":"` + traceHex + `"},"trace.id":"` + traceHex + `","span.id":"` + spanHex + `"}`, traceHex, spanHex},
		{`"trace":"` + traceHex + `"`, traceHex, none},
		{`"trace":"projects/acme/traces/` + traceHex + `"`, traceHex, none},
		{"TRACE_ID: 0AF7651916CD43DD8448EB211C80319C", traceHex, none},
		{"Trace ID: " + traceHex, traceHex, none},
		{"[mdc.traceId=" + traceHex + ", mdc.spanId=" + spanHex + "] done", traceHex, spanHex},
		{"otelTraceID=" + traceHex + " otelSpanID=" + spanHex, traceHex, spanHex},
		{"trace_id => " + traceHex, traceHex, none},
		{"traceId=" + spanHex, "0000000000000000" + spanHex, none},
		{"traceId=0af76519-16cd-43dd-8448-eb211c80319c", traceHex, none},
		{"[dd.service=cart dd.trace_id=11 dd.span_id=12]", "0000000000000000000000000000000b", "000000000000000c"},
		{"got traceparent: 00-" + traceHex + "-" + spanHex + "-01", traceHex, spanHex},
		{"header 00-" + traceHex + "-" + spanHex + "-01 seen", traceHex, spanHex},
		{"X-Amzn-Trace-Id: Root=" + xray + ";Parent=" + spanHex + ";Sampled=1", traceHex, spanHex},
		{"X-Amzn-Trace-Id: Self=1-67891234-12456789abcdef012345678;Root=" + xray, traceHex, none},
		{"XRAY TraceId: " + xray + " SegmentId: x", traceHex, none},
		{"call " + xray + " took 3 ms", traceHex, none},
		{"b3: " + traceHex + "-" + spanHex + "-1", traceHex, spanHex},
		{"x-b3-traceid=" + traceHex + " x-b3-spanid=" + spanHex, traceHex, spanHex},
		{"uber-trace-id: af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1", traceHex, spanHex},
		{"INFO [cart," + traceHex + "," + spanHex + ",true] 1 --- done", traceHex, spanHex},
		{"INFO [cart,," + "] [" + traceHex + "-" + spanHex + "] done", traceHex, spanHex},
		{"first trace_id=- then trace_id=" + traceHex, traceHex, none},

		{"etag " + traceHex, none, none},
		{"stacktrace=" + traceHex, none, none},
		{"backtraceId=" + traceHex, none, none},
		{"parent_trace_id=" + traceHex, none, none},
		{"trace=" + spanHex, none, none},
		{"trace_id=" + traceHex + "00", none, none},
		{"trace_id=00000000000000000000000000000000", none, none},
		{"trace_id=", none, none},
		{"trace_id " + traceHex[:20], none, none},
		{"tracing the request_id=" + traceHex, none, none},
		{"uuid 1-0af76519-16cd43dd8448eb211c80319", none, none},
		{"digest a00-" + traceHex + "-" + spanHex + "-01", none, none},
		{"b3=0 commit b3" + traceHex, none, none},
		{"[" + traceHex + "]", none, none},
		{"span_id=" + spanHex, none, none},
		{"short", none, none},
	}
	for _, tt := range tests {
		l, ok := linkFromText(tt.text)
		if l.trace.String() != tt.trace || l.span.String() != tt.span || ok != (tt.trace != "") {
			t.Errorf("%s\n got %q %q\nwant %q %q", tt.text, l.trace, l.span, tt.trace, tt.span)
		}
	}
}

func TestLinkFromFields(t *testing.T) {
	str := model.String
	raw, _ := model.ParseTraceID(traceHex)
	tests := []struct {
		attrs       model.Attrs
		trace, span string
	}{
		{model.Attrs{{Key: "user.id", Value: str("7")}, {Key: "trace_id", Value: str(traceHex)}, {Key: "span_id", Value: str(spanHex)}}, traceHex, spanHex},
		{model.Attrs{{Key: "trace.id", Value: str(traceHex)}}, traceHex, ""},
		{model.Attrs{{Key: "contextMap.traceId", Value: str(traceHex)}}, traceHex, ""},
		{model.Attrs{{Key: "http.request.header.x-b3-traceid", Value: str(traceHex)}}, traceHex, ""},
		{model.Attrs{{Key: "http.request.header.traceparent", Value: str("00-" + traceHex + "-" + spanHex + "-01")}}, traceHex, spanHex},
		{model.Attrs{{Key: "X-Amzn-Trace-Id", Value: str("Root=" + xray + ";Parent=" + spanHex)}}, traceHex, spanHex},
		{model.Attrs{{Key: "uber-trace-id", Value: str("b%3Ac%3A0%3A1")}}, "0000000000000000000000000000000b", "000000000000000c"},
		{model.Attrs{{Key: "dd.trace_id", Value: str("11")}, {Key: "dd.span_id", Value: model.Int(12)}}, "0000000000000000000000000000000b", "000000000000000c"},
		{model.Attrs{{Key: "logging.googleapis.com/trace", Value: str("projects/acme/traces/" + traceHex)}, {Key: "logging.googleapis.com/spanId", Value: str(spanHex)}}, traceHex, spanHex},
		{model.Attrs{{Key: "trace_id", Value: model.Bytes(raw[:])}}, traceHex, ""},
		{model.Attrs{{Key: "etag", Value: str(traceHex)}, {Key: "id", Value: str(traceHex)}, {Key: "request.id", Value: str(traceHex)}}, "", ""},
		{model.Attrs{{Key: "parent.trace_id_hash", Value: str(traceHex)}, {Key: "linked_trace_id", Value: str(traceHex)}}, "", ""},
		{model.Attrs{{Key: "trace_id", Value: model.Int(5)}}, "", ""},
	}
	for _, tt := range tests {
		l, _ := linkFromFields(tt.attrs)
		if l.trace.String() != tt.trace || l.span.String() != tt.span {
			t.Errorf("%v: got %q %q, want %q %q", tt.attrs, l.trace, l.span, tt.trace, tt.span)
		}
	}
}

func TestEnrichLeavesWhatIsThere(t *testing.T) {
	d, _ := newDeriver(Options{})
	b := logs("", "trace_id="+traceHex+" level=error")
	b.Logs[0].TraceID[0], b.Logs[0].Severity = 1, 9
	d.Enrich(b)
	if r := b.Logs[0]; r.TraceID != (model.TraceID{1}) || r.Severity != 9 {
		t.Errorf("got trace %s and severity %d", r.TraceID, r.Severity)
	}
}

func TestEnrichMapBody(t *testing.T) {
	d, _ := newDeriver(Options{})
	b := logs("", "pool exhausted after 5 s", "", "", "")
	text := func(k, v string) string { return `{"key":"` + k + `","value":{"stringValue":"` + v + `"}}` }
	b.Logs[1].Body = model.Map(`{"values":[` + text("trace_id", traceHex) + `,` + text("level", "warn") + `,` + text("msg", "pool exhausted after 7 s") + `]}`)
	b.Logs[2].Body = model.Map(`{"message":"pool exhausted after 9 s"}`)
	b.Logs[3].Body = model.String(`{"level":50,"nested":{"msg":"no"},"msg":"pool exhausted after 1 s","n":[{"message":"no"}]}`)
	d.Enrich(b)
	for i, r := range b.Logs {
		if r.Template == 0 || r.Template != b.Logs[0].Template {
			t.Errorf("line %d has template %x, want %x", i, r.Template, b.Logs[0].Template)
		}
	}
	if r := b.Logs[1]; r.TraceID.String() != traceHex || r.Severity != 13 {
		t.Errorf("got trace %q and severity %d", r.TraceID, r.Severity)
	}
	if r := b.Logs[3]; r.Severity != 17 {
		t.Errorf("got severity %d, want 17", r.Severity)
	}
}

func TestSeverityInText(t *testing.T) {
	tests := []struct {
		text string
		want model.Severity
	}{
		{"2026-03-01 12:00:00,123 ERROR pool exhausted", 17},
		{"12:00 [main] WARN  c.e.Cart - INFO follows", 13},
		{"level=error msg=x", 17},
		{`{"level":"warning"}`, 13},
		{`{"severity": "CRITICAL"}`, 21},
		{`{"level":30}`, 9},
		{"2026/03/01 12:00:00 [error] 7#7: upstream timed out", 17},
		{"[core:notice] [pid 1] ready", 10},
		{"E0301 12:00:00.000001       1 cart.go:7] no", 17},
		{"F0301 gone", 21},
		{"an error occurred", 0},
		{"ERRORS found", 0},
		{"at the same level as info", 0},
		{"", 0},
	}
	for _, tt := range tests {
		if got := severityInText(tt.text); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.text, got, tt.want)
		}
	}
}

// FuzzLinkFromText checks that what is found stands in the text, and that the same ID under a plain key is found too.
func FuzzLinkFromText(f *testing.F) {
	for _, s := range []string{"trace_id=" + traceHex, "uber-trace-id: b:c:0:1", "X-Amzn-Trace-Id: Root=" + xray + ";Parent=" + spanHex,
		"00-" + traceHex + "-" + spanHex + "-01", "[cart," + traceHex + "," + spanHex + ",true]", "dd.trace_id=18446744073709551615"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, ok := linkFromText(text)
		if ok == l.trace.IsZero() {
			t.Fatalf("found %v, trace %q", ok, l.trace)
		}
		linkFromFields(model.Attrs{{Key: text, Value: model.String(traceHex)}, {Key: "trace_id", Value: model.String(text)},
			{Key: "uber-trace-id", Value: model.String(text)}, {Key: "dd.trace_id", Value: model.String(text)}})
		severityInText(text)
		jsonMessage(text)
		if ok {
			again, _ := linkFromText("trace_id=" + l.trace.String())
			if again.trace != l.trace {
				t.Fatalf("trace_id=%s gives %q", l.trace, again.trace)
			}
		}
	})
}

package otlp_test

import (
	"bytes"
	"fmt"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"

	"triage/internal/ingest/otlp"
	"triage/internal/model"
)

var sameValue = cmp.Comparer(func(a, b model.Value) bool { return a == b })

func sendTraces(t *testing.T, td ptrace.Traces) model.Batch {
	t.Helper()
	data, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return sendProto(t, "/v1/traces", data)
}

func sendLogs(t *testing.T, ld plog.Logs) model.Batch {
	t.Helper()
	data, err := plogotlp.NewExportRequestFromLogs(ld).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return sendProto(t, "/v1/logs", data)
}

func sendProto(t *testing.T, path string, data []byte) model.Batch {
	t.Helper()
	s := &sink{}
	r := httptest.NewRequest("POST", path, bytes.NewReader(data))
	r.Header.Set("Content-Type", pbType)
	w := httptest.NewRecorder()
	otlp.New(otlp.Options{Sink: s}).Handler().ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	if len(s.batches) != 1 {
		t.Fatalf("%d batches", len(s.batches))
	}
	return s.batches[0]
}

func newSpan(spans ptrace.SpanSlice) ptrace.Span {
	sp := spans.AppendEmpty()
	sp.SetTraceID(pcommon.TraceID{1})
	sp.SetSpanID(pcommon.SpanID{2})
	sp.SetStartTimestamp(100)
	sp.SetEndTimestamp(150)
	return sp
}

func TestSpanTimes(t *testing.T) {
	future := uint64(time.Now().Add(48 * time.Hour).UnixNano())
	for _, c := range []struct {
		name       string
		start, end uint64
		want       string
	}{
		{"usual", 100, 150, "100+50"},
		{"ends before it starts", 150, 100, "150+0"},
		{"no end", 100, 0, "100+0"},
		{"no start", 0, 100, "100+0"},
		{"neither", 0, 0, "no_time"},
		{"in the future", future, future + 1, "in_the_future"},
		{"beyond 64 bits", math.MaxUint64, math.MaxUint64, "in_the_future"},
		{"ends in the future", 100, future, "100+0"},
		{"ends beyond 64 bits", 100, math.MaxUint64, "100+0"},
	} {
		td := ptrace.NewTraces()
		sp := newSpan(td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans())
		sp.SetStartTimestamp(pcommon.Timestamp(c.start))
		sp.SetEndTimestamp(pcommon.Timestamp(c.end))
		b := sendTraces(t, td)
		var got string
		if len(b.Spans) == 1 {
			got = fmt.Sprintf("%d+%d", b.Spans[0].Start, b.Spans[0].Duration)
		} else {
			got = b.Rejected[0].Reason
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.SetSchemaUrl("https://opentelemetry.io/schemas/1.30.0")
	rs.Resource().Attributes().PutInt("service.name", 7)
	ss := rs.ScopeSpans().AppendEmpty()
	sp := newSpan(ss.Spans())
	a := sp.Attributes()
	a.PutStr("str", "a\xffb")
	a.PutBool("yes", true)
	a.PutDouble("nan", math.NaN())
	a.PutEmpty("empty")
	a.PutEmptyBytes("bytes").FromRaw([]byte{1})
	l := a.PutEmptySlice("list")
	l.AppendEmpty().SetDouble(math.Inf(-1))
	l.AppendEmpty()
	l.AppendEmpty().SetEmptyMap().PutStr("k", "한\n")
	newSpan(ss.Spans()).Attributes().PutStr("", "empty key")
	sp2 := newSpan(ss.Spans())
	for i := range 100 {
		sp2.Attributes().PutInt(fmt.Sprintf("key%02d", i), int64(i))
	}

	b := sendTraces(t, td)
	want := model.Attrs{
		{Key: "str", Value: model.String("a\uFFFDb")}, {Key: "yes", Value: model.Bool(true)}, {Key: "nan", Value: model.Double(math.NaN())},
		{Key: "empty"}, {Key: "bytes", Value: model.Bytes([]byte{1})},
		{Key: "list", Value: model.List(`[{"doubleValue":"-Infinity"},{},{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"한\n"}}]}}]`)},
	}
	if diff := cmp.Diff(want, b.Spans[0].Attrs, sameValue); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if got := b.Spans[1].Attrs.Str(""); got != "empty key" {
		t.Errorf("empty key: %q", got)
	}
	if got := b.Spans[2].Attrs; len(got) != 100 || got.Str("key57") != "57" || cap(got) != 100 {
		t.Errorf("%d attributes, key57 = %s, capacity %d", len(got), got.Str("key57"), cap(got))
	}
	res := b.Spans[0].Resource
	if res.Service != "7" || res.SchemaURL == "" || res != b.Spans[2].Resource || b.Spans[0].Scope != nil {
		t.Errorf("resource %+v, scope %+v", res, b.Spans[0].Scope)
	}
}

func TestAttributeGivenTwice(t *testing.T) {
	b := sendProto(t, "/v1/traces", rawSpan(func(span []byte) []byte {
		for _, v := range []string{"1", "2"} {
			kv := field(field(nil, 1, []byte("k")), 2, field(nil, 1, []byte(v)))
			span = field(span, 9, kv)
		}
		return span
	}))
	if diff := cmp.Diff(model.Attrs{{Key: "k", Value: model.String("2")}}, b.Spans[0].Attrs, sameValue); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func field(b []byte, num protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), value)
}

// rawSpan is a request of one span, written by hand so that it can be what no encoder would write.
func rawSpan(add func([]byte) []byte) []byte {
	span := field(field(nil, 1, bytes.Repeat([]byte{1}, 16)), 2, bytes.Repeat([]byte{2}, 8))
	span = protowire.AppendFixed64(protowire.AppendTag(span, 7, protowire.Fixed64Type), 100)
	return field(nil, 1, field(nil, 2, field(nil, 2, add(span))))
}

func TestPlaceOfAnErrorInProtobuf(t *testing.T) {
	h := otlp.New(otlp.Options{Sink: &sink{}}).Handler()
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"short trace ID", rawSpan(func(s []byte) []byte { return field(s, 1, []byte("short")) }),
			"resource_spans[0].scope_spans[0].spans[0].trace_id: 5 bytes, want 16 or none"},
		{"third attribute", rawSpan(func(s []byte) []byte {
			good := field(nil, 1, []byte("k"))
			return field(field(field(s, 9, good), 9, good), 9, []byte{0x0a, 0x7f})
		}), "resource_spans[0].scope_spans[0].spans[0].attributes[2].key: ends too early"},
		{"too deep", rawSpan(func(s []byte) []byte {
			v := field(nil, 1, []byte("x"))
			for range 60 { // an AnyValue in an ArrayValue in an AnyValue
				v = field(nil, 5, field(nil, 1, v))
			}
			return field(s, 9, field(nil, 2, v))
		}), "nested deeper than 100 messages"},
	} {
		r := httptest.NewRequest("POST", "/v1/traces", bytes.NewReader(c.data))
		r.Header.Set("Content-Type", pbType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 400 || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %q, want %q", c.name, w.Code, w.Body, c.want)
		}
	}
}

func TestDeepJSONIsRefused(t *testing.T) {
	h := otlp.New(otlp.Options{Sink: &sink{}}).Handler()
	body := `{"resourceLogs":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`
	r := httptest.NewRequest("POST", "/v1/logs", strings.NewReader(body))
	r.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "nested deeper") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestLogs(t *testing.T) {
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	add := func(f func(plog.LogRecord)) { f(records.AppendEmpty()) }
	before := time.Now().UnixNano()
	add(func(r plog.LogRecord) { r.Body().SetEmptyMap().PutStr("msg", "hi"); r.SetObservedTimestamp(9) })
	add(func(r plog.LogRecord) { r.SetTimestamp(5); r.SetSeverityText("Warning") })
	add(func(r plog.LogRecord) { r.SetTimestamp(5); r.SetSeverityNumber(99); r.SetSeverityText("odd") })
	add(func(r plog.LogRecord) {})
	add(func(r plog.LogRecord) { r.SetTimestamp(math.MaxUint64) })
	b := sendLogs(t, ld)
	if diff := cmp.Diff([]model.Rejection{{Signal: "logs", Reason: "in_the_future", Count: 1}}, b.Rejected); diff != "" {
		t.Errorf("rejections (-want +got):\n%s", diff)
	}
	l := b.Logs
	if len(l) != 4 {
		t.Fatalf("%d logs", len(l))
	}
	if l[0].Time != 9 || l[0].Observed != 9 || l[0].Body != model.Map(`{"values":[{"key":"msg","value":{"stringValue":"hi"}}]}`) {
		t.Errorf("map body: %+v", l[0])
	}
	if l[1].Time != 5 || l[1].Observed < before || l[1].Severity != 13 || l[1].Service() != "unknown_service" {
		t.Errorf("severity by text: %+v", l[1])
	}
	if l[2].Severity != 0 || l[2].SeverityText != "odd" {
		t.Errorf("odd severity: %+v", l[2])
	}
	if l[3].Time < before || l[3].Time != l[3].Observed {
		t.Errorf("without any time: %+v", l[3])
	}
}

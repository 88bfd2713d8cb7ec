package model_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"triage/internal/model"
)

func TestSpanJSON(t *testing.T) {
	span := model.Span{
		TraceID: model.TraceIDFrom(0x0102030405060708, 0x090a0b0c0d0e0f10), SpanID: model.SpanIDFrom(0x1112131415161718),
		Name: "GET /cart", Kind: model.SpanServer, Start: 1_700_000_000_123_456_789, Duration: 2_500_000_000,
		Status: model.StatusError, StatusMessage: "pool exhausted",
		Attrs:    model.Attrs{{Key: "http.response.status_code", Value: model.Int(500)}, {Key: "user.id", Value: model.String("u-1")}},
		Resource: &model.Resource{Service: "cart", Attrs: model.Attrs{{Key: "service.version", Value: model.String("2")}}},
		Scope:    &model.Scope{Name: "net/http", Version: "0.70.0"},
		Events: []model.SpanEvent{{Time: 1_700_000_001_000_000_000, Name: "exception",
			Attrs: model.Attrs{{Key: "exception.type", Value: model.String("Timeout")}}}},
		Links: []model.Link{{TraceID: model.TraceIDFrom(0, 5), SpanID: model.SpanIDFrom(6)}},
	}
	got, err := json.Marshal(span)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"1112131415161718","name":"GET /cart","kind":"server",` +
		`"start":"2023-11-14T22:13:20.123456789Z","duration_ns":2500000000,"status":"error","status_message":"pool exhausted",` +
		`"service":"cart","attributes":{"http.response.status_code":500,"user.id":"u-1"},"resource":{"service.version":"2"},` +
		`"scope":{"name":"net/http","version":"0.70.0"},` +
		`"events":[{"time":"2023-11-14T22:13:21Z","name":"exception","attributes":{"exception.type":"Timeout"}}],` +
		`"links":[{"trace_id":"00000000000000000000000000000005","span_id":"0000000000000006","attributes":{}}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("span JSON (-want +got):\n%s", diff)
	}
}

func TestLogJSON(t *testing.T) {
	rec := model.LogRecord{
		Time: 1_700_000_000_000_000_000, Severity: 17, Body: model.String("pool exhausted after 2s"), Template: 0xabc,
		TraceID:  model.TraceIDFrom(1, 2),
		Resource: &model.Resource{Service: "cart"},
	}
	got, err := json.Marshal([]model.LogRecord{rec})
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"time":"2023-11-14T22:13:20Z","trace_id":"00000000000000010000000000000002","severity":17,"level":"error",` +
		`"service":"cart","body":"pool exhausted after 2s","template":"0000000000000abc","attributes":{},"resource":{}}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("log JSON (-want +got):\n%s", diff)
	}
}

func TestJSONRefusesWhatIsNoRow(t *testing.T) {
	for _, text := range []string{`{"trace_id":"xyz"}`, `{"start":"yesterday"}`, `[]`} {
		if err := json.Unmarshal([]byte(text), new(model.Span)); err == nil {
			t.Errorf("span %s: no error", text)
		}
	}
	for _, text := range []string{`{"template":"not hex"}`, `{"time":5}`, `"text"`} {
		if err := json.Unmarshal([]byte(text), new(model.LogRecord)); err == nil {
			t.Errorf("log record %s: no error", text)
		}
	}
}

func TestSpanJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scope := &model.Scope{Name: drawText(t), Version: drawText(t), Attrs: drawAttrs(t), SchemaURL: drawText(t)}
		if rapid.Bool().Draw(t, "no scope") {
			scope = nil
		}
		want := model.Span{
			TraceID: model.TraceIDFrom(rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")),
			SpanID:  model.SpanIDFrom(rapid.Uint64().Draw(t, "span")), ParentID: model.SpanIDFrom(rapid.Uint64().Draw(t, "parent")),
			TraceState: drawText(t), Flags: rapid.Uint32().Draw(t, "flags"), Name: drawText(t),
			Kind:  model.SpanKind(rapid.IntRange(0, 5).Draw(t, "kind")),
			Start: rapid.Int64Range(0, math.MaxInt64).Draw(t, "start"), Duration: rapid.Int64Min(0).Draw(t, "duration"),
			Status: model.StatusCode(rapid.IntRange(0, 2).Draw(t, "status")), StatusMessage: drawText(t), Attrs: drawAttrs(t),
			Events: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) model.SpanEvent {
				return model.SpanEvent{Time: rapid.Int64Min(1).Draw(t, "time"), Name: drawText(t), Attrs: drawAttrs(t), DroppedAttrs: 1}
			}), 0, 3).Draw(t, "events"),
			Links: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) model.Link {
				return model.Link{TraceID: model.TraceIDFrom(1, rapid.Uint64().Draw(t, "lo")), SpanID: model.SpanIDFrom(9),
					TraceState: drawText(t), Flags: 1, Attrs: drawAttrs(t), DroppedAttrs: 2}
			}), 0, 3).Draw(t, "links"),
			DroppedAttrs: 3, DroppedEvents: 4, DroppedLinks: 5,
			Resource: &model.Resource{Service: drawText(t), Attrs: drawAttrs(t), SchemaURL: drawText(t)}, Scope: scope,
		}
		var got model.Span
		roundTrip(t, want, &got)
	})
}

func TestLogJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := model.LogRecord{
			Time: rapid.Int64Min(0).Draw(t, "time"), Observed: rapid.Int64Min(0).Draw(t, "observed"),
			TraceID: model.TraceIDFrom(rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")),
			SpanID:  model.SpanIDFrom(rapid.Uint64().Draw(t, "span")), Flags: rapid.Uint32().Draw(t, "flags"),
			Severity: model.Severity(rapid.IntRange(0, 24).Draw(t, "severity")), SeverityText: drawText(t), EventName: drawText(t),
			Body: drawValue(t), Attrs: drawAttrs(t), DroppedAttrs: 7, Template: rapid.Uint64().Draw(t, "template"),
			Resource: &model.Resource{Service: drawText(t), Attrs: drawAttrs(t)},
		}
		var got model.LogRecord
		roundTrip(t, want, &got)
	})
}

func roundTrip[T any](t *rapid.T, want T, got *T) {
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, got); err != nil {
		t.Fatalf("reading %s: %v", b, err)
	}
	if diff := cmp.Diff(want, *got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b model.Value) bool { return a == b })); diff != "" {
		t.Fatalf("round trip of %s (-want +got):\n%s", b, diff)
	}
}

func drawText(t *rapid.T) string { return rapid.String().Draw(t, "text") }

// drawValue leaves out what JSON cannot tell apart: bytes, and doubles without a fraction.
func drawValue(t *rapid.T) model.Value {
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		return model.String(drawText(t))
	case 1:
		return model.Bool(rapid.Bool().Draw(t, "bool"))
	case 2:
		return model.Int(rapid.Int64().Draw(t, "int"))
	case 3:
		return model.Double(float64(rapid.IntRange(-1000, 1000).Draw(t, "double")) + 0.5)
	case 4:
		return model.List(`[{"stringValue":"a"}]`)
	}
	return model.Map(`{"values":[{"key":"a"}]}`)
}

func drawAttrs(t *rapid.T) model.Attrs {
	m := rapid.MapOfN(rapid.String(), rapid.Custom(drawValue), 0, 3).Draw(t, "attributes")
	var a model.Attrs
	for k, v := range m {
		a = append(a, model.Attr{Key: k, Value: v})
	}
	return a.Sorted()
}

// FuzzSpanJSON and FuzzLogJSON hold that whatever can be read can be written, and reads as the same again.
func FuzzSpanJSON(f *testing.F) {
	f.Add(`{"trace_id":"0102030405060708090a0b0c0d0e0f10","start":"2023-11-14T22:13:20Z","attributes":{"a":[1],"b":{"c":2.5}},"events":[{"time":"2023-11-14T22:13:21Z"}]}`)
	f.Fuzz(func(t *testing.T, text string) { stable(t, text, new(model.Span), new(model.Span)) })
}

func FuzzLogJSON(f *testing.F) {
	f.Add(`{"time":"2023-11-14T22:13:20Z","severity":17,"service":"cart","body":"text","template":"abc","attributes":{"a":null,"b":1e99,"c":-0}}`)
	f.Fuzz(func(t *testing.T, text string) { stable(t, text, new(model.LogRecord), new(model.LogRecord)) })
}

func stable(t *testing.T, text string, first, second any) {
	if json.Unmarshal([]byte(text), first) != nil {
		return
	}
	a, err := json.Marshal(first)
	if err != nil {
		t.Fatalf("%s was read and cannot be written: %v", text, err)
	}
	if err := json.Unmarshal(a, second); err != nil {
		t.Fatalf("%s was written and cannot be read: %v", a, err)
	}
	b, err := json.Marshal(second)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Fatalf("%s\nreads as\n%s\nand then as\n%s", text, a, b)
	}
}

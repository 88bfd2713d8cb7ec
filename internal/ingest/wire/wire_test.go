package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"triage/internal/ingest/wire"
)

func schema() *wire.Message {
	return wire.Learn((&tracepb.TracesData{}).ProtoReflect().Descriptor(),
		func(fd protoreflect.FieldDescriptor) int {
			if fd.Name() == "trace_id" {
				return 16
			}
			return 0
		},
		func(protoreflect.MessageDescriptor) int64 { return 100 })
}

func message(t testing.TB, spans ...*tracepb.Span) []byte {
	t.Helper()
	b, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCheck(t *testing.T) {
	good := &tracepb.Span{
		TraceId: bytes.Repeat([]byte{1}, 16), Name: "GET /cart",
		Attributes: []*commonpb.KeyValue{{Key: "a", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: "b"}}}},
	}
	whole := message(t, good)
	for _, c := range []struct {
		name string
		data []byte
		cost int64 // what is taken besides the bytes; -1 if the message is broken
		want string
	}{
		{"nothing", nil, 100, ""},
		{"six messages", whole, 600, ""},
		{"empty spans cost more than their bytes", message(t, make([]*tracepb.Span, 50)...), 5300, ""},
		{"cut short", whole[:len(whole)-1], -1, "resource_spans[0]: ends too early (byte 1)"},
		{"an ID of three bytes", message(t, good, &tracepb.Span{TraceId: []byte{1, 2, 3}}), -1, "resource_spans[0].scope_spans[0].spans[1].trace_id: 3 bytes, want 16 or none"},
		{"a number for a message", []byte{0x08, 0x01}, -1, "resource_spans[0]: wire type 0, want 2 (byte 0)"},
		{"field zero", []byte{0x02, 0x00}, -1, "(byte 0)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cost, err := schema().Check(c.data)
			if c.cost < 0 {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				return
			}
			if got := cost - int64(len(c.data)); err != nil || got != c.cost {
				t.Errorf("cost %d, error %v; want %d", got, err, c.cost)
			}
		})
	}
}

// FuzzCheck holds that what protobuf decodes is found good, where nesting and IDs keep to their limits.
func FuzzCheck(f *testing.F) {
	f.Add(message(f, &tracepb.Span{Name: "a", Events: []*tracepb.Span_Event{{Name: "b"}}}))
	f.Add([]byte{0x0a, 0x02, 0x12, 0x00})
	f.Add([]byte{0x0b, 0x0c})
	m := schema()
	f.Fuzz(func(t *testing.T, data []byte) {
		cost, err := m.Check(data)
		if cost < int64(len(data)) {
			t.Errorf("cost %d of %d bytes", cost, len(data))
		}
		if err != nil && (err.Error() == "" || len(err.Error()) > 1000) {
			t.Errorf("message %q", err)
		}
	})
}

package otlp

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"

	"triage/internal/model"
)

const everySpan = `{"resourceSpans":[{"schemaUrl":"https://example.com/1","resource":{"attributes":[
{"key":"service.name","value":{"stringValue":"cart"}},{"key":"service.name","value":{"stringValue":"cart2"}}]},
"scopeSpans":[{"schemaUrl":"https://example.com/2","scope":{"name":"lib","version":"1","attributes":[{"key":"k","value":{"boolValue":true}}]},"spans":[
{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","parentSpanId":"1112131415161718","traceState":"ot=th:8","flags":257,
"name":"GET /","kind":2,"startTimeUnixNano":"1000","endTimeUnixNano":"900","status":{"code":2,"message":"too late"},"droppedAttributesCount":1,
"droppedEventsCount":2,"droppedLinksCount":3,"attributes":[{"key":"t","value":{"stringValue":"text"}},{"key":"b","value":{"boolValue":true}},
{"key":"i","value":{"intValue":"-5"}},{"key":"d","value":{"doubleValue":1.5}},{"key":"y","value":{"bytesValue":"AAEC"}},{"key":"e","value":{}},
{"key":"l","value":{"arrayValue":{"values":[{"intValue":"1"},{"stringValue":"\"q\""},{},{"kvlistValue":{"values":[{"key":"x","value":{"doubleValue":"NaN"}}]}}]}}},
{"key":"m","value":{"kvlistValue":{"values":[{"key":"x","value":{"bytesValue":"AA=="}},{"key":"y","value":{"boolValue":false}},{"key":"z"}]}}}],
"events":[{"timeUnixNano":"950","name":"exception","droppedAttributesCount":4,"attributes":[{"key":"exception.type","value":{"stringValue":"E"}}]},{"name":"no time"}],
"links":[{"traceId":"0102030405060708090a0b0c0d0e0f11","spanId":"0102030405060709","traceState":"a=b","flags":1,"droppedAttributesCount":5,"attributes":[{"key":"k","value":{"intValue":"1"}}]}]},
{"name":"no ID"},{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060709","kind":77,"endTimeUnixNano":"99999999999999999"},
{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"010203040506070a","startTimeUnixNano":"5","endTimeUnixNano":"9999999999999999999"}]}]},{"scopeSpans":[{}]},{}]}`

const everyLog = `{"resourceLogs":[{"schemaUrl":"https://example.com/1","resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},
"scopeLogs":[{"scope":{"name":"lib"},"logRecords":[{"timeUnixNano":"1","observedTimeUnixNano":"2","severityNumber":9,"severityText":"INFO",
"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","flags":1,"eventName":"e","droppedAttributesCount":3,
"body":{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{"doubleValue":1}]}}}]}},"attributes":[{"key":"a","value":{"bytesValue":"AA=="}}]},
{"severityText":"warn","body":{"stringValue":"no time"}},{"timeUnixNano":"9999999999999999999"},{}]}]}]}`

func spansOf(t testing.TB, text string) []byte {
	t.Helper()
	r := ptraceotlp.NewExportRequest()
	if err := r.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	data, err := r.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func logsOf(t testing.TB, text string) []byte {
	t.Helper()
	r := plogotlp.NewExportRequest()
	if err := r.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	data, err := r.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// nested puts a message into the fields of those around it, outermost first.
func nested(message []byte, fields ...protowire.Number) []byte {
	for i := len(fields) - 1; i >= 0; i-- {
		message = protowire.AppendBytes(protowire.AppendTag(nil, fields[i], protowire.BytesType), message)
	}
	return message
}

// oddParts are messages that hardly any sender writes, as spans or log records.
func oddParts() [][]byte {
	key := nested([]byte("k"), 1)
	value := func(field protowire.Number, text string) []byte { return nested([]byte(text), 2, field) }
	attr := func(parts ...[]byte) []byte { return nested(bytes.Join(parts, nil), 9) }
	id := append(nested([]byte("0123456789abcdef"), 1), nested([]byte("01234567"), 2)...)
	id = protowire.AppendFixed64(protowire.AppendTag(id, 7, protowire.Fixed64Type), 5)
	with := func(parts ...[]byte) []byte { return append(bytes.Clone(id), bytes.Join(parts, nil)...) }
	many := bytes.Repeat(attr(key, value(1, "v")), maxParts+2)
	for i := range maxParts + 2 {
		many = append(many, attr(nested([]byte{'a' + byte(i%20), 'a' + byte(i/20%20), 'a' + byte(i/400)}, 1), value(1, "v"))...)
	}
	group := protowire.AppendTag(protowire.AppendTag(nil, 50, protowire.StartGroupType), 50, protowire.EndGroupType)
	return [][]byte{
		with(attr(key, value(1, "first"), value(5, "")), attr(value(1, "no key")), attr(key)), // two values in one, and one key twice
		with(nested(protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 2), 15), nested(nested([]byte("m"), 2), 15)),
		with(group),
		with(many),
		with(attr(nested([]byte("\xff"), 1), value(1, strings.Repeat("\xff", maxValue)+"ä")), attr(key, value(7, strings.Repeat("x", maxValue+1)))),
		with(bytes.Repeat(nested(nil, 11), maxParts+3), bytes.Repeat(nested(nil, 13), maxParts+3)),
		with(nested([]byte("\xff"), 5), nested(nil, 1)),
		with(attr(key, nested(nested(protowire.AppendVarint(protowire.AppendTag(nil, 8, protowire.VarintType), 3), 2), 2))),
	}
}

var decodedAt = time.Unix(1_772_366_400, 0)

// agree compares what the two decoders make of a request that passes check.
func agree(t *testing.T, data []byte, sig signal) {
	t.Helper()
	oracle := newPdataDecoder()
	if _, err := oracle.check(data, sig, protobuf); err != nil {
		return
	}
	decode := func(d decoder) (*sieve, error) {
		s := newSieve(&model.Batch{}, sig, decodedAt)
		if sig == logs {
			return s, d.logs(data, protobuf, s)
		}
		return s, d.traces(data, protobuf, s)
	}
	want, wantErr := decode(oracle)
	got, err := decode(wireDecoder{oracle})
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("error %v, pdata's is %v", err, wantErr)
	}
	if err != nil {
		return
	}
	if diff := cmp.Diff(got.batch, want.batch, cmp.AllowUnexported(model.Value{})); diff != "" {
		t.Errorf("rows differ from pdata's (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff([]any{got.rejected, got.repaired, got.message()}, []any{want.rejected, want.repaired, want.message()}); diff != "" {
		t.Errorf("counts differ from those of pdata's (-got +want):\n%s", diff)
	}
}

func TestWireDecoder(t *testing.T) {
	for _, sig := range []signal{traces, logs} {
		whole := spansOf(t, everySpan)
		if sig == logs {
			whole = logsOf(t, everyLog)
		}
		agree(t, whole, sig)
		s := newSieve(&model.Batch{}, sig, decodedAt)
		r := wireReader{sieve: s}
		if sig == traces && !r.traces(whole) || sig == logs && !r.logs(whole) {
			t.Errorf("%s that any sender may write were left to pdata", sig)
		}
		for _, part := range oddParts() {
			agree(t, nested(part, 1, 2, 2), sig)
		}
	}
	// Parts of which there should be one.
	spans := nested(oddParts()[0], 2, 2)
	res := nested(nested(append(nested([]byte("service.name"), 1), nested([]byte("cart"), 2, 1)...), 1), 1)
	agree(t, nested(bytes.Join([][]byte{res, spans, res}, nil), 1), traces)
	agree(t, nested(bytes.Join([][]byte{res, nested(oddParts()[0], 1000, 2)}, nil), 1), traces)
}

// TestWireDecoderOnDamage changes bytes here and there, so that it also runs where nobody fuzzes.
func TestWireDecoderOnDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for sig, whole := range map[signal][]byte{traces: spansOf(t, everySpan), logs: logsOf(t, everyLog)} {
		for range 10_000 {
			data := bytes.Clone(whole)
			for range 1 + rng.IntN(3) {
				at := rng.IntN(len(data))
				switch rng.IntN(4) {
				case 0:
					data[at] = byte(rng.Uint32())
				case 1: // another field of the same type
					data[at] ^= 1 << (3 + rng.IntN(4))
				case 2:
					data = append(data, data[at:min(len(data), at+rng.IntN(40))]...)
				case 3:
					copy(data[at:], data[rng.IntN(len(data)):])
				}
			}
			if agree(t, data, sig); t.Failed() {
				t.Fatalf("%s: %x", sig, data)
			}
		}
	}
}

func FuzzTracesDecoders(f *testing.F) {
	f.Add(spansOf(f, everySpan))
	for _, part := range oddParts() {
		if len(part) < 1<<10 {
			f.Add(nested(part, 1, 2, 2))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, data, traces) })
}

func FuzzLogsDecoders(f *testing.F) {
	f.Add(logsOf(f, everyLog))
	for _, part := range oddParts() {
		if len(part) < 1<<10 {
			f.Add(nested(part, 1, 2, 2))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, data, logs) })
}

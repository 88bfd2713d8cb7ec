package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"

	"triage/client"
	"triage/internal/model"
)

// answer is what a sender is told: an HTTP status, or the name of a gRPC code, and the text of the answer. Protobuf holds
// text as it is, so that a part of it is found without decoding.
type answer struct{ status, text string }

// hostile is one row: what is sent, and everything that must come of it.
type hostile struct {
	name string
	send func(t *testing.T, s *running) answer
	// status and says are the answer.
	status, says string
	// counter is the series of /metrics that must have grown.
	counter string
	// stored, if not nil, waits for the good part.
	stored func(t *testing.T, s *running)
}

func request(t *testing.T, method, url string, body []byte, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{"none", err.Error()}
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{strconv.Itoa(res.StatusCode), string(text)}
}

const protobuf, jsonText = "application/x-protobuf", "application/json"

// otlp makes a sender over HTTP.
func otlp(signal, contentType string, body []byte, header ...string) func(*testing.T, *running) answer {
	return func(t *testing.T, s *running) answer {
		return request(t, "POST", s.otlp+"/v1/"+signal, body, append([]string{"Content-Type", contentType}, header...)...)
	}
}

// rawBytes is a codec that sends bytes as they are under the name of protobuf's.
type rawBytes struct{}

func (rawBytes) Name() string                       { return "proto" }
func (rawBytes) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (rawBytes) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }

var _ encoding.Codec = rawBytes{}

func otlpGRPC(service string, body []byte, options ...grpc.CallOption) func(*testing.T, *running) answer {
	return func(t *testing.T, s *running) answer {
		conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		var out []byte
		method := "/opentelemetry.proto.collector." + service + "/Export"
		err = conn.Invoke(t.Context(), method, body, &out, append(options, grpc.ForceCodec(rawBytes{}))...)
		st := status.Convert(err)
		return answer{st.Code().String(), st.Message() + string(out)}
	}
}

func remoteWrite(body []byte, header ...string) func(*testing.T, *running) answer {
	return func(t *testing.T, s *running) answer {
		return request(t, "POST", s.api+"/prometheus/api/v1/write", body, append([]string{"Content-Encoding", "snappy"}, header...)...)
	}
}

func api(method, path, body string, header ...string) func(*testing.T, *running) answer {
	return func(t *testing.T, s *running) answer {
		return request(t, method, s.api+path, []byte(body), append([]string{"Content-Type", jsonText}, header...)...)
	}
}

func zipped(t testing.TB, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body)
	_ = z.Close() // a buffer takes all
	return b.Bytes()
}

// spansOf makes a request of the spans that set makes of empty ones; each has an ID, a name and the present as its time.
func spansOf(service string, id pcommon.TraceID, set ...func(ptrace.Span)) []byte {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	if service != "" {
		rs.Resource().Attributes().PutStr("service.name", service)
	}
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	now := time.Now()
	for i, f := range set {
		span := spans.AppendEmpty()
		span.SetTraceID(id)
		span.SetSpanID(spanID(i + 1))
		span.SetName("GET /page")
		span.SetKind(ptrace.SpanKindServer)
		span.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Millisecond)))
		span.SetEndTimestamp(pcommon.NewTimestampFromTime(now))
		f(span)
	}
	b, _ := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	return b
}

func spanID(n int) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

func plain(ptrace.Span) {}

// gauges makes a request of one gauge with a point for each value.
func gauges(name string, values ...float64) []byte {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "hostile")
	m := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName(name)
	points := m.SetEmptyGauge().DataPoints()
	for i, v := range values {
		p := points.AppendEmpty()
		p.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		p.Attributes().PutInt("point", int64(i))
		p.SetDoubleValue(v)
	}
	b, _ := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	return b
}

func logOf(text string) []byte {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "hostile")
	r := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	r.Body().SetStr(text)
	b, _ := plogotlp.NewExportRequestFromLogs(ld).MarshalProto()
	return b
}

// samples makes a remote write request of series, each of which has one sample.
func samples(series ...prompb.TimeSeries) []byte {
	b, _ := (&prompb.WriteRequest{Timeseries: series}).Marshal()
	return snappy.Encode(nil, b)
}

func sample(name string, at time.Time, value float64, label ...string) prompb.TimeSeries {
	ts := prompb.TimeSeries{
		Labels:  []prompb.Label{{Name: "__name__", Value: name}},
		Samples: []prompb.Sample{{Timestamp: at.UnixMilli(), Value: value}},
	}
	for i := 0; i < len(label); i += 2 {
		ts.Labels = append(ts.Labels, prompb.Label{Name: label[i], Value: label[i+1]})
	}
	return ts
}

// hasTrace waits until a trace has n spans that pass check.
func hasTrace(id pcommon.TraceID, n int, check func([]model.Span) string) func(*testing.T, *running) {
	return func(t *testing.T, s *running) {
		t.Helper()
		var spans []model.Span
		eventually(t, fmt.Sprintf("%d spans of trace %s", n, id), func() bool {
			tr, err := client.New(s.api).Trace(t.Context(), id.String())
			spans = tr.Spans
			return err == nil && len(spans) == n
		})
		if check == nil {
			return
		}
		if wrong := check(spans); wrong != "" {
			t.Error(wrong)
		}
	}
}

// hasValue waits until PromQL answers with a text.
func hasValue(expr, want string) func(*testing.T, *running) {
	return func(t *testing.T, s *running) {
		t.Helper()
		eventually(t, expr+" to be "+want, func() bool { return strings.Contains(query(t, s, expr), want) })
	}
}

func query(t *testing.T, s *running, expr string) string {
	t.Helper()
	return request(t, "GET", s.api+"/prometheus/api/v1/query?query="+url.QueryEscape(expr), nil).text
}

// counter reads one series of /metrics, 0 if it is not there.
func counter(t *testing.T, s *running, series string) float64 {
	t.Helper()
	for line := range strings.Lines(request(t, "GET", s.api+"/metrics", nil).text) {
		if v, ok := strings.CutPrefix(line, series+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	return 0
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the most that the process has held, in MiB.
func (s *running) peakMemory(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Process.Pid))
	if err != nil {
		t.Skip("no /proc")
	}
	m := peak.FindSubmatch(b)
	if m == nil {
		t.Fatal("the server is gone")
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return kib >> 10
}

const (
	refusedHTTP  = `triage_otlp_refused_requests_total{reason="%s",signal="%s",transport="http"}`
	refusedGRPC  = `triage_otlp_refused_requests_total{reason="%s",signal="%s",transport="grpc"}`
	refusedWrite = `triage_promwrite_refused_requests_total{reason="%s"}`
	rejected     = `triage_ingest_rejected_items_total{reason="%s",signal="%s",source="%s"}`
	repaired     = `triage_otlp_repaired_total{reason="%s",signal="%s"}`
	traceService = "trace.v1.TraceService"
)

// Everything that arrives at a port and is not as it should be: it is answered as the format's specification says, the
// place is named, /metrics counts it by reason, its good part is stored, and the server goes on.
func TestHostileInput(t *testing.T) {
	s := serve(t, t.TempDir(), "--host-metrics-enabled=false")
	for _, row := range slicesConcat(otlpRows(t), metricRows(), remoteWriteRows(t), shapeRows(), apiRows()) {
		t.Run(row.name, func(t *testing.T) {
			var before float64
			if row.counter != "" {
				before = counter(t, s, row.counter)
			}
			got := row.send(t, s)
			if got.status != row.status || !strings.Contains(got.text, row.says) {
				t.Errorf("answer %s %.500q, want %s with %q", got.status, got.text, row.status, row.says)
			}
			if row.counter != "" {
				// gRPC tells of a message it could not take only after the answer is on its way.
				eventually(t, row.counter+" to count it", func() bool { return counter(t, s, row.counter) > before })
			}
			if row.stored != nil {
				row.stored(t, s)
			}
		})
	}
	if ready := request(t, "GET", s.api+"/-/ready", nil); ready.status != "200" {
		t.Errorf("not ready: %v", ready)
	}
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if strings.Contains(s.log.String(), "BUG") || strings.Contains(s.log.String(), "panic") {
		t.Errorf("a request found a bug:\n%s", s.log)
	}
}

func slicesConcat(lists ...[]hostile) (all []hostile) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// otlpRows are requests that are broken as a whole.
func otlpRows(t *testing.T) []hostile {
	good := spansOf("hostile", newTrace(), plain)
	deep := []byte{}
	for range 200 { // an AnyValue that is a list of one AnyValue, and so on
		list := append(binary.AppendUvarint([]byte{0x0a}, uint64(len(deep))), deep...)
		deep = append(binary.AppendUvarint([]byte{0x2a}, uint64(len(list))), list...)
	}
	nested := func(value []byte) []byte { // as an attribute of a resource
		for _, tag := range []byte{0x12, 0x0a, 0x0a, 0x0a} {
			value = append(binary.AppendUvarint([]byte{tag}, uint64(len(value))), value...)
		}
		return value
	}
	empty := append(binary.AppendUvarint([]byte{0x0a}, 0), 0)[:0]
	for range 9 << 20 {
		empty = append(empty, 0x12, 0x00) // a span without anything
	}
	for _, tag := range []byte{0x12, 0x0a} {
		empty = append(binary.AppendUvarint([]byte{tag}, uint64(len(empty))), empty...)
	}
	big := bytes.Repeat([]byte{' '}, 25<<20)
	refused := func(reason string) string { return fmt.Sprintf(refusedHTTP, reason, "traces") }
	return []hostile{
		{name: "protobuf cut short", send: otlp("traces", protobuf, good[:len(good)-3]), status: "400", says: "resource_spans[0]: ends too early (byte 1)", counter: refused("malformed")},
		{name: "protobuf that is text", send: otlp("traces", protobuf, []byte("hello")), status: "400", says: "(byte ", counter: refused("malformed")},
		{name: "nested too deep", send: otlp("traces", protobuf, nested(deep)), status: "400", says: "nested deeper than 100", counter: refused("malformed")},
		{name: "broken JSON", send: otlp("traces", jsonText, []byte(`{"resourceSpans":[}`)), status: "400", says: "(byte 19)", counter: refused("malformed")},
		{name: "JSON of another shape", send: otlp("traces", jsonText, []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}`)), status: "400", says: "traceId", counter: refused("malformed")},
		{name: "logs in JSON of another shape", send: otlp("logs", jsonText, []byte(`{"resourceLogs":7}`)), status: "400", says: "resourceLogs", counter: fmt.Sprintf(refusedHTTP, "malformed", "logs")},
		{name: "content type", send: otlp("traces", "text/plain", good), status: "415", says: `unsupported Content-Type "text/plain"`, counter: refused("content_type")},
		{name: "content encoding", send: otlp("traces", protobuf, good, "Content-Encoding", "br"), status: "415", says: `unsupported Content-Encoding "br"`, counter: refused("content_encoding")},
		{name: "gzip cut short", send: otlp("traces", protobuf, zipped(t, good)[:30], "Content-Encoding", "gzip"), status: "400", says: "unpack gzip: unexpected EOF", counter: refused("malformed")},
		{name: "gzip bomb", send: otlp("traces", protobuf, zipped(t, make([]byte, 1<<28)), "Content-Encoding", "gzip"), status: "413", says: "more than 20971520 bytes unpacked", counter: refused("too_large")},
		{name: "25 MiB", send: otlp("logs", jsonText, big), status: "413", says: "26214400 bytes, at most 20971520", counter: fmt.Sprintf(refusedHTTP, "too_large", "logs")},
		{name: "nothing but empty spans", send: otlp("traces", protobuf, empty), status: "413", says: "bytes of memory", counter: refused("too_large")},
		{name: "nothing but empty objects", send: otlp("traces", jsonText, []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{}`+strings.Repeat(",{}", 6<<20)+`]}]}]}`)), status: "413", says: "bytes of memory", counter: refused("too_large")},
		{name: "tenant that is a path", send: otlp("traces", protobuf, good, "X-Scope-OrgID", "../../etc"), status: "400", says: `X-Scope-OrgID: tenant "../../etc": '/' is not allowed`, counter: refused("malformed")},
		{name: "method", send: func(t *testing.T, s *running) answer { return request(t, "PUT", s.otlp+"/v1/traces", good) }, status: "405", says: "OTLP is sent by POST", counter: refused("method")},
		{name: "gRPC protobuf cut short", send: otlpGRPC(traceService, good[:len(good)-3]), status: "InvalidArgument", says: "resource_spans[0]: ends too early (byte 1)", counter: fmt.Sprintf(refusedGRPC, "malformed", "traces")},
		{name: "gRPC too large", send: otlpGRPC(traceService, big[:5<<20]), status: "ResourceExhausted", says: "larger than max", counter: fmt.Sprintf(refusedGRPC, "too_large", "traces")},
		{name: "gRPC compressed bomb", send: otlpGRPC(traceService, big, grpc.UseCompressor("gzip")), status: "ResourceExhausted", says: "larger than max", counter: fmt.Sprintf(refusedGRPC, "too_large", "traces")},
	}
}

// shapeRows are requests of which something is stored.
func shapeRows() []hostile {
	var rows []hostile
	add := func(r hostile) { rows = append(rows, r) }
	span := func(name, status, says, counter string, n int, check func([]model.Span) string, service string, set ...func(ptrace.Span)) {
		id := newTrace()
		add(hostile{name: name, send: otlp("traces", protobuf, spansOf(service, id, set...)), status: status, says: says, counter: counter, stored: hasTrace(id, n, check)})
	}
	at := func(year int) pcommon.Timestamp {
		return pcommon.NewTimestampFromTime(time.Date(year, 1, 1, 0, 0, 1, 0, time.UTC))
	}
	attr := func(spans []model.Span, key string) string { return spans[0].Attrs.Str(key) }

	span("10 MB attribute", "200", "resource_spans[0].scope_spans[0].spans[0]: too long", fmt.Sprintf(repaired, "too_long", "traces"), 2, func(spans []model.Span) string {
		if n := len(attr(spans, "book")) + len(spans[1].Attrs.Str("book")); n < 1000 || n > 256<<10 {
			return fmt.Sprintf("%d bytes are kept of it", n)
		}
		return ""
	}, "hostile", func(s ptrace.Span) { s.Attributes().PutStr("book", strings.Repeat("x", 10_000_000)) }, plain)
	add(hostile{name: "10 MB log line", send: otlp("logs", protobuf, logOf("marker-of-the-long-line "+strings.Repeat("y", 10_000_000))), status: "200", says: "log_records[0]: too long",
		counter: fmt.Sprintf(repaired, "too_long", "logs"), stored: hasLog("marker-of-the-long-line")})
	span("invalid UTF-8", "200", "spans[0]: invalid utf8", fmt.Sprintf(repaired, "invalid_utf8", "traces"), 1, func(spans []model.Span) string {
		if got := attr(spans, "text"); got != "a\uFFFDb" {
			return fmt.Sprintf("text is %q", got)
		}
		return ""
	}, "hostile", func(s ptrace.Span) { s.Attributes().PutStr("text", "a\xffb"); s.SetName("GET /\xc3") })
	span("1970", "200", "", "", 1, func(spans []model.Span) string {
		if y := time.Unix(0, spans[0].Start).UTC().Year(); y != 1970 {
			return fmt.Sprintf("it is of %d", y)
		}
		return ""
	}, "hostile", func(s ptrace.Span) { s.SetStartTimestamp(at(1970)); s.SetEndTimestamp(at(1970) + 1e6) })
	span("begun in 1970", "200", "", "triage_derive_implausible_spans_total", 1, nil, "hostile", func(s ptrace.Span) { s.SetStartTimestamp(at(1970)) })
	span("2100, and a good one", "200", "resource_spans[0].scope_spans[0].spans[1]: starts at 2100-01-01", fmt.Sprintf(rejected, "in_the_future", "spans", "otlp"), 1, nil,
		"hostile", plain, func(s ptrace.Span) { s.SetStartTimestamp(at(2100)); s.SetEndTimestamp(at(2100)) })
	span("ends in 2100", "200", "spans[0]: far end", fmt.Sprintf(repaired, "far_end", "traces"), 1, func(spans []model.Span) string {
		if d := spans[0].Duration; d != 0 {
			return fmt.Sprintf("it lasts %s", time.Duration(d))
		}
		return ""
	}, "hostile", func(s ptrace.Span) { s.SetEndTimestamp(at(2100)) })
	span("NaN and infinities in attributes", "200", "", "", 1, func(spans []model.Span) string {
		if a, b := attr(spans, "nan"), attr(spans, "inf"); a != "NaN" || b != "-Inf" {
			return fmt.Sprintf("they are %q and %q", a, b)
		}
		return ""
	}, "hostile", func(s ptrace.Span) {
		s.Attributes().PutDouble("nan", math.NaN())
		s.Attributes().PutDouble("inf", math.Inf(-1))
	})
	span("no IDs, and a good one", "200", "no_id: 1; first: resource_spans[0].scope_spans[0].spans[0]", fmt.Sprintf(rejected, "no_id", "spans", "otlp"), 1, nil,
		"hostile", func(s ptrace.Span) { s.SetSpanID(pcommon.SpanID{}) }, plain)
	span("no time, and a good one", "200", "spans[0]: neither start nor end", fmt.Sprintf(rejected, "no_time", "spans", "otlp"), 1, nil,
		"hostile", func(s ptrace.Span) { s.SetStartTimestamp(0); s.SetEndTimestamp(0) }, plain)
	span("no service name", "200", "", "", 1, func(spans []model.Span) string {
		if got := spans[0].Service(); got != "unknown_service" {
			return "service is " + got
		}
		return ""
	}, "", plain)
	parent := func(n int) func(ptrace.Span) { return func(s ptrace.Span) { s.SetParentSpanID(spanID(n)) } }
	span("its own parent", "200", "", "", 1, nil, "knot", parent(1))
	span("a circle", "200", "", "", 3, nil, "knot", parent(3), parent(1), parent(2))
	span("a circle beside a root", "200", "", "", 4, nil, "knot", plain, parent(3), parent(4), parent(2))
	span("the same ID thrice", "200", "", "", 3, nil, "knot", plain, func(s ptrace.Span) { s.SetSpanID(spanID(1)); s.SetParentSpanID(spanID(1)) }, func(s ptrace.Span) { s.SetSpanID(spanID(1)) })
	span("a chain of 5,000", "200", "", "", 5000, nil, "knot", chain(5000)...)
	span("300,000 attributes on one span", "200", "spans[0]: too many", fmt.Sprintf(repaired, "too_many", "traces"), 1, func(spans []model.Span) string {
		if n := len(spans[0].Attrs); n != 1024 {
			return fmt.Sprintf("%d attributes", n)
		}
		return ""
	}, "hostile", func(s ptrace.Span) {
		// One length, one beginning, one end: a table of such keys must not cost the square of their number.
		many := make(map[string]any, 300_000)
		for i := range 300_000 {
			many[fmt.Sprintf("k%06dk", i)] = ""
		}
		_ = s.Attributes().FromRaw(many) // text always fits
	})
	add(hostile{name: "verdict over circles and 1970", send: api("POST", "/api/v1/diagnose", `{"service":"knot","from":"1970-01-01T00:00:00Z"}`), status: "200", says: `"what"`})
	add(hostile{name: "verdict over all of time", send: api("POST", "/api/v1/diagnose", `{"service":"hostile","from":"1970-01-01T00:00:00Z","to":"2100-01-01T00:00:00Z"}`), status: "200", says: `"what"`})
	add(hostile{name: "services over all of time", send: api("GET", "/api/v1/services?from=1970-01-01T00:00:00Z&to=2100-01-01T00:00:00Z", ""), status: "200", says: "knot"})
	return rows
}

func chain(n int) (set []func(ptrace.Span)) {
	for i := range n {
		set = append(set, func(s ptrace.Span) { s.SetParentSpanID(spanID(i)) })
	}
	return set
}

func hasLog(word string) func(*testing.T, *running) {
	return func(t *testing.T, s *running) {
		t.Helper()
		eventually(t, "a line with "+word, func() bool {
			a := request(t, "GET", s.api+"/api/v1/logs?q="+url.QueryEscape(`"`+word+`"`), nil)
			return a.status == "200" && strings.Contains(a.text, word)
		})
	}
}

func metricRows() []hostile {
	at := func(year int) uint64 { return uint64(time.Date(year, 1, 1, 0, 0, 1, 0, time.UTC).UnixNano()) }
	point := func(name string, times ...uint64) []byte {
		var points []string
		for i, ns := range times {
			points = append(points, fmt.Sprintf(`{"timeUnixNano":"%d","asDouble":7,"attributes":[{"key":"n","value":{"intValue":"%d"}}]}`, ns, i))
		}
		return []byte(fmt.Sprintf(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":%q,"gauge":{"dataPoints":[%s]}}]}]}]}`, name, strings.Join(points, ",")))
	}
	now := uint64(time.Now().UnixNano())
	histogram := `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"odd","histogram":{"aggregationTemporality":2,"dataPoints":[` +
		`{"timeUnixNano":"%d","count":"1","sum":1,"explicitBounds":[2,1],"bucketCounts":["1","0","0"]},{"timeUnixNano":"%[1]d","count":"1","sum":"NaN","explicitBounds":[1],"bucketCounts":["1","0"]}]}}]}]}]}`
	return []hostile{
		{name: "NaN and infinities as values", send: otlp("metrics", protobuf, gauges("limitless", math.NaN(), math.Inf(1), math.Inf(-1), 1)), status: "200",
			stored: func(t *testing.T, s *running) {
				hasValue("count(limitless)", `"4"`)(t, s)
				hasValue("max(limitless)", `"+Inf"`)(t, s)
			}},
		{name: "point of 1970, and a good one", send: otlp("metrics", jsonText, point("aged", now, at(1970))), status: "200", says: "too_old: 1",
			counter: fmt.Sprintf(rejected, "too_old", "samples", "otlp"), stored: hasValue("count(aged)", `"1"`)},
		{name: "point of 2100, and a good one", send: otlp("metrics", jsonText, point("unborn", at(2100), now)), status: "200", says: `metrics[0] \"unborn\": a point at 2100-01-01`,
			counter: fmt.Sprintf(rejected, "in_the_future", "samples", "otlp"), stored: hasValue("count(unborn)", `"1"`)},
		{name: "histogram out of order, and a good one", send: otlp("metrics", jsonText, []byte(fmt.Sprintf(histogram, now))), status: "200", says: "3 buckets for 2 bounds",
			counter: fmt.Sprintf(rejected, "invalid_histogram", "samples", "otlp"), stored: hasValue("odd_count", `"1"`)},
	}
}

func remoteWriteRows(t *testing.T) []hostile {
	now := time.Now()
	good := samples(sample("ok", now, 1))
	cut, err := snappy.Decode(nil, good)
	if err != nil {
		t.Fatal(err)
	}
	cut = snappy.Encode(nil, cut[:len(cut)-2])
	refused := func(reason string) string { return fmt.Sprintf(refusedWrite, reason) }
	return []hostile{
		{name: "write: not snappy", send: remoteWrite([]byte("\xff\xff\xff\xff\xff\xff")), status: "400", says: "decompress body", counter: refused("malformed")},
		{name: "write: cut short", send: remoteWrite(cut), status: "400", says: "timeseries[0]: ends too early (byte 1)", counter: refused("malformed")},
		{name: "write: content type", send: remoteWrite(good, "Content-Type", jsonText), status: "415", says: `content type "application/json" is not taken`, counter: refused("content_type")},
		{name: "write: gzip", send: remoteWrite(good, "Content-Encoding", "gzip"), status: "415", says: `content encoding "gzip" is not taken`, counter: refused("content_encoding")},
		{name: "write: 25 MiB", send: remoteWrite(snappy.Encode(nil, make([]byte, 25<<20))), status: "413", says: "26214400 bytes decompressed", counter: refused("too_large")},
		{name: "write: nothing but empty series", send: remoteWrite(snappy.Encode(nil, bytes.Repeat([]byte{0x0a, 0x00}, 9<<20))), status: "413", says: "bytes of memory", counter: refused("too_large")},
		{name: "write: invalid UTF-8, and a good one", send: remoteWrite(samples(sample("w_text", now, 1, "a", "\xff"), sample("w_text", now, 2))), status: "400", says: `timeseries[0]: label "a" is not UTF-8`,
			counter: fmt.Sprintf(rejected, "malformed", "samples", "promwrite"), stored: hasValue("w_text", `"2"`)},
		{name: "write: label of a megabyte, and a good one", send: remoteWrite(samples(sample("w_long", now, 1, "a", strings.Repeat("x", 1<<20)), sample("w_long", now, 2))), status: "400",
			says: "timeseries[0]: label \"a\" of 1048576 bytes", counter: fmt.Sprintf(rejected, "malformed", "samples", "promwrite"), stored: hasValue("w_long", `"2"`)},
		{name: "write: 1970 and 2100, and a good one", send: remoteWrite(samples(sample("w_time", time.Unix(1, 0), 1, "a", "1"), sample("w_time", now.AddDate(75, 0, 0), 1, "a", "2"), sample("w_time", now, 2))),
			status: "400", says: "in future; 1 samples: too old", counter: fmt.Sprintf(rejected, "in_future", "samples", "promwrite"), stored: hasValue("w_time", `"2"`)},
		{name: "write: NaN", send: remoteWrite(samples(sample("w_nan", now, math.NaN()))), status: "204", stored: hasValue("w_nan", `"NaN"`)},
		{name: "write: no name, and a good one", send: remoteWrite(samples(sample("", now, 1), sample("w_name", now, 2))), status: "400", says: "invalid labels",
			counter: fmt.Sprintf(rejected, "invalid_labels", "samples", "promwrite"), stored: hasValue("w_name", `"2"`)},
	}
}

func apiRows() []hostile {
	problem := func(name, method, path, body, status, says string, header ...string) hostile {
		return hostile{name: "api: " + name, send: api(method, path, body, header...), status: status, says: says}
	}
	return []hostile{
		problem("change cut short", "POST", "/api/v1/changes", `{"kind":`, "400", "unexpected end of JSON"),
		problem("change without a kind", "POST", "/api/v1/changes", `{"service":"cart"}`, "422", "kind"),
		problem("change with an unknown key", "POST", "/api/v1/changes", `{"kind":"flag","key":"a","colour":"blue"}`, "422", "colour"),
		problem("change of 25 MiB", "POST", "/api/v1/changes", `{"kind":"`+strings.Repeat("x", 25<<20)+`"}`, "413", "too large"),
		problem("content type", "POST", "/api/v1/changes", `<a/>`, "415", "text/xml", "Content-Type", "text/xml"),
		problem("change at no time", "POST", "/api/v1/changes", `{"kind":"flag","key":"a","at":"NaN"}`, "422", "at"),
		problem("tenant that is a path", "POST", "/api/v1/changes", `{"kind":"flag","key":"a"}`, "400", "X-Scope-OrgID", "X-Scope-OrgID", "../../etc"),
		problem("time that is none", "GET", "/api/v1/spans?from=NaN", "", "400", `from: \"NaN\" is neither RFC 3339 nor Unix seconds`),
		problem("window that ends before it begins", "GET", "/api/v1/spans?from=2100-01-01T00:00:00Z&to=1970-01-01T00:00:00Z", "", "400", "is not before"),
		problem("search that is none", "GET", "/api/v1/logs?q="+url.QueryEscape(`service:"open`), "", "400", "q: "),
		problem("search too deep", "GET", "/api/v1/logs?q="+strings.Repeat("(", 5000), "", "400", "q: "),
		problem("trace that is none", "GET", "/api/v1/traces/hello", "", "400", "trace"),
		problem("trace unknown", "GET", "/api/v1/traces/00000000000000000000000000000001", "", "404", "not found"),
		problem("limit beyond all", "GET", "/api/v1/spans?limit=1000000000", "", "422", "limit"),
		problem("rule cut short", "POST", "/api/v1/alarms", `{"name":`, "400", "alarm rule"),
		problem("rule that is impossible", "POST", "/api/v1/alarms", `{"name":"a","expr":"up ==","period":"1ms"}`, "400", "period"),
		problem("SQL that is none", "POST", "/api/v1/sql", `{"query":"selec 1"}`, "400", "selec"),
		problem("SQL that writes", "POST", "/api/v1/sql", `{"query":"copy (select 1) to '/tmp/x'"}`, "400", ""),
		problem("SQL with NaN", "POST", "/api/v1/sql", `{"query":"select 'nan'::double a, '-infinity'::double b"}`, "200", "NaN"),
		problem("diagnose nothing", "POST", "/api/v1/diagnose", `null`, "422", ""),
	}
}

// A million of everything that senders should have few of: what is kept is bounded, the offender is named, others keep
// their room, and the server's memory stays flat enough for a small machine.
func TestMillionsOfNames(t *testing.T) {
	if testing.Short() {
		t.Skip("sends millions of rows")
	}
	s := serve(t, t.TempDir(), "--host-metrics-enabled=false")
	const million, perRequest = 1_000_000, 100_000
	last := answer{}
	send := func(signal string, body func(from int) []byte) {
		t.Helper()
		for from := 0; from < million; from += perRequest {
			b := body(from)
			for {
				if last = otlp(signal, protobuf, b)(t, s); last.status != "429" {
					break
				}
				time.Sleep(50 * time.Millisecond) // as a sender that was told to wait does
			}
			if last.status != "200" {
				t.Fatalf("%s from %d: %v", signal, from, last)
			}
		}
	}

	send("metrics", func(from int) []byte {
		md := pmetric.NewMetrics()
		m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		m.SetName("requests")
		points := m.SetEmptyGauge().DataPoints()
		points.EnsureCapacity(perRequest)
		now := pcommon.NewTimestampFromTime(time.Now())
		for i := range perRequest {
			p := points.AppendEmpty()
			p.SetTimestamp(now)
			p.SetIntValue(1)
			p.Attributes().PutStr("user", strconv.Itoa(from+i))
		}
		b, _ := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
		return b
	})
	if !strings.Contains(last.text, "series_limit: metric requests has 100000 series, at most 100000") {
		t.Errorf("the last answer names no offender: %q", last.text)
	}
	t.Logf("after a million label values: %d MiB", s.peakMemory(t))

	send("traces", func(from int) []byte {
		td := ptrace.NewTraces()
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", "names")
		spans := rs.ScopeSpans().AppendEmpty().Spans()
		spans.EnsureCapacity(perRequest)
		now := pcommon.NewTimestampFromTime(time.Now())
		for i := range perRequest {
			n := strconv.Itoa(from + i)
			span := spans.AppendEmpty()
			span.SetTraceID(pcommon.TraceID{1, 2: byte(n[0])})
			span.SetSpanID(spanID(from + i + 1))
			span.SetName("GET /page/" + n)
			span.SetKind(ptrace.SpanKindServer)
			span.SetStartTimestamp(now - 1e6)
			span.SetEndTimestamp(now)
			span.Attributes().PutStr("user.id", n)
		}
		b, _ := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
		return b
	})
	t.Logf("after a million operations: %d MiB", s.peakMemory(t))

	if err := s.post("metrics", gauges("still.room", 1)); err != nil {
		t.Errorf("another metric: %v", err)
	}
	hasValue("still_room", `"1"`)(t, s)
	hasValue(`count(requests)`, `"100000"`)(t, s)
	hasValue(`count(traces_span_metrics_calls_total{service_name="names"})`, `"1001"`)(t, s)
	for series, least := range map[string]float64{
		`triage_metrics_series_limited_total{metric="requests",tenant="default"}`:                  900_000,
		`triage_derive_capped_total{what="operations"}`:                                            999_000,
		`triage_ingest_rejected_items_total{reason="series_limit",signal="samples",source="otlp"}`: 900_000,
		`triage_ingest_accepted_items_total{signal="spans",source="otlp"}`:                         million,
	} {
		if got := counter(t, s, series); got < least {
			t.Errorf("%s is %g, want at least %g", series, got, least)
		}
	}
	for _, path := range []string{"/-/ready", "/api/v1/status", "/api/v1/services", "/api/v1/spans?q=" + url.QueryEscape("user.id:999999"), "/api/v1/alarms"} {
		start := time.Now()
		if a := request(t, "GET", s.api+path, nil); a.status != "200" {
			t.Errorf("GET %s: %s %.300s", path, a.status, a.text)
		}
		t.Logf("GET %s took %s", path, time.Since(start).Round(time.Millisecond))
	}
	start := time.Now()
	if a := api("POST", "/api/v1/diagnose", `{"service":"names"}`)(t, s); a.status != "200" {
		t.Errorf("diagnose: %s %.300s", a.status, a.text)
	}
	t.Logf("a verdict took %s", time.Since(start).Round(time.Millisecond))
	if got := s.peakMemory(t); got > mostMemory {
		t.Errorf("the server has held %d MiB, more than %d", got, mostMemory)
	} else {
		t.Logf("at the end: %d MiB", got)
	}
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// mostMemory is what the server may hold after millions of names, in MiB. Queries of the event store may take a gigabyte
// of it, and a verdict over a million operations takes about another.
const mostMemory = 3500

func TestStopUnderLoadLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir)
	var mu sync.Mutex
	acked := map[pcommon.TraceID]bool{}
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for {
				id := newTrace()
				if s.post("traces", traceRequest(id, 20)) != nil {
					return
				}
				mu.Lock()
				acked[id] = true
				mu.Unlock()
			}
		})
	}
	eventually(t, "100 acknowledged requests", func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) >= 100 })
	start := time.Now()
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("stopping took %s", took)
	}
	senders.Wait()
	c := client.New(serve(t, dir).api)
	for id := range acked {
		if tr, err := c.Trace(t.Context(), id.String()); err != nil || len(tr.Spans) != 20 {
			t.Errorf("trace %s: %d spans, %v", id, len(tr.Spans), err)
		}
	}
}

// A second signal ends a stop that somebody does not want to wait for.
func TestSecondSignalQuitsAtOnce(t *testing.T) {
	s := serve(t, t.TempDir())
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.otlp, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// A request that never ends keeps the first stop waiting.
	if _, err := fmt.Fprintf(conn, "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n{", jsonText); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request to be read", func() bool { return counter(t, s, "triage_otlp_in_flight_bytes") >= 1000 })
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The first signal is being acted on when no connection is taken any more.
	eventually(t, "the port to close", func() bool {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", strings.TrimPrefix(s.otlp, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	start := time.Now()
	s.end(t, syscall.SIGTERM)
	if ws, ok := s.ProcessState.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() {
		t.Errorf("ended with %v, want it killed by the second signal", s.ProcessState)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the second signal took %s", took)
	}
}

// All problems of a configuration are told at once, each with its path.
func TestBadConfigurationTellsAllProblems(t *testing.T) {
	file := t.TempDir() + "/triage.yml"
	text := "surprise: true\ningest: {max_body: nan}\nlog: {level: loud}\nscrape_configs: [{job_name: a, scrape_intervall: 5s}]\n" +
		"alarms: {rules: [{name: a, expr: 'up ==', compare: {op: '>', threshold: .nan}}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t.Context(), "serve", "--data", t.TempDir(), "--config", file)
	out, _ := cmd.CombinedOutput() // the status says it
	if got := cmd.ProcessState.ExitCode(); got != 2 {
		t.Errorf("exit status %d, want 2", got)
	}
	for _, want := range []string{
		"surprise: unknown key", `ingest.max_body: "nan" is not a size`, "log.level:", "scrape_configs[0].scrape_intervall: unknown key",
		"alarms.rules[0].expr:", "alarms.rules[0].compare.threshold:",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing from:\n%s", want, out)
		}
	}
	if json.Valid(out) {
		t.Error("the message is not for people")
	}
}

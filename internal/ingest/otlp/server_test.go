package otlp_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"triage/internal/ingest"
	"triage/internal/ingest/otlp"
	"triage/internal/model"
	"triage/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink keeps what it accepts, or answers as told.
type sink struct {
	mu      sync.Mutex // guards batches
	batches []model.Batch
	accept  func(*model.Batch) (ingest.Result, error)
}

func (s *sink) Accept(_ context.Context, b *model.Batch) (ingest.Result, error) {
	if s.accept != nil {
		if res, err := s.accept(b); err != nil {
			return res, err
		} else if res.Rejected != nil {
			return res, nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, *b)
	return ingest.Result{}, nil
}

func (s *sink) all() (b model.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.batches {
		b.Spans = append(b.Spans, x.Spans...)
		b.Logs = append(b.Logs, x.Logs...)
		b.Series = append(b.Series, x.Series...)
	}
	return b
}

func serveHTTP(t *testing.T, o otlp.Options) string {
	t.Helper()
	srv := httptest.NewServer(otlp.New(o).Handler())
	t.Cleanup(srv.Close)
	return srv.URL
}

func serveGRPC(t *testing.T, o otlp.Options) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := otlp.New(o).GRPC()
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

type answer struct {
	code   int
	header http.Header
	body   []byte
}

func post(t *testing.T, url string, body []byte, header ...string) answer {
	t.Helper()
	return request(t, http.MethodPost, url, body, header...)
}

func request(t *testing.T, method, url string, body []byte, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, data}
}

const (
	pbType   = "application/x-protobuf"
	jsonType = "application/json"
)

// spansProto is a request of n good spans, after which come bad ones without IDs.
func spansProto(t testing.TB, n, bad int) []byte {
	t.Helper()
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "cart")
	ss := rs.ScopeSpans().AppendEmpty()
	for i := range n + bad {
		sp := ss.Spans().AppendEmpty()
		sp.SetName("GET /")
		sp.SetStartTimestamp(1_700_000_000_000_000_000)
		sp.SetEndTimestamp(1_700_000_000_001_000_000)
		if i < n {
			sp.SetTraceID(pcommon.TraceID{1, byte(i)})
			sp.SetSpanID(pcommon.SpanID{2, byte(i)})
		}
	}
	data, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const spanJSON = `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},` +
	`"scopeSpans":[{"scope":{"name":"http","version":"1.2"},"spans":[%s]}]}]}`

const oneSpan = `{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173",` +
	`"name":"GET /cart","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,` +
	`"attributes":[{"key":"n","value":{"intValue":"233"}}],"status":{"code":2,"message":"no"}}`

func TestJSONOverHTTP(t *testing.T) {
	s := &sink{}
	url := serveHTTP(t, otlp.Options{Sink: s})
	body := fmt.Sprintf(spanJSON, oneSpan)
	a := post(t, url+"/v1/traces", []byte(body), "Content-Type", "application/json; charset=utf-8", "X-Scope-OrgID", "team-a")
	if a.code != 200 || string(a.body) != `{}` && string(a.body) != `{"partialSuccess":{}}` {
		t.Fatalf("answer %d %s", a.code, a.body)
	}
	if got := a.header.Get("Content-Type"); got != jsonType {
		t.Errorf("content type %q", got)
	}
	want := model.Batch{
		Tenant: "team-a", Source: "otlp", ID: sha256.Sum256([]byte("team-a\x00traces\x00" + body)),
		Spans: []model.Span{{
			TraceID: model.TraceID{0x5b, 0x8e, 0xff, 0xf7, 0x98, 0x03, 0x81, 0x03, 0xd2, 0x69, 0xb6, 0x33, 0x81, 0x3f, 0xc6, 0x0c},
			SpanID:  model.SpanID{0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74}, ParentID: model.SpanID{0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x73},
			Name: "GET /cart", Kind: model.SpanServer, Start: 1544712660000000000, Duration: 1e9,
			Status: model.StatusError, StatusMessage: "no", Attrs: model.Attrs{{Key: "n", Value: model.Int(233)}},
			Resource: &model.Resource{Service: "cart", Attrs: model.Attrs{{Key: "service.name", Value: model.String("cart")}}},
			Scope:    &model.Scope{Name: "http", Version: "1.2"},
		}},
	}
	if diff := cmp.Diff([]model.Batch{want}, s.batches, cmp.Comparer(func(a, b model.Value) bool { return a == b })); diff != "" {
		t.Errorf("batch (-want +got):\n%s", diff)
	}
}

func TestEmptyRequestIsGood(t *testing.T) {
	s := &sink{accept: func(*model.Batch) (ingest.Result, error) { return ingest.Result{}, errors.New("nothing to accept") }}
	url := serveHTTP(t, otlp.Options{Sink: s})
	for _, path := range []string{"/v1/traces", "/v1/metrics", "/v1/logs"} {
		if a := post(t, url+path, nil, "Content-Type", pbType); a.code != 200 {
			t.Errorf("%s protobuf: %d %s", path, a.code, a.body)
		}
		if a := post(t, url+path, []byte(`{}`), "Content-Type", jsonType); a.code != 200 {
			t.Errorf("%s JSON: %d %s", path, a.code, a.body)
		}
	}
}

func TestPartialSuccess(t *testing.T) {
	s := &sink{}
	url := serveHTTP(t, otlp.Options{Sink: s})
	a := post(t, url+"/v1/traces", spansProto(t, 2, 3), "Content-Type", pbType)
	if a.code != 200 || a.header.Get("Content-Type") != pbType {
		t.Fatalf("answer %d %s", a.code, a.header.Get("Content-Type"))
	}
	resp := ptraceotlp.NewExportResponse()
	if err := resp.UnmarshalProto(a.body); err != nil {
		t.Fatal(err)
	}
	if got := resp.PartialSuccess().RejectedSpans(); got != 3 {
		t.Errorf("%d rejected, want 3", got)
	}
	want := "no_id: 3; first: resource_spans[0].scope_spans[0].spans[2]: trace or span ID missing"
	if got := resp.PartialSuccess().ErrorMessage(); got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	if got := len(s.all().Spans); got != 2 {
		t.Errorf("%d spans stored, want 2", got)
	}
	if diff := cmp.Diff([]model.Rejection{{Signal: "spans", Reason: "no_id", Count: 3}}, s.batches[0].Rejected); diff != "" {
		t.Errorf("rejections (-want +got):\n%s", diff)
	}

	a = post(t, url+"/v1/traces", []byte(fmt.Sprintf(spanJSON, oneSpan+`,{"name":"x"}`)), "Content-Type", jsonType)
	var got struct {
		PartialSuccess struct{ RejectedSpans, ErrorMessage string }
	}
	if err := json.Unmarshal(a.body, &got); err != nil || got.PartialSuccess.RejectedSpans != "1" {
		t.Errorf("JSON answer %s (%v)", a.body, err)
	}
}

func TestErrorsAreAnsweredAsOTLPSays(t *testing.T) {
	good := spansProto(t, 1, 0)
	bomb := func() []byte {
		var buf bytes.Buffer
		z := gzip.NewWriter(&buf)
		z.Write(make([]byte, 2<<20))
		z.Close()
		return buf.Bytes()
	}()
	fails := func(err error) func(*model.Batch) (ingest.Result, error) {
		return func(*model.Batch) (ingest.Result, error) { return ingest.Result{}, fmt.Errorf("accept: %w", err) }
	}
	for _, c := range []struct {
		name   string
		body   []byte
		header []string
		accept func(*model.Batch) (ingest.Result, error)
		code   int
		grpc   codes.Code
		retry  string
		says   string
	}{
		{name: "broken protobuf", body: good[:len(good)-1], code: 400, grpc: codes.InvalidArgument, says: "resource_spans[0]: ends too early (byte 1)"},
		{name: "wrong message", body: []byte{0x0a, 0x02, 0x08, 0x01}, code: 400, grpc: codes.InvalidArgument, says: "resource_spans[0].resource: wire type 0, want 2 (byte 2)"},
		{name: "broken JSON", body: []byte(`{"resourceSpans":[}`), header: []string{"Content-Type", jsonType}, code: 400, grpc: codes.InvalidArgument, says: "(byte 19)"},
		{name: "JSON with a tail", body: []byte(`{}{}`), header: []string{"Content-Type", jsonType}, code: 400, grpc: codes.InvalidArgument, says: "after top-level value"},
		{name: "JSON of the wrong shape", body: []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}`), header: []string{"Content-Type", jsonType}, code: 400, grpc: codes.InvalidArgument, says: "decode JSON traces"},
		{name: "bad tenant", body: good, header: []string{"X-Scope-OrgID", "../.."}, code: 400, grpc: codes.InvalidArgument, says: "X-Scope-OrgID"},
		{name: "broken gzip", body: good, header: []string{"Content-Encoding", "gzip"}, code: 400, grpc: codes.InvalidArgument, says: "gzip"},
		{name: "unknown packing", body: good, header: []string{"Content-Encoding", "br"}, code: 415, grpc: codes.InvalidArgument, says: "br"},
		{name: "bomb", body: bomb, header: []string{"Content-Encoding", "gzip"}, code: 413, grpc: codes.ResourceExhausted, says: "too large"},
		{name: "too large", body: make([]byte, 2<<20), code: 413, grpc: codes.ResourceExhausted, says: "too large"},
		{name: "overload", body: good, accept: fails(store.ErrOverloaded), code: 429, grpc: codes.ResourceExhausted, retry: "1"},
		{name: "full", body: good, accept: fails(store.ErrFull), code: 503, grpc: codes.Unavailable, retry: "30"},
		{name: "closed", body: good, accept: fails(store.ErrClosed), code: 503, grpc: codes.Unavailable, retry: "5"},
		{name: "broken disk", body: good, accept: fails(io.ErrShortWrite), code: 503, grpc: codes.Unavailable, retry: "5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sink{accept: c.accept}
			url := serveHTTP(t, otlp.Options{Sink: s, MaxBody: 1 << 20})
			a := post(t, url+"/v1/traces", c.body, append([]string{"Content-Type", pbType}, c.header...)...)
			if a.code != c.code || a.header.Get("Retry-After") != c.retry {
				t.Errorf("answer %d, Retry-After %q; want %d, %q", a.code, a.header.Get("Retry-After"), c.code, c.retry)
			}
			var code codes.Code
			var message string
			if len(c.header) > 1 && c.header[1] == jsonType {
				var st struct {
					Code    codes.Code
					Message string
				}
				if err := json.Unmarshal(a.body, &st); err != nil {
					t.Fatalf("body %q: %v", a.body, err)
				}
				code, message = st.Code, st.Message
			} else {
				var st spb.Status
				if err := proto.Unmarshal(a.body, &st); err != nil {
					t.Fatalf("body %q: %v", a.body, err)
				}
				code, message = codes.Code(st.Code), st.Message
			}
			if code != c.grpc || !strings.Contains(message, c.says) {
				t.Errorf("status %v %q, want %v with %q", code, message, c.grpc, c.says)
			}
			if len(s.batches) != 0 {
				t.Error("something was accepted")
			}
		})
	}
}

func TestMethodAndContentType(t *testing.T) {
	url := serveHTTP(t, otlp.Options{Sink: &sink{}})
	for _, ct := range []string{"", "text/plain", "application/x-www-form-urlencoded", "nonsense"} {
		if a := post(t, url+"/v1/logs", []byte(`{}`), "Content-Type", ct); a.code != 415 {
			t.Errorf("%q: %d, want 415", ct, a.code)
		}
	}
	if a := request(t, "GET", url+"/v1/logs", nil); a.code != 405 || a.header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("GET: %d, Allow %q", a.code, a.header.Get("Allow"))
	}
	if a := post(t, url+"/v2/logs", nil); a.code != 404 {
		t.Errorf("other path: %d", a.code)
	}
}

func TestPackedBodies(t *testing.T) {
	s := &sink{}
	url := serveHTTP(t, otlp.Options{Sink: s})
	data := spansProto(t, 1, 0)
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write(data)
	z.Close()
	zw, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zw.Close()
	for enc, body := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zw.EncodeAll(data, nil)} {
		if a := post(t, url+"/v1/traces", body, "Content-Type", pbType, "Content-Encoding", enc); a.code != 200 {
			t.Errorf("%s: %d %s", enc, a.code, a.body)
		}
	}
	if n := len(s.batches); n != 2 || s.batches[0].ID != s.batches[1].ID {
		t.Errorf("%d batches; the ID must be of the unpacked bytes", n)
	}
}

func TestCORS(t *testing.T) {
	s := &sink{}
	url := serveHTTP(t, otlp.Options{Sink: s, AllowedOrigins: []string{"https://app.example.com", "https://*.example.org", "http://localhost:*"}})
	closed := serveHTTP(t, otlp.Options{Sink: s})
	for _, c := range []struct {
		url, origin string
		ok          bool
	}{
		{url, "https://app.example.com", true},
		{url, "HTTPS://APP.example.com", true},
		{url, "https://a.b.example.org", true},
		{url, "http://localhost:5173", true},
		{url, "https://example.org", false},
		{url, "https://evil.com", false},
		{url, "https://app.example.com.evil.com", false},
		{url, "https://evil.com/.example.org", false},
		{url, "null", false},
		{closed, "https://app.example.com", false},
		{closed, closed, false},
	} {
		pre := request(t, "OPTIONS", c.url+"/v1/traces", nil, "Origin", c.origin, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "content-type,x-scope-orgid")
		if got := pre.code == 204 && pre.header.Get("Access-Control-Allow-Origin") == c.origin &&
			pre.header.Get("Access-Control-Allow-Methods") == "POST" &&
			pre.header.Get("Access-Control-Allow-Headers") == "content-type,x-scope-orgid"; got != c.ok {
			t.Errorf("preflight from %s: allowed %v, want %v (%d %v)", c.origin, got, c.ok, pre.code, pre.header)
		}
		a := post(t, c.url+"/v1/traces", []byte(`{}`), "Content-Type", jsonType, "Origin", c.origin)
		if got := a.code == 200 && a.header.Get("Access-Control-Allow-Origin") == c.origin; got != c.ok {
			t.Errorf("post from %s: allowed %v, want %v (%d)", c.origin, got, c.ok, a.code)
		}
	}
}

func TestSamplesRefusedByTheStoreArePartialSuccess(t *testing.T) {
	s := &sink{accept: func(*model.Batch) (ingest.Result, error) {
		return ingest.Result{Rejected: store.Rejected{"too_old": 7}}, nil
	}}
	url := serveHTTP(t, otlp.Options{Sink: s})
	a := post(t, url+"/v1/metrics", []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[
		{"timeUnixNano":"1700000000000000000","asInt":"1"},{"timeUnixNano":"1700000001000000000","asDouble":2}]}}]}]}]}`), "Content-Type", jsonType)
	if want := `{"partialSuccess":{"rejectedDataPoints":"2","errorMessage":"7 samples not stored: too_old: 7"}}`; string(a.body) != want {
		t.Errorf("answer %s, want %s", a.body, want)
	}
}

func TestGRPCStatuses(t *testing.T) {
	s := &sink{}
	addr := serveGRPC(t, otlp.Options{Sink: s, MaxGRPCMessage: 64 << 10})
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := ptraceotlp.NewGRPCClient(conn)
	td := ptrace.NewTraces()
	sp := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	sp.SetTraceID(pcommon.TraceID{1})
	sp.SetSpanID(pcommon.SpanID{1})
	sp.SetStartTimestamp(1)
	req := ptraceotlp.NewExportRequestFromTraces(td)

	if _, err := client.Export(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if got := s.all().Spans[0].Service(); got != "unknown_service" {
		t.Errorf("service %q", got)
	}
	s.accept = func(*model.Batch) (ingest.Result, error) { return ingest.Result{}, store.ErrOverloaded }
	_, err = client.Export(t.Context(), req)
	st := status.Convert(err)
	if st.Code() != codes.ResourceExhausted || len(st.Details()) != 1 || !strings.Contains(fmt.Sprint(st.Details()[0]), "retry_delay") {
		t.Errorf("overload: %v %v", st, st.Details())
	}
	s.accept = nil
	sp.Attributes().PutStr("big", strings.Repeat("x", 64<<10))
	if _, err = client.Export(t.Context(), req); status.Code(err) != codes.ResourceExhausted || len(status.Convert(err).Details()) != 0 {
		t.Errorf("too large: %v, want ResourceExhausted without a retry", err)
	}
}

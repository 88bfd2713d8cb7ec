package shop

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
)

// collector counts what arrives at an OTLP endpoint.
type collector struct {
	mu      sync.Mutex
	arrived map[string]int // by signal
}

func (c *collector) count(signal string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrived[signal] += n
}

type (
	traceServer struct {
		ptraceotlp.UnimplementedGRPCServer
		*collector
	}
	metricServer struct {
		pmetricotlp.UnimplementedGRPCServer
		*collector
	}
	logServer struct {
		plogotlp.UnimplementedGRPCServer
		*collector
	}
)

func (s traceServer) Export(_ context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	s.count(Traces, r.Traces().SpanCount())
	return ptraceotlp.NewExportResponse(), nil
}

func (s metricServer) Export(_ context.Context, r pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	s.count(Metrics, r.Metrics().MetricCount())
	return pmetricotlp.NewExportResponse(), nil
}

func (s logServer) Export(_ context.Context, r plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	s.count(Logs, r.Logs().LogRecordCount())
	return plogotlp.NewExportResponse(), nil
}

func startCollector(t *testing.T) (*collector, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{arrived: map[string]int{}}
	srv := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(srv, &traceServer{collector: c})
	pmetricotlp.RegisterGRPCServer(srv, &metricServer{collector: c})
	plogotlp.RegisterGRPCServer(srv, &logServer{collector: c})
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	return c, l.Addr().String()
}

func TestSignals(t *testing.T) {
	const spans = 2000
	for _, test := range []struct {
		name        string
		signals     []string
		loss        float64
		want        []string
		least, most int // spans
	}{
		{"all", nil, 0, []string{Logs, Metrics, Traces}, spans, spans},
		{"metrics", []string{Metrics}, 0, []string{Metrics}, 0, 0},
		{"logs", []string{Logs}, 0, []string{Logs}, 0, 0},
		{"traces and logs", []string{Traces, Logs}, 0, []string{Logs, Traces}, spans, spans},
		// More than nine standard deviations either way.
		{"half of the spans", nil, 0.5, []string{Logs, Metrics, Traces}, spans/2 - 200, spans/2 + 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, address := startCollector(t)
			tel, err := newTelemetry(t.Context(), Config{Process: "order", Version: "1", OTLP: address, Signals: test.signals, Loss: test.loss})
			if err != nil {
				t.Fatal(err)
			}
			for range spans {
				_, span := tel.tracer("test").Start(t.Context(), "work")
				span.End()
			}
			tel.Logger("test").Info("a line")
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if d := cmp.Diff(test.want, slices.Sorted(maps.Keys(c.arrived))); d != "" {
				t.Error(d)
			}
			if n := c.arrived[Traces]; n < test.least || n > test.most {
				t.Errorf("%d spans arrived, want %d to %d", n, test.least, test.most)
			}
		})
	}
	for _, bad := range []Config{{Signals: []string{"profiles"}}, {Loss: 1}, {Loss: -0.1}} {
		if _, err := newTelemetry(t.Context(), bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// TestRenamed charges a card where telemetry calls everybody by other names, and reads all that is said.
func TestRenamed(t *testing.T) {
	names := map[string]string{"payment": "order", "order": "payment", "acquirer.example": "basalt.example"}
	spans, logs := tracetest.NewInMemoryExporter(), &logSink{}
	cfg := Config{Process: "payment", Version: "1", Names: names, Hosts: map[string]string{}} // nobody is at home
	charge(t, cfg, Sinks{Spans: sdktrace.NewSimpleSpanProcessor(spans), Logs: sdklog.NewSimpleProcessor(logs)}, nil)
	if len(spans.GetSpans()) < 2 {
		t.Fatalf("%d spans", len(spans.GetSpans()))
	}
	for _, span := range spans.GetSpans() {
		if s := service(span); s != "order" {
			t.Errorf("span %s of service %q", span.Name, s)
		}
		if text := mustJSON(t, span); strings.Contains(text, "acquirer.example") {
			t.Errorf("span %s knows the real name: %s", span.Name, text)
		}
		if h := value(span.Attributes, "server.address"); span.SpanKind.String() == "client" && h != "basalt.example" {
			t.Errorf("span %s goes to %q", span.Name, h)
		}
	}
	said := false
	for _, r := range logs.records {
		if r.InstrumentationScope().Name != "order" {
			t.Errorf("scope %q", r.InstrumentationScope().Name)
		}
		for a := range r.WalkAttributes {
			if text := a.String(); strings.Contains(text, "acquirer.example") {
				t.Errorf("line %q has %s", r.Body().AsString(), text)
			} else if strings.Contains(text, "basalt.example") {
				said = true
			}
		}
	}
	if !said {
		t.Error("no line tells who could not be reached")
	}
}

// TestUntraced holds that a service without tracing has no spans of its own and passes on what it was given.
func TestUntraced(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	got := make(chan http.Header, 1)
	bank := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header
		_, _ = w.Write([]byte(`{"status":"authorised"}`))
	}))
	defer bank.Close()
	cfg := Config{Process: "payment", Version: "1", Hosts: map[string]string{"acquirer.example": bank.Listener.Addr().String()}}
	charge(t, cfg, Sinks{}, http.Header{"Traceparent": {parent}, "Baggage": {"user.id=u-1"}})
	h := <-got
	if h.Get("Traceparent") != parent || h.Get("Baggage") != "user.id=u-1" {
		t.Errorf("passed on were %q and %q", h.Get("Traceparent"), h.Get("Baggage"))
	}
	charge(t, cfg, Sinks{}, nil)
	if h := <-got; h.Get("Traceparent") != "" {
		t.Errorf("a trace of its own: %q", h.Get("Traceparent"))
	}
}

// charge runs payment for one request.
func charge(t *testing.T, cfg Config, sinks Sinks, header http.Header) {
	t.Helper()
	cfg.Dir = t.TempDir()
	tel, err := NewTelemetry(cfg.Name(cfg.Process), cfg.Version, sinks)
	if err != nil {
		t.Fatal(err)
	}
	var address string
	address, cfg.Listen = listening(t)
	cfg.Control = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := RunWith(ctx, cfg, tel); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	eventually(t, "payment answers", func() error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	})
	req, err := http.NewRequest(http.MethodPost, "http://"+address+"/card-payments", strings.NewReader(`{"order":"o","amount_cents":1,"card":"tok"}`))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRename(t *testing.T) {
	swapped := false
	for seed := range uint64(100) {
		names := Rename(seed)
		if d := cmp.Diff(names, Rename(seed)); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
		given := map[string]string{}
		for _, name := range append(Services(), "acquirer.example", "supplier.example") {
			n := names[name]
			if n == "" || given[n] != "" || !slices.Contains(Names(), n) {
				t.Errorf("seed %d: %s is called %q, as is %q", seed, name, n, given[n])
			}
			given[n] = name
			swapped = swapped || n != name && slices.Contains(Services(), n)
		}
	}
	if !swapped {
		t.Error("no service ever had another's name")
	}
}

package otlp_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"triage/internal/ingest"
	"triage/internal/ingest/otlp"
	"triage/internal/model"
	"triage/internal/store"
)

var sdkResource = resource.NewSchemaless(attribute.String("service.name", "cart"), attribute.String("host.name", "h1"),
	attribute.String("service.instance.id", "i1"), attribute.String("os.type", "linux"))

func TestSDKTraces(t *testing.T) {
	for _, transport := range []string{"grpc gzip", "grpc zstd", "http"} {
		t.Run(transport, func(t *testing.T) {
			s := &sink{}
			var client otlptrace.Client
			if compressor, ok := strings.CutPrefix(transport, "grpc "); ok {
				client = otlptracegrpc.NewClient(otlptracegrpc.WithInsecure(),
					otlptracegrpc.WithDialOption(grpc.WithDefaultCallOptions(grpc.UseCompressor(compressor))),
					otlptracegrpc.WithEndpoint(serveGRPC(t, otlp.Options{Sink: s})))
			} else {
				client = otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(serveHTTP(t, otlp.Options{Sink: s})+"/v1/traces"),
					otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
			}
			exp, err := otlptrace.New(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exp), sdktrace.WithResource(sdkResource))
			tracer := tp.Tracer("lib", trace.WithInstrumentationVersion("1.0"))
			ctx, parent := tracer.Start(t.Context(), "GET /cart", trace.WithSpanKind(trace.SpanKindServer))
			_, child := tracer.Start(ctx, "SELECT", trace.WithSpanKind(trace.SpanKindClient),
				trace.WithLinks(trace.Link{SpanContext: parent.SpanContext(), Attributes: []attribute.KeyValue{attribute.Bool("l", true)}}),
				trace.WithAttributes(attribute.Int("n", 7), attribute.StringSlice("list", []string{"a", `b"`}), attribute.Float64("f", 1.5)))
			child.RecordError(errors.New("no rows"))
			child.SetStatus(sdkcodes.Error, "bad")
			child.End()
			parent.End()
			if err := tp.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			spans := s.all().Spans
			if len(spans) != 2 {
				t.Fatalf("%d spans", len(spans))
			}
			c, p := spans[0], spans[1]
			if c.Name != "SELECT" {
				c, p = p, c
			}
			if c.ParentID != p.SpanID || c.TraceID != p.TraceID || c.Kind != model.SpanClient || p.Kind != model.SpanServer ||
				c.Status != model.StatusError || c.StatusMessage != "bad" || c.Duration <= 0 || c.Service() != "cart" {
				t.Errorf("child %+v\nparent %+v", c, p)
			}
			if c.Resource != p.Resource || c.Scope != p.Scope || c.Scope.Name != "lib" {
				t.Error("resource and scope are not shared")
			}
			if got := c.Attrs.Str("list"); got != `[{"stringValue":"a"},{"stringValue":"b\""}]` {
				t.Errorf("list %s", got)
			}
			if len(c.Events) != 1 || c.Events[0].Attrs.Str("exception.message") != "no rows" {
				t.Errorf("events %+v", c.Events)
			}
			if len(c.Links) != 1 || c.Links[0].SpanID != p.SpanID || c.Links[0].Attrs.Str("l") != "true" {
				t.Errorf("links %+v", c.Links)
			}
		})
	}
}

func TestSDKLogs(t *testing.T) {
	for _, transport := range []string{"grpc", "http"} {
		t.Run(transport, func(t *testing.T) {
			s := &sink{}
			var exp sdklog.Exporter
			var err error
			if transport == "grpc" {
				exp, err = otlploggrpc.New(t.Context(), otlploggrpc.WithInsecure(), otlploggrpc.WithEndpoint(serveGRPC(t, otlp.Options{Sink: s})))
			} else {
				exp, err = otlploghttp.New(t.Context(), otlploghttp.WithEndpointURL(serveHTTP(t, otlp.Options{Sink: s})+"/v1/logs"))
			}
			if err != nil {
				t.Fatal(err)
			}
			lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(exp)), sdklog.WithResource(sdkResource))
			var r log.Record
			r.SetTimestamp(time.Unix(1700000000, 5))
			r.SetSeverity(log.SeverityWarn2)
			r.SetSeverityText("WARN")
			r.SetEventName("pool.low")
			r.SetBody(attribute.StringValue("pool is low"))
			r.AddAttributes(attribute.Int64("left", 2), attribute.Map("m", attribute.Bool("b", true), attribute.Slice("s", attribute.Float64Value(0.5))), attribute.ByteSlice("raw", []byte{0, 255}))
			ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: trace.FlagsSampled,
			}))
			lp.Logger("lib").Emit(ctx, r)
			if err := lp.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			logs := s.all().Logs
			if len(logs) != 1 {
				t.Fatalf("%d logs", len(logs))
			}
			l := logs[0]
			if l.Time != 1700000000000000005 || l.Observed == 0 || l.TraceID != (model.TraceID{1, 2}) || l.SpanID != (model.SpanID{3}) ||
				l.Flags != 1 || l.Severity != 14 || l.SeverityText != "WARN" || l.EventName != "pool.low" || l.Body != model.String("pool is low") ||
				l.Service() != "cart" {
				t.Errorf("%+v", l)
			}
			want := `{"values":[{"key":"b","value":{"boolValue":true}},{"key":"s","value":{"arrayValue":{"values":[{"doubleValue":0.5}]}}}]}`
			if m, _ := l.Attrs.Get("m"); m != model.Map(want) {
				t.Errorf("map %s", m.Str())
			}
			if raw, _ := l.Attrs.Get("raw"); raw != model.Bytes([]byte{0, 255}) {
				t.Errorf("bytes %+v", raw)
			}
		})
	}
}

func TestSDKMetrics(t *testing.T) {
	for _, c := range []struct{ transport, temporality string }{{"grpc", "cumulative"}, {"http", "cumulative"}, {"grpc", "delta"}, {"http", "delta"}} {
		t.Run(c.transport+" "+c.temporality, func(t *testing.T) {
			s := &sink{}
			selector := sdkmetric.DefaultTemporalitySelector
			if c.temporality == "delta" {
				selector = func(sdkmetric.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }
			}
			var exp sdkmetric.Exporter
			var err error
			if c.transport == "grpc" {
				exp, err = otlpmetricgrpc.New(t.Context(), otlpmetricgrpc.WithInsecure(), otlpmetricgrpc.WithTemporalitySelector(selector),
					otlpmetricgrpc.WithEndpoint(serveGRPC(t, otlp.Options{Sink: s})))
			} else {
				exp, err = otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithTemporalitySelector(selector),
					otlpmetrichttp.WithEndpointURL(serveHTTP(t, otlp.Options{Sink: s})+"/v1/metrics"))
			}
			if err != nil {
				t.Fatal(err)
			}
			mp := sdkmetric.NewMeterProvider(sdkmetric.WithResource(sdkResource),
				sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exp, sdkmetric.WithInterval(time.Hour))),
				sdkmetric.WithView(sdkmetric.NewView(sdkmetric.Instrument{Name: "request.size"}, sdkmetric.Stream{
					Aggregation: sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20},
				})))
			m := mp.Meter("lib")
			count, _ := m.Int64Counter("http.requests", metric.WithUnit("{request}"))
			dur, _ := m.Float64Histogram("request.duration", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(0.1, 1))
			size, _ := m.Int64Histogram("request.size", metric.WithUnit("By"))
			pool, _ := m.Int64Gauge("pool.used", metric.WithUnit("1"))
			for range 2 {
				count.Add(t.Context(), 3, metric.WithAttributes(attribute.String("http.route", "/cart")))
				dur.Record(t.Context(), 0.05)
				dur.Record(t.Context(), 5)
				size.Record(t.Context(), 100)
				size.Record(t.Context(), 1<<20)
				pool.Record(t.Context(), 9)
				if err := mp.ForceFlush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			// After the last flush nothing changes, so that shutting down sends no more than it must.
			series := s.all().Series
			if err := mp.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			last := func(name string, match ...string) *model.Series {
				t.Helper()
				for _, x := range slices.Backward(series) {
					ok := x.Labels.Get("__name__") == name
					for i := 0; i < len(match); i += 2 {
						ok = ok && x.Labels.Get(match[i]) == match[i+1]
					}
					if ok {
						return &x
					}
				}
				t.Fatalf("no series %s %v", name, match)
				return nil
			}
			for _, want := range []struct {
				name  string
				match []string
				v     float64
				typ   string
			}{
				{"http_requests_total", []string{"http_route", "/cart", "job", "cart", "instance", "i1", "service_name", "cart", "host_name", "h1"}, 6, "counter"},
				{"request_duration_seconds_bucket", []string{"le", "0.1"}, 2, "histogram"},
				{"request_duration_seconds_bucket", []string{"le", "+Inf"}, 4, "histogram"},
				{"request_duration_seconds_count", nil, 4, "histogram"},
				{"request_duration_seconds_sum", nil, 10.1, "histogram"},
				{"pool_used_ratio", nil, 9, "gauge"},
				{"target_info", []string{"os_type", "linux", "job", "cart"}, 1, "gauge"},
			} {
				x := last(want.name, want.match...)
				// The instruments may be read within two milliseconds, and target_info then has a sample at each.
				atMost := map[bool]int{false: 1, true: 2}[want.name == "target_info"]
				if n := len(x.Samples); n == 0 || n > atMost || x.Samples[n-1].V != want.v || x.Type != want.typ {
					t.Errorf("%s: %+v, want %v %s", want.name, x, want.v, want.typ)
				}
				if (x.Created != 0) != (want.typ != "gauge") {
					t.Errorf("%s: created %d", want.name, x.Created)
				}
			}
			h := last("request_size_bytes").Histograms
			if len(h) != 1 || h[0].Int == nil || h[0].Int.Count != 4 || h[0].Int.Sum != 2*(100+1<<20) || h[0].Int.Validate() != nil {
				t.Errorf("native histogram %+v", h)
			}
		})
	}
}

// An exporter told to come later does, and then everything is there once.
func TestSDKRetriesAfterOverload(t *testing.T) {
	for _, transport := range []string{"grpc", "http"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel() // each waits for the second it is told to
			s := &sink{}
			var tries atomic.Int32
			s.accept = func(*model.Batch) (ingest.Result, error) {
				if tries.Add(1) == 1 {
					return ingest.Result{}, store.ErrOverloaded
				}
				return ingest.Result{}, nil
			}
			var client otlptrace.Client
			if transport == "grpc" {
				client = otlptracegrpc.NewClient(otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(serveGRPC(t, otlp.Options{Sink: s})),
					otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: 1, MaxInterval: 1, MaxElapsedTime: time.Minute}))
			} else {
				client = otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(serveHTTP(t, otlp.Options{Sink: s})+"/v1/traces"),
					otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: 1, MaxInterval: 1, MaxElapsedTime: time.Minute}))
			}
			exp, err := otlptrace.New(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exp))
			_, span := tp.Tracer("lib").Start(t.Context(), "GET /")
			span.End()
			if err := tp.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(s.all().Spans); got != 1 || tries.Load() != 2 {
				t.Errorf("%d spans after %d tries, want 1 after 2", got, tries.Load())
			}
		})
	}
}

package shop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/stats"
)

// Telemetry is what a process reports with. Providers are passed on, never set globally, so that several services
// can live in one test.
type Telemetry struct {
	Tracers     trace.TracerProvider
	Meters      *sdkmetric.MeterProvider
	Loggers     *sdklog.LoggerProvider
	Propagators propagation.TextMapPropagator
	// spans is Tracers, where tracing is on.
	spans *sdktrace.TracerProvider
}

// The signals that a process reports.
const (
	Traces  = "traces"
	Metrics = "metrics"
	Logs    = "logs"
)

// Sinks are where telemetry goes. Any may be nil. Without Spans tracing is switched off as OpenTelemetry has it: there
// are no spans, and a request that came with another's trace context passes that on.
type Sinks struct {
	Spans   sdktrace.SpanProcessor
	Metrics sdkmetric.Reader
	Logs    sdklog.Processor
}

// NewTelemetry reports as the given service into sinks.
func NewTelemetry(service, version string, sinks Sinks) (*Telemetry, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	res, err := resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", service),
		attribute.String("service.version", version),
		attribute.String("service.instance.id", uuid.NewString()),
		attribute.String("host.name", host),
		attribute.Int("process.pid", os.Getpid()),
		attribute.String("deployment.environment.name", "demo"),
	))
	if err != nil {
		return nil, fmt.Errorf("describe %s as a resource: %w", service, err)
	}
	metrics := []sdkmetric.Option{sdkmetric.WithResource(res)}
	if sinks.Metrics != nil {
		metrics = append(metrics, sdkmetric.WithReader(sinks.Metrics))
	}
	logs := []sdklog.LoggerProviderOption{sdklog.WithResource(res), sdklog.WithProcessor(userLogs{})}
	if sinks.Logs != nil {
		logs = append(logs, sdklog.WithProcessor(sinks.Logs))
	}
	t := &Telemetry{
		Tracers: noop.NewTracerProvider(),
		Meters:  sdkmetric.NewMeterProvider(metrics...),
		Loggers: sdklog.NewLoggerProvider(logs...),
		Propagators: propagation.NewCompositeTextMapPropagator(
			propagation.TraceContext{}, propagation.Baggage{}),
	}
	if sinks.Spans != nil {
		t.spans = sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithSpanProcessor(userSpans{}),
			sdktrace.WithSpanProcessor(sinks.Spans))
		t.Tracers = t.spans
	}
	return t, nil
}

// newTelemetry sends to the configured OTLP endpoint: spans and logs within a second, metrics every five.
func newTelemetry(ctx context.Context, cfg Config) (*Telemetry, error) {
	on, err := reported(cfg)
	if err != nil {
		return nil, err
	}
	var sinks Sinks
	if on[Traces] {
		spans, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(cfg.OTLP), otlptracegrpc.WithInsecure())
		if err != nil {
			return nil, fmt.Errorf("make the exporter of spans: %w", err)
		}
		sinks.Spans = sdktrace.NewBatchSpanProcessor(spans, sdktrace.WithBatchTimeout(time.Second),
			sdktrace.WithMaxQueueSize(16384), sdktrace.WithMaxExportBatchSize(2048))
		if cfg.Loss > 0 {
			sinks.Spans = lossy{sinks.Spans, cfg.Loss}
		}
	}
	if on[Metrics] {
		metrics, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(cfg.OTLP), otlpmetricgrpc.WithInsecure())
		if err != nil {
			return nil, fmt.Errorf("make the exporter of metrics: %w", err)
		}
		sinks.Metrics = sdkmetric.NewPeriodicReader(metrics, sdkmetric.WithInterval(5*time.Second),
			sdkmetric.WithProducer(runtime.NewProducer()))
	}
	if on[Logs] {
		logs, err := otlploggrpc.New(ctx, otlploggrpc.WithEndpoint(cfg.OTLP), otlploggrpc.WithInsecure())
		if err != nil {
			return nil, fmt.Errorf("make the exporter of logs: %w", err)
		}
		sinks.Logs = sdklog.NewBatchProcessor(logs, sdklog.WithExportInterval(time.Second), sdklog.WithMaxQueueSize(8192))
	}
	tel, err := NewTelemetry(cfg.Name(cfg.Process), cfg.Version, sinks)
	if err != nil || !on[Metrics] {
		return tel, err
	}
	if err := runtime.Start(runtime.WithMeterProvider(tel.Meters)); err != nil {
		return nil, fmt.Errorf("start the metrics of the Go runtime: %w", err)
	}
	return tel, nil
}

// reported are the signals that a process reports: none without an endpoint.
func reported(cfg Config) (map[string]bool, error) {
	if !(cfg.Loss >= 0 && cfg.Loss < 1) {
		return nil, fmt.Errorf("loss %v of spans: not in [0, 1)", cfg.Loss)
	}
	on := map[string]bool{Traces: len(cfg.Signals) == 0, Metrics: len(cfg.Signals) == 0, Logs: len(cfg.Signals) == 0}
	for _, s := range cfg.Signals {
		if _, known := on[s]; !known {
			return nil, fmt.Errorf("signal %q: there are %s, %s and %s", s, Traces, Metrics, Logs)
		}
		on[s] = true
	}
	if cfg.OTLP == "" {
		clear(on)
	}
	return on, nil
}

// lossy loses a share of the spans on their way.
type lossy struct {
	sdktrace.SpanProcessor
	share float64
}

func (l lossy) OnEnd(s sdktrace.ReadOnlySpan) {
	if rand.Float64() >= l.share {
		l.SpanProcessor.OnEnd(s)
	}
}

// Shutdown sends what is left, as far as ctx allows. What cannot be sent is lost, as it would be in any shop.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var err error
	if t.spans != nil {
		err = t.spans.Shutdown(ctx)
	}
	return errors.Join(err, t.Loggers.Shutdown(ctx), t.Meters.Shutdown(ctx))
}

// Logger is a logger whose lines become log records.
func (t *Telemetry) Logger(name string) *slog.Logger {
	return otelslog.NewLogger(name, otelslog.WithLoggerProvider(t.Loggers))
}

func (t *Telemetry) tracer(name string) trace.Tracer { return t.Tracers.Tracer(name) }

// server wraps an HTTP handler in spans and metrics.
func (t *Telemetry) server(h http.Handler) http.Handler {
	return otelhttp.NewHandler(h, "server", otelhttp.WithTracerProvider(t.Tracers),
		otelhttp.WithMeterProvider(t.Meters), otelhttp.WithPropagators(t.Propagators))
}

// transport wraps an HTTP client's transport likewise.
func (t *Telemetry) transport(rt http.RoundTripper) http.RoundTripper {
	return otelhttp.NewTransport(rt, otelhttp.WithTracerProvider(t.Tracers),
		otelhttp.WithMeterProvider(t.Meters), otelhttp.WithPropagators(t.Propagators))
}

func (t *Telemetry) rpcServer() stats.Handler {
	return otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(t.Tracers),
		otelgrpc.WithMeterProvider(t.Meters), otelgrpc.WithPropagators(t.Propagators))
}

func (t *Telemetry) rpcClient() stats.Handler {
	return otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(t.Tracers),
		otelgrpc.WithMeterProvider(t.Meters), otelgrpc.WithPropagators(t.Propagators))
}

// userKey is the attribute and the baggage member that carry the user's id through every service.
const userKey = "user.id"

// withUser puts the user's id into the baggage, from where the processors below and every callee take it.
func withUser(ctx context.Context, user string) context.Context {
	member, err := baggage.NewMemberRaw(userKey, user)
	if err != nil {
		return ctx
	}
	bag, err := baggage.FromContext(ctx).SetMember(member)
	if err != nil {
		return ctx
	}
	return baggage.ContextWithBaggage(ctx, bag)
}

// userSpans copies the user's id from the baggage to every span.
type userSpans struct{}

func (userSpans) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) {
	if user := baggage.FromContext(ctx).Member(userKey).Value(); user != "" {
		s.SetAttributes(attribute.String(userKey, user))
	}
}
func (userSpans) OnEnd(sdktrace.ReadOnlySpan)      {}
func (userSpans) Shutdown(context.Context) error   { return nil }
func (userSpans) ForceFlush(context.Context) error { return nil }

// userLogs copies it to every log record.
type userLogs struct{}

func (userLogs) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (userLogs) OnEmit(ctx context.Context, r *sdklog.Record) error {
	if user := baggage.FromContext(ctx).Member(userKey).Value(); user != "" {
		r.AddAttributes(attribute.String(userKey, user))
	}
	return nil
}
func (userLogs) Shutdown(context.Context) error   { return nil }
func (userLogs) ForceFlush(context.Context) error { return nil }

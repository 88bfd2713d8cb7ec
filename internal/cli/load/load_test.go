package load_test

import (
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"

	"triage/internal/cli/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver keeps what it is sent and answers every request with err.
type receiver struct {
	mu      sync.Mutex
	traces  []ptrace.Traces
	logs    []plog.Logs
	metrics []pmetric.Metrics
	err     error
	rejects int64
}

type traceServer struct {
	ptraceotlp.UnimplementedGRPCServer
	*receiver
}

type logServer struct {
	plogotlp.UnimplementedGRPCServer
	*receiver
}

type metricServer struct {
	pmetricotlp.UnimplementedGRPCServer
	*receiver
}

func (s *traceServer) Export(_ context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traces = append(s.traces, r.Traces())
	resp := ptraceotlp.NewExportResponse()
	resp.PartialSuccess().SetRejectedSpans(s.rejects)
	return resp, s.err
}

func (s *logServer) Export(_ context.Context, r plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, r.Logs())
	return plogotlp.NewExportResponse(), s.err
}

func (s *metricServer) Export(_ context.Context, r pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metrics = append(s.metrics, r.Metrics())
	return pmetricotlp.NewExportResponse(), s.err
}

func (r *receiver) listen(t *testing.T) (target string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(srv, &traceServer{receiver: r})
	plogotlp.RegisterGRPCServer(srv, &logServer{receiver: r})
	pmetricotlp.RegisterGRPCServer(srv, &metricServer{receiver: r})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return l.Addr().String()
}

func options(signal load.Signal, target string) load.Options {
	return load.Options{Signal: signal, Target: target, Rate: 2000, For: 500 * time.Millisecond, Batch: 100, Workers: 2, Series: 30, Seed: 1, Gzip: true}
}

func TestSpans(t *testing.T) {
	r := &receiver{}
	got, err := load.Run(t.Context(), options(load.Spans, r.listen(t)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Requests < 2 || got.Requests > 10 || got.Acknowledged != got.Sent || len(got.Errors) != 0 || got.P50 <= 0 || got.Max < got.P99 || got.P99 < got.P50 {
		t.Errorf("report %+v", got)
	}
	ids := map[pcommon.SpanID]pcommon.TraceID{}
	perTrace, perOperation := map[pcommon.TraceID]int{}, map[string]int{}
	parents := map[pcommon.SpanID]pcommon.TraceID{}
	for _, b := range r.traces {
		for _, rs := range b.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					ids[s.SpanID()] = s.TraceID()
					perTrace[s.TraceID()]++
					perOperation[s.Name()]++
					if !s.ParentSpanID().IsEmpty() {
						parents[s.ParentSpanID()] = s.TraceID()
					}
					if s.Attributes().Len() != 15 {
						t.Errorf("span %q has %d attributes", s.Name(), s.Attributes().Len())
					}
					if s.EndTimestamp() < s.StartTimestamp() || s.Name() == "" {
						t.Errorf("span %q takes %d to %d", s.Name(), s.StartTimestamp(), s.EndTimestamp())
					}
				}
			}
		}
	}
	if int64(len(ids)) != got.Sent {
		t.Errorf("%d spans with IDs of their own, %d sent", len(ids), got.Sent)
	}
	for id, trace := range parents {
		if ids[id] != trace {
			t.Errorf("parent %s is not in trace %s", id, trace)
		}
	}
	if mean := float64(len(ids)) / float64(len(perTrace)); mean < 3 || mean > 30 {
		t.Errorf("%.1f spans a trace", mean)
	}
	var counts []int
	for _, n := range perOperation {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	if median, most := counts[len(counts)/2], counts[len(counts)-1]; most < 5*median {
		t.Errorf("operations are not skewed: the median has %d spans, the first %d", median, most)
	}
}

func TestLogs(t *testing.T) {
	r := &receiver{}
	got, err := load.Run(t.Context(), options(load.Logs, r.listen(t)))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range r.logs {
		n += l.LogRecordCount()
	}
	if n == 0 || n > 1000 || got.Acknowledged != int64(n) {
		t.Errorf("%d records received, report %+v", n, got)
	}
}

// TestRequests sends a past of an hour in which one service was slow in the last quarter.
func TestRequests(t *testing.T) {
	r := &receiver{}
	o := options(load.Requests, r.listen(t))
	o.Rate, o.For, o.Count, o.Over = 0, time.Minute, 4000, time.Hour
	o.Slow = load.Slow{Service: "gateway", By: 10 * time.Second, For: 15 * time.Minute}
	before := time.Now()
	got, err := load.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got.Acknowledged < 4000 || got.Acknowledged > 5000 || got.Seconds > 30 {
		t.Errorf("report %+v", got)
	}
	spans, lines := map[pcommon.SpanID]pcommon.TraceID{}, 0
	var early, late, slowEarly, slowLate int
	for _, b := range r.traces {
		for _, rs := range b.ResourceSpans().All() {
			service, _ := rs.Resource().Attributes().Get("service.name")
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					spans[s.SpanID()] = s.TraceID()
					age := before.Sub(s.StartTimestamp().AsTime())
					if age < -time.Minute || age > time.Hour+time.Minute {
						t.Errorf("a span is dated %s ago", age)
					}
					if service.Str() != "gateway" || s.Kind() != ptrace.SpanKindServer {
						continue
					}
					slow := s.EndTimestamp().AsTime().Sub(s.StartTimestamp().AsTime()) > 4*time.Second
					switch {
					case age > 16*time.Minute:
						early++
						if slow {
							slowEarly++
						}
					case age < 14*time.Minute:
						late++
						if slow {
							slowLate++
						}
					}
				}
			}
		}
	}
	if early == 0 || late == 0 || slowEarly > 0 || slowLate < late {
		t.Errorf("%d of %d requests are slow before the fault, %d of %d during it", slowEarly, early, slowLate, late)
	}
	for _, l := range r.logs {
		for _, rl := range l.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, x := range sl.LogRecords().All() {
					lines++
					if spans[x.SpanID()] != x.TraceID() {
						t.Errorf("a line names span %s of trace %s, which was not sent", x.SpanID(), x.TraceID())
					}
				}
			}
		}
	}
	if lines != len(spans) {
		t.Errorf("%d lines, %d spans", lines, len(spans))
	}
}

func TestMetrics(t *testing.T) {
	r := &receiver{}
	got, err := load.Run(t.Context(), options(load.Metrics, r.listen(t)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Acknowledged < 200 || got.Acknowledged > 1000 {
		t.Errorf("report %+v", got)
	}
	// Counters never fall, however requests of several workers interleave.
	last := map[string]pmetric.NumberDataPoint{}
	for _, m := range r.metrics {
		for _, rm := range m.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, metric := range sm.Metrics().All() {
					if metric.Type() != pmetric.MetricTypeSum {
						continue
					}
					for _, p := range metric.Sum().DataPoints().All() {
						route, _ := p.Attributes().Get("http.route")
						if old, ok := last[route.Str()]; ok && (p.Timestamp() <= old.Timestamp() || p.DoubleValue() < old.DoubleValue()) {
							t.Errorf("%s goes from %v at %d to %v at %d", route.Str(), old.DoubleValue(), old.Timestamp(), p.DoubleValue(), p.Timestamp())
						}
						last[route.Str()] = p
					}
				}
			}
		}
	}
	if len(last) != 10 {
		t.Errorf("%d counters, want a third of 30 series", len(last))
	}
}

func TestErrorsAreCounted(t *testing.T) {
	r := &receiver{err: status.Error(codes.ResourceExhausted, "too much in flight")}
	got, err := load.Run(t.Context(), options(load.Logs, r.listen(t)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Errors["ResourceExhausted"] != got.Requests || got.Acknowledged != 0 || got.LastError != "too much in flight" {
		t.Errorf("report %+v", got)
	}
	r = &receiver{rejects: 3}
	got, err = load.Run(t.Context(), options(load.Spans, r.listen(t)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Rejected != 3*got.Requests || got.Acknowledged != got.Sent-got.Rejected {
		t.Errorf("report %+v", got)
	}
}

func TestRefusals(t *testing.T) {
	o := options(load.Spans, "192.0.2.1:4317")
	if _, err := load.Run(t.Context(), o); !errors.Is(err, load.ErrNotLoopback) {
		t.Errorf("a target elsewhere: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := load.Run(t.Context(), options(load.Spans, l.Addr().String())); !errors.Is(err, load.ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
	o = load.Options{Signal: "smoke", Target: "127.0.0.1:1", Rate: math.Inf(1)}
	if _, err := load.Run(t.Context(), o); err == nil {
		t.Error("options without sense are taken")
	}
}

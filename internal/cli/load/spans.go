package load

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

type spanMaker struct {
	*world
	client ptraceotlp.GRPCClient
}

// maxSpans bounds a trace.
const maxSpans = 60

// batch collects the spans of a request by who made them, as a Collector's batches do.
type batch struct {
	traces ptrace.Traces
	scopes map[[2]int]ptrace.SpanSlice
	// served are the spans of services that handled a call, for whoever writes log lines within them.
	served []served
}

// served is where and when a service handled a call.
type served struct {
	service, instance int
	trace             pcommon.TraceID
	span              pcommon.SpanID
	user              uint64
	start, end        time.Time
}

func newBatch() *batch {
	return &batch{traces: ptrace.NewTraces(), scopes: map[[2]int]ptrace.SpanSlice{}}
}

func (b *batch) spans(service, instance int) ptrace.SpanSlice {
	key := [2]int{service, instance}
	s, ok := b.scopes[key]
	if !ok {
		rs := b.traces.ResourceSpans().AppendEmpty()
		resource(rs.Resource().Attributes(), service, instance)
		ss := rs.ScopeSpans().AppendEmpty()
		ss.Scope().SetName("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp")
		ss.Scope().SetVersion("0.70.0")
		s = ss.Spans()
		b.scopes[key] = s
	}
	return s
}

// make fills a request with whole traces that have just ended.
func (m *spanMaker) make(items int, w window) request {
	b, n := m.spans(items, w)
	return request{n, b.send(m.client)}
}

// spans makes whole traces of so many spans.
func (w *world) spans(items int, when window) (*batch, int) {
	b, n := newBatch(), 0
	for n < items {
		t := &traceMaker{world: w, batch: b, trace: w.traceID(), user: w.user.Uint64(), left: min(maxSpans, items-n)}
		t.serve(0, pcommon.SpanID{}, when.at(float64(n)/float64(items)).Add(-time.Second))
		n += t.made
	}
	return b, n
}

// send is the export of a batch.
func (b *batch) send(client ptraceotlp.GRPCClient) func(context.Context) (int64, error) {
	req := ptraceotlp.NewExportRequestFromTraces(b.traces)
	return func(ctx context.Context) (int64, error) {
		resp, err := client.Export(ctx, req)
		if err != nil {
			return 0, err
		}
		return resp.PartialSuccess().RejectedSpans(), nil
	}
}

// traceMaker makes one trace.
type traceMaker struct {
	*world
	batch *batch
	trace pcommon.TraceID
	user  uint64
	made  int
	left  int // spans that may still be made
}

// serve makes the span of a service that handles a call, and what it calls in turn, and returns when it ended.
func (t *traceMaker) serve(service int, parent pcommon.SpanID, start time.Time) (end time.Time) {
	operation, instance := int(t.operation.Uint64()), int(t.instance.Uint64())
	span := t.span(service, instance, parent, ptrace.SpanKindServer)
	id := span.SpanID()
	r, who := t.routes[service][operation], &t.people[t.user]
	at := start.Add(t.duration(500 * time.Microsecond))
	failed := t.chance(0.01)
	// Calls go out one after the other; deeper services call less.
	for next := service + 1; next < len(services) && t.left > 2 && t.chance(0.55); next += 1 + t.shape.IntN(4) {
		at = t.call(service, instance, next, id, at)
	}
	if t.left > 0 && t.chance(0.5) {
		at = t.query(service, instance, id, at)
	}
	end = at.Add(t.duration(2 * time.Millisecond))
	if service == t.slowService && start.After(t.slowFrom) {
		end = end.Add(time.Duration(float64(t.slowBy) * (0.5 + t.shape.Float64())))
	}
	t.batch.served = append(t.batch.served, served{service, instance, t.trace, id, t.user, start, end})

	span.SetName(r.name)
	span.SetStartTimestamp(stamp(start))
	span.SetEndTimestamp(stamp(end))
	code := int64(200)
	if failed {
		code = 500
		span.Status().SetCode(ptrace.StatusCodeError)
		span.Status().SetMessage("upstream answered too late")
		e := span.Events().AppendEmpty()
		e.SetName("exception")
		e.SetTimestamp(stamp(end))
		e.Attributes().PutStr("exception.type", "*errors.timeout")
		e.Attributes().PutStr("exception.message", fmt.Sprintf("no answer within %s", end.Sub(start)))
	}
	a := span.Attributes()
	a.EnsureCapacity(15)
	a.PutStr("http.request.method", r.method)
	a.PutStr("http.route", r.path)
	a.PutStr("url.path", r.target+strconv.FormatUint(t.user*7919%100_000, 10))
	a.PutStr("url.scheme", "http")
	a.PutInt("http.response.status_code", code)
	a.PutInt("http.response.body.size", int64(200+t.shape.IntN(5000)))
	a.PutStr("server.address", services[service])
	a.PutInt("server.port", 8080)
	a.PutStr("network.protocol.version", "1.1")
	a.PutStr("client.address", who.address)
	a.PutStr("user_agent.original", "load/1.0")
	a.PutStr("user.id", who.id)
	a.PutStr("session.id", who.session)
	a.PutStr("cloud.region", regions[t.user%uint64(len(regions))])
	a.PutBool("cache.hit", t.chance(0.7))
	return end
}

// call makes the caller's span of a call and the callee's.
func (t *traceMaker) call(service, instance, callee int, parent pcommon.SpanID, start time.Time) (end time.Time) {
	span := t.span(service, instance, parent, ptrace.SpanKindClient)
	network := t.duration(300 * time.Microsecond)
	end = t.serve(callee, span.SpanID(), start.Add(network)).Add(network)
	span.SetName("GET")
	span.SetStartTimestamp(stamp(start))
	span.SetEndTimestamp(stamp(end))
	a := span.Attributes()
	a.EnsureCapacity(15)
	t.describe(a, service)
	a.PutStr("http.request.method", "GET")
	a.PutStr("url.scheme", "http")
	a.PutStr("network.protocol.version", "1.1")
	a.PutInt("http.request.resend_count", 0)
	a.PutStr("server.address", services[callee])
	a.PutInt("server.port", 8080)
	a.PutStr("url.full", "http://"+services[callee]+":8080/api/"+services[callee])
	a.PutInt("http.response.status_code", 200)
	a.PutStr("network.peer.address", "10.0.0."+strconv.Itoa(callee))
	return end
}

// query makes the span of a database call.
func (t *traceMaker) query(service, instance int, parent pcommon.SpanID, start time.Time) (end time.Time) {
	span := t.span(service, instance, parent, ptrace.SpanKindClient)
	table := nouns[t.operation.Uint64()]
	end = start.Add(t.duration(3 * time.Millisecond))
	span.SetName("SELECT " + table)
	span.SetStartTimestamp(stamp(start))
	span.SetEndTimestamp(stamp(end))
	a := span.Attributes()
	a.EnsureCapacity(15)
	t.describe(a, service)
	a.PutStr("network.peer.address", "10.0.1.1")
	a.PutInt("network.peer.port", 5432)
	a.PutStr("db.system.name", "postgresql")
	a.PutStr("db.namespace", services[service])
	a.PutStr("db.operation.name", "SELECT")
	a.PutStr("db.collection.name", table)
	a.PutStr("db.query.text", "SELECT * FROM "+table+" WHERE id = $1")
	a.PutStr("server.address", "postgres")
	a.PutInt("db.response.returned_rows", int64(t.shape.IntN(100)))
	return end
}

// describe writes what a program says of all spans that it begins itself.
func (t *traceMaker) describe(a pcommon.Map, service int) {
	who := &t.people[t.user]
	a.PutStr("user.id", who.id)
	a.PutStr("session.id", who.session)
	a.PutStr("cloud.region", regions[t.user%uint64(len(regions))])
	a.PutInt("thread.id", int64(t.shape.IntN(16)))
	a.PutStr("thread.name", "worker")
	a.PutStr("code.function.name", functions[service])
}

// span begins a span; it counts.
func (t *traceMaker) span(service, instance int, parent pcommon.SpanID, kind ptrace.SpanKind) ptrace.Span {
	span := t.batch.spans(service, instance).AppendEmpty()
	span.SetTraceID(t.trace)
	span.SetSpanID(t.spanID())
	span.SetParentSpanID(parent)
	span.SetKind(kind)
	t.made++
	t.left--
	return span
}

package derive

import (
	"strings"
	"sync"
	"time"

	"triage/internal/model"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
)

// seriesShard keeps the series of some services.
type seriesShard struct {
	mu     sync.Mutex // guards owners and all below them
	owners map[ownerKey]*owner
}

type ownerKey struct{ tenant, service string }

// owner is a service with its operations and with the edges that begin there.
type owner struct {
	spans map[spanKey]*spanSeries
	edges map[edgeKey]*edgeSeries
	// operations and servers count the series of each name that is kept under its own.
	operations, servers map[string]int
	// told is set once an offender was named in the log.
	told bool
}

type spanKey struct {
	name   string
	kind   model.SpanKind
	status model.StatusCode
}

// spanSeries are the two series of one operation, kind and status.
type spanSeries struct {
	operation string
	calls     counter
	duration  timer
	life
}

// edgeKey is the far end of an edge.
type edgeKey struct{ server, connection string }

// edgeSeries are the four series of an edge.
type edgeSeries struct {
	total, failed  counter
	client, server timer
	life
}

// life says since when a series is, and when it last saw something.
type life struct{ created, seen time.Time }

// counter is a sum of weights.
type counter struct {
	labels labels.Labels
	value  float64
}

// timer is a histogram with the exemplar of the slowest since the last collection.
type timer struct {
	labels   labels.Labels
	duration duration
	slowest  sample
	// told is the time of the exemplar last handed out, ms: the store takes them in order only.
	told int64
}

// sample is one span that an exemplar may point at.
type sample struct {
	seconds float64
	at      int64 // ms; 0 is none
	trace   model.TraceID
	span    model.SpanID
}

func (t *timer) observe(s sample, weight float64) {
	t.duration.observe(s.seconds, weight)
	if t.slowest.at == 0 || s.seconds > t.slowest.seconds {
		t.slowest = s
	}
}

// exemplars hands out the slowest. Its time is moved on where spans came late enough to be out of order.
func (t *timer) exemplars() []exemplar.Exemplar {
	s := t.slowest
	if t.slowest = (sample{}); s.at == 0 || s.trace.IsZero() {
		return nil
	}
	t.told = max(s.at, t.told+1)
	return []exemplar.Exemplar{{
		Labels: labels.FromStrings("span_id", s.span.String(), "trace_id", s.trace.String()),
		Value:  s.seconds, Ts: t.told, HasTs: true,
	}}
}

const (
	callsName    = "traces_span_metrics_calls_total"
	durationName = "traces_span_metrics_duration_seconds"
	totalName    = "traces_service_graph_request_total"
	failedName   = "traces_service_graph_request_failed_total"
	clientName   = "traces_service_graph_request_client_seconds"
	serverName   = "traces_service_graph_request_server_seconds"
)

var kindLabels = [...]string{"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT",
	"SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER"}

var statusLabels = [...]string{"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"}

// observeSpan counts one span.
func (d *Deriver) observeSpan(tenant string, s *model.Span, weight float64, now time.Time) {
	key := spanKey{short(s.Name), s.Kind, s.Status}
	if int(key.kind) >= len(kindLabels) {
		key.kind = model.SpanUnspecified
	}
	if int(key.status) >= len(statusLabels) {
		key.status = model.StatusUnset
	}
	service := short(s.Resource.Service)
	shard := &d.series[d.shardOf(tenant, service)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	o := d.owner(shard, tenant, service)
	if o == nil {
		return
	}
	series := o.spans[key]
	if series == nil {
		if o.operations[key.name] == 0 && len(o.operations) >= d.opts.MaxOperations {
			d.capped(o, tenant, service, "operations", key.name)
			key.name = other
		}
		if series = o.spans[key]; series == nil {
			if series = d.newSpanSeries(o, service, key, now); series == nil {
				return
			}
		}
	}
	series.seen = now
	series.calls.value += weight
	series.duration.observe(sample{
		seconds: time.Duration(s.Duration).Seconds(), at: ended(s, now), trace: s.TraceID, span: s.SpanID,
	}, weight)
}

// ended is when a span ended, ms, and not later than now: the exemplars of a series come in order of time, so that one of
// a clock that is ahead would hold up all that follow.
func ended(s *model.Span, now time.Time) int64 {
	return max(1, min(s.End()/int64(time.Millisecond), now.UnixMilli()))
}

// maxName bounds names that become labels, wherever they come from.
const maxName = 1 << 10

func short(name string) string {
	if len(name) <= maxName {
		return name
	}
	return strings.ToValidUTF8(name[:maxName], "")
}

func (d *Deriver) newSpanSeries(o *owner, service string, key spanKey, now time.Time) *spanSeries {
	if !d.room(1) {
		return nil
	}
	key.name = strings.Clone(key.name) // a batch's strings may be parts of a whole request
	own := func(name string) labels.Labels {
		return labels.FromStrings("__name__", name, "instance", d.opts.Instance, "service_name", service, "span_kind", kindLabels[key.kind],
			"span_name", key.name, "status_code", statusLabels[key.status])
	}
	s := &spanSeries{operation: key.name, life: life{created: now}}
	s.calls.labels, s.duration.labels = own(callsName), own(durationName)
	s.duration.duration.schema = startSchema
	o.spans[key] = s
	if key.name != other {
		o.operations[key.name]++
	}
	return s
}

// observeEdge counts one call or message.
func (d *Deriver) observeEdge(e edge, now time.Time) {
	shard := &d.series[d.shardOf(e.tenant, e.client)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	o := d.owner(shard, e.tenant, e.client)
	if o == nil {
		return
	}
	key := edgeKey{e.server, e.connection}
	series := o.edges[key]
	if series == nil {
		if o.servers[key.server] == 0 && len(o.servers) >= d.opts.MaxOperations {
			d.capped(o, e.tenant, e.client, "servers", key.server)
			key.server = other
		}
		if series = o.edges[key]; series == nil {
			if series = d.newEdgeSeries(o, e.client, key, now); series == nil {
				return
			}
		}
	}
	series.seen = now
	series.total.value += e.weight
	if e.failed {
		series.failed.value += e.weight
	}
	if e.caller.at != 0 {
		series.client.observe(e.caller, e.weight)
	}
	if e.callee.at != 0 {
		series.server.observe(e.callee, e.weight)
	}
}

func (d *Deriver) newEdgeSeries(o *owner, client string, key edgeKey, now time.Time) *edgeSeries {
	if !d.room(1) {
		return nil
	}
	key.server = strings.Clone(key.server)
	own := func(name string) labels.Labels {
		return labels.FromStrings("__name__", name, "client", client, "connection_type", key.connection, "instance", d.opts.Instance,
			"server", key.server)
	}
	s := &edgeSeries{life: life{created: now}}
	s.total.labels, s.failed.labels, s.client.labels, s.server.labels = own(totalName), own(failedName), own(clientName), own(serverName)
	s.client.duration.schema, s.server.duration.schema = startSchema, startSchema
	o.edges[key] = s
	if key.server != other {
		o.servers[key.server]++
	}
	return s
}

// owner finds or makes what is kept of a service; nil if there is no room for any series of a new one.
func (d *Deriver) owner(s *seriesShard, tenant, service string) *owner {
	o := s.owners[ownerKey{tenant, service}]
	if o != nil {
		return o
	}
	if d.live.Load() >= int64(d.opts.MaxSeries) {
		d.counts.refused.Inc()
		return nil
	}
	o = &owner{spans: map[spanKey]*spanSeries{}, edges: map[edgeKey]*edgeSeries{}, operations: map[string]int{}, servers: map[string]int{}}
	s.owners[ownerKey{strings.Clone(tenant), strings.Clone(service)}] = o
	return o
}

// room takes a place for n series more, false if there is none.
func (d *Deriver) room(n int64) bool {
	if d.live.Add(n) > int64(d.opts.MaxSeries) {
		d.live.Add(-n)
		d.counts.refused.Inc()
		return false
	}
	if !d.anything.Swap(true) {
		d.first <- struct{}{} // has room for the one there will ever be
	}
	return true
}

// capped counts what went to "other", and names the offender once.
func (d *Deriver) capped(o *owner, tenant, service, what, example string) {
	d.counts.capped.WithLabelValues(what).Inc()
	if !o.told {
		o.told = true
		d.log.Warn("too many names in one service, counting the rest as other", "tenant", tenant, "service", service, "what", what,
			"limit", d.opts.MaxOperations, "example", example)
	}
}

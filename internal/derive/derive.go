// Package derive makes signals from signals: rate, errors and duration of each operation from spans, who calls whom from
// pairs of spans, and, in log lines, the template, the trace and the severity that their text holds.
//
//	batch -> Enrich -> stored -> Observe -> (in memory) -> Collect, every 5 s -> cumulative series with exemplars
//
// What it makes is computed once, when a batch is accepted, and lives in memory only: counters begin again after a restart
// with a new created time. It stores nothing itself and judges nothing. Names and labels are those of OpenTelemetry's span
// metrics and service graph connectors, so that existing dashboards work; see Collect.
//
// Everything is kept by tenant and bounded: operations and neighbours by service, series and unpaired spans in all. What
// a bound costs is counted. A Deriver is safe for concurrent use; services and traces are spread over shards with a lock
// each, and no two locks are ever held together.
package derive

import (
	"cmp"
	"context"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"triage/internal/derive/template"
	"triage/internal/model"

	"github.com/prometheus/client_golang/prometheus"
)

// Templates keeps log templates between runs; store.State does.
type Templates interface {
	SaveTemplates(ctx context.Context, tenant string, t []model.Template) error
	Templates(ctx context.Context, tenant string) ([]model.Template, error)
}

// Options wire a Deriver. Zero values take the defaults in brackets.
type Options struct {
	// Instance is the instance label of derived series; it keeps nodes apart.
	Instance string
	// Templates may be nil: then templates are forgotten at the end.
	Templates Templates
	// MaxOperations is how many operations (1,000), and how many servers, one service may have. The rest are "other".
	MaxOperations int
	// MaxSeries bounds the series of spans and edges in all (100,000). Past it new ones are refused.
	MaxSeries int
	// PairWithin (10 s) is how long a span waits for the other side of its call, MessagesWithin (1 min) for that of its
	// message.
	PairWithin, MessagesWithin time.Duration
	// MaxUnpaired bounds the spans that wait (100,000). Past it the eldest waits no longer.
	MaxUnpaired int
	// Answered is told what the calls of a batch show of those by whom they are answered, as is known from calls before. It must
	// not block, and may be nil.
	Answered   func(tenant string, told []Answer)
	Registerer prometheus.Registerer // may be nil
	Logger     *slog.Logger          // may be nil
	Now        func() time.Time      // [time.Now]
}

const (
	// lateAfter is how long ago a span may have ended to count. Later ones are for the stores alone: a rate now must not
	// show what happened then.
	lateAfter = 2 * time.Minute
	// maxDuration is how long a span may have lasted to count. A start of 1970, of a clock that was not set yet, would
	// hide all other durations of its operation.
	maxDuration = 24 * time.Hour
	// idleAfter is when a series that saw nothing ends.
	idleAfter = 15 * time.Minute
	// shards is the number of locks by which services, and by which traces, are spread.
	shards = 16
	// other is the operation or server that stands for those past the limit.
	other = "other"
)

// Deriver makes signals from signals.
type Deriver struct {
	opts    Options
	log     *slog.Logger
	seed    maphash.Seed
	series  [shards]seriesShard
	waiting [shards]pairShard
	answers [shards]answerShard
	tenants sync.Map // tenant -> *tenant
	counts  counts

	live atomic.Int64 // series in all shards
	// first is signalled once, when there is something to collect for the first time.
	first    chan struct{}
	anything atomic.Bool
}

// tenant is what is kept by tenant besides series.
type tenant struct {
	name  string
	load  sync.Once
	miner *template.Miner
}

func newTenant(name string) *tenant {
	return &tenant{name: strings.Clone(name), miner: template.New(template.Options{})}
}

// New makes a Deriver.
func New(o Options) *Deriver {
	o.MaxOperations = cmp.Or(o.MaxOperations, 1000)
	o.MaxSeries = cmp.Or(o.MaxSeries, 100_000)
	o.PairWithin = cmp.Or(o.PairWithin, 10*time.Second)
	o.MessagesWithin = cmp.Or(o.MessagesWithin, time.Minute)
	o.MaxUnpaired = cmp.Or(o.MaxUnpaired, 100_000)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Deriver{opts: o, log: o.Logger, seed: maphash.MakeSeed(), first: make(chan struct{}, 1)}
	for i := range shards {
		d.series[i] = seriesShard{owners: map[ownerKey]*owner{}}
		d.waiting[i] = pairShard{by: map[pairKey]*pair{}}
		d.answers[i] = answerShard{by: map[uint64]*answerer{}}
	}
	d.counts = newCounts(d, o.Registerer)
	return d
}

// Enrich completes log records before they are stored: each gets the template of its text, and those without a trace ID
// or severity get the one that their attributes or text hold. Spans and series stay as they are.
func (d *Deriver) Enrich(b *model.Batch) {
	if len(b.Logs) == 0 {
		return
	}
	t := d.tenant(b.Tenant)
	var resource *model.Resource
	var service *template.Service
	var inField, inText, severities int
	for i := range b.Logs {
		r := &b.Logs[i]
		if r.Resource != resource {
			resource = r.Resource
			service = t.miner.Service(resource.Service)
		}
		r.Template = service.Assign(message(r), r.Time)
		text := ""
		if r.Body.Kind() == model.KindString {
			text = r.Body.Str()
		}
		var fields model.Attrs
		if r.Body.Kind() == model.KindMap && (r.TraceID.IsZero() || r.Severity == 0) {
			fields = mapFields(r.Body.Str())
		}
		if r.TraceID.IsZero() {
			l, ok := linkFromFields(r.Attrs)
			if !ok {
				l, ok = linkFromFields(fields)
			}
			if ok {
				inField++
			} else if l, ok = linkFromText(text); ok {
				inText++
			}
			if ok {
				r.TraceID, r.SpanID = l.trace, l.span
			}
		}
		if r.Severity == 0 {
			if r.Severity = severityOf(r, fields, text); r.Severity != 0 {
				severities++
			}
		}
	}
	d.counts.found(inField, inText, severities)
}

// Observe counts the batch's spans, and pairs them to edges. It keeps nothing of the batch. Call it once for each batch
// that was stored, never again for the same one.
func (d *Deriver) Observe(b *model.Batch) {
	now := d.opts.Now()
	oldest := now.Add(-lateAfter).UnixNano()
	name := cmp.Or(b.Tenant, model.DefaultTenant)
	late, implausible := 0, 0
	var told []Answer
	for i := range b.Spans {
		s := &b.Spans[i]
		if s.End() < oldest {
			late++
			continue
		}
		if s.Duration > int64(maxDuration) {
			implausible++
			continue
		}
		w := weight(s)
		d.observeSpan(name, s, w, now)
		told = d.pairSpan(name, s, w, now, told)
	}
	if len(told) > 0 {
		d.opts.Answered(name, told)
	}
	d.counts.late.Add(float64(late))
	d.counts.implausible.Add(float64(implausible))
}

func (d *Deriver) tenant(name string) *tenant {
	name = cmp.Or(name, model.DefaultTenant)
	v, ok := d.tenants.Load(name)
	if !ok {
		v, _ = d.tenants.LoadOrStore(name, newTenant(name))
	}
	t := v.(*tenant)
	t.load.Do(func() {
		// The first lines of a tenant wait for its templates, so that they get the IDs they had. Load does this for the
		// default tenant at start; others are not known before they send.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := d.loadTenant(ctx, t); err != nil {
			d.log.Warn("load log templates", "tenant", t.name, "error", err)
		}
	})
	return t
}

// shardOf spreads services and traces.
func (d *Deriver) shardOf(tenant, name string) int {
	var h maphash.Hash
	h.SetSeed(d.seed)
	_, _ = h.WriteString(tenant)
	_, _ = h.WriteString(name)
	return int(h.Sum64() % shards)
}

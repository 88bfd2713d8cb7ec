package derive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"triage/internal/model"

	"github.com/prometheus/client_golang/prometheus"
)

// Collect reads all series as they stand, by tenant, with samples at now; the order is any. It gives up on spans that
// waited too long for their other side, and ends series that saw nothing for 15 minutes. Later calls need later times.
//
//	traces_span_metrics_calls_total, traces_span_metrics_duration_seconds
//	    {service_name, span_name, span_kind, status_code, instance}
//	traces_service_graph_request_total, .._failed_total, .._client_seconds, .._server_seconds
//	    {client, server, connection_type, instance}
//
// Those in seconds are native histograms; they have an exemplar, the slowest span since the last call.
func (d *Deriver) Collect(now time.Time) map[string][]model.Series {
	d.expire(now)
	out := map[string][]model.Series{}
	for i := range d.series {
		shard := &d.series[i]
		shard.mu.Lock()
		for key, o := range shard.owners {
			s := out[key.tenant]
			for k, series := range o.spans {
				if series.over(now) {
					delete(o.spans, k)
					drop(o.operations, series.operation)
					d.live.Add(-1)
					continue
				}
				s = append(s, series.calls.read(now, series.created), series.duration.read(now, series.created))
			}
			for k, series := range o.edges {
				if series.over(now) {
					delete(o.edges, k)
					drop(o.servers, k.server)
					d.live.Add(-1)
					continue
				}
				s = append(s, series.total.read(now, series.created), series.failed.read(now, series.created))
				for _, t := range []*timer{&series.client, &series.server} {
					if t.duration.count > 0 {
						s = append(s, t.read(now, series.created))
					}
				}
			}
			if len(o.spans)+len(o.edges) == 0 {
				delete(shard.owners, key)
			}
			if len(s) > 0 {
				out[key.tenant] = s
			}
		}
		shard.mu.Unlock()
	}
	return out
}

func (l *life) over(now time.Time) bool { return now.Sub(l.seen) >= idleAfter }

func drop(names map[string]int, name string) {
	if names[name]--; names[name] <= 0 {
		delete(names, name)
	}
}

// began is the created time in ms: before the sample, so that a zero can be stored there.
func began(now, created time.Time) int64 { return min(created.UnixMilli(), now.UnixMilli()-1) }

func (c *counter) read(now, created time.Time) model.Series {
	return model.Series{
		Labels: c.labels, Samples: []model.Sample{{T: now.UnixMilli(), V: c.value}}, Created: began(now, created), Type: "counter",
	}
}

func (t *timer) read(now, created time.Time) model.Series {
	h := model.HistogramSample{T: now.UnixMilli()}
	h.Int, h.Float = t.duration.read()
	return model.Series{
		Labels: t.labels, Histograms: []model.HistogramSample{h}, Exemplars: t.exemplars(), Created: began(now, created),
		Type: "histogram", Unit: "seconds",
	}
}

// Run collects at multiples of every (5 s) and hands what it read to write, and saves new templates; the first time it
// does so at once, when there is something. It returns nil when ctx is done, after a last collection. What write refuses
// is not lost: the series are cumulative, so the next samples hold it.
func (d *Deriver) Run(ctx context.Context, every time.Duration, write func(ctx context.Context, tenant string, s []model.Series) error) error {
	every = cmp.Or(every, 5*time.Second)
	last := time.Time{}
	collect := func(ctx context.Context) {
		now := d.opts.Now()
		if now.UnixMilli() <= last.UnixMilli() {
			return
		}
		last = now
		for tenant, series := range d.Collect(now) {
			if err := write(ctx, tenant, series); err != nil {
				d.log.Warn("store derived series", "tenant", tenant, "error", err)
			}
		}
		if err := d.Save(ctx); err != nil {
			d.log.Warn("save log templates", "error", err)
		}
	}
	for {
		now := d.opts.Now()
		timer := time.NewTimer(now.Truncate(every).Add(every).Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			collect(ctx)
			return nil
		case <-d.first:
			timer.Stop()
		case <-timer.C:
		}
		collect(ctx)
	}
}

// Load reads the default tenant's templates; those of others are read when they first send.
func (d *Deriver) Load(ctx context.Context) error {
	t, _ := d.tenants.LoadOrStore(model.DefaultTenant, newTenant(model.DefaultTenant))
	var err error
	t.(*tenant).load.Do(func() { err = d.loadTenant(ctx, t.(*tenant)) })
	return err
}

func (d *Deriver) loadTenant(ctx context.Context, t *tenant) error {
	if d.opts.Templates == nil {
		return nil
	}
	ts, err := d.opts.Templates.Templates(ctx, t.name)
	if err != nil {
		return err
	}
	t.miner.Load(ts)
	return nil
}

// Save stores the templates that are new or changed since the last time.
func (d *Deriver) Save(ctx context.Context) error {
	if d.opts.Templates == nil {
		return nil
	}
	var errs []error
	d.tenants.Range(func(_, v any) bool {
		t := v.(*tenant)
		changed := t.miner.Changed()
		if len(changed) == 0 {
			return true
		}
		if err := d.opts.Templates.SaveTemplates(ctx, t.name, changed); err != nil {
			t.miner.Unsaved(changed)
			errs = append(errs, fmt.Errorf("tenant %s: %w", t.name, err))
		}
		return true
	})
	return errors.Join(errs...)
}

// counts are the metrics of derive itself.
type counts struct {
	late, implausible         prometheus.Counter
	refused, unpaired         prometheus.Counter
	inField, inText, severity prometheus.Counter
	capped                    *prometheus.CounterVec
}

func newCounts(d *Deriver, r prometheus.Registerer) counts {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	found := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "triage_derive_trace_ids_found_total", Help: "Log records whose trace ID was found in an attribute or in the text.",
	}, []string{"in"})
	c := counts{
		late:        counter("triage_derive_late_spans_total", "Spans that ended over two minutes before they came, which derived series leave out."),
		implausible: counter("triage_derive_implausible_spans_total", "Spans of over a day, which derived series leave out."),
		refused:     counter("triage_derive_refused_total", "Spans and edges that no series was made for because there are too many."),
		unpaired:    counter("triage_derive_unpaired_total", "Spans whose other side did not come in time."),
		severity:    counter("triage_derive_severities_found_total", "Log records whose severity was found in an attribute or in the text."),
		inField:     found.WithLabelValues("attribute"),
		inText:      found.WithLabelValues("text"),
		capped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "triage_derive_capped_total", Help: "Spans and edges counted as other because their service has too many names.",
		}, []string{"what"}),
	}
	if r == nil {
		return c
	}
	gauge := func(name, help string, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) })
	}
	r.MustRegister(c.late, c.implausible, c.refused, c.unpaired, c.severity, c.capped, found,
		gauge("triage_derive_series", "Operations (by kind and status) and edges held in memory.", func() int { return int(d.live.Load()) }),
		gauge("triage_derive_series_limit", "Most operations and edges held in memory.", func() int { return d.opts.MaxSeries }),
		gauge("triage_derive_waiting_spans", "Spans that wait for their other side.", d.unpaired),
		gauge("triage_derive_waiting_spans_limit", "Most spans that may wait.", func() int { return d.opts.MaxUnpaired }),
		gauge("triage_derive_templates", "Log templates held in memory, aliases included.", func() (n int) {
			d.tenants.Range(func(_, v any) bool { n += v.(*tenant).miner.Len(); return true })
			return n
		}))
	return c
}

func (c *counts) found(inField, inText, severities int) {
	c.inField.Add(float64(inField))
	c.inText.Add(float64(inText))
	c.severity.Add(float64(severities))
}

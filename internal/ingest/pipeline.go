// Package ingest is the one way into triage. Every edge, whatever its format, makes a model.Batch and hands it to a
// Sink; Pipeline is the Sink that enriches, stores and derives.
//
//	edge -> in-flight cap -> Enrich -> events.Append -> Observe -> metrics.Append -> state.AddChange -> answer
//	                                      (durable)     (once)
//
// It owns admission, de-duplication of retries across stores, and the counters of what came in. It refuses to parse
// anything: formats live in the packages below it. Everything here is safe for concurrent use and starts no goroutine.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"triage/internal/model"
	"triage/internal/store"
)

// Sink takes batches. When Accept returns no error, what the batch holds is durable except for what Result counts as
// rejected, and the sender may be told so. An error means that nothing is promised and the same batch may be sent again:
// store.ErrOverloaded and store.ErrFull may pass, store.ErrClosed passes with a restart. The batch is the sink's to change
// until Accept returns, and is not kept after that.
type Sink interface {
	Accept(ctx context.Context, b *model.Batch) (Result, error)
}

// Result says what of an accepted batch was left out.
type Result struct {
	// Rejected counts samples by the reason for which the metric store refused them.
	Rejected store.Rejected
	// Duplicate tells that the batch had been accepted before, and was not stored again.
	Duplicate bool
}

// Deriver makes signals from signals. Enrich may change the batch's rows before they are stored; Observe only reads
// them, and sees each row once however often its sender tries.
type Deriver interface {
	Enrich(*model.Batch)
	Observe(*model.Batch)
}

// DefaultMaxInFlight is the cap on bytes in flight where Options names none.
const DefaultMaxInFlight = 256 << 20

// DefaultMaxTenants is the cap on tenants where Options names none.
const DefaultMaxTenants = 64

// Options wires a Pipeline.
type Options struct {
	Events  store.Events
	Metrics store.Metrics
	State   store.State
	// Deriver may be nil: then nothing is derived.
	Deriver Deriver
	// MaxTenants caps the tenants that send while the process lives, because each takes memory that nothing gives back; 0
	// means DefaultMaxTenants.
	MaxTenants int
	// MaxInFlight caps the bytes of all batches inside Accept, about; 0 means DefaultMaxInFlight.
	MaxInFlight int64
	// Registerer may be nil.
	Registerer prometheus.Registerer
	// Logger may be nil.
	Logger *slog.Logger
}

// Pipeline is the Sink that everything received goes through.
type Pipeline struct {
	events  store.Events
	metrics store.Metrics
	state   store.State
	deriver Deriver
	log     *slog.Logger
	gate    *Gate
	tenants tenants
	recent  recent
	counts  *counts
}

// NewPipeline makes a Pipeline over stores that are open and stay open until the last Accept has returned.
func NewPipeline(o Options) *Pipeline {
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = DefaultMaxInFlight
	}
	if o.MaxTenants <= 0 {
		o.MaxTenants = DefaultMaxTenants
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Pipeline{
		events: o.Events, metrics: o.Metrics, state: o.State, deriver: o.Deriver,
		log:     o.Logger,
		gate:    NewGate(o.MaxInFlight),
		tenants: tenants{limit: o.MaxTenants, names: map[string]bool{}},
		counts:  newCounts(o.Registerer),
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "triage_ingest_in_flight_bytes",
				Help: "Bytes of the batches that are being accepted, about.",
			}, func() float64 { return float64(p.gate.Held()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "triage_ingest_in_flight_limit_bytes",
				Help: "Bytes in flight above which batches are refused as overload.",
			}, func() float64 { return float64(p.gate.Limit()) }),
		)
	}
	return p
}

// Accept implements Sink.
func (p *Pipeline) Accept(ctx context.Context, b *model.Batch) (Result, error) {
	if b.Tenant == "" {
		b.Tenant = model.DefaultTenant
	}
	t := tally(b)
	p.counts.received(b, t)

	if p.recent.has(b) {
		p.counts.duplicate(b, t)
		return Result{Duplicate: true}, nil
	}
	res, err := p.accept(ctx, b)
	if err != nil {
		p.counts.refused(b, t, reason(err))
		// Overload is what the counter is for; a line for each refusal would add to it.
		if !errors.Is(err, store.ErrOverloaded) && ctx.Err() == nil {
			p.log.Error("batch refused", "source", b.Source, "tenant", b.Tenant, "items", b.Len(), "err", err)
		}
		return Result{}, err
	}
	p.recent.add(b)
	if res.Duplicate {
		p.counts.duplicate(b, t)
		return res, nil
	}
	p.counts.accepted(b, t, res.Rejected)
	return res, nil
}

func (p *Pipeline) accept(ctx context.Context, b *model.Batch) (res Result, err error) {
	if err := p.tenants.admit(b.Tenant); err != nil {
		return res, fmt.Errorf("accept %s batch: %w", b.Source, err)
	}
	release, err := p.gate.Acquire(Size(b))
	if err != nil {
		return res, fmt.Errorf("accept %s batch: %w", b.Source, err)
	}
	defer release()

	if p.deriver != nil {
		p.deriver.Enrich(b)
	}
	// Only rows of the event store need its memory of batches. Samples and changes have identities of their own, so that
	// storing them again after half a batch was lost changes nothing, and a retry completes what the first try began.
	stored := true
	if len(b.Spans)+len(b.Logs) > 0 {
		if stored, err = p.events.Append(ctx, b); err != nil {
			return res, fmt.Errorf("store %d spans and %d logs: %w", len(b.Spans), len(b.Logs), err)
		}
	}
	if stored && p.deriver != nil {
		p.deriver.Observe(b)
	}
	if len(b.Series) > 0 {
		if res.Rejected, err = p.metrics.Append(ctx, b.Tenant, b.Series); err != nil {
			return res, fmt.Errorf("store %d series: %w", len(b.Series), err)
		}
	}
	for i := range b.Changes {
		if err := p.state.AddChange(ctx, b.Tenant, b.Changes[i]); err != nil {
			return res, fmt.Errorf("store change %s: %w", b.Changes[i].ID, err)
		}
	}
	res.Duplicate = !stored
	return res, nil
}

// reason names an error for the counters.
func reason(err error) string {
	switch {
	case errors.Is(err, store.ErrOverloaded):
		return "overloaded"
	case errors.Is(err, store.ErrFull):
		return "full"
	case errors.Is(err, store.ErrClosed):
		return "closed"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	}
	return "error"
}

// Status says what came in since the process started.
func (p *Pipeline) Status() Status {
	s := p.counts.status()
	s.InFlightBytes, s.InFlightLimitBytes = p.gate.Held(), p.gate.Limit()
	return s
}

// Status is what Pipeline.Status reports, as the API shows it.
type Status struct {
	InFlightBytes      int64 `json:"in_flight_bytes"`
	InFlightLimitBytes int64 `json:"in_flight_limit_bytes"`
	// Sources is by Batch.Source.
	Sources map[string]SourceStatus `json:"sources"`
}

// SourceStatus is what one format brought.
type SourceStatus struct {
	// Last is when the last batch was received.
	Last time.Time `json:"last"`
	// Signals is by "spans", "logs", "samples" and "changes"; those never received are left out.
	Signals map[string]SignalStatus `json:"signals"`
}

// SignalStatus counts items. Received is the sum of the other three and of what is in flight.
type SignalStatus struct {
	Received  int64 `json:"received"`
	Accepted  int64 `json:"accepted"`
	Duplicate int64 `json:"duplicate,omitempty"`
	// Lag is how far the newest time in the last batch lay behind its arrival, in seconds; below zero it lay ahead.
	Lag *float64 `json:"lag_s,omitempty"`
	// Rejected is by reason.
	Rejected map[string]int64 `json:"rejected,omitempty"`
}

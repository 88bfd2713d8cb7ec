// Package load sends made-up telemetry over OTLP gRPC at a chosen rate and reports what the receiver did with it: how
// much it acknowledged, how fast, with which errors. What it sends is as skewed as real systems are: a few operations,
// users and log templates make up most of it.
//
// It is an open loop: each request has the moment at which it is due, whether or not earlier ones were answered, so that
// a slow receiver shows as latency and as a rate below the one asked for, never as a smaller load that looks healthy.
// Latency counts from that moment. Requests in flight are bounded by Workers, though: when all of them wait, the next
// request is late, and its lateness is part of its latency.
//
// Run starts goroutines and waits for all of them.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
)

// Signal is what to send.
type Signal string

// The signals.
const (
	Spans   Signal = "spans"
	Logs    Signal = "logs"
	Metrics Signal = "metrics"
	// Requests are spans and as many log lines, written by the services of the same traces.
	Requests Signal = "requests"
)

// ErrNotLoopback means that a target is not this machine and nobody said that this is meant.
var ErrNotLoopback = errors.New("the target is not on this machine")

// ErrUnreachable means that nobody answers at the target.
var ErrUnreachable = errors.New("no OTLP receiver answers")

// Options say what to send where.
type Options struct {
	Signal Signal
	// Target is host:port of an OTLP gRPC receiver.
	Target string
	// AllowRemote lets Target be another machine.
	AllowRemote bool
	// Rate is items a second (spans, log records, data points); 0 is as fast as the receiver takes them.
	Rate float64
	// For is how long to send.
	For time.Duration
	// Count ends it sooner, after so many items; 0 does not.
	Count int64
	// Over dates the items evenly over so long a time up to the start of the run, oldest first, as if they had been
	// recorded then; 0 dates each as it is sent. It needs a Count or a Rate, which say how many there will be.
	Over time.Duration
	// Slow is a fault to be found in what is sent.
	Slow Slow
	// Batch is about how many items a request carries.
	Batch int
	// Workers is how many requests can be in flight.
	Workers int
	// Series is how many series metrics have.
	Series int
	// Seed makes the shape of what is sent the same again; identifiers are new in each run.
	Seed uint64
	// Gzip compresses requests, as most SDKs do.
	Gzip bool
	// Progress, if set, is called once a second with what was acknowledged so far.
	Progress func(acknowledged int64, elapsed time.Duration)
}

// Slow makes a service take longer: each of its requests by about By, in the last For of the time that is dated. The zero
// Slow makes none.
type Slow struct {
	Service string
	By, For time.Duration
}

// total is how many items there will be, 0 if nobody knows.
func (o Options) total() int64 {
	n := int64(o.Rate * o.For.Seconds())
	if o.Count > 0 && (n == 0 || o.Count < n) {
		n = o.Count
	}
	return n
}

// window is when what a request carries happened.
type window struct{ from, to time.Time }

// at is the time that lies so far into the window, as a share.
func (w window) at(share float64) time.Time {
	return w.from.Add(time.Duration(share * float64(w.to.Sub(w.from))))
}

// validate names every option that makes no sense.
func (o Options) validate() error {
	var errs []error
	if !slices.Contains([]Signal{Spans, Logs, Metrics, Requests}, o.Signal) {
		errs = append(errs, fmt.Errorf("signal %q: want spans, logs, metrics or requests", o.Signal))
	}
	if o.Rate < 0 || o.Rate > 1e9 {
		errs = append(errs, fmt.Errorf("rate %g: want 0 to 1e9 a second", o.Rate))
	}
	if o.For <= 0 {
		errs = append(errs, fmt.Errorf("for %s: want some time", o.For))
	}
	if o.Batch < 1 || o.Batch > 100_000 {
		errs = append(errs, fmt.Errorf("batch %d: want 1 to 100000", o.Batch))
	}
	if o.Workers < 1 || o.Workers > 1000 {
		errs = append(errs, fmt.Errorf("workers %d: want 1 to 1000", o.Workers))
	}
	if o.Signal == Metrics && o.Series < 1 {
		errs = append(errs, fmt.Errorf("series %d: want at least 1", o.Series))
	}
	if o.Count < 0 {
		errs = append(errs, fmt.Errorf("count %d: want at least 1, or 0 for no limit", o.Count))
	}
	if o.Over < 0 || o.Over > 0 && o.total() == 0 {
		errs = append(errs, fmt.Errorf("over %s: want some time, and a count or a rate that says how many items it holds", o.Over))
	}
	if s := o.Slow; s != (Slow{}) && (!slices.Contains(services, s.Service) || s.By <= 0 || s.For <= 0) {
		errs = append(errs, fmt.Errorf("slow %q by %s for %s: want one of %v and some time", s.Service, s.By, s.For, services))
	}
	return errors.Join(errs...)
}

// Report is what came of it. Latencies are of requests that were acknowledged.
type Report struct {
	Signal  Signal  `json:"signal"`
	Target  string  `json:"target"`
	Seconds float64 `json:"seconds"`
	// Asked and Achieved are items a second; Achieved counts what was acknowledged.
	Asked    float64 `json:"asked_per_s"`
	Achieved float64 `json:"achieved_per_s"`
	Requests int64   `json:"requests"`
	Sent     int64   `json:"sent"`
	// Acknowledged items were accepted, Rejected ones refused one by one (OTLP's partial success).
	Acknowledged int64 `json:"acknowledged"`
	Rejected     int64 `json:"rejected"`
	// Errors counts requests by gRPC status code.
	Errors map[string]int64 `json:"errors"`
	// LastError is the text of one of them.
	LastError string  `json:"last_error,omitempty"`
	P50       float64 `json:"p50_s"`
	P90       float64 `json:"p90_s"`
	P99       float64 `json:"p99_s"`
	Max       float64 `json:"max_s"`
}

// request is a batch that is ready to be sent, in one export or two. send returns how many items were refused.
type request struct {
	items int
	send  func(ctx context.Context) (rejected int64, err error)
}

// maker makes requests; each worker has its own.
type maker interface {
	make(items int, w window) request
}

// Run sends until the time is over or ctx ends, and reports. It returns an error only if nothing could be sent at all.
func Run(ctx context.Context, o Options) (Report, error) {
	if err := o.validate(); err != nil {
		return Report{}, err
	}
	if err := checkTarget(ctx, o); err != nil {
		return Report{}, err
	}
	calls := []grpc.CallOption{grpc.MaxCallRecvMsgSize(16 << 20)}
	if o.Gzip {
		calls = append(calls, grpc.UseCompressor(gzip.Name))
	}
	conn, err := grpc.NewClient("passthrough:///"+o.Target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(calls...))
	if err != nil {
		return Report{}, fmt.Errorf("connect to %s: %w", o.Target, err)
	}
	defer conn.Close()

	ctx, stop := context.WithTimeout(ctx, o.For)
	defer stop()
	r := &run{o: o, start: time.Now(), errors: map[string]int64{}}
	var wg sync.WaitGroup
	for w := range o.Workers {
		m := newMaker(o, conn, w, r.start)
		wg.Go(func() { r.work(ctx, m) })
	}
	done := make(chan struct{})
	var telling sync.WaitGroup
	if o.Progress != nil {
		telling.Go(func() { r.progress(done) })
	}
	wg.Wait()
	close(done)
	telling.Wait()
	return r.report()
}

// newMaker gives worker w its source of requests. Shapes come from the seed, identifiers from chance.
func newMaker(o Options, conn *grpc.ClientConn, w int, start time.Time) maker {
	shape := rand.New(rand.NewPCG(o.Seed, uint64(w)))
	ids := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	made := newWorld(shape, ids)
	made.slow(o.Slow, o.last(start))
	switch o.Signal {
	case Logs:
		return &logMaker{made, plogotlp.NewGRPCClient(conn)}
	case Metrics:
		return newMetricMaker(made, pmetricotlp.NewGRPCClient(conn), o.Series, w, o.Workers)
	case Requests:
		return &requestMaker{made, ptraceotlp.NewGRPCClient(conn), plogotlp.NewGRPCClient(conn)}
	}
	return &spanMaker{made, ptraceotlp.NewGRPCClient(conn)}
}

// checkTarget refuses other machines unless that is meant, and says early that nobody listens.
func checkTarget(ctx context.Context, o Options) error {
	host, _, err := net.SplitHostPort(o.Target)
	if err != nil {
		return fmt.Errorf("target %s: want host:port: %w", o.Target, err)
	}
	if !o.AllowRemote {
		addrs, err := net.DefaultResolver.LookupIPAddr(ctx, host)
		if err != nil {
			return fmt.Errorf("target %s: %w", o.Target, err)
		}
		for _, a := range addrs {
			if !a.IP.IsLoopback() {
				return fmt.Errorf("%w: %s has the address %s", ErrNotLoopback, o.Target, a.IP)
			}
		}
	}
	d := net.Dialer{Timeout: 3 * time.Second}
	c, err := d.DialContext(ctx, "tcp", o.Target)
	if err != nil {
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, o.Target, err)
	}
	return c.Close()
}

// last is when the newest item of a run that begins at start is dated.
func (o Options) last(start time.Time) time.Time {
	if o.Over > 0 {
		return start
	}
	return start.Add(o.For)
}

// run is the state that workers share.
type run struct {
	o     Options
	start time.Time
	next  atomic.Int64 // items claimed so far; decides when the next request is due

	sent, acknowledged, rejected, requests atomic.Int64

	latency histogram

	mu        sync.Mutex // guards the two below
	errors    map[string]int64
	lastError string
}

// dated is when the items of a request happened, given how many were claimed before them.
func (r *run) dated(claimed int64) window {
	if r.o.Over == 0 {
		now := time.Now()
		return window{now.Add(-100 * time.Millisecond), now}
	}
	all := window{r.start.Add(-r.o.Over), r.start}
	total := float64(r.o.total())
	return window{all.at(float64(claimed) / total), all.at(float64(claimed+int64(r.o.Batch)) / total)}
}

func (r *run) work(ctx context.Context, m maker) {
	for {
		var due time.Time
		claimed := r.next.Add(int64(r.o.Batch)) - int64(r.o.Batch)
		if r.o.Count > 0 && claimed >= r.o.Count {
			return
		}
		if r.o.Rate > 0 {
			due = r.start.Add(time.Duration(float64(claimed) / r.o.Rate * 1e9))
			if due.Sub(r.start) >= r.o.For {
				return
			}
		}
		req := m.make(r.o.Batch, r.dated(claimed)) // before it is due, so that making it costs no latency
		if wait := time.Until(due); wait > 0 && !sleep(ctx, wait) {
			return
		}
		if ctx.Err() != nil {
			return
		}
		if due.IsZero() {
			due = time.Now()
		}
		// A request that was begun is finished even when the time is over, or it would count as an error of the receiver's.
		send, stop := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		rejected, err := req.send(send)
		stop()
		r.requests.Add(1)
		r.sent.Add(int64(req.items))
		if err != nil {
			r.fail(err)
			if status.Code(err) == codes.Unavailable && !sleep(ctx, 100*time.Millisecond) { // nobody there: no busy loop
				return
			}
			continue
		}
		r.latency.add(time.Since(due))
		r.rejected.Add(rejected)
		r.acknowledged.Add(int64(req.items) - rejected)
	}
}

// sleep waits and tells whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (r *run) fail(err error) {
	s, _ := status.FromError(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors[s.Code().String()]++
	r.lastError = s.Message()
}

func (r *run) progress(done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			r.o.Progress(r.acknowledged.Load(), time.Since(r.start))
		}
	}
}

func (r *run) report() (Report, error) {
	elapsed := time.Since(r.start).Seconds()
	out := Report{
		Signal: r.o.Signal, Target: r.o.Target, Seconds: elapsed, Asked: r.o.Rate,
		Achieved: float64(r.acknowledged.Load()) / elapsed, Requests: r.requests.Load(), Sent: r.sent.Load(),
		Acknowledged: r.acknowledged.Load(), Rejected: r.rejected.Load(), Errors: r.errors, LastError: r.lastError,
		P50: r.latency.quantile(0.5), P90: r.latency.quantile(0.9), P99: r.latency.quantile(0.99), Max: r.latency.max(),
	}
	if out.Acknowledged == 0 && r.errors[codes.Unavailable.String()] > 0 {
		return out, fmt.Errorf("%w at %s: %s", ErrUnreachable, r.o.Target, r.lastError)
	}
	return out, nil
}

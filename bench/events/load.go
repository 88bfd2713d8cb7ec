package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"triage/internal/derive"
	"triage/internal/ingest"
	"triage/internal/ingest/otlp"
	"triage/internal/store/events"
	"triage/internal/store/metrics"
)

// facts are what is known of a loaded store.
type facts struct {
	Size int64  `json:"size"`
	Seed uint64 `json:"seed"`
	made
	// CPUSeconds and Seconds are from the first byte of OTLP until all is durable, derived and merged.
	CPUSeconds      float64 `json:"cpu_seconds"`
	Seconds         float64 `json:"seconds"`
	SpansACPUSecond float64 `json:"spans_a_cpu_second"` // of spans alone
	StoredBytes     int64   `json:"stored_bytes"`
	Blocks          int     `json:"blocks"`
	// FlushedBytes are those of blocks when they were first written, MergedBytes those of all merges.
	FlushedBytes float64 `json:"flushed_bytes"`
	MergedBytes  float64 `json:"merged_bytes"`
}

// loader is the way from OTLP to the store, as the product has it.
type loader struct {
	clock   atomic.Int64 // of the telemetry, by which it is derived
	events  *events.Store
	metrics *metrics.Store
	derive  *derive.Deriver
	handler http.Handler
	stop    func() error
}

func openStore(ctx context.Context, dir string, reg prometheus.Registerer) (*events.Store, func() error, error) {
	s, err := events.Open(ctx, events.Options{Dir: dir, Registerer: reg})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() error {
		cancel()
		return errors.Join(<-done, s.Close())
	}, nil
}

func newLoader(ctx context.Context, dir string, reg prometheus.Registerer) (*loader, error) {
	l := &loader{}
	l.clock.Store(began.UnixNano())
	now := func() time.Time { return time.Unix(0, l.clock.Load()) }
	var err error
	if l.metrics, err = metrics.Open(metrics.Options{Dir: filepath.Join(dir, "metrics"), Now: now}); err != nil {
		return nil, err
	}
	if l.events, l.stop, err = openStore(ctx, filepath.Join(dir, "store"), reg); err != nil {
		return nil, errors.Join(err, l.metrics.Close())
	}
	l.derive = derive.New(derive.Options{Instance: "bench", Now: now})
	pipeline := ingest.NewPipeline(ingest.Options{Events: l.events, Metrics: l.metrics, Deriver: l.derive})
	l.handler = otlp.New(otlp.Options{Sink: pipeline}).Handler()
	return l, nil
}

// take hands one request on, again while the store has no room for it.
func (l *loader) take(ctx context.Context, f frame) error {
	path := "/v1/traces"
	if f.kind == 'l' {
		path = "/v1/logs"
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1"+path, bytes.NewReader(f.data))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-protobuf")
		w := answer{header: http.Header{}, code: http.StatusOK}
		l.handler.ServeHTTP(&w, req)
		switch w.code {
		case http.StatusOK:
			return nil
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		default:
			return fmt.Errorf("%s answers %d: %s", path, w.code, w.body.String())
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answer is a response that nobody reads over a network.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// collect stores what is derived, as a running triage does every five seconds.
func (l *loader) collect(ctx context.Context) error {
	for tenant, series := range l.derive.Collect(time.Unix(0, l.clock.Load())) {
		if _, err := l.metrics.Append(ctx, tenant, series); err != nil {
			return err
		}
	}
	return nil
}

// takeIn makes telemetry in a process of its own and takes it in.
func takeIn(ctx context.Context, dir string, src source) (f facts, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, err
	}
	reg := prometheus.NewRegistry()
	l, err := newLoader(ctx, dir, reg)
	if err != nil {
		return f, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	child := exec.CommandContext(ctx, self, src.args()...)
	child.Stderr = os.Stderr
	pipe, err := child.StdoutPipe()
	if err != nil {
		return f, err
	}
	if err := child.Start(); err != nil {
		return f, err
	}
	cpu, start := cpuSeconds(), time.Now()
	f = facts{Size: src.size, Seed: src.seed}
	if f.made, err = l.all(ctx, pipe, src.size); err != nil {
		cancel()
		return f, errors.Join(err, child.Wait(), l.stop(), l.metrics.Close())
	}
	if err := errors.Join(child.Wait(), l.collect(ctx)); err != nil {
		return f, errors.Join(err, l.stop(), l.metrics.Close())
	}
	// Close writes out the tail; opened again, the store merges what is left.
	f.FlushedBytes, f.MergedBytes = written(reg)
	if err := errors.Join(l.stop(), l.metrics.Close()); err != nil {
		return f, err
	}
	reg = prometheus.NewRegistry()
	s, err := events.Open(ctx, events.Options{Dir: filepath.Join(dir, "store"), Registerer: reg})
	if err != nil {
		return f, err
	}
	err = s.Maintain(ctx)
	f.CPUSeconds, f.Seconds = cpuSeconds()-cpu, time.Since(start).Seconds()
	flushed, merged := written(reg)
	f.FlushedBytes, f.MergedBytes = f.FlushedBytes+flushed, f.MergedBytes+merged
	st, serr := s.Stats(ctx)
	f.StoredBytes, f.Blocks = st.Bytes, st.Blocks
	if err == nil && st.Spans != src.size {
		err = fmt.Errorf("%d spans are stored, %d were sent", st.Spans, src.size)
	}
	return f, errors.Join(err, serr, s.Close())
}

// all takes in what the process that makes telemetry writes.
func (l *loader) all(ctx context.Context, from io.Reader, size int64) (m made, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	frames := make(chan frame, 8)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for f := range frames {
				if err := l.take(ctx, f); err != nil {
					cancel(err)
				}
			}
		})
	}
	r := bufio.NewReaderSize(from, 1<<20)
	var last, said time.Time
	seen := int64(0)
	for {
		f, ferr := readFrame(r)
		if ferr != nil {
			err = fmt.Errorf("read telemetry: %w", ferr)
			break
		}
		if f.kind == 'e' {
			err = json.Unmarshal(f.data, &m)
			break
		}
		l.clock.Store(f.at.UnixNano())
		if f.at.Sub(last) >= 5*time.Second {
			last = f.at
			if err = l.collect(ctx); err != nil {
				break
			}
		}
		if f.kind == 's' {
			seen += batchSpans
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			fmt.Fprintf(os.Stderr, "loaded %d of %d spans\n", min(seen, size), size)
		}
		select {
		case frames <- f:
			continue
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		break
	}
	close(frames)
	workers.Wait()
	return m, errors.Join(err, context.Cause(ctx))
}

// written is what a store says of the bytes of its blocks.
func written(reg *prometheus.Registry) (flushed, merged float64) {
	families, err := reg.Gather()
	if err != nil {
		return 0, 0
	}
	for _, f := range families {
		if f.GetName() != "triage_events_block_written_bytes_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == "flush" {
				flushed = m.GetCounter().GetValue()
			} else {
				merged = m.GetCounter().GetValue()
			}
		}
	}
	return flushed, merged
}

package ingest

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"triage/internal/model"
	"triage/internal/store"
)

// The signals, as counters and Status name them.
const (
	Spans   = "spans"
	Logs    = "logs"
	Samples = "samples"
	Changes = "changes"
)

// tally counts the items of a batch by signal, what the edge rejected included, because it was received too.
func tally(b *model.Batch) map[string]int {
	t := map[string]int{}
	if n := len(b.Spans); n > 0 {
		t[Spans] = n
	}
	if n := len(b.Logs); n > 0 {
		t[Logs] = n
	}
	for i := range b.Series {
		t[Samples] += len(b.Series[i].Samples) + len(b.Series[i].Histograms)
	}
	if n := len(b.Changes); n > 0 {
		t[Changes] = n
	}
	for _, r := range b.Rejected {
		t[r.Signal] += r.Count
	}
	return t
}

// newest is the latest time that a batch names, by signal: when spans ended, lines were written and samples measured.
func newest(b *model.Batch) map[string]time.Time {
	out := map[string]time.Time{}
	latest := func(signal string, at time.Time) {
		if at.After(out[signal]) {
			out[signal] = at
		}
	}
	for i := range b.Spans {
		latest(Spans, time.Unix(0, b.Spans[i].Start+b.Spans[i].Duration))
	}
	for i := range b.Logs {
		latest(Logs, time.Unix(0, b.Logs[i].Time))
	}
	for i := range b.Series {
		if n := len(b.Series[i].Samples); n > 0 {
			latest(Samples, time.UnixMilli(b.Series[i].Samples[n-1].T))
		}
		if n := len(b.Series[i].Histograms); n > 0 {
			latest(Samples, time.UnixMilli(b.Series[i].Histograms[n-1].T))
		}
	}
	return out
}

// counts keeps the same numbers twice, for Prometheus and for Status, because a counter vector cannot be asked.
type counts struct {
	receivedTotal, acceptedTotal, duplicateTotal, rejectedTotal *prometheus.CounterVec
	lastReceived                                                *prometheus.GaugeVec

	mu      sync.Mutex // guards sources
	sources map[string]SourceStatus
}

func newCounts(reg prometheus.Registerer) *counts {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	c := &counts{
		receivedTotal:  vec("triage_ingest_received_items_total", "Items received.", "source", "signal"),
		acceptedTotal:  vec("triage_ingest_accepted_items_total", "Items stored.", "source", "signal"),
		duplicateTotal: vec("triage_ingest_duplicate_items_total", "Items of retries, acknowledged and not stored again.", "source", "signal"),
		rejectedTotal:  vec("triage_ingest_rejected_items_total", "Items not stored, by reason.", "source", "signal", "reason"),
		lastReceived: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "triage_ingest_last_received_timestamp_seconds",
			Help: "When the last batch was received.",
		}, []string{"source"}),
		sources: map[string]SourceStatus{},
	}
	if reg != nil {
		reg.MustRegister(c.receivedTotal, c.acceptedTotal, c.duplicateTotal, c.rejectedTotal, c.lastReceived)
	}
	return c
}

// add changes one signal's numbers of a source.
func (c *counts) add(source, signal string, change func(*SignalStatus)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	src, ok := c.sources[source]
	if !ok {
		src.Signals = map[string]SignalStatus{}
		c.sources[source] = src
	}
	s := src.Signals[signal]
	change(&s)
	src.Signals[signal] = s
}

func (c *counts) received(b *model.Batch, t map[string]int) {
	for signal, n := range t {
		c.receivedTotal.WithLabelValues(b.Source, signal).Add(float64(n))
		c.add(b.Source, signal, func(s *SignalStatus) { s.Received += int64(n) })
	}
	now := time.Now()
	for signal, at := range newest(b) {
		lag := now.Sub(at).Seconds()
		c.add(b.Source, signal, func(s *SignalStatus) { s.Lag = &lag })
	}
	c.lastReceived.WithLabelValues(b.Source).Set(float64(now.UnixNano()) / 1e9)
	c.mu.Lock()
	defer c.mu.Unlock()
	src := c.sources[b.Source]
	if src.Signals == nil {
		src.Signals = map[string]SignalStatus{}
	}
	src.Last = now
	c.sources[b.Source] = src
}

func (c *counts) duplicate(b *model.Batch, t map[string]int) {
	for signal, n := range t {
		c.duplicateTotal.WithLabelValues(b.Source, signal).Add(float64(n))
		c.add(b.Source, signal, func(s *SignalStatus) { s.Duplicate += int64(n) })
	}
}

// refused counts a whole batch under one reason.
func (c *counts) refused(b *model.Batch, t map[string]int, reason string) {
	for signal, n := range t {
		c.reject(b.Source, signal, reason, n)
	}
}

func (c *counts) accepted(b *model.Batch, t map[string]int, rejected store.Rejected) {
	for _, r := range b.Rejected {
		c.reject(b.Source, r.Signal, r.Reason, r.Count)
		t[r.Signal] -= r.Count
	}
	for reason, n := range rejected.Reasons() {
		c.reject(b.Source, Samples, reason, n)
		t[Samples] -= n
	}
	for signal, n := range t {
		if n <= 0 {
			continue
		}
		c.acceptedTotal.WithLabelValues(b.Source, signal).Add(float64(n))
		c.add(b.Source, signal, func(s *SignalStatus) { s.Accepted += int64(n) })
	}
}

func (c *counts) reject(source, signal, reason string, n int) {
	if n <= 0 {
		return
	}
	c.rejectedTotal.WithLabelValues(source, signal, reason).Add(float64(n))
	c.add(source, signal, func(s *SignalStatus) {
		if s.Rejected == nil {
			s.Rejected = map[string]int64{}
		}
		s.Rejected[reason] += int64(n)
	})
}

// status is a copy of everything.
func (c *counts) status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Status{Sources: make(map[string]SourceStatus, len(c.sources))}
	for name, src := range c.sources {
		signals := make(map[string]SignalStatus, len(src.Signals))
		for signal, s := range src.Signals {
			s.Rejected = maps.Clone(s.Rejected)
			signals[signal] = s
		}
		out.Sources[name] = SourceStatus{Last: src.Last, Signals: signals}
	}
	return out
}

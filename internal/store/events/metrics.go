package events

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the store's own.
type metrics struct {
	rows                       [len(signals)]prometheus.Counter
	duplicates, refused        prometheus.Counter
	walSyncs, walTorn, walLost prometheus.Counter
	flushes, flushFailures     prometheus.Counter
	merges, mergedRows         prometheus.Counter
	flushedBytes, mergedBytes  prometheus.Counter
	droppedAge, droppedSize    prometheus.Counter
	blocksLost                 prometheus.Counter
	quarantined                *prometheus.GaugeVec
	querySeconds               *prometheus.HistogramVec
	registerer                 prometheus.Registerer
	registered                 []prometheus.Collector
}

func newMetrics(reg prometheus.Registerer, s *Store) (*metrics, error) {
	m := &metrics{registerer: reg}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "triage_events_" + name, Help: help})
		m.registered = append(m.registered, c)
		return c
	}
	gauge := func(name, help string, value func() float64) {
		m.registered = append(m.registered, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "triage_events_" + name, Help: help},
			func() float64 {
				s.mu.Lock()
				defer s.mu.Unlock()
				return value()
			}))
	}
	rows := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "triage_events_rows_total", Help: "Rows stored."}, []string{"signal"})
	m.registered = append(m.registered, rows)
	for _, sig := range signals {
		m.rows[sig] = rows.WithLabelValues(sig.String())
	}
	m.duplicates = counter("duplicate_batches_total", "Batches acknowledged but not stored again.")
	m.refused = counter("refused_batches_total", "Batches refused because too much was in flight or waiting to be flushed.")
	m.walSyncs = counter("wal_syncs_total", "Syncs of the write-ahead log.")
	m.walTorn = counter("wal_torn_bytes_total", "Unfinished bytes cut off the end of the write-ahead log at start.")
	m.walLost = counter("wal_lost_bytes_total", "Damaged bytes of the write-ahead log: acknowledged rows that are lost.")
	m.flushes = counter("flushes_total", "Slices of the tail written out as blocks.")
	m.flushFailures = counter("flush_failures_total", "Attempts to write out a slice that failed.")
	m.merges = counter("merges_total", "Merges of blocks.")
	m.mergedRows = counter("merged_rows_total", "Rows rewritten by merges.")
	written := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "triage_events_block_written_bytes_total",
		Help: "Bytes of blocks written, by flushes and by merges."}, []string{"by"})
	m.registered = append(m.registered, written)
	m.flushedBytes, m.mergedBytes = written.WithLabelValues("flush"), written.WithLabelValues("merge")
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "triage_events_dropped_rows_total",
		Help: "Rows dropped by retention."}, []string{"reason"})
	m.registered = append(m.registered, dropped)
	m.droppedAge, m.droppedSize = dropped.WithLabelValues("age"), dropped.WithLabelValues("size")
	m.blocksLost = counter("blocks_lost_total", "Blocks that could not be read.")
	m.quarantined = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "triage_events_quarantined",
		Help: "Damaged files in the quarantine folder, 1 each."}, []string{"file"})
	m.registered = append(m.registered, m.quarantined)
	m.querySeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "triage_events_query_seconds",
		Help: "Time to answer a question.", Buckets: prometheus.ExponentialBuckets(0.002, 3, 9)}, []string{"question"})
	m.registered = append(m.registered, m.querySeconds)

	gauge("blocks", "Blocks on disk.", func() float64 { return float64(len(s.catalog.all())) })
	gauge("block_bytes", "Bytes of all blocks.", func() (n float64) {
		for _, b := range s.catalog.all() {
			n += float64(b.Size)
		}
		return n
	})
	gauge("tail_bytes", "Bytes accepted and not yet in blocks.", func() float64 { return float64(s.tailBytes()) })
	gauge("tail_limit_bytes", "Bytes that may wait to be written out before batches are refused.", func() float64 { return maxTail })

	if reg == nil {
		return m, nil
	}
	for i, c := range m.registered {
		if err := reg.Register(c); err != nil {
			m.registered = m.registered[:i]
			m.unregister()
			return nil, errors.Join(errors.New("register metrics"), err)
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
}

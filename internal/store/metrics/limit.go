package metrics

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	promname "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// maxOffenders bounds the metrics that are named in the log and in counters; further ones are "other".
const maxOffenders = 20

// limiter keeps a tenant's head from growing past its limits, whichever way series come, and knows who is to blame. One
// metric with a label of too many values is refused before it has taken the room of all others.
type limiter struct {
	tenant              string
	maxSeries, maxByOne int
	log                 *slog.Logger
	limited             *prometheus.CounterVec
	// replayed is set once the write-ahead log was read: what was accepted is never refused.
	replayed atomic.Bool

	mu    sync.Mutex // guards what follows
	total int
	by    map[string]int // series by metric
	named map[string]bool
	// largest is the metric with the most series when the tenant was first found full.
	largest string
}

var _ tsdb.SeriesLifecycleCallback = (*limiter)(nil)

func newLimiter(tenant string, o Options, limited *prometheus.CounterVec) *limiter {
	return &limiter{
		tenant: tenant, maxSeries: o.MaxSeries, maxByOne: o.MaxSeriesByMetric, log: o.Logger, limited: limited,
		by: map[string]int{}, named: map[string]bool{},
	}
}

// limitError is why a series was not made.
type limitError struct{ place string }

func (e *limitError) Error() string { return "too many series: " + e.place }

// PreCreation implements tsdb.SeriesLifecycleCallback.
func (l *limiter) PreCreation(ls labels.Labels) error {
	if !l.replayed.Load() {
		return nil
	}
	name := ls.Get(promname.MetricNameLabel)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.by[name] >= l.maxByOne:
		return l.refuse(name, fmt.Sprintf("metric %s has %d series, at most %d", name, l.maxByOne, l.maxByOne))
	case l.total >= l.maxSeries:
		if l.largest == "" {
			for n, c := range l.by {
				if c > l.by[l.largest] || c == l.by[l.largest] && n < l.largest {
					l.largest = n
				}
			}
		}
		return l.refuse(l.largest, fmt.Sprintf("tenant %s has %d series, at most %d, most of metric %s", l.tenant, l.maxSeries, l.maxSeries, l.largest))
	}
	return nil
}

// refuse wants mu held.
func (l *limiter) refuse(metric, place string) error {
	if !l.named[metric] {
		if len(l.named) < maxOffenders {
			l.named[strings.Clone(metric)] = true
			l.log.Warn("too many series, samples of further ones are rejected", "tenant", l.tenant, "metric", metric, "why", place)
		} else {
			metric = "other"
		}
	}
	l.limited.WithLabelValues(l.tenant, metric).Inc()
	return &limitError{place}
}

// PostCreation implements tsdb.SeriesLifecycleCallback.
func (l *limiter) PostCreation(ls labels.Labels) {
	name := ls.Get(promname.MetricNameLabel)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if n, ok := l.by[name]; ok {
		l.by[name] = n + 1
		return
	}
	l.by[strings.Clone(name)] = 1
}

// PostDeletion implements tsdb.SeriesLifecycleCallback.
func (l *limiter) PostDeletion(gone map[chunks.HeadSeriesRef]labels.Labels) {
	if len(gone) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.largest = ""
	for _, ls := range gone {
		name := ls.Get(promname.MetricNameLabel)
		l.total--
		if l.by[name]--; l.by[name] <= 0 {
			delete(l.by, name)
		}
	}
}

// limitOf tells what a refusal by a limiter says, ok is false for other errors.
func limitOf(err error) (place string, ok bool) {
	var limit *limitError
	if errors.As(err, &limit) {
		return limit.place, true
	}
	return "", false
}

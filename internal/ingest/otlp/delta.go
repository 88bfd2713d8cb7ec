package otlp

import (
	"container/list"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatautil"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/prometheus/prometheus/model/histogram"
)

// deltas turns points of delta temporality into cumulative ones, so that rate() and everything else that counts on
// counters works. A series starts with its first delta's start; it is forgotten when nothing came for idle, and starts
// anew, with a new created timestamp, when something comes again. Deltas that were lost on the way stay lost, which is
// no reason to start anew: a sum that goes on tells the rate of what did arrive, one that starts anew might look as if
// it had not moved.
//
// A point that comes again with the time of the last one gets the sum as it stands and adds nothing. So a request that
// was refused after its deltas were added can be sent again.
type deltas struct {
	max  int
	idle time.Duration

	idled    prometheus.Counter
	refused  prometheus.Counter
	restarts prometheus.Counter

	mu     sync.Mutex // guards all below
	series map[deltaID]*list.Element
	byUse  *list.List // of *deltaState, longest unused first
}

func newDeltas(max int, idle time.Duration, reg prometheus.Registerer) *deltas {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	d := &deltas{
		max: max, idle: idle,
		idled:    counter("triage_otlp_delta_series_idle_total", "Delta series forgotten because nothing came for them."),
		refused:  counter("triage_otlp_delta_points_refused_total", "Delta points refused because there were too many delta series."),
		restarts: counter("triage_otlp_delta_series_restarted_total", "Delta histograms started anew because their bounds changed or their scale became too coarse."),
		series:   map[deltaID]*list.Element{},
		byUse:    list.New(),
	}
	if reg != nil {
		reg.MustRegister(d.idled, d.refused, d.restarts,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "triage_otlp_delta_series", Help: "Delta series being summed up.",
			}, func() float64 { return float64(d.len()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "triage_otlp_delta_series_limit", Help: "Delta series that may be summed up at one time.",
			}, func() float64 { return float64(max) }),
		)
	}
	return d
}

func (d *deltas) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.series)
}

// deltaID identifies a stream of points as OpenTelemetry does, attributes by their hashes.
type deltaID struct {
	resource, scope, attrs [16]byte // resource includes the tenant
	metric                 string   // name and unit
	typ                    pmetric.MetricType
}

func hashOf(text string, m pcommon.Map) [16]byte {
	return pdatautil.Hash(pdatautil.WithString(text), pdatautil.WithMap(m))
}

// deltaPoint is what all kinds of delta points have.
type deltaPoint interface {
	Attributes() pcommon.Map
	Flags() pmetric.DataPointFlags
	StartTimestamp() pcommon.Timestamp
	Timestamp() pcommon.Timestamp
	SetStartTimestamp(pcommon.Timestamp)
}

// deltaState is the sum of one stream.
type deltaState struct {
	id      deltaID
	used    time.Time
	created pcommon.Timestamp
	last    pcommon.Timestamp
	// again tells that the point being added repeats the last one.
	again bool
	// restarted tells that the point being added could not be added to the sum, and became the sum.
	restarted bool

	ints   int64
	floats float64
	bounds []float64
	counts []uint64
	count  uint64
	sum    float64
	hasSum bool
	exp    exponential
}

// add adds a point to its stream and makes it the stream's sum. It returns why not, or "".
func (d *deltas) add(id deltaID, p deltaPoint, now time.Time, add func(*deltaState) string) (refused string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(now)

	e, ok := d.series[id]
	if !ok {
		if len(d.series) >= d.max {
			d.refused.Inc()
			return tooManyDeltas
		}
		st := &deltaState{id: id, created: startOf(p), hasSum: true}
		if reason := add(st); reason != "" {
			return reason
		}
		st.used, st.last = now, p.Timestamp()
		p.SetStartTimestamp(st.created)
		d.series[id] = d.byUse.PushBack(st)
		return ""
	}
	st := e.Value.(*deltaState)
	if p.Timestamp() < st.last {
		return outOfOrder
	}
	st.again, st.restarted = p.Timestamp() == st.last, false
	if reason := add(st); reason != "" {
		return reason
	}
	if st.restarted {
		st.created = startOf(p)
		d.restarts.Inc()
	}
	st.used, st.last = now, p.Timestamp()
	p.SetStartTimestamp(st.created)
	d.byUse.MoveToBack(e)
	return ""
}

// startOf is when the interval of a point began. Without a start it must have begun before the point.
func startOf(p deltaPoint) pcommon.Timestamp {
	if s := p.StartTimestamp(); s != 0 && s <= p.Timestamp() {
		return s
	}
	return p.Timestamp() - min(p.Timestamp(), pcommon.Timestamp(time.Millisecond))
}

// forget drops what was not used for the idle time.
func (d *deltas) forget(now time.Time) {
	for e := d.byUse.Front(); e != nil; e = d.byUse.Front() {
		st := e.Value.(*deltaState)
		if now.Sub(st.used) < d.idle {
			return
		}
		d.byUse.Remove(e)
		delete(d.series, st.id)
		d.idled.Inc()
	}
}

func (st *deltaState) addNumber(p pmetric.NumberDataPoint, monotonic bool) string {
	if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
		if monotonic && p.IntValue() < 0 {
			return invalidDelta
		}
		if !st.again {
			st.ints += p.IntValue()
		}
	} else {
		v := p.DoubleValue()
		if math.IsNaN(v) || math.IsInf(v, 0) || monotonic && v < 0 {
			return invalidDelta
		}
		if !st.again {
			st.floats += v
		}
	}
	if st.floats == 0 && p.ValueType() == pmetric.NumberDataPointValueTypeInt {
		p.SetIntValue(st.ints)
	} else {
		p.SetDoubleValue(float64(st.ints) + st.floats)
	}
	return ""
}

func (st *deltaState) addHistogram(p pmetric.HistogramDataPoint) string {
	if p.HasSum() && (math.IsNaN(p.Sum()) || math.IsInf(p.Sum(), 0)) {
		return invalidDelta
	}
	bounds, counts := p.ExplicitBounds().AsRaw(), p.BucketCounts().AsRaw()
	switch {
	case st.counts == nil || !slices.Equal(bounds, st.bounds) || len(counts) != len(st.counts):
		st.restarted = st.counts != nil
		st.bounds, st.counts = bounds, counts
		st.count, st.sum, st.hasSum = p.Count(), p.Sum(), p.HasSum()
		if st.counts == nil {
			st.counts = []uint64{}
		}
	case !st.again:
		for i, n := range counts {
			st.counts[i] += n
		}
		st.count += p.Count()
		st.sum += p.Sum()
		st.hasSum = st.hasSum && p.HasSum()
	}
	p.BucketCounts().FromRaw(st.counts)
	p.SetCount(st.count)
	p.RemoveSum()
	if st.hasSum {
		p.SetSum(st.sum)
	}
	p.RemoveMin()
	p.RemoveMax()
	return ""
}

func (st *deltaState) addExponential(p pmetric.ExponentialHistogramDataPoint) string {
	if p.HasSum() && (math.IsNaN(p.Sum()) || math.IsInf(p.Sum(), 0)) {
		return invalidDelta
	}
	if !st.again {
		if st.last == 0 {
			st.exp = exponentialOf(p)
		} else if sum := st.exp.plus(exponentialOf(p)); sum.scale >= histogram.ExponentialSchemaMin {
			st.exp = sum
		} else { // values so far apart that no scale holds them
			st.exp, st.restarted = exponentialOf(p), true
		}
	}
	st.exp.to(p)
	return ""
}

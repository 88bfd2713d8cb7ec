package load

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

// metricMaker owns a share of the series, so that the points of each come in order however many workers there are.
type metricMaker struct {
	*world
	client pmetricotlp.GRPCClient
	begun  time.Time
	series []series
	next   int // the series whose turn it is
}

// series is one of a gauge, a counter or an exponential histogram.
type series struct {
	service, instance, kind int
	route                   string
	total                   float64 // of a counter, or the sum of a histogram
	count                   uint64  // of a histogram
	buckets                 [bucketCount]uint64
	last                    time.Time
}

const bucketCount = 16

func newMetricMaker(w *world, client pmetricotlp.GRPCClient, all, worker, workers int) *metricMaker {
	m := &metricMaker{world: w, client: client, begun: time.Now()}
	for i := worker; i < all; i += workers {
		m.series = append(m.series, series{service: i % len(services), instance: i / len(services) % instances, kind: i % 3,
			route: fmt.Sprintf("/api/%s/%d", nouns[i%len(nouns)], i)})
	}
	return m
}

// make fills a request with the next points of the series in turn, each a millisecond after its last at least.
func (m *metricMaker) make(items int, w window) request {
	metrics := pmetric.NewMetrics()
	type source struct{ service, instance, kind int }
	bySource := map[[2]int]pmetric.MetricSlice{}
	byKind := map[source]pmetric.Metric{}
	n := 0
	for n < items && len(m.series) > 0 {
		s := &m.series[m.next]
		m.next = (m.next + 1) % len(m.series)
		at := w.to
		if !at.After(s.last.Add(time.Millisecond)) {
			at = s.last.Add(time.Millisecond)
		}
		s.last = at
		list, ok := bySource[[2]int{s.service, s.instance}]
		if !ok {
			rm := metrics.ResourceMetrics().AppendEmpty()
			resource(rm.Resource().Attributes(), s.service, s.instance)
			sm := rm.ScopeMetrics().AppendEmpty()
			sm.Scope().SetName("load")
			list = sm.Metrics()
			bySource[[2]int{s.service, s.instance}] = list
		}
		key := source{s.service, s.instance, s.kind}
		metric, ok := byKind[key]
		if !ok {
			metric = newMetric(list.AppendEmpty(), s.kind)
			byKind[key] = metric
		}
		m.point(metric, s, at)
		n++
	}
	req := pmetricotlp.NewExportRequestFromMetrics(metrics)
	return request{n, func(ctx context.Context) (int64, error) {
		resp, err := m.client.Export(ctx, req)
		if err != nil {
			return 0, err
		}
		return resp.PartialSuccess().RejectedDataPoints(), nil
	}}
}

func newMetric(m pmetric.Metric, kind int) pmetric.Metric {
	switch kind {
	case 0:
		m.SetName("load.queue.depth")
		m.SetEmptyGauge()
	case 1:
		m.SetName("load.requests")
		s := m.SetEmptySum()
		s.SetIsMonotonic(true)
		s.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	default:
		m.SetName("load.request.duration")
		m.SetUnit("s")
		m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	}
	return m
}

func (m *metricMaker) point(metric pmetric.Metric, s *series, at time.Time) {
	switch s.kind {
	case 0:
		p := metric.Gauge().DataPoints().AppendEmpty()
		m.describe(p.Attributes(), s)
		p.SetTimestamp(stamp(at))
		p.SetDoubleValue(50 + 10*m.shape.NormFloat64())
	case 1:
		s.total += float64(m.shape.IntN(100))
		p := metric.Sum().DataPoints().AppendEmpty()
		m.describe(p.Attributes(), s)
		p.SetStartTimestamp(stamp(m.begun))
		p.SetTimestamp(stamp(at))
		p.SetDoubleValue(s.total)
	default:
		for range 1 + m.shape.IntN(20) {
			i := min(bucketCount-1, max(0, int(bucketCount/2+2*m.shape.NormFloat64())))
			s.buckets[i]++
			s.count++
			s.total += 0.01 * float64(int(1)<<i) / 256
		}
		p := metric.ExponentialHistogram().DataPoints().AppendEmpty()
		m.describe(p.Attributes(), s)
		p.SetStartTimestamp(stamp(m.begun))
		p.SetTimestamp(stamp(at))
		p.SetCount(s.count)
		p.SetSum(s.total)
		p.SetScale(0)
		p.Positive().SetOffset(-bucketCount)
		p.Positive().BucketCounts().FromRaw(s.buckets[:])
	}
}

func (m *metricMaker) describe(a pcommon.Map, s *series) {
	a.EnsureCapacity(3)
	a.PutStr("http.route", s.route)
	a.PutStr("http.request.method", methods[s.kind])
	a.PutInt("http.response.status_code", 200)
}

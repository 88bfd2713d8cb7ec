package metrics_test

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/model"
	"triage/internal/store/metrics"
)

// native is a histogram series that sees, each minute, 60 observations in (0.5, 1] and 60 in (2, 4].
func native(name string, begin time.Time, minutes int, kv ...string) model.Series {
	s := model.Series{Labels: labels.FromStrings(append([]string{"__name__", name}, kv...)...)}
	for i := range minutes {
		n := int64(60 * i)
		s.Histograms = append(s.Histograms, model.HistogramSample{T: begin.Add(time.Duration(i) * time.Minute).UnixMilli(), Int: &histogram.Histogram{
			Schema: 0, Count: uint64(2 * n), Sum: float64(n) * 4, ZeroThreshold: 1e-128,
			PositiveSpans:   []histogram.Span{{Offset: 0, Length: 1}, {Offset: 1, Length: 1}},
			PositiveBuckets: []int64{n, 0},
		}})
	}
	return s
}

func TestNames(t *testing.T) {
	begin := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	end := begin.Add(4 * time.Minute)
	s := open(t, metrics.Options{})
	classic := func(le string, v float64) model.Series {
		return gauge("rpc_duration_seconds_bucket", end, v, "service_name", "billing", "le", le)
	}
	mustAppend(t, s,
		native("rpc_duration_seconds", begin, 5, "service_name", "cart"),
		native("rpc_duration_seconds", begin, 5, "service_name", "ledger"),
		classic("1", 3), classic("+Inf", 4),
		gauge("depth", end, 5), gauge("queue", end, 1),
		gauge("http_server_active_requests", end, 9, "service_name", "cart"),
		gauge("http_server_bytes_total", end, 11, "service_name", "cart"),
		gauge("kept.dots", end, 12, "kept.label", "x"),
	)
	for _, c := range []struct {
		expr string
		want []float64 // in order of value; nil for none
	}{
		{`rpc_duration_seconds_count{service_name="cart"}`, []float64{480}},
		{`rpc_duration_seconds_sum{service_name="cart"}`, []float64{960}},
		{`sum(rate(rpc_duration_seconds_count[4m]))`, []float64{4}},
		{`rpc_duration_seconds_bucket{service_name="cart",le="+Inf"}`, []float64{480}},
		{`rpc_duration_seconds_bucket{service_name="cart",le="1"}`, []float64{240}},
		{`rpc_duration_seconds_bucket{service_name="cart",le="1.0"}`, []float64{240}},
		{`rpc_duration_seconds_bucket{service_name="cart",le="2.82842712474619"}`, []float64{360}},
		{`histogram_quantile(0.5, sum by (le) (rate(rpc_duration_seconds_bucket{service_name=~"cart|ledger"}[4m])))`, []float64{1}},
		{`histogram_quantile(0.75, sum by (le) (rate(rpc_duration_seconds_bucket{service_name=~"cart|ledger"}[4m])))`, []float64{3}},
		{`sum by (le) (rpc_duration_seconds_bucket{le="+Inf"})`, []float64{964}}, // stored and made ones together
		{`depth_count`, nil},  // a gauge is no histogram
		{`queue_bucket`, nil}, // neither
		{`{"http.server.active_requests"}`, []float64{9}},
		{`{"http.server.active_requests","service.name"="cart"}`, []float64{9}},
		{`{"http.server.active_requests","service.name"="ledger"}`, nil},
		{`{"http.server.bytes"}`, []float64{11}},
		{`{"kept.dots","kept.label"="x"}`, []float64{12}},
		{`sum({"rpc.duration_count"})`, []float64{960}},
		{`histogram_count({"rpc.duration","service.name"="cart"})`, []float64{480}},
		{`{"nothing.here"}`, nil},
	} {
		got, err := s.Query(t.Context(), model.DefaultTenant, c.expr, end)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		ok := len(got) == len(c.want)
		for i := range got {
			ok = ok && math.Abs(got[i].Value-c.want[i]) < 1e-6
		}
		if !ok {
			t.Errorf("%s = %v, want %v", c.expr, got, c.want)
		}
	}

	q, err := s.Queryable(model.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	querier, err := q.Querier(begin.UnixMilli(), end.UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer querier.Close()
	vals, _, err := querier.LabelValues(t.Context(), "service_name", nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "rpc_duration_seconds_count"))
	if err != nil || len(vals) != 2 {
		t.Errorf("services of a made series: %v, %v", vals, err)
	}
}

// TestManyBuckets holds that fine histograms make a bounded number of classic buckets, and the same in all series.
func TestManyBuckets(t *testing.T) {
	s := open(t, metrics.Options{})
	now := time.Now()
	h := &histogram.Histogram{Schema: 8, ZeroThreshold: 1e-128, PositiveSpans: []histogram.Span{{Offset: 0, Length: 2000}}}
	for range 2000 {
		h.PositiveBuckets = append(h.PositiveBuckets, 0)
	}
	h.PositiveBuckets[0] = 1
	h.Count, h.Sum = 2000, 1
	mustAppend(t, s, model.Series{
		Labels:     labels.FromStrings("__name__", "fine"),
		Histograms: []model.HistogramSample{{T: now.UnixMilli(), Int: h}},
	})
	got, err := s.Query(t.Context(), model.DefaultTenant, "count(fine_bucket)", now)
	if err != nil || len(got) != 1 || got[0].Value > 65 || got[0].Value < 16 {
		t.Errorf("%v buckets, %v; want 16 to 65", got, err)
	}
	if len(h.PositiveBuckets) != 2000 {
		t.Error("Append changed the caller's histogram")
	}
}

func TestExemplars(t *testing.T) {
	s := open(t, metrics.Options{})
	now := time.Now().Truncate(time.Second)
	h := native("rpc_seconds", now.Add(-time.Minute), 2, "service_name", "cart")
	at := func(d time.Duration, trace string) exemplar.Exemplar {
		return exemplar.Exemplar{Labels: labels.FromStrings("trace_id", trace), Value: 1, Ts: now.Add(d).UnixMilli(), HasTs: true}
	}
	h.Exemplars = []exemplar.Exemplar{at(-time.Second, "b"), at(-2*time.Second, "a")}
	// Remote write 1.0 sends exemplars apart from samples.
	loose := model.Series{Labels: h.Labels, Exemplars: []exemplar.Exemplar{at(0, "c")}}
	mustAppend(t, s, h, loose)

	q, err := s.Queryable(model.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	eq, err := q.(*metrics.Queryable).ExemplarQuerier(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rpc_seconds", "rpc_seconds_bucket"} {
		got, err := eq.Select(now.Add(-time.Hour).UnixMilli(), now.UnixMilli(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", name)})
		if err != nil || len(got) != 1 || len(got[0].Exemplars) != 3 {
			t.Errorf("exemplars of %s: %v, %v; want 3", name, got, err)
		}
	}
}

// FuzzHistogram holds that no histogram, however broken, makes the store panic or lose the sample beside it.
func FuzzHistogram(f *testing.F) {
	f.Add(int32(3), int32(0), uint32(2), int32(1), uint32(1), uint64(6), []byte{1, 2, 3}, false)
	f.Add(int32(20), int32(-5), uint32(3), int32(0), uint32(0), uint64(3), []byte{1, 0, 0}, true)
	f.Add(int32(-53), int32(0), uint32(1), int32(0), uint32(0), uint64(1), []byte{1}, false)
	s := open(f, metrics.Options{})
	at := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, schema, offset1 int32, length1 uint32, offset2 int32, length2 uint32, count uint64, buckets []byte, float bool) {
		at = at.Add(time.Second)
		spans := []histogram.Span{{Offset: offset1, Length: length1}, {Offset: offset2, Length: length2}}
		smp := model.HistogramSample{T: at.UnixMilli()}
		if float {
			smp.Float = &histogram.FloatHistogram{Schema: schema, Count: float64(count), PositiveSpans: spans}
			for _, b := range buckets {
				smp.Float.PositiveBuckets = append(smp.Float.PositiveBuckets, float64(b))
			}
		} else {
			smp.Int = &histogram.Histogram{Schema: schema, Count: count, PositiveSpans: spans}
			for _, b := range buckets {
				smp.Int.PositiveBuckets = append(smp.Int.PositiveBuckets, int64(int8(b)))
			}
		}
		series := []model.Series{
			{Labels: labels.FromStrings("__name__", "h"), Histograms: []model.HistogramSample{smp}},
			gauge("beside", at, 1),
		}
		if _, err := s.Append(t.Context(), model.DefaultTenant, series); err != nil {
			t.Fatal(err)
		}
		for _, expr := range []string{"beside", "count(h_bucket) or vector(0)"} {
			if got, err := s.Query(t.Context(), model.DefaultTenant, expr, at); err != nil || len(got) != 1 {
				t.Errorf("%s: %v, %v", expr, got, err)
			}
		}
	})
}

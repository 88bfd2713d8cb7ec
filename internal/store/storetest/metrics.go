package storetest

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	promname "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/model"
	"triage/internal/store"
)

// metricsStart is the time at which the suite's data begins: a whole minute, and long ago, because an engine counts from
// its data and not from the clock.
var metricsStart = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

// Metrics is the contract of store.Metrics. open makes an empty store for one test and closes it with the test.
func Metrics(t *testing.T, open func(t *testing.T) store.Metrics) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, store.Metrics)
	}{
		{"instant query", metricsInstant},
		{"range query", metricsRange},
		{"bad queries", metricsBadQueries},
		{"rejections are counted and spare the rest", metricsRejections},
		{"tenants are apart", metricsTenants},
		{"native histograms answer quantiles", metricsHistogram},
		{"service series: counters and gauges", metricsServiceCounters},
		{"service series: histograms", metricsServiceHistograms},
		{"service series: hosts' processes", metricsServiceJoins},
		{"service series: limit", metricsServiceLimit},
		{"servers of an RPC service", metricsRPCServers},
		{"canceled", metricsCanceled},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// appendSeries stores series of tenant "default" and fails on rejections.
func appendSeries(t *testing.T, m store.Metrics, series ...model.Series) {
	t.Helper()
	rejected, err := m.Append(t.Context(), model.DefaultTenant, series)
	if err != nil || rejected.Total() > 0 {
		t.Fatalf("Append: rejected %v, error %v", rejected, err)
	}
}

// every makes a series with one sample each step, beginning at metricsStart.
func every(step time.Duration, values []float64, nameAndLabels ...string) model.Series {
	s := model.Series{Labels: labels.FromStrings(append([]string{promname.MetricNameLabel}, nameAndLabels...)...)}
	for i, v := range values {
		s.Samples = append(s.Samples, model.Sample{T: metricsStart.Add(time.Duration(i) * step).UnixMilli(), V: v})
	}
	return s
}

func metricsInstant(t *testing.T, m store.Metrics) {
	appendSeries(t, m,
		every(15*time.Second, []float64{1, 2, 3}, "queue_length", "queue", "a"),
		every(15*time.Second, []float64{10, 20, 30}, "queue_length", "queue", "b"))
	at := metricsStart.Add(30 * time.Second)
	for expr, want := range map[string][]store.Point{
		`sum(queue_length)`:       {{Labels: map[string]string{}, At: at, Value: 33}},
		`queue_length{queue="b"}`: {{Labels: map[string]string{"__name__": "queue_length", "queue": "b"}, At: at, Value: 30}},
		`1 + 1`:                   {{Labels: map[string]string{}, At: at, Value: 2}},
		`absent_metric`:           {},
		`max by (queue) (queue_length{queue="a"} offset 15s)`: {{Labels: map[string]string{"queue": "a"}, At: at, Value: 2}},
	} {
		got, err := m.Query(t.Context(), model.DefaultTenant, expr, at)
		if err != nil {
			t.Errorf("Query(%s): %v", expr, err)
		}
		if d := cmp.Diff(got, want); d != "" {
			t.Errorf("Query(%s), got - want:\n%s", expr, d)
		}
	}
}

func metricsRange(t *testing.T, m store.Metrics) {
	appendSeries(t, m, every(time.Minute, []float64{1, 2, 3, 4}, "level", "zone", "x"))
	w := store.Window{From: metricsStart.Add(-2 * time.Minute), To: metricsStart.Add(2 * time.Minute)}
	got, err := m.QueryRange(t.Context(), model.DefaultTenant, "level", w, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	want := []store.Line{{
		Name: "level", Labels: map[string]string{"zone": "x"}, Type: "gauge",
		Start: w.From, Step: time.Minute, Values: []float64{nan, nan, 1, 2, 3},
	}}
	if d := cmp.Diff(got, want, cmpopts.EquateNaNs()); d != "" {
		t.Errorf("got - want:\n%s", d)
	}
	got, err = m.QueryRange(t.Context(), model.DefaultTenant, "nothing", w, time.Minute)
	if err != nil || got == nil || len(got) != 0 {
		t.Errorf("no series: %v, %v; want an empty slice", got, err)
	}
}

func metricsBadQueries(t *testing.T, m store.Metrics) {
	w := store.Window{From: metricsStart, To: metricsStart.Add(time.Hour)}
	if _, err := m.Query(t.Context(), model.DefaultTenant, "sum(", metricsStart); err == nil {
		t.Error("bad PromQL: no error")
	}
	if _, err := m.QueryRange(t.Context(), model.DefaultTenant, "sum(", w, time.Minute); err == nil {
		t.Error("bad PromQL over a range: no error")
	}
	if _, err := m.QueryRange(t.Context(), model.DefaultTenant, "x", w, 0); err == nil {
		t.Error("step 0: no error")
	}
}

func metricsRejections(t *testing.T, m store.Metrics) {
	appendSeries(t, m, every(time.Minute, []float64{1, 2}, "kept"))
	last := metricsStart.Add(time.Minute).UnixMilli()
	one := func(at int64, v float64, nameAndLabels ...string) model.Series {
		return model.Series{
			Labels:  labels.FromStrings(append([]string{promname.MetricNameLabel}, nameAndLabels...)...),
			Samples: []model.Sample{{T: at, V: v}},
		}
	}
	rejected, err := m.Append(t.Context(), model.DefaultTenant, []model.Series{
		one(last, 9, "kept"), // another value for the same time
		one(time.Now().Add(24*time.Hour).UnixMilli(), 1, "kept"),
		{Labels: labels.FromStrings("no", "name"), Samples: []model.Sample{{T: last, V: 1}}},
		one(last, 7, "fine"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if rejected.Total() != 3 || len(rejected) != 3 {
		t.Errorf("rejected %v, want three samples for three reasons", rejected)
	}
	got, err := m.Query(t.Context(), model.DefaultTenant, `sort({__name__=~"kept|fine"})`, time.UnixMilli(last))
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(last).UTC()
	want := []store.Point{
		{Labels: map[string]string{"__name__": "kept"}, At: at, Value: 2},
		{Labels: map[string]string{"__name__": "fine"}, At: at, Value: 7},
	}
	if d := cmp.Diff(got, want); d != "" {
		t.Errorf("got - want:\n%s", d)
	}
}

func metricsTenants(t *testing.T, m store.Metrics) {
	if _, err := m.Append(t.Context(), "one", []model.Series{every(time.Minute, []float64{1}, "shared")}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Append(t.Context(), "two", []model.Series{every(time.Minute, []float64{2}, "shared")}); err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[string]int{"one": 1, "two": 1, "three": 0} {
		got, err := m.Query(t.Context(), tenant, "shared", metricsStart)
		if err != nil || len(got) != want {
			t.Errorf("tenant %s sees %v (%v), want %d points", tenant, got, err, want)
		}
	}
	if _, err := m.Append(t.Context(), "../out", []model.Series{every(time.Minute, []float64{1}, "x")}); err == nil {
		t.Error("a tenant named ../out was accepted")
	}
}

// observed is a native histogram of schema 0 that saw n observations in (1, 2] and n in (2, 4].
func observed(n int) *histogram.Histogram {
	return &histogram.Histogram{
		Schema: 0, Count: uint64(2 * n), Sum: float64(n)*1.5 + float64(n)*3, ZeroThreshold: 1e-128,
		PositiveSpans:   []histogram.Span{{Offset: 1, Length: 2}},
		PositiveBuckets: []int64{int64(n), 0},
	}
}

func histogramSeries(step time.Duration, counts []int, nameAndLabels ...string) model.Series {
	s := model.Series{Labels: labels.FromStrings(append([]string{promname.MetricNameLabel}, nameAndLabels...)...)}
	for i, n := range counts {
		s.Histograms = append(s.Histograms, model.HistogramSample{T: metricsStart.Add(time.Duration(i) * step).UnixMilli(), Int: observed(n)})
	}
	return s
}

func metricsHistogram(t *testing.T, m store.Metrics) {
	appendSeries(t, m, histogramSeries(time.Minute, []int{0, 60, 120, 180}, "latency_seconds"))
	at := metricsStart.Add(3 * time.Minute)
	for expr, want := range map[string]float64{
		`histogram_quantile(1, rate(latency_seconds[2m]))`:   4,
		`histogram_quantile(0.5, rate(latency_seconds[2m]))`: 2,
		`histogram_count(latency_seconds)`:                   360,
	} {
		got, err := m.Query(t.Context(), model.DefaultTenant, expr, at)
		if err != nil || len(got) != 1 || math.Abs(got[0].Value-want) > 1e-9 {
			t.Errorf("Query(%s) = %v, %v; want %g", expr, got, err, want)
		}
	}
	if got, err := m.Query(t.Context(), model.DefaultTenant, `latency_seconds`, at); err != nil || len(got) != 0 {
		t.Errorf("a histogram as a point: %v, %v; want none", got, err)
	}
}

// serviceSeries asks for six minutes in steps of one, from metricsStart.
func serviceSeries(t *testing.T, m store.Metrics, service string, limit int) []store.Line {
	t.Helper()
	w := store.Window{From: metricsStart, To: metricsStart.Add(6 * time.Minute)}
	lines, err := m.ServiceSeries(t.Context(), model.DefaultTenant, service, w, time.Minute, limit)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func line(name, typ string, values []float64, kv ...string) store.Line {
	l := store.Line{Name: name, Labels: map[string]string{}, Type: typ, Start: metricsStart, Step: time.Minute, Values: values}
	for i := 0; i < len(kv); i += 2 {
		l.Labels[kv[i]] = kv[i+1]
	}
	return l
}

var approximately = cmp.Options{cmpopts.EquateNaNs(), cmpopts.EquateApprox(1e-9, 1e-9)}

func metricsServiceCounters(t *testing.T, m store.Metrics) {
	typed := every(30*time.Second, []float64{0, 30, 60}, "hits", "service_name", "cart")
	typed.Type = "counter"
	appendSeries(t, m,
		every(30*time.Second, []float64{0, 30, 60, 120, 180, 0, 60}, "requests_total", "service_name", "cart"),
		every(time.Minute, []float64{5, 6, 7}, "pool_size", "job", "shop/cart"),
		every(time.Minute, []float64{5}, "pool_size", "job", "shop/cartier"),
		every(time.Minute, []float64{5}, "pool_size", "service_name", "catalog"),
		every(time.Minute, []float64{1, 2}, "traces_span_metrics_calls_total", "service_name", "cart"),
		typed)
	nan := math.NaN()
	want := []store.Line{
		line("hits", "rate", []float64{1, nan, nan, nan, nan, nan}, "service_name", "cart"),
		line("pool_size", "gauge", []float64{5, 6, 7, 7, 7, 7}, "job", "shop/cart"),
		// The restart after the fifth sample counts from zero.
		line("requests_total", "rate", []float64{1, 2, 1, nan, nan, nan}, "service_name", "cart"),
	}
	if d := cmp.Diff(serviceSeries(t, m, "cart", 100), want, approximately); d != "" {
		t.Errorf("got - want:\n%s", d)
	}
	if got := serviceSeries(t, m, "unknown", 100); got == nil || len(got) != 0 {
		t.Errorf("unknown service: %v, want an empty slice", got)
	}
}

func metricsServiceHistograms(t *testing.T, m store.Metrics) {
	appendSeries(t, m,
		histogramSeries(time.Minute, []int{0, 60, 60}, "native_seconds", "service_name", "cart"),
		every(time.Minute, []float64{0, 120}, "classic_seconds_sum", "service_name", "cart"),
		every(time.Minute, []float64{0, 60}, "classic_seconds_count", "service_name", "cart"),
		every(time.Minute, []float64{0, 60}, "classic_seconds_bucket", "service_name", "cart", "le", "+Inf"))
	nan := math.NaN()
	want := []store.Line{
		line("classic_seconds:mean", "mean", []float64{2, nan, nan, nan, nan, nan}, "service_name", "cart"),
		line("classic_seconds:rate", "rate", []float64{1, nan, nan, nan, nan, nan}, "service_name", "cart"),
		line("native_seconds:mean", "mean", []float64{2.25, nan, nan, nan, nan, nan}, "service_name", "cart"),
		line("native_seconds:rate", "rate", []float64{2, 0, nan, nan, nan, nan}, "service_name", "cart"),
	}
	if d := cmp.Diff(serviceSeries(t, m, "cart", 100), want, approximately); d != "" {
		t.Errorf("got - want:\n%s", d)
	}
}

func metricsServiceJoins(t *testing.T, m store.Metrics) {
	appendSeries(t, m,
		every(time.Minute, []float64{1}, "target_info", "job", "cart", "instance", "i1",
			"host_name", "h1", "process_pid", "42", "container_id", "c1"),
		every(time.Minute, []float64{1, 1}, "process_thread_count", "host_name", "h1", "process_pid", "42"),
		every(time.Minute, []float64{2, 2}, "process_thread_count", "host_name", "h1", "process_pid", "43"),
		every(time.Minute, []float64{3, 3}, "process_thread_count", "host_name", "h2", "process_pid", "42"),
		every(time.Minute, []float64{4, 4}, "container_memory_usage_bytes", "host_name", "h1", "container_id", "c1"),
		every(time.Minute, []float64{5, 5}, "container_memory_usage_bytes", "host_name", "h1", "container_id", "c2"))
	want := []store.Line{
		line("container_memory_usage_bytes", "gauge", []float64{4, 4, 4, 4, 4, 4}, "host_name", "h1", "container_id", "c1"),
		line("process_thread_count", "gauge", []float64{1, 1, 1, 1, 1, 1}, "host_name", "h1", "process_pid", "42"),
	}
	if d := cmp.Diff(serviceSeries(t, m, "cart", 100), want, approximately); d != "" {
		t.Errorf("got - want:\n%s", d)
	}
}

func metricsRPCServers(t *testing.T, m store.Metrics) {
	appendSeries(t, m,
		every(time.Minute, []float64{0, 60}, "rpc_server_duration_milliseconds_count", "job", "shop/stock", "rpc_service", "shop.Stock", "rpc_method", "Get"),
		every(time.Minute, []float64{0, 60}, "rpc_server_call_duration_seconds_count", "service_name", "basket", "rpc_method", "shop.Basket/Add"),
		every(time.Minute, []float64{0, 60}, "rpc_server_call_duration_seconds_count", "service_name", "basket-2", "rpc_method", "shop.Basket/Add"),
		every(time.Minute, []float64{0, 60}, "rpc_server_call_duration_seconds_count", "service_name", "other", "rpc_method", "shop.Basketry/Add"),
		every(time.Minute, []float64{0, 60}, "rpc_client_call_duration_seconds_count", "service_name", "caller", "rpc_method", "shop.Basket/Add"))
	for service, want := range map[string][]string{"shop.Stock": {"stock"}, "shop.Basket": {"basket", "basket-2"}, "shop": nil, "shopXStock": nil} {
		got, err := m.RPCServers(t.Context(), model.DefaultTenant, service, store.Window{From: metricsStart, To: metricsStart.Add(6 * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(got, want, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("who serves %s: got - want:\n%s", service, d)
		}
	}
	before := store.Window{From: metricsStart.Add(-time.Hour), To: metricsStart.Add(-time.Minute)}
	if got, err := m.RPCServers(t.Context(), model.DefaultTenant, "shop.Stock", before); err != nil || len(got) != 0 {
		t.Errorf("before there was one: %v, %v", got, err)
	}
}

func metricsServiceLimit(t *testing.T, m store.Metrics) {
	for _, zone := range []string{"a", "b", "c"} {
		appendSeries(t, m, every(time.Minute, []float64{1}, "many", "service_name", "cart", "zone", zone))
	}
	appendSeries(t, m, every(time.Minute, []float64{1}, "single", "service_name", "cart"))
	var names []string
	for _, l := range serviceSeries(t, m, "cart", 2) {
		names = append(names, l.Name)
	}
	if d := cmp.Diff(names, []string{"many", "single"}); d != "" {
		t.Errorf("got - want:\n%s", d)
	}
}

func metricsCanceled(t *testing.T, m store.Metrics) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Append(ctx, model.DefaultTenant, []model.Series{every(time.Minute, []float64{1}, "x")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Append after cancel: %v", err)
	}
}

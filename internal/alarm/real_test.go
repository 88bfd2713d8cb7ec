package alarm_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
	"triage/internal/store/metrics"
)

// The automatic rules' expressions are tried on a real engine with series as they are derived from spans: one operation
// of 2 calls a second and one of 20, a quarter of which fail and all of which take 0.2 s, and calls that are no entry.
func TestAutomaticExpressionsOnRealSeries(t *testing.T) {
	m, err := metrics.Open(metrics.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	// Before now, because the engine refuses samples from the future.
	end := time.Now().Add(-time.Minute).Truncate(5 * time.Second)
	write := func(at time.Time, op, kind, status string, calls float64) {
		ls := func(name string) labels.Labels {
			return labels.FromStrings("__name__", name, "service_name", "cart", "span_name", op, "span_kind", kind, "status_code", status)
		}
		ms := at.UnixMilli()
		// One bucket of schema 0 around 0.2 s.
		h := &histogram.FloatHistogram{
			Schema: 0, Count: calls, Sum: 0.2 * calls, ZeroThreshold: 1e-9,
			PositiveSpans: []histogram.Span{{Offset: -2, Length: 1}}, PositiveBuckets: []float64{calls},
		}
		rejected, err := m.Append(t.Context(), "a", []model.Series{
			{Labels: ls("traces_span_metrics_calls_total"), Samples: []model.Sample{{T: ms, V: calls}}, Type: "counter"},
			{Labels: ls("traces_span_metrics_duration_seconds"), Histograms: []model.HistogramSample{{T: ms, Float: h}}, Type: "histogram"},
		})
		if err != nil || rejected.Total() > 0 {
			t.Fatal(err, rejected)
		}
	}
	for i := range 13 {
		at := end.Add(time.Duration(i-12) * 5 * time.Second)
		n := float64(i + 10)
		write(at, "quiet", "SPAN_KIND_CONSUMER", "STATUS_CODE_UNSET", 10*n)
		write(at, "busy", "SPAN_KIND_SERVER", "STATUS_CODE_UNSET", 75*n)
		write(at, "busy", "SPAN_KIND_SERVER", "STATUS_CODE_ERROR", 25*n)
		write(at, "out", "SPAN_KIND_CLIENT", "STATUS_CODE_ERROR", 10*n)
	}
	auto := alarm.Automatic()
	for _, c := range []struct {
		expr string
		want map[string]float64
	}{
		{auto[0].Expr, map[string]float64{"quiet": 0, "busy": 0.25}},
		{auto[0].Samples, map[string]float64{"quiet": 20, "busy": 100}}, // 10 s of the one, 5 s of the other
		{auto[1].Expr, map[string]float64{"quiet": 0.2, "busy": 0.2}},
		{auto[1].Samples, map[string]float64{"quiet": 10, "busy": 100}},
		{auto[2].Expr, map[string]float64{"quiet": 2, "busy": 20}},
		{auto[2].Samples, map[string]float64{"quiet": 10, "busy": 100}},
	} {
		got := make(map[string]float64)
		points, err := m.Query(t.Context(), "a", c.expr, end)
		if err != nil {
			t.Fatalf("%s: %v", c.expr, err)
		}
		for _, p := range points {
			if p.Labels["service_name"] != "cart" || len(p.Labels) != 2 {
				t.Errorf("%s: labels %v", c.expr, p.Labels)
			}
			got[p.Labels["span_name"]] = p.Value
		}
		if d := cmp.Diff(c.want, got, cmpopts.EquateApprox(0, 1e-9)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.expr, d)
		}
		lines, err := m.QueryRange(t.Context(), "a", c.expr, store.Window{From: end.Add(-30 * time.Second), To: end}, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			v := l.Values[len(l.Values)-1]
			if math.Abs(v-c.want[l.Labels["span_name"]]) > 1e-9 {
				t.Errorf("%s: range query ends with %v for %v", c.expr, v, l.Labels)
			}
		}
	}
	e := newEvaluator(t, m, openState(t), alarm.Options{Automatic: auto, Tenants: []string{"a"}})
	if _, err := e.Evaluate(t.Context(), end.Add(2*time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, r := range e.Rules("a") {
		if r.EvaluationState != alarm.EvaluationOK || r.Alarms != 2 {
			t.Errorf("rule %s: %s %s, %d alarms", r.Name, r.EvaluationState, r.EvaluationReason, r.Alarms)
		}
	}
}

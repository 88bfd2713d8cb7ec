package slo_test

import (
	"encoding/json"
	"strings"
	"testing"

	"triage/internal/slo"
)

// Whatever query an SLO takes, the rules that come of it are valid.
func FuzzQueries(f *testing.F) {
	for _, q := range []string{
		"sum(requests_total)", `requests_total{code=~"5.."}`, "sum(rate(x[{{.window}}]))", "sum by (a) (x) + on (a) y", "x offset 5m", "x[5m]",
		"sum(x[5m:])", `{__name__="x"}`, "1", "", "x or vector(0)", "x # and\n+ y", `label_replace(x, "a", "{{.window}}", "b", ".*")`, "-x", "x @ end()",
	} {
		f.Add(q, q)
	}
	template := must(&testing.T{}, availability)
	f.Fuzz(func(t *testing.T, bad, total string) {
		s := template
		ratio := *s.Spec.Indicator.Spec.RatioMetric
		b, all := *ratio.Bad, *ratio.Total
		b.MetricSource.Spec.Query, all.MetricSource.Spec.Query = bad, total
		ratio.Bad, ratio.Total = &b, &all
		s.Spec.Indicator = &slo.Indicator{Spec: slo.IndicatorSpec{RatioMetric: &ratio}}
		text, err := json.Marshal(s)
		if err != nil {
			t.Skip()
		}
		parsed, err := slo.Parse(text)
		if err != nil {
			return
		}
		for _, r := range parsed.Rules() {
			// What cannot be known of each query alone is refused when it is evaluated.
			if err := r.Validate(); err != nil && !strings.Contains(err.Error(), "never matches") && !strings.Contains(err.Error(), "divides by zero") {
				t.Errorf("%q of %q: %v", bad, total, err)
			}
		}
	})
}

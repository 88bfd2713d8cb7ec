package alarm_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
)

func banded(op alarm.Op, band string) alarm.Rule {
	r := above(0)
	r.Expr, r.Math = "", &alarm.Math{Expr: "2 * m1", Metrics: map[string]string{"m1": "x"}}
	r.Compare = &alarm.Compare{Op: op, Band: band}
	return r
}

const twice = "ANOMALY_DETECTION_BAND(2*m1, 4)"

// A metric is about 10 for an hour, then 30 for a while, then 10, then 1.
func TestAnomalyBand(t *testing.T) {
	m := &table{names: []string{"a"}, value: func(_, _ string, at time.Time) float64 {
		minute := int(at.Sub(simStart) / time.Minute)
		noise := float64(minute*7919%11) / 10
		switch {
		case minute >= 60 && minute < 65:
			return 30 + noise
		case minute >= 80 && minute < 85:
			return 1 + noise/10
		}
		return 10 + noise
	}}
	up := []string{`61 high{name="a"} OK->ALARM onset 59`, `66 high{name="a"} ALARM->OK`}
	down := []string{`81 high{name="a"} OK->ALARM onset 79`, `86 high{name="a"} ALARM->OK`}
	for op, want := range map[alarm.Op][]string{alarm.AboveBand: up, alarm.BelowBand: down, alarm.OutsideBand: append(up, down...)} {
		e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{banded(op, twice)}, Delay: -1})
		equal(t, string(op), evaluate(t, e, 59, 100)[1:], want) // the first is its beginning
		r := e.Rules(model.DefaultTenant)[0]
		if r.Compare == nil || r.Compare.Band != twice || r.Usual != nil {
			t.Errorf("the rule is shown as %+v", r.Rule)
		}
		id := e.Alarms(model.DefaultTenant)[0].ID
		b, err := e.Band(t.Context(), model.DefaultTenant, id, store.Window{From: simStart.Add(55 * time.Minute), To: simStart.Add(59 * time.Minute)}, 0)
		if err != nil || len(b.Points) == 0 || b.Points[0].Upper == nil || *b.Points[0].Usual < 18 || *b.Points[0].Usual > 22 ||
			*b.Points[0].Lower >= *b.Points[0].Usual || *b.Points[0].Upper <= *b.Points[0].Usual {
			t.Errorf("band %+v, %v", b, err)
		}
	}
}

func TestBandsThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*alarm.Rule)
	}{
		{"", func(*alarm.Rule) {}},
		{"compare.op: \">\" is none of", func(r *alarm.Rule) { r.Compare.Op = alarm.Above }},
		{"compare.band: column 1: it ends where", func(r *alarm.Rule) { r.Compare.Band = "" }},
		{"compare.band: is not over 2 * m1", func(r *alarm.Rule) { r.Compare.Band = "ANOMALY_DETECTION_BAND(m1)" }},
		{"compare.band: is over an expression of metric math", func(r *alarm.Rule) { r.Expr, r.Math = "x", nil }},
		{"compare.threshold: 3 is one threshold too many", func(r *alarm.Rule) { r.Compare.Threshold = 3 }},
		{"compare.band: says what is usual", func(r *alarm.Rule) { r.Usual = &alarm.Usual{Factor: 2} }},
	} {
		r := banded(alarm.OutsideBand, twice)
		c.change(&r)
		err := r.WithDefaults().Validate()
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	week := 1.0
	_, err := alarm.RunBacktest(t.Context(), alarm.BacktestOptions{
		Tenant: "a", Rule: banded(alarm.OutsideBand, twice), PerWeek: &week, Metrics: &table{}, Window: store.Window{From: simStart, To: simStart.Add(time.Hour)},
	})
	if !errors.Is(err, alarm.ErrInvalid) {
		t.Errorf("a threshold for a band: %v", err)
	}
}

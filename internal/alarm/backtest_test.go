package alarm_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
)

// twoWeeks is a value of 1 each minute, with a peak of an hour each day that is higher every day: 10, 20, 30, ...
func twoWeeks(_, _ string, at time.Time) float64 {
	since := at.Sub(simStart)
	if since < 0 {
		return 1
	}
	if h := since % (24 * time.Hour); h >= 12*time.Hour && h < 13*time.Hour {
		return 10 * float64(1+int(since/(24*time.Hour)))
	}
	return 1
}

func TestBacktest(t *testing.T) {
	m := &table{names: []string{"a"}, value: twoWeeks}
	rule := above(5)
	rule.Period = alarm.Duration(10 * time.Minute)
	opts := alarm.BacktestOptions{
		Tenant: model.DefaultTenant, Rule: rule, Metrics: m,
		Window: store.Window{From: simStart, To: simStart.Add(14 * 24 * time.Hour)},
	}
	got, err := alarm.RunBacktest(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "sizes", fmt.Sprint(got.Periods, got.Contributors, got.Datapoints, len(got.Pages), got.PerWeek, got.Proposal), "2016 1 2016 14 7 <nil>")
	p := got.Pages[1]
	equal(t, "second page", fmt.Sprint(p.Alarm, " ", p.From.Sub(simStart), " ", p.To.Sub(p.From), " ", p.Seconds, p.Value, p.Lasts), `high{name="a"} 36h10m0s 1h0m0s 3600 20 false`)

	// It would have done the same live.
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
	equal(t, "live", evaluate(t, e, 0, 24*60), []string{
		`0 high{name="a"} INSUFFICIENT_DATA->OK`, `730 high{name="a"} OK->ALARM onset 710`, `790 high{name="a"} ALARM->OK`,
	})

	for wish, want := range map[float64]alarm.Proposal{3.5: {Threshold: 70, PerWeek: 3.5}, 1: {Threshold: 120, PerWeek: 1}, 0: {Threshold: 140}, 100: {Threshold: 1, PerWeek: 7}} {
		opts.PerWeek = &wish
		got, err := alarm.RunBacktest(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprintf("threshold for %v a week", wish), *got.Proposal, want)
	}
	below := rule
	below.Compare = &alarm.Compare{Op: alarm.AtMost, Threshold: 5}
	none := 0.0
	opts.Rule, opts.PerWeek = below, &none
	if got, err := alarm.RunBacktest(t.Context(), opts); err != nil || !(got.Proposal.Threshold < 1) || got.Proposal.PerWeek != 0 {
		t.Errorf("%+v, %v", got.Proposal, err)
	}
}

func TestBacktestTellsDatapoints(t *testing.T) {
	m := &table{names: []string{"a", "b"}, value: func(_, name string, at time.Time) float64 {
		if name == "a" {
			return 1
		}
		return twoWeeks("", name, at)
	}}
	rule := above(5)
	rule.Period = alarm.Duration(10 * time.Minute)
	opts := alarm.BacktestOptions{
		Tenant: model.DefaultTenant, Rule: rule, Metrics: m, Lines: 1,
		Window: store.Window{From: simStart, To: simStart.Add(14 * 24 * time.Hour)},
	}
	got, err := alarm.RunBacktest(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	// 2016 periods are thinned out by five: the first peak begins with period 72 and ends with period 78.
	l := got.Lines[0]
	equal(t, "line", fmt.Sprint(len(got.Lines), l.Alarm, l.Start.Sub(simStart), l.Step, len(l.Values)), `1high{name="b"}10m0s 50m 404`)
	equal(t, "worst of five", fmt.Sprint(*l.Values[13], *l.Values[14], *l.Values[15], *l.Values[16]), "1 10 10 1")

	opts.Lines = 5
	opts.Rule.Compare = &alarm.Compare{Op: alarm.Below, Threshold: 0.5}
	if got, err = alarm.RunBacktest(t.Context(), opts); err != nil || len(got.Lines) != 2 {
		t.Fatalf("%d lines, %v", len(got.Lines), err)
	}
	equal(t, "lowest of five", *got.Lines[1].Values[14], 1.0)
}

func TestBacktestsThatCannotBe(t *testing.T) {
	m := &table{names: []string{"a"}, value: twoWeeks}
	usual := above(0)
	usual.Compare, usual.Usual = nil, &alarm.Usual{Factor: 2}
	wish := 1.0
	for what, o := range map[string]alarm.BacktestOptions{
		"a wrong rule":         {Rule: alarm.Rule{Name: "x"}},
		"a composite":          {Rule: composite("x", "TRUE")},
		"too short":            {Rule: above(5), Window: store.Window{From: simStart, To: simStart.Add(time.Second)}},
		"too long":             {Rule: above(5), Window: store.Window{From: simStart, To: simStart.Add(1000 * 24 * time.Hour)}},
		"a threshold of usual": {Rule: usual, PerWeek: &wish},
	} {
		o.Metrics = m
		if o.Window.To.IsZero() {
			o.Window = store.Window{From: simStart, To: simStart.Add(time.Hour)}
		}
		if _, err := alarm.RunBacktest(t.Context(), o); !errors.Is(err, alarm.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

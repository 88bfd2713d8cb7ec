package alarm_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
)

// morning is a series that doubles from nine to noon, every day, with noise that only time decides.
func morning(_, _ string, at time.Time) float64 {
	v := 100.0
	if h := at.UTC().Hour(); h >= 9 && h < 12 {
		v = 220
	}
	return v + 2*rand.New(rand.NewPCG(uint64(at.Unix()), 1)).NormFloat64()
}

// unlike is a rule for what is 1.5 times the usual.
func unlike() alarm.Rule {
	r := above(0)
	r.Compare, r.Usual = nil, &alarm.Usual{Factor: 1.5, Deviations: 4, MinDatapoints: 30}
	return r
}

// What comes every morning is no surprise, and is one to who does not know the days before.
func TestSeasonIsLearntFromTheStore(t *testing.T) {
	for name, c := range map[string]struct {
		since time.Duration // of data, before
		want  bool
	}{
		"eight days known": {8 * 24 * time.Hour, false},
		"a day known":      {24 * time.Hour, true},
	} {
		m := &table{names: []string{"a"}, value: func(expr, name string, at time.Time) float64 {
			if at.Before(simStart.Add(-c.since)) {
				return math.NaN()
			}
			return morning(expr, name, at)
		}}
		e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{unlike()}, Delay: -1})
		got := evaluate(t, e, 8*60, 12*60)
		if fired := strings.Contains(strings.Join(got, " "), "->ALARM"); fired != c.want {
			t.Errorf("%s: %q, want ALARM %v", name, got, c.want)
		}
	}
}

// A fault at an hour that is usually as high as the fault is seen by what is usual of late, and one that is high for the
// hour too by both.
func TestAFaultInTheMorningIsSeen(t *testing.T) {
	m := &table{names: []string{"a"}, value: func(expr, name string, at time.Time) float64 {
		if !at.Before(simStart.Add(10 * time.Hour)) {
			return 600
		}
		return morning(expr, name, at)
	}}
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{unlike()}, Delay: -1})
	if got := strings.Join(evaluate(t, e, 8*60, 10*60+10), " "); !strings.Contains(got, "601 high{name=\"a\"} OK->ALARM") {
		t.Errorf("got %q, want ALARM after ten", got)
	}
}

// When the store cannot tell of the past, the rule is evaluated all the same and says so.
func TestSeasonThatCannotBeLearnt(t *testing.T) {
	m := &noPast{table{names: []string{"a"}, value: morning}}
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{unlike()}, Delay: -1})
	evaluate(t, e, 60, 70)
	rules := e.Rules(model.DefaultTenant)
	if got := rules[0]; got.EvaluationState != alarm.EvaluationPartial || !strings.Contains(got.EvaluationReason, "too long ago") {
		t.Errorf("got %s: %q", got.EvaluationState, got.EvaluationReason)
	}
	if got := e.Alarms(model.DefaultTenant); len(got) != 1 || got[0].State != model.StateOK {
		t.Errorf("got %v, want one alarm, OK", got)
	}
}

type noPast struct{ table }

func (m *noPast) QueryRange(ctx context.Context, tenant, expr string, w store.Window, step time.Duration) ([]store.Line, error) {
	if w.To.Sub(w.From) > 24*time.Hour {
		return nil, errors.New("too long ago")
	}
	return m.table.QueryRange(ctx, tenant, expr, w, step)
}

func TestExcludedTimesAreNoExample(t *testing.T) {
	// A migration until six, an ordinary hour, and then what is ordinary for a migration.
	m := &table{names: []string{"a"}, value: func(_, _ string, at time.Time) float64 {
		if !at.Before(simStart.Add(6*time.Hour)) && at.Before(simStart.Add(7*time.Hour)) {
			return 1
		}
		return 9
	}}
	rule := unlike()
	rule.Usual.Deviations = 0
	for _, excluded := range []bool{false, true} {
		if excluded {
			rule.Usual.Exclude = []alarm.Span{{From: simStart.Add(-30 * 24 * time.Hour), To: simStart.Add(6 * time.Hour)}}
		}
		e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
		evaluate(t, e, 6*60+50, 6*60+59)
		got := strings.Join(evaluate(t, e, 7*60, 7*60+10), " ")
		if fired := strings.Contains(got, "->ALARM"); fired != excluded {
			t.Errorf("excluded %v: %q", excluded, got)
		}
	}
	rule.Usual.Exclude = []alarm.Span{{From: simStart, To: simStart}}
	if err := rule.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), "usual.exclude[0]: from") {
		t.Errorf("an empty time: %v", err)
	}
}

func TestBand(t *testing.T) {
	const fault = 7*60 + 30 // minutes after simStart
	m := &table{names: []string{"a", "b"}, value: func(expr, name string, at time.Time) float64 {
		switch i := int(at.Sub(simStart) / time.Minute); {
		case i == fault-10:
			return math.NaN()
		case i >= fault && name == "a":
			return 400
		}
		return morning(expr, name, at)
	}}
	fixed := above(150)
	fixed.Name = "fixed"
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{unlike(), fixed}, Delay: -1})
	evaluate(t, e, 7*60, fault+5)
	alarms := e.Alarms(model.DefaultTenant)

	w := store.Window{From: simStart.Add(7 * time.Hour), To: simStart.Add((fault + 5) * time.Minute)}
	b, err := e.Band(t.Context(), model.DefaultTenant, `high{name="a"}`, w, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Points) != 36 || time.Duration(b.Step) != time.Minute {
		t.Fatalf("%d points by %s", len(b.Points), b.Step)
	}
	for i, p := range b.Points {
		missing, high := i == 20, i >= 30
		if p.Usual == nil || p.Lower == nil || p.Upper == nil || (p.Value == nil) != missing {
			t.Fatalf("point %d: %+v", i, p)
		}
		if *p.Lower > *p.Usual || *p.Upper < *p.Usual || *p.Upper > 200 {
			t.Errorf("point %d: %v to %v, usual %v", i, *p.Lower, *p.Upper, *p.Usual)
		}
		if !missing && (*p.Value > *p.Upper) != high {
			t.Errorf("point %d: %v of up to %v", i, *p.Value, *p.Upper)
		}
	}
	// It is the band by which the evaluation judged.
	last := b.Points[len(b.Points)-1]
	for _, a := range alarms {
		if a.ID == b.Alarm && (math.Abs(a.Threshold-*last.Upper) > 1 || math.Abs(a.Usual-*last.Usual) > 1) {
			t.Errorf("the evaluation judged by %v of %v, the band says %v of %v", a.Threshold, a.Usual, *last.Upper, *last.Usual)
		}
	}

	b, err = e.Band(t.Context(), model.DefaultTenant, `fixed{name="b"}`, w, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range b.Points {
		if p.Upper == nil || *p.Upper != 150 || p.Lower != nil || p.Usual != nil || p.Value == nil && p.At.Sub(w.From) != 20*time.Minute {
			t.Errorf("a fixed threshold: %+v", p)
		}
	}
	if len(b.Points) != 4 {
		t.Errorf("%d points of 36 minutes by ten", len(b.Points))
	}

	long := store.Window{From: w.To.Add(-60 * 24 * time.Hour), To: w.To}
	if b, err = e.Band(t.Context(), model.DefaultTenant, `high{name="b"}`, long, 0); err != nil || len(b.Points) < 900 || len(b.Points) > 1001 {
		t.Errorf("sixty days: %d points, %v", len(b.Points), err)
	}
	e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{fixed, composite("all", `ALARM("fixed")`)}, Delay: -1})
	evaluate(t, e, 7*60, 7*60+5)
	if _, err := e.Band(t.Context(), model.DefaultTenant, "all{}", w, 0); !errors.Is(err, alarm.ErrInvalid) {
		t.Errorf("the band of a composite alarm: %v", err)
	}
	if _, err := e.Band(t.Context(), model.DefaultTenant, "none", w, 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no such alarm: %v", err)
	}

	// An alarm whose series ended long ago is not watched any more; its past can be judged all the same.
	e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{fixed}, Delay: -1})
	if b, err = e.Band(t.Context(), model.DefaultTenant, `fixed{name="a"}`, w, 0); err != nil || len(b.Points) != 36 || *b.Points[35].Value != 400 {
		t.Errorf("an alarm of the past: %d points, %v", len(b.Points), err)
	}
	if _, err := e.Band(t.Context(), model.DefaultTenant, `fixed{name="c"}`, w, 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an alarm that never was: %v", err)
	}
}

// remembering is a table that keeps what is recorded.
type remembering struct {
	table
	series map[string][]float64
}

func (m *remembering) Append(_ context.Context, _ string, series []model.Series) (store.Rejected, error) {
	for _, s := range series {
		m.series[s.Labels.String()] = append(m.series[s.Labels.String()], s.Samples[0].V)
	}
	return nil, nil
}

// What is usual can be recorded, for other rules to use: the same as the band shows.
func TestUsualIsRecorded(t *testing.T) {
	m := &remembering{table: table{names: []string{"a"}, value: morning}, series: map[string][]float64{}}
	rule := unlike()
	rule.Usual.Record = "orders"
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1})
	evaluate(t, e, 0, 5)
	id := e.Alarms(model.DefaultTenant)[0].ID
	b, err := e.Band(t.Context(), model.DefaultTenant, id, store.Window{From: simStart, To: simStart.Add(5 * time.Minute)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, bound := range map[string]func(alarm.BandPoint) *float64{
		"usual": func(p alarm.BandPoint) *float64 { return p.Usual }, "lower": func(p alarm.BandPoint) *float64 { return p.Lower },
		"upper": func(p alarm.BandPoint) *float64 { return p.Upper },
	} {
		got := m.series[`{__name__="orders:`+suffix+`", name="a"}`]
		if len(got) == 0 {
			t.Fatalf("orders:%s was not recorded: %v", suffix, m.series)
		}
		want := *bound(b.Points[len(b.Points)-1])
		if last := got[len(got)-1]; math.Abs(last-want) > 0.02*math.Abs(want)+1e-9 {
			t.Errorf("orders:%s is %v at last, and %v in the band", suffix, last, want)
		}
	}
	rule.Usual.Record = "9 orders"
	if err := rule.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), `usual.record: "9 orders" is not the name of a metric`) {
		t.Errorf("a name that is none: %v", err)
	}
}

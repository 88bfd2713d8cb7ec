package alarm_test

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
)

// line is a story in steps of 10 s, in which sources send something each step unless they are silent.
type line struct {
	t       *testing.T
	e       *alarm.Evaluator
	sources *alarm.Sources
	sends   map[string][]string // keys by source, or source/sender
	calls   []string            // services that are called and answer, although they may be silent
}

// each gives keys as of one sender.
func each(sender string, keys []string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, k := range keys {
			if !yield(sender, k) {
				return
			}
		}
	}
}

// run goes from one second to another and writes transitions down.
func (l *line) run(from, to int, silent ...string) (out []string) {
	l.t.Helper()
	for s := from; s < to; s += 10 {
		at := simStart.Add(time.Duration(s) * time.Second)
		for name, keys := range l.sends {
			if !slices.Contains(silent, name) {
				source, sender, _ := strings.Cut(name, "/")
				l.sources.Observe(model.DefaultTenant, source, at, each(sender, keys))
			}
		}
		for _, service := range l.calls {
			l.sources.Answered(model.DefaultTenant, service, alarm.Answers{Likely: 1, Calls: 5}, at)
		}
		got, err := l.e.Evaluate(l.t.Context(), at)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, tr := range got {
			out = append(out, fmt.Sprintf("%d %s %s->%s", int(tr.Alarm.Since.Sub(simStart).Seconds()), tr.Alarm.ID, tr.From, tr.Alarm.State))
		}
	}
	return out
}

// between is one value from one second to another, and another value else.
func between(from, to int, v, other float64) func(string, string, time.Time) float64 {
	return func(_, _ string, at time.Time) float64 {
		if s := int(at.Sub(simStart).Seconds()); s >= from && s < to {
			return v
		}
		return other
	}
}

func stopped(name, expr string) alarm.Rule {
	return alarm.Rule{
		Name: name, Expr: expr, Compare: &alarm.Compare{Op: alarm.Below, Threshold: 1}, Period: alarm.Duration(10 * time.Second),
		EvaluationPeriods: 3, DatapointsToAlarm: 3,
	}
}

const callsRate = `rate(traces_span_metrics_calls_total[10s])`

func TestASourceThatFallsSilentIsOneAlarm(t *testing.T) {
	m := &table{names: []string{"a", "b", "c"}, value: between(1000, 1600, 0, 10)} // what is derived from nothing is 0
	opts := alarm.Options{Rules: []alarm.Rule{stopped("no traffic", callsRate)}, Delay: -1}
	for _, known := range []bool{false, true} {
		l := &line{t: t, sources: alarm.NewSources(), sends: map[string][]string{"otlp": {alarm.SpansKey}}}
		if known {
			opts.Sources = l.sources
		}
		l.e = newEvaluator(t, m, openState(t), opts)
		l.run(0, 1000)
		got := append(l.run(1000, 1600, "otlp"), l.run(1600, 2400)...)
		if !known {
			if len(got) != 6 {
				t.Errorf("without sources: %v, want a storm of three that ends", got)
			}
			continue
		}
		equal(t, "transitions", got, []string{
			`1100 source down{source="otlp"} OK->ALARM`, `1600 source down{source="otlp"} ALARM->OK`,
		})
	}
}

func TestARuleSaysForWhomItWaits(t *testing.T) {
	m := &table{names: []string{"a"}, value: between(1000, 2000, 0, 10)}
	l := &line{t: t, sources: alarm.NewSources(), sends: map[string][]string{"otlp": {alarm.SpansKey}}}
	l.e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{stopped("no traffic", callsRate)}, Delay: -1, Sources: l.sources})
	l.run(0, 1000)
	l.run(1000, 1200, "otlp")
	r := l.e.Rules(model.DefaultTenant)[0]
	if r.EvaluationState != alarm.EvaluationPartial || r.EvaluationReason != "waits for source otlp, from which nothing comes" {
		t.Errorf("rule is %s: %s", r.EvaluationState, r.EvaluationReason)
	}
	// No traffic while the source sends is what it seems.
	l.run(1200, 1700)
	l2 := l.run(1700, 1800)
	if a := l.e.Alarms(model.DefaultTenant)[0]; a.State != model.StateAlarm {
		t.Errorf("alarm %s is %s, after %v", a.ID, a.State, l2)
	}
}

// What comes late with its own times is judged when it has come.
func TestLateDataIsJudged(t *testing.T) {
	const metric = "queue_length"
	late := true
	m := &table{names: []string{"a"}, value: func(_, _ string, at time.Time) float64 {
		s := int(at.Sub(simStart).Seconds())
		if s > 1000 && s < 1300 && late {
			return math.NaN()
		}
		return between(1100, 1200, 0, 10)("", "", at)
	}}
	r := stopped("empty", metric)
	r.TreatMissingData = alarm.TreatBreaching
	l := &line{t: t, sources: alarm.NewSources(), sends: map[string][]string{"remote write": {metric}}}
	l.e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{r}, Delay: -1, Sources: l.sources})
	l.run(0, 1010)
	equal(t, "in the silence", l.run(1010, 1300, "remote write"), []string{`1110 source down{source="remote write"} OK->ALARM`})
	late = false
	equal(t, "after it", l.run(1300, 1500), []string{
		`1120 empty{name="a"} OK->ALARM`, `1200 empty{name="a"} ALARM->OK`, `1300 source down{source="remote write"} ALARM->OK`,
	})
}

// After a restart a source that does not come back is one alarm, and nothing else is.
func TestASourceThatIsGoneAfterARestart(t *testing.T) {
	m := &table{names: []string{"a", "b"}, value: between(0, 1000, 10, 0)}
	s := openState(t)
	opts := alarm.Options{Rules: []alarm.Rule{stopped("no traffic", callsRate)}, Delay: -1}
	l := &line{t: t, sources: alarm.NewSources(), sends: map[string][]string{"otlp": {alarm.SpansKey}}}
	opts.Sources = l.sources
	l.e = newEvaluator(t, m, s, opts)
	l.run(0, 1000)
	l.sources = alarm.NewSources()
	if err := l.sources.Load(t.Context(), s, model.DefaultTenant, simStart.Add(1000*time.Second)); err != nil {
		t.Fatal(err)
	}
	opts.Sources = l.sources
	l.e = newEvaluator(t, m, s, opts)
	got := l.run(1000, 2000, "otlp")
	if len(got) != 1 || got[0][5:] != `source down{source="otlp"} OK->ALARM` {
		t.Errorf("transitions %v, want one", got)
	}
}

// As long as somebody sends what a rule is about, it waits for nobody.
func TestAnotherSourceSendsTheSame(t *testing.T) {
	m := &table{names: []string{"a"}, value: between(1000, 2000, 0, 10)}
	l := &line{t: t, sources: alarm.NewSources(), sends: map[string][]string{"otlp": {alarm.SpansKey}, "zipkin": {alarm.SpansKey}}}
	l.e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{stopped("no traffic", callsRate)}, Delay: -1, Sources: l.sources})
	l.run(0, 1000)
	equal(t, "transitions", l.run(1000, 1400, "zipkin"), []string{
		`1020 no traffic{name="a"} OK->ALARM`, `1100 source down{source="zipkin"} OK->ALARM`,
	})
}

// A source that seldom sends is silent later, and one that has only begun says nothing by its silence.
func TestHowLongIsSilent(t *testing.T) {
	m := &table{}
	for _, c := range []struct{ batches, pause, want int }{{40, 60, 610}, {140, 1, 70}, {15, 10, 0}, {60, 1, 0}} {
		sources := alarm.NewSources()
		e := newEvaluator(t, m, openState(t), alarm.Options{Delay: -1, Sources: sources})
		at := simStart
		for range c.batches {
			at = at.Add(time.Duration(c.pause) * time.Second)
			sources.Observe(model.DefaultTenant, "x", at, each("", []string{"up"}))
		}
		fired := 0
		for s := 10; s <= 3600 && fired == 0; s += 10 {
			got, err := e.Evaluate(t.Context(), at.Add(time.Duration(s)*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) > 0 {
				fired = s
			}
		}
		if fired != c.want {
			t.Errorf("%d batches, one each %d s: silent after %d s, want %d", c.batches, c.pause, fired, c.want)
		}
	}
}

// What is sent at once, now and then, is no source that could fall silent; one that flaps stays one.
func TestBurstsAndFlapping(t *testing.T) {
	run := func(burst, pause, times int) (fired int) {
		sources := alarm.NewSources()
		e := newEvaluator(t, &table{}, openState(t), alarm.Options{Delay: -1, Sources: sources})
		at := simStart
		for range times {
			for s := range burst + pause {
				at = at.Add(time.Second)
				if s < burst {
					sources.Observe(model.DefaultTenant, "x", at, each("", []string{"up"}))
				}
				if s%10 != 0 {
					continue
				}
				got, err := e.Evaluate(t.Context(), at)
				if err != nil {
					t.Fatal(err)
				}
				for _, tr := range got {
					if tr.Alarm.State == model.StateAlarm {
						fired++
					}
				}
			}
		}
		return fired
	}
	for name, c := range map[string]struct{ burst, pause, times, want int }{
		"a minute each hour": {60, 3600, 3, 0}, "an outage": {600, 120, 1, 1}, "flapping": {150, 90, 4, 4},
	} {
		if got := run(c.burst, c.pause, c.times); got != c.want {
			t.Errorf("%s: %d alarms, want %d", name, got, c.want)
		}
	}
}

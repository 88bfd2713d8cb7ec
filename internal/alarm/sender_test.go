package alarm_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
)

// fleet is a store.Metrics of services whose value is 10, and 0 or none while they send nothing.
type fleet struct {
	store.Metrics // nothing else is asked
	label         string
	names         []string
	missing       float64                       // what is there while nothing comes
	silent        func(name string, s int) bool // s is seconds after simStart
}

func (f *fleet) value(name string, at time.Time) float64 {
	if f.silent(name, int(at.Sub(simStart).Seconds())) {
		return f.missing
	}
	return 10
}

func (f *fleet) Query(_ context.Context, _, _ string, at time.Time) (out []store.Point, err error) {
	for _, n := range f.names {
		if v := f.value(n, at); !math.IsNaN(v) {
			out = append(out, store.Point{Labels: map[string]string{f.label: n}, At: at, Value: v})
		}
	}
	return out, nil
}

func (f *fleet) QueryRange(_ context.Context, _, _ string, w store.Window, step time.Duration) (out []store.Line, err error) {
	for _, n := range f.names {
		l := store.Line{Labels: map[string]string{f.label: n}, Start: w.From, Step: step}
		for at := w.From; !at.After(w.To); at = at.Add(step) {
			l.Values = append(l.Values, f.value(n, at))
		}
		out = append(out, l)
	}
	return out, nil
}

// off is who is silent from one second to another.
func off(from, to int, who ...string) func(string, int) bool {
	return func(name string, s int) bool { return s >= from && s < to && slices.Contains(who, name) }
}

func services(names ...string) map[string][]string {
	sends := map[string][]string{}
	for _, n := range names {
		sends["otlp/"+n] = []string{alarm.SpansKey}
	}
	return sends
}

// A service whose spans no longer come although others' calls are answered by it has lost its telemetry, and not its traffic.
func TestACalledServiceOfWhichNothingIsHeard(t *testing.T) {
	m := &fleet{label: "service_name", names: []string{"cart", "ledger"}, silent: off(1000, 1600, "cart")}
	for name, c := range map[string]struct {
		calls []string
		want  []string
	}{
		"called": {[]string{"cart"}, []string{
			`1100 source down{sender="cart",source="otlp"} OK->ALARM`, `1600 source down{sender="cart",source="otlp"} ALARM->OK`,
		}},
		"not called": {nil, []string{
			`1020 no traffic{service_name="cart"} OK->ALARM`, `1600 no traffic{service_name="cart"} ALARM->OK`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &line{t: t, sources: alarm.NewSources(), sends: services("cart", "ledger"), calls: c.calls}
			l.e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{stopped("no traffic", callsRate)}, Delay: -1, Sources: l.sources})
			l.run(0, 1000)
			got := append(l.run(1000, 1600, "otlp/cart"), l.run(1600, 2200)...)
			equal(t, "transitions", got, c.want)
		})
	}
}

// A service that sends its spans another way from some time on is heard of.
func TestAServiceThatMovesToAnotherSource(t *testing.T) {
	m := &fleet{label: "service_name", names: []string{"cart", "ledger"}, silent: off(0, 0)}
	l := &line{t: t, sources: alarm.NewSources(), sends: services("cart", "ledger"), calls: []string{"cart"}}
	l.e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{stopped("no traffic", callsRate)}, Delay: -1, Sources: l.sources})
	l.run(0, 1000)
	l.sends = map[string][]string{"otlp/ledger": {alarm.SpansKey}, "zipkin/cart": {alarm.SpansKey}}
	equal(t, "transitions", l.run(1000, 2000), []string(nil))
	m.silent = off(2000, 3000, "cart")
	equal(t, "when it falls silent there", l.run(2000, 2200, "zipkin/cart"), []string{`2100 source down{source="zipkin"} OK->ALARM`})
}

// What was judged before a silence was known for one is taken back.
func TestAnAlarmOfASilenceIsTakenBack(t *testing.T) {
	m := &fleet{label: "service_name", names: []string{"cart", "ledger"}, silent: off(1000, 1600, "cart")}
	r := stopped("no traffic", callsRate)
	r.EvaluationPeriods, r.DatapointsToAlarm = 1, 1
	l := &line{t: t, sources: alarm.NewSources(), sends: services("cart", "ledger"), calls: []string{"cart"}}
	l.e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{r}, Delay: -1, Sources: l.sources})
	l.run(0, 1000)
	equal(t, "transitions", l.run(1000, 1200, "otlp/cart"), []string{
		`1000 no traffic{service_name="cart"} OK->ALARM`, `1010 no traffic{service_name="cart"} ALARM->OK`,
		`1100 source down{sender="cart",source="otlp"} OK->ALARM`,
	})
}

// Calls that fail show that a service is away, and calls of which a span comes seldom show little.
func TestWhatCallsShow(t *testing.T) {
	for name, c := range map[string]struct {
		likely float64
		failed int
		want   bool
	}{"answered": {1, 0, true}, "failed": {1, 1, false}, "seldom with a span": {0.01, 0, false}} {
		t.Run(name, func(t *testing.T) {
			m := &fleet{label: "service_name", names: []string{"cart", "ledger"}, silent: off(1000, 1600, "cart")}
			l := &line{t: t, sources: alarm.NewSources(), sends: services("cart", "ledger")}
			l.e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{stopped("no traffic", callsRate)}, Delay: -1, Sources: l.sources})
			l.run(0, 1000)
			var got []string
			for s := 1000; s < 1110; s += 10 {
				l.sources.Answered(model.DefaultTenant, "cart", alarm.Answers{Likely: c.likely, Calls: 5, Failed: c.failed}, simStart.Add(time.Duration(s)*time.Second))
				got = append(got, l.run(s, s+10, "otlp/cart")...)
			}
			if lost := len(got) == 1 && strings.Contains(got[0], alarm.SourceDown); lost != c.want {
				t.Errorf("transitions %v, telemetry lost: want %v", got, c.want)
			}
		})
	}
}

// Those who fall silent together are one alarm that names them, and one that follows later is another.
func TestManySendersAreOneAlarm(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	m := &fleet{label: "service_name", names: names, silent: func(name string, s int) bool {
		return off(1000, 4000, "a", "b", "c")(name, s) || off(2000, 4000, "d")(name, s)
	}}
	s := openState(t)
	l := &line{t: t, sources: alarm.NewSources(), sends: services(names...), calls: names}
	opts := alarm.Options{Rules: []alarm.Rule{stopped("no traffic", callsRate)}, Delay: -1, Sources: l.sources}
	l.e = newEvaluator(t, m, s, opts)
	l.run(0, 1000)
	got := append(l.run(1000, 2000, "otlp/a", "otlp/b", "otlp/c"), l.run(2000, 3000, "otlp/a", "otlp/b", "otlp/c", "otlp/d")...)
	equal(t, "transitions", got, []string{
		`1100 source down{sender="a",source="otlp"} OK->ALARM`, `2100 source down{sender="d",source="otlp"} OK->ALARM`,
	})
	if a := l.e.Alarms(model.DefaultTenant); !strings.HasPrefix(a[6].Reason, "nothing has come from a, b, c since 00:16:30;") {
		t.Errorf("alarm %s says %q", a[6].ID, a[6].Reason)
	}
	if err := l.e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	// A restart changes nothing of it.
	l.sources = alarm.NewSources()
	if err := l.sources.Load(t.Context(), s, model.DefaultTenant, simStart.Add(3000*time.Second)); err != nil {
		t.Fatal(err)
	}
	opts.Sources = l.sources
	l.e = newEvaluator(t, m, s, opts)
	got = append(l.run(3000, 4000, "otlp/a", "otlp/b", "otlp/c", "otlp/d"), l.run(4000, 5000)...)
	equal(t, "transitions after a restart", got, []string{
		`4000 source down{sender="a",source="otlp"} ALARM->OK`, `4000 source down{sender="d",source="otlp"} ALARM->OK`,
	})
}

// When all of a source falls silent that is one alarm, whoever sends through it.
func TestAWholeSourceIsOneAlarm(t *testing.T) {
	names := []string{"a", "b", "c"}
	m := &fleet{label: "service_name", names: names, silent: off(1000, 2000, names...)}
	s := openState(t)
	l := &line{t: t, sources: alarm.NewSources(), sends: services(names...), calls: names}
	opts := alarm.Options{Rules: []alarm.Rule{stopped("no traffic", callsRate)}, Delay: -1, Sources: l.sources}
	l.e = newEvaluator(t, m, s, opts)
	l.run(0, 1000)
	equal(t, "transitions", l.run(1000, 1500, "otlp/a", "otlp/b", "otlp/c"), []string{`1100 source down{source="otlp"} OK->ALARM`})
	if err := l.e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.sources = alarm.NewSources()
	if err := l.sources.Load(t.Context(), s, model.DefaultTenant, simStart.Add(1500*time.Second)); err != nil {
		t.Fatal(err)
	}
	opts.Sources = l.sources
	l.e = newEvaluator(t, m, s, opts)
	got := append(l.run(1500, 2000, "otlp/a", "otlp/b", "otlp/c"), l.run(2000, 3000)...)
	equal(t, "transitions after a restart", got, []string{`2000 source down{source="otlp"} ALARM->OK`})
}

// A job that sent metrics for long and is needed by a rule is missed as one alarm; what is over soon, or what nobody asks
// for, is not.
func TestAJobThatFallsSilent(t *testing.T) {
	const metric = "queue_length"
	sends := map[string][]string{"promwrite/a": {metric}, "promwrite/b": {metric}, "promwrite/c": {"other_metric"}}
	for name, c := range map[string]struct {
		from int
		who  string
		expr string
		want []string
	}{
		"established":   {7200, "a", metric, []string{`7300 source down{sender="a",source="promwrite"} OK->ALARM`}},
		"a short job":   {600, "a", metric, []string{`640 empty{job="a"} OK->ALARM`}},
		"not asked for": {7200, "c", metric, nil},
		"the only one who sends a metric": {7200, "c", "other_metric", []string{
			`7300 source down{sender="c",source="promwrite"} OK->ALARM`}},
	} {
		t.Run(name, func(t *testing.T) {
			m := &fleet{label: "job", names: []string{"a", "b"}, missing: math.NaN(), silent: off(c.from, 20000, c.who)}
			if c.expr == "other_metric" {
				m.names = []string{"all"}
			}
			r := stopped("empty", c.expr)
			r.TreatMissingData = alarm.TreatBreaching
			l := &line{t: t, sources: alarm.NewSources(), sends: sends}
			l.e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{r}, Delay: -1, Sources: l.sources})
			l.run(0, c.from)
			equal(t, "transitions", l.run(c.from, c.from+600, "promwrite/"+c.who), c.want)
		})
	}
}

// Targets that cannot be scraped for a minute are an alarm, one of those that fail together. One that is no longer listed is
// not missed: its deployment replaced it.
func TestScrapedTargets(t *testing.T) {
	down := map[string]bool{}
	listed := []string{"1", "2", "3"}
	sources := alarm.NewSources()
	sources.Scraped(func() (out []alarm.Target) {
		for _, i := range listed {
			out = append(out, alarm.Target{Job: "node", Instance: i, Up: !down[i]})
		}
		return out
	})
	l := &line{t: t, sources: sources}
	l.e = newEvaluator(t, &table{}, openState(t), alarm.Options{Delay: -1, Sources: sources})
	l.run(0, 1000)
	down["1"], down["2"] = true, true
	equal(t, "two fail", l.run(1000, 1300), []string{`1100 source down{sender="node 1",source="scrape"} OK->ALARM`})
	down["2"] = false
	listed = []string{"2", "4"}
	equal(t, "one is back, one replaced", l.run(1300, 1600), []string{`1300 source down{sender="node 1",source="scrape"} ALARM->OK`})
	down["2"] = true
	equal(t, "one fails again", l.run(1600, 1800), []string{`1700 source down{sender="node 2",source="scrape"} OK->ALARM`})
}

// However many send, so many are known by name, and the rest is part of the source.
func TestSendersAreBounded(t *testing.T) {
	sources := alarm.NewSources()
	s := openState(t)
	reg := prometheus.NewRegistry()
	e := newEvaluator(t, &table{}, s, alarm.Options{Rules: []alarm.Rule{above(1)}, Delay: -1, Sources: sources, Registerer: reg})
	for b := range 25 {
		for i := range 5000 {
			at := simStart.Add(time.Duration(b)*6*time.Second + time.Duration(i)*time.Millisecond)
			sources.Observe(model.DefaultTenant, "otlp", at, each(fmt.Sprint("service-", i), []string{alarm.SpansKey}))
		}
	}
	if _, err := e.Evaluate(t.Context(), simStart.Add(150*time.Second)); err != nil {
		t.Fatal(err)
	}
	docs, err := s.Documents(t.Context(), model.DefaultTenant, "source")
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	if n := strings.Count(string(docs[0].Body), `"name":`); n != 1000 {
		t.Errorf("%d senders are known, want 1,000", n)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP triage_alarm_senders Senders that are known by name, of all sources.
# TYPE triage_alarm_senders gauge
triage_alarm_senders 1000
# HELP triage_alarm_senders_limit Most senders of one source that are known by name.
# TYPE triage_alarm_senders_limit gauge
triage_alarm_senders_limit 1000
# HELP triage_alarm_senders_unnamed_total Times that something came from a sender that is not known by name, because there are too many.
# TYPE triage_alarm_senders_unnamed_total counter
triage_alarm_senders_unnamed_total 100000
`), "triage_alarm_senders", "triage_alarm_senders_limit", "triage_alarm_senders_unnamed_total"); err != nil {
		t.Error(err)
	}
}

// A machine that slept heard nobody, and nobody was silent.
func TestTimeThatStoodStill(t *testing.T) {
	m := &fleet{label: "service_name", names: []string{"a", "b"}, silent: off(1000, 5000, "a", "b")}
	l := &line{t: t, sources: alarm.NewSources(), sends: services("a", "b"), calls: []string{"a"}}
	rule := stopped("no traffic", callsRate)
	rule.TreatMissingData = alarm.TreatMissing
	l.e = newEvaluator(t, m, openState(t), alarm.Options{Rules: []alarm.Rule{rule}, Delay: -1, Sources: l.sources})
	l.run(0, 1000)
	first := l.run(5000, 5020, "otlp/a", "otlp/b") // they notice it a little later
	for _, tr := range append(first, l.run(5020, 6000)...) {
		if strings.Contains(tr, alarm.SourceDown) {
			t.Errorf("transition %s", tr)
		}
	}
	equal(t, "a source that stays silent from then on", l.run(6000, 6200, "otlp/a", "otlp/b"), []string{`6100 source down{source="otlp"} OK->ALARM`})
}

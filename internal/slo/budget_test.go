package slo_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/slo"
	"triage/internal/store"
	"triage/internal/store/metrics"
	"triage/internal/store/state"
)

// month has requests of two regions for some days, of which a share fails that changes by the hour, and a latency.
type month struct {
	m   *metrics.Store
	end time.Time
	// bad and total are by region and minute; slow tells of each minute whether the latency was too high.
	bad, total map[string][]float64
	slow       []bool
}

const days = 9

func newMonth(t *testing.T) *month {
	t.Helper()
	m, err := metrics.Open(metrics.Options{Dir: t.TempDir(), OutOfOrder: 15 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &month{m: m, end: time.Now().Add(-time.Hour).Truncate(time.Hour).Add(17 * time.Minute), bad: map[string][]float64{}, total: map[string][]float64{}}
	rng := rand.New(rand.NewPCG(3, 4))
	for region, rate := range map[string]float64{"eu": 100, "us": 7} {
		share := 0.0
		for i := range days * 24 * 60 {
			if i%60 == 0 {
				share = rng.Float64() * 0.02
			}
			total := math.Round(rate * (0.5 + rng.Float64()))
			w.total[region] = append(w.total[region], total)
			w.bad[region] = append(w.bad[region], math.Round(total*share))
			if region == "eu" {
				w.slow = append(w.slow, rng.Float64() < share*10)
			}
		}
	}
	w.write(t, 0, days*24*60)
	return w
}

// write stores counters as they stand at the ends of some minutes. Of a gap nothing was sent.
func (w *month) write(t *testing.T, from, to int) {
	t.Helper()
	var batch []model.Series
	at := func(i int) int64 { return w.end.Add(time.Duration(i+1-days*24*60) * time.Minute).UnixMilli() }
	for region := range w.total {
		for name, v := range map[string][]float64{"bad_total": w.bad[region], "requests_total": w.total[region]} {
			s := model.Series{Labels: labels.FromStrings("__name__", name, "region", region)}
			sum := 0.0
			for i := range to {
				if sum += v[i]; i >= from {
					s.Samples = append(s.Samples, model.Sample{T: at(i), V: sum})
				}
			}
			batch = append(batch, s)
		}
	}
	latency := model.Series{Labels: labels.FromStrings("__name__", "latency")}
	for i := from; i < to; i++ {
		v := 0.1
		if w.slow[i] {
			v = 3
		}
		latency.Samples = append(latency.Samples, model.Sample{T: at(i), V: v})
	}
	if rejected, err := w.m.Append(t.Context(), model.DefaultTenant, append(batch, latency)); err != nil || rejected.Total() > 0 {
		t.Fatal(err, rejected)
	}
}

const regional = `
apiVersion: openslo/v1
kind: SLO
metadata: {name: regional}
spec:
  service: checkout
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {spec: {query: sum by (region) (bad_total)}}}
        total: {metricSource: {spec: {query: sum by (region) (requests_total)}}}
  timeWindow: [{duration: 7d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.98}]
`

// A budget that is added up by hours is the one that the events tell, however the time goes on and what comes late.
func TestBudgetsAreAddedUp(t *testing.T) {
	w := newMonth(t)
	threshold := strings.NewReplacer("      ratioMetric:", "      thresholdMetric: {metricSource: {spec: {query: latency}}}", "        counter: true\n", "",
		"        bad: {metricSource: {spec: {query: sum by (region) (bad_total)}}}\n", "", "        total: {metricSource: {spec: {query: sum by (region) (requests_total)}}}\n", "",
		"target: 0.98", "target: 0.98, op: lt, value: 1").Replace(regional)
	rates := strings.NewReplacer("counter: true", "counter: false", "sum by (region) (bad_total)", "'sum by (region) (rate(bad_total[{{.window}}]))'",
		"sum by (region) (requests_total)", "'sum by (region) (rate(requests_total[{{.window}}]))'").Replace(regional)
	good := strings.NewReplacer("bad: {metricSource: {spec: {query: sum by (region) (bad_total)", "good: {metricSource: {spec: {query: sum by (region) (requests_total) - sum by (region) (bad_total)").Replace(regional)
	sliced := strings.NewReplacer("budgetingMethod: Occurrences", "budgetingMethod: Timeslices", "target: 0.98", "target: 0.5, timeSliceTarget: 0.99, timeSliceWindow: 10m").Replace(regional)
	shares := strings.NewReplacer("budgetingMethod: Occurrences", "budgetingMethod: RatioTimeslices", "target: 0.98", "target: 0.98, timeSliceWindow: 10m").Replace(regional)
	mean := strings.NewReplacer("sum by (region) (bad_total)", "'avg by (region) (increase(bad_total[{{.window}}]))'", "sum by (region) (requests_total)", "'avg by (region) (increase(requests_total[{{.window}}]))'").Replace(regional)
	for name, text := range map[string]string{"bad": regional, "rates": rates, "good": good, "threshold": threshold, "slices": sliced, "shares": shares, "means": mean} {
		t.Run(name, func(t *testing.T) {
			m := slo.New(slo.Options{Metrics: w.m})
			o := must(t, text)
			for _, back := range []int{24 * 60, 23*60 + 31, 60, 7, 1, 0} { // minutes before the end
				st, err := m.Status(t.Context(), model.DefaultTenant, o, w.end.Add(-time.Duration(back)*time.Minute))
				if err != nil {
					t.Fatal(err)
				}
				got := st.Objectives[0].Series
				if want := 2; len(got) != want && name != "threshold" || len(got) == 0 {
					t.Fatalf("%d label sets, want %d", len(got), want)
				}
				to := days*24*60 - back
				for _, s := range got {
					share := w.share(name, s.Labels["region"], to-7*24*60, to)
					off := 2e-3 * max(share, 0.01)
					if name == "slices" { // some are good or bad by what increase extrapolates
						off = 2e-2 * share
					}
					if math.Abs(1-s.Good-share) > off {
						t.Errorf("%d minutes before the end, %s: %v bad, want %v", back, s.Labels["region"], 1-s.Good, share)
					}
				}
			}
		})
	}
}

// share is the share of what was bad from one minute to another.
func (w *month) share(method, region string, from, to int) float64 {
	var bad, total float64
	for i := from; i < to; i++ {
		switch method {
		case "threshold":
			total++
			if w.slow[i] {
				bad++
			}
		case "slices", "shares":
			// Slices of ten minutes begin and end at whole ones.
			if at := w.end.Add(time.Duration(i+1-days*24*60) * time.Minute); at.Minute()%10 != 0 {
				continue
			}
			var b, n float64
			for j := i - 9; j <= i; j++ {
				b, n = b+w.bad[region][j], n+w.total[region][j]
			}
			total++
			if method == "shares" {
				bad += b / n
			} else if 1-b/n < 0.99 {
				bad++
			}
		default:
			bad, total = bad+w.bad[region][i], total+w.total[region][i]
		}
	}
	return bad / total
}

// What comes late is counted: at once within two hours, and else with the next look at everything.
func TestBudgetsOfLateEvents(t *testing.T) {
	w := newMonth(t)
	m := slo.New(slo.Options{Metrics: w.m})
	o := must(t, regional)
	good := func(back int) float64 {
		t.Helper()
		st, err := m.Status(t.Context(), model.DefaultTenant, o, w.end.Add(-time.Duration(back)*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return *st.Objectives[0].Series[0].Bad
	}
	before := good(90)
	late := model.Series{Labels: labels.FromStrings("__name__", "bad_total", "region", "eu", "instance", "late")}
	old := model.Series{Labels: labels.FromStrings("__name__", "bad_total", "region", "eu", "instance", "old")}
	for i := range 60 {
		late.Samples = append(late.Samples, model.Sample{T: w.end.Add(time.Duration(i-160) * time.Minute).UnixMilli(), V: float64(i) * 10})
		old.Samples = append(old.Samples, model.Sample{T: w.end.Add(time.Duration(i)*time.Minute - 50*time.Hour).UnixMilli(), V: float64(i) * 10})
	}
	if _, err := w.m.Append(t.Context(), model.DefaultTenant, []model.Series{late, old}); err != nil {
		t.Fatal(err)
	}
	soon := good(80)
	fresh := slo.New(slo.Options{Metrics: w.m})
	st, err := fresh.Status(t.Context(), model.DefaultTenant, o, w.end.Add(-80*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	all := *st.Objectives[0].Series[0].Bad
	if soon < before+300 || soon > all-300 {
		t.Errorf("bad events: %v before, %v soon after, %v in all", before, soon, all)
	}
}

// Another objective of the same name has nothing of the one before.
func TestABudgetOfAnotherObjective(t *testing.T) {
	w := newMonth(t)
	s := openState(t)
	m := slo.New(slo.Options{Metrics: w.m, State: s, Rules: func(string, []alarm.Rule) {}})
	for _, change := range [][2]string{{"", ""}, {"bad_total", "requests_total"}, {"requests_total", "nothing_total"}} {
		o := must(t, strings.ReplaceAll(regional, change[0], change[1]))
		if change[0] == "" {
			o = must(t, regional)
		}
		if err := m.Save(t.Context(), model.DefaultTenant, o); err != nil {
			t.Fatal(err)
		}
		st, err := m.Status(t.Context(), model.DefaultTenant, o, w.end)
		if err != nil {
			t.Fatal(err)
		}
		got := st.Objectives[0].Series
		switch change[1] {
		case "":
			if len(got) != 2 || got[0].Good < 0.9 {
				t.Errorf("status %+v", got)
			}
		case "requests_total":
			if len(got) != 2 || math.Abs(got[0].Good) > 1e-6 {
				t.Errorf("all is bad now: %+v", got)
			}
		default:
			if len(got) != 0 {
				t.Errorf("there is nothing: %+v", got)
			}
		}
	}
}

func openState(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), t.TempDir()+"/state.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var manySLOs = flag.Int("slos", 100, "objectives of BenchmarkBudgets")

// cpu is what the process used, in seconds.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkBudgets looks at budgets of 30 days with a sample each 30 s, minute by minute, and evaluates the alarms on them. The
// core share is that of 1,000 objectives once a minute, by the CPU time used.
func BenchmarkBudgets(b *testing.B) {
	m, err := metrics.Open(metrics.Options{Dir: b.TempDir(), OutOfOrder: 15 * 24 * time.Hour, Retention: 60 * 24 * time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
	})
	end := time.Now().Add(-2 * time.Hour).Truncate(time.Hour)
	const step = 30 * time.Second
	for day := range 30 {
		var batch []model.Series
		for i := range *manySLOs {
			for name, rate := range map[string]float64{"bad_total": 1, "requests_total": 1000} {
				s := model.Series{Labels: labels.FromStrings("__name__", name, "service", fmt.Sprint(i))}
				for k := range int(24 * time.Hour / step) {
					n := day*int(24*time.Hour/step) + k + 1
					s.Samples = append(s.Samples, model.Sample{T: end.Add(time.Duration(n)*step - 30*24*time.Hour).UnixMilli(), V: float64(n) * rate})
				}
				batch = append(batch, s)
			}
		}
		if rejected, err := m.Append(b.Context(), model.DefaultTenant, batch); err != nil || rejected.Total() > 0 {
			b.Fatal(err, rejected)
		}
	}
	if err := m.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	var list []slo.SLO
	for i := range *manySLOs {
		text := strings.NewReplacer("name: regional", fmt.Sprintf("name: slo-%d", i), "7d", "30d", "(region) (bad_total)", fmt.Sprintf("(service) (bad_total{service=\"%d\"})", i),
			"(region) (requests_total)", fmt.Sprintf("(service) (requests_total{service=\"%d\"})", i)).Replace(strings.ReplaceAll(strings.ReplaceAll(regional, "query: sum", "query: 'sum"), "_total)}}}", "_total)'}}}"))
		list = append(list, must(b, text))
	}
	budgets := slo.New(slo.Options{Metrics: m})
	look := func(at time.Time) {
		for _, s := range list {
			st, err := budgets.Status(b.Context(), model.DefaultTenant, s, at)
			if err != nil || len(st.Objectives[0].Series) != 1 {
				b.Fatal(st, err)
			}
		}
	}
	share := func(seconds float64, minutes int) float64 {
		return seconds / float64(minutes) / 60 * 1000 / float64(*manySLOs)
	}
	b.Run("first", func(b *testing.B) { // after a start, all hours are asked for
		began, n := cpu(b), 0
		for b.Loop() {
			n++
			budgets = slo.New(slo.Options{Metrics: m})
			look(end)
		}
		b.ReportMetric((cpu(b)-began)/float64(n)*1000/float64(*manySLOs), "cpu-s/1000")
	})
	b.Run("as a whole", func(b *testing.B) { // of what does not add up
		means := slices.Clone(list)
		for i, s := range means {
			text, err := json.Marshal(s)
			if err != nil {
				b.Fatal(err)
			}
			means[i], err = slo.Parse([]byte(regexp.MustCompile(`sum by \(service\) \((\w+{[^}]*})\)`).ReplaceAllString(string(text), "avg by (service) (increase($1[{{.window}}]))")))
			if err != nil {
				b.Fatal(err)
			}
		}
		began, n := cpu(b), 0
		for b.Loop() {
			n++
			for _, s := range means {
				if st, err := budgets.Status(b.Context(), model.DefaultTenant, s, end); err != nil || len(st.Objectives[0].Series) != 1 {
					b.Fatal(st, err)
				}
			}
		}
		b.ReportMetric(100*share(cpu(b)-began, n), "%core/1000")
	})
	b.Run("each minute", func(b *testing.B) { // as Run does
		m := slo.New(slo.Options{Metrics: m, State: openState(b), Rules: func(string, []alarm.Rule) {}})
		for _, s := range list {
			if err := m.Save(b.Context(), model.DefaultTenant, s); err != nil {
				b.Fatal(err)
			}
		}
		record := func(at time.Time) {
			if err := errors.Join(m.Count(b.Context(), model.DefaultTenant, at), m.Record(b.Context(), model.DefaultTenant, at)); err != nil {
				b.Fatal(err)
			}
		}
		record(end)
		began, minutes := cpu(b), 0
		for b.Loop() {
			minutes++
			record(end.Add(time.Duration(minutes) * time.Minute))
		}
		b.ReportMetric(100*share(cpu(b)-began, minutes), "%core/1000")
	})
	b.Run("alarms each minute", func(b *testing.B) {
		e, err := alarm.New(alarm.Options{Metrics: m, State: openState(b), Delay: -1})
		if err != nil {
			b.Fatal(err)
		}
		var rules []alarm.Rule
		for _, s := range list {
			rules = append(rules, s.Rules()...)
		}
		e.SetDerived(model.DefaultTenant, rules)
		evaluate := func(at time.Time) {
			if _, err := e.Evaluate(b.Context(), at); err != nil && !errors.Is(err, store.ErrNotFound) {
				b.Fatal(err)
			}
		}
		evaluate(end.Add(-time.Hour))
		began, minutes := cpu(b), 0
		for b.Loop() {
			minutes++
			evaluate(end.Add(time.Duration(minutes)*time.Minute - time.Hour))
		}
		b.ReportMetric(100*share(cpu(b)-began, minutes), "%core/1000")
	})
}

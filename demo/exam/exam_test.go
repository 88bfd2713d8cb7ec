package exam

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/demo/scenario"
	"triage/internal/model"
)

// table is scenarios of three classes, of which the first has two.
func table() []scenario.Scenario {
	one := func(name string, class model.Class, confusing bool) scenario.Scenario {
		return scenario.Scenario{Name: name, Confusing: confusing, Draw: func(*scenario.Draw) scenario.Case {
			if class == "" {
				return scenario.Case{For: time.Minute}
			}
			return scenario.Case{Truths: []scenario.Truth{{Class: class, Entity: "service:x", Mechanism: model.SlowCode}}}
		}}
	}
	return []scenario.Scenario{
		one("a1", "a", false), one("a2", "a", false), one("b", "b", false), one("c", "c", false),
		one("k1", "a", true), one("k2", "b", true), one("quiet", "", false),
	}
}

func TestPlan(t *testing.T) {
	const runs = 72 // so many that every round is whole
	p := NewPlan(5, table())
	names := map[string]int{}
	for first := 1; first < runs; first += 3 {
		confusing := 0
		for n := first; n < first+3; n++ {
			q := p.Question(n)
			names[q.Scenario.Name]++
			if q.Scenario.Confusing {
				confusing++
			}
			if q.Number != n || q.Rate < 0.7 || q.Rate >= 1.3 || q.Wait < 0 || q.Wait > 12*time.Second {
				t.Errorf("run %d is %+v", n, q)
			}
		}
		if confusing != 1 {
			t.Errorf("%d of the runs from %d on are confusing", confusing, first)
		}
	}
	// 48 plain runs: 16 of each class, which two members share; 24 confusing ones.
	want := map[string]int{"a1": 8, "a2": 8, "b": 16, "c": 16, "k1": 12, "k2": 12}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
}

// TestPlanFollowsSeedAndNumber holds that a run doesn't depend on those before it.
func TestPlanFollowsSeedAndNumber(t *testing.T) {
	show := func(q Question) string {
		return fmt.Sprint(q.Number, q.Scenario.Name, q.Seed, q.Rate, q.Wait)
	}
	whole, other := "", ""
	p := NewPlan(5, table())
	for n := 1; n <= 30; n++ {
		if got, want := show(NewPlan(5, table()).Question(n)), show(p.Question(n)); got != want {
			t.Errorf("run %d is %s alone and %s among others", n, got, want)
		}
		whole += p.Question(n).Scenario.Name
		other += NewPlan(6, table()).Question(n).Scenario.Name
	}
	if whole == other {
		t.Error("two seeds give the same scenarios")
	}
}

func TestMark(t *testing.T) {
	truths := []scenario.Truth{
		{Class: "a", Entity: "service:x", Mechanism: "m"}, {Class: "b", Entity: "service:y", Mechanism: "n"},
	}
	cause := func(class model.Class, entity model.Entity, mechanism model.Mechanism) model.Cause {
		return model.Cause{Class: class, Entity: entity, Mechanism: mechanism}
	}
	verdict := func(named bool, candidates ...model.Cause) *model.Verdict {
		v := &model.Verdict{Candidates: candidates}
		if named {
			v.Why = &candidates[0]
		}
		return v
	}
	first, three, no := Place{true, true}, Place{false, true}, Place{}
	wrong := cause("z", "service:z", "z")
	for _, c := range []struct {
		name string
		in   *model.Verdict
		want Grade
	}{
		{"no verdict", nil, Grade{}},
		{"no cause", verdict(false), Grade{}},
		{"the first truth", verdict(true, cause("a", "service:x", "m")), Grade{first, first, first, first}},
		{"the second truth", verdict(true, cause("b", "service:y", "n")), Grade{first, first, first, first}},
		{"a mixture of two", verdict(true, cause("a", "service:y", "m")), Grade{first, first, first, no}},
		{"the wrong place", verdict(true, cause("a", "service:z", "m")), Grade{first, no, first, no}},
		{"third", verdict(true, wrong, wrong, cause("b", "service:y", "n")), Grade{three, three, three, three}},
		{"fourth", verdict(true, wrong, wrong, wrong, cause("b", "service:y", "n")), Grade{}},
		{"too unsure to name it", verdict(false, cause("a", "service:x", "m")), Grade{three, three, three, three}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, Mark(truths, c.in)); d != "" {
				t.Error(d)
			}
		})
	}
}

var terms = Terms{Seed: 3, Runs: 5, Rate: 30}

// graded is five runs: right with 0.95 and 0.91, wrong with 0.3, wrong without a cause, and without a verdict.
func graded() []Run {
	truths := []scenario.Truth{{Class: "a", Entity: "service:x", Mechanism: "m"}}
	run := func(n int, name string, alarm, verdict float64, quiet Quiet, v *model.Verdict) Run {
		r := Run{Run: n, Scenario: name, Truths: truths, Settled: n != 3, Quiet: quiet, Verdict: v, Right: Mark(truths, v)}
		if alarm > 0 {
			r.DetectedAfterS = &alarm
		}
		if verdict > 0 {
			r.VerdictAfterS = &verdict
		}
		return r
	}
	named := func(entity model.Entity, confidence float64) *model.Verdict {
		why := model.Cause{Class: "a", Entity: entity, Mechanism: "m", Confidence: confidence}
		return &model.Verdict{Why: &why, Candidates: []model.Cause{why}}
	}
	return []Run{
		run(1, "s1", 10, 12, Quiet{Seconds: 600}, named("service:x", 0.95)),
		run(2, "s2", 20, 24, Quiet{Seconds: 300, Incidents: 2, Verdicts: 1}, named("service:x", 0.91)),
		run(3, "s2", 14, 16, Quiet{}, named("service:y", 0.3)),
		run(4, "s1", 18, 20, Quiet{Seconds: 900}, &model.Verdict{}),
		run(5, "s1", 0, 0, Quiet{}, nil),
	}
}

func TestSummarize(t *testing.T) {
	score := func(runs, class, entity int) Score {
		return Score{runs, Count{class, class}, Count{entity, entity}, Count{class, class}, Count{entity, entity}}
	}
	want := Summary{
		Terms: terms, Score: score(5, 3, 2), Named: 3, Nothing: 1, Unsettled: 1,
		Alarm:        Times{4, 14, 20}, // of 10, 14, 18, 20: the second and the fourth
		Verdict:      Times{4, 16, 24}, // of 12, 16, 20, 24
		Quiet:        Quiet{Seconds: 1800, Incidents: 2, Verdicts: 1},
		FalsePerHour: 2,
		Scenarios:    []Group{{"s1", score(3, 1, 1), Times{2, 12, 20}}, {"s2", score(2, 2, 1), Times{2, 16, 24}}},
		Classes:      []Group{{"a", score(5, 3, 2), Times{4, 16, 24}}},
		Reliability:  []Bin{{0.3, 0.4, 1, 0.3, 0}, {0.9, 1, 2, 0.93, 1}},
		Brier:        0.0335, // (0.05² + 0.09² + 0.3²) / 3
	}
	if d := cmp.Diff(want, Summarize(terms, graded())); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(Summary{Scenarios: []Group{}, Classes: []Group{}, Reliability: []Bin{}}, Summarize(Terms{}, nil)); d != "" {
		t.Errorf("of no runs: %s", d)
	}
}

func TestReliabilityBins(t *testing.T) {
	for confidence, want := range map[float64]float64{0: 0, 0.099999: 0, 0.1: 0.1, 0.3: 0.3, 0.699999: 0.6, 0.7: 0.7, 0.999999: 0.9, 1: 0.9} {
		why := model.Cause{Confidence: confidence}
		s := Summarize(terms, []Run{{Verdict: &model.Verdict{Why: &why}}})
		if len(s.Reliability) != 1 || s.Reliability[0].From != want {
			t.Errorf("%v is in %+v, want the bin from %v", confidence, s.Reliability, want)
		}
	}
}

func TestPrint(t *testing.T) {
	var out bytes.Buffer
	if err := Print(&out, graded(), Summarize(terms, graded())); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"3    s2        14.0 s  16.0 s   right  wrong   right      0.30        a service:y m  a service:x m",
		"5    s1        -       -        wrong  wrong   wrong                  no verdict     a service:x m",
		"class a  5     3 / 3  2 / 2   3 / 3      2 / 2  16.0 s, 24.0 s",
		"0.9 to 1.0   2         0.93  1.00",
		"Alarms after 14.0 s, 20.0 s. 1 of 5 runs had no verdict, 1 began while something was still alarmed.",
		"In 30.0 minutes in which nothing was wrong: 2 incidents, 1 verdicts that blamed something (2.00 an hour).",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing from\n%s", want, out.String())
		}
	}
}

func TestLedgerGoesOn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "exam.jsonl")
	runs := graded()
	for i := range runs {
		l, err := Open(name, terms)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(runs[:i], l.Runs, cmp.Transformer("empty", func(r []Run) []Run { return append([]Run{}, r...) })); d != "" {
			t.Fatalf("before run %d: %s", i+1, d)
		}
		if err := l.Add(runs[i]); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLedgerAfterACrash cuts the file in many places: whole lines stay, and what is added then can be read again.
func TestLedgerAfterACrash(t *testing.T) {
	name := filepath.Join(t.TempDir(), "exam.jsonl")
	runs := graded()[:2]
	l, err := Open(name, terms)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if err := l.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(text); cut += 23 {
		if err := os.WriteFile(name, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(name, terms)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		for _, r := range runs[len(l.Runs):] {
			if err := l.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(name); !bytes.Equal(got, text) {
			t.Fatalf("cut at %d, it became\n%s", cut, got)
		}
	}
}

func TestLedgerRefusesAnother(t *testing.T) {
	name := filepath.Join(t.TempDir(), "exam.jsonl")
	l, err := Open(name, terms)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	began, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		terms      Terms
		other      bool
	}{
		{"seed", string(began), Terms{Seed: 4, Runs: 5, Rate: 30}, true},
		{"runs", string(began), Terms{Seed: 3, Runs: 6, Rate: 30}, true},
		{"rename", string(began), Terms{Seed: 3, Runs: 5, Rate: 30, Rename: true}, true},
		{"rate", string(began), Terms{Seed: 3, Runs: 5, Rate: 31}, true},
		{"something else", "milk\neggs\n", terms, true},
		{"something short", "milk", terms, true},
		{"a gap", string(began) + `{"run":2}` + "\n", terms, false},
		{"nonsense behind it", string(began) + "milk\n", terms, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(name, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := Open(name, c.terms)
			if err == nil {
				_ = l.Close()
				t.Fatal("it was taken")
			}
			if errors.Is(err, ErrOther) != c.other {
				t.Errorf("error is %v", err)
			}
			if got, _ := os.ReadFile(name); string(got) != c.text {
				t.Errorf("it became %q", got)
			}
		})
	}
}

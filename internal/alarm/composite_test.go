package alarm_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/timeinterval"

	"triage/internal/alarm"
	"triage/internal/model"
)

// three are rules a, b and c, of one period each, that are in ALARM in the minutes given.
func three(when map[string]string) (*table, []alarm.Rule) {
	m := &table{names: []string{"x"}, value: func(expr, _ string, at time.Time) float64 {
		i := int(at.Sub(simStart) / time.Minute)
		if i < 0 || i >= len(when[expr]) || when[expr][i] == '-' {
			return math.NaN()
		}
		return float64(when[expr][i] - '0')
	}}
	var rules []alarm.Rule
	for _, name := range []string{"a", "b", "c"} {
		r := above(5)
		r.Name, r.Expr, r.EvaluationPeriods, r.DatapointsToAlarm, r.Quiet = name, name, 1, 1, true
		rules = append(rules, r)
	}
	return m, rules
}

func composite(name, rule string) alarm.Rule {
	return alarm.Rule{Name: name, Composite: rule, Period: alarm.Duration(time.Minute)}
}

func only(rule string, list []string) (out []string) {
	for _, s := range list {
		if strings.Contains(s, " "+rule+"{") {
			out = append(out, s)
		}
	}
	return out
}

func TestComposite(t *testing.T) {
	when := map[string]string{
		"a": "0099990000",
		"b": "0009900000",
		"c": "0000900000",
	}
	for rule, want := range map[string][]string{
		`ALARM(a)`:             {`0 all{} INSUFFICIENT_DATA->OK`, `2 all{} OK->ALARM onset 1`, `6 all{} ALARM->OK`},
		`ALARM("a") AND OK(b)`: {`0 all{} INSUFFICIENT_DATA->OK`, `2 all{} OK->ALARM onset 1`, `3 all{} ALARM->OK`, `5 all{} OK->ALARM onset 1`, `6 all{} ALARM->OK`},
		`ALARM(b) OR ALARM(c) AND ALARM('a{name="x"}')`: {`0 all{} INSUFFICIENT_DATA->OK`, `3 all{} OK->ALARM onset 1`, `5 all{} ALARM->OK`},
		`NOT (OK(c) OR INSUFFICIENT_DATA(c)) AND TRUE`:  {`0 all{} INSUFFICIENT_DATA->OK`, `4 all{} OK->ALARM onset 3`, `5 all{} ALARM->OK`},
		`INSUFFICIENT_DATA('c{name="nobody"}')`:         {`0 all{} INSUFFICIENT_DATA->ALARM onset 0`},
		`FALSE`:                                         {`0 all{} INSUFFICIENT_DATA->OK`},
	} {
		m, rules := three(when)
		e := newEvaluator(t, m, openState(t), alarm.Options{Rules: append(rules, composite("all", rule)), Delay: -1})
		equal(t, rule, only("all", evaluate(t, e, 0, 9)), want)
	}
}

// Composites of composites are evaluated bottom up, whatever their names, and restarts change nothing.
func TestCompositesOfComposites(t *testing.T) {
	m, rules := three(map[string]string{"a": "0990", "b": "0090", "c": "0000"})
	rules = append(rules, composite("0 top", `ALARM("9 low")`), composite("9 low", `ALARM(a) AND ALARM(b)`))
	s := openState(t)
	e := newEvaluator(t, m, s, alarm.Options{Rules: rules, Delay: -1})
	evaluate(t, e, 0, 1)
	e = newEvaluator(t, m, s, alarm.Options{Rules: rules, Delay: -1})
	equal(t, "transitions", only("0 top", evaluate(t, e, 2, 3)), []string{`2 0 top{} OK->ALARM onset 0`, `3 0 top{} ALARM->OK`})
	for _, a := range e.Alarms(model.DefaultTenant) {
		if a.Quiet != (a.Rule == "a" || a.Rule == "b" || a.Rule == "c") {
			t.Errorf("%s is quiet: %v", a.ID, a.Quiet)
		}
	}
}

func TestCyclesAreRefused(t *testing.T) {
	err := alarm.ValidateRules("alarm.rules", []alarm.Rule{
		composite("a", "ALARM(b)"), composite("b", "OK(c) OR TRUE"), composite("c", `NOT ALARM("a{}")`), composite("d", "ALARM(a)"),
	})
	want := []string{
		"alarm.rules[0].composite: it is made of itself: a, b, c, a",
		"alarm.rules[1].composite: it is made of itself: b, c, a, b",
		"alarm.rules[2].composite: it is made of itself: c, a, b, c",
	}
	equal(t, "errors", strings.Split(fmt.Sprint(err), "\n"), want)

	s := openState(t)
	m, rules := three(map[string]string{"a": "0"})
	e := newEvaluator(t, m, s, alarm.Options{Rules: append(rules, composite("up", "ALARM(mine)")), Delay: -1})
	if err := e.SaveRule(t.Context(), model.DefaultTenant, composite("mine", "ALARM(up)")); !errors.Is(err, alarm.ErrInvalid) {
		t.Errorf("a cycle with the configuration was taken: %v", err)
	}
	if err := e.SaveRule(t.Context(), model.DefaultTenant, composite("mine", "ALARM(a)")); err != nil {
		t.Fatal(err)
	}
	if err := e.SetRules([]alarm.Rule{composite("a", "ALARM(mine)")}); err == nil {
		t.Error("a configuration that closes a cycle was taken")
	}
	// It may also be closed while nothing runs.
	e = newEvaluator(t, m, s, alarm.Options{Rules: []alarm.Rule{composite("a", "ALARM(mine)"), composite("b", "TRUE")}, Delay: -1})
	equal(t, "transitions", evaluate(t, e, 0, 0), []string{`0 b{} INSUFFICIENT_DATA->ALARM onset 0`})
	for _, r := range e.Rules(model.DefaultTenant) {
		if wrong := r.EvaluationState == alarm.EvaluationError; wrong != (r.Name != "b") {
			t.Errorf("%s: %s %s", r.Name, r.EvaluationState, r.EvaluationReason)
		}
	}
}

func TestCompositeOfNothing(t *testing.T) {
	m, rules := three(map[string]string{"a": "00"})
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: append(rules, composite("all", "ALARM(nobody)")), Delay: -1})
	equal(t, "transitions", only("all", evaluate(t, e, 0, 1)), []string(nil))
	if r := e.Rules(model.DefaultTenant)[1]; r.EvaluationReason != `composite: there is no rule "nobody"` {
		t.Errorf("%s: %s %s", r.Name, r.EvaluationState, r.EvaluationReason)
	}
}

func TestBadComposites(t *testing.T) {
	for rule, want := range map[string]string{
		"ALARM":                                  "column 6: the name of a rule in parentheses is missing behind ALARM",
		"ALARM()":                                "column 7: the name of a rule is missing",
		"ALARM(a":                                "column 7: a closing parenthesis is missing",
		`ALARM("a)`:                              "column 7: the name that begins here never ends",
		"ALARM(a) OK(b)":                         `column 10: "OK(b)" stands where the rule should end`,
		"ALARM(a) AND":                           "column 13: it ends where ALARM(), OK(), INSUFFICIENT_DATA(), TRUE or FALSE should stand",
		"a AND b":                                `column 1: "a" is none of ALARM(), OK(), INSUFFICIENT_DATA(), TRUE, FALSE, NOT`,
		"(TRUE":                                  "column 6: a closing parenthesis is missing",
		strings.Repeat("NOT ", 60) + "TRUE":      "nested",
		strings.Repeat("TRUE OR ", 300) + "TRUE": "it has 601 elements, at most 500 are allowed",
	} {
		err := composite("x", rule).WithDefaults().Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", rule, err, want)
		}
	}
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("ALARM(r%d)", i))
	}
	if err := composite("x", strings.Join(many, " OR ")).WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), "101 alarms") {
		t.Errorf("101 children: %v", err)
	}
}

// suppressions gives what is said of a rule's alarm, by minute.
func suppressions(t *testing.T, e *alarm.Evaluator, rule string, from, to int) (out []string) {
	t.Helper()
	for i := from; i <= to; i++ {
		evaluate(t, e, i, i)
		for _, a := range e.Alarms(model.DefaultTenant) {
			if a.Rule == rule {
				out = append(out, fmt.Sprintf("%d %s", i, strings.ReplaceAll(a.Suppressed, "2030-01-01T00:", "")))
			}
		}
	}
	return out
}

func TestSuppressor(t *testing.T) {
	m, rules := three(map[string]string{"a": "0999999990", "b": "0009900000"})
	rules[0].Suppressor = &alarm.Suppressor{Alarm: "b", Wait: alarm.Duration(time.Minute), Extension: alarm.Duration(2 * time.Minute)}
	s := openState(t)
	opts := alarm.Options{Rules: rules, Delay: -1}
	e := newEvaluator(t, m, s, opts)
	got := suppressions(t, e, "a", 0, 5)
	if err := e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got = append(got, suppressions(t, newEvaluator(t, m, s, opts), "a", 6, 9)...)
	equal(t, "suppressed", got, []string{
		"0 ", "1 waits until 02:00Z for alarm b", "2 ", `3 suppressed by alarm b{name="x"}`, `4 suppressed by alarm b{name="x"}`,
		"5 suppressed until 07:00Z, as alarm b has just ended", "6 suppressed until 07:00Z, as alarm b has just ended", "7 ", "8 ", "9 ",
	})
}

func TestMuteWindows(t *testing.T) {
	m, rules := three(map[string]string{"a": "0999999990"})
	rules[0].Mute = []alarm.MuteWindow{
		{From: simStart.Add(2 * time.Minute), To: simStart.Add(3 * time.Minute)},
		{TimeInterval: timeinterval.TimeInterval{Times: []timeinterval.TimeRange{{StartMinute: 5, EndMinute: 7}}}},
	}
	e := newEvaluator(t, m, openState(t), alarm.Options{Rules: rules, Delay: -1})
	equal(t, "suppressed", suppressions(t, e, "a", 0, 9), []string{
		"0 ", "1 ", "2 muted by window 1 of rule a", "3 ", "4 ", "5 muted by window 2 of rule a", "6 muted by window 2 of rule a", "7 ", "8 ", "9 ",
	})
}

package metricmath_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"triage/internal/metricmath"
)

var nan = math.NaN()

// input is a Monday afternoon, one datapoint a minute.
func input() metricmath.Input {
	return metricmath.Input{
		Start: time.Date(2029, 12, 31, 13, 58, 0, 0, time.UTC), Period: time.Minute, Len: 4,
		Metrics: map[string][]float64{
			"m1": {1, 2, nan, 4}, "m2": {10, 0, 30, 40}, "errors": {0, 1, 2, nan}, "empty": {nan, nan, nan, nan},
		},
	}
}

func TestEval(t *testing.T) {
	for expr, want := range map[string][]float64{
		"m1 + m2 * 2":                  {21, 2, nan, 84},
		"(m1 + m2) * 2":                {22, 4, nan, 88},
		"-m2 ^ 2":                      {-100, 0, -900, -1600},
		"2 ^ 3 ^ 2 + m2 * 0":           {512, 512, 512, 512},
		"10 - 3 - m2":                  {-3, 7, -23, -33},
		"100 * m1 / m2":                {10, math.Inf(1), nan, 10},
		"m2 >= 10 AND m1 < 4":          {1, 0, nan, 0},
		"m2 > 100 || m1 == 1":          {1, 0, nan, 0},
		"m1 != 2 and m2 <= 40":         {1, 0, nan, 1},
		"1e1 * m1 - .5":                {9.5, 19.5, nan, 39.5},
		"ABS(-m1)":                     {1, 2, nan, 4},
		"CEIL(m1 / 3)":                 {1, 1, nan, 2},
		"FLOOR(m1 / 3)":                {0, 0, nan, 1},
		"LOG10(m2 * 10)":               {2, math.Inf(-1), math.Log10(300), math.Log10(400)},
		"LOG(m1)":                      {0, math.Ln2, nan, math.Log(4)},
		"m1 / MAX(m1)":                 {0.25, 0.5, nan, 1},
		"m1 - AVG(m1)":                 {1 - 7.0/3, 2 - 7.0/3, nan, 4 - 7.0/3},
		"SUM([m1])":                    nil, // not of this language here
		"SUM(METRICS())":               {11, 3, 32, 44},
		"SUM(METRICS(\"m\"))":          {11, 2, 30, 44},
		"AVG(METRICS(\"m\"))":          {5.5, 1, 30, 22},
		"MIN(METRICS('m'))":            {1, 0, 30, 4},
		"STDDEV(METRICS('m'))":         {4.5, 1, 0, 18},
		"MAX(METRICS('none'))":         {nan, nan, nan, nan},
		"MAX(METRICS('none')+m1)":      {nan, nan, nan, nan},
		"TIME_SERIES(SUM(m2))":         {80, 80, 80, 80},
		"m2*0+DATAPOINT_COUNT(m1)":     {3, 3, 3, 3},
		"DATAPOINT_COUNT(METRICS())":   {3, 3, 2, 2},
		"m2*0+METRIC_COUNT(METRICS())": {4, 4, 4, 4},
		"m2*0+METRIC_COUNT(REMOVE_EMPTY(METRICS()))": {3, 3, 3, 3},
		"DIFF(m1)":                         {nan, 1, nan, 2},
		"DIFF_TIME(m1)":                    {nan, 60, nan, 120},
		"RATE(m2)":                         {nan, -10.0 / 60, 0.5, 10.0 / 60},
		"RUNNING_SUM(m1)":                  {1, 3, 3, 7},
		"FILL(m1, 0)":                      {1, 2, 0, 4},
		"FILL(errors, REPEAT)":             {0, 1, 2, 2},
		"FILL(m1, LINEAR)":                 {1, 2, 3, 4},
		"FILL(empty, LINEAR)":              {nan, nan, nan, nan},
		"FILL(m1, AVG(m2))":                {1, 2, 20, 4},
		"FILL(m1, m2)":                     {1, 2, 30, 4},
		"MAX(FILL(METRICS(), 5))":          {10, 5, 30, 40},
		"IF(m1 > 1, m2, 7)":                {7, 0, 7, 40},
		"IF(m1, m2)":                       {10, 0, nan, 40},
		"IF(1 > 2, m1, m2)":                {10, 0, 30, 40},
		"SUM(IF(METRICS('m') > 1, 1, 0))":  {1, 1, 1, 2},
		"FIRST(SORT(METRICS(), AVG, ASC))": {0, 1, 2, nan},
		"LAST(SORT(REMOVE_EMPTY(METRICS()), SUM, ASC))": {10, 0, 30, 40},
		"FIRST(SORT(METRICS(), MAX, DESC))":             {10, 0, 30, 40},
		"m2*0+METRIC_COUNT(SORT(METRICS(),MIN,ASC,2))":  {0 + 2, 2, 2, 2},
		"FIRST(SLICE(METRICS(), 2, 3))":                 {1, 2, nan, 4},
		"m2*0+METRIC_COUNT(SLICE(METRICS(), 3))":        {1, 1, 1, 1},
		"MINUTE(m1)":                                    {58, 59, 0, 1},
		"HOUR(m1)":                                      {13, 13, 14, 14},
		"DAY(m1)":                                       {1, 1, 1, 1},
		"DATE(m1)":                                      {31, 31, 31, 31},
		"MONTH(m1) + YEAR(m1)":                          {2041, 2041, 2041, 2041},
		"EPOCH(m1) - EPOCH(m1)":                         {0, 0, 0, 0},
		"m2 / PERIOD(m2)":                               {1.0 / 6, 0, 0.5, 2.0 / 3},
	} {
		e, err := metricmath.Parse(expr)
		if want == nil {
			if err == nil {
				t.Errorf("%s was read", expr)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		got, err := e.Eval(input())
		if err != nil {
			t.Errorf("%s: %v", expr, err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateNaNs(), cmpopts.EquateApprox(0, 1e-12)); d != "" {
			t.Errorf("%s (-want +got):\n%s", expr, d)
		}
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for expr, want := range map[string]string{
		"":                      "column 1: it ends where a metric, a number or a function should stand",
		"m1 +":                  "column 5: it ends where a metric, a number or a function should stand",
		"m1 m2":                 `column 4: "m2" stands where the expression should end`,
		"(m1":                   "column 4: a ')' is missing for the one in column 1",
		"m1 / 0":                "column 4: it divides by zero",
		"5":                     "column 1: it yields one number, not a series: give it to TIME_SERIES()",
		"AVG(m1)":               "column 1: it yields one number, not a series: give it to TIME_SERIES()",
		"METRICS()":             "column 1: it yields several series: give them to a function such as SUM() or MAX()",
		"ABS(m1, m2)":           "column 1: ABS has 2 arguments, it takes 1",
		"IF(m1)":                "column 1: IF has 1 arguments, it takes 2 to 3",
		"1 + LAST(m1)":          "column 5: LAST: its argument is not several series, such as METRICS()",
		"FILL(m1, NEVER)":       `column 1: FILL: "NEVER" is none of REPEAT, LINEAR`,
		"M1 + 1":                `column 4: +: "M1" is no metric: their names begin with a lower-case letter`,
		"1..2 * m1":             `column 1: "1..2" is not a number`,
		"m1 % 2":                `column 4: "% 2" stands where the expression should end`,
		"SUM(METRICS('m)":       "column 13: the text that begins here never ends",
		"TIME_SERIES(m1)":       "column 1: TIME_SERIES: its argument is not a number",
		"SORT(METRICS(),2,3)":   "column 1: SORT: argument 2 is none of AVG, MIN, MAX, SUM",
		strings.Repeat("(", 99): "column 26: it is nested more than 50 deep",
	} {
		_, err := metricmath.Parse(expr)
		var e *metricmath.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want an Error", expr, err)
			continue
		}
		if e.Error() != want && !strings.Contains(want, "nested") {
			t.Errorf("%s: %s, want %s", expr, e, want)
		}
		if strings.Contains(want, "nested") && !strings.Contains(e.Error(), "nested") {
			t.Errorf("%s: %s, want %s", expr, e, want)
		}
	}
	_, err := metricmath.Parse("NOPE(m1)")
	if err == nil || !strings.HasPrefix(err.Error(), "column 1: there is no function NOPE; there are ABS, AVG, ") {
		t.Errorf("an unknown function: %v", err)
	}
	e, err := metricmath.Parse("m1 + m9 + m1")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"m1", "m9"}, e.IDs()); d != "" {
		t.Error(d)
	}
	if _, err := e.Eval(input()); err == nil || err.Error() != "there is no metric m9" {
		t.Errorf("a metric that is not there: %v", err)
	}
}

// What is read can be computed, whatever it is.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"m1 + m2 * -2 ^ 3", "IF(m1 > 1, FILL(m2, LINEAR), 7)", "SUM(SLICE(SORT(METRICS(\"m\"), AVG, DESC), 1, 2))", "m1 AND (m2 || 1e3)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := metricmath.Parse(s)
		if err != nil {
			return
		}
		in := input()
		for _, id := range e.IDs() {
			in.Metrics[id] = []float64{1, 2, nan, 3}
		}
		got, err := e.Eval(in)
		if err != nil || len(got) != in.Len {
			t.Errorf("%q: %d values, %v", s, len(got), err)
		}
	})
}

func TestParseBand(t *testing.T) {
	same := func(a string) *metricmath.Expr {
		e, err := metricmath.Parse(a)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct {
		text, of   string
		deviations float64
	}{
		{"ANOMALY_DETECTION_BAND(m1)", "m1", 2},
		{"anomaly_detection_band( 100*m2 / m1 , 3.5 )", "100 * m2/m1", 3.5},
	} {
		of, k, err := metricmath.ParseBand(c.text)
		if err != nil || k != c.deviations || !of.Equal(same(c.of)) || of.Equal(same("m9")) {
			t.Errorf("%s: %v deviations, %v", c.text, k, err)
		}
	}
	for text, want := range map[string]string{
		"":                                 "column 1: it ends where",
		"m1":                               "column 1: it is not ANOMALY_DETECTION_BAND(expression, deviations)",
		"ANOMALY_DETECTION_BAND()":         "column 1: ANOMALY_DETECTION_BAND has 0 arguments, it takes 1 to 2",
		"ANOMALY_DETECTION_BAND(m1, 2, 3)": "column 1: ANOMALY_DETECTION_BAND has 3 arguments, it takes 1 to 2",
		"ANOMALY_DETECTION_BAND(m1, m2)":   "column 28: the number of deviations is not a positive number",
		"ANOMALY_DETECTION_BAND(m1, 0)":    "column 28: the number of deviations is not a positive number",
		"ANOMALY_DETECTION_BAND(3)":        "column 1: it yields one number",
		"ANOMALY_DETECTION_BAND(m1) + 1":   "it is not ANOMALY_DETECTION_BAND",
		"ANOMALY_DETECTION_BAND(NONE(m1))": "there is no function NONE",
		"ANOMALY_DETECTION_BAND(m1, 2) m1": "stands where the expression should end",
	} {
		if _, _, err := metricmath.ParseBand(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := metricmath.Parse("MAX([m1, ANOMALY_DETECTION_BAND(m1)])"); err == nil {
		t.Error("a band was taken for a value")
	}
	if _, err := metricmath.Parse("1 + ANOMALY_DETECTION_BAND(m1)"); err == nil || !strings.Contains(err.Error(), "write it as compare.band") {
		t.Errorf("a band in an expression: %v", err)
	}
}

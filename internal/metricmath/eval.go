package metricmath

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Input is what an expression is computed of.
type Input struct {
	// Start is the time of the first datapoint, Period the time between two, Len how many there are.
	Start  time.Time
	Period time.Duration
	Len    int
	// Metrics are by name; each has Len values, NaN where one is missing.
	Metrics map[string][]float64
}

// Eval computes the expression: Len values, NaN where one is missing. It fails only for a metric that is not there.
func (e *Expr) Eval(in Input) ([]float64, error) {
	for _, id := range e.ids {
		if _, ok := in.Metrics[id]; !ok {
			return nil, fmt.Errorf("there is no metric %s", id)
		}
	}
	env := &env{period: in.Period.Seconds(), metrics: in.Metrics}
	for i := range in.Len {
		env.times = append(env.times, in.Start.Add(time.Duration(i)*in.Period))
	}
	return env.eval(e.root).lines[0], nil
}

type env struct {
	times   []time.Time
	period  float64 // s
	metrics map[string][]float64
}

// value is what a part of an expression came to: a number, series, or a word.
type value struct {
	kind  kind
	n     float64
	lines [][]float64
	word  string
}

func number(n float64) value   { return value{kind: scalar, n: n} }
func one(line []float64) value { return value{kind: series, lines: [][]float64{line}} }

func (e *env) eval(n node) value {
	switch n.op {
	case "number":
		return number(n.n)
	case "metric":
		return one(e.metrics[n.text])
	case "text", "word":
		return value{kind: word, word: n.text}
	}
	args := make([]value, len(n.args))
	for i, a := range n.args {
		args[i] = e.eval(a)
	}
	return functions[n.op].eval(e, args)
}

// zip computes number by number. A number stands for a series of it, and one series for each of several.
func (e *env) zip(a, b value, f func(a, b float64) float64) value {
	if a.kind == scalar && b.kind == scalar {
		return number(f(a.n, b.n))
	}
	n := length(a, b)
	out := value{kind: max(a.kind, b.kind)}
	for i := range n {
		line := make([]float64, len(e.times))
		for t := range line {
			line[t] = f(a.at(i, t), b.at(i, t))
		}
		out.lines = append(out.lines, line)
	}
	return out
}

// length is how many series come of values: as many as the shortest of those that are several.
func length(values ...value) int {
	n := math.MaxInt
	for _, v := range values {
		if v.kind == list {
			n = min(n, len(v.lines))
		}
	}
	if n == math.MaxInt {
		return 1
	}
	return n
}

// at is the number at time t of line i.
func (v value) at(i, t int) float64 {
	switch v.kind {
	case scalar:
		return v.n
	case series:
		return v.lines[0][t]
	}
	return v.lines[i][t]
}

func (e *env) mapSeries(v value, f func([]float64) []float64) value {
	out := value{kind: v.kind}
	for _, line := range v.lines {
		out.lines = append(out.lines, f(line))
	}
	return out
}

// reduce computes one number of a series' datapoints, or one series of several, time by time.
func (e *env) reduce(v value, f func([]float64) float64) value {
	if v.kind == series {
		return number(f(present(v.lines[0])))
	}
	line := make([]float64, len(e.times))
	for t := range line {
		var at []float64
		for _, l := range v.lines {
			at = append(at, l[t])
		}
		line[t] = f(present(at))
	}
	return one(line)
}

// present are the values that are there.
func present(values []float64) []float64 {
	out := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) {
			out = append(out, v)
		}
	}
	return out
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// comparison is missing where one side is.
func comparison(f func(a, b float64) bool) function {
	return operator(func(a, b float64) float64 {
		if math.IsNaN(a) || math.IsNaN(b) {
			return math.NaN()
		}
		return truth(f(a, b))
	})
}

func sum(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}

// some makes a function of nothing give nothing.
func some(f func([]float64) float64) func([]float64) float64 {
	return func(v []float64) float64 {
		if len(v) == 0 {
			return math.NaN()
		}
		return f(v)
	}
}

func average(v []float64) float64 { return sum(v) / float64(len(v)) }

// deviation is of the whole population, as CloudWatch's.
func deviation(v []float64) float64 {
	m := average(v)
	var s float64
	for _, x := range v {
		s += (x - m) * (x - m)
	}
	return math.Sqrt(s / float64(len(v)))
}

var reductions = map[string]func([]float64) float64{
	"AVG": some(average), "MIN": some(slices.Min[[]float64]), "MAX": some(slices.Max[[]float64]), "SUM": some(sum), "STDDEV": some(deviation),
}

// functions are CloudWatch's, and the operators among them.
var functions = map[string]function{
	"+": operator(func(a, b float64) float64 { return a + b }),
	"-": operator(func(a, b float64) float64 { return a - b }),
	"*": operator(func(a, b float64) float64 { return a * b }),
	"/": operator(func(a, b float64) float64 { return a / b }),
	"^": operator(math.Pow),

	"==": comparison(func(a, b float64) bool { return a == b }),
	"!=": comparison(func(a, b float64) bool { return a != b }),
	"<=": comparison(func(a, b float64) bool { return a <= b }),
	">=": comparison(func(a, b float64) bool { return a >= b }),
	"<":  comparison(func(a, b float64) bool { return a < b }),
	">":  comparison(func(a, b float64) bool { return a > b }),

	"AND":    comparison(func(a, b float64) bool { return a != 0 && b != 0 }),
	"OR":     comparison(func(a, b float64) bool { return a != 0 || b != 0 }),
	"NEGATE": each(func(v float64) float64 { return -v }),

	"ABS":   each(math.Abs),
	"CEIL":  each(math.Ceil),
	"FLOOR": each(math.Floor),
	"LOG":   each(math.Log),
	"LOG10": each(math.Log10),

	"AVG":    over(reductions["AVG"]),
	"MIN":    over(reductions["MIN"]),
	"MAX":    over(reductions["MAX"]),
	"SUM":    over(reductions["SUM"]),
	"STDDEV": over(reductions["STDDEV"]),

	"DATAPOINT_COUNT": over(func(v []float64) float64 { return float64(len(v)) }),
	"METRIC_COUNT": {1, 1, func(args []kind) (kind, string) {
		if _, why := listOnly(args); why != "" {
			return 0, why
		}
		return scalar, ""
	}, func(_ *env, args []value) value { return number(float64(len(args[0].lines))) }},

	"DIFF": along(func(_ *env, in, out []float64) {
		fromLast(in, out, func(v, last float64, _ int) float64 { return v - last })
	}),
	"DIFF_TIME": along(func(e *env, in, out []float64) {
		fromLast(in, out, func(_, _ float64, n int) float64 { return float64(n) * e.period })
	}),
	"RATE": along(func(e *env, in, out []float64) {
		fromLast(in, out, func(v, last float64, n int) float64 { return (v - last) / (float64(n) * e.period) })
	}),
	"RUNNING_SUM": along(func(_ *env, in, out []float64) {
		var s float64
		for i, v := range in {
			if !math.IsNaN(v) {
				s += v
			}
			out[i] = s
		}
	}),

	"FILL":  {2, 2, fillKind, fill},
	"FIRST": pick(func(n int) int { return 0 }),
	"LAST":  pick(func(n int) int { return n - 1 }),
	"IF":    {2, 3, wider, choose},

	"MINUTE": times(func(e *env, i int) float64 { return float64(e.times[i].UTC().Minute()) }),
	"HOUR":   times(func(e *env, i int) float64 { return float64(e.times[i].UTC().Hour()) }),
	"DAY":    times(func(e *env, i int) float64 { return float64((e.times[i].UTC().Weekday()+6)%7 + 1) }), // Monday is 1
	"DATE":   times(func(e *env, i int) float64 { return float64(e.times[i].UTC().Day()) }),
	"MONTH":  times(func(e *env, i int) float64 { return float64(e.times[i].UTC().Month()) }),
	"YEAR":   times(func(e *env, i int) float64 { return float64(e.times[i].UTC().Year()) }),
	"EPOCH":  times(func(e *env, i int) float64 { return float64(e.times[i].Unix()) }),
	"PERIOD": {1, 1, func(args []kind) (kind, string) {
		if args[0] != series {
			return 0, "its argument is not one series"
		}
		return scalar, ""
	}, func(e *env, _ []value) value { return number(e.period) }},

	"METRICS": {0, 1, always(list), func(e *env, args []value) value {
		out := value{kind: list}
		for _, id := range slices.Sorted(maps.Keys(e.metrics)) {
			if len(args) == 0 || strings.Contains(id, args[0].word) {
				out.lines = append(out.lines, e.metrics[id])
			}
		}
		return out
	}},
	"REMOVE_EMPTY": {1, 1, listOnly, func(_ *env, args []value) value {
		out := value{kind: list}
		for _, l := range args[0].lines {
			if len(present(l)) > 0 {
				out.lines = append(out.lines, l)
			}
		}
		return out
	}},
	"SLICE": {2, 3, listOnly, func(_ *env, args []value) value {
		lines := args[0].lines
		end := len(lines)
		if len(args) > 2 {
			end = bounded(args[2], len(lines))
		}
		start := min(bounded(args[1], len(lines)), end)
		return value{kind: list, lines: lines[start:end]}
	}},
	"SORT": {3, 4, listOnly, order},
	"TIME_SERIES": {1, 1, func(args []kind) (kind, string) {
		if args[0] != scalar {
			return 0, "its argument is not a number"
		}
		return series, ""
	}, func(e *env, args []value) value {
		return e.zip(args[0], one(make([]float64, len(e.times))), func(n, _ float64) float64 { return n })
	}},
}

// bounded reads a place among n.
func bounded(v value, n int) int {
	if v.kind != scalar || !(v.n > 0) {
		return 0
	}
	return int(min(v.n, float64(n)))
}

// fromLast computes each datapoint from the one before it, n periods ago. The first has none.
func fromLast(in, out []float64, f func(v, last float64, n int) float64) {
	last := -1
	for i, v := range in {
		out[i] = math.NaN()
		if math.IsNaN(v) {
			continue
		}
		if last >= 0 {
			out[i] = f(v, in[last], i-last)
		}
		last = i
	}
}

// pick gives FIRST or LAST of several series.
func pick(which func(n int) int) function {
	return function{1, 1, func(args []kind) (kind, string) {
		_, why := listOnly(args)
		return series, why
	}, func(e *env, args []value) value {
		lines := args[0].lines
		if len(lines) == 0 {
			return one(slices.Repeat([]float64{math.NaN()}, len(e.times)))
		}
		return one(lines[which(len(lines))])
	}}
}

func fillKind(args []kind) (kind, string) {
	if args[1] == list {
		return 0, "what it fills with is several series"
	}
	return seriesOnly(args)
}

// fill puts a number, the last datapoint (REPEAT) or a straight line (LINEAR) where datapoints are missing.
func fill(e *env, args []value) value {
	with := args[1]
	return e.mapSeries(args[0], func(in []float64) []float64 {
		out := slices.Clone(in)
		last := -1
		for i, v := range in {
			if !math.IsNaN(v) {
				if with.word == "LINEAR" && last >= 0 {
					for j := last + 1; j < i; j++ {
						out[j] = in[last] + (v-in[last])*float64(j-last)/float64(i-last)
					}
				}
				last = i
				continue
			}
			switch {
			case with.kind != word:
				out[i] = with.at(0, i)
			case with.word == "REPEAT" && last >= 0:
				out[i] = in[last]
			}
		}
		return out
	})
}

// choose is IF(condition, then, else). Without else there is nothing where the condition fails.
func choose(e *env, args []value) value {
	otherwise := number(math.NaN())
	if len(args) > 2 {
		otherwise = args[2]
	}
	// A condition that is missing does not hold.
	holds := e.zip(args[0], args[0], func(v, _ float64) float64 { return truth(!math.IsNaN(v) && v != 0) })
	if holds.kind == scalar && args[1].kind == scalar && otherwise.kind == scalar {
		if holds.n != 0 {
			return args[1]
		}
		return otherwise
	}
	out := value{kind: max(holds.kind, args[1].kind, otherwise.kind)}
	for i := range length(holds, args[1], otherwise) {
		line := make([]float64, len(e.times))
		for t := range line {
			if holds.at(i, t) != 0 {
				line[t] = args[1].at(i, t)
			} else {
				line[t] = otherwise.at(i, t)
			}
		}
		out.lines = append(out.lines, line)
	}
	return out
}

// order is SORT(series, by what, in which direction, how many).
func order(_ *env, args []value) value {
	by := reductions[args[1].word]
	lines := slices.Clone(args[0].lines)
	slices.SortStableFunc(lines, func(a, b []float64) int {
		x, y := by(present(a)), by(present(b))
		switch {
		case math.IsNaN(x) || math.IsNaN(y): // series without a datapoint come last
			return int(truth(math.IsNaN(x)) - truth(math.IsNaN(y)))
		case args[2].word == "DESC":
			x, y = y, x
		}
		return int(truth(x > y) - truth(x < y))
	})
	if len(args) > 3 {
		lines = lines[:bounded(args[3], len(lines))]
	}
	return value{kind: list, lines: lines}
}

package metricmath

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// kind is what a part of an expression yields. The names are those of CloudWatch's table of functions.
type kind int

const (
	scalar kind = iota // S: one number
	series             // TS: one series
	list               // TS[]: several series
	word               // REPEAT, ASC, ...
)

// function says which arguments a function takes, and what it yields of them.
type function struct {
	min, max int
	// kind gives the kind of the answer, or "" and why the arguments are wrong.
	kind func(args []kind) (kind, string)
	eval func(e *env, args []value) value
}

// operator gives a function of two arguments, number by number.
func operator(f func(a, b float64) float64) function {
	return function{2, 2, wider, func(e *env, args []value) value { return e.zip(args[0], args[1], f) }}
}

// each gives a function of one argument, number by number.
func each(f func(v float64) float64) function {
	return function{1, 1, wider, func(e *env, args []value) value {
		return e.zip(args[0], args[0], func(v, _ float64) float64 { return f(v) })
	}}
}

// over gives a function that turns series into a number and several series into one.
func over(f func(values []float64) float64) function {
	return function{1, 1, narrower, func(e *env, args []value) value { return e.reduce(args[0], f) }}
}

// times gives a function that needs only the times of a series.
func times(f func(e *env, i int) float64) function {
	return function{1, 1, func(args []kind) (kind, string) {
		if args[0] == word {
			return 0, "its argument is neither number nor series"
		}
		return series, ""
	}, func(e *env, _ []value) value {
		out := make([]float64, len(e.times))
		for i := range out {
			out[i] = f(e, i)
		}
		return one(out)
	}}
}

// along gives a function that computes a series anew from each series.
func along(f func(e *env, in, out []float64)) function {
	return function{1, 1, seriesOnly, func(e *env, args []value) value {
		return e.mapSeries(args[0], func(in []float64) []float64 {
			out := make([]float64, len(in))
			f(e, in, out)
			return out
		})
	}}
}

func wider(args []kind) (kind, string) {
	k := scalar
	for _, a := range args {
		if a == word {
			return 0, "a word stands where a number or a series should"
		}
		k = max(k, a)
	}
	return k, ""
}

func narrower(args []kind) (kind, string) {
	switch args[0] {
	case series:
		return scalar, ""
	case list:
		return series, ""
	}
	return 0, "its argument is no series"
}

func seriesOnly(args []kind) (kind, string) {
	if args[0] != series && args[0] != list {
		return 0, "its argument is no series"
	}
	return args[0], ""
}

func listOnly(args []kind) (kind, string) {
	if args[0] != list {
		return 0, "its argument is not several series, such as METRICS()"
	}
	return list, ""
}

func always(k kind) func([]kind) (kind, string) {
	return func([]kind) (kind, string) { return k, "" }
}

// kind checks a part and tells what it yields.
func (n node) kind() (kind, error) {
	switch n.op {
	case "number":
		return scalar, nil
	case "metric":
		return series, nil
	case "text", "word":
		return word, nil
	}
	f, ok := functions[n.op]
	if n.op == band {
		return 0, &Error{n.pos + 1, band + " is what datapoints are compared with: write it as compare.band"}
	}
	if !ok {
		return 0, &Error{n.pos + 1, fmt.Sprintf("there is no function %s; there are %s", n.op, functionNames())}
	}
	if len(n.args) < f.min || len(n.args) > f.max {
		want := fmt.Sprint(f.min)
		if f.max != f.min {
			want = fmt.Sprintf("%d to %d", f.min, f.max)
		}
		return 0, &Error{n.pos + 1, fmt.Sprintf("%s has %d arguments, it takes %s", n.op, len(n.args), want)}
	}
	kinds := make([]kind, len(n.args))
	for i, a := range n.args {
		var err error
		if kinds[i], err = a.kind(); err != nil {
			return 0, err
		}
	}
	if why := n.words(kinds); why != "" {
		return 0, &Error{n.pos + 1, n.op + ": " + why}
	}
	k, why := f.kind(kinds)
	if why != "" {
		return 0, &Error{n.pos + 1, n.op + ": " + why}
	}
	if n.op == "/" && n.args[1].op == "number" && n.args[1].n == 0 {
		return 0, &Error{n.pos + 1, "it divides by zero"}
	}
	return k, nil
}

// words checks the words among the arguments, which only some functions take in some places.
func (n node) words(kinds []kind) string {
	for i, k := range kinds {
		allowed := allowedWords[n.op][i]
		if k != word {
			if len(allowed) > 0 && n.op == "SORT" {
				return fmt.Sprintf("argument %d is none of %s", i+1, strings.Join(allowed, ", "))
			}
			continue
		}
		if n.op == "METRICS" && n.args[i].op == "text" {
			continue
		}
		if n.args[i].op == "text" || !slices.Contains(allowed, n.args[i].text) {
			if len(allowed) == 0 {
				return fmt.Sprintf("%q is no metric: their names begin with a lower-case letter", n.args[i].text)
			}
			return fmt.Sprintf("%q is none of %s", n.args[i].text, strings.Join(allowed, ", "))
		}
	}
	return ""
}

var allowedWords = map[string]map[int][]string{
	"FILL": {1: {"REPEAT", "LINEAR"}},
	"SORT": {1: {"AVG", "MIN", "MAX", "SUM"}, 2: {"ASC", "DESC"}},
}

func functionNames() string {
	var names []string
	for _, n := range slices.Sorted(maps.Keys(functions)) {
		if n[0] >= 'A' && n != "OR" && n != "AND" && n != "NEGATE" && n != "^" {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

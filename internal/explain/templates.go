package explain

import (
	"cmp"
	"math"
	"slices"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// TemplateShift is a log template whose frequency, given the operation it was written in, changed.
type TemplateShift struct {
	Service, Operation string
	Template           uint64
	Severity           model.Severity
	Now, Usual         int64   // lines
	RateNow, RateUsual float64 // lines a request; lines a second where no operation is known
	// Score is the likelihood ratio, discounted where a callee's lines changed too; positive for more, negative for less.
	Score  float64
	First  time.Time // first occurrence in the bad window
	Sample string
	Trace  model.TraceID
	// Reason is what most of the lines say in a field of their own about the error they report, "" if nothing.
	Reason string `json:",omitempty"`
}

// Same tells whether two shifts are of one template.
func (t *TemplateShift) Same(o *TemplateShift) bool {
	return t.Service == o.Service && t.Template == o.Template
}

// ByTemplate joins shifts of one template in several operations, in order of their first, which is the strongest.
func ByTemplate(shifts []TemplateShift) (out []TemplateShift) {
	for i := range shifts {
		s := &shifts[i]
		k := slices.IndexFunc(out, func(o TemplateShift) bool { return o.Same(s) })
		if k < 0 {
			out = append(out, *s)
			continue
		}
		out[k].Now, out[k].Usual = out[k].Now+s.Now, out[k].Usual+s.Usual
		if !s.First.IsZero() && s.First.Before(out[k].First) {
			out[k].First = s.First
		}
	}
	return out
}

// reasonKeys are the fields in which loggers put the error that a line reports: OpenTelemetry's, then slog's, zap's,
// logrus' and Python's habits.
var reasonKeys = []string{"exception.message", "error.message", "error", "err", "exception", "cause", "reason"}

// Reason is the most frequent text in the fields that give a line's error, "" if there is none.
func Reason(lines []model.LogRecord) string {
	counts, best := map[string]int{}, ""
	for i := range lines {
		text := lines[i].Attrs.First(reasonKeys...)
		if text == "" {
			continue
		}
		counts[text]++
		if n := counts[text]; n > counts[best] || n == counts[best] && text < best {
			best = text
		}
	}
	return best
}

// Appeared tells whether the template wasn't there before.
func (t *TemplateShift) Appeared() bool { return t.Usual == 0 && t.Now > 0 }

// minTemplate is the likelihood ratio below which a change isn't one: chance gives 30 about once in 20 million, and
// lines of one request are not independent, so less would be noise.
const minTemplate = 30

// Templates finds log templates that appeared, vanished or changed their share. Frequencies are taken given the
// operation: lines in a's window per request of the operation in that window, so that a change of the mix of work
// doesn't make its rare lines look new. calls says how often each service's operations ran, in the two windows.
func Templates(counts []store.TemplateCount, now, usual []store.OperationStat, bad, normal store.Window, edges []store.EdgeStat) []TemplateShift {
	requests := func(stats []store.OperationStat) map[[2]string]int64 {
		m := map[[2]string]int64{}
		for _, s := range stats {
			if s.Kind.Entry() {
				m[[2]string{s.Service, s.Operation}] += s.Count
			}
		}
		return m
	}
	a, b := requests(now), requests(usual)
	var out []TemplateShift
	for _, c := range counts {
		key := [2]string{c.Service, c.Operation}
		x, y := float64(a[key]), float64(b[key])
		if c.Operation == "" {
			x, y = bad.Len().Seconds(), normal.Len().Seconds()
		}
		if x == 0 || y == 0 {
			// An operation that ran in one window only has nothing to be compared with.
			continue
		}
		s := TemplateShift{
			Service: c.Service, Operation: c.Operation, Template: c.Template, Severity: c.Severity,
			Now: c.A, Usual: c.B, RateNow: round(float64(c.A) / x), RateUsual: round(float64(c.B) / y),
			First: c.FirstA, Sample: c.Sample, Trace: c.SampleTrace, Score: gRates(c.A, c.B, x, y),
		}
		if s.RateNow < s.RateUsual {
			s.Score = -s.Score
		}
		if math.Abs(s.Score) >= minTemplate {
			out = append(out, s)
		}
	}
	discount(out, edges)
	out = slices.DeleteFunc(out, func(s TemplateShift) bool { return math.Abs(s.Score) < minTemplate/2 })
	for i := range out {
		out[i].Score = round(out[i].Score)
	}
	slices.SortFunc(out, func(x, y TemplateShift) int {
		return cmp.Or(cmp.Compare(weight(&y), weight(&x)), cmp.Compare(x.Service, y.Service),
			cmp.Compare(x.Template, y.Template), cmp.Compare(x.Operation, y.Operation))
	})
	return out
}

// weight orders shifts for people: new and severe lines say more than old ones that became frequent, and lines that
// vanished say least.
func weight(s *TemplateShift) float64 {
	w := math.Abs(s.Score)
	if s.Severity >= 13 {
		w *= 2
	}
	if s.Appeared() {
		w *= 1.5
	}
	if s.Score < 0 {
		w /= 4
	}
	return w
}

// discount lowers the shifts of services one of whose callees shifted as much: a caller complains of what its callee
// did.
func discount(shifts []TemplateShift, edges []store.EdgeStat) {
	strongest := map[string]float64{}
	for i := range shifts {
		if s := &shifts[i]; s.Score > strongest[s.Service] {
			strongest[s.Service] = s.Score
		}
	}
	callees := map[string][]string{}
	for _, e := range edges {
		if e.Kind == store.EdgeCall && e.From != e.To {
			callees[e.From] = append(callees[e.From], e.To)
		}
	}
	below := map[string]float64{}
	var visit func(service string, seen map[string]bool) float64
	visit = func(service string, seen map[string]bool) float64 {
		best := 0.0
		for _, c := range callees[service] {
			if !seen[c] {
				seen[c] = true
				best = max(best, strongest[c], visit(c, seen))
			}
		}
		return best
	}
	for service := range strongest {
		below[service] = visit(service, map[string]bool{service: true})
	}
	for i := range shifts {
		s := &shifts[i]
		if s.Score > 0 && below[s.Service] > 0 {
			s.Score *= 1 - 0.7*min(1, below[s.Service]/s.Score)
		}
	}
}

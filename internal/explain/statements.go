package explain

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// StatementKeys say what a database call asks: the text itself or its summary, by OpenTelemetry's names.
var StatementKeys = []string{"db.query.text", "db.statement", "db.query.summary"}

// Statement is one statement that a service sends to its database, with all its calls in the two windows.
type Statement struct {
	Text       string
	Now, Usual Calls
	// Bad are the calls within some of the affected requests.
	Bad Calls
	// Quick is how long the quickest tenth of some of its calls takes at most, of Sampled ones since the onset.
	Quick   float64
	Sampled int
	// Operation is the entry operation of the service that sends it most often.
	Operation string
}

// Calls is how many calls there were and how long they took on average, in seconds.
type Calls struct {
	Count int64
	Mean  float64
}

// locks tells whether a statement takes row or table locks that others may hold: it writes, or says so. Plain reads
// take none in databases with several versions of a row (PostgreSQL 17 manual, 13.3).
func (s *Statement) locks() bool {
	text := strings.ToLower(s.Text)
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch first {
	case "insert", "update", "delete", "merge", "replace", "lock", "alter", "drop", "truncate", "create":
		return true
	}
	return first == "select" && (strings.Contains(text, " for update") || strings.Contains(text, " for share") ||
		strings.Contains(text, " for no key update") || strings.Contains(text, " for key share"))
}

// added is how much more time all its calls took than as many would have before, in seconds.
func (s *Statement) added() float64 {
	if s.Usual.Count == 0 {
		return 0
	}
	return max(0, s.Now.Mean-s.Usual.Mean) * float64(s.Now.Count)
}

// lost is the same of the affected requests alone.
func (s *Statement) lost() float64 {
	if s.Usual.Count == 0 {
		return 0
	}
	return max(0, s.Bad.Mean-s.Usual.Mean) * float64(s.Bad.Count)
}

// waits tells how surely calls became slow by waiting for something that now is there and now is not: the mean grew, while
// the quickest are as quick as ever; or, where everybody waits, some wait far less than others and what need not wait is as
// quick as usual. What takes more work takes it each time, and about as long.
func (s *Statement) waits(othersAsUsual float64) float64 {
	if s.Sampled < 4 || s.Usual.Count == 0 {
		return 0
	}
	quick := 1 - ramp(ratio(s.Quick, s.Usual.Mean, 0.5e-3), 2, 5)
	uneven := 1 - ramp(ratio(s.Quick, s.Now.Mean, 0.5e-3), 0.5, 0.8)
	return max(quick, 0.9*uneven*othersAsUsual) * ramp(ratio(s.Now.Mean, s.Usual.Mean, 0.5e-3), 2, 6)
}

// Statements joins what is known of a service's statements: the answer of AttributeDifference about all calls, some traces
// since the onset with such calls, and some of the affected requests. The order is that of the time they add, most first.
func Statements(d store.Difference, calling, bad []locate.Trace, service string) []Statement {
	by := map[string]*Statement{}
	key := statementKey(d)
	for _, v := range d.Values {
		if v.Key != key || key == "" {
			continue
		}
		s := &Statement{Text: v.Value}
		if v.A > 0 {
			s.Now = Calls{v.A, round(v.SecondsA / float64(v.A))}
		}
		if v.B > 0 {
			s.Usual = Calls{v.B, round(v.SecondsB / float64(v.B))}
		}
		by[v.Value] = s
	}
	took := map[string][]float64{}
	sent := map[string]map[string]int{}
	seen := map[model.TraceID]bool{}
	for _, tr := range bad {
		for i := range tr.Spans {
			x := &tr.Spans[i]
			if s := by[x.Attrs.Str(key)]; s != nil && x.Service() == service {
				s.Bad.Count++
				s.Bad.Mean += (float64(x.Duration)/1e9 - s.Bad.Mean) / float64(s.Bad.Count)
			}
		}
	}
	for _, tr := range slices.Concat(calling, bad) {
		if len(tr.Spans) == 0 || seen[tr.Spans[0].TraceID] {
			continue
		}
		seen[tr.Spans[0].TraceID] = true
		byID := map[model.SpanID]*model.Span{}
		for i := range tr.Spans {
			byID[tr.Spans[i].SpanID] = &tr.Spans[i]
		}
		for i := range tr.Spans {
			s := &tr.Spans[i]
			text := s.Attrs.Str(key)
			if s.Service() != service || text == "" || by[text] == nil {
				continue
			}
			took[text] = append(took[text], float64(s.Duration)/1e9)
			at := s
			for range tr.Spans { // a chain longer than the trace is a cycle
				if at.Kind.Entry() || byID[at.ParentID] == nil {
					break
				}
				at = byID[at.ParentID]
			}
			if sent[text] == nil {
				sent[text] = map[string]int{}
			}
			sent[text][at.Name]++
		}
	}
	out := make([]Statement, 0, len(by))
	for text, s := range by {
		s.Bad.Mean = round(s.Bad.Mean)
		if t := sorted(took[text]); len(t) > 0 {
			s.Sampled, s.Quick = len(t), round(t[len(t)/10])
		}
		for _, op := range slices.Sorted(maps.Keys(sent[text])) {
			if sent[text][op] > sent[text][s.Operation] {
				s.Operation = op
			}
		}
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Statement) int {
		return cmp.Or(cmp.Compare(round(b.added()), round(a.added())), cmp.Compare(b.Now.Count, a.Now.Count), cmp.Compare(a.Text, b.Text))
	})
	return out[:min(len(out), maxStatements)]
}

// maxStatements bounds the statements of a service that are kept: those that add the most time come first.
const maxStatements = 30

// statementKey is the first of StatementKeys that any call has.
func statementKey(d store.Difference) string {
	for _, key := range StatementKeys {
		if slices.ContainsFunc(d.Values, func(v store.DifferenceValue) bool { return v.Key == key }) {
			return key
		}
	}
	return ""
}

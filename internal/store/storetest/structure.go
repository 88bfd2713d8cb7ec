package storetest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// testSearchWords looks for wildcards in the text of logs and spans, which cover words and not the whole text.
func testSearchWords(t *testing.T, s store.Events) {
	texts := []string{"a Timeout occurred", "notimeout", "timeou", "time\nout", "times, pool_size=4", "어제결제가 실패했습니다", "from 110.0.3.4", "at 10.0.3.4:80", "100% *done*", ""}
	var spans []model.Span
	var logs []model.LogRecord
	for i, text := range texts {
		at := ns(time.Duration(i) * time.Second)
		logs = append(logs, model.LogRecord{Time: at, Body: model.String(text), Resource: resource("cart"), Attrs: model.Attrs{str("text", text)}})
		spans = append(spans, model.Span{TraceID: traceID(1), SpanID: spanID(i + 1), Start: at, Name: "do", StatusMessage: text, Resource: resource("cart")})
	}
	fill(t, s, spans, logs)
	for _, c := range []struct {
		q    string
		want []string
	}{
		{"timeou*", []string{"timeou", "a Timeout occurred"}},
		{"TIMEOU*", []string{"timeou", "a Timeout occurred"}},
		{"*timeout", []string{"notimeout", "a Timeout occurred"}},
		{"t*t", []string{"a Timeout occurred"}},
		{"ti?es", []string{"times, pool_size=4"}},
		{"tim?", []string{"time\nout"}},
		{"pool*", []string{"times, pool_size=4"}},
		{"*ize=?", []string{"times, pool_size=4"}},
		{"결제*", []string{"어제결제가 실패했습니다"}},
		{"10.0.*", []string{"at 10.0.3.4:80"}},
		{`\*do*`, []string{"100% *done*"}},
		{"timeou* OR tim?s", []string{"times, pool_size=4", "timeou", "a Timeout occurred"}},
	} {
		where, err := search.Parse(c.q)
		if err != nil {
			t.Fatal(err)
		}
		page, err := s.Logs(t.Context(), store.Query{Window: all, Where: where, Limit: 100})
		got := []string{}
		for _, l := range page.Rows {
			got = append(got, l.Body.Str())
		}
		check(t, "logs "+c.q, got, err, c.want)
		found, err := s.Spans(t.Context(), store.Query{Window: all, Where: where, Limit: 100})
		got = got[:0]
		for _, x := range found.Rows {
			got = append(got, x.StatusMessage)
		}
		check(t, "spans "+c.q, got, err, c.want)
	}
	// An attribute is compared as a whole.
	page, err := s.Logs(t.Context(), store.Query{Window: all, Where: search.Match{Field: "text", Op: search.Prefix, Value: "timeou"}, Limit: 100})
	check(t, "attribute", len(page.Rows), err, 1)
}

// randomTraces makes small traces with orphans, roots, self-parents, cycles and span IDs that occur twice, or in several
// traces.
func randomTraces(r *rand.Rand, traces int) []model.Span {
	services := []*model.Resource{resource("a"), resource("b"), resource("c")}
	var spans []model.Span
	for trace := range traces {
		for range 1 + r.IntN(9) {
			spans = append(spans, model.Span{TraceID: traceID(trace + 1), SpanID: spanID(1 + r.IntN(8)), ParentID: spanID(r.IntN(10)), Name: "do",
				Status: model.StatusCode(r.IntN(3)), Start: ns(time.Duration(len(spans)) * time.Second), Resource: services[r.IntN(3)]})
		}
	}
	r.Shuffle(len(spans), func(i, j int) { spans[i].Start, spans[j].Start = spans[j].Start, spans[i].Start })
	return spans
}

// related is search.Related in plain Go: all ways through the trace are tried.
func related(rel search.Relation, spans []model.Span, b *model.Span, of func(*model.Span) bool) bool {
	// reaches tells whether one comes from a parent's ID to target over any spans of the trace.
	var reaches func(trace model.TraceID, id, target model.SpanID, seen map[model.SpanID]bool) bool
	reaches = func(trace model.TraceID, id, target model.SpanID, seen map[model.SpanID]bool) bool {
		if id.IsZero() || seen[id] {
			return false
		}
		if id == target {
			return true
		}
		seen[id] = true
		for i := range spans {
			x := &spans[i]
			if x.TraceID == trace && x.SpanID == id && reaches(trace, x.ParentID, target, seen) {
				return true
			}
		}
		return false
	}
	parent := func(x *model.Span) model.SpanID {
		if x.ParentID == x.SpanID {
			return model.SpanID{}
		}
		return x.ParentID
	}
	for i := range spans {
		a := &spans[i]
		if a.TraceID != b.TraceID || a.SpanID == b.SpanID || !of(a) {
			continue
		}
		ok := false
		switch rel {
		case search.Child:
			ok = parent(b) == a.SpanID
		case search.Parent:
			ok = parent(a) == b.SpanID
		case search.Descendant:
			ok = reaches(b.TraceID, parent(b), a.SpanID, map[model.SpanID]bool{})
		case search.Ancestor:
			ok = reaches(b.TraceID, parent(a), b.SpanID, map[model.SpanID]bool{})
		case search.Sibling:
			ok = !parent(a).IsZero() && parent(a) == parent(b)
		}
		if ok {
			return true
		}
	}
	return false
}

// met is a search of services, statuses and relations in plain Go.
func met(e search.Expr, spans []model.Span, x *model.Span) bool {
	switch e := e.(type) {
	case search.And:
		return !slices.ContainsFunc(e, func(p search.Expr) bool { return !met(p, spans, x) })
	case search.Or:
		return slices.ContainsFunc(e, func(p search.Expr) bool { return met(p, spans, x) })
	case search.Not:
		return !met(e.Expr, spans, x)
	case search.Related:
		return met(e.Want, spans, x) && related(e.Relation, spans, x, func(a *model.Span) bool { return met(e.Of, spans, a) })
	case search.Match:
		if e.Field == "status" {
			return x.Status.String() == e.Value
		}
		return x.Service() == e.Value
	}
	return true
}

func testSearchRelations(t *testing.T, s store.Events) {
	spans := randomTraces(rand.New(rand.NewPCG(7, 11)), 60)
	// The same spans of another tenant, who alone has a service d above all.
	other := slices.Clone(spans)
	for i := range other {
		other[i].Resource = resource("d")
	}
	if _, err := s.Append(t.Context(), &model.Batch{Tenant: "other", Spans: other}); err != nil {
		t.Fatal(err)
	}
	fill(t, s, spans, []model.LogRecord{{Time: ns(0), Body: model.String("child"), Resource: resource("a")}})
	newest := slices.Clone(spans)
	slices.SortFunc(newest, func(a, b model.Span) int { return cmp.Compare(b.Start, a.Start) })
	var texts []string
	for _, rel := range []string{"child", "parent", "descendant", "ancestor", "sibling"} {
		for _, args := range []string{"(service:a, service:b)", "(status:error, *)", "(*, service:a AND NOT status:ok)", "(service:d, *)"} {
			texts = append(texts, rel+args)
		}
	}
	texts = append(texts, "descendant(service:a, child(service:b, service:c))", "child(parent(service:a, *), status:error)",
		"NOT child(*, *)", "NOT ancestor(service:a, *) service:c", "sibling(service:a, *) OR child(service:b, service:c)",
		"service:b NOT (descendant(status:error, *) OR status:ok)", "parent(NOT child(service:a, *), NOT sibling(*, *))")
	for i, text := range texts {
		where, err := search.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		want := filter(newest, func(x *model.Span) bool { return met(where, spans, x) })
		page, err := s.Spans(t.Context(), store.Query{Window: all, Where: where, Limit: len(spans)})
		check(t, text, page.Rows, err, want)
		if page.More || page.Partial != "" {
			t.Errorf("%s: more %v, partial %q", text, page.More, page.Partial)
		}
		if len(want) < 3 || i%3 != 0 {
			continue
		}
		page, err = s.Spans(t.Context(), store.Query{Window: all, Where: where, Limit: 2})
		check(t, text+", the newest two", page.Rows, err, want[:2])
		if !page.More {
			t.Errorf("%s: no more than two", text)
		}
		// The window restricts what is returned, not what stands around it.
		w := store.Window{From: time.Unix(0, want[2].Start), To: time.Unix(0, want[0].Start)}
		page, err = s.Spans(t.Context(), store.Query{Window: w, Where: where, Limit: 10})
		check(t, text+", in a window", page.Rows, err, want[1:3])
	}
	page, err := s.Logs(t.Context(), store.Query{Window: all, Where: search.Related{Of: search.All{}, Want: search.All{}}, Limit: 1})
	check(t, "logs have no relations", page.Rows, err, nil)
	if _, err := s.Spans(t.Context(), store.Query{Window: all, Limit: 1,
		Where: search.Related{Of: search.Match{Field: "k", Op: search.Regexp, Value: "("}, Want: search.All{}}}); err == nil {
		t.Error("a malformed regular expression is no error")
	}
}

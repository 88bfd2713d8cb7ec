package events

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// oddTexts are words that differ in how they fold, bound and sort, and what may stand between them.
var oddTexts = []string{"", "test", "TEST", "teſt", "xtest", "k", "K", "\u212a", "okay", "o\u212aAY", "I", "i", "İ", "ı", "foİ", "foi", "ſ", "s", "straße",
	"결제", "실패", "ошибка", "ОШИБКА", "é", "e\u0301", "É", "a_b", "a-b", "4711", "47", "x=1", "²", "true", "False", "-1.5", "\uffff", "\n", "👍", "'"}

func oddText(r *rand.Rand) string {
	glue := []string{"", " ", ".", "_", "é", "\n", "\u0301", " the quick brown fox "}
	out := oddTexts[r.IntN(len(oddTexts))]
	for range r.IntN(4) {
		out += glue[r.IntN(len(glue))] + oddTexts[r.IntN(len(oddTexts))]
	}
	return out
}

// oddValue is of a type that depends on the key mostly, so that each has a column, and some values do not fit into it.
func oddValue(r *rand.Rand, key string) model.Value {
	if r.IntN(12) == 0 {
		key = []string{"text", "int", "double", "bool"}[r.IntN(4)]
	}
	switch key {
	case "int":
		return model.Int([]int64{0, 1, -1, 47, 4711, 1<<62 + 1}[r.IntN(6)])
	case "double":
		return model.Double([]float64{0, 0.5, -1.5, 47, 1e300}[r.IntN(5)])
	case "bool":
		return model.Bool(r.IntN(2) == 0)
	}
	return model.String(oddText(r))
}

// oddSearch is a search for what oddText and oddValue make.
func oddSearch(r *rand.Rand, depth int) search.Expr {
	if depth > 0 && r.IntN(2) == 0 {
		a, b := oddSearch(r, depth-1), oddSearch(r, depth-1)
		switch r.IntN(3) {
		case 0:
			return search.And{a, b}
		case 1:
			return search.Or{a, b}
		}
		return search.Not{Expr: a}
	}
	fields := []string{"", "", "", "body", "operation", "service", "status_message", "event_name", "scope", "kind", "status", "severity", "duration", "time", "trace",
		"span", "parent", "template", "text", "int", "double", "bool", "te.xt", "te_xt", "host", "nowhere"}
	m := search.Match{Field: fields[r.IntN(len(fields))], Op: search.Op(r.IntN(int(search.LessEqual) + 1)), Value: oddText(r)}
	if r.IntN(3) == 0 {
		m.Value = oddTexts[r.IntN(len(oddTexts))]
	}
	switch m.Field {
	case "kind":
		m.Value = []string{"server", "client", "internal", "odd"}[r.IntN(4)]
	case "status":
		m.Value = []string{"error", "ok", "unset", "7"}[r.IntN(4)]
	case "severity":
		m.Value = []string{"error", "WARN", "17", "0", "24", "trace"}[r.IntN(6)]
	case "duration":
		m.Value = []string{"2ms", "0.001", "0", "-1", "long", "300000000000"}[r.IntN(6)]
	case "time":
		m.Value = testTime.Add(time.Duration(r.IntN(200))).Format(time.RFC3339Nano)
	case "trace":
		m.Value = model.TraceIDFrom(uint64(r.IntN(3)), uint64(r.IntN(60))).String()
	case "span", "parent":
		m.Value = model.SpanIDFrom(uint64(r.IntN(60))).String()
	case "template":
		m.Value = fmt.Sprintf("%016x", r.IntN(4))
	case "int", "double", "bool":
		m.Value = []string{"47", "0", "-1", "-1.5", "true", "FALSE", "0.5", "1ms", "4711", "x", "4611686018427387904"}[r.IntN(11)]
	}
	if m.Op == search.Regexp || m.Op == search.Glob {
		m.Op = search.Prefix // DuckDB alone decides these
	}
	if m.Op == search.Exists {
		m.Value = ""
	}
	return m
}

// TestTestedLikeSQL asks random searches twice: tested here, and by SQL.
func TestTestedLikeSQL(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	ctx := t.Context()
	for n := uint64(1); n < 200; {
		var b model.Batch
		for range 10 {
			src := &model.Resource{Service: oddText(r), Attrs: model.Attrs{{Key: "host", Value: model.String(oddText(r))}}}
			attrs := model.Attrs{}
			for _, key := range []string{"text", "int", "double", "bool", "te.xt", "host"} {
				if r.IntN(3) > 0 {
					attrs = append(attrs, model.Attr{Key: key, Value: oddValue(r, key)})
				}
			}
			if r.IntN(3) == 0 {
				src.Attrs = append(src.Attrs, model.Attr{Key: "te_xt", Value: oddValue(r, "int")})
			}
			at, trace := testTime.UnixNano()+int64(n), model.TraceIDFrom(n%2, n/3)
			b.Logs = append(b.Logs, model.LogRecord{Time: at, SpanID: model.SpanIDFrom(n), TraceID: trace, Body: model.String(oddText(r)),
				EventName: oddText(r), Severity: model.Severity(r.IntN(25)), Template: uint64(r.IntN(3)), Attrs: attrs, Resource: src})
			b.Spans = append(b.Spans, model.Span{Start: at, SpanID: model.SpanIDFrom(n), ParentID: model.SpanIDFrom(n / 2), TraceID: trace, Name: oddText(r), StatusMessage: oddText(r),
				Kind: model.SpanKind(r.IntN(6)), Status: model.StatusCode(r.IntN(3)), Duration: int64(r.IntN(4)) * 1e6,
				Events: []model.SpanEvent{{Name: oddText(r)}}, Attrs: attrs, Resource: src, Scope: &model.Scope{Name: oddText(r)}})
			n++
		}
		if _, err := s.Append(ctx, &b); err != nil {
			t.Fatal(err)
		}
		if n%30 == 1 {
			if err := s.flushAll(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	answer := func(q store.Query) (out string) {
		found, err := s.Spans(ctx, q)
		if err != nil {
			t.Fatalf("%s: %v", q.Where, err)
		}
		lines, err := s.Logs(ctx, q)
		if err != nil {
			t.Fatalf("%s: %v", q.Where, err)
		}
		for _, x := range found.Rows {
			out += fmt.Sprint(" ", x.SpanID.Uint64())
		}
		for _, x := range lines.Rows {
			out += fmt.Sprint(" log", x.SpanID.Uint64())
		}
		return fmt.Sprint(out, found.More, lines.More)
	}
	rows := 0
	for range 400 {
		q := store.Query{Where: oddSearch(r, 3), Limit: 1 + r.IntN(250)}
		if r.IntN(3) == 0 {
			q.From, q.To = testTime.Add(time.Duration(r.IntN(200))), testTime.Add(time.Duration(r.IntN(250)))
		}
		s.opts.onlySQL = false
		tested := answer(q)
		s.opts.onlySQL = true
		if d := cmp.Diff(answer(q), tested); d != "" {
			t.Errorf("%q, limit %d, from %s to %s: tested (+), by SQL (-):\n%s", q.Where, q.Limit, q.From, q.To, d)
		}
		rows += strings.Count(tested, " ")
	}
	if rows < 1000 {
		t.Errorf("only %d rows were found", rows)
	}
}

// TestRowsOfManyPages finds rows that lie far apart in a block of two row groups, and wants them whole.
func TestRowsOfManyPages(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	ctx := t.Context()
	all := benchSpans(rowGroupRows+20_000, 0)
	var want []model.Span
	for i := range all {
		x := &all[i]
		if i%3 == 0 {
			x.Attrs = x.Attrs[:6]
		}
		if i%997 == 5 { // lists are in rest
			x.Attrs = append(x.Attrs[:len(x.Attrs):len(x.Attrs)], model.Attr{Key: "args", Value: model.List(fmt.Sprintf(`["a",%d]`, i))},
				model.Attr{Key: "more", Value: model.Bytes([]byte{byte(i), byte(i >> 8)})})
		}
		if i%1999 < 2 {
			x.StatusMessage = "needle"
			x.Events = []model.SpanEvent{{Name: "event", Time: x.Start, Attrs: model.Attrs{{Key: "row", Value: model.Int(int64(i))}}}}
			x.Links = []model.Link{{TraceID: model.TraceIDFrom(1, uint64(i)), SpanID: model.SpanIDFrom(uint64(i) + 1)}}
			want = append(want, *x)
		}
	}
	if _, err := s.Append(ctx, &model.Batch{Spans: all}); err != nil {
		t.Fatal(err)
	}
	if err := s.flushAll(ctx); err != nil {
		t.Fatal(err)
	}
	page, err := s.Spans(ctx, store.Query{Where: search.Match{Op: search.Word, Value: "Needle"}, Limit: len(want) + 1})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(want)
	if d := cmp.Diff(want, page.Rows, asGiven); d != "" {
		t.Errorf("rows differ (-want +got):\n%.3000s", d)
	}
	// Of more rows than wanted, the newest.
	page, err = s.Spans(ctx, store.Query{Where: search.Match{Op: search.Word, Value: "needle"}, Limit: 3})
	if err != nil || len(page.Rows) != 3 || !page.More || page.Rows[0].SpanID != want[0].SpanID {
		t.Errorf("%d rows, more %t, error %v", len(page.Rows), page.More, err)
	}
}

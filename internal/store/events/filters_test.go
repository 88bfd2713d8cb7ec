package events

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// dropFilters makes the store's blocks ones without filters.
func (s *Store) dropFilters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.catalog.all() {
		b.layout.Filters = nil
	}
}

// TestFiltersChangeNoAnswer asks the same of blocks with filters and without, in texts and words of every sort.
func TestFiltersChangeNoAnswer(t *testing.T) {
	parts := []string{"", "test", "TEST", "teſt", "xtest", "k", "K", "\u212a", "okay", "o\u212aAY", "I", "i", "İ", "ı", "foİ", "foi", "ſ", "s", "straße", "STRASSE",
		"결제", "실패", "ошибка", "ОШИБКА", "é", "e\u0301", "É", "a_b", "a-b", "4711", "x=1", "²", "½", "\x00", "\xff", "\uffff", notUTF8 + "eA==", "\n", "👍", "'", "\"", "\\", "٣"}
	glue := []string{"", " ", ".", ":", "_", "é", "\n", "\u200b", "\u0301"}
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		out := parts[r.IntN(len(parts))]
		for range r.IntN(3) {
			out += glue[r.IntN(len(glue))] + parts[r.IntN(len(parts))]
		}
		return out
	}
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	ctx := t.Context()
	n := uint64(0)
	for range 6 {
		var b model.Batch
		for range 3 {
			n++
			src := &model.Resource{Service: text(), Attrs: model.Attrs{{Key: "host", Value: model.String(text())}}}
			key := model.String(text())
			if r.IntN(8) == 0 {
				key = model.Int(4711)
			}
			attrs := model.Attrs{{Key: "k.ey", Value: key}}
			at := testTime.UnixNano() + int64(n)
			b.Logs = append(b.Logs, model.LogRecord{Time: at, SpanID: model.SpanIDFrom(n), TraceID: model.TraceIDFrom(n%2, n/3), Body: model.String(text()),
				EventName: text(), Attrs: attrs, Resource: src})
			b.Spans = append(b.Spans, model.Span{Start: at, SpanID: model.SpanIDFrom(n), TraceID: model.TraceIDFrom(n%2, n/3), Name: text(), StatusMessage: text(),
				Events: []model.SpanEvent{{Name: text()}, {Name: text()}}, Attrs: attrs, Resource: src, Scope: &model.Scope{Name: text()}})
		}
		if _, err := s.Append(ctx, &b); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(ctx); err != nil {
			t.Fatal(err)
		}
	}
	fields := []string{"", "", "", "body", "operation", "service", "status_message", "event_name", "scope", "k.ey", "k_ey", "host", "trace", "service.name"}
	match := func() search.Expr {
		m := search.Match{Field: fields[r.IntN(len(fields))], Op: []search.Op{search.Equal, search.Word, search.Prefix, search.Exists}[r.IntN(4)], Value: text()}
		if m.Field == "trace" {
			m.Value = model.TraceIDFrom(n%2, uint64(r.IntN(20))).String()
		}
		return m
	}
	var asked []search.Expr
	for i := range 48 {
		e := match()
		switch i % 6 {
		case 3:
			e = search.And{e, match()}
		case 4:
			e = search.Or{e, match()}
		case 5:
			e = search.And{search.Not{Expr: e}, search.Or{match(), match()}}
		}
		asked = append(asked, e)
	}
	answers := func() (out []string) {
		for i, e := range asked {
			q := store.Query{Where: e, Limit: 1000}
			var found store.Page[model.Span]
			var lines store.Page[model.LogRecord]
			var err error
			if i/6%2 == 0 {
				found, err = s.Spans(ctx, q)
			} else {
				lines, err = s.Logs(ctx, q)
			}
			if err != nil {
				t.Fatalf("%s: %v", e, err)
			}
			text := fmt.Sprintf("%q:", e)
			for _, x := range found.Rows {
				text += fmt.Sprint(" ", x.SpanID.Uint64())
			}
			for _, x := range lines.Rows {
				text += fmt.Sprint(" log", x.SpanID.Uint64())
			}
			out = append(out, text)
		}
		return out
	}
	pruned := answers()
	s.dropFilters()
	if d := cmp.Diff(answers(), pruned); d != "" {
		t.Errorf("with filters (+) the answers are others than without (-):\n%s", d)
	}
}

// TestFiltersFold compares what DuckDB takes for the same, or for a word of a text, with what filters do.
func TestFiltersFold(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	r := rand.New(rand.NewPCG(3, 4))
	letters := []rune("sSſkK\u212aiIİı1 .é٣")
	text := func(most int) string {
		out := make([]rune, 1+r.IntN(most))
		for i := range out {
			out[i] = letters[r.IntN(len(letters))]
		}
		return string(out)
	}
	matched := 0
	for range 4 {
		var texts, words []string
		var conds []string
		for range 60 {
			x, w := text(2), text(1)
			texts, words = append(texts, x), append(words, w)
			for _, op := range []search.Op{search.Equal, search.Word} {
				conds = append(conds, "CASE WHEN "+compare(operand{sql: quote(x), typ: typeText}, search.Match{Op: op, Value: w})+" THEN '1' ELSE '0' END")
			}
		}
		answer := ""
		err := s.engine.query(t.Context(), "SELECT concat("+strings.Join(conds, ",")+")", func(scan func(...any) error) error { return scan(&answer) })
		if err != nil || len(answer) != len(conds) {
			t.Fatalf("%d answers of %d, %v", len(answer), len(conds), err)
		}
		for i, x := range texts {
			has := map[uint64]bool{}
			eachWord(x, nil, func(h uint64) { has[h] = true })
			missing := false
			eachWord(words[i], nil, func(h uint64) { missing = missing || !has[h] })
			if answer[2*i] == '1' || answer[2*i+1] == '1' {
				matched++
				if missing {
					t.Errorf("%+q matches %+q, but its words are others", words[i], x)
				}
			}
			a, _ := hashValue("c", x, nil)
			b, _ := hashValue("c", words[i], nil)
			if answer[2*i] == '1' && a != b {
				t.Errorf("%+q equals %+q, but not their hashes", words[i], x)
			}
		}
	}
	if matched < 8 {
		t.Errorf("only %d pairs match", matched)
	}
}

// TestFiltersPassOver looks at what is read of a block of two row groups, and that filters that are damaged hide nothing.
func TestFiltersPassOver(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	ctx := t.Context()
	all := make([]model.Span, rowGroupRows+1000)
	r := &model.Resource{Service: "frontend"}
	for i := range all {
		all[i] = model.Span{TraceID: model.TraceIDFrom(1, uint64(i)), SpanID: model.SpanIDFrom(uint64(i + 1)), Name: "GET", Start: testTime.UnixNano() + int64(i), Resource: r}
	}
	last := &all[rowGroupRows+10]
	last.StatusMessage, last.Attrs = "card Declined: 4711", model.Attrs{{Key: "ticket", Value: model.String("Ab-1")}}
	for i := range 60 { // so that the key has a column
		all[i].Attrs = model.Attrs{{Key: "ticket", Value: model.String(fmt.Sprint("x", i))}}
	}
	if _, err := s.Append(ctx, &model.Batch{Spans: all}); err != nil {
		t.Fatal(err)
	}
	if err := s.flushAll(ctx); err != nil {
		t.Fatal(err)
	}
	b := s.catalog.blocks[partition{model.DefaultTenant, spans}][0]
	c := &compiler{signal: spans, layout: b.layout, refs: map[string]string{}, block: b}
	second := [][2]int64{{rowGroupRows, 2*rowGroupRows - 1}}
	for _, x := range []struct {
		name string
		need need
		want [][2]int64
	}{
		{"trace", needTraces([]model.TraceID{last.TraceID}), second},
		{"no such trace", needTraces([]model.TraceID{model.TraceIDFrom(9, 9)}), nil},
		{"word", c.needs(search.Match{Op: search.Word, Value: "DECLINED"}), second},
		{"phrase", c.needs(search.Match{Op: search.Word, Value: "declined: 4711"}), second},
		{"part of a word", c.needs(search.Match{Op: search.Word, Value: "decline"}), nil},
		{"value", c.needs(search.Match{Field: "ticket", Value: "AB-1"}), second},
		{"no such value", c.needs(search.Match{Field: "ticket", Value: "Ab"}), nil},
		{"one of two", c.needs(search.Or{search.Match{Op: search.Word, Value: "nothing"}, search.Match{Op: search.Word, Value: "card"}}), second},
	} {
		runs, whole := s.catalog.filters.stretches(b, x.need)
		if d := cmp.Diff(x.want, runs); d != "" || whole {
			t.Errorf("%s: whole is %t, stretches differ:\n%s", x.name, whole, d)
		}
	}
	for _, e := range []search.Expr{search.Match{Op: search.Prefix, Value: "declined"}, search.Not{Expr: search.Match{Op: search.Word, Value: "nothing"}},
		search.Match{Field: "status", Value: "error"}, search.All{}} {
		if _, whole := s.catalog.filters.stretches(b, c.needs(e)); !whole {
			t.Errorf("%s: not all of the block is read", e)
		}
	}
	page, err := s.Spans(ctx, store.Query{Where: search.Match{Op: search.Word, Value: "declined"}, Limit: 10})
	if err != nil || len(page.Rows) != 1 || page.Rows[0].SpanID != last.SpanID {
		t.Errorf("found %d spans, %v", len(page.Rows), err)
	}
	damaged := &block{path: b.path, layout: &layout{Rows: b.layout.Rows, Filters: &filterSection{section{b.layout.Filters.Size, b.layout.Filters.CRC + 1}, rowGroupRows}}}
	if _, whole := s.catalog.filters.stretches(damaged, needTraces([]model.TraceID{model.TraceIDFrom(9, 9)})); !whole {
		t.Error("filters with a wrong checksum are believed")
	}
}

// TestFiltersBeyondMemory keeps the filters of one block of three in memory: the others' are read from their files.
func TestFiltersBeyondMemory(t *testing.T) {
	for _, memory := range []int64{1, 3000, 1 << 20} {
		s := openTest(t, t.TempDir(), func(o *Options) { o.filterMemory = memory })
		ctx := t.Context()
		all := benchSpans(3000, 0)
		for i := range 3 {
			if _, err := s.Append(ctx, &model.Batch{Spans: all[1000*i : 1000*i+1000]}); err != nil {
				t.Fatal(err)
			}
			if err := s.flushAll(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 300 {
			x := &all[i*997%len(all)]
			if got, err := s.Trace(ctx, "", x.TraceID); err != nil || len(got) != 8 {
				t.Fatalf("%d bytes: trace of span %d: %d spans, %v", memory, i, len(got), err)
			}
			if _, err := s.Trace(ctx, "", model.TraceIDFrom(uint64(i), 1)); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("%d bytes: a trace that is not there: %v", memory, err)
			}
		}
		inMemory := 0
		for _, b := range s.catalog.all() {
			if _, ok := s.catalog.filters.of(b); ok {
				inMemory++
			}
		}
		if held := s.catalog.filters.held; held > memory || (inMemory == 3) != (memory == 1<<20) {
			t.Errorf("%d bytes: %d bytes of the filters of %d blocks are in memory", memory, held, inMemory)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBloom(t *testing.T) {
	for _, n := range []int{0, 1, 25, 26, 1000, 100_000} {
		r := rand.New(rand.NewPCG(uint64(n), 1))
		hashes := make([]uint64, n)
		for i := range hashes {
			hashes[i] = r.Uint64()
		}
		f := newBloom(hashes)
		for _, h := range hashes {
			if !f.has(h) {
				t.Fatalf("%d entries: %x is missing", n, h)
			}
		}
		wrong := 0
		for range 100_000 {
			if f.has(r.Uint64()) {
				wrong++
			}
		}
		if wrong > 2000 || n == 0 && wrong > 0 {
			t.Errorf("%d entries: %d of 100000 others may be there", n, wrong)
		}
		t.Logf("%d entries: %d bytes, %d of 100000 others may be there", n, len(f), wrong)
	}
}

// BenchmarkFilters finds one trace, one word and nothing in a million spans in ten blocks, with filters and without.
func BenchmarkFilters(b *testing.B) {
	s := openTest(b, b.TempDir(), nil)
	defer s.Close()
	ctx := b.Context()
	const rows = 100_000
	for i := range 10 {
		part := benchSpans(rows, i*rows)
		part[77].StatusMessage = fmt.Sprint("rare", i)
		if _, err := s.Append(ctx, &model.Batch{Spans: part}); err != nil {
			b.Fatal(err)
		}
		if err := s.flushAll(ctx); err != nil {
			b.Fatal(err)
		}
	}
	size := int64(0)
	for _, x := range s.catalog.all() {
		size += x.layout.Filters.Size
	}
	id, n := benchSpans(1, 5*rows)[0].TraceID, 0
	for _, with := range []string{"with", "without"} {
		if with == "without" {
			s.dropFilters()
		}
		for _, q := range []struct {
			name string
			ask  func() error
		}{
			{"missing", func() error {
				_, err := s.Traces(ctx, "", []model.TraceID{model.TraceIDFrom(1, 2)}, store.Window{}, 10)
				return err
			}},
			{"trace", func() error { _, err := s.Trace(ctx, "", id); return err }},
			{"word", func() error {
				_, err := s.Spans(ctx, store.Query{Where: search.Match{Op: search.Word, Value: "rare5"}, Limit: 10})
				return err
			}},
			{"nothing", func() error {
				n++ // another word each time: one in about a hundred seems to be in a row group
				_, err := s.Spans(ctx, store.Query{Where: search.Match{Op: search.Word, Value: fmt.Sprint("nowhere", n)}, Limit: 10})
				return err
			}},
			{"value", func() error {
				_, err := s.Spans(ctx, store.Query{Where: search.Match{Field: "request.id", Value: "0000000000003039"}, Limit: 10})
				return err
			}},
		} {
			b.Run(q.name+"/"+with, func(b *testing.B) {
				for b.Loop() {
					if err := q.ask(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(size)/(10*rows), "filter-B/span")
			})
		}
	}
}

package events

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triage/internal/model"
)

// interleaved are spans of which every third is a block's, with texts that repeat, that never do and that begin to differ,
// numbers, missing values, and keys that are rare.
func interleaved(n int) [3][]model.Span {
	var out [3][]model.Span
	res := [2]*model.Resource{{Service: "a", Attrs: model.Attrs{{Key: "zone", Value: model.String("z1")}}}, {Service: "b"}}
	for i := range n {
		s := model.Span{TraceID: model.TraceIDFrom(uint64(i/50)+1, 7), SpanID: model.SpanIDFrom(uint64(i) + 1), Name: fmt.Sprint("op ", i%11),
			Start: testTime.UnixNano() + int64(i)*1000, Duration: int64(i % 977), Resource: res[i%2], Attrs: model.Attrs{
				{Key: "unique", Value: model.String(fmt.Sprintf("%x", i*7919))}, {Key: "half", Value: model.String(fmt.Sprint(i % 2))}}}
		if i > n/2 {
			s.Attrs = append(s.Attrs, model.Attr{Key: "later", Value: model.String(fmt.Sprint(i / 3))})
		}
		if i%5 == 0 {
			s.Attrs = append(s.Attrs, model.Attr{Key: "count", Value: model.Int(int64(i))}, model.Attr{Key: "share", Value: model.Double(float64(i) / 3)})
		}
		if i%7 == 0 {
			s.Attrs = append(s.Attrs, model.Attr{Key: "hit", Value: model.Bool(i%2 == 0)})
			s.Links = []model.Link{{TraceID: s.TraceID, SpanID: s.SpanID}}
			s.StatusMessage, s.Flags = "late", 257
		}
		if i == n/3 {
			s.Attrs = append(s.Attrs, model.Attr{Key: "rare", Value: model.List(`[{"intValue":"1"}]`)})
			s.Events = []model.SpanEvent{{Time: s.Start, Name: "once"}}
		}
		out[i%3] = append(out[i%3], s)
	}
	return out
}

// mergedBy merges blocks and gives the rows of the merged block.
func mergedBy(t *testing.T, s *Store, inputs []*block, merge func(context.Context, *blockWriter, []*block) (int64, error)) (*layout, []model.Span) {
	t.Helper()
	v := newSurvey(spans)
	for _, b := range inputs {
		v.block(b.layout)
	}
	path := filepath.Join(s.dir("tmp"), "merged.parquet")
	w, err := newBlockWriter(s.disk, path, spans, v.layout())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := merge(t.Context(), w, inputs); err != nil {
		t.Fatal(err)
	}
	b, err := w.finish(partition{"default", spans}, false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := openCursor(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.reader.shared = false
	var out []model.Span
	for {
		if err := c.next(); err != nil {
			t.Fatal(err)
		}
		if c.empty() {
			return b.layout, out
		}
		out = append(out, c.spans[0])
	}
}

func TestMergeByColumnIsMergeByRow(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	const n = rowGroupRows + 20_000
	for _, part := range interleaved(n) {
		if _, err := s.Append(t.Context(), &model.Batch{Spans: part}); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	inputs := s.catalog.blocks[partition{"default", spans}]
	wantLayout, want := mergedBy(t, s, inputs, s.mergeRows)
	gotLayout, got := mergedBy(t, s, inputs, s.mergeColumns)
	if len(got) != n || len(want) != n {
		t.Fatalf("%d rows by column, %d by row, want %d", len(got), len(want), n)
	}
	gotLayout.Filters, wantLayout.Filters = nil, nil // by row or by column, they hold the same in another order
	if diff := cmp.Diff(gotLayout, wantLayout); diff != "" {
		t.Errorf("layout (-by column +by row):\n%s", diff)
	}
	for i := range got {
		if diff := cmp.Diff(got[i], want[i], cmp.AllowUnexported(model.Value{})); diff != "" {
			t.Fatalf("row %d (-by column +by row):\n%s", i, diff)
		}
	}
}

// TestMergeOfOtherTypes merges blocks in which a key has values of different types: only one of them can have the column.
func TestMergeOfOtherTypes(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	at := testTime
	for b := range 3 {
		var rows []model.Span
		for i := range 100 {
			v := model.Int(int64(i))
			if b == 1 {
				v = model.String(fmt.Sprint("text ", i))
			}
			rows = append(rows, spanAt(b*100+i, at.Add(1), model.Attr{Key: "mixed", Value: v}))
		}
		if _, err := s.Append(t.Context(), &model.Batch{Spans: rows}); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	inputs := s.catalog.blocks[partition{"default", spans}]
	v := newSurvey(spans)
	for _, b := range inputs {
		v.block(b.layout)
	}
	if merged := v.layout(); inputs[1].layout.fits(merged) || !inputs[0].layout.fits(merged) {
		t.Errorf("text fits: %t, numbers fit: %t; want only the numbers", inputs[1].layout.fits(merged), inputs[0].layout.fits(merged))
	}
	_, rows := mergedBy(t, s, inputs, s.mergeInto)
	texts := 0
	for _, r := range rows {
		if v, _ := r.Attrs.Get("mixed"); v.Kind() == model.KindString {
			texts++
		}
	}
	if len(rows) != 300 || texts != 100 {
		t.Errorf("%d rows, %d of text, want 300 and 100", len(rows), texts)
	}
}

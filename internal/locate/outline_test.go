package locate_test

import (
	"fmt"
	"strings"
	"testing"

	"triage/internal/locate"
	"triage/internal/model"
)

func TestOutline(t *testing.T) {
	for _, c := range []struct {
		name  string
		spans []model.Span
		want  string // a line a row: indent by depth, id, rows below, self and path in ms, * if on the path
	}{
		{"nothing", nil, ""},
		{"two children, one waited for last",
			[]model.Span{span(1, 0, "a", server, 0, 100), span(3, 1, "a", internal, 20, 60), span(2, 1, "a", internal, 10, 40), span(4, 3, "a", internal, 30, 10)},
			"1 3 30 30*\n 2 0 40 10*\n 3 1 50 50*\n  4 0 10 10*\n"},
		{"no parent, sent twice",
			[]model.Span{span(1, 0, "a", server, 0, 10), span(7, 6, "b", internal, 5, 2), span(1, 0, "a", server, 0, 10)},
			"1 0 10 10*\n7 0 2 0\n"},
		{"work that nobody waits for",
			[]model.Span{span(1, 0, "a", server, 0, 10), span(2, 1, "a", producer, 2, 2), span(3, 2, "b", consumer, 50, 30)},
			"1 2 8 8*\n 2 1 2 2*\n  3 0 30 0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got strings.Builder
			for _, r := range locate.Outline(c.spans) {
				mark := ""
				if r.OnPath {
					mark = "*"
				}
				fmt.Fprintf(&got, "%s%d %d %d %d%s\n", strings.Repeat(" ", r.Depth), r.Span.SpanID.Uint64(), r.Below, r.Self/1e6, r.Path/1e6, mark)
			}
			if got.String() != c.want {
				t.Errorf("got\n%swant\n%s", got.String(), c.want)
			}
		})
	}
}

func BenchmarkOutline(b *testing.B) {
	spans := []model.Span{span(1, 0, "a", server, 0, 1e6)}
	for i := uint64(2); i <= 100_000; i++ {
		spans = append(spans, span(i, i/8, "a", internal, int64(i), 5))
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(locate.Outline(spans)); n != len(spans) {
			b.Fatal(n)
		}
	}
}

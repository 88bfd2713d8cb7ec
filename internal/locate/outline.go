package locate

import (
	"slices"

	"triage/internal/model"
)

// Row is one span of a trace in the order in which a waterfall shows them: depth first, siblings by start.
type Row struct {
	Span *model.Span
	// Start is ns since the epoch, with the clock of the span's host set right where it contradicted its caller's.
	Start int64
	// Depth is 0 for roots. Below counts the rows under this one, all of which follow it directly.
	Depth, Below int
	// Self is the time in ns in which none of its children ran that it waited for; Path what the critical path spends
	// in it alone, 0 if it is not on it.
	Self, Path int64
	// OnPath tells that the root waited for it.
	OnPath bool
}

// Outline lays out a trace. Spans whose parent is missing are roots; a span that was sent twice is one row.
func Outline(spans []model.Span) []Row {
	if len(spans) == 0 {
		return nil
	}
	t := build(spans)
	path := make([]int64, len(t.nodes))
	on := make([]bool, len(t.nodes))
	for _, s := range t.path(t.main()) {
		path[s.node] += s.own
		on[s.node] = true
	}
	byStart := func(list []int) []int {
		return slices.SortedStableFunc(slices.Values(list), func(a, b int) int {
			switch x, y := t.nodes[a].start, t.nodes[b].start; {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return a - b
		})
	}
	rows := make([]Row, 0, len(t.nodes))
	type open struct {
		row  int
		kids []int
	}
	stack := []open{{-1, byStart(t.roots)}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if len(top.kids) == 0 {
			if top.row >= 0 {
				rows[top.row].Below = len(rows) - top.row - 1
			}
			stack = stack[:len(stack)-1]
			continue
		}
		i := top.kids[0]
		top.kids = top.kids[1:]
		kids := byStart(t.nodes[i].children)
		rows = append(rows, Row{Span: t.nodes[i].span, Start: t.nodes[i].start, Depth: len(stack) - 1, Self: t.self(i, kids), Path: path[i], OnPath: on[i]})
		stack = append(stack, open{len(rows) - 1, kids})
	}
	return rows
}

// self is the time of a span in which no child ran that it waited for. Its children come by start.
func (t *tree) self(i int, kids []int) int64 {
	n := &t.nodes[i]
	own, covered := n.end-n.start, n.start
	for _, c := range kids {
		k := &t.nodes[c]
		if k.async {
			continue
		}
		from, to := max(k.start, covered), min(k.end, n.end)
		if to > from {
			own -= to - from
			covered = to
		}
	}
	return own
}

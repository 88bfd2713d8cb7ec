// Package locate answers "where": it takes spans and aggregate statistics of spans and says in which service, edge,
// queue, database or remote host an affected request spends its time, where its failures begin, and when each
// operation's behaviour changed. It names places and numbers, never causes.
//
// The measure is exclusive time on the critical path. A span's own time is its duration less the union of its
// children's; along the critical path these parts add up to the request:
//
//	frontend  |--------------------------------|   server span
//	  -> cart    |--------------------------|      client span: what cart's span leaves of it is edge:frontend->cart
//	    cart       |----------------------|        server span: less its query, service:cart
//	      SELECT            |------|               client span without a server behind it: database:orders
//
// Everything here is a pure function of its arguments and safe for concurrent use. Input is what senders wrote, so
// missing parents, cycles, duplicates, absurd times and skewed clocks are repaired, never refused.
package locate

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"triage/internal/model"
)

// node is a span placed in its trace, with times that fit into its parent's.
type node struct {
	span       *model.Span
	start, end int64
	parent     int // -1 for roots
	children   []int
	// async marks work that the parent doesn't wait for: consumers of its messages, and what begins after its end.
	async bool
	// shift is what was added to the clock of the span's host to make it fit.
	shift int64
}

// tree is the spans of one trace in order of start, with parents before children in order.
type tree struct {
	nodes []node
	roots []int
	order []int // parents before children
	byID  map[model.SpanID]int
}

func end(s *model.Span) int64 {
	if s.Duration <= 0 {
		return s.Start
	}
	if s.Start > math.MaxInt64-s.Duration {
		return math.MaxInt64
	}
	return s.Start + s.Duration
}

// compareSpans orders by start, then ID, so that equal input in any order gives equal trees.
func compareSpans(a, b *model.Span) int {
	if c := cmp.Compare(a.Start, b.Start); c != 0 {
		return c
	}
	if c := bytes.Compare(a.SpanID[:], b.SpanID[:]); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	return cmp.Compare(a.Duration, b.Duration)
}

// build places spans in a tree. It keeps pointers into spans.
func build(spans []model.Span) *tree {
	sorted := make([]*model.Span, len(spans))
	for i := range spans {
		sorted[i] = &spans[i]
	}
	slices.SortStableFunc(sorted, compareSpans)

	t := &tree{nodes: make([]node, 0, len(spans)), byID: make(map[model.SpanID]int, len(spans))}
	// Zipkin's clients and servers may share one span ID; the server's half becomes a child of the client's.
	shared := map[model.SpanID]int{}
	for _, s := range sorted {
		i := len(t.nodes)
		n := node{span: s, start: s.Start, end: end(s), parent: -1}
		first, seen := t.byID[s.SpanID]
		switch {
		case s.SpanID.IsZero():
		case !seen:
			t.byID[s.SpanID] = i
		case isPair(t.nodes[first].span, s):
			if _, again := shared[s.SpanID]; again {
				continue
			}
			if s.Kind == model.SpanClient {
				shared[s.SpanID], t.byID[s.SpanID] = first, i
			} else {
				shared[s.SpanID] = i
			}
		default:
			continue // sent twice
		}
		t.nodes = append(t.nodes, n)
	}
	for i := range t.nodes {
		s := t.nodes[i].span
		if half, ok := shared[s.SpanID]; ok && half == i {
			t.nodes[i].parent = t.byID[s.SpanID]
			continue
		}
		p, ok := t.byID[s.ParentID]
		if s.ParentID.IsZero() || !ok {
			continue
		}
		if half, ok := shared[s.ParentID]; ok && t.nodes[half].span.Service() == s.Service() {
			p = half
		}
		if p != i {
			t.nodes[i].parent = p
		}
	}
	t.breakCycles()
	for i := range t.nodes {
		if p := t.nodes[i].parent; p >= 0 {
			t.nodes[p].children = append(t.nodes[p].children, i)
		} else {
			t.roots = append(t.roots, i)
		}
	}
	t.order = append(make([]int, 0, len(t.nodes)), t.roots...)
	for k := 0; k < len(t.order); k++ {
		i := t.order[k]
		for _, c := range t.nodes[i].children {
			t.fit(i, c)
		}
		t.order = append(t.order, t.nodes[i].children...)
	}
	return t
}

func isPair(a, b *model.Span) bool {
	return a.Kind == model.SpanClient && b.Kind == model.SpanServer || a.Kind == model.SpanServer && b.Kind == model.SpanClient
}

// breakCycles makes the earliest span of each cycle a root.
func (t *tree) breakCycles() {
	const unseen, onPath, done = 0, 1, 2
	state := make([]uint8, len(t.nodes))
	var walked []int
	for i := range t.nodes {
		walked = walked[:0]
		j := i
		for j >= 0 && state[j] == unseen {
			state[j] = onPath
			walked = append(walked, j)
			j = t.nodes[j].parent
		}
		if j >= 0 && state[j] == onPath {
			earliest := j
			for k := t.nodes[j].parent; k != j; k = t.nodes[k].parent {
				earliest = min(earliest, k) // nodes are in order of start
			}
			t.nodes[earliest].parent = -1
		}
		for _, k := range walked {
			state[k] = done
		}
	}
}

// sameClock tells whether two spans were timed by one clock.
func sameClock(a, b *model.Span) bool {
	if a.Resource == b.Resource {
		return true
	}
	if a.Service() != b.Service() {
		h := a.Resource.Attrs.Str("host.name")
		return h != "" && h == b.Resource.Attrs.Str("host.name")
	}
	return a.Resource.Attrs.Str("service.instance.id") == b.Resource.Attrs.Str("service.instance.id") &&
		a.Resource.Attrs.Str("host.name") == b.Resource.Attrs.Str("host.name")
}

// fit moves and clamps child c into its parent p, whose times are final.
func (t *tree) fit(p, c int) {
	parent, child := &t.nodes[p], &t.nodes[c]
	s := child.span
	if s.Kind == model.SpanConsumer || parent.span.Kind == model.SpanProducer && s.Kind != model.SpanInternal {
		child.async = true
		return
	}
	length := child.end - child.start
	if sameClock(parent.span, s) {
		child.start += parent.shift
		child.shift = parent.shift
		if child.start >= parent.end && child.start > parent.start {
			child.async = true
			child.end = child.start + length
			return
		}
	} else if move := skew(parent.start, parent.end, child.start, child.end); move != 0 {
		child.shift = move
		child.start += move
	}
	child.start = min(max(child.start, parent.start), parent.end)
	child.end = child.start + length
	if child.end > parent.end || child.end < child.start {
		child.end = parent.end
	}
}

// skew is how far a child of another clock must be moved to lie within its parent. A child that overlaps moves as
// little as possible, one that lies wholly outside is centred: its time on the wire is unknown.
func skew(pStart, pEnd, cStart, cEnd int64) int64 {
	fits := cEnd-cStart <= pEnd-pStart
	switch {
	case cStart >= pStart && cEnd <= pEnd:
		return 0
	case !fits && (cStart < pStart || cStart >= pEnd):
		return pStart - cStart
	case !fits:
		return 0 // it outlived a caller that gave up
	case cEnd <= pStart || cStart >= pEnd:
		return pStart + (pEnd-pStart-(cEnd-cStart))/2 - cStart
	case cStart < pStart:
		return pStart - cStart
	}
	return pEnd - cEnd
}

// main is the root of the request: the longest among spans without a parent ID, else among those whose parent is lost.
func (t *tree) main() int {
	best := -1
	better := func(i, j int) bool {
		a, b := &t.nodes[i], &t.nodes[j]
		if ra, rb := a.span.ParentID.IsZero(), b.span.ParentID.IsZero(); ra != rb {
			return ra
		}
		return a.end-a.start > b.end-b.start
	}
	for _, i := range t.roots {
		if best < 0 || better(i, best) {
			best = i
		}
	}
	return best
}

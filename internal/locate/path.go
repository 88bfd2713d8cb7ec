package locate

import (
	"slices"

	"triage/internal/model"
)

// Step is a span on the critical path and the part of the request that it alone accounts for.
type Step struct {
	SpanID      model.SpanID `json:"span_id"`
	ExclusiveNS int64        `json:"exclusive_ns"`
}

// Path is the critical path of a trace: the chain of spans that the root waited for, in order of start. The exclusive
// times add up to the root's duration. Where calls ran side by side, the one that ended last is on the path.
func Path(spans []model.Span) []Step {
	if len(spans) == 0 {
		return nil
	}
	t := build(spans)
	steps := t.path(t.main())
	out := make([]Step, len(steps))
	for i, s := range steps {
		out[i] = Step{t.nodes[s.node].span.SpanID, s.own}
	}
	return out
}

type step struct {
	node int
	own  int64
}

// path walks backwards from the end of root: whatever ended last is what the request waited for.
func (t *tree) path(root int) []step {
	type frame struct{ node, step, next int } // next indexes the children still to look at, latest end first
	type window struct{ lo, at int64 }
	var (
		steps   []step
		frames  []frame
		windows []window
		queues  [][]int
	)
	push := func(i int, hi int64) {
		n := &t.nodes[i]
		var kids []int
		for _, c := range n.children {
			if !t.nodes[c].async {
				kids = append(kids, c)
			}
		}
		slices.SortStableFunc(kids, func(a, b int) int {
			switch x, y := &t.nodes[a], &t.nodes[b]; {
			case x.end != y.end:
				if x.end > y.end {
					return -1
				}
				return 1
			case x.start != y.start: // the longer one
				if x.start < y.start {
					return -1
				}
				return 1
			}
			return a - b
		})
		frames = append(frames, frame{node: i, step: len(steps)})
		windows = append(windows, window{n.start, hi})
		queues = append(queues, kids)
		steps = append(steps, step{node: i})
	}
	push(root, t.nodes[root].end)
	for len(frames) > 0 {
		top := len(frames) - 1
		f, w, kids := &frames[top], &windows[top], queues[top]
		descended := false
		for f.next < len(kids) {
			c := &t.nodes[kids[f.next]]
			f.next++
			if c.start >= w.at {
				continue // ran beside what is already on the path
			}
			hi := min(c.end, w.at)
			if hi <= c.start {
				continue
			}
			steps[f.step].own += w.at - hi
			w.at = c.start
			push(kids[f.next-1], hi)
			descended = true
			break
		}
		if descended {
			continue
		}
		steps[f.step].own += w.at - w.lo
		frames, windows, queues = frames[:top], windows[:top], queues[:top]
	}
	slices.SortStableFunc(steps, func(a, b step) int {
		if x, y := t.nodes[a.node].start, t.nodes[b.node].start; x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return 0
	})
	return steps
}

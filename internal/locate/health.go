package locate

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// enoughCalls is how many calls between two services tell how far their clocks differ.
const enoughCalls = 3

// Skew is how far the clocks of callers and callees differ: of each pair of services the median move that made spans fit into
// their callers', and of these the largest. It is 0 for clocks that agree within a call's own time on the wire.
func Skew(sets ...[]Trace) time.Duration {
	moves := map[[2]string][]int64{}
	for _, set := range sets {
		for _, tr := range set {
			t := build(tr.Spans)
			for i := range t.nodes {
				n := &t.nodes[i]
				if n.parent < 0 || n.async || sameClock(t.nodes[n.parent].span, n.span) {
					continue
				}
				move := n.shift
				if move < 0 {
					move = -move
				}
				pair := [2]string{t.nodes[n.parent].span.Service(), n.span.Service()}
				moves[pair] = append(moves[pair], move)
			}
		}
	}
	var worst int64
	for _, m := range moves {
		if len(m) >= enoughCalls {
			slices.Sort(m)
			worst = max(worst, m[len(m)/2])
		}
	}
	return time.Duration(worst)
}

// Kept is the share of all requests whose traces the senders keep, by the rejection threshold in the trace state of those that
// came (OpenTelemetry, "TraceState: Probability Sampling", `ot=th:`); 1 where none says so. A trace that is kept with
// probability p stands for 1/p requests.
func Kept(sets ...[]Trace) float64 {
	var traces, requests float64
	for _, set := range sets {
		for _, tr := range set {
			p := 1.0
			for i := range tr.Spans {
				if q, ok := probability(tr.Spans[i].TraceState); ok {
					p = q
					break
				}
			}
			traces++
			requests += 1 / p
		}
	}
	if traces == 0 {
		return 1
	}
	return traces / requests
}

// probability reads with which probability a trace was kept, above 0.
func probability(state string) (p float64, ok bool) {
	for member := range strings.SplitSeq(state, ",") {
		value, ours := strings.CutPrefix(strings.TrimSpace(member), "ot=")
		if !ours {
			continue
		}
		for field := range strings.SplitSeq(value, ";") {
			th, found := strings.CutPrefix(field, "th:")
			if !found || th == "" || len(th) > 14 {
				continue
			}
			// Trailing zeros of the 56 bits are left out.
			n, err := strconv.ParseUint(th+strings.Repeat("0", 14-len(th)), 16, 64)
			if err != nil {
				return 0, false
			}
			return 1 - float64(n)/(1<<56), true
		}
	}
	return 0, false
}

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triage/client"
)

func traceCommand(o *options) *cobra.Command {
	var logs bool
	cmd := &cobra.Command{
		Use:   "trace ID",
		Short: "Draw a trace: who called whom, how long it took, what the request waited for",
		Args:  args(cobra.ExactArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			t, err := e.client.Trace(ctx, args[0])
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(t)
			}
			return e.waterfall(t, logs)
		}),
	}
	cmd.Flags().BoolVar(&logs, "logs", false, "print log lines below the spans they were written in")
	return cmd
}

// line is one span of the drawing.
type line struct {
	span   *client.Span
	branch string // the tree's lines before the name
	below  string // the tree's lines on the lines below it
	own    time.Duration
	onPath bool
	lost   bool // its parent is not in the trace
}

// maxDepth is how deep the tree indents; deeper spans stand below each other.
const maxDepth = 24

// tree orders spans as a tree, each level by start. Every span comes out once, whatever the parents say.
func tree(t client.Trace) []line {
	byID := map[client.SpanID]int{}
	for i := range t.Spans {
		if _, twice := byID[t.Spans[i].SpanID]; !twice {
			byID[t.Spans[i].SpanID] = i
		}
	}
	order := make([]int, len(t.Spans))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(t.Spans[a].Start, t.Spans[b].Start) })
	own := map[client.SpanID]time.Duration{}
	onPath := map[client.SpanID]bool{}
	for _, s := range t.Path {
		own[s.SpanID] += time.Duration(s.ExclusiveNS)
		onPath[s.SpanID] = true
	}
	children := map[client.SpanID][]int{}
	var roots []int
	for _, i := range order {
		s := &t.Spans[i]
		if p, ok := byID[s.ParentID]; ok && !s.ParentID.IsZero() && p != i {
			children[s.ParentID] = append(children[s.ParentID], i)
		} else {
			roots = append(roots, i)
		}
	}
	var out []line
	seen := make([]bool, len(t.Spans))
	var walk func(i int, branch, below string, depth int)
	walk = func(i int, branch, below string, depth int) {
		if seen[i] {
			return
		}
		seen[i] = true
		s := &t.Spans[i]
		out = append(out, line{s, branch, below, own[s.SpanID], onPath[s.SpanID], !s.ParentID.IsZero() && depth == 0})
		var kids []int
		if byID[s.SpanID] == i {
			kids = children[s.SpanID]
		}
		for n, k := range kids {
			last := n == len(kids)-1
			switch {
			case depth >= maxDepth:
				walk(k, branch, below, depth+1)
			case last:
				walk(k, below+"└ ", below+"  ", depth+1)
			default:
				walk(k, below+"├ ", below+"│ ", depth+1)
			}
		}
	}
	for _, i := range roots {
		walk(i, "", "", 0)
	}
	for _, i := range order { // what is left are spans that are each other's parents
		walk(i, "", "", 0)
	}
	return out
}

// waterfall draws the trace as a tree with a bar for each span's time.
func (e *env) waterfall(t client.Trace, logs bool) error {
	if len(t.Spans) == 0 {
		return e.printf("trace %s has no spans\n", t.TraceID)
	}
	lines := tree(t)
	begin, end := t.Spans[0].Start, t.Spans[0].End()
	services := map[string]style{}
	for _, l := range lines {
		begin, end = min(begin, l.span.Start), max(end, l.span.End())
		if _, ok := services[l.span.Service()]; !ok {
			services[l.span.Service()] = style("38;5;" + strconv.Itoa(int(lineColours[len(services)%len(lineColours)])))
		}
	}
	total := time.Duration(end - begin)
	if err := e.printf("trace %s  %s UTC\n%s, %s, %s, %s\n\n", e.paint(bold, t.TraceID.String()),
		time.Unix(0, begin).UTC().Format("2006-01-02 15:04:05.000"), lasting(total), plural(len(t.Spans), "span"), plural(len(services), "service"), plural(len(t.Logs), "log line")); err != nil {
		return err
	}
	left := 10
	for _, l := range lines {
		left = max(left, columns(l.label()))
	}
	left = min(left, max(20, e.width/2))
	const numbers = 22 // a mark and two durations
	bar := max(0, e.width-left-numbers-3)
	if bar < 10 {
		bar = 0
	}
	if err := e.printf("%s\n", e.paint(dim, strings.TrimRight(fmt.Sprintf("  %s %9s %9s  %s", pad("SPAN", left), "TOOK", "ITSELF", scale(total, bar)), " "))); err != nil {
		return err
	}
	inSpan := map[client.SpanID][]*client.LogRecord{}
	for i := range t.Logs {
		inSpan[t.Logs[i].SpanID] = append(inSpan[t.Logs[i].SpanID], &t.Logs[i])
	}
	for _, l := range lines {
		if err := e.printSpan(l, services[l.span.Service()], left, bar, begin, total); err != nil {
			return err
		}
		if logs {
			if err := e.printLogs(inSpan[l.span.SpanID], "  "+l.below+"  · "); err != nil {
				return err
			}
			delete(inSpan, l.span.SpanID)
		}
	}
	if logs && len(inSpan) > 0 {
		if err := e.printf("\nlog lines outside of these spans\n"); err != nil {
			return err
		}
		for i := range t.Logs {
			if _, left := inSpan[t.Logs[i].SpanID]; left {
				if err := e.printLog(&t.Logs[i], "  · ", logColumns{}); err != nil {
					return err
				}
			}
		}
	}
	return e.printf("\n%s\n%s", e.paint(dim, "* is what the request waited for (█), ! failed, ? has a parent that is not here"), waited(lines))
}

func (l line) label() string {
	label := l.branch + clean(l.span.Service()) + " " + clean(l.span.Name)
	if l.lost {
		label += " ?"
	}
	return label
}

func (e *env) printSpan(l line, st style, left, bar int, begin int64, total time.Duration) error {
	mark := " "
	switch {
	case failed(l.span):
		mark = e.paint(red, "!")
	case l.onPath:
		mark = "*"
	}
	label := pad(cut(l.label(), left), left)
	if e.colour { // only the service's name is coloured: the tree stays quiet
		if rest, ok := strings.CutPrefix(label, l.branch+clean(l.span.Service())); ok {
			label = e.paint(dim, l.branch) + e.paint(st, clean(l.span.Service())) + rest
		}
	}
	own := ""
	if l.onPath {
		own = lasting(l.own)
	}
	out := fmt.Sprintf("%s %s %9s %9s", mark, label, lasting(time.Duration(l.span.Duration)), own)
	if bar > 0 {
		at, n := place(time.Duration(l.span.Start-begin), time.Duration(l.span.Duration), total, bar)
		fill := "░"
		if l.onPath {
			fill = "█"
		}
		out += "  " + strings.Repeat(" ", at) + e.paint(st, strings.Repeat(fill, n))
	}
	if failed(l.span) && l.span.StatusMessage != "" {
		out += "\n  " + l.below + "  " + e.paint(red, clean(l.span.StatusMessage))
	}
	return e.printf("%s\n", strings.TrimRight(out, " "))
}

func (e *env) printLogs(logs []*client.LogRecord, indent string) error {
	slices.SortStableFunc(logs, func(a, b *client.LogRecord) int { return cmp.Compare(a.Time, b.Time) })
	for _, r := range logs {
		if err := e.printLog(r, indent, logColumns{bare: true}); err != nil {
			return err
		}
	}
	return nil
}

// place is where a bar begins and how many columns it takes, at least one and never past the end.
func place(start, length, total time.Duration, width int) (at, n int) {
	if total <= 0 {
		return 0, 1
	}
	column := func(d time.Duration) int { return int(float64(d) / float64(total) * float64(width)) }
	at = min(column(start), width-1)
	n = max(1, min(column(start+length), width)-at)
	return at, n
}

// scale names the times at the bars' ends and in the middle.
func scale(total time.Duration, bar int) string {
	if bar < 30 {
		return ""
	}
	middle, right := lasting(total/2), lasting(total)
	out := pad("0", bar/2-columns(middle)/2) + middle
	return pad(out, bar-columns(right)) + right
}

// waited sums up the critical path by service, the longest first.
func waited(lines []line) string {
	byService := map[string]time.Duration{}
	var names []string
	var sum time.Duration
	for _, l := range lines {
		if l.onPath {
			if _, ok := byService[l.span.Service()]; !ok {
				names = append(names, l.span.Service())
			}
			byService[l.span.Service()] += l.own
			sum += l.own
		}
	}
	if sum <= 0 {
		return ""
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(byService[b], byService[a]) })
	var parts []string
	for _, n := range names {
		parts = append(parts, fmt.Sprintf("%s %s (%.0f%%)", clean(n), lasting(byService[n]), float64(byService[n])/float64(sum)*100))
	}
	return "waited for " + strings.Join(parts, ", ") + "\n"
}

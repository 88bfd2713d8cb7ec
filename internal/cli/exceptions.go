package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"triage/client"
)

// titleWidth is how many columns of an exception's type and message stand in a line.
const titleWidth = 80

func exceptionsCommand(o *options) *cobra.Command {
	return listGroup(&cobra.Command{
		Use:     "errors",
		Aliases: []string{"error", "exceptions"},
		Short:   "List exceptions, grouped by type and stack across services; show one",
	}, exceptionsList(o), exceptionsShow(o))
}

func exceptionsList(o *options) *cobra.Command {
	var q client.ExceptionsQuery
	var w window
	var since moment
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List groups of exceptions, those seen last first",
		Example: `  triage errors --service cart --since -6h`,
		Args:    args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			if since != "" {
				if w.from != "" {
					return &usageError{errors.New("--since is another name of --from: leave out one")}
				}
				w.from = since
			}
			q.From, q.To = w.times(e.now)
			page, err := e.client.Exceptions(ctx, q)
			if err != nil {
				return err
			}
			if e.json {
				page.Errors = nonNil(page.Errors)
				return e.printJSON(page)
			}
			t := e.newTable("ID", "LAST SEEN", "FIRST SEEN", ">COUNT", "SERVICES", "TYPE: MESSAGE", "VERSIONS")
			for i := range page.Errors {
				g := &page.Errors[i]
				first := cell{text: ago(g.First, e.now) + " ago"}
				if g.New {
					first = cell{first.text + " NEW", red}
				}
				t.add(g.ID, ago(g.Last, e.now)+" ago", first, count(g.Count), exceptionNames(g.Services), cut(exceptionTitle(g), titleWidth),
					exceptionVersions(g))
			}
			if len(page.Errors) > 0 {
				if err := t.print(""); err != nil {
					return err
				}
			}
			return e.printPage(len(page.Errors), page.More, page.Partial, "errors")
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.Service, "service", "", "only what occurred in this service")
	flags.StringVar(&q.Version, "version", "", "only what occurred in this version")
	flags.StringVar(&q.Text, "text", "", "a part of the type, message or stack")
	flags.IntVar(&q.Limit, "limit", 0, "how many at most (the server's default without it)")
	w.flags(cmd, " (an hour before the end without it)")
	flags.Var(&since, "since", "another name of --from")
	mustComplete(cmd.RegisterFlagCompletionFunc("service", o.completeServices))
	return cmd
}

func exceptionsShow(o *options) *cobra.Command {
	var w window
	cmd := &cobra.Command{
		Use:               "show ID",
		Short:             "Show one group of exceptions: where, since when, in which versions, with a stack",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: first(o.completeExceptions),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			from, to := w.times(e.now)
			d, err := e.client.Exception(ctx, args[0], from, to)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(d)
			}
			return e.printException(d)
		}),
	}
	w.flags(cmd, " (a week before the end without it)")
	return cmd
}

func (e *env) printException(d client.ExceptionDetail) error {
	g := &d.Error
	var out strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&out, "%s %s\n", e.paint(dim, pad(name, 11)), value)
		}
	}
	out.WriteString(e.paint(bold, clean(exceptionTitle(g))) + "\n\n")
	line("ID", clean(g.ID))
	in := "in " + clean(g.FirstService)
	if g.FirstVersion != "" {
		in += " " + clean(g.FirstVersion)
	}
	if g.New {
		in += e.paint(red, " NEW")
	}
	line("FIRST SEEN", clock(g.First)+" "+in)
	line("LAST SEEN", clock(g.Last))
	affected := plural(int(g.Count), "time")
	if g.Users > 0 {
		affected += ", " + plural(int(g.Users), "user")
	}
	line("OCCURRED", affected+" since "+clock(d.From))
	values := make([]float64, len(g.Histogram))
	for i, n := range g.Histogram {
		values[i] = float64(n)
	}
	line("", sparkline(values))
	line("SERVICES", clean(exceptionCounts(g.Services)))
	line("VERSIONS", clean(exceptionCounts(g.Versions)))
	line("OPERATIONS", clean(exceptionCounts(g.Operations)))
	line("GROUPED BY", clean(strings.Join(g.Frames, " < ")))
	for i := range g.Samples {
		s := &g.Samples[i]
		trace := "no trace"
		if !s.TraceID.IsZero() {
			trace = "trace " + s.TraceID.String()
		}
		name := ""
		if i == 0 {
			name = "NEWEST"
		}
		fmt.Fprintf(&out, "%s %s %s\n", e.paint(dim, pad(name, 11)), clock(s.At), trace+"  "+clean(cut(oneLine(s.Message), titleWidth)))
	}
	if g.Stack != "" {
		// Tabs are how most languages indent frames; cleanLines would write them as escapes.
		stack := strings.ReplaceAll(strings.ReplaceAll(strings.TrimRight(g.Stack, "\r\n"), "\r\n", "\n"), "\t", "    ")
		out.WriteString("\n" + cleanLines(stack) + "\n")
	}
	if err := e.printf("%s", out.String()); err != nil || d.Partial == "" {
		return err
	}
	return e.printf("%s\n", e.paint(yellow, "some may be missing: "+clean(d.Partial)))
}

// exceptionTitle is "type: message", the message's first line.
func exceptionTitle(g *client.ExceptionGroup) string {
	message := oneLine(g.Message)
	switch {
	case g.Type == "":
		return fallback(message, "(no type)")
	case message == "":
		return g.Type
	}
	return g.Type + ": " + message
}

func oneLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(s)
}

// namesShown is how many services or versions stand in a line of the list.
const namesShown = 3

func exceptionNames(list []client.ExceptionCount) string {
	var names []string
	for _, c := range list[:min(len(list), namesShown)] {
		names = append(names, c.Name)
	}
	if more := len(list) - namesShown; more > 0 {
		names = append(names, fmt.Sprintf("+%d", more))
	}
	return strings.Join(names, ", ")
}

// exceptionVersions are versions with counts; of several services each is named once, whosever it is.
func exceptionVersions(g *client.ExceptionGroup) string {
	var list []client.ExceptionCount
	for _, v := range g.Versions {
		if v.Name == "" {
			continue
		}
		if i := slices.IndexFunc(list, func(c client.ExceptionCount) bool { return c.Name == v.Name }); i >= 0 {
			list[i].Count += v.Count
		} else {
			list = append(list, client.ExceptionCount{Name: v.Name, Count: v.Count})
		}
	}
	if len(list) == 0 {
		return "-"
	}
	return exceptionCounts(list[:min(len(list), namesShown)])
}

func exceptionCounts(list []client.ExceptionCount) string {
	parts := make([]string, len(list))
	for i, c := range list {
		name := fallback(c.Name, "no version")
		if c.Service != "" {
			name = c.Service + " " + name
		}
		parts[i] = fmt.Sprintf("%s (%s)", name, count(c.Count))
	}
	return strings.Join(parts, ", ")
}

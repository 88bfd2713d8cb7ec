package cli

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"triage/client"
)

func runbooksCommand(o *options) *cobra.Command {
	return listGroup(&cobra.Command{
		Use:     "runbooks",
		Aliases: []string{"runbook"},
		Short:   "List what runbooks did and want to do; approve, refuse and take back",
	}, runbooksRuns(o), runbooksShow(o), runbooksRules(o), runbooksAct(o, "approve", "Begin a run that waits for approval, or was skipped"),
		runbooksAct(o, "refuse", "End a run that waits for approval"), runbooksAct(o, "undo", "Take a run back, if its runbook says how"))
}

func runbooksRuns(o *options) *cobra.Command {
	var incident string
	var limit int
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List runs, newest first",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			list, err := e.client.Runs(ctx, incident, limit)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"runs": nonNil(list)})
			}
			t := e.newTable("ID", "AT (UTC)", "STATE", "RUNBOOK", "INCIDENT", "BY", "DOES", "ERROR")
			for _, r := range list {
				name := r.Runbook
				if r.Of != "" {
					name = "undo of " + name
				}
				t.add(r.ID, clock(r.Created), runCell(r.State), name, r.Incident, fallback(r.By, "-"), r.Does, fallback(r.Error, "-"))
			}
			return t.print("no runbook has run")
		}),
	}
	cmd.Flags().StringVar(&incident, "incident", "", "only of this incident")
	cmd.Flags().IntVar(&limit, "limit", 0, "how many at most (the server's default without it)")
	return cmd
}

func runCell(state string) cell {
	switch state {
	case "succeeded", "rehearsed":
		return cell{state, green}
	case "failed", "stopped", "unknown":
		return cell{state, red}
	}
	return cell{state, yellow}
}

func runbooksShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "show RUN",
		Short: "Show a run with the end of its output",
		Args:  args(cobra.ExactArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			list, err := e.client.Runs(ctx, "", 1000)
			if err != nil {
				return err
			}
			for _, r := range list {
				if r.ID == args[0] {
					return e.printRun(r)
				}
			}
			return &client.Error{Status: 404, Detail: "run " + args[0]}
		}),
	}
}

func (e *env) printRun(r client.Run) error {
	if e.json {
		return e.printJSON(r)
	}
	c := runCell(r.State)
	text := "run " + clean(r.ID) + " of " + clean(r.Runbook) + " for " + clean(r.Incident) + ": " + e.paint(c.style, clean(r.State)) + "\n  does  " + clean(r.Does) + "\n  why   " + clean(r.Why) + "\n"
	for _, f := range []struct{ name, value string }{{"by", r.By}, {"error", r.Error}} {
		if f.value != "" {
			text += "  " + pad(f.name, 5) + " " + clean(f.value) + "\n"
		}
	}
	if !r.Started.IsZero() {
		text += "  began " + clock(r.Started) + "\n"
	}
	if r.CanUndo {
		text += "  triage runbooks undo " + clean(r.ID) + " takes it back\n"
	}
	if r.Withheld {
		text += "\n  its output needs the server's token: TRIAGE_TOKEN, or the file \"token\" in its data directory (TRIAGE_DATA)\n"
	}
	if r.Output != "" {
		text += "\n" + ended(cleanLines(r.Output))
	}
	return e.printf("%s", text)
}

func runbooksRules(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the runbooks, one a line",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			list, err := e.client.Runbooks(ctx)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string][]json.RawMessage{"runbooks": nonNil(list)})
			}
			for _, r := range list {
				if err := e.printLine(r); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func runbooksAct(o *options, what, short string) *cobra.Command {
	var a actFlags
	cmd := &cobra.Command{
		Use:   what + " RUN",
		Short: short,
		Args:  args(cobra.ExactArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			by, err := a.who()
			if err != nil {
				return err
			}
			r, err := e.client.ActOnRun(ctx, args[0], what, by)
			if err != nil {
				return err
			}
			return e.printRun(r)
		}),
	}
	a.flags(cmd, false)
	return cmd
}

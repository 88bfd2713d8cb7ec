package cli

import (
	"context"
	"errors"
	"os/user"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"triage/client"
)

// actFlags are who acts and what they say about it.
type actFlags struct{ by, note string }

func (a *actFlags) flags(cmd *cobra.Command, note bool) {
	cmd.Flags().StringVar(&a.by, "by", "", "who does it (the user you are logged in as without it)")
	if note {
		cmd.Flags().StringVar(&a.note, "note", "", "what to say about it")
	}
}

// who is the name to act under.
func (a *actFlags) who() (string, error) {
	if a.by != "" {
		return a.by, nil
	}
	u, err := user.Current()
	if err != nil || u.Username == "" {
		return "", &usageError{errors.New("--by: say who does it")}
	}
	return u.Username, nil
}

// actCommand makes a command that does something with the incident named first.
func actCommand(o *options, cmd *cobra.Command, a *actFlags, check cobra.PositionalArgs, do func(ctx context.Context, e *env, by string, args []string) error) *cobra.Command {
	cmd.Args = args(check)
	cmd.ValidArgsFunction = first(o.completeIncidents)
	cmd.RunE = o.run(func(ctx context.Context, e *env, args []string) error {
		by, err := a.who()
		if err != nil {
			return err
		}
		return do(ctx, e, by, args)
	})
	return cmd
}

// printAct tells how an incident stands after an act.
func (e *env) printAct(i client.Incident, err error) error {
	if err != nil {
		return err
	}
	if e.json {
		return e.printJSON(i)
	}
	return e.printf("%s %s: %s%s\n", clean(i.ID), i.Status, clean(i.Title), clean(careOf(i)))
}

// careOf says who looks after an incident.
func careOf(i client.Incident) string {
	var parts []string
	if i.Acknowledged != nil {
		parts = append(parts, "acknowledged by "+i.Acknowledged.By+" at "+clock(i.Acknowledged.At))
	}
	if i.Assignee != "" {
		parts = append(parts, "assigned to "+i.Assignee)
	}
	if i.MergedInto != "" {
		parts = append(parts, "merged into "+i.MergedInto)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func incidentsAck(o *options) *cobra.Command {
	var a actFlags
	var undo bool
	cmd := actCommand(o, &cobra.Command{
		Use:   "ack ID",
		Short: "Say that you look after an incident: receivers are not told again and again",
	}, &a, cobra.ExactArgs(1), func(ctx context.Context, e *env, by string, args []string) error {
		i, err := e.client.Acknowledge(ctx, args[0], by, a.note, undo)
		return e.printAct(i, err)
	})
	a.flags(cmd, true)
	cmd.Flags().BoolVar(&undo, "undo", false, "take it back")
	return cmd
}

func incidentsAssign(o *options) *cobra.Command {
	var a actFlags
	cmd := actCommand(o, &cobra.Command{
		Use:   "assign ID [WHO]",
		Short: "Say who is to work on an incident (nobody without WHO)",
	}, &a, cobra.RangeArgs(1, 2), func(ctx context.Context, e *env, by string, args []string) error {
		i, err := e.client.Assign(ctx, args[0], by, strings.Join(args[1:], ""))
		return e.printAct(i, err)
	})
	a.flags(cmd, false)
	return cmd
}

func incidentsNote(o *options) *cobra.Command {
	var a actFlags
	cmd := actCommand(o, &cobra.Command{
		Use:   "note ID TEXT...",
		Short: "Write something down about an incident",
	}, &a, cobra.MinimumNArgs(2), func(ctx context.Context, e *env, by string, args []string) error {
		i, err := e.client.Note(ctx, args[0], by, strings.Join(args[1:], " "))
		return e.printAct(i, err)
	})
	a.flags(cmd, false)
	return cmd
}

func incidentsMerge(o *options) *cobra.Command {
	var a actFlags
	cmd := actCommand(o, &cobra.Command{
		Use:     "merge ID OTHER",
		Short:   "Merge another incident into one: its alarms join, and it ends",
		Example: "  triage incident merge INC-1 INC-2 --note \"the same deployment\"",
	}, &a, cobra.ExactArgs(2), func(ctx context.Context, e *env, by string, args []string) error {
		i, err := e.client.Merge(ctx, args[0], args[1], by, a.note)
		return e.printAct(i, err)
	})
	cmd.ValidArgsFunction = o.completeIncidents
	a.flags(cmd, true)
	return cmd
}

func incidentsSplit(o *options) *cobra.Command {
	var a actFlags
	cmd := actCommand(o, &cobra.Command{
		Use:   "split ID ALARM...",
		Short: "Open a new incident with some of an incident's alarms",
		Long:  `Alarms are named by their IDs, or by the rule if the incident has only one alarm of it.`,
	}, &a, cobra.MinimumNArgs(2), func(ctx context.Context, e *env, by string, args []string) error {
		alarms, err := e.alarmsOf(ctx, args[0], args[1:])
		if err != nil {
			return err
		}
		i, err := e.client.Split(ctx, args[0], alarms, by, a.note)
		return e.printAct(i, err)
	})
	a.flags(cmd, true)
	return cmd
}

// alarmsOf gives the IDs of an incident's alarms that are named by ID or by rule.
func (e *env) alarmsOf(ctx context.Context, incident string, names []string) ([]string, error) {
	i, err := e.client.Incident(ctx, incident)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range names {
		var found []string
		for _, al := range i.Alarms {
			if al.ID == name {
				found = []string{name}
				break
			}
			if al.Rule == name {
				found = append(found, al.ID)
			}
		}
		if len(found) != 1 {
			var all []string
			for _, al := range i.Alarms {
				all = append(all, al.ID)
			}
			return nil, &usageError{errors.New(name + " names " + plural(len(found), "alarm") + " of " + incident + ", which has " + strings.Join(all, ", "))}
		}
		if !slices.Contains(ids, found[0]) {
			ids = append(ids, found[0])
		}
	}
	return ids, nil
}

func incidentsSilence(o *options) *cobra.Command {
	var a actFlags
	var s client.IncidentSilence
	cmd := actCommand(o, &cobra.Command{
		Use:   "silence ID [ALARM...] --for 2h",
		Short: "Keep an incident from being told for a while, or some of its alarms in whatever incident",
	}, &a, cobra.MinimumNArgs(1), func(ctx context.Context, e *env, by string, args []string) (err error) {
		if s.For == "" {
			return &usageError{errors.New("--for: say how long, 2h for example")}
		}
		s.By, s.Comment = by, a.note
		if len(args) > 1 {
			if s.Alarms, err = e.alarmsOf(ctx, args[0], args[1:]); err != nil {
				return err
			}
		}
		list, err := e.client.SilenceIncident(ctx, args[0], s)
		if err != nil {
			return err
		}
		if e.json {
			return e.printJSON(map[string]any{"silences": nonNil(list)})
		}
		for _, s := range list {
			if err := e.printf("silence %s of %s until %s (UTC)\n", clean(s.ID), clean(strings.Join(s.Matchers, " ")), clock(s.Ends)); err != nil {
				return err
			}
		}
		return nil
	})
	a.flags(cmd, true)
	cmd.Flags().StringVar(&s.For, "for", "", "how long, 30m or 2h")
	return cmd
}

func incidentsTimeline(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "timeline ID",
		Short:             "Tell an incident in order of time: alarms, verdicts, changes, messages, and what people did",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: first(o.completeIncidents),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			list, err := e.client.Timeline(ctx, args[0], e.lang)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"timeline": nonNil(list)})
			}
			t := e.newTable("AT (UTC)", "KIND", "BY", "WHAT")
			for _, m := range list {
				text := m.Text
				if m.State != "" {
					text = string(m.State) + " " + text
				}
				if m.Note != "" {
					text += ": " + m.Note
				}
				t.add(clock(m.At), strings.ReplaceAll(m.Kind, "_", " "), fallback(m.By, "-"), text)
			}
			return t.print("nothing happened")
		}),
	}
}

func incidentsPostmortem(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "postmortem ID",
		Short:             "Print an incident as Markdown: cause, impact and timeline filled in, lessons left open",
		Example:           "  triage incident postmortem INC-1 > INC-1.md",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: first(o.completeIncidents),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			text, err := e.client.Postmortem(ctx, args[0], e.lang)
			return e.printText(text, err)
		}),
	}
}

func journalCommand(o *options) *cobra.Command {
	var w window
	var q client.JournalQuery
	cmd := &cobra.Command{
		Use:   "journal",
		Short: "List what people, and triage by itself, did, oldest first",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			q.From, q.To = w.times(e.now)
			list, err := e.client.Journal(ctx, q)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"entries": nonNil(list)})
			}
			t := e.newTable("AT (UTC)", "BY", "WHAT", "INCIDENT", "ABOUT", "TEXT")
			for _, j := range list {
				t.add(clock(j.At), fallback(j.By, "triage"), strings.ReplaceAll(string(j.Kind), "_", " "), fallback(j.Incident, "-"),
					fallback(j.Ref, "-"), fallback(j.Text, "-"))
			}
			return t.print("nothing was done")
		}),
	}
	cmd.Flags().StringVar(&q.Incident, "incident", "", "only what is about this incident")
	cmd.Flags().IntVar(&q.Limit, "limit", 0, "how many at most, the newest (the server's default without it)")
	w.flags(cmd, " (an hour before the end without it)")
	return cmd
}

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

func diagnoseCommand(o *options) *cobra.Command {
	var r client.DiagnoseRequest
	var w window
	var markdown bool
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "Ask for a verdict now: what is wrong, where, and why",
		Example: `  triage diagnose --service cart --from -15m
  triage diagnose --incident INC-3`,
		Args: args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			if r.Incident != "" && (r.Service != "" || r.Operation != "") {
				return &usageError{errors.New("--incident says already what suffers: leave out --service and --operation")}
			}
			r.From, r.To = w.times(e.now)
			if markdown {
				text, err := e.client.DiagnoseMarkdown(ctx, r, e.lang)
				return e.printText(text, err)
			}
			v, err := e.client.Diagnose(ctx, r)
			return e.printVerdict(v, err)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&r.Service, "service", "", "the service that suffers (the worst one without it)")
	flags.StringVar(&r.Operation, "operation", "", "the operation of it that suffers")
	flags.StringVar(&r.Incident, "incident", "", "diagnose an incident again")
	flags.BoolVar(&markdown, "markdown", false, "print Markdown")
	w.flags(cmd, " (five minutes ago without it)")
	mustComplete(cmd.RegisterFlagCompletionFunc("service", o.completeServices))
	mustComplete(cmd.RegisterFlagCompletionFunc("incident", o.completeIncidents))
	return cmd
}

func incidentsCommand(o *options) *cobra.Command {
	return listGroup(&cobra.Command{
		Use:     "incidents",
		Aliases: []string{"incident", "inc"},
		Short:   "List incidents, show one, read its verdict, and say what you do about it",
	}, incidentsList(o), incidentsShow(o), incidentsVerdict(o), incidentsTimeline(o), incidentsAck(o), incidentsAssign(o), incidentsNote(o),
		incidentsMerge(o), incidentsSplit(o), incidentsSilence(o), incidentsPostmortem(o))
}

func incidentsList(o *options) *cobra.Command {
	var status string
	var limit int
	var check bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List incidents, newest first",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			if status != "" && status != string(client.IncidentOpen) && status != string(client.IncidentResolved) {
				return &usageError{fmt.Errorf(`--status %s: want "open" or "resolved"`, status)}
			}
			list, err := e.client.Incidents(ctx, client.IncidentsQuery{Status: client.IncidentStatus(status), Limit: limit})
			if err != nil {
				return err
			}
			if err := e.printIncidents(list); err != nil || !check {
				return err
			}
			open := slices.DeleteFunc(list, func(i client.Incident) bool { return i.Status != client.IncidentOpen })
			if len(open) > 0 {
				return checkError(plural(len(open), "open incident"))
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&status, "status", "", `only "open" or "resolved" ones`)
	cmd.Flags().IntVar(&limit, "limit", 0, "how many at most (the server's default without it)")
	cmd.Flags().BoolVar(&check, "check", false, "end with code 5 if an incident is open")
	mustComplete(cmd.RegisterFlagCompletionFunc("status",
		cobra.FixedCompletions([]string{"open", "resolved"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func (e *env) printIncidents(list []client.Incident) error {
	if e.json {
		return e.printJSON(map[string]any{"incidents": nonNil(list)})
	}
	t := e.newTable("ID", "STATUS", "ONSET (UTC)", ">LASTED", "ALARMS", "TITLE", "CAUSE")
	for _, i := range list {
		end := i.ResolvedAt
		if end.IsZero() {
			end = e.now
		}
		t.add(i.ID, statusCell(i.Status), clock(i.Onset), ago(i.Onset, end), len(i.Alarms), i.Title, cause(i.Verdict))
	}
	return t.print("no incidents")
}

func statusCell(s client.IncidentStatus) cell {
	if s == client.IncidentOpen {
		return cell{string(s), red}
	}
	return cell{string(s), green}
}

// cause is a verdict in a few words.
func cause(v *client.Verdict) string {
	switch {
	case v == nil:
		return "not diagnosed yet"
	case v.Why == nil:
		return "no cause found"
	}
	return fmt.Sprintf("%s at %s (%s, %.0f%%)", v.Why.Mechanism, v.Why.Entity, v.Why.Class, v.Why.Confidence*100)
}

func incidentsShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "show ID",
		Short:             "Show an incident: its alarms and the newest verdict",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: first(o.completeIncidents),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			i, err := e.client.Incident(ctx, args[0])
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(i)
			}
			if err := e.printf("%s %s: %s\n", e.paint(bold, clean(i.ID)), e.paint(statusCell(i.Status).style, string(i.Status)), clean(i.Title)); err != nil {
				return err
			}
			resolved := ""
			if !i.ResolvedAt.IsZero() {
				resolved = ", resolved " + clock(i.ResolvedAt)
			}
			if err := e.printf("began %s, opened %s%s (UTC)%s\n\n", clock(i.Onset), clock(i.OpenedAt), resolved, clean(careOf(i))); err != nil {
				return err
			}
			if err := e.printAlarms(i.Alarms); err != nil {
				return err
			}
			if i.Verdict == nil {
				return e.printf("\nNo verdict yet.\n")
			}
			return e.printf("\n%s", ended(cleanLines(verdictText(*i.Verdict, e.lang))))
		}),
	}
}

func incidentsVerdict(o *options) *cobra.Command {
	var revision int
	var markdown, all bool
	cmd := &cobra.Command{
		Use:               "verdict ID",
		Short:             "Print the verdict on an incident",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: first(o.completeIncidents),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			switch {
			case all && (markdown || revision != 0):
				return &usageError{errors.New("--all lists the revisions: leave out --revision and --markdown")}
			case all:
				list, err := e.client.Verdicts(ctx, args[0])
				return e.printRevisions(list, err)
			case markdown:
				text, err := e.client.VerdictMarkdown(ctx, args[0], revision, e.lang)
				return e.printText(text, err)
			}
			v, err := e.client.Verdict(ctx, args[0], revision)
			return e.printVerdict(v, err)
		}),
	}
	cmd.Flags().IntVar(&revision, "revision", 0, "this revision (the newest without it)")
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print Markdown")
	cmd.Flags().BoolVar(&all, "all", false, "list all revisions")
	return cmd
}

func (e *env) printRevisions(list []client.Verdict, err error) error {
	if err != nil {
		return err
	}
	if e.json {
		return e.printJSON(map[string]any{"verdicts": nonNil(list)})
	}
	t := e.newTable(">REVISION", "AT (UTC)", "CAUSE", ">EVIDENCE", ">RULED OUT")
	for _, v := range list {
		t.add(v.Revision, clock(v.At), cause(&v), len(v.Evidence), len(v.RuledOut))
	}
	return t.print("no verdict yet")
}

func (e *env) printVerdict(v client.Verdict, err error) error {
	if err != nil {
		return err
	}
	if e.json {
		return e.printJSON(v)
	}
	return e.printText(verdictText(v, e.lang), nil)
}

func (e *env) printText(text string, err error) error {
	if err != nil {
		return err
	}
	return e.printf("%s", ended(cleanLines(text)))
}

// verdictText is a verdict in a language, in another one, or, from a server that gave no text, in one sentence.
func verdictText(v client.Verdict, lang string) string {
	if text := fallback(v.Text[lang], v.Text["en"]); text != "" {
		return text
	}
	return strings.TrimSpace(v.What.Service+" "+v.What.Operation) + ": " + cause(&v)
}

// ended is a text that ends in one line break.
func ended(s string) string { return strings.TrimRight(s, "\n") + "\n" }

// nonNil makes an empty list [] in JSON.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

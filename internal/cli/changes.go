package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"triage/client"
)

func changesCommand(o *options) *cobra.Command {
	return listGroup(&cobra.Command{
		Use:     "changes",
		Aliases: []string{"change"},
		Short:   "Record what people change, and list it",
	}, changesList(o), changesRecord(o))
}

func changesRecord(o *options) *cobra.Command {
	var c client.Change
	var at moment
	cmd := &cobra.Command{
		Use:   "record",
		Short: "Record a deployment, a flag, a setting: something altered on purpose",
		Example: `  triage changes record --kind deployment --service cart --version 2.4.0 --by ci
  triage changes record --kind flag --key new-pricing --old off --new on`,
		Args: args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			if c.Service == "" && c.Key == "" {
				return &usageError{errors.New("a change needs --service or --key")}
			}
			c.At = at.at(e.now)
			stored, err := e.client.RecordChange(ctx, c)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(stored)
			}
			return e.printf("recorded %s as %s, in effect since %s (UTC)\n", clean(string(stored.Entity())), clean(stored.ID), clock(stored.At))
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Kind, "kind", "deployment", "deployment, configuration, flag, scaling or a word of your own")
	flags.StringVar(&c.Service, "service", "", "the service it touched (all without it)")
	flags.StringVar(&c.Version, "version", "", "the version deployed")
	flags.StringVar(&c.Key, "key", "", "the flag or setting")
	flags.StringVar(&c.From, "old", "", "its value before")
	flags.StringVar(&c.To, "new", "", "its value now")
	flags.StringVar(&c.By, "by", "", "who or what did it")
	flags.StringVar(&c.Summary, "summary", "", "what it was, in a line")
	flags.StringVar(&c.Link, "link", "", "where to read more")
	flags.StringVar(&c.ID, "id", "", "an ID that makes recording it again harmless")
	flags.StringToStringVar(&c.Attrs, "attr", nil, "an attribute, as key=value; may be repeated")
	flags.Var(&at, "at", `when it took effect: RFC 3339, Unix seconds, or how long ago as in "-15m" (now without it)`)
	mustComplete(cmd.RegisterFlagCompletionFunc("service", o.completeServices))
	mustComplete(cmd.RegisterFlagCompletionFunc("kind",
		cobra.FixedCompletions([]string{"deployment", "configuration", "flag", "scaling"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func changesList(o *options) *cobra.Command {
	var w window
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List changes, oldest first",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			from, to := w.times(e.now)
			list, err := e.client.Changes(ctx, from, to)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"changes": nonNil(list)})
			}
			t := e.newTable("AT (UTC)", "KIND", "WHAT", "FROM", "TO", "BY", "SOURCE", "SUMMARY")
			for _, c := range list {
				t.add(clock(c.At), c.Kind, strings.TrimPrefix(string(c.Entity()), "change:"), fallback(c.From, "-"), fallback(c.To, "-"),
					fallback(c.By, "-"), c.Source, c.Summary)
			}
			return t.print("no changes")
		}),
	}
	w.flags(cmd, " (an hour before the end without it)")
	return cmd
}

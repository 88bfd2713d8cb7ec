package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triage/client"
)

func notifyCommand(o *options) *cobra.Command {
	return listGroup(&cobra.Command{
		Use:     "notify",
		Aliases: []string{"notifications"},
		Short:   "List who was told of incidents, and test who can be told",
	}, notifyList(o), notifyReceivers(o), notifyTest(o))
}

func notifyList(o *options) *cobra.Command {
	var incident string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List messages that wait and that were sent last, newest first",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			list, err := e.client.Notifications(ctx, incident, limit)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"notifications": nonNil(list)})
			}
			t := e.newTable("AT (UTC)", "INCIDENT", "REASON", "RECEIVER", "BY", "STATE", ">ATTEMPTS", "ERROR")
			for _, n := range list {
				t.add(clock(n.Created), n.Incident, n.Reason, n.Receiver, n.Integration, messageCell(n), fmt.Sprint(n.Attempts), fallback(n.Error, "-"))
			}
			return t.print("nobody was told of anything")
		}),
	}
	cmd.Flags().StringVar(&incident, "incident", "", "only of this incident")
	cmd.Flags().IntVar(&limit, "limit", 0, "how many at most (the server's default without it)")
	return cmd
}

func messageCell(n client.Notification) cell {
	switch {
	case n.Done.IsZero():
		return cell{"waits", yellow}
	case n.Error != "":
		return cell{"lost", red}
	}
	return cell{"sent", green}
}

func notifyReceivers(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "receivers",
		Short: "List who can be told",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			list, err := e.client.Receivers(ctx)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"receivers": nonNil(list)})
			}
			t := e.newTable("RECEIVER", "BY")
			for _, r := range list {
				t.add(r.Name, fallback(strings.Join(r.Integrations, ", "), "-"))
			}
			return t.print("no receivers: name them under notify in the configuration")
		}),
	}
}

func notifyTest(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "test RECEIVER",
		Short: "Tell a receiver that it can be told; ends with code 5 if it did not take the message",
		Args:  args(cobra.ExactArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			results, err := e.client.TestReceiver(ctx, args[0])
			if err != nil {
				return err
			}
			failed := 0
			for _, r := range results {
				if r.Error != "" {
					failed++
				}
			}
			if e.json {
				err = e.printJSON(map[string]any{"results": nonNil(results)})
			} else {
				t := e.newTable("BY", "RESULT", ">SECONDS", "ERROR")
				for _, r := range results {
					c := cell{"sent", green}
					if r.Error != "" {
						c = cell{"failed", red}
					}
					t.add(r.Integration, c, fmt.Sprintf("%.2f", r.Seconds), fallback(r.Error, "-"))
				}
				err = t.print("the receiver has no integrations: it is told nothing")
			}
			if err == nil && failed > 0 {
				return checkError(plural(failed, "message") + " not taken")
			}
			return err
		}),
	}
}

func silencesCommand(o *options) *cobra.Command {
	return listGroup(&cobra.Command{
		Use:     "silences",
		Aliases: []string{"silence"},
		Short:   "Keep alarms from being told for a while",
	}, silencesList(o), silencesAdd(o), silencesEnd(o))
}

func silencesList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List silences, those that end last first",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			list, err := e.client.Silences(ctx)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"silences": nonNil(list)})
			}
			t := e.newTable("ID", "STATE", "MATCHERS", "FROM (UTC)", "TO (UTC)", "BY", "COMMENT")
			for _, s := range list {
				state := cell{"active", green}
				switch {
				case !s.Ends.After(e.now):
					state = cell{"over", yellow}
				case s.Starts.After(e.now):
					state = cell{"to come", yellow}
				}
				t.add(s.ID, state, strings.Join(s.Matchers, " "), clock(s.Starts), clock(s.Ends), fallback(s.By, "-"), fallback(s.Comment, "-"))
			}
			return t.print("no silences")
		}),
	}
}

func silencesAdd(o *options) *cobra.Command {
	var s client.Silence
	var length time.Duration
	cmd := &cobra.Command{
		Use:     "add MATCHER...",
		Short:   "Silence alarms that all matchers match",
		Example: `  triage silences add 'service="cart"' 'alertname=~"errors|duration"' --for 2h --comment "moving the database"`,
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			if length <= 0 {
				return &usageError{errors.New("--for: say how long, 2h for example")}
			}
			s.Matchers, s.Starts, s.Ends = args, e.now.UTC(), e.now.Add(length).UTC()
			saved, err := e.client.PutSilence(ctx, s)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(saved)
			}
			return e.printf("silence %s until %s (UTC)\n", clean(saved.ID), clock(saved.Ends))
		}),
	}
	cmd.Flags().DurationVar(&length, "for", 0, "how long, 30m or 2h")
	cmd.Flags().StringVar(&s.By, "by", "", "who wants it")
	cmd.Flags().StringVar(&s.Comment, "comment", "", "why")
	return cmd
}

func silencesEnd(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "end ID...",
		Short: "End silences now",
		Args:  args(cobra.MinimumNArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			for _, id := range args {
				if err := e.client.EndSilence(ctx, id); err != nil {
					return fmt.Errorf("end silence %s: %w", id, err)
				}
			}
			if e.json {
				return e.printJSON(map[string]any{"ended": args})
			}
			return e.printf("%s ended\n", plural(len(args), "silence"))
		}),
	}
}

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"triage/client"
)

func alarmsCommand(o *options) *cobra.Command {
	return listGroup(&cobra.Command{
		Use:     "alarms",
		Aliases: []string{"alarm"},
		Short:   "List alarms and their history; add, replace, delete and try rules",
	}, alarmsList(o), alarmsRules(o), alarmsHistory(o), alarmsPut(o), alarmsDelete(o), alarmsBacktest(o))
}

var alarmStates = []string{string(client.StateOK), string(client.StateAlarm), string(client.StateInsufficient)}

func alarmsList(o *options) *cobra.Command {
	var state string
	var check bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List alarms as they stand",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			if state != "" && !slices.Contains(alarmStates, state) {
				return &usageError{fmt.Errorf("--state %s: want one of %v", state, alarmStates)}
			}
			list, err := e.client.Alarms(ctx, client.AlarmState(state))
			if err != nil {
				return err
			}
			if e.json {
				err = e.printJSON(map[string]any{"alarms": nonNil(list.Alarms), "rules": nonNil(list.Rules)})
			} else {
				err = e.printAlarms(list.Alarms)
			}
			if err != nil || !check {
				return err
			}
			firing := slices.DeleteFunc(list.Alarms, func(a client.Alarm) bool { return a.State != client.StateAlarm })
			if len(firing) > 0 {
				return checkError(plural(len(firing), "alarm") + " in ALARM")
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "only those in this state: OK, ALARM or INSUFFICIENT_DATA")
	cmd.Flags().BoolVar(&check, "check", false, "end with code 5 if one is in ALARM")
	mustComplete(cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(alarmStates, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func (e *env) printAlarms(alarms []client.Alarm) error {
	t := e.newTable("STATE", "RULE", "SERVICE", "OPERATION", "SINCE (UTC)", ">VALUE", ">USUAL", "LATELY", "REASON")
	for _, a := range alarms {
		usual := "-"
		if a.Usual != 0 {
			usual = quantity(a.Usual, a.Unit)
		}
		t.add(alarmCell(a.State), a.Rule, fallback(a.Service, "-"), fallback(a.Operation, "-"), clock(a.Since),
			quantity(a.Value, a.Unit), usual, sparkline(a.Datapoints), a.Reason)
	}
	return t.print("no alarms")
}

func alarmCell(s client.AlarmState) cell {
	switch s {
	case client.StateOK:
		return cell{string(s), green}
	case client.StateAlarm:
		return cell{string(s), red}
	}
	return cell{string(s), yellow}
}

func alarmsRules(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "rules",
		Short: "Print the rules behind the alarms, one a line, as put takes them",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			list, err := e.client.Alarms(ctx, "")
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"rules": nonNil(list.Rules)})
			}
			for _, r := range list.Rules {
				if err := e.printLine(r); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func alarmsHistory(o *options) *cobra.Command {
	var w window
	var limit int
	cmd := &cobra.Command{
		Use:   "history [ALARM-ID]",
		Short: "List how alarms changed their state, oldest first",
		Args:  args(cobra.MaximumNArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			q := client.HistoryQuery{Limit: limit}
			q.From, q.To = w.times(e.now)
			if len(args) > 0 {
				q.Alarm = args[0]
			}
			list, err := e.client.AlarmHistory(ctx, q)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"transitions": nonNil(list)})
			}
			t := e.newTable("AT (UTC)", "FROM", "TO", "RULE", "SERVICE", "OPERATION", "REASON")
			for _, tr := range list {
				a := tr.Alarm
				t.add(clock(a.Since), alarmCell(tr.From), alarmCell(a.State), a.Rule, fallback(a.Service, "-"),
					fallback(a.Operation, "-"), a.Reason)
			}
			return t.print("no alarm changed its state")
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "how many at most (the server's default without it)")
	w.flags(cmd, " (an hour before the end without it)")
	return cmd
}

func alarmsPut(o *options) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "put -f FILE",
		Short: "Add alarm rules, or replace those of the same name",
		Long:  `put reads one rule, or a list of rules, as YAML or JSON. The file "-" is the standard input.`,
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return badUsage(cmd, errors.New("name the file with -f FILE, or -f - for the standard input"))
			}
			rules, err := readDocuments(cmd, file, "an alarm rule")
			if err != nil {
				return badUsage(cmd, err)
			}
			return o.run(func(ctx context.Context, e *env, _ []string) error {
				stored := []json.RawMessage{}
				for i, r := range rules {
					s, err := e.client.PutRule(ctx, r)
					if err != nil {
						return fmt.Errorf("rule %d of %d in %s: %w", i+1, len(rules), file, err)
					}
					stored = append(stored, s)
				}
				if e.json {
					return e.printJSON(map[string]any{"rules": stored})
				}
				return e.printf("%s stored\n", plural(len(stored), "rule"))
			})(cmd, nil)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file with the rules")
	return cmd
}

// readDocuments reads YAML, of which JSON is a part, and gives each object as JSON; what names what they should be.
func readDocuments(cmd *cobra.Command, file, what string) ([]json.RawMessage, error) {
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	var rules []json.RawMessage
	docs := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc any
		if err := docs.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s is neither YAML nor JSON: %w", file, err)
		}
		list, ok := doc.([]any)
		if !ok {
			list = []any{doc}
		}
		for _, rule := range list {
			if _, ok := rule.(map[string]any); !ok {
				return nil, fmt.Errorf("%s: %s is an object with a name, not %v", file, what, rule)
			}
			b, err := json.Marshal(rule)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			rules = append(rules, b)
		}
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("%s does not hold %s", file, what)
	}
	return rules, nil
}

func alarmsDelete(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "delete RULE...",
		Short:             "Delete alarm rules by name",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: o.completeRules,
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			for _, name := range args {
				if err := e.client.DeleteRule(ctx, name); err != nil {
					return fmt.Errorf("delete rule %s: %w", name, err)
				}
			}
			if e.json {
				return e.printJSON(map[string]any{"deleted": args})
			}
			return e.printf("%s deleted\n", plural(len(args), "rule"))
		}),
	}
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"triage/client"
)

func sloCommand(o *options) *cobra.Command {
	return listGroup(&cobra.Command{
		Use:     "slo",
		Aliases: []string{"slos"},
		Short:   "Service level objectives: what is left of their budgets, and how fast it is used up",
	}, sloList(o), sloShow(o), sloPut(o), sloDelete(o))
}

func sloList(o *options) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List objectives and how they stand",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			list, err := e.client.SLOs(ctx)
			if err != nil {
				return err
			}
			if e.json {
				err = e.printJSON(map[string]any{"slos": nonNil(list)})
			} else {
				err = e.printSLOs(list)
			}
			if err != nil || !check {
				return err
			}
			spent := 0
			for _, s := range list {
				for _, ob := range s.Objectives {
					for _, series := range ob.Series {
						if series.Remaining <= 0 {
							spent++
						}
					}
				}
			}
			if spent > 0 {
				return checkError(plural(spent, "budget") + " used up")
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&check, "check", false, "end with code 5 if a budget is used up")
	return cmd
}

func (e *env) printSLOs(list []client.SLO) error {
	t := e.newTable("SLO", "SERVICE", "OBJECTIVE", "WINDOW", ">TARGET", ">GOOD", ">BUDGET LEFT", ">BURN 1h", "LABELS")
	for _, s := range list {
		if s.Error != "" {
			t.add(s.Name, s.Service, "-", s.Window, "-", "-", "-", "-", cell{"cannot be measured: " + s.Error, red})
			continue
		}
		for _, ob := range s.Objectives {
			if len(ob.Series) == 0 {
				t.add(s.Name, s.Service, ob.Name, s.Window, share(ob.Target), "-", "-", "-", "no events")
			}
			for _, series := range ob.Series {
				left := cell{share(series.Remaining), green}
				switch {
				case series.Remaining <= 0:
					left.style = red
				case series.Remaining < 0.25:
					left.style = yellow
				}
				t.add(s.Name, s.Service, ob.Name, s.Window, share(ob.Target), share(series.Good), left, burnOver(series.Burn, "1h"), labelText(series.Labels))
			}
		}
	}
	return t.print("no service level objectives: add one with triage slo put -f FILE")
}

// share is a share in percent, with as many digits as nines need.
func share(v float64) string { return fmt.Sprintf("%.6g %%", 100*v) }

func burnOver(list []client.SLOBurn, window string) string {
	for _, b := range list {
		if b.Window == window {
			return fmt.Sprintf("%.3gx", b.Rate)
		}
	}
	return "-"
}

func labelText(labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	return fallback(strings.Join(parts, " "), "-")
}

func sloShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show one objective: budget, burn rates by window, and its alarm rules",
		Args:  args(cobra.ExactArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			d, err := e.client.SLO(ctx, args[0])
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(d)
			}
			s := d.Status
			if err := e.printf("%s of %s, over %s (%s to %s)\n", clean(s.Name), clean(s.Service), s.Window, clock(s.From), clock(s.To)); err != nil {
				return err
			}
			if err := e.printSLOs([]client.SLO{s}); err != nil {
				return err
			}
			for _, ob := range s.Objectives {
				for _, series := range ob.Series {
					line := "\nburn of " + ob.Name
					if len(series.Labels) > 0 {
						line += " " + labelText(series.Labels)
					}
					line += ":"
					for _, b := range series.Burn {
						line += fmt.Sprintf("  %s %.3gx", b.Window, b.Rate)
					}
					if series.Events != nil && series.Bad != nil {
						line += fmt.Sprintf("\n%s events, %s bad, %s allowed", digits(*series.Events), digits(*series.Bad), digits(*series.Events*(1-ob.Target)))
					}
					if err := e.printf("%s\n", cleanLines(line)); err != nil {
						return err
					}
				}
				if err := e.printf("alarm rules: %s\n", clean(strings.Join(ob.Rules, ", "))); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func sloPut(o *options) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "put -f FILE",
		Short: "Add objectives in OpenSLO's format, or replace those of the same name",
		Long: `put reads SLOs of openslo/v1 as YAML or JSON. What they refer to by name is applied with triage apply. The file "-" is the
standard input.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return badUsage(cmd, errors.New("name the file with -f FILE, or -f - for the standard input"))
			}
			list, err := readDocuments(cmd, file, "an SLO")
			if err != nil {
				return badUsage(cmd, err)
			}
			return o.run(func(ctx context.Context, e *env, _ []string) error {
				stored := []json.RawMessage{}
				for i, s := range list {
					b, err := e.client.PutSLO(ctx, s)
					if err != nil {
						return fmt.Errorf("SLO %d of %d in %s: %w", i+1, len(list), file, err)
					}
					stored = append(stored, b)
				}
				if e.json {
					return e.printJSON(map[string]any{"slos": stored})
				}
				return e.printf("%s stored\n", plural(len(stored), "SLO"))
			})(cmd, nil)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file with the objectives")
	return cmd
}

func sloDelete(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete objectives with their alarms",
		Args:  args(cobra.MinimumNArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			for _, name := range args {
				if err := e.client.DeleteSLO(ctx, name); err != nil {
					return fmt.Errorf("delete SLO %s: %w", name, err)
				}
			}
			if e.json {
				return e.printJSON(map[string]any{"deleted": args})
			}
			return e.printf("%s deleted\n", plural(len(args), "SLO"))
		}),
	}
}

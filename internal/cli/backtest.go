package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"triage/client"
)

func alarmsBacktest(o *options) *cobra.Command {
	var from, to moment
	var perWeek float64
	cmd := &cobra.Command{
		Use:   "backtest FILE",
		Short: "Replay rules over stored data: each page they would have sent, how long, how many a week",
		Long: `backtest reads rules as put does, and replays each over what is stored. Nothing is stored and nobody is told. With
--per-week it also proposes the threshold that would give at most so many pages a week.`,
		Example: `  triage alarms backtest rule.yml --from -14d --per-week 1`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			rules, err := readDocuments(cmd, names[0], "an alarm rule")
			if err != nil {
				return badUsage(cmd, err)
			}
			return o.run(func(ctx context.Context, e *env, _ []string) error {
				q := client.BacktestRequest{From: from.at(e.now), To: to.at(e.now)}
				if cmd.Flags().Changed("per-week") {
					q.PerWeek = &perWeek
				}
				done := []client.Backtest{}
				for i, r := range rules {
					q.Rule = r
					b, err := e.client.Backtest(ctx, q)
					if err != nil {
						return fmt.Errorf("rule %d of %d in %s: %w", i+1, len(rules), names[0], err)
					}
					done = append(done, b)
				}
				if e.json {
					return e.printJSON(map[string]any{"backtests": done})
				}
				for _, b := range done {
					if err := e.printBacktest(b); err != nil {
						return err
					}
				}
				return nil
			})(cmd, nil)
		},
	}
	cmd.Flags().Var(&from, "from", `the beginning: RFC 3339, Unix seconds, or how long ago as in "-14d" (a week without it)`)
	cmd.Flags().Var(&to, "to", "the end (now without it)")
	cmd.Flags().Float64Var(&perWeek, "per-week", 0, "propose a threshold that gives at most so many pages a week")
	return cmd
}

func (e *env) printBacktest(b client.Backtest) error {
	t := e.newTable("FROM (UTC)", "TO (UTC)", ">LASTED", ">VALUE", ">THRESHOLD", "ALARM")
	for _, p := range b.Pages {
		end := clock(p.To)
		if p.Lasts {
			end = "lasts"
		}
		t.add(clock(p.From), end, (time.Duration(p.Seconds) * time.Second).String(), quantity(p.Value, ""), quantity(p.Threshold, ""), p.Alarm)
	}
	if err := e.printf("%s: %s in %s, %.3g a week; %s of %s\n", clean(b.Rule), plural(len(b.Pages), "page"), b.To.Sub(b.From), b.PerWeek,
		plural(b.Datapoints, "datapoint"), plural(b.Contributors, "label set")); err != nil {
		return err
	}
	if err := t.print("it would have sent no page"); err != nil {
		return err
	}
	if p := b.Proposal; p != nil {
		return e.printf("a threshold of %.6g gives %.3g a week\n", p.Threshold, p.PerWeek)
	}
	return nil
}

package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"triage/internal/cli/load"
)

func loadCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "load",
		Short: "Send made-up telemetry over OTLP and measure how it is taken",
		Long: `load sends spans, log lines or metrics over OTLP gRPC for a bounded time, and reports what was acknowledged, how
fast, and with which errors. Latency counts from when a request was due, so that a receiver that cannot keep up shows.`,
	},
		loadSignal(o, load.Spans, "Send traces of several spans, 15 attributes each"),
		loadSignal(o, load.Logs, "Send log lines of a few frequent and many rare forms"),
		loadSignal(o, load.Metrics, "Send gauges, counters and histograms"),
		loadSignal(o, load.Requests, "Send traces, and as many log lines that are part of them"),
	)
}

func loadSignal(o *options, signal load.Signal, short string) *cobra.Command {
	l := load.Options{Signal: signal}
	cmd := &cobra.Command{
		Use:     string(signal),
		Short:   short,
		Example: fmt.Sprintf("  triage load %s --rate 5000 --for 30s", signal),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			e := o.env(cmd)
			if l.Batch == 0 {
				l.Batch = batchFor(l.Rate)
			}
			if f, ok := cmd.ErrOrStderr().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
				l.Progress = func(acknowledged int64, elapsed time.Duration) {
					fmt.Fprintf(f, "\r%s acknowledged in %s ", count(acknowledged), elapsed.Round(time.Second))
				}
				defer fmt.Fprint(f, "\r\x1b[K")
			}
			r, err := load.Run(cmd.Context(), l)
			switch {
			case errors.Is(err, load.ErrNotLoopback):
				return badUsage(cmd, fmt.Errorf("%w; if that is meant, say --allow-remote", err))
			case errors.Is(err, load.ErrUnreachable):
				return &unreachableError{err.Error() + ": start one with \"triage serve\", or name it with --to", err}
			case err != nil:
				return badUsage(cmd, err)
			}
			if e.json {
				err = e.printJSON(r)
			} else {
				err = e.printf("%s", loadText(r))
			}
			if err == nil && len(r.Errors) > 0 {
				err = fmt.Errorf("%s of %s requests were not acknowledged", count(failures(r)), count(r.Requests))
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&l.Target, "to", "127.0.0.1:4317", "the OTLP gRPC receiver, as host:port")
	flags.Float64Var(&l.Rate, "rate", 1000, "items a second; 0 is as fast as they are taken")
	flags.DurationVar(&l.For, "for", 10*time.Second, "how long to send")
	flags.Int64Var(&l.Count, "count", 0, "stop after so many items; 0 is no limit")
	flags.DurationVar(&l.Over, "over", 0, "date the items evenly over the last so long, not as they are sent")
	if signal == load.Spans || signal == load.Requests {
		flags.StringVar(&l.Slow.Service, "slow", "", "a service that is slower towards the end, such as \"pricing\"")
		flags.DurationVar(&l.Slow.By, "slow-by", 0, "by how much it is slower")
		flags.DurationVar(&l.Slow.For, "slow-for", 0, "how long before the end that begins")
	}
	flags.IntVar(&l.Batch, "batch", 0, "items a request (a tenth of the rate, 500 at most, without it)")
	flags.IntVar(&l.Workers, "workers", 4, "requests in flight at most")
	flags.Uint64Var(&l.Seed, "seed", 1, "makes the same shapes again; identifiers are always new")
	flags.BoolVar(&l.Gzip, "gzip", false, "compress requests")
	flags.BoolVar(&l.AllowRemote, "allow-remote", false, "send to another machine than this one")
	if signal == load.Metrics {
		flags.IntVar(&l.Series, "series", 1000, "how many series")
	}
	return cmd
}

// batchFor gives ten requests a second at low rates and batches of 500, like a Collector's, at high ones.
func batchFor(rate float64) int {
	if rate == 0 {
		return 500
	}
	return max(1, min(500, int(rate/10)))
}

func failures(r load.Report) (n int64) {
	for _, c := range r.Errors {
		n += c
	}
	return n
}

func loadText(r load.Report) string {
	var out strings.Builder
	asked := "as many as it takes"
	if r.Asked > 0 {
		asked = count(int64(r.Asked)) + "/s asked"
	}
	fmt.Fprintf(&out, "%s to %s for %.1f s\n", r.Signal, r.Target, r.Seconds)
	fmt.Fprintf(&out, "rate          %s/s acknowledged, %s\n", count(int64(r.Achieved)), asked)
	fmt.Fprintf(&out, "acknowledged  %s of %s sent in %s requests", count(r.Acknowledged), count(r.Sent), count(r.Requests))
	if r.Rejected > 0 {
		fmt.Fprintf(&out, ", %s refused one by one", count(r.Rejected))
	}
	fmt.Fprintf(&out, "\nlatency       p50 %s, p90 %s, p99 %s, max %s\n", seconds(r.P50), seconds(r.P90), seconds(r.P99), seconds(r.Max))
	if len(r.Errors) == 0 {
		out.WriteString("errors        none\n")
		return out.String()
	}
	for _, code := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(&out, "errors        %s %s\n", count(r.Errors[code]), code)
	}
	fmt.Fprintf(&out, "the last one  %s\n", clean(r.LastError))
	return out.String()
}

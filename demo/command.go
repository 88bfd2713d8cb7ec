// Package demo is `triage demo`: it starts triage as a user would, a real shop that reports to it, and customers; then
// it breaks something, and compares the first verdict with what it broke.
//
//	triage demo ──starts──> triage serve <──OTLP── storefront, order, inventory, payment, notification, promotion
//	     │  └──customers────────────────────────────^   ^
//	     ├──breaks something────────────────────────────┘
//	     └──asks the public API for incidents and verdicts
//
// A session is one triage and one shop; a trial is one thing to break in it. What the user asks for (scenarios, all of
// them, a quiet time, an exam) is a list of trials, run one after the other in one session:
//
//	learn ─> [settle ─> prepare ─> wait ─> inject ─> first verdict ─> take back] ─> ... ─> summary
//
// The judge is blind: this package talks to triage through the API's client only, and blind_test.go holds that no name
// of the shop occurs in the judge's code.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"triage/demo/scenario"
	"triage/demo/shop"
)

// Options is what a user of the command can choose. Of Scenarios, All, QuietFor and Exam one is set.
type Options struct {
	Scenarios []string
	// All runs each plain scenario, and then the quiet one.
	All bool
	// QuietFor only looks on for that long.
	QuietFor time.Duration
	// Exam runs as many cases as Runs says, drawn by the seed, with services renamed if Rename is set. Out is the file that
	// keeps the finished ones; empty is exam-SEED.jsonl in Data, or here.
	Exam   bool
	Runs   int
	Rename bool
	Out    string
	// Once ends the demo with the last verdict; otherwise it goes on until interrupted.
	Once bool
	// JSON prints lines for programs instead of text.
	JSON bool
	// Data is where triage keeps what it receives; empty is a directory that is removed in the end.
	Data string
	// Keep leaves the directory with data and logs behind.
	Keep bool
	// Record, if not empty, is the directory in which each case's recording gets one of its own.
	Record string
	Warmup time.Duration
	Rate   float64
	Seed   uint64
	// HTTP, OTLPGRPC and OTLPHTTP are the addresses that triage listens on.
	HTTP, OTLPGRPC, OTLPHTTP string
}

// UsageError is a mistake of whoever typed the command; programs exit with 2 for it.
type UsageError struct{ error }

// Unwrap returns the error as it was.
func (e UsageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Command is `triage demo`.
func Command() *cobra.Command {
	o := Options{}
	var names strings.Builder
	var completions []cobra.Completion
	for _, s := range scenario.All() {
		fmt.Fprintf(&names, "  %-18s %s\n", s.Name, s.About)
		completions = append(completions, cobra.CompletionWithDesc(s.Name, s.About))
	}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start triage with a shop that breaks, and see the verdict",
		Long: `Start triage, a shop of six services with a database, a message broker and customers, break something, and print
the verdict. The page at http://127.0.0.1:4320/ shows it all.

Only the first verdict after the injection counts. The exit status is 0 if each one named exactly what was broken;
with --all if at most two were wrong and nothing was found in the quiet five minutes; with --quiet-for if at most one
verdict blamed something; with --exam if it was finished. It is 2 for a mistake in the command line, and else 1.

An exam draws what breaks, where, how hard and when, and a third of its cases is made to confuse. Finished runs are
kept in a file, so that an exam that was interrupted goes on when it is started again.

Scenarios:
` + names.String(),
		Example: `  triage demo
  triage demo --scenario network-delay --once
  triage demo --all --once
  triage demo --exam --runs 40 --seed 7`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("%q: what to break is named by --scenario", args[0])
			}
			return nil
		},
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := exclusive(cmd.Flags().Changed); err != nil {
				return err
			}
			return Run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Scenarios, "scenario", scenario.Names()[:1], "what to break, one after the other")
	f.BoolVar(&o.All, "all", false, "break eleven things, of all kinds, one after the other, then look on for five quiet minutes")
	f.DurationVar(&o.QuietFor, "quiet-for", 0, "break nothing, and count what is found nevertheless in that time")
	f.BoolVar(&o.Exam, "exam", false, "examine triage with cases that are drawn")
	f.IntVar(&o.Runs, "runs", 40, "cases of the exam")
	f.BoolVar(&o.Rename, "rename", false, "give the services other names in the exam, also one another's")
	f.StringVar(&o.Out, "out", "", "file of the exam's finished runs; default exam-SEED.jsonl, in --data if given")
	f.BoolVar(&o.Once, "once", false, "end after the verdict")
	f.BoolVar(&o.JSON, "json", false, "print one JSON object a case on standard output, and one of the summary")
	f.StringVar(&o.Data, "data", os.Getenv("TRIAGE_DATA"), "directory for what triage stores; default a temporary one (TRIAGE_DATA)")
	f.BoolVar(&o.Keep, "keep", false, "keep data and logs")
	f.StringVar(&o.Record, "record", "", "directory for a recording of each case, with what was broken in it; waits 75 s before each")
	f.DurationVar(&o.Warmup, "warmup", 60*time.Second, "normal traffic before anything breaks")
	f.Float64Var(&o.Rate, "rate", 30, "requests a second")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the customers' behaviour and of the exam")
	f.StringVar(&o.HTTP, "listen-http", env("TRIAGE_LISTEN_HTTP", "127.0.0.1:4320"), "address of the page and the API (TRIAGE_LISTEN_HTTP)")
	f.StringVar(&o.OTLPGRPC, "listen-otlp-grpc", env("TRIAGE_LISTEN_OTLP_GRPC", "127.0.0.1:4317"), "address of OTLP over gRPC (TRIAGE_LISTEN_OTLP_GRPC)")
	f.StringVar(&o.OTLPHTTP, "listen-otlp-http", env("TRIAGE_LISTEN_OTLP_HTTP", "127.0.0.1:4318"), "address of OTLP over HTTP (TRIAGE_LISTEN_OTLP_HTTP)")
	for _, err := range []error{
		cmd.RegisterFlagCompletionFunc("scenario", cobra.FixedCompletions(completions, cobra.ShellCompDirectiveNoFileComp)),
		cmd.MarkFlagDirname("data"), cmd.MarkFlagDirname("record"),
	} {
		if err != nil {
			panic("BUG: " + err.Error())
		}
	}
	cmd.AddCommand(&cobra.Command{
		Use:           "service NAME",
		Hidden:        true,
		Args:          cobra.ExactArgs(1), // the name is for those who read a list of processes
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return shop.Main(cmd.Context(), cmd.InOrStdin())
		},
	})
	return cmd
}

// exclusive refuses flags that ask for two things at once, or for something that is not asked for.
func exclusive(given func(flag string) bool) error {
	kinds := slices.DeleteFunc([]string{"scenario", "all", "quiet-for", "exam"}, func(f string) bool { return !given(f) })
	if len(kinds) > 1 {
		return usage("--%s: one at a time", strings.Join(kinds, " and --"))
	}
	for _, f := range []string{"runs", "rename", "out"} {
		if given(f) && !given("exam") {
			return usage("--%s is for --exam, which is missing", f)
		}
	}
	if given("record") && given("quiet-for") {
		return usage("--record records what breaks, and with --quiet-for nothing does")
	}
	return nil
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// validate reports every problem at once.
func (o Options) validate() error {
	var errs []error
	if o.Rate <= 0 {
		errs = append(errs, fmt.Errorf("--rate %g: customers come at some rate above 0", o.Rate))
	}
	if o.Warmup < 0 {
		errs = append(errs, fmt.Errorf("--warmup %s is less than nothing", o.Warmup))
	}
	if o.QuietFor < 0 {
		errs = append(errs, fmt.Errorf("--quiet-for %s is less than nothing", o.QuietFor))
	}
	if o.Exam && o.Runs < 1 {
		errs = append(errs, fmt.Errorf("--runs %d: an exam has at least one", o.Runs))
	}
	if len(errs) > 0 {
		return UsageError{errors.Join(errs...)}
	}
	return nil
}

// Run does what the options ask for, and returns an error unless it came out as Command's help says. A hang-up ends it as
// Ctrl-C does: nothing it started may stay behind.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := o.validate(); err != nil {
		return err
	}
	if o.Exam {
		return examine(ctx, o, stdout, stderr)
	}
	trials, err := o.trials()
	if err != nil {
		return err
	}
	return perform(ctx, o, trials, stdout, stderr)
}

// trials are those of Scenarios, All or QuietFor.
func (o Options) trials() ([]trial, error) {
	var scenarios []scenario.Scenario
	switch {
	case o.All:
		scenarios = scenario.Survey()
	case o.QuietFor > 0:
		s, err := scenario.Find("quiet")
		if err != nil {
			return nil, err
		}
		scenarios = append(scenarios, s)
	default:
		for _, name := range o.Scenarios {
			s, err := scenario.Find(name)
			if err != nil {
				return nil, UsageError{err}
			}
			scenarios = append(scenarios, s)
		}
	}
	var trials []trial
	for i, s := range scenarios {
		t := trial{name: s.Name, about: s.About, Case: s.Draw(scenario.Standard(nil)), rate: 1, tolerated: -1}
		t.record = o.recording(i+1, s.Name)
		t.stay = i == len(scenarios)-1 && !o.Once
		if o.QuietFor > 0 {
			t.For, t.tolerated, t.stay = o.QuietFor, 1, false
		}
		trials = append(trials, t)
	}
	return trials, nil
}

// recording is the directory for a case's recording; empty without --record.
func (o Options) recording(number int, name string) string {
	if o.Record == "" {
		return ""
	}
	return filepath.Join(o.Record, fmt.Sprintf("%02d-%s-S%d", number, name, o.Seed))
}

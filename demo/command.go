// Package demo is `triage demo`: it starts triage as a user would, a real shop that reports to it, and customers; then
// it breaks something, and compares the first verdict with what it broke.
//
//	triage demo ──starts──> triage serve <──OTLP── storefront, order, inventory, payment, notification, promotion
//	     │  └──customers────────────────────────────^   ^
//	     ├──breaks something────────────────────────────┘
//	     └──asks the public API for incidents and verdicts
//
// The judge is blind: this package talks to triage through the API's client only, and blind_test.go holds that no name
// of the shop occurs in the judge's code.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"triage/demo/scenario"
	"triage/demo/shop"
)

// Options is what a user of the command can choose.
type Options struct {
	Scenarios []string
	// Once ends the demo with the verdict; otherwise it goes on until interrupted.
	Once bool
	// JSON prints a line for programs instead of the verdict's text.
	JSON bool
	// Data is where triage keeps what it receives; empty is a directory that is removed in the end.
	Data string
	// Keep leaves the directory with data and logs behind.
	Keep   bool
	Warmup time.Duration
	Rate   float64
	Seed   uint64
	// HTTP, OTLPGRPC and OTLPHTTP are the addresses that triage listens on.
	HTTP, OTLPGRPC, OTLPHTTP string
}

// Command is `triage demo`.
func Command() *cobra.Command {
	o := Options{}
	var names strings.Builder
	for _, s := range scenario.All() {
		fmt.Fprintf(&names, "  %-16s %s\n", s.Name, s.About)
	}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start triage with a shop that breaks, and see the verdict",
		Long: `Start triage, a shop of six services with a database, a message broker and customers, break something, and print
the verdict. The page at http://127.0.0.1:4320/ shows it all.

The exit status is 0 only if each verdict named exactly what was broken.

Scenarios:
` + names.String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return Run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Scenarios, "scenario", scenario.Names()[:1], "what to break, one after the other: "+strings.Join(scenario.Names(), ", "))
	f.BoolVar(&o.Once, "once", false, "end after the verdict")
	f.BoolVar(&o.JSON, "json", false, "print one JSON object a scenario on standard output")
	f.StringVar(&o.Data, "data", os.Getenv("TRIAGE_DATA"), "directory for what triage stores; default a temporary one (TRIAGE_DATA)")
	f.BoolVar(&o.Keep, "keep", false, "keep data and logs")
	f.DurationVar(&o.Warmup, "warmup", 60*time.Second, "normal traffic before anything breaks")
	f.Float64Var(&o.Rate, "rate", 30, "requests a second")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the customers' behaviour")
	f.StringVar(&o.HTTP, "listen-http", env("TRIAGE_LISTEN_HTTP", "127.0.0.1:4320"), "address of the page and the API (TRIAGE_LISTEN_HTTP)")
	f.StringVar(&o.OTLPGRPC, "listen-otlp-grpc", env("TRIAGE_LISTEN_OTLP_GRPC", "127.0.0.1:4317"), "address of OTLP over gRPC (TRIAGE_LISTEN_OTLP_GRPC)")
	f.StringVar(&o.OTLPHTTP, "listen-otlp-http", env("TRIAGE_LISTEN_OTLP_HTTP", "127.0.0.1:4318"), "address of OTLP over HTTP (TRIAGE_LISTEN_OTLP_HTTP)")
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

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// Result is what a scenario came to. It is printed by --json.
type Result struct {
	Scenario string    `json:"scenario"`
	Injected *Injected `json:"injected,omitempty"`
	// ForS is how long nothing was wrong, where nothing was broken.
	ForS int `json:"for_s,omitempty"`
	// Times are counted from the injection, and null for what didn't happen.
	DetectedAfterS *float64 `json:"detected_after_s,omitempty"`
	VerdictAfterS  *float64 `json:"verdict_after_s,omitempty"`
	// Verdict is the first that was sent after the injection.
	Verdict json.RawMessage `json:"verdict,omitempty"`
	Correct bool            `json:"correct"`
}

// Injected is what was broken, and when.
type Injected struct {
	scenario.Truth
	At time.Time `json:"at"`
}

// MarshalJSON writes all fields of a broken scenario, null where nothing was found, and the three of a quiet one.
func (r Result) MarshalJSON() ([]byte, error) {
	if r.Injected == nil {
		return json.Marshal(struct {
			Scenario string `json:"scenario"`
			ForS     int    `json:"for_s"`
			Correct  bool   `json:"correct"`
		}{r.Scenario, r.ForS, r.Correct})
	}
	return json.Marshal(struct {
		Scenario       string          `json:"scenario"`
		Injected       *Injected       `json:"injected"`
		DetectedAfterS *float64        `json:"detected_after_s"`
		VerdictAfterS  *float64        `json:"verdict_after_s"`
		Verdict        json.RawMessage `json:"verdict"`
		Correct        bool            `json:"correct"`
	}{r.Scenario, r.Injected, r.DetectedAfterS, r.VerdictAfterS, r.Verdict, r.Correct})
}

// Run runs the chosen scenarios one after the other, each with a triage and a shop of its own, and returns an error
// unless all came out right.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) error {
	// A terminal's hang-up ends the demo as Ctrl-C does: nothing it started may stay behind.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var scenarios []scenario.Scenario
	for _, name := range o.Scenarios {
		s, err := scenario.Find(name)
		if err != nil {
			return err
		}
		scenarios = append(scenarios, s)
	}
	if o.Rate <= 0 || o.Warmup < 0 {
		return errors.New("--rate must be above 0, and --warmup not below")
	}
	wrong := 0
	for i, s := range scenarios {
		last := i == len(scenarios)-1
		r := run{Options: o, scenario: s, began: time.Now(), out: stdout, progress: stderr, linger: last && !o.Once}
		if o.Data != "" && len(scenarios) > 1 {
			r.Data = o.Data + string(os.PathSeparator) + s.Name
		}
		correct, err := r.run(ctx)
		if ctx.Err() != nil && !correct {
			return fmt.Errorf("scenario %s was interrupted before its verdict", s.Name)
		}
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		if !correct {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d scenarios were not judged right", wrong, len(scenarios))
	}
	return nil
}

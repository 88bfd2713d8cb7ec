package app

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// UsageError is an error in what the user asked for or configured; programs exit with 2 for it.
type UsageError struct{ error }

// Unwrap returns the error as it was.
func (e UsageError) Unwrap() error { return e.error }

// Command is `triage serve`.
func Command(version string) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Receive metrics, traces and logs, and give verdicts",
		Long: `Receive metrics, traces and logs, raise alarms, and say what is wrong, where, and why.

Everything has a sensible default. Settings come from flags, then TRIAGE_ environment variables, then the file named by
--config. SIGHUP reads them again: alarm rules and scrape_configs change at once, the rest at the next start.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&check, "check", false, "check the configuration and exit")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		load := func() (Config, error) { return Load(cmd.Flags(), os.LookupEnv) }
		config, err := load()
		if err != nil {
			return UsageError{err}
		}
		if check {
			fmt.Fprintln(cmd.OutOrStdout(), "configuration is valid")
			return nil
		}
		logger := newLogger(config.Log)
		// An idle server's heap is small, so that collecting it at twice its size keeps the whole process small; the limit
		// makes the collector work harder before a container's own limit kills us.
		debug.SetGCPercent(75)

		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		defer signal.Stop(hup)
		return Run(cmd.Context(), Options{
			Config: config, Version: version, Logger: logger, Reload: hup, Load: load,
			Listening: func(addrs map[string]net.Addr) {
				args := []any{"version", version, "data", config.Data}
				for _, p := range config.Listen.ports() {
					if a := addrs[p.name]; a != nil {
						args = append(args, p.name, a.String())
					}
				}
				logger.Info("ready", args...)
			},
		})
	}
	return cmd
}

func newLogger(c LogConfig) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // validated
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

func deref(p any) any {
	switch v := p.(type) {
	case *string:
		return *v
	case *bool:
		return *v
	}
	return p
}

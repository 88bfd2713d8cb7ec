package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"triage/internal/record"
)

// ReplayCommand is `triage replay`. It reads the persistent flags --json and --lang of the root command.
func ReplayCommand() *cobra.Command {
	var o ReplayOptions
	var speed string
	cmd := &cobra.Command{
		Use:   "replay DIR",
		Short: "Replay a recording through alarms, incidents and verdicts",
		Long: `Replay a recording through alarms, incidents and verdicts, as fast as it goes, and print what they say as the
recording's own time passes. The same recording gives the same verdicts. It needs no server and touches none.

With --json each incident and each revision of a verdict is one line.`,
		Example: `  triage record --to slow-cart --for 5m
  triage replay slow-cart
  triage replay slow-cart --data look && triage serve --data look`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return UsageError{errors.New("name one recording: triage replay DIR")}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&speed, "speed", "max", `how many times faster than it happened, or "max"`)
	cmd.Flags().StringVar(&o.Data, "data", "", "empty directory in which the stores are kept (thrown away without it)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if speed != "max" {
			f, err := strconv.ParseFloat(speed, 64)
			if err != nil || !(f > 0) || f > 1e6 {
				return UsageError{fmt.Errorf(`--speed %s: want a number of times, or "max"`, speed)}
			}
			o.Speed = f
		}
		asJSON, lang := inherited(cmd)
		out := cmd.OutOrStdout()
		var failed error
		o.Path, o.On = args[0], func(e ReplayEvent) { failed = errors.Join(failed, printEvent(out, e, asJSON, lang)) }
		o.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
		res, err := Replay(cmd.Context(), o)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, record.ErrFormat), errors.Is(err, record.ErrVersion):
			return UsageError{err}
		case err != nil && cmd.Context().Err() != nil:
			return errors.New("interrupted")
		case err != nil || failed != nil:
			return errors.Join(err, failed)
		}
		for _, d := range res.Damage {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning:", d)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s (%d spans, %d logs, %d samples, %d changes) replayed in %s, %.0f times as fast: %d incidents, %d verdicts\n",
			res.To.Sub(res.From).Round(time.Second), res.From.Format(time.RFC3339), res.Items.Spans, res.Items.Logs, res.Items.Samples,
			res.Items.Changes, res.Took.Round(10*time.Millisecond), res.Speed(), len(res.Incidents), len(res.Verdicts))
		return nil
	}
	return cmd
}

// inherited reads the flags that every command has.
func inherited(cmd *cobra.Command) (asJSON bool, lang string) {
	if f := cmd.Flags().Lookup("json"); f != nil {
		asJSON = f.Value.String() == "true"
	}
	if f := cmd.Flags().Lookup("lang"); f != nil {
		lang = f.Value.String()
	}
	return asJSON, lang
}

func printEvent(out io.Writer, e ReplayEvent, asJSON bool, lang string) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return enc.Encode(e)
	}
	_, err := fmt.Fprintf(out, "%s  %s\n", e.At.Format("2006-01-02 15:04:05"), strings.Map(printable, headline(e, lang)))
	return err
}

// printable takes out what could move a terminal's cursor, or turn its direction of writing: a log line may hold anything.
func printable(r rune) rune {
	if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
		return unicode.ReplacementChar
	}
	return r
}

package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triage/client"
	"triage/internal/model"
)

func logsCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "logs",
		Short: "Follow log lines as they arrive",
	}, logsTail(o))
}

func logsTail(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "tail [SEARCH]",
		Short:   "Print log lines that match as they arrive, until interrupted",
		Example: `  triage logs tail 'service:cart level:error'`,
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			q := strings.Join(args, " ")
			if err := checkSearch(q); err != nil {
				return err
			}
			for rec, err := range e.client.TailLogs(ctx, q) {
				if err != nil {
					return err
				}
				if e.json {
					err = e.printLine(rec)
				} else {
					err = e.printLog(&rec, "", logColumns{})
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

// logColumns says what a log line shows besides its level and text.
type logColumns struct {
	date bool // the day as well as the time
	bare bool // no service and trace, which stand above
}

// printLog prints one log line after an indent.
func (e *env) printLog(r *client.LogRecord, indent string, c logColumns) error {
	layout := "15:04:05.000"
	if c.date {
		layout = "2006-01-02 15:04:05.000"
	}
	var out strings.Builder
	out.WriteString(indent + e.paint(dim, time.Unix(0, r.Time).UTC().Format(layout)))
	level := strings.ToUpper(r.Severity.String())
	out.WriteString(" " + e.paint(levelStyle(r.Severity), fmt.Sprintf("%-5s", fallback(level, "-"))))
	if !c.bare {
		out.WriteString(" " + e.paint(bold, clean(r.Service())))
	}
	out.WriteString(" " + clean(strings.TrimRight(r.Body.String(), "\r\n")))
	if !c.bare && !r.TraceID.IsZero() {
		out.WriteString(e.paint(dim, " trace="+r.TraceID.String()))
	}
	return e.printf("%s\n", out.String())
}

func levelStyle(s model.Severity) style {
	switch {
	case s > 16:
		return red
	case s > 12:
		return yellow
	}
	return plain
}

// failed tells whether a span ended in an error.
func failed(s *client.Span) bool { return s.Status == model.StatusError }

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"triage/internal/record"
)

// progressEvery is how often the line about the recording is written anew.
const progressEvery = time.Second

func recordCommand(o *options) *cobra.Command {
	var to string
	var lasting time.Duration
	cmd := &cobra.Command{
		Use:   "record --to DIR",
		Short: "Record what the server receives, to replay it later",
		Long: `Record what the server receives from now on: spans, logs, samples and changes, as they came and when. It ends
after --for, or when interrupted; what was received until then is kept. "triage replay DIR" gives the verdicts again.

A verdict needs to know what is usual: begin a minute or two before the trouble does.`,
		Example: `  triage record --to slow-cart --for 5m
  triage replay slow-cart`,
		Args: args(cobra.NoArgs),
	}
	cmd.RunE = o.run(func(ctx context.Context, e *env, _ []string) error {
		switch {
		case to == "":
			return &usageError{errors.New("--to DIR says where to, and is missing")}
		case lasting < 0:
			return &usageError{fmt.Errorf("--for %s: a recording can't last less than nothing", lasting)}
		}
		w, err := record.Create(to)
		if errors.Is(err, record.ErrExists) {
			return &usageError{fmt.Errorf("--to %s: the directory is not empty", to)}
		}
		if err != nil {
			return err
		}
		r := &recorder{out: w, dir: to, screen: cmd.ErrOrStderr(), began: time.Now()}
		err = r.run(ctx, e, lasting)
		return errors.Join(err, r.report(e, err))
	})
	cmd.Flags().StringVar(&to, "to", "", "directory to write to; it is made, or must be empty")
	cmd.Flags().DurationVar(&lasting, "for", 0, "how long to record (until interrupted without it)")
	mustComplete(cmd.MarkFlagDirname("to"))
	return cmd
}

// recorder writes one recording to a directory.
type recorder struct {
	out    *record.Writer
	dir    string
	screen io.Writer // for progress
	began  time.Time
	shown  time.Time
}

// run records until the context or the time ends. Both are as they should be, and no error.
func (r *recorder) run(ctx context.Context, e *env, lasting time.Duration) (err error) {
	var end time.Time
	received := r.began // when end was true, by our own clock
	defer func() {
		if !end.IsZero() {
			end = end.Add(time.Since(received)) // the server's clock may be another
		}
		err = errors.Join(err, r.out.Close(end))
	}()
	if lasting > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lasting)
		defer cancel()
	}
	body, err := e.client.Record(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer body.Close()
	in, err := record.NewReader(body)
	if err != nil {
		return err
	}
	if err := r.out.Begin(in.Header); err != nil {
		return err
	}
	end, received = in.Header.Start, time.Now()
	for {
		f, err := in.Next()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("the server ended the recording without a word; what came before is kept")
		case err != nil:
			return fmt.Errorf("read the recording: %w", err)
		}
		end, received = time.Unix(0, f.At), time.Now()
		if f.End != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the server ended the recording: %s; what came before is kept", f.End.Reason)
		}
		if err := r.out.WriteFrame(f); err != nil {
			return err
		}
		r.progress()
	}
}

// progress shows on a terminal how far it is. Nothing is written elsewhere, where it would be read as a log.
func (r *recorder) progress() {
	f, ok := r.screen.(*os.File)
	if !ok || time.Since(r.shown) < progressEvery || !term.IsTerminal(int(f.Fd())) {
		return
	}
	r.shown = time.Now()
	fmt.Fprintf(r.screen, "\r\x1b[K%s", r.summary())
}

func (r *recorder) summary() string {
	c := r.out.Counts()
	return fmt.Sprintf("%s: %s spans, %s logs, %s samples, %s; %s kB", time.Since(r.began).Round(time.Second),
		count(c.Spans), count(c.Logs), count(c.Samples), plural(int(c.Changes), "change"), count((r.out.Bytes()+999)/1000))
}

// report says what the recording became.
func (r *recorder) report(e *env, failed error) error {
	if !r.shown.IsZero() {
		fmt.Fprint(r.screen, "\r\x1b[K")
	}
	c := r.out.Counts()
	if e.json {
		if failed != nil && c.Batches == 0 {
			return nil
		}
		return e.printJSON(map[string]any{"directory": r.dir, "seconds": time.Since(r.began).Seconds(), "items": c, "bytes": r.out.Bytes()})
	}
	if failed == nil || c.Batches > 0 {
		fmt.Fprintf(r.screen, "recorded to %s in %s\n", r.dir, r.summary())
	}
	return nil
}

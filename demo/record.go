package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"triage/client"
	"triage/demo/scenario"
	"triage/internal/record"
)

// truthName is the file in a recording's directory that says what was broken in it.
const truthName = "truth.json"

// Truth is what a recording is of. It is written beside it.
type Truth struct {
	Scenario string           `json:"scenario"`
	Target   string           `json:"target"`
	Truths   []scenario.Truth `json:"truths"`
	At       time.Time        `json:"at"` // of the injection
	// Named is the cause in the first verdict, null without one.
	Named *client.Cause `json:"named"`
}

func truth(o outcome) Truth {
	t := Truth{Scenario: o.name, Target: o.Target, Truths: o.Truths, At: o.at}
	if t.Truths == nil {
		t.Truths = []scenario.Truth{}
	}
	if o.verdict != nil {
		t.Named = o.verdict.Why
	}
	return t
}

// recorder writes what triage receives to a directory, until finish or discard.
type recorder struct {
	dir  string
	out  *record.Writer
	stop context.CancelFunc
	done chan error // the stream's end
	over bool
}

// record begins a recording. The directory must be empty, or not there.
func (s *session) record(ctx context.Context, dir string) (*recorder, error) {
	out, err := record.Create(dir)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	r := &recorder{dir: dir, out: out, stop: stop, done: make(chan error, 1)}
	body, err := s.client.Record(ctx)
	if err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("record to %s: %w", dir, err), out.Close(time.Time{}))
	}
	in, err := record.NewReader(body)
	if err == nil {
		err = out.Begin(in.Header)
	}
	if err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("record to %s: %w", dir, err), body.Close(), os.RemoveAll(dir))
	}
	go func() {
		defer func() { _ = body.Close() }()
		r.done <- r.copy(ctx, in)
	}()
	s.say("recording to %s", dir)
	return r, nil
}

// copy writes frames until ctx ends, which is no error.
func (r *recorder) copy(ctx context.Context, in *record.Reader) error {
	for {
		f, err := in.Next()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("the server ended the recording without a word")
		case err != nil:
			return fmt.Errorf("read the recording: %w", err)
		case f.End != nil:
			return fmt.Errorf("the server ended the recording: %s", f.End.Reason)
		}
		if err := r.out.WriteFrame(f); err != nil {
			return err
		}
	}
}

// finish ends the recording and writes the truth beside it.
func (r *recorder) finish(t Truth) error {
	r.stop()
	if err := <-r.done; err != nil {
		r.done <- nil
		return fmt.Errorf("record to %s: %w", r.dir, err)
	}
	r.over = true
	if err := r.out.Close(time.Now()); err != nil {
		return err
	}
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("write the truth: %w", err)
	}
	return os.WriteFile(filepath.Join(r.dir, truthName), append(text, '\n'), 0o644)
}

// discard removes a recording that was not finished.
func (r *recorder) discard() error {
	if r.over {
		return nil
	}
	r.stop()
	<-r.done
	return errors.Join(r.out.Close(time.Now()), os.RemoveAll(r.dir))
}

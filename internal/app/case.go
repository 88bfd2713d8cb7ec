package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"triage/internal/derive"
	"triage/internal/diagnose"
	"triage/internal/model"
	"triage/internal/store"
)

// Window and Question let programs that only know app and model ask a Case.
type (
	// Window is the half-open time range [From, To).
	Window = store.Window
	// Question says what to diagnose.
	Question = diagnose.Request
)

// Case is fresh stores with the whole path from receiving to verdicts in front of them, for one recorded incident. It has
// no ports and evaluates no alarms: what was noticed is part of the question. It is not safe for concurrent use.
type Case struct {
	app     *app
	dir     string
	deriver *derive.Deriver
}

// NewCase opens the stores in a directory of their own, which Close removes.
func NewCase(ctx context.Context) (c *Case, err error) {
	dir, err := os.MkdirTemp("", "triage-case-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for a case: %w", err)
	}
	config := Default()
	config.Data = dir
	// What was normal may have been recorded half a year away from what went wrong, and all of it counts.
	for _, r := range []*Retention{&config.Retention.Events, &config.Retention.Metrics} {
		r.Age = Duration(10 * 365 * 24 * time.Hour)
	}
	a := &app{Options: Options{Config: config, Logger: slog.New(slog.DiscardHandler)}, now: time.Now, replaying: true, started: time.Now(), failed: make(chan error, 1)}
	c = &Case{app: a, dir: dir}
	if err = a.openStores(ctx); err == nil {
		if _, err = a.makeJudges(ctx); err == nil {
			c.deriver, err = a.makePipeline("case", newProcesses("case"))
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Accept takes what was received, as an edge would after decoding it. Samples must come in order of time, as they do from
// a sender. It is an error if any of it is refused, because then the case is not what was recorded.
func (c *Case) Accept(ctx context.Context, b *model.Batch) error {
	b.Tenant = model.DefaultTenant
	res, err := c.app.pipeline.Accept(ctx, b)
	if err != nil {
		return err
	}
	if n := res.Rejected.Total(); n > 0 {
		return fmt.Errorf("%d samples were refused: %v", n, res.Rejected)
	}
	if len(b.Spans)+len(b.Logs) == 0 {
		return nil
	}
	return errors.Join(c.app.events.Maintain(ctx), c.deriver.Save(ctx))
}

// Diagnose asks for the verdict as of the end of the question's time.
func (c *Case) Diagnose(ctx context.Context, q Question) (model.Verdict, error) {
	v, _, err := c.app.diagnose.Diagnose(ctx, q, q.To)
	return v, err
}

// Close ends the case and forgets what it held.
func (c *Case) Close() error {
	return errors.Join(c.app.stop(), os.RemoveAll(c.dir))
}

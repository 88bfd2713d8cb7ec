package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/alarm"
	"triage/internal/derive"
	"triage/internal/model"
	"triage/internal/record"
)

// longestSilence is how long nothing may arrive in a recording before the time in between is passed over, as if no
// triage had run then. A clock that was wrong by years must not cost hours.
const longestSilence = time.Hour

// ReplayOptions say what to replay and how. Only Path is required.
type ReplayOptions struct {
	// Path is a recording's directory, or one file of it.
	Path string
	// Data is an empty directory in which the stores are kept for a server to look at. Without one they are thrown away.
	Data string
	// Rules are alarm rules besides the automatic ones.
	Rules []alarm.Rule
	// Speed is how many times faster than it happened it is replayed; 0 is as fast as it goes.
	Speed float64
	// On is told what happens as it happens. It may be nil.
	On     func(ReplayEvent)
	Logger *slog.Logger // nil for none
}

// The kinds of a ReplayEvent.
const (
	KindIncident = "incident"
	KindVerdict  = "verdict"
)

// ReplayEvent is an incident that opened, changed or resolved, or a new revision of a verdict.
type ReplayEvent struct {
	At       time.Time       `json:"at"` // in the time of the recording
	Kind     string          `json:"kind"`
	Incident *model.Incident `json:"incident,omitempty"`
	Verdict  *model.Verdict  `json:"verdict,omitempty"`
}

// ReplayResult is what came of a replay.
type ReplayResult struct {
	Header record.Header
	// From and To are the recording's own time, Took the time that the replay took.
	From, To time.Time
	Took     time.Duration
	Items    record.Counts
	// Incidents are in order of opening, as they were at the end, with their newest verdict. Verdicts are all revisions in
	// the order in which they were made: the first of an incident's is the one that counts.
	Incidents []model.Incident
	Verdicts  []model.Verdict
	// Damage is what of the recording could not be read.
	Damage []record.Damage
}

// Speed is how many times faster than it happened the recording was replayed.
func (r *ReplayResult) Speed() float64 {
	return r.To.Sub(r.From).Seconds() / max(r.Took.Seconds(), 1e-9)
}

// Replay feeds a recording to fresh stores, in order of arrival, and judges it at the same times as a server would have.
// Everything that has a clock has the recording's, and nothing runs beside it: the same recording gives the same
// verdicts, to the last digit.
func Replay(ctx context.Context, o ReplayOptions) (res ReplayResult, err error) {
	began := time.Now()
	rec, err := record.Open(o.Path)
	if err != nil {
		return res, err
	}
	if o.Data == "" {
		if o.Data, err = os.MkdirTemp("", "triage-replay-"); err != nil {
			return res, fmt.Errorf("make a directory for the replay: %w", err)
		}
		dir := o.Data
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := checkEmpty(o.Data); err != nil {
		return res, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &replay{ReplayOptions: o, began: began}
	p.clock.Store(rec.Header.Start.UnixNano())
	config := Default()
	config.Data, config.Alarms.Rules = o.Data, o.Rules
	p.app = &app{Options: Options{Config: config, Logger: o.Logger}, now: p.now, replaying: true, started: rec.Header.Start, failed: make(chan error, 1)}
	defer func() { err = errors.Join(err, p.app.stop()) }()
	if err := p.open(ctx, rec.Header); err != nil {
		return res, err
	}
	if err := p.run(ctx, rec); err != nil {
		return res, fmt.Errorf("replay %s at %s: %w", o.Path, p.now().UTC().Format(time.RFC3339), err)
	}
	list, err := p.app.state.Incidents(ctx, model.DefaultTenant, "", 10_000)
	if err != nil {
		return res, err
	}
	slices.Reverse(list)
	return ReplayResult{
		Header: rec.Header, From: rec.Header.Start, To: p.now().UTC(), Took: time.Since(began), Items: p.items,
		Incidents: list, Verdicts: p.verdicts, Damage: rec.Damage(),
	}, nil
}

func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open data directory: %w", err)
	}
	if len(entries) > 0 {
		return UsageError{fmt.Errorf("data directory %s is not empty, and a replay begins with nothing", dir)}
	}
	return nil
}

// replay is one under way.
type replay struct {
	ReplayOptions
	app     *app
	watch   *watch
	deriver *derive.Deriver

	clock    atomic.Int64 // the recording's time, ns; what has a clock reads it from its own goroutines
	began    time.Time
	first    int64 // the recording's time when it began
	items    record.Counts
	verdicts []model.Verdict

	// The next times at which series are derived and alarms are evaluated.
	derive, tick time.Time
	derived      bool
}

func (p *replay) now() time.Time { return time.Unix(0, p.clock.Load()) }

func (p *replay) open(ctx context.Context, h record.Header) (err error) {
	if err := p.app.openStores(ctx); err != nil {
		return err
	}
	p.app.sources = alarm.NewSources()
	if p.watch, err = p.app.makeJudges(ctx); err != nil {
		return err
	}
	p.watch.noted = func(e ReplayEvent) {
		e.At = e.At.UTC()
		if e.Verdict != nil {
			p.verdicts = append(p.verdicts, *e.Verdict)
		}
		if p.On != nil {
			p.On(e)
		}
	}
	p.deriver, err = p.app.makePipeline(h.Host, newProcesses(h.Host))
	return err
}

func (p *replay) run(ctx context.Context, rec *record.Recording) error {
	p.first = rec.Header.Start.UnixNano()
	p.aim(rec.Header.Start)
	for f, err := range rec.Frames(ctx) {
		if err != nil {
			return err
		}
		b, err := f.Batch()
		if err != nil {
			return err
		}
		if err := p.advance(ctx, time.Unix(0, f.At)); err != nil {
			return err
		}
		if _, err := p.app.pipeline.Accept(ctx, b); err != nil {
			return err
		}
		p.items.Add(f.Counts)
		if !p.derived && len(b.Spans) > 0 { // as derive.Run does, so that the first rate is known early
			p.derived = true
			if err := p.collect(ctx, p.now()); err != nil {
				return err
			}
		}
	}
	return p.advance(ctx, rec.End())
}

// aim sets the next times of deriving and watching after at.
func (p *replay) aim(at time.Time) {
	p.derive = at.Truncate(deriveEvery).Add(deriveEvery)
	p.tick = at.Add(-watchDelay).Truncate(watchEvery).Add(watchEvery + watchDelay)
}

// advance lets time pass up to to, and does on the way what is due.
func (p *replay) advance(ctx context.Context, to time.Time) error {
	if to.Sub(p.now()) > longestSilence {
		p.Logger.Warn("nothing happens for long; the time is passed over", "from", p.now().UTC(), "to", to.UTC())
		p.aim(to)
	}
	for {
		next := p.derive
		if p.tick.Before(next) {
			next = p.tick
		}
		if next.After(to) {
			return p.wait(ctx, to)
		}
		if err := p.wait(ctx, next); err != nil {
			return err
		}
		if next.Equal(p.derive) {
			p.derive = next.Add(deriveEvery)
			if err := p.collect(ctx, next); err != nil {
				return err
			}
			continue
		}
		p.tick = next.Add(watchEvery)
		if err := p.app.events.Maintain(ctx); err != nil {
			return err
		}
		if err := p.watch.tick(ctx, next); err != nil {
			return err
		}
	}
}

// wait sets the clock, and waits until then where a speed was asked for.
func (p *replay) wait(ctx context.Context, at time.Time) error {
	if p.Speed > 0 {
		due := p.began.Add(time.Duration(float64(at.UnixNano()-p.first) / p.Speed))
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	p.clock.Store(max(p.clock.Load(), at.UnixNano()))
	return ctx.Err()
}

// collect writes what was derived, in an order that does not depend on chance: it becomes the order in which PromQL adds.
func (p *replay) collect(ctx context.Context, at time.Time) error {
	byTenant := p.deriver.Collect(at)
	for _, tenant := range slices.Sorted(maps.Keys(byTenant)) {
		series := byTenant[tenant]
		slices.SortFunc(series, func(a, b model.Series) int { return labels.Compare(a.Labels, b.Labels) })
		if err := p.app.writeDerived(ctx, tenant, series); err != nil {
			return err
		}
	}
	return p.deriver.Save(ctx)
}

// headline says in a few words what a ReplayEvent is about.
func headline(e ReplayEvent, lang string) string {
	if v := e.Verdict; v != nil {
		return fmt.Sprintf("%s revision %d\n%s", v.Incident, v.Revision, strings.TrimRight(cmp.Or(v.Text[lang], v.Text["en"]), "\n"))
	}
	firing := 0
	for _, a := range e.Incident.Alarms {
		if a.State == model.StateAlarm {
			firing++
		}
	}
	return fmt.Sprintf("%s %s: %s (%d of %d alarms in ALARM)", e.Incident.ID, e.Incident.Status, e.Incident.Title, firing, len(e.Incident.Alarms))
}

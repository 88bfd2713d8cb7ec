package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"triage/client"
	"triage/demo/exam"
	"triage/demo/scenario"
)

// How long things may take.
const (
	verdictTimeout = 120 * time.Second
	settleTimeout  = 120 * time.Second
	undoTimeout    = 30 * time.Second
	askTimeout     = 10 * time.Second
)

const (
	pollEvery = 250 * time.Millisecond
	// settledFor is how long nothing must be alarmed: alarms are judged every 5 s, and what a fault leaves behind may go on
	// and off.
	settledFor = 10 * time.Second
	// relearn is how long what a case prepares goes on before anything breaks.
	relearn = 45 * time.Second
	// A recording begins long enough before the injection to know what is usual, and lasts until the verdict that is made
	// after the first could have been.
	recordBefore = 75 * time.Second
	recordAfter  = 5 * time.Second
	// newest is how many incidents are looked at: one that was opened long ago is not opened again.
	newest = 20
)

// trial is one case to run in a session.
type trial struct {
	name, about string
	scenario.Case
	// rate is how many times the usual rate the customers come; wait is how long nothing happens first.
	rate float64
	wait time.Duration
	// tolerated is how many verdicts may blame something while nothing is wrong. Below 0 not even an incident may open.
	tolerated int
	// record, if not empty, is the directory for a recording.
	record string
	// stay leaves the fault in until ctx ends, once it was judged.
	stay bool
}

// outcome is what a trial came to.
type outcome struct {
	trial
	at time.Time // of the injection
	// settled tells that nothing was alarmed at the injection.
	settled bool
	// before is the time before the injection in which nothing was wrong; during is that after it, where there is nothing
	// to find.
	before, during     exam.Quiet
	detected, answered *float64 // seconds after the injection
	verdict            *client.Verdict
	correct            bool
}

// run runs a trial, tells judged what it came to as soon as that is known, and leaves the shop as it was, but for what is
// still alarmed. After an error, or once ctx has ended, nothing is taken back: the session is of no use any more.
func (s *session) run(ctx context.Context, t trial, judged func(outcome) error) (err error) {
	o := outcome{trial: t}
	acting, cancel := context.WithCancel(ctx) // what an injection leaves running ends with this at the latest
	defer cancel()
	s.load.SetBase(t.rate)
	if o.settled, err = s.settle(ctx, settledFor); err != nil {
		return err
	}
	unprepare, err := s.prepare(acting, t)
	if err != nil {
		return err
	}
	wait := t.wait
	var rec *recorder
	if t.record != "" {
		if rec, err = s.record(ctx, t.record); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rec.discard()) }() // unless it was finished
		wait = max(wait, recordBefore)
	}
	if wait > 0 {
		s.say("waiting %.0f s", wait.Seconds())
		if err := s.pause(ctx, wait); err != nil {
			return err
		}
	}
	if o.settled, err = s.settle(ctx, 0); err != nil {
		return err
	}
	o.at = time.Now().Add(t.Lead) // until then everything is harmless
	remove, err := t.Inject(acting, s.world)
	if err != nil {
		return fmt.Errorf("inject: %w", err)
	}
	if o.before, err = s.lookBack(ctx, o.at); err != nil {
		return err
	}
	if len(t.Truths) == 0 {
		err = s.watch(ctx, &o)
	} else {
		s.quietSince = time.Time{}
		err = s.judge(ctx, &o)
	}
	if err != nil {
		return err
	}
	if rec != nil {
		if err := s.pause(ctx, recordAfter); err != nil {
			return err
		}
		if err := rec.finish(truth(o)); err != nil {
			return err
		}
	}
	if err := judged(o); err != nil {
		return err
	}
	if t.stay {
		s.say("the shop goes on; press Ctrl-C to end it")
		<-ctx.Done()
		return nil
	}
	undo, done := context.WithTimeout(ctx, undoTimeout)
	defer done()
	if err := remove(undo); err != nil {
		return fmt.Errorf("take %s back: %w", t.name, err)
	}
	if err := unprepare(undo); err != nil {
		return fmt.Errorf("take back what %s prepared: %w", t.name, err)
	}
	return nil
}

// prepare brings about what a trial needs long before, if anything, and lets triage learn it as usual.
func (s *session) prepare(ctx context.Context, t trial) (undo func(context.Context) error, err error) {
	if t.Prepare == nil {
		return func(context.Context) error { return nil }, nil
	}
	s.say("preparing %s", t.name)
	if undo, err = t.Prepare(ctx, s.world); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	if err := s.learn(ctx, relearn); err != nil {
		return nil, err
	}
	_, err = s.settle(ctx, settledFor)
	return undo, err
}

// settle waits until no alarm fires and no incident is open, for a while. It tells, and goes on, if that takes too long.
func (s *session) settle(ctx context.Context, lasting time.Duration) (settled bool, err error) {
	began := time.Now()
	var since time.Time
	for told := false; ; {
		trouble, err := s.trouble(ctx)
		now := time.Now()
		switch {
		case err != nil && ctx.Err() == nil:
			s.say("triage does not answer: %v", err)
		case trouble != "":
			since = time.Time{}
			if !told {
				s.say("waiting until nothing is alarmed: %s", trouble)
				told = true
			}
		case since.IsZero():
			since = now
		}
		if !since.IsZero() && now.Sub(since) >= lasting {
			if s.quietSince.IsZero() {
				s.quietSince = now
			}
			return true, nil
		}
		if now.Sub(began) >= settleTimeout {
			s.say("the world does not calm down within %.0f s: %s; going on", settleTimeout.Seconds(), trouble)
			return false, nil
		}
		if err := s.pause(ctx, pollEvery); err != nil {
			return false, err
		}
	}
}

// trouble names something that is alarmed, if anything is.
func (s *session) trouble(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	alarms, err := s.client.Alarms(ctx, client.StateAlarm)
	if err != nil {
		return "", fmt.Errorf("ask for alarms: %w", err)
	}
	if len(alarms.Alarms) > 0 {
		return fmt.Sprintf("%d alarms such as %s", len(alarms.Alarms), alarms.Alarms[0].ID), nil
	}
	open, err := s.client.Incidents(ctx, client.IncidentsQuery{Status: client.IncidentOpen, Limit: 1})
	if err != nil {
		return "", fmt.Errorf("ask for incidents: %w", err)
	}
	if len(open) > 0 {
		return open[0].ID + " is open", nil
	}
	return "", nil
}

// incidents lists the newest ones.
func (s *session) incidents(ctx context.Context) ([]client.Incident, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, err := s.client.Incidents(ctx, client.IncidentsQuery{Limit: newest})
	if err != nil {
		return nil, fmt.Errorf("ask for incidents: %w", err)
	}
	return list, nil
}

// lookBack counts what was found between quietSince and at, while nothing was wrong.
func (s *session) lookBack(ctx context.Context, at time.Time) (exam.Quiet, error) {
	var q exam.Quiet
	if s.quietSince.IsZero() {
		return q, nil
	}
	q.Seconds = exam.Tenth(at.Sub(s.quietSince).Seconds())
	incidents, err := s.incidents(ctx)
	if err != nil {
		return q, err
	}
	for _, in := range incidents {
		since, _ := in.Episode()
		if since.Before(s.quietSince) || !since.Before(at) {
			continue
		}
		q.Incidents++
		if v := in.Verdict; v != nil && !v.At.Before(since) && v.Why != nil { // and not what was said of it earlier
			q.Verdicts++
		}
		s.say("an incident, although nothing is broken yet: %s", in.Title)
	}
	return q, nil
}

// judge waits for the first verdict after the injection and compares it with the truths.
func (s *session) judge(ctx context.Context, o *outcome) error {
	s.say("fault injected: %s (%s)", o.about, o.Target)
	for {
		incidents, err := s.incidents(ctx)
		if err != nil && ctx.Err() == nil {
			s.say("triage does not answer: %v", err)
		}
		found := beganAfter(incidents, o.at)
		if o.detected == nil && len(found) > 0 {
			o.detected = after(o.at)
			s.say("ALARM after %.0f s: %s", *o.detected, found[0].Title)
		}
		if v := s.firstVerdict(ctx, found, o.at); v != nil {
			o.answered, o.verdict, o.correct = after(o.at), v, o.Right(v.Why)
			s.say("verdict after %.0f s, which is %s", *o.answered, map[bool]string{true: "right", false: "wrong"}[o.correct])
			break
		}
		if time.Since(o.at) >= verdictTimeout {
			s.say("no verdict within %.0f s", verdictTimeout.Seconds())
			break
		}
		if err := s.pause(ctx, pollEvery); err != nil {
			return err
		}
	}
	if o.correct {
		return nil
	}
	if o.verdict != nil {
		s.say("named was %s", described(o.verdict.Why))
	}
	for _, t := range o.Truths {
		s.say("injected was class %s, entity %s, mechanism %s", t.Class, t.Entity, t.Mechanism)
	}
	return nil
}

// beganAfter are the incidents that were opened, opened again or joined by an alarm from at on.
func beganAfter(incidents []client.Incident, at time.Time) []client.Incident {
	var found []client.Incident
	for _, in := range incidents {
		since, alarms := in.Episode()
		began := !since.Before(at)
		for _, a := range alarms {
			began = began || a.State == client.StateAlarm && !a.Since.Before(at)
		}
		if began {
			found = append(found, in)
		}
	}
	return found
}

// firstVerdict is the earliest revision, of any of the incidents, that was made from at on; nil without one.
func (s *session) firstVerdict(ctx context.Context, incidents []client.Incident, at time.Time) *client.Verdict {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var first *client.Verdict
	for _, in := range incidents {
		if in.Verdict == nil || in.Verdict.At.Before(at) {
			continue
		}
		revisions, err := s.client.Verdicts(ctx, in.ID)
		if err != nil {
			continue // the next poll tells
		}
		for i := range revisions {
			if v := &revisions[i]; !v.At.Before(at) && (first == nil || v.At.Before(first.At)) {
				first = v
			}
		}
	}
	return first
}

// watch looks on where nothing is wrong, and counts what is found nevertheless.
func (s *session) watch(ctx context.Context, o *outcome) error {
	s.say("watching for %.0f s: %s", o.For.Seconds(), o.about)
	o.during = exam.Quiet{Seconds: o.For.Seconds()}
	told := map[string]bool{}
	tell := func(key, format string, args ...any) bool {
		if told[key] {
			return false
		}
		told[key] = true
		s.say(format, args...)
		return true
	}
	for {
		incidents, err := s.incidents(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, in := range beganAfter(incidents, o.at) {
			since, _ := in.Episode()
			key := in.ID + since.String() // opened again counts again
			if tell(key, "INCIDENT after %.0f s: %s", time.Since(o.at).Seconds(), in.Title) {
				o.during.Incidents++
			}
			if v := in.Verdict; v != nil && !v.At.Before(o.at) && v.Why != nil && tell(key+" blamed", "blamed was %s", described(v.Why)) {
				o.during.Verdicts++
			}
		}
		if time.Since(o.at) >= o.For {
			break
		}
		if err := s.pause(ctx, pollEvery); err != nil {
			return err
		}
	}
	s.quietSince = time.Now() // what was found until now is counted
	o.correct = o.during.Incidents == 0 || o.during.Verdicts <= o.tolerated
	stats := s.load.Stats()
	s.say("%d requests, %d failed", stats.Sent, stats.Failed)
	return nil
}

// described is a cause in words.
func described(c *client.Cause) string {
	if c == nil {
		return "no cause"
	}
	return fmt.Sprintf("class %s, entity %s, mechanism %s", c.Class, c.Entity, c.Mechanism)
}

// after is the time since at in seconds, to a tenth.
func after(at time.Time) *float64 {
	s := exam.Tenth(time.Since(at).Seconds())
	return &s
}

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"triage/internal/alarm"
	"triage/internal/diagnose"
	"triage/internal/incident"
	"triage/internal/model"
	"triage/internal/store"
)

// Derived series are written at multiples of watchEvery; watchDelay later they can be read.
const (
	watchEvery = deriveEvery
	watchDelay = 500 * time.Millisecond
)

// revisions are the ages of the trouble of an open incident at which its verdict is made again; past the last it stands until
// the incident resolves, or until something else goes wrong.
var revisions = []time.Duration{
	0, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
}

// watch turns the passing of time into alarms, alarms into incidents, and incidents into verdicts. Everything happens
// within tick, one after the other, so that the same data at the same times give the same verdicts.
type watch struct {
	alarms    *alarm.Evaluator
	incidents *incident.Manager
	diagnose  *diagnose.Diagnoser
	state     store.State
	log       *slog.Logger
	open      map[string]*followed // by tenant and ID

	// noted, if not nil, is told of each incident that opened, changed or resolved, and of each verdict that was kept.
	noted func(ReplayEvent)
	// tell, if not nil, is told how an incident stands whenever that changes, with its verdict once there is one.
	tell func(model.Incident)
}

// afresh is the age of an incident from which another alarm is new trouble, rather than more of the same.
const afresh = time.Minute

// followed is an open incident and how far its verdict has come.
type followed struct {
	model.Incident
	from time.Time // when its trouble began, or when more came; zero while all that is wrong is telemetry that does not come
	made int       // of revisions since then, also those that said nothing new
}

// update takes in how the incident stands now.
func (f *followed) update(inc model.Incident, at time.Time) {
	was, now := alarmed(f.Incident), alarmed(inc)
	more := slices.ContainsFunc(now, func(id string) bool { return !slices.Contains(was, id) })
	if len(now) > 0 && (f.from.IsZero() || more && at.Sub(f.from) >= afresh) {
		f.from, f.made = at, 0
	}
	f.Incident = inc
}

// alarmed are the alarms of an incident's trouble that last.
func alarmed(inc model.Incident) (ids []string) {
	inc, _ = inc.Troubled()
	for _, a := range inc.Alarms {
		if a.State == model.StateAlarm {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// newWatch goes on with the incidents that were open when the last process stopped. A verdict on trouble that is older than
// the last revision would be stands, however long nobody watched.
func newWatch(ctx context.Context, w watch, now time.Time) (*watch, error) {
	w.open = map[string]*followed{}
	list, err := w.state.Incidents(ctx, model.DefaultTenant, model.IncidentOpen, 1000)
	if err != nil {
		return nil, err
	}
	for _, inc := range list {
		f := &followed{Incident: inc}
		if troubled, ok := inc.Troubled(); ok {
			f.from, _ = troubled.Episode()
		}
		if inc.Verdict != nil && now.Sub(f.from) >= revisions[len(revisions)-1] {
			f.made = len(revisions)
		}
		w.open[key(inc)] = f
	}
	return &w, nil
}

func key(inc model.Incident) string { return inc.Tenant + "/" + inc.ID }

func (w *watch) run(ctx context.Context) error {
	for {
		now := time.Now()
		next := now.Add(-watchDelay).Truncate(watchEvery).Add(watchEvery + watchDelay)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(next.Sub(now)):
		}
		if err := w.tick(ctx, next); err != nil && ctx.Err() == nil {
			w.log.Error("watch", "error", err)
		}
	}
}

func (w *watch) tick(ctx context.Context, at time.Time) error {
	// Transitions may come with an error (a rule that fails, a disk that is full); they hold all the same.
	transitions, failed := w.alarms.Evaluate(ctx, at)
	byTenant := map[string][]model.Transition{model.DefaultTenant: nil} // incidents also change by time alone
	for _, t := range transitions {
		byTenant[t.Alarm.Tenant] = append(byTenant[t.Alarm.Tenant], t)
	}
	for tenant, list := range byTenant {
		changed, err := w.incidents.Apply(ctx, tenant, list, at)
		failed = errors.Join(failed, err)
		for _, inc := range changed {
			w.follow(ctx, inc, at)
		}
	}
	for _, f := range w.inOrder() {
		if f.from.IsZero() || f.made == len(revisions) || at.Sub(f.from) < revisions[f.made] {
			continue
		}
		for f.made < len(revisions) && at.Sub(f.from) >= revisions[f.made] {
			f.made++
		}
		w.judge(ctx, f.Incident, at)
	}
	return failed
}

func (w *watch) follow(ctx context.Context, inc model.Incident, at time.Time) {
	if w.noted != nil {
		w.noted(ReplayEvent{At: at, Kind: KindIncident, Incident: &inc})
	}
	if w.tell != nil {
		w.tell(inc)
	}
	k := key(inc)
	f, known := w.open[k]
	switch {
	case inc.MergedInto != "":
		delete(w.open, k)
	case inc.Status == model.IncidentResolved:
		delete(w.open, k)
		w.log.Info("incident resolved", "incident", inc.ID, "title", inc.Title)
		w.judge(ctx, inc, at)
	case known:
		regrouped := !inc.RegroupedAt.Equal(f.RegroupedAt)
		f.update(inc, at)
		if regrouped { // its verdict was about other alarms
			w.judge(ctx, inc, at)
		}
	default:
		f := &followed{}
		f.update(inc, at)
		w.open[k] = f
		w.log.Info("incident opened", "incident", inc.ID, "title", inc.Title)
	}
}

func (w *watch) inOrder() []*followed {
	list := make([]*followed, 0, len(w.open))
	for _, f := range w.open {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *followed) int { return strings.Compare(key(a.Incident), key(b.Incident)) })
	return list
}

// judge makes a verdict and keeps it if it says anything new. Of telemetry that does not come the alarm says all there is.
func (w *watch) judge(ctx context.Context, inc model.Incident, at time.Time) {
	if _, ok := inc.Troubled(); !ok {
		return
	}
	if err := w.revise(ctx, inc, at); err != nil && ctx.Err() == nil {
		w.log.Error("diagnose", "incident", inc.ID, "error", err)
	}
}

func (w *watch) revise(ctx context.Context, inc model.Incident, at time.Time) error {
	v, answers, err := w.diagnose.Diagnose(ctx, diagnose.Request{Tenant: inc.Tenant, Incident: &inc, To: at}, at)
	if err != nil {
		return err
	}
	earlier, err := w.state.Verdicts(ctx, inc.Tenant, inc.ID)
	if err != nil {
		return err
	}
	v.Incident, v.Revision = inc.ID, len(earlier)+1
	v.ID = fmt.Sprintf("%s.%d", inc.ID, v.Revision)
	since, _ := inc.Episode()
	if n := len(earlier); n > 0 && !earlier[n-1].At.Before(since) && sameAnswer(earlier[n-1], v) {
		return nil
	}
	if err := w.state.SaveVerdict(ctx, inc.Tenant, v, answers); err != nil {
		return err
	}
	if w.noted != nil {
		w.noted(ReplayEvent{At: at, Kind: KindVerdict, Verdict: &v})
	}
	if w.tell != nil {
		inc.Verdict = &v
		w.tell(inc)
	}
	cause := "none found"
	if v.Why != nil {
		cause = fmt.Sprintf("%s %s %s", v.Why.Class, v.Why.Entity, v.Why.Mechanism)
	}
	w.log.Info("verdict", "incident", inc.ID, "revision", v.Revision, "cause", cause, "took_ms", time.Since(at).Milliseconds())
	return nil
}

// sameAnswer tells whether a person who has read a would learn nothing from b.
func sameAnswer(a, b model.Verdict) bool {
	if (a.Why == nil) != (b.Why == nil) {
		return false
	}
	if a.Why == nil {
		return true
	}
	closer := b.Why.Confidence - a.Why.Confidence
	return a.Why.Class == b.Why.Class && a.Why.Entity == b.Why.Entity && a.Why.Mechanism == b.Why.Mechanism &&
		closer < 0.05 && closer > -0.05
}

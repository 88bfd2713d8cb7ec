// Package incident groups alarms that fire together into incidents: one trouble, however many alarms see it. It owns when
// an incident opens, which alarms belong to it and when it is over. It does not judge datapoints (alarm does) or look for
// causes (diagnose does), and reads no clock.
//
//	alarm fires --> an open incident it belongs to?         --yes--> joins it
//	                one resolved a moment ago that had it?  --yes--> reopens it
//	                                                         --no--> opens a new one
//	all its alarms are OK (or have had no data for a while) --> resolved
//
// What people do with incidents goes through the Manager too: they acknowledge and assign them, note something, merge two or
// split one. Each act, and each opening and end, is an entry of the journal, written together with the incident.
//
// A Manager is safe for concurrent use; calls run one after the other.
package incident

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

const (
	// DefaultGap is Options.Gap's and Options.Reopen's default.
	DefaultGap = 5 * time.Minute
	// DefaultStale is Options.Stale's default.
	DefaultStale = 3 * time.Minute
	// maxOpen and maxRecent bound what is read at start. Incidents past them are not continued, and their alarms open new
	// ones.
	maxOpen, maxRecent = 1000, 100
	// maxAlarms bounds the alarms of one incident, which is known well enough by then.
	maxAlarms = 500
)

// Options wire a Manager.
type Options struct {
	State store.State
	// Gap is how long after the last alarm that joined an incident one of another service joins it.
	Gap time.Duration
	// Reopen is how long after its end an incident is opened again when one of its alarms fires again.
	Reopen time.Duration
	// Stale is how long an alarm must have had no data to count as over.
	Stale time.Duration
	// Apart tells whether two services of a tenant are known to have nothing to do with each other: their alarms are no single
	// incident, however close in time. It may be nil, and then nothing is known.
	Apart  func(tenant, a, b string) bool
	Logger *slog.Logger
}

// Manager keeps the incidents of all tenants.
type Manager struct {
	opts Options
	log  *slog.Logger

	mu      sync.Mutex // guards tenants
	tenants map[string]*incidents
}

// incidents are a tenant's that are open or may open again, oldest first.
type incidents struct {
	list []*model.Incident
	// byHand are those that people changed since the last Apply.
	byHand []*model.Incident
}

// New makes a Manager. What is stored is read when a tenant is first asked for.
func New(opts Options) *Manager {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&opts.Gap, DefaultGap)
	def(&opts.Reopen, DefaultGap)
	def(&opts.Stale, DefaultStale)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Manager{opts: opts, log: opts.Logger, tenants: make(map[string]*incidents)}
}

// Apply takes a tenant's transitions in, in order, and returns the incidents that they opened, changed or resolved, and those
// that people changed since the last call, as stored and without verdicts. Call it also without transitions now and then: alarms without data are over by time.
//
// When storing fails, the next call starts from what is stored of alarms and incidents, so that no alarm is lost. So it
// does after a restart.
func (m *Manager) Apply(ctx context.Context, tenant string, transitions []model.Transition, at time.Time) ([]model.Incident, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at = at.UTC()
	t := m.tenants[tenant]
	if t == nil {
		var err error
		if t, transitions, err = m.load(ctx, tenant, transitions, at); err != nil {
			return nil, fmt.Errorf("load incidents of tenant %s: %w", tenant, err)
		}
		m.tenants[tenant] = t
	}
	changed, err := m.apply(ctx, t, tenant, transitions, at)
	if err != nil {
		delete(m.tenants, tenant) // what is in memory is ahead of what is stored
		return changed, fmt.Errorf("incidents of tenant %s: %w", tenant, err)
	}
	return changed, nil
}

// load reads what is stored, and adds the transitions that must have been lost on the way here: alarms that stand
// otherwise than their incidents know.
func (m *Manager) load(ctx context.Context, tenant string, given []model.Transition, at time.Time) (*incidents, []model.Transition, error) {
	open, err := m.opts.State.Incidents(ctx, tenant, model.IncidentOpen, maxOpen)
	if err != nil {
		return nil, nil, err
	}
	resolved, err := m.opts.State.Incidents(ctx, tenant, model.IncidentResolved, maxRecent)
	if err != nil {
		return nil, nil, err
	}
	alarms, err := m.opts.State.Alarms(ctx, tenant)
	if err != nil {
		return nil, nil, err
	}
	t := &incidents{}
	for _, inc := range slices.Concat(resolved, open) {
		inc.Verdict = nil
		if inc.MergedInto == "" {
			t.list = append(t.list, &inc)
		}
	}
	slices.SortStableFunc(t.list, func(a, b *model.Incident) int { return a.OpenedAt.Compare(b.OpenedAt) })
	t.prune(at, m.opts.Reopen)

	now := make(map[string]model.Alarm, len(alarms))
	var lost []model.Transition
	for _, a := range alarms {
		now[a.ID] = a
		_, known := t.holding(a.ID)
		if a.State == model.StateAlarm && !a.Quiet && (known == nil || known.State != model.StateAlarm) {
			lost = append(lost, model.Transition{From: model.StateOK, Alarm: a})
		}
	}
	for _, inc := range t.list {
		for _, was := range inc.Alarms {
			if was.State != model.StateAlarm {
				continue
			}
			is, ok := now[was.ID]
			if !ok { // its rule is gone
				is = was
				is.State, is.Reason, is.Since, is.Updated = model.StateInsufficient, "the alarm was removed", at, at
			}
			if is.State != model.StateAlarm {
				lost = append(lost, model.Transition{From: model.StateAlarm, Alarm: is})
			}
		}
	}
	for _, tr := range given {
		lost = slices.DeleteFunc(lost, func(l model.Transition) bool { return l.Alarm.ID == tr.Alarm.ID })
	}
	slices.SortStableFunc(lost, func(a, b model.Transition) int { return a.Alarm.Since.Compare(b.Alarm.Since) })
	return t, append(lost, given...), nil
}

// holding finds the incident that has an alarm: the open one, else the newest.
func (t *incidents) holding(alarm string) (found *model.Incident, held *model.Alarm) {
	for _, inc := range slices.Backward(t.list) {
		for i := range inc.Alarms {
			if inc.Alarms[i].ID != alarm {
				continue
			}
			if inc.Status == model.IncidentOpen {
				return inc, &inc.Alarms[i]
			}
			if found == nil {
				found, held = inc, &inc.Alarms[i]
			}
		}
	}
	return found, held
}

// prune forgets what was resolved too long ago to open again.
func (t *incidents) prune(at time.Time, reopen time.Duration) {
	t.list = slices.DeleteFunc(t.list, func(inc *model.Incident) bool {
		return inc.Status == model.IncidentResolved && at.Sub(inc.ResolvedAt) > reopen
	})
}

func (m *Manager) apply(ctx context.Context, t *incidents, tenant string, transitions []model.Transition, at time.Time) ([]model.Incident, error) {
	var touched []*model.Incident
	touch := func(inc *model.Incident) {
		if !slices.Contains(touched, inc) {
			touched = append(touched, inc)
		}
	}
	var entries []model.Entry
	enter := func(inc *model.Incident, kind model.EntryKind, text string) {
		e := model.Entry{At: at, Incident: inc.ID, Kind: kind, Text: text}
		e.ID = entryID(e)
		entries = append(entries, e)
	}
	for _, tr := range t.inOrder(transitions) {
		if tr.Alarm.State != model.StateAlarm {
			if inc, a := t.holding(tr.Alarm.ID); inc != nil {
				update(a, tr.Alarm)
				touch(inc)
			}
			continue
		}
		if tr.Alarm.Quiet {
			continue
		}
		inc := m.home(t, tr.Alarm, at)
		if inc == nil {
			id, err := m.opts.State.NextIncident(ctx, tenant)
			if err != nil {
				return nil, err
			}
			inc = &model.Incident{
				ID: id, Tenant: tenant, Status: model.IncidentOpen, Title: title(tr.Alarm, "en"), Titles: titles(tr.Alarm), OpenedAt: at, Onset: tr.Alarm.Onset,
			}
			t.list = append(t.list, inc)
			enter(inc, model.EntryOpened, inc.Title)
			m.log.Info("incident opened", "tenant", tenant, "incident", id, "title", inc.Title)
		}
		if inc.Status == model.IncidentResolved {
			inc.Status, inc.ReopenedAt, inc.ResolvedAt, inc.Acknowledged = model.IncidentOpen, at, time.Time{}, nil
			inc.Title, inc.Titles = title(tr.Alarm, "en"), titles(tr.Alarm) // it need not be what it was the first time
			enter(inc, model.EntryReopened, inc.Title)
			m.log.Info("incident opened again", "tenant", tenant, "incident", inc.ID, "alarm", tr.Alarm.ID)
		}
		join(inc, tr.Alarm)
		touch(inc)
	}
	for _, inc := range t.list {
		if inc.Status == model.IncidentOpen && m.over(inc, at) {
			inc.Status, inc.ResolvedAt = model.IncidentResolved, at
			touch(inc)
			enter(inc, model.EntryResolved, "")
			m.log.Info("incident resolved", "tenant", tenant, "incident", inc.ID)
		}
	}
	var out []model.Incident
	for _, inc := range touched {
		inc.UpdatedAt = at
		out = append(out, clone(inc))
	}
	if err := m.opts.State.SaveIncidents(ctx, tenant, out, entries); err != nil {
		return nil, err
	}
	for _, inc := range t.byHand {
		if !slices.Contains(touched, inc) {
			out = append(out, clone(inc))
		}
	}
	t.byHand = nil
	t.prune(at, m.opts.Reopen)
	return out, nil
}

// clone is a copy that shares no list of alarms.
func clone(inc *model.Incident) model.Incident {
	out := *inc
	out.Alarms = slices.Clone(inc.Alarms)
	return out
}

// inOrder are transitions in order of time, and of one instant the alarms that an incident has before those that are new:
// what goes on, or begins again, takes in what is new with it.
func (t *incidents) inOrder(transitions []model.Transition) []model.Transition {
	out := ordered(transitions)
	fresh := make(map[string]int, len(out))
	for _, tr := range out {
		if inc, _ := t.holding(tr.Alarm.ID); inc == nil && tr.Alarm.State == model.StateAlarm {
			fresh[tr.Alarm.ID] = 1
		}
	}
	slices.SortStableFunc(out, func(a, b model.Transition) int {
		return cmp.Or(a.Alarm.Since.Compare(b.Alarm.Since), cmp.Compare(fresh[a.Alarm.ID], fresh[b.Alarm.ID]))
	})
	return out
}

// home finds the incident an alarm belongs to: the open one that has it, before an open one that is about the same service or
// was joined a moment ago, unless its services have nothing to do with this one, before one that has it and was resolved a
// moment ago.
func (m *Manager) home(t *incidents, a model.Alarm, at time.Time) *model.Incident {
	held, _ := t.holding(a.ID)
	if held != nil && held.Status == model.IncidentOpen {
		return held
	}
	for _, inc := range t.list {
		if inc.Status == model.IncidentOpen && m.belongs(inc, a, at) {
			return inc
		}
	}
	if held != nil && at.Sub(held.ResolvedAt) <= m.opts.Reopen {
		return held
	}
	return nil
}

func (m *Manager) belongs(inc *model.Incident, a model.Alarm, at time.Time) bool {
	last, _ := inc.Episode()
	apart := m.opts.Apart != nil && a.Service != "" && len(inc.Alarms) > 0
	for _, b := range inc.Alarms {
		if a.Service != "" && a.Service == b.Service {
			return true
		}
		apart = apart && b.Service != "" && m.opts.Apart(inc.Tenant, a.Service, b.Service)
		if b.State == model.StateAlarm && b.Since.After(last) {
			last = b.Since
		}
	}
	return !apart && at.Sub(last) <= m.opts.Gap
}

// join adds an alarm, or says how one that is there stands now.
func join(inc *model.Incident, a model.Alarm) {
	if inc.Onset.IsZero() || a.Onset.Before(inc.Onset) {
		inc.Onset = a.Onset
	}
	i := slices.IndexFunc(inc.Alarms, func(b model.Alarm) bool { return a.ID == b.ID })
	switch {
	case i >= 0:
		update(&inc.Alarms[i], a)
	case len(inc.Alarms) < maxAlarms:
		inc.Alarms = append(inc.Alarms, a)
	}
	slices.SortStableFunc(inc.Alarms, func(a, b model.Alarm) int { return a.Onset.Compare(b.Onset) })
}

// update keeps the onset of an alarm that is over: an incident tells when its alarms began.
func update(was *model.Alarm, is model.Alarm) {
	if is.Onset.IsZero() {
		is.Onset = was.Onset
	}
	*was = is
}

// over tells whether nothing of an incident is left.
func (m *Manager) over(inc *model.Incident, at time.Time) bool {
	for _, a := range inc.Alarms {
		if a.State == model.StateAlarm || a.State == model.StateInsufficient && at.Sub(a.Since) < m.opts.Stale {
			return false
		}
	}
	return true
}

// ordered puts transitions in order of time. Of those of one instant, the alarms that end come first, then those that
// fire by what users feel most, because the first one names the incident: failures, slowness, traffic, the rest; of these
// the one that began first, and then the one that is furthest from its usual.
func ordered(transitions []model.Transition) []model.Transition {
	rank := func(a model.Alarm) int {
		if a.State != model.StateAlarm {
			return 0
		}
		if i := slices.Index([]model.Signal{model.SignalErrors, model.SignalDuration, model.SignalRate}, a.Signal); i >= 0 {
			return 1 + i
		}
		return 4
	}
	out := slices.Clone(transitions)
	slices.SortStableFunc(out, func(x, y model.Transition) int {
		a, b := x.Alarm, y.Alarm
		return cmp.Or(
			a.Since.Compare(b.Since),
			cmp.Compare(rank(a), rank(b)),
			a.Onset.Compare(b.Onset),
			cmp.Compare(distance(b), distance(a)),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return out
}

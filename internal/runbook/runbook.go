// Package runbook does what people would do by hand each time: when an alarm or a verdict is as a runbook says, it runs a
// command, calls a webhook or restarts a systemd unit. It decides when a runbook runs, and keeps every run with what came of
// it. It owns runbooks and runs; it judges no incident.
//
//	matches? --> has it run for this already? --yes--> nothing
//	             cools down, limit reached?   --yes--> skipped    (somebody may start it)
//	             dry run?                     --yes--> rehearsed
//	             approval required?           --yes--> waiting    --refused--> refused, --incident over--> expired
//	                                          --no---> running    --> succeeded, failed, stopped
//
// A run is stored as running before anything is done. One that is found running when triage starts was cut off: whether it
// took effect is unknown, and it is not repeated. A runbook runs once an incident and episode, one run at a time.
//
// A Manager is safe for concurrent use.
package runbook

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"triage/internal/model"
	"triage/internal/store"
)

// DocumentKind is the kind of runbooks' documents in the state store.
const DocumentKind = "runbook"

// runKind is that of runs, by ID.
const runKind = "run"

// keepRuns is how many runs that are over are kept.
const keepRuns = 500

var (
	// ErrInvalid means that an act on a run was refused for what it says.
	ErrInvalid = errors.New("not possible")
	// ErrConflict means that it was refused for how the run stands.
	ErrConflict = errors.New("not possible any more")
)

// State is how a run stands.
type State string

// The states of a run.
const (
	Waiting   State = "waiting" // for approval
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Stopped   State = "stopped" // by its timeout, or with triage
	Unknown   State = "unknown" // triage ended while it ran
	Refused   State = "refused"
	Expired   State = "expired"   // the incident was over before somebody approved
	Skipped   State = "skipped"   // it cools down, or ran too often
	Rehearsed State = "rehearsed" // a dry run
)

// over tells whether nothing more comes of a run by itself.
func (s State) over() bool { return s != Waiting && s != Running }

// Run is one run of a runbook, for one episode of an incident.
type Run struct {
	ID       string `json:"id"`
	Runbook  string `json:"runbook"`
	Incident string `json:"incident"`
	State    State  `json:"state"`
	// Why says what matched, Does what is done.
	Why  string `json:"why"`
	Does string `json:"does"`
	// Of is the run that this one takes back, empty if it takes none.
	Of string `json:"of,omitempty"`
	// By is who approved, refused or asked for it; empty where nobody was needed.
	By      string    `json:"by,omitempty"`
	Created time.Time `json:"created"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Error   string    `json:"error,omitempty"`
	// Output is the end of what it said, without secrets; Withheld tells that it is not shown.
	Output   string `json:"output,omitempty"`
	Withheld bool   `json:"output_withheld,omitempty"`
	// CanUndo tells that it can be taken back.
	CanUndo bool `json:"can_undo,omitempty"`
}

// Options wire a Manager.
type Options struct {
	State store.State
	// Systemctl is the program that restarts units.
	Systemctl string
	// Secrets, if not nil, gives what is to be taken out of outputs, besides what the environment and actions hold.
	Secrets func() []string
	// Changed, if not nil, is told of each change of a run, after it was stored.
	Changed    func(Run)
	Now        func() time.Time
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Manager runs runbooks of the default tenant.
type Manager struct {
	opts   Options
	log    *slog.Logger
	result *prometheus.CounterVec
	wake   chan struct{}

	mu        sync.Mutex // guards the rest
	loaded    bool
	runbooks  map[string]Runbook
	runs      map[string]*Run
	incidents map[string]*model.Incident // that are open, or of which the end was not seen yet
	start     []string                   // runs to begin
}

// New makes a Manager. What is stored is read when Run begins, or when somebody asks.
func New(opts Options) *Manager {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Systemctl == "" {
		opts.Systemctl = "systemctl"
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Secrets == nil {
		opts.Secrets = func() []string { return nil }
	}
	if opts.Changed == nil {
		opts.Changed = func(Run) {}
	}
	return &Manager{
		opts: opts, log: opts.Logger, wake: make(chan struct{}, 1), runs: map[string]*Run{}, incidents: map[string]*model.Incident{},
		result: promauto.With(opts.Registerer).NewCounterVec(prometheus.CounterOpts{
			Name: "triage_runbook_runs_total", Help: "Runs of runbooks, by state entered.",
		}, []string{"runbook", "state"}),
	}
}

func (m *Manager) poke() {
	select {
	case m.wake <- struct{}{}:
	default: // it is awake
	}
}

// Observe takes in how an incident stands, with its verdict once there is one. Incidents of other tenants have no runbooks.
func (m *Manager) Observe(inc model.Incident) {
	if inc.Tenant != model.DefaultTenant {
		return
	}
	m.mu.Lock()
	if was := m.incidents[inc.ID]; was != nil && inc.Verdict == nil {
		inc.Verdict = was.Verdict
	}
	m.incidents[inc.ID] = &inc
	m.mu.Unlock()
	m.poke()
}

// Reload takes over the runbooks that are stored.
func (m *Manager) Reload(ctx context.Context, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.load(ctx); err != nil {
		return err
	}
	return m.loadRunbooks(ctx)
}

func (m *Manager) loadRunbooks(ctx context.Context) error {
	docs, err := m.opts.State.Documents(ctx, model.DefaultTenant, DocumentKind)
	if err != nil {
		return err
	}
	runbooks := map[string]Runbook{}
	for _, d := range docs {
		r, err := Parse(d.Body)
		if err != nil {
			return fmt.Errorf("runbook %s: %w", d.Name, err)
		}
		runbooks[d.Name] = r
	}
	m.runbooks = runbooks
	return nil
}

// load reads what is stored, once; what was running then was cut off. The lock is held.
func (m *Manager) load(ctx context.Context) error {
	if m.loaded {
		return nil
	}
	if err := m.loadRunbooks(ctx); err != nil {
		return err
	}
	docs, err := m.opts.State.Documents(ctx, model.DefaultTenant, runKind)
	if err != nil {
		return err
	}
	for _, d := range docs {
		var r Run
		if err := json.Unmarshal(d.Body, &r); err != nil {
			return fmt.Errorf("run %s: %w", d.Name, err)
		}
		m.runs[r.ID] = &r
	}
	for _, id := range slices.Sorted(maps.Keys(m.runs)) {
		if r := *m.runs[id]; r.State == Running {
			r.State, r.Ended = Unknown, m.opts.Now().UTC()
			r.Error = "triage ended while it ran: whether it took effect is not known, and it is not repeated"
			if err := m.put(ctx, r); err != nil {
				return err
			}
		}
	}
	open, err := m.opts.State.Incidents(ctx, model.DefaultTenant, model.IncidentOpen, 1000)
	if err != nil {
		return err
	}
	for _, inc := range open {
		if m.incidents[inc.ID] == nil {
			m.incidents[inc.ID] = &inc
		}
	}
	for _, r := range m.runs { // incidents that ended while nothing ran
		if r.State != Waiting || m.incidents[r.Incident] != nil {
			continue
		}
		inc, err := m.opts.State.Incident(ctx, model.DefaultTenant, r.Incident)
		if err != nil {
			return err
		}
		m.incidents[r.Incident] = &inc
	}
	m.loaded = true
	return nil
}

// put stores a run with an entry of the journal, and forgets the oldest that are over. The lock is held.
func (m *Manager) put(ctx context.Context, r Run) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	docs := []store.Document{{Kind: runKind, Name: r.ID, Body: b}}
	var old []*Run
	for _, x := range m.runs {
		if x.State.over() && x.ID != r.ID {
			old = append(old, x)
		}
	}
	if n := len(old) - keepRuns; n > 0 {
		slices.SortFunc(old, func(a, b *Run) int { return a.Created.Compare(b.Created) })
		for _, x := range old[:n] {
			docs = append(docs, store.Document{Kind: runKind, Name: x.ID})
			delete(m.runs, x.ID)
		}
	}
	if err := m.opts.State.SaveDocuments(ctx, model.DefaultTenant, docs); err != nil {
		return err
	}
	m.runs[r.ID] = &r
	m.result.WithLabelValues(r.Runbook, string(r.State)).Inc()
	m.log.Info("runbook", "runbook", r.Runbook, "run", r.ID, "incident", r.Incident, "state", string(r.State), "error", r.Error)
	entry := model.Entry{
		ID: "run/" + r.ID + "/" + string(r.State), At: m.opts.Now().UTC(), Incident: r.Incident, Kind: model.EntryRunbook, By: r.By, Text: r.sentence(), Ref: r.ID,
	}
	err = m.opts.State.SaveIncidents(ctx, model.DefaultTenant, nil, []model.Entry{entry})
	m.opts.Changed(r)
	return err
}

// sentence tells how a run stands.
func (r Run) sentence() string {
	name := r.Runbook
	if r.Of != "" {
		name = "undo of " + name
	}
	text := name + " " + string(r.State) + ": " + r.Does
	if r.State == Waiting {
		text = name + " waits for approval: " + r.Does
	}
	if r.Error != "" {
		text += ": " + r.Error
	}
	return text
}

func runID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}

// Run runs runbooks until ctx ends, then stops what is under way and waits for it.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	m.poke()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		}
		for _, err := range []error{m.decide(ctx), m.begin(ctx, &wg)} {
			if err != nil && ctx.Err() == nil {
				m.log.Error("runbooks", "error", err)
			}
		}
	}
}

// decide makes runs of the runbooks that match.
func (m *Manager) decide(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.load(ctx); err != nil {
		return err
	}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(m.incidents)) {
		inc := m.incidents[id]
		if inc.Status == model.IncidentResolved {
			errs = append(errs, m.expire(ctx, inc))
			delete(m.incidents, id)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(m.runbooks)) {
			if err := m.consider(ctx, m.runbooks[name], inc); err != nil {
				errs = append(errs, fmt.Errorf("runbook %s for %s: %w", name, id, err))
			}
		}
	}
	return errors.Join(errs...)
}

// expire ends what waits for approval when its incident is over.
func (m *Manager) expire(ctx context.Context, inc *model.Incident) error {
	var errs []error
	for _, r := range m.runs {
		if r.Incident == inc.ID && r.State == Waiting {
			x := *r
			x.State, x.Ended, x.Error = Expired, m.opts.Now().UTC(), "the incident is over"
			errs = append(errs, m.put(ctx, x))
		}
	}
	return errors.Join(errs...)
}

// consider makes a run, unless there was one.
func (m *Manager) consider(ctx context.Context, b Runbook, inc *model.Incident) error {
	since, _ := inc.Episode()
	id := runID(b.Name, inc.ID, since.UTC().Format(time.RFC3339Nano))
	if m.runs[id] != nil {
		return nil
	}
	why := b.When.matches(inc)
	if why == "" {
		return nil
	}
	now := m.opts.Now().UTC()
	r := Run{ID: id, Runbook: b.Name, Incident: inc.ID, Why: why, Does: b.Do.shown(m.opts.Secrets()), Created: now}
	switch reason := m.held(b, now); {
	case b.DryRun:
		r.State, r.Ended = Rehearsed, now
	case reason != "":
		r.State, r.Ended, r.Error = Skipped, now, reason
	case b.Approval == ApprovalRequired:
		r.State = Waiting
	default:
		return m.launch(ctx, r)
	}
	return m.put(ctx, r)
}

// held says why a runbook may not run now.
func (m *Manager) held(b Runbook, now time.Time) string {
	n := 0
	var last time.Time
	for _, r := range m.runs {
		if r.Runbook != b.Name || r.Of != "" || r.Started.IsZero() {
			continue
		}
		if now.Sub(r.Started) < time.Hour {
			n++
		}
		if r.State == Running {
			return "run " + r.ID + " of it is under way"
		}
		if r.Started.After(last) {
			last = r.Started
		}
	}
	if until := last.Add(time.Duration(b.CoolDown)); !last.IsZero() && now.Before(until) {
		return "it cools down until " + until.Format(time.RFC3339)
	}
	if n >= b.PerHour {
		return fmt.Sprintf("it has run %d times within an hour, which is its limit", n)
	}
	return ""
}

// launch stores that a run has begun, and only then has it begun by Run. The lock is held.
func (m *Manager) launch(ctx context.Context, r Run) error {
	r.State, r.Started, r.Ended, r.Error = Running, m.opts.Now().UTC(), time.Time{}, ""
	if err := m.put(ctx, r); err != nil {
		return err
	}
	m.start = append(m.start, r.ID)
	m.poke()
	return nil
}

// begin does what launched runs are to do.
func (m *Manager) begin(ctx context.Context, wg *sync.WaitGroup) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.start {
		r := *m.runs[id]
		b, ok := m.runbooks[r.Runbook]
		action := b.Do
		if r.Of != "" {
			if ok = ok && b.Undo != nil; ok {
				action = *b.Undo
			}
		}
		if !ok { // it was removed in between
			m.finish(ctx, r, action, result{"", errors.New("there is no such runbook any more")})
			continue
		}
		var inc *model.Incident
		if i := m.incidents[r.Incident]; i != nil {
			c := *i
			inc = &c
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(action.Timeout), errTimeout)
			defer cancel()
			got := action.perform(ctx, m.opts.Systemctl, r, inc)
			if got.err != nil && ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTimeout) {
				got.err = errShutdown
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.finish(ctx, r, action, got)
		})
	}
	m.start = nil
	return nil
}

// finish stores what came of a run, also while triage stops. The lock is held.
func (m *Manager) finish(ctx context.Context, r Run, action Action, got result) {
	r.State, r.Ended = Succeeded, m.opts.Now().UTC()
	r.Output, r.Error = got.redacted(action.secrets(m.opts.Secrets()))
	switch {
	case errors.Is(got.err, errTimeout), errors.Is(got.err, errShutdown):
		r.State = Stopped
	case got.err != nil:
		r.State = Failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := m.put(ctx, r); err != nil {
		// It stays running for the store, and is unknown after the next start.
		m.log.Error("what came of a runbook could not be stored", "runbook", r.Runbook, "run", r.ID, "error", err)
	}
	m.poke() // others may have waited for it
}

// Runbooks lists them in order of name.
func (m *Manager) Runbooks(ctx context.Context) ([]Runbook, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.load(ctx); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(m.runbooks), func(a, b Runbook) int { return strings.Compare(a.Name, b.Name) }), nil
}

// Runs lists runs, newest first; of one incident if one is named.
func (m *Manager) Runs(ctx context.Context, incident string) ([]Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.load(ctx); err != nil {
		return nil, err
	}
	out := []Run{}
	for _, r := range m.runs {
		if incident == "" || r.Incident == incident {
			c := *r
			c.CanUndo = m.undoable(c) == nil
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Run) int { return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID)) })
	return out, nil
}

// act changes a run on somebody's behalf and gives it as it stands then.
func (m *Manager) act(ctx context.Context, id, by string, do func(Run) (Run, error)) (Run, error) {
	if strings.TrimSpace(by) == "" || len(by) > maxName {
		return Run{}, fmt.Errorf("%w: by: %q is nobody's name", ErrInvalid, by)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.load(ctx); err != nil {
		return Run{}, err
	}
	r := m.runs[id]
	if r == nil {
		return Run{}, fmt.Errorf("run %s: %w", id, store.ErrNotFound)
	}
	x := *r
	x.By = by
	out, err := do(x)
	if err != nil {
		return Run{}, err
	}
	return *m.runs[out.ID], nil
}

// Approve begins a run that waits, or one that was skipped.
func (m *Manager) Approve(ctx context.Context, id, by string) (Run, error) {
	return m.act(ctx, id, by, func(r Run) (Run, error) {
		b, ok := m.runbooks[r.Runbook]
		switch {
		case r.State != Waiting && r.State != Skipped:
			return r, fmt.Errorf("%w: it is %s", ErrConflict, r.State)
		case !ok:
			return r, fmt.Errorf("%w: there is no runbook %s any more", ErrConflict, r.Runbook)
		case b.Do.shown(m.opts.Secrets()) != r.Does:
			return r, fmt.Errorf("%w: the runbook does %q by now, and not %q", ErrConflict, b.Do.shown(m.opts.Secrets()), r.Does)
		}
		return r, m.launch(ctx, r)
	})
}

// Refuse ends a run that waits.
func (m *Manager) Refuse(ctx context.Context, id, by string) (Run, error) {
	return m.act(ctx, id, by, func(r Run) (Run, error) {
		if r.State != Waiting {
			return r, fmt.Errorf("%w: it is %s", ErrConflict, r.State)
		}
		r.State, r.Ended = Refused, m.opts.Now().UTC()
		return r, m.put(ctx, r)
	})
}

// undoable says why a run cannot be taken back.
func (m *Manager) undoable(r Run) error {
	switch b, ok := m.runbooks[r.Runbook]; {
	case r.Of != "":
		return fmt.Errorf("%w: it takes back another one itself", ErrConflict)
	case !r.State.over() || r.Started.IsZero():
		return fmt.Errorf("%w: it is %s", ErrConflict, r.State)
	case !ok || b.Undo == nil:
		return fmt.Errorf("%w: the runbook has no undo", ErrConflict)
	case m.runs[runID("undo", r.ID)] != nil:
		return fmt.Errorf("%w: it was taken back already", ErrConflict)
	}
	return nil
}

// Undo takes a run back and gives the run that does so.
func (m *Manager) Undo(ctx context.Context, id, by string) (Run, error) {
	return m.act(ctx, id, by, func(r Run) (Run, error) {
		if err := m.undoable(r); err != nil {
			return r, err
		}
		undo := Run{
			ID: runID("undo", r.ID), Runbook: r.Runbook, Incident: r.Incident, Of: r.ID, By: by, Why: by + " asked for it",
			Does: m.runbooks[r.Runbook].Undo.shown(m.opts.Secrets()), Created: m.opts.Now().UTC(),
		}
		return undo, m.launch(ctx, undo)
	})
}

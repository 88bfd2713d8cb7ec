// Package notify tells people about incidents. Who is told, how and when stands in an Alertmanager configuration, and
// Alertmanager's own packages read it, match routes, fill templates and speak to receivers; what is told, and that nothing
// is lost, is ours.
//
//	incident opens ---> groups by route ---> silenced, inhibited, muted, suppressed? ---> message into the outbox
//	verdict arrives         |                                                               |
//	(at most 5 s later) ----+                                            sent until its receiver has taken it
//
// The outbox lies in the state store: a message is sent at least once, and twice only when the process dies between the
// receiver's answer and the record of it. Each message has an ID that stays the same, which mails carry as Message-Id and
// others as the annotation message_id. Messages of one group to one integration are sent in order.
//
// A Manager is safe for concurrent use.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	am "github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	prom "github.com/prometheus/common/model"

	"triage/internal/model"
	"triage/internal/store"
)

const (
	// tickEvery is how often groups are looked at and messages are sent.
	tickEvery = time.Second
	// sendTimeout bounds one attempt.
	sendTimeout = 15 * time.Second
	// A failed attempt is repeated after firstRetry, then after twice as long each time, up to lastRetry; after giveUp the
	// message is given up, which is logged and counted.
	firstRetry, lastRetry = 2 * time.Second, 2 * time.Minute
	giveUp                = 24 * time.Hour
	// keepSent is how many messages that were sent are remembered for people to look at.
	keepSent = 1000
	// maxPending bounds the outbox; past it the oldest are given up.
	maxPending = 10_000
)

// The kinds of documents in the state store.
const (
	kindGroup   = "notify.group"
	kindMessage = "notify.message"
	kindSent    = "notify.sent"
)

// Options wire a Manager.
type Options struct {
	// Config may be nil: then nobody is told.
	Config *Config
	State  store.State
	// URL is how users reach this server, without a slash at its end.
	URL string
	// Suppressed says why nobody is to be told of an alarm now, "" if someone is. It may be nil.
	Suppressed func(tenant, alarm string) string
	Tenants    []string // default: model.DefaultTenant
	Now        func() time.Time
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Message is something to tell one receiver by one integration.
type Message struct {
	ID          string            `json:"id"`
	Incident    string            `json:"incident,omitempty"`
	Receiver    string            `json:"receiver"`
	Integration string            `json:"integration"` // "email[0]"
	Reason      string            `json:"reason"`
	Key         string            `json:"key"`
	GroupLabels map[string]string `json:"group_labels,omitempty"`
	Alerts      []Alert           `json:"alerts"`
	Created     time.Time         `json:"created"`
	Attempts    int               `json:"attempts"`
	// Error is that of the last attempt, Next when it is tried again.
	Error string    `json:"error,omitempty"`
	Next  time.Time `json:"next,omitzero"`
	// Done is when the receiver took it, or it was given up (then Error says why).
	Done time.Time `json:"done,omitzero"`
}

// name orders messages by time.
func (m *Message) name() string { return fmt.Sprintf("%020d-%s", m.Created.UnixNano(), m.ID) }

// lane is what takes messages one after the other.
func (m *Message) lane() string { return m.Receiver + "\x00" + m.Integration }

// Manager decides who is told of what, and tells them.
type Manager struct {
	opts Options
	log  *slog.Logger

	results *prometheus.CounterVec
	pending prometheus.Gauge

	mu      sync.Mutex // guards the rest
	config  *Config
	tenants map[string]*outbox
}

// outbox is what a tenant's receivers are to be told.
type outbox struct {
	loaded    bool
	incidents map[string]*model.Incident // that are open, or of which the end was not told yet
	groups    map[string]*group          // by name
	messages  []*Message                 // by time
	sent      []string                   // names of what was sent, oldest first
	sending   map[string]bool            // lanes under way
}

// New makes a Manager. What is stored is read at the first tick.
func New(opts Options) *Manager {
	if len(opts.Tenants) == 0 {
		opts.Tenants = []string{model.DefaultTenant}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Suppressed == nil {
		opts.Suppressed = func(string, string) string { return "" }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	f := promauto.With(opts.Registerer)
	m := &Manager{
		opts: opts, log: opts.Logger, config: opts.Config, tenants: make(map[string]*outbox),
		results: f.NewCounterVec(prometheus.CounterOpts{
			Name: "triage_notifications_total", Help: "Attempts to send a message, by receiver, integration and result.",
		}, []string{"receiver", "integration", "result"}),
		pending: f.NewGauge(prometheus.GaugeOpts{Name: "triage_notifications_pending", Help: "Messages that no receiver has taken yet."}),
	}
	for _, t := range opts.Tenants {
		m.tenants[t] = &outbox{incidents: map[string]*model.Incident{}, groups: map[string]*group{}, sending: map[string]bool{}}
	}
	return m
}

// SetConfig replaces who is told. Messages that wait go to the receivers of the new configuration, by name.
func (m *Manager) SetConfig(c *Config) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config = c
}

// Receivers lists who can be told.
func (m *Manager) Receivers() []Receiver {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.config.Receivers()
}

// Observe takes in how an incident stands. Its verdict may come later, with the next call or from the state store.
func (m *Manager) Observe(inc model.Incident) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.tenants[inc.Tenant]; t != nil {
		if was := t.incidents[inc.ID]; was != nil && inc.Verdict == nil {
			inc.Verdict = was.Verdict
		}
		t.incidents[inc.ID] = &inc
	}
}

// Run decides and sends until ctx ends, then waits for what is under way.
func (m *Manager) Run(ctx context.Context) error {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		if err := m.tick(ctx, &wg); err != nil && ctx.Err() == nil {
			m.log.Error("notifications", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (m *Manager) tick(ctx context.Context, wg *sync.WaitGroup) error {
	var errs []error
	n := 0
	for _, name := range sortedKeys(m.tenants) {
		if err := m.decide(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("of tenant %s: %w", name, err))
		}
		m.send(ctx, name, wg)
		m.mu.Lock()
		n += len(m.tenants[name].messages)
		m.mu.Unlock()
	}
	m.pending.Set(float64(n))
	return errors.Join(errs...)
}

// load reads what is stored, once. The lock is held.
func (m *Manager) load(ctx context.Context, tenant string, t *outbox) error {
	if t.loaded {
		return nil
	}
	groups := make(map[string]*group)
	if err := each(ctx, m.opts.State, tenant, kindGroup, func(_ string, g group) { groups[g.name()] = &g }); err != nil {
		return err
	}
	var messages []*Message
	if err := each(ctx, m.opts.State, tenant, kindMessage, func(_ string, msg Message) { messages = append(messages, &msg) }); err != nil {
		return err
	}
	var sent []string
	if err := each(ctx, m.opts.State, tenant, kindSent, func(name string, _ Message) { sent = append(sent, name) }); err != nil {
		return err
	}
	open, err := m.opts.State.Incidents(ctx, tenant, model.IncidentOpen, 1000)
	if err != nil {
		return err
	}
	for _, inc := range open {
		if t.incidents[inc.ID] == nil {
			t.incidents[inc.ID] = &inc
		}
	}
	for _, g := range groups { // incidents that ended while nothing ran
		if t.incidents[g.Incident] != nil || g.Over {
			continue
		}
		inc, err := m.opts.State.Incident(ctx, tenant, g.Incident)
		if err != nil {
			return err
		}
		t.incidents[g.Incident] = &inc
	}
	t.groups, t.messages, t.sent, t.loaded = groups, messages, sent, true
	return nil
}

// each reads the documents of a kind.
func each[T any](ctx context.Context, s store.State, tenant, kind string, fn func(name string, v T)) error {
	docs, err := s.Documents(ctx, tenant, kind)
	if err != nil {
		return err
	}
	for _, d := range docs {
		var v T
		if err := json.Unmarshal(d.Body, &v); err != nil {
			return fmt.Errorf("%s %s: %w", kind, d.Name, err)
		}
		fn(d.Name, v)
	}
	return nil
}

// decide puts into the outbox what receivers are to be told now.
func (m *Manager) decide(ctx context.Context, tenant string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tenants[tenant]
	if err := m.load(ctx, tenant, t); err != nil {
		return err
	}
	if len(t.incidents) == 0 {
		return nil
	}
	if m.config == nil {
		for id, inc := range t.incidents {
			if inc.Status == model.IncidentResolved {
				delete(t.incidents, id)
			}
		}
		return nil
	}
	silences, err := m.Silences(ctx, tenant)
	if err != nil {
		return err
	}
	now := m.opts.Now().UTC()
	var errs []error
	for _, id := range sortedKeys(t.incidents) {
		if err := m.decideIncident(ctx, tenant, t, t.incidents[id], silences, now); err != nil {
			errs = append(errs, fmt.Errorf("incident %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) decideIncident(ctx context.Context, tenant string, t *outbox, inc *model.Incident, silences []Silence, now time.Time) error {
	since, _ := inc.Episode()
	c := m.config
	alerts := alertsOf(inc, func(a *model.Alarm, ls prom.LabelSet, firing []Alert) string {
		if why := m.opts.Suppressed(tenant, a.ID); why != "" {
			return why
		}
		if why := silencedBy(silences, ls, now); why != "" {
			return why
		}
		return inhibitedBy(c.inhibit, ls, firing)
	})
	done := inc.Status == model.IncidentResolved
	for _, g := range c.groups(inc.ID, alerts) {
		was := t.groups[g.name()]
		if len(g.firing) > 0 && c.mutedBy(g.opts, now) != "" {
			continue
		}
		if done { // what has no data any more is over too, when its incident is
			g.firing = nil
		} else if len(g.firing) == 0 {
			continue // its end is told with the incident's
		}
		reason := g.decide(was, since, ready(inc, since), inc.Acknowledged != nil, now)
		if reason == ReasonFirst || reason == ReasonNew {
			if err := m.refresh(ctx, tenant, t, inc, since); err != nil {
				return err
			}
			if reason == ReasonFirst && !ready(inc, since) && now.Sub(since) < VerdictWait {
				continue
			}
		}
		if reason == "" {
			continue
		}
		if err := m.enqueue(ctx, tenant, t, g, inc, reason, now); err != nil {
			return err
		}
	}
	if done {
		delete(t.incidents, inc.ID)
		return m.forgetGroups(ctx, tenant, t, now)
	}
	return nil
}

// ready tells whether an incident has a verdict on its present episode.
func ready(inc *model.Incident, since time.Time) bool {
	return inc.Verdict != nil && !inc.Verdict.At.Before(since)
}

// refresh gives an incident its newest verdict.
func (m *Manager) refresh(ctx context.Context, tenant string, t *outbox, inc *model.Incident, since time.Time) error {
	stored, err := m.opts.State.Incident(ctx, tenant, inc.ID)
	if err != nil {
		return err
	}
	if ready(&stored, since) {
		inc.Verdict = stored.Verdict
	}
	return nil
}

// enqueue makes a message for each integration of a group's receiver, and remembers what it says, in one transaction.
func (m *Manager) enqueue(ctx context.Context, tenant string, t *outbox, g *routed, inc *model.Incident, reason string, now time.Time) error {
	state := g.group
	state.Sent, state.Over = now, reason == ReasonResolved
	for _, a := range g.firing {
		state.Told = append(state.Told, a.Alarm)
	}
	alerts := slices.Concat(g.firing, g.resolved)
	if reason != ReasonResolved {
		alerts = g.firing
	}
	var made []*Message
	var docs []store.Document
	put := func(kind, name string, v any) error {
		b, err := json.Marshal(v)
		docs = append(docs, store.Document{Kind: kind, Name: name, Body: b})
		return err
	}
	for _, i := range m.config.integrations[g.Receiver] {
		if reason == ReasonResolved && !i.SendResolved() {
			continue
		}
		msg := &Message{
			ID: hash(tenant, inc.ID, g.Receiver, i.String(), g.Key, reason, now.Format(time.RFC3339Nano)), Incident: inc.ID, Receiver: g.Receiver,
			Integration: i.String(), Reason: reason, Key: g.Key, GroupLabels: g.Labels, Created: now,
		}
		for _, a := range alerts {
			a.Annotations = map[string]string{"reason": a.Annotations["reason"]} // each message describes its own
			msg.Alerts = append(msg.Alerts, a)
		}
		describe(msg.Alerts, inc, msg.ID, m.opts.URL)
		made = append(made, msg)
		if err := put(kindMessage, msg.name(), msg); err != nil {
			return err
		}
	}
	if err := put(kindGroup, state.name(), state); err != nil {
		return err
	}
	if err := m.opts.State.SaveDocuments(ctx, tenant, docs); err != nil {
		return err
	}
	t.groups[state.name()] = &state
	t.messages = append(t.messages, made...)
	return nil
}

// forgetGroups removes what is remembered of incidents that ended long ago.
func (m *Manager) forgetGroups(ctx context.Context, tenant string, t *outbox, now time.Time) error {
	var docs []store.Document
	for name, g := range t.groups {
		if g.Over && now.Sub(g.Sent) > giveUp {
			docs = append(docs, store.Document{Kind: kindGroup, Name: name})
			delete(t.groups, name)
		}
	}
	return m.opts.State.SaveDocuments(ctx, tenant, docs)
}

// send starts an attempt in every lane that is free and has a message that is due.
func (m *Manager) send(ctx context.Context, tenant string, wg *sync.WaitGroup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tenants[tenant]
	now := m.opts.Now().UTC()
	for len(t.messages) > maxPending {
		m.finish(ctx, tenant, t, t.messages[0], now, errors.New("given up: too many messages wait"))
	}
	busy := make(map[string]bool)
	for _, msg := range slices.Clone(t.messages) {
		lane := msg.lane()
		if busy[lane] || t.sending[lane] {
			continue
		}
		busy[lane] = true // only the oldest of a lane is tried
		if msg.Next.After(now) {
			continue
		}
		i, ok := m.config.integration(msg.Receiver, msg.Integration)
		if !ok {
			m.finish(ctx, tenant, t, msg, now, fmt.Errorf("there is no receiver %s with %s any more", msg.Receiver, msg.Integration))
			continue
		}
		t.sending[lane] = true
		wg.Go(func() {
			err := deliver(ctx, &i, msg, now)
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(t.sending, lane)
			if err != nil && ctx.Err() != nil {
				return // we stop; it is sent after the next start
			}
			m.attempted(ctx, tenant, t, msg, err)
		})
	}
}

// deliver makes one attempt. Some integrations panic over answers that they do not expect; that must not end us.
func deliver(ctx context.Context, i *am.Integration, msg *Message, now time.Time) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the answer was not understood: %v", r)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	ctx = am.WithReceiverName(ctx, msg.Receiver)
	ctx = am.WithGroupKey(ctx, msg.Key)
	ctx = am.WithGroupLabels(ctx, labelSet(msg.GroupLabels))
	ctx = am.WithNow(ctx, now)
	ctx = am.WithRepeatInterval(ctx, time.Hour)
	ctx = am.WithNotificationReason(ctx, amReason(msg.Reason))
	_, err = i.Notify(ctx, forAlertmanager(msg.Alerts, now)...)
	return err
}

func amReason(reason string) am.NotifyReason {
	switch reason {
	case ReasonNew:
		return am.ReasonNewAlertsInGroup
	case ReasonRepeat:
		return am.ReasonRepeatIntervalElapsed
	case ReasonResolved:
		return am.ReasonAllAlertsResolved
	}
	return am.ReasonFirstNotification
}

// attempted records how an attempt went. Errors that Alertmanager calls unrecoverable are tried again too: whoever mends
// the receiver wants the message all the same. The lock is held.
func (m *Manager) attempted(ctx context.Context, tenant string, t *outbox, msg *Message, err error) {
	now := m.opts.Now().UTC()
	msg.Attempts++
	integration, _, _ := strings.Cut(msg.Integration, "[")
	if err == nil {
		m.results.WithLabelValues(msg.Receiver, integration, "sent").Inc()
		m.finish(ctx, tenant, t, msg, now, nil)
		return
	}
	m.results.WithLabelValues(msg.Receiver, integration, "failed").Inc()
	if now.Sub(msg.Created) > giveUp {
		m.finish(ctx, tenant, t, msg, now, fmt.Errorf("given up after %d attempts: %w", msg.Attempts, err))
		return
	}
	wait := min(lastRetry, firstRetry<<min(msg.Attempts-1, 10))
	msg.Error, msg.Next = err.Error(), now.Add(wait)
	m.log.Warn("message was not taken", "receiver", msg.Receiver, "integration", msg.Integration, "incident", msg.Incident,
		"attempts", msg.Attempts, "again_in", wait.String(), "error", err)
}

// finish takes a message out of the outbox and keeps it among the last that were sent. If that cannot be stored the message
// stays, and is sent once more. The lock is held.
func (m *Manager) finish(ctx context.Context, tenant string, t *outbox, msg *Message, now time.Time, failed error) {
	done := *msg
	done.Done, done.Error, done.Next = now, "", time.Time{}
	if failed != nil {
		done.Error = failed.Error()
		m.log.Error("message is lost", "receiver", msg.Receiver, "integration", msg.Integration, "incident", msg.Incident, "error", failed)
		m.results.WithLabelValues(msg.Receiver, msg.Integration, "lost").Inc()
	}
	b, err := json.Marshal(done)
	docs := []store.Document{{Kind: kindMessage, Name: msg.name()}, {Kind: kindSent, Name: msg.name(), Body: b}}
	sent := append(slices.Clone(t.sent), msg.name())
	for len(sent) > keepSent {
		docs = append(docs, store.Document{Kind: kindSent, Name: sent[0]})
		sent = sent[1:]
	}
	if err == nil {
		// What a receiver took must be recorded even if we stop just now.
		err = m.opts.State.SaveDocuments(context.WithoutCancel(ctx), tenant, docs)
	}
	if err != nil {
		msg.Next = now.Add(firstRetry)
		m.log.Error("a message that was sent could not be recorded, and is sent again", "incident", msg.Incident, "error", err)
		return
	}
	t.sent = sent
	t.messages = slices.DeleteFunc(t.messages, func(x *Message) bool { return x == msg })
}

// Messages lists what waits and what was sent last, newest first; of one incident if one is named.
func (m *Manager) Messages(ctx context.Context, tenant, incident string) (list []Message, err error) {
	list = []Message{}
	add := func(msg Message) {
		if incident == "" || msg.Incident == incident {
			list = append(list, msg)
		}
	}
	// First those that wait, then those that were sent: one that goes over in between is among both, not among neither.
	waiting := map[string]Message{} // which know of attempts that are not stored
	m.mu.Lock()
	if t := m.tenants[tenant]; t != nil {
		for _, msg := range t.messages {
			waiting[msg.name()] = *msg
		}
	}
	m.mu.Unlock()
	err = each(ctx, m.opts.State, tenant, kindSent, func(name string, msg Message) {
		delete(waiting, name)
		add(msg)
	})
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		add(waiting[name])
	}
	slices.SortStableFunc(list, func(a, b Message) int { return b.Created.Compare(a.Created) })
	return list, nil
}

// TestResult is how a receiver's integration took a test message.
type TestResult struct {
	Integration string  `json:"integration"`
	Error       string  `json:"error,omitempty"`
	Seconds     float64 `json:"seconds"`
}

// Test tells a receiver at once that it can be told, by each of its integrations; store.ErrNotFound if there is none of the
// name. It goes past the outbox.
func (m *Manager) Test(ctx context.Context, name string) ([]TestResult, error) {
	m.mu.Lock()
	c := m.config
	m.mu.Unlock()
	if c == nil || !slices.ContainsFunc(c.Receivers(), func(r Receiver) bool { return r.Name == name }) {
		return nil, fmt.Errorf("receiver %q: %w", name, store.ErrNotFound)
	}
	out := []TestResult{}
	for _, i := range c.integrations[name] {
		now := m.opts.Now().UTC()
		msg := &Message{
			ID: hash("test", name, i.String(), now.Format(time.RFC3339Nano)), Receiver: name, Integration: i.String(), Reason: ReasonTest,
			Key: "test", Created: now, Alerts: []Alert{{
				Labels: map[string]string{prom.AlertNameLabel: "test"}, Starts: now,
				Annotations: map[string]string{"reason": "someone asked for a test message"},
			}},
		}
		inc := model.Incident{ID: "test", Title: "This is a test of receiver " + name}
		describe(msg.Alerts, &inc, msg.ID, m.opts.URL)
		msg.Alerts[0].Annotations["incident_url"] = m.opts.URL
		r := TestResult{Integration: i.String()}
		if err := deliver(ctx, &i, msg, now); err != nil {
			r.Error = err.Error()
		}
		r.Seconds = m.opts.Now().Sub(now).Seconds()
		out = append(out, r)
	}
	return out, nil
}

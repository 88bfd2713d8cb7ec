// Package alarm answers "what is wrong, and since when": it evaluates rules on metrics and keeps one alarm for each
// contributor (label set) of each rule. It owns the rules, the alarms' states and what is usual for each contributor. It
// does not group alarms (incident does), explain them, or read a clock: time comes in with Evaluate.
//
//	              M of N datapoints breaching
//	   +-----+ -------------------------------> +-------+
//	   | OK  |                                  | ALARM |
//	   +-----+ <------------------------------- +-------+
//	      ^  \          fewer than M             /   ^
//	enough \  v no datapoint                    v   / M of N
//	        +------------------------------------+
//	        |         INSUFFICIENT_DATA          |
//	        +------------------------------------+
//
// A datapoint breaches a fixed threshold (Compare), or is unlike the contributor's own past (Usual) by a factor, by an
// amount and by more than noise explains. The past is read from the metrics at start, so that a restart forgets nothing.
//
// An Evaluator is safe for concurrent use; evaluations run one after the other, and what is read of it (Alarms, Rules)
// never waits for one.
package alarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/prometheus/promql"

	"triage/internal/model"
	"triage/internal/store"
)

// ErrInvalid means that a rule was refused for what it says; the message tells why.
var ErrInvalid = errors.New("rule is not valid")

// DocumentKind is the kind of rules' documents in the state store.
const DocumentKind = "rule"

const (
	// saveEvery is how often alarms are saved that did not change their state.
	saveEvery = time.Minute
	// queryTimeout bounds one rule's queries, so that none can hold up the others for long.
	queryTimeout = 10 * time.Second
	// maxPending bounds the transitions that wait for a store which takes none; the oldest are given up and counted.
	maxPending = 10000
	// MaxSelected bounds the series that one rule may select; checkEvery is how often they are counted.
	MaxSelected = 100_000
	checkEvery  = 5 * time.Minute
	// maxPast bounds the transitions read to learn when contributors were in ALARM.
	maxPast = 100000
)

// Options wire an Evaluator.
type Options struct {
	Metrics store.Metrics
	// Events answers rules on logs and spans; without it they cannot be evaluated.
	Events Events
	State  store.State
	// Selects counts the series that a PromQL expression selects now, up to a limit. Rules that select more than
	// MaxSelected are not evaluated. It may be nil.
	Selects func(ctx context.Context, tenant, promql string, limit int) (int, error)
	// Sources knows where data come from: rules wait for those that are late, and those that are silent are alarms. It may be
	// nil, and then nobody is waited for.
	Sources *Sources
	// Rules are the configuration's, and hold for every tenant. One that is named like an automatic rule replaces it.
	Rules []Rule
	// Automatic are the built-in rules; usually Automatic().
	Automatic []Rule
	// Tenants default to model.DefaultTenant.
	Tenants []string
	// Delay shifts the ends of all periods, from whole multiples of the period to that much later, so that what others
	// write at whole multiples is seen at once: 1 s by default, none if negative. A period is judged from its end on.
	Delay      time.Duration
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Evaluator evaluates rules.
type Evaluator struct {
	opts      Options
	log       *slog.Logger
	automatic []Rule

	evaluations *prometheus.CounterVec
	seconds     prometheus.Histogram
	transitions *prometheus.CounterVec
	lost        prometheus.Counter
	dropped     prometheus.Counter
	alarms      *prometheus.GaugeVec

	run     sync.Mutex // guards tenants' fields but those under mu; held while stores are asked. Taken before mu.
	tenants []*tenant

	mu     sync.RWMutex // guards config, and each tenant's api, derived, reports, alarms and status
	config []Rule
}

type tenant struct {
	name     string
	loaded   bool
	restored map[string][]model.Alarm // by rule, until a watch takes them
	watches  map[string]*watch
	saved    time.Time          // when all alarms were saved last
	pending  []model.Transition // that the store has not taken yet
	gone     []string           // alarms to delete

	api     map[string]apiRule
	derived []Rule     // see SetDerived
	reports []Reported // not taken in yet
	alarms  []model.Alarm
	status  map[string]RuleStatus
}

// apiRule is a rule from the state store; err tells why it cannot be used.
type apiRule struct {
	rule Rule
	err  error
}

// Source says where a rule comes from.
type Source string

// The sources of rules.
const (
	SourceAutomatic Source = "automatic"
	SourceConfig    Source = "config"
	SourceAPI       Source = "api"
	SourceSLO       Source = "slo"
)

// EvaluationState says how the last evaluation of a rule went. The words are CloudWatch's.
type EvaluationState string

// The evaluation states; a rule that was not evaluated yet has none.
const (
	EvaluationOK      EvaluationState = "OK"
	EvaluationPartial EvaluationState = "PARTIAL_DATA"
	EvaluationError   EvaluationState = "EVALUATION_ERROR"
	EvaluationFailure EvaluationState = "EVALUATION_FAILURE"
)

// failed tells whether a rule was not evaluated through no fault of its own: what it asks does not answer.
func failed(err error) bool {
	var storage promql.ErrStorage
	return errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrPartial) || errors.As(err, &storage)
}

// RuleStatus is a rule and how it fares.
type RuleStatus struct {
	Rule
	Source          Source          `json:"source"`
	EvaluationState EvaluationState `json:"evaluation_state,omitempty"`
	// EvaluationReason says why the state is not OK.
	EvaluationReason string `json:"evaluation_reason,omitempty"`
	// Evaluated is the end of the last period that was evaluated.
	Evaluated time.Time `json:"evaluated,omitzero"`
	Alarms    int       `json:"alarms"`
}

// New makes an Evaluator, or says what is wrong with the rules.
func New(opts Options) (*Evaluator, error) {
	if err := errors.Join(ValidateRules("alarm.automatic", opts.Automatic), ValidateRules("alarm.rules", opts.Rules)); err != nil {
		return nil, err
	}
	if len(opts.Tenants) == 0 {
		opts.Tenants = []string{model.DefaultTenant}
	}
	if opts.Delay == 0 {
		opts.Delay = time.Second
	}
	opts.Delay = max(opts.Delay, 0)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	f := promauto.With(opts.Registerer)
	e := &Evaluator{
		opts: opts, log: opts.Logger, automatic: complete(opts.Automatic), config: complete(opts.Rules),
		evaluations: f.NewCounterVec(prometheus.CounterOpts{
			Name: "triage_alarm_evaluations_total", Help: "Evaluations of alarm rules, by result.",
		}, []string{"result"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "triage_alarm_evaluation_seconds", Help: "How long the evaluation of all rules that were due took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
		transitions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "triage_alarm_transitions_total", Help: "Changes of alarms' states, by the state entered.",
		}, []string{"state"}),
		lost: f.NewCounter(prometheus.CounterOpts{
			Name: "triage_alarm_transitions_lost_total", Help: "Transitions that were never saved, because the state store took none for too long.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "triage_alarm_contributors_dropped_total", Help: "Label sets that were not watched, because their rule yields too many.",
		}),
		alarms: f.NewGaugeVec(prometheus.GaugeOpts{Name: "triage_alarms", Help: "Alarms, by state."}, []string{"state"}),
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "triage_alarm_senders", Help: "Senders that are known by name, of all sources."}, func() float64 {
		n, _ := opts.Sources.known()
		return float64(n)
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "triage_alarm_senders_limit", Help: "Most senders of one source that are known by name."},
		func() float64 { return maxSenders })
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "triage_alarm_senders_unnamed_total", Help: "Times that something came from a sender that is not known by name, because there are too many.",
	}, func() float64 {
		_, n := opts.Sources.known()
		return float64(n)
	})
	for _, name := range opts.Tenants {
		e.tenants = append(e.tenants, &tenant{name: name, watches: make(map[string]*watch), alarms: []model.Alarm{}})
	}
	return e, nil
}

func complete(rules []Rule) []Rule {
	out := make([]Rule, len(rules))
	for i, r := range rules {
		out[i] = r.WithDefaults()
	}
	return out
}

// SetRules replaces the configuration's rules; when one is wrong, all stay as they were. Alarms of rules that stay keep
// their states. It takes effect with the next evaluation.
func (e *Evaluator) SetRules(rules []Rule) error {
	if err := ValidateRules("alarm.rules", rules); err != nil {
		return err
	}
	complete := complete(rules)
	for _, t := range e.tenants {
		if err := e.circle(t, complete); err != nil {
			return fmt.Errorf("alarm.rules, with those of tenant %s: %w", t.name, err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.config = complete
	return nil
}

// SetDerived replaces the rules that a tenant's service level objectives make, which must be valid. They win over rules of
// the API, and the configuration over them. It takes effect with the next evaluation. Unknown tenants have no rules.
func (e *Evaluator) SetDerived(tenant string, rules []Rule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.tenants {
		if t.name == tenant {
			t.derived = complete(rules)
		}
	}
}

// circle tells whether rules together with those in force would make a composite rule be made of itself.
func (e *Evaluator) circle(t *tenant, more []Rule) error {
	all := make(map[string]Rule)
	for name, r := range e.wanted(t) {
		if r.err == nil {
			all[name] = r.rule
		}
	}
	for _, r := range more {
		all[r.Name] = r
	}
	circles := cycles(all)
	for _, r := range more {
		if err := circles[r.Name]; err != nil {
			return fmt.Errorf("composite of rule %s: %w", r.Name, err)
		}
	}
	return nil
}

// SaveRule stores a tenant's own rule, replacing the one of that name. ErrInvalid if the rule is wrong or its name is
// taken by the configuration.
func (e *Evaluator) SaveRule(ctx context.Context, tenant string, r Rule) error {
	r = r.WithDefaults()
	if err := r.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	e.run.Lock()
	defer e.run.Unlock()
	t, err := e.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	if err := errors.Join(taken(e.wanted(t), r.Name), e.circle(t, []Rule{r}), e.selects(ctx, tenant, r)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write rule %s: %w", r.Name, err)
	}
	if err := e.opts.State.SaveDocuments(ctx, tenant, []store.Document{{Kind: DocumentKind, Name: r.Name, Body: b}}); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t.api[r.Name] = apiRule{rule: r}
	return nil
}

// DeleteRule removes a tenant's own rule; store.ErrNotFound if there is none. Its alarms go with the next evaluation.
func (e *Evaluator) DeleteRule(ctx context.Context, tenant, name string) error {
	e.run.Lock()
	defer e.run.Unlock()
	t, err := e.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	if _, ok := t.api[name]; !ok {
		return fmt.Errorf("rule %s: %w", name, store.ErrNotFound)
	}
	if err := e.opts.State.SaveDocuments(ctx, tenant, []store.Document{{Kind: DocumentKind, Name: name}}); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(t.api, name)
	return nil
}

// tenant finds a tenant and loads what is stored of it. e.run is held.
func (e *Evaluator) tenant(ctx context.Context, name string) (*tenant, error) {
	i := slices.IndexFunc(e.tenants, func(t *tenant) bool { return t.name == name })
	if i < 0 {
		return nil, fmt.Errorf("tenant %q: %w", name, store.ErrNotFound)
	}
	return e.tenants[i], e.load(ctx, e.tenants[i])
}

// load reads rules and alarms once. e.run is held.
func (e *Evaluator) load(ctx context.Context, t *tenant) error {
	if t.loaded {
		return nil
	}
	api, err := e.stored(ctx, t.name)
	if err != nil {
		return err
	}
	alarms, err := e.opts.State.Alarms(ctx, t.name)
	if err != nil {
		return err
	}
	t.restored = make(map[string][]model.Alarm)
	for _, a := range alarms {
		t.restored[a.Rule] = append(t.restored[a.Rule], a)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t.api, t.alarms, t.loaded = api, alarms, true
	return nil
}

// stored reads a tenant's own rules.
func (e *Evaluator) stored(ctx context.Context, tenant string) (map[string]apiRule, error) {
	docs, err := e.opts.State.Documents(ctx, tenant, DocumentKind)
	if err != nil {
		return nil, err
	}
	out := make(map[string]apiRule, len(docs))
	for _, d := range docs {
		r, err := ParseRule(d.Body)
		r.Name = d.Name
		out[d.Name] = apiRule{r, err}
	}
	return out, nil
}

// Reload takes over a tenant's own rules as they are stored, after others stored some. Alarms of rules that stay keep their
// states.
func (e *Evaluator) Reload(ctx context.Context, tenant string) error {
	e.run.Lock()
	defer e.run.Unlock()
	t, err := e.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	api, err := e.stored(ctx, tenant)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t.api = api
	return nil
}

// Check says of rules, by name and as JSON, which of them SaveRule would refuse if all were saved together.
func (e *Evaluator) Check(ctx context.Context, tenant string, bodies map[string][]byte) (map[string]error, error) {
	e.run.Lock()
	defer e.run.Unlock()
	t, err := e.tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	wrong := make(map[string]error)
	all := make(map[string]Rule)
	wanted := e.wanted(t)
	for name, r := range wanted {
		if r.err == nil {
			all[name] = r.rule
		}
	}
	for name, b := range bodies {
		r, err := ParseRule(b)
		if err == nil {
			err = errors.Join(taken(wanted, name), e.selects(ctx, tenant, r))
		}
		if err != nil {
			wrong[name] = err
			continue
		}
		all[name] = r
	}
	for name, err := range cycles(all) {
		if _, given := bodies[name]; given {
			wrong[name] = errors.Join(wrong[name], fmt.Errorf("composite: %w", err))
		}
	}
	return wrong, ctx.Err()
}

// taken tells who else has a rule of a name.
func taken(wanted map[string]wantedRule, name string) error {
	switch w, ok := wanted[name]; {
	case ok && w.source == SourceSLO:
		return fmt.Errorf("name: %q is a rule of a service level objective", name)
	case ok && w.source != SourceAPI:
		return fmt.Errorf("name: %q is a rule of the configuration", name)
	}
	return nil
}

// wantedRule is a rule that is in force; err tells why it cannot be evaluated.
type wantedRule struct {
	rule   Rule
	source Source
	err    error
}

// wanted are the rules in force for a tenant, by name. The configuration wins over objectives, these over the API,
// and all over what is automatic.
func (e *Evaluator) wanted(t *tenant) map[string]wantedRule {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := make(map[string]wantedRule)
	for _, r := range e.automatic {
		out[r.Name] = wantedRule{rule: r, source: SourceAutomatic}
	}
	for name, r := range t.api {
		out[name] = wantedRule{r.rule, SourceAPI, r.err}
	}
	for _, r := range t.derived {
		out[r.Name] = wantedRule{rule: r, source: SourceSLO}
	}
	for _, r := range e.config {
		out[r.Name] = wantedRule{rule: r, source: SourceConfig}
	}
	return out
}

// circular marks composite rules that are made of themselves. None is taken in, but a rule that was replaced in the
// configuration while triage did not run may close a circle with those of the API.
func circular(wanted map[string]wantedRule) {
	all := make(map[string]Rule)
	for name, r := range wanted {
		if r.err == nil {
			all[name] = r.rule
		}
	}
	for name, err := range cycles(all) {
		r := wanted[name]
		r.err = fmt.Errorf("composite: %w", err)
		wanted[name] = r
	}
}

// selects says which expression of a rule selects too many series.
func (e *Evaluator) selects(ctx context.Context, tenant string, r Rule) error {
	if e.opts.Selects == nil {
		return nil
	}
	type expr struct{ at, text string }
	exprs := []expr{{"expr", r.Expr}, {"samples", r.Samples}}
	if r.Math != nil {
		for _, id := range slices.Sorted(maps.Keys(r.Math.Metrics)) {
			exprs = append(exprs, expr{"math.metrics." + id, r.Math.Metrics[id]})
		}
	}
	for _, x := range exprs {
		if x.text == "" {
			continue
		}
		n, err := e.opts.Selects(ctx, tenant, x.text, MaxSelected+1)
		if err != nil {
			return fmt.Errorf("%s: %w", x.at, err)
		}
		if n > MaxSelected {
			return fmt.Errorf("%s: it selects more than %d series", x.at, MaxSelected)
		}
	}
	return nil
}

// Evaluate judges every rule whose period has passed at at, and returns the transitions, which are saved together with
// the states. A rule that cannot be evaluated keeps its alarms as they are and says why in its RuleStatus. When saving
// fails, the transitions are returned with the error and saved later. Times must not go back.
func (e *Evaluator) Evaluate(ctx context.Context, at time.Time) ([]model.Transition, error) {
	e.run.Lock()
	defer e.run.Unlock()
	timer := prometheus.NewTimer(e.seconds)
	var all []model.Transition
	var errs []error
	busy := false
	for _, t := range e.tenants {
		transitions, evaluated, err := e.evaluate(ctx, t, at.UTC())
		busy = busy || evaluated
		all = append(all, transitions...)
		if err != nil {
			errs = append(errs, fmt.Errorf("alarms of tenant %s: %w", t.name, err))
		}
	}
	if busy {
		timer.ObserveDuration()
		e.count()
	}
	return all, errors.Join(errs...)
}

func (e *Evaluator) evaluate(ctx context.Context, t *tenant, at time.Time) (out []model.Transition, evaluated bool, err error) {
	if err := e.load(ctx, t); err != nil {
		return nil, false, err
	}
	out = e.reconcile(t, at)
	evaluated = len(out) > 0
	quiet, left := e.opts.Sources.silent(t.name, at), maxEarly
	for _, name := range slices.Sorted(maps.Keys(t.watches)) {
		w := t.watches[name]
		if w.composite != nil || w.reported {
			continue
		}
		transitions, looked, err := e.evaluateDue(ctx, t, w, quiet, at, &left)
		if ctx.Err() != nil { // which says nothing about the rule
			t.pending = append(t.pending, out...)
			return out, evaluated, ctx.Err()
		}
		evaluated = evaluated || looked
		if !looked || w.held != "" && len(transitions) == 0 && err == nil {
			continue
		}
		if err != nil && (w.err == nil || w.err.Error() != err.Error()) {
			e.log.Warn("alarm rule cannot be evaluated", "tenant", t.name, "rule", name, "error", err)
		}
		w.err = err
		if err != nil {
			e.evaluations.WithLabelValues("error").Inc()
			continue
		}
		e.evaluations.WithLabelValues("ok").Inc()
		e.dropped.Add(float64(w.dropped))
		t.gone = append(t.gone, w.forget()...)
		out = append(out, transitions...)
	}
	reported := e.takeReports(t, at, quiet)
	evaluated = evaluated || len(reported) > 0
	out = append(out, reported...)
	for _, w := range bottomUp(t.watches) {
		transitions, err := w.evaluateComposite(at, t.watches)
		evaluated = evaluated || w.last.IsZero() || len(transitions) > 0 || (err == nil) != (w.err == nil)
		w.err = err
		out = append(out, transitions...)
	}
	evaluated = suppress(t.watches, at) || evaluated
	if !evaluated {
		return nil, false, nil
	}
	for i := range out {
		a := &out[i].Alarm
		if w := t.watches[a.Rule]; w != nil && w.contributors[a.ID] != nil && a.State == model.StateAlarm {
			a.Suppressed = w.contributors[a.ID].alarm.Suppressed
		}
	}
	for _, tr := range out {
		e.transitions.WithLabelValues(string(tr.Alarm.State)).Inc()
		e.log.Info("alarm changed", "tenant", t.name, "alarm", tr.Alarm.ID, "from", tr.From, "to", tr.Alarm.State, "reason", tr.Alarm.Reason)
	}
	e.publish(t)
	return out, true, e.save(ctx, t, out, at)
}

// evaluateDue evaluates a rule if a period of it is over and has come whole, and looks whether it goes off early. It tells
// whether there was anything to evaluate.
func (e *Evaluator) evaluateDue(ctx context.Context, t *tenant, w *watch, quiet *silences, at time.Time, left *int) (out []model.Transition, looked bool, err error) {
	if slot, due := w.due(at, e.opts.Delay); due {
		looked = true
		st := e.opts.Sources.of(t.name, w.keys, at, quiet)
		if w.held = st.late; w.held == "" {
			w.silence, w.quiet = st.silence, quiet
			if out, err = e.evaluateRule(ctx, w, slot); err != nil {
				return nil, true, err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	early, err := w.evaluateEarly(ctx, sources{e.opts.Metrics, e.opts.Events}, at, e.opts.Delay, left)
	return append(out, early...), looked || len(early) > 0 || err != nil, err
}

// count sets the gauge of alarms.
func (e *Evaluator) count() {
	n := map[model.AlarmState]int{model.StateOK: 0, model.StateAlarm: 0, model.StateInsufficient: 0}
	for _, t := range e.tenants {
		for _, a := range t.alarms {
			n[a.State]++
		}
	}
	for state, n := range n {
		e.alarms.WithLabelValues(string(state)).Set(float64(n))
	}
}

// evaluateRule evaluates one rule within its time.
func (e *Evaluator) evaluateRule(ctx context.Context, w *watch, slot time.Time) ([]model.Transition, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if w.checked.IsZero() || slot.Sub(w.checked) >= checkEvery {
		if err := e.selects(ctx, w.tenant, w.rule); err != nil {
			return nil, err
		}
		w.checked = slot
	}
	var past map[string][]store.Window
	if w.fresh(slot) {
		window := store.Window{From: w.begin(slot), To: slot.Add(1)}
		transitions, err := e.opts.State.Transitions(ctx, w.tenant, "", window, maxPast)
		if err != nil {
			return nil, err
		}
		past = alarmWindows(transitions, w.contributors, window)
	}
	out, err := w.evaluate(ctx, sources{e.opts.Metrics, e.opts.Events}, slot, past)
	if err == nil && len(w.recorded) > 0 {
		if _, err := e.opts.Metrics.Append(ctx, w.tenant, w.recorded); err != nil { // the alarms hold all the same
			e.log.Warn("what is usual was not recorded", "tenant", w.tenant, "rule", w.rule.Name, "error", err)
		}
	}
	return out, err
}

// alarmWindows gives when each alarm was in ALARM, from its onset on.
func alarmWindows(transitions []model.Transition, now map[string]*contributor, w store.Window) map[string][]store.Window {
	out := make(map[string][]store.Window)
	begun := make(map[string]time.Time)
	for _, t := range transitions {
		id := t.Alarm.ID
		switch {
		case t.Alarm.State == model.StateAlarm:
			begun[id] = t.Alarm.Onset
		case t.From == model.StateAlarm:
			from, ok := begun[id]
			if !ok {
				from = w.From
			}
			delete(begun, id)
			// The onset is the end of the last datapoint that was good.
			out[id] = append(out[id], store.Window{From: from.Add(1), To: t.Alarm.Since})
		}
	}
	for id, c := range now {
		if c.alarm.State == model.StateAlarm {
			out[id] = append(out[id], store.Window{From: c.alarm.Onset.Add(1), To: w.To})
		}
	}
	return out
}

// reconcile makes the watches be those of the rules in force.
func (e *Evaluator) reconcile(t *tenant, at time.Time) (out []model.Transition) {
	wanted := e.wanted(t)
	circular(wanted)
	maps.DeleteFunc(wanted, func(_ string, r wantedRule) bool { return r.err != nil })
	for name, w := range t.watches {
		if _, ok := wanted[name]; !ok && !w.reported {
			transitions, ids := t.watches[name].retire(at)
			out, t.gone = append(out, transitions...), append(t.gone, ids...)
			delete(t.watches, name)
		}
	}
	for name, r := range wanted {
		old := t.watches[name]
		if old != nil && reflect.DeepEqual(old.rule, r.rule.judged()) {
			continue
		}
		alarms := t.restored[name]
		delete(t.restored, name)
		if old != nil { // a rule that was altered keeps its alarms, and learns anew what is usual
			for _, c := range old.contributors {
				alarms = append(alarms, c.alarm)
			}
		}
		t.watches[name] = newWatch(t.name, r.rule, alarms)
		if old == nil {
			t.watches[name].resume(at)
		}
	}
	for name, alarms := range t.restored { // of rules that went while nobody was watching, or that others evaluate
		if alarms[0].Source != "" {
			t.watches[name] = newReported(t.name, name, alarms, at)
			continue
		}
		transitions, ids := newWatch(t.name, Rule{Name: name}, alarms).retire(at)
		out, t.gone = append(out, transitions...), append(t.gone, ids...)
	}
	clear(t.restored)
	return out
}

// publish makes what was evaluated readable.
func (e *Evaluator) publish(t *tenant) {
	alarms := t.current()
	automatic := make(map[string]bool) // which match nothing as long as there are no spans
	for name, r := range e.wanted(t) {
		automatic[name] = r.source == SourceAutomatic
	}
	status := make(map[string]RuleStatus, len(t.watches))
	for name, w := range t.watches {
		if w.reported {
			continue
		}
		s := RuleStatus{EvaluationState: EvaluationOK, Evaluated: w.last, Alarms: len(w.contributors)}
		switch {
		case failed(w.err):
			s.EvaluationState, s.EvaluationReason = EvaluationFailure, w.err.Error()
		case w.err != nil:
			s.EvaluationState, s.EvaluationReason = EvaluationError, w.err.Error()
		case w.dropped > 0:
			s.EvaluationState = EvaluationPartial
			s.EvaluationReason = fmt.Sprintf("%d label sets more than the %d that are watched", w.dropped, maxContributors)
		case w.unlearned != nil:
			s.EvaluationState = EvaluationPartial
			s.EvaluationReason = "what is usual at an hour is learnt from now on, not from before: " + w.unlearned.Error()
		case w.held != "":
			s.EvaluationState = EvaluationPartial
			s.EvaluationReason = "waits for source " + w.held + ", from which nothing comes"
		case w.last.IsZero():
			s.EvaluationState = ""
		case w.good == 0 && w.odd > 0:
			s.EvaluationState = EvaluationPartial
			s.EvaluationReason = fmt.Sprintf("none of %d values is a number, as when it is divided by zero", w.odd)
		case w.composite == nil && len(w.contributors) == 0 && !automatic[name]:
			s.EvaluationState = EvaluationPartial
			s.EvaluationReason = "nothing matches: it has had no datapoint yet"
		}
		status[name] = s
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t.alarms, t.status = alarms, status
}

// current are the tenant's alarms in order of ID. e.run is held.
func (t *tenant) current() []model.Alarm {
	alarms := []model.Alarm{}
	for _, w := range t.watches {
		for _, c := range w.contributors {
			alarms = append(alarms, c.alarm)
		}
	}
	slices.SortFunc(alarms, func(a, b model.Alarm) int { return strings.Compare(a.ID, b.ID) })
	return alarms
}

// save stores transitions with the alarms that they are of, now and then all alarms, and deletes those that have gone.
func (e *Evaluator) save(ctx context.Context, t *tenant, transitions []model.Transition, at time.Time) error {
	t.pending = append(t.pending, transitions...)
	if n := len(t.pending) - maxPending; n > 0 {
		e.lost.Add(float64(n))
		t.pending = slices.Delete(t.pending, 0, n)
	}
	var alarms []model.Alarm
	all := t.saved.IsZero() || at.Sub(t.saved) >= saveEvery
	if all {
		alarms = t.current()
	} else {
		for _, tr := range t.pending {
			alarms = append(alarms, tr.Alarm)
		}
	}
	if len(alarms) > 0 || len(t.pending) > 0 {
		if err := e.opts.State.SaveAlarms(ctx, t.name, alarms, t.pending); err != nil {
			return err
		}
		t.pending = nil
	}
	if all {
		if err := e.opts.Sources.save(ctx, e.opts.State, t.name); err != nil {
			return err
		}
		t.saved = at
	}
	if err := e.opts.State.DeleteAlarms(ctx, t.name, t.gone); err != nil {
		return err
	}
	t.gone = nil
	return nil
}

// Flush saves all alarms as they are, for a shutdown.
func (e *Evaluator) Flush(ctx context.Context) error {
	e.run.Lock()
	defer e.run.Unlock()
	var errs []error
	for _, t := range e.tenants {
		if t.loaded {
			t.saved = time.Time{}
			errs = append(errs, e.save(ctx, t, nil, time.Time{}))
		}
	}
	return errors.Join(errs...)
}

// Alarms are a tenant's alarms as last evaluated, in order of ID.
func (e *Evaluator) Alarms(tenant string) []model.Alarm {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, t := range e.tenants {
		if t.name == tenant {
			return slices.Clone(t.alarms)
		}
	}
	return []model.Alarm{}
}

// Rules are the rules in force for a tenant, in order of name.
func (e *Evaluator) Rules(tenant string) []RuleStatus {
	out := []RuleStatus{}
	for _, t := range e.tenants {
		if t.name != tenant {
			continue
		}
		wanted := e.wanted(t)
		circular(wanted)
		e.mu.RLock()
		for name, r := range wanted {
			s := t.status[name]
			s.Rule, s.Source = r.rule, r.source
			if r.err != nil {
				s.EvaluationState, s.EvaluationReason = EvaluationError, r.err.Error()
			}
			out = append(out, s)
		}
		e.mu.RUnlock()
	}
	slices.SortFunc(out, func(a, b RuleStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Run evaluates at each tick until ctx ends or ticks are closed, then saves all alarms. After each evaluation it calls
// notify, which must not block for long: the next one waits. It is also called with no transitions, so that what waits
// for time to pass can go on.
func (e *Evaluator) Run(ctx context.Context, ticks <-chan time.Time, notify func(context.Context, []model.Transition)) error {
	defer func() {
		// The alarms are saved although ctx has ended, but not for ever.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := e.Flush(ctx); err != nil {
			e.log.Error("alarms were not saved at the end", "error", err)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case at, ok := <-ticks:
			if !ok {
				return nil
			}
			transitions, err := e.Evaluate(ctx, at)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				e.log.Error("evaluation of alarms is not complete", "error", err)
			}
			notify(ctx, transitions)
		}
	}
}

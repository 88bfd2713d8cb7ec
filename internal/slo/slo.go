// Package slo keeps service level objectives: what share of events is to be good over a time, how much of the budget of bad
// ones is left, and when it is used up too fast. Objectives are written in OpenSLO's format; everything is measured by
// PromQL, what searches find once it is counted. Each objective becomes alarm rules on its burn rate, over a long and a short window each, as Google's SRE
// workbook advises; alarm judges them like all others.
//
//	2 % of the budget in 1 h (and still so in the last 5 min)   -> page
//	5 % in 6 h (30 min)                                         -> page
//	10 % in 3 d (6 h)                                           -> ticket
//
// A Manager is safe for concurrent use and reads no clock but in Run.
package slo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"triage/internal/alarm"
	"triage/internal/store"
)

// ErrInvalid means that an SLO was refused for what it says.
var ErrInvalid = errors.New("SLO is not valid")

// DocumentKind is the kind of SLOs' documents in the state store.
const DocumentKind = "slo"

// pair is a long window, in which a part of the budget is used up, and how bad that is. The short window is a twelfth.
type pair struct {
	severity string
	long     time.Duration
	part     float64
}

// pairs are the SRE workbook's.
var pairs = []pair{
	{"page", time.Hour, 0.02},
	{"page", 6 * time.Hour, 0.05},
	{"ticket", 3 * 24 * time.Hour, 0.10},
}

// alert is one alarm on an objective's burn rate.
type alert struct {
	severity    string
	long, short time.Duration
	op          alarm.Op
	burn        float64
	periods     int // for which it must last
}

const (
	// shortPart is the part of the long window that the short one is.
	shortPart = 12
	// reachable is the share of the greatest possible burn rate that an alarm asks for at most: with an objective of 90 %,
	// failing altogether is a burn rate of 10, and a threshold of 14.4 would never be reached.
	reachable = 0.9
	// Periods of rules are a part of their long windows, within bounds: what is over days need not be asked each minute.
	periodPart           = 60
	minPeriod, maxPeriod = time.Minute, time.Hour
)

// alerts are an objective's.
func (s SLO) alerts(o Objective) (out []alert) {
	window := s.Spec.TimeWindow[0].Duration.length()
	greatest := 1 / budget(o)
	for _, p := range s.Spec.AlertPolicies {
		for _, c := range p.Spec.Conditions {
			cond := c.Spec.Condition
			a := alert{severity: c.Spec.Severity, long: cond.LookbackWindow.length(), op: alarm.Above, burn: cond.Threshold}
			if cond.Op == "gte" {
				a.op = alarm.AtLeast
			}
			a.short = a.long / shortPart
			if d := cond.AlertAfter.length(); d > 0 {
				a.periods = int((d + a.period() - 1) / a.period())
			}
			out = append(out, a)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, p := range pairs {
		if p.long > window/4 {
			continue // the budget itself says as much
		}
		burn := max(1, p.part*window.Hours()/p.long.Hours())
		out = append(out, alert{severity: p.severity, long: p.long, short: p.long / shortPart, op: alarm.Above, burn: min(burn, reachable*greatest)})
	}
	return out
}

func (a alert) period() time.Duration {
	return min(max((a.long/periodPart).Truncate(time.Second), minPeriod), maxPeriod)
}

// Rules are the alarm rules that an SLO makes. The datapoint is the lesser of the two windows' burn rates: both must be too
// high.
func (s SLO) Rules() (out []alarm.Rule) {
	if s.Broken != nil {
		return nil
	}
	for i, o := range s.Spec.Objectives {
		for _, a := range s.alerts(o) {
			long, short := s.burn(o, a.long), s.burn(o, a.short)
			expr := fmt.Sprintf("((%s) <= (%s)) or (%s)", long, short, short)
			expr = labelled(expr, "service", s.Spec.Service)
			expr = labelled(expr, "slo", s.Metadata.Name)
			expr = labelled(expr, "objective", s.objectiveName(i))
			expr = labelled(expr, "severity", a.severity)
			r := alarm.Rule{
				Name: s.ruleName(i, a), Expr: expr, Compare: &alarm.Compare{Op: a.op, Threshold: math.Round(a.burn*1e4) / 1e4},
				Description: fmt.Sprintf("%s: the error budget is used up too fast, over %s and over %s", s.Metadata.Name, promDuration(a.long), promDuration(a.short)),
				Period:      alarm.Duration(a.period()), EvaluationPeriods: max(1, a.periods), TreatMissingData: alarm.TreatNotBreaching,
			}
			out = append(out, r.WithDefaults())
		}
	}
	return out
}

func (s SLO) objectiveName(i int) string {
	if n := s.Spec.Objectives[i].DisplayName; n != "" {
		return n
	}
	return number(s.Spec.Objectives[i].target())
}

func (s SLO) ruleName(i int, a alert) string {
	name := "slo " + s.Metadata.Name
	if len(s.Spec.Objectives) > 1 {
		name += fmt.Sprintf(" #%d", i+1)
	}
	return fmt.Sprintf("%s %s %s", name, a.severity, promDuration(a.long))
}

// Options wire a Manager.
type Options struct {
	Metrics store.Metrics
	State   store.State
	// Events answers searches; without it SLOs of searches have no events.
	Events Events
	Logger *slog.Logger // nil for none
	// Rules is told a tenant's rules whenever they change.
	Rules func(tenant string, rules []alarm.Rule)
}

// Manager keeps tenants' SLOs.
type Manager struct {
	opts    Options
	storing sync.Mutex // held while the state store is written, so that what is stored last is told last

	mu      sync.Mutex           // guards counted and ledgers
	ledgers map[string]*ledger   // by tenant, SLO and objective
	counted map[string]time.Time // until when searches are counted, by tenant and series
}

// New makes a Manager. Call Reload for each tenant before anything else.
func New(opts Options) *Manager {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Manager{opts: opts, counted: map[string]time.Time{}, ledgers: map[string]*ledger{}}
}

// List gives a tenant's SLOs in order of name, with what they refer to in them. One that refers to what is no longer there
// says so when it is measured.
func (m *Manager) List(ctx context.Context, tenant string) ([]SLO, error) {
	docs, err := m.opts.State.Documents(ctx, tenant, DocumentKind)
	if err != nil {
		return nil, err
	}
	l, err := m.library(ctx, tenant)
	if err != nil {
		return nil, err
	}
	out := []SLO{}
	for _, d := range docs {
		s, err := Parse(d.Body)
		if err != nil {
			return nil, fmt.Errorf("SLO %s: %w", d.Name, err)
		}
		resolved, err := l.resolve(s)
		if err != nil {
			resolved = s
			resolved.Broken = err
		}
		out = append(out, resolved)
	}
	return out, nil
}

// library is what a tenant's SLOs may refer to.
func (m *Manager) library(ctx context.Context, tenant string) (library, error) {
	var failed error
	l, err := newLibrary(func(kind string) map[string][]byte {
		docs, err := m.opts.State.Documents(ctx, tenant, kind)
		if err != nil {
			failed = err
		}
		out := make(map[string][]byte, len(docs))
		for _, d := range docs {
			out[d.Name] = d.Body
		}
		return out
	})
	return l, errors.Join(failed, err)
}

// Get gives one by its name; store.ErrNotFound.
func (m *Manager) Get(ctx context.Context, tenant, name string) (SLO, error) {
	list, err := m.List(ctx, tenant)
	if err != nil {
		return SLO{}, err
	}
	for _, s := range list {
		if s.Metadata.Name == name {
			return s, nil
		}
	}
	return SLO{}, fmt.Errorf("SLO %s: %w", name, store.ErrNotFound)
}

// Reload makes the rules be those of what is stored.
func (m *Manager) Reload(ctx context.Context, tenant string) error {
	m.storing.Lock()
	defer m.storing.Unlock()
	return m.reload(ctx, tenant)
}

func (m *Manager) reload(ctx context.Context, tenant string) error {
	list, err := m.List(ctx, tenant)
	if err != nil {
		return err
	}
	var rules []alarm.Rule
	for _, s := range list {
		rules = append(rules, s.Rules()...)
	}
	m.opts.Rules(tenant, rules)
	m.prune(tenant, list)
	return nil
}

// Save stores an SLO, replacing the one of its name.
func (m *Manager) Save(ctx context.Context, tenant string, s SLO) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	l, err := m.library(ctx, tenant)
	if err != nil {
		return err
	}
	if _, err := l.resolve(s); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write SLO %s: %w", s.Metadata.Name, err)
	}
	return m.store(ctx, tenant, store.Document{Kind: DocumentKind, Name: s.Metadata.Name, Body: b})
}

// Delete removes an SLO with its alarms; store.ErrNotFound if there is none.
func (m *Manager) Delete(ctx context.Context, tenant, name string) error {
	if _, err := m.Get(ctx, tenant, name); err != nil {
		return err
	}
	return m.store(ctx, tenant, store.Document{Kind: DocumentKind, Name: name})
}

func (m *Manager) store(ctx context.Context, tenant string, d store.Document) error {
	m.storing.Lock()
	defer m.storing.Unlock()
	if err := m.opts.State.SaveDocuments(ctx, tenant, []store.Document{d}); err != nil {
		return err
	}
	return m.reload(ctx, tenant)
}

// Status is how the objectives of an SLO stand.
type Status struct {
	Name        string            `json:"name"`
	DisplayName string            `json:"display_name,omitempty"`
	Service     string            `json:"service"`
	Window      string            `json:"window"`
	Rolling     bool              `json:"rolling"`
	From        time.Time         `json:"from"`
	To          time.Time         `json:"to"` // also the end of a calendar's window, which is to come
	Objectives  []ObjectiveStatus `json:"objectives"`
}

// ObjectiveStatus is how one objective stands.
type ObjectiveStatus struct {
	Name   string  `json:"name"`
	Target float64 `json:"target"`
	// Rules are the names of the alarm rules on it.
	Rules []string `json:"rules"`
	// Series are by label set; none if there were no events.
	Series []SeriesStatus `json:"series"`
}

// SeriesStatus is how one objective stands for one label set.
type SeriesStatus struct {
	Labels map[string]string `json:"labels,omitempty"`
	// Good is the share of what was good in the window so far.
	Good float64 `json:"good"`
	// Remaining is the share of the budget that is left; below 0 more was used than there is.
	Remaining float64 `json:"remaining"`
	// Events and Bad count events in the window, where events are what counts.
	Events *float64 `json:"events,omitempty"`
	Bad    *float64 `json:"bad,omitempty"`
	// Burn is how many times faster than it may the budget is used up, by window.
	Burn []Burn `json:"burn"`
}

// Burn is a burn rate over a window.
type Burn struct {
	Window string  `json:"window"`
	Rate   float64 `json:"rate"`
}

// Status measures an SLO at at. A window that does not roll counts from its beginning: what it may use up by at is the whole
// budget of the window.
func (m *Manager) Status(ctx context.Context, tenant string, s SLO, at time.Time) (Status, error) {
	w := s.Spec.TimeWindow[0]
	out := Status{
		Name: s.Metadata.Name, DisplayName: s.Metadata.DisplayName, Service: s.Spec.Service, Window: string(w.Duration), Rolling: w.IsRolling,
		Objectives: []ObjectiveStatus{},
	}
	out.From, out.To = w.bounds(at)
	if s.Broken != nil {
		return out, s.Broken
	}
	for i, o := range s.Spec.Objectives {
		st, err := m.objective(ctx, tenant, s, i, o, out.From, at)
		if err != nil {
			return out, fmt.Errorf("objective %s of SLO %s: %w", s.objectiveName(i), s.Metadata.Name, err)
		}
		out.Objectives = append(out.Objectives, st)
	}
	return out, nil
}

func (m *Manager) objective(ctx context.Context, tenant string, s SLO, i int, o Objective, from, at time.Time) (ObjectiveStatus, error) {
	out := ObjectiveStatus{Name: s.objectiveName(i), Target: o.target(), Rules: []string{}, Series: []SeriesStatus{}}
	passed := max(at.Sub(from).Truncate(time.Second), time.Second)
	windows := []time.Duration{}
	for _, a := range s.alerts(o) {
		out.Rules = append(out.Rules, s.ruleName(i, a))
		windows = append(windows, a.short, a.long)
	}
	slices.Sort(windows)
	windows = slices.Compact(windows)

	series, err := m.used(ctx, tenant, s, i, o, at.Add(-passed), at)
	if err != nil {
		return out, err
	}
	for _, w := range windows {
		rates, err := m.burnRates(ctx, tenant, s, i, o, w, at)
		if err != nil {
			return out, err
		}
		for k, rate := range rates {
			if st := series[k]; st != nil {
				st.Burn = append(st.Burn, Burn{promDuration(w), rate})
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(series)) {
		out.Series = append(out.Series, *series[k])
	}
	return out, nil
}

// used is what of the budget is used up, by label set.
func (m *Manager) used(ctx context.Context, tenant string, s SLO, i int, o Objective, from, at time.Time) (map[string]*SeriesStatus, error) {
	series := map[string]*SeriesStatus{}
	status := func(labels map[string]string, bad float64) *SeriesStatus {
		st := &SeriesStatus{Labels: labels, Good: 1 - bad, Remaining: 1 - bad/budget(o), Burn: []Burn{}}
		series[key(labels)] = st
		return st
	}
	passed := at.Sub(from)
	events := s.events(passed)
	spent, ok, err := m.spent(ctx, tenant, s, i, o, from, at)
	if err != nil {
		return nil, err
	}
	if ok {
		for _, a := range spent {
			if a.total <= 0 {
				continue
			}
			st := status(a.labels, a.bad/a.total)
			if events != "" {
				st.Events, st.Bad = &a.total, &a.bad
			}
		}
		return series, nil
	}
	points, err := m.opts.Metrics.Query(ctx, tenant, s.badShare(o, passed), at)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		if !math.IsNaN(p.Value) {
			status(p.Labels, p.Value)
		}
	}
	if events == "" {
		return series, nil
	}
	if points, err = m.opts.Metrics.Query(ctx, tenant, events, at); err != nil {
		return nil, err
	}
	for _, p := range points {
		if st := series[key(p.Labels)]; st != nil {
			events, bad := p.Value, p.Value*(1-st.Good)
			st.Events, st.Bad = &events, &bad
		}
	}
	return series, nil
}

// burnRates are those of one window, by label set.
func (m *Manager) burnRates(ctx context.Context, tenant string, s SLO, i int, o Objective, w time.Duration, at time.Time) (map[string]float64, error) {
	rates := map[string]float64{}
	spent, ok, err := m.spent(ctx, tenant, s, i, o, at.Add(-w), at)
	if err != nil {
		return nil, err
	}
	if ok {
		for k, a := range spent {
			if a.total > 0 {
				rates[k] = a.bad / a.total / budget(o)
			}
		}
		return rates, nil
	}
	points, err := m.opts.Metrics.Query(ctx, tenant, s.burn(o, w), at)
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		if !math.IsNaN(p.Value) {
			rates[key(p.Labels)] = p.Value
		}
	}
	return rates, nil
}

func key(labels map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "%q=%q,", k, labels[k])
	}
	return b.String()
}

// History is how an objective's budget was used up.
type History struct {
	Objective string          `json:"objective"`
	Step      alarm.Duration  `json:"step"`
	Series    []HistorySeries `json:"series"`
}

// HistorySeries is the history of one label set.
type HistorySeries struct {
	Labels map[string]string `json:"labels,omitempty"`
	Points []HistoryPoint    `json:"points"`
}

// HistoryPoint is the burn rate of one step, that ends at At.
type HistoryPoint struct {
	At   time.Time `json:"at"`
	Burn float64   `json:"burn"`
}

// maxPoints bounds the points of a history.
const maxPoints = 1000

// History gives the burn rate in steps over a time.
func (m *Manager) History(ctx context.Context, tenant string, s SLO, objective int, w store.Window, step time.Duration) (History, error) {
	if objective < 0 || objective >= len(s.Spec.Objectives) {
		return History{}, fmt.Errorf("%w: objective %d of %d", ErrInvalid, objective+1, len(s.Spec.Objectives))
	}
	if s.Broken != nil {
		return History{}, s.Broken
	}
	o := s.Spec.Objectives[objective]
	least := max(time.Minute, o.TimeSliceWindow.length(), w.To.Sub(w.From)/maxPoints)
	step = max(step, least).Truncate(time.Second)
	out := History{Objective: s.objectiveName(objective), Step: alarm.Duration(step), Series: []HistorySeries{}}
	lines, err := m.opts.Metrics.QueryRange(ctx, tenant, s.burn(o, step), store.Window{From: w.From.Add(step), To: w.To}, step)
	if err != nil {
		return out, fmt.Errorf("history of SLO %s: %w", s.Metadata.Name, err)
	}
	slices.SortFunc(lines, func(a, b store.Line) int { return strings.Compare(key(a.Labels), key(b.Labels)) })
	for _, l := range lines {
		hs := HistorySeries{Labels: l.Labels, Points: []HistoryPoint{}}
		for i, v := range l.Values {
			if !math.IsNaN(v) {
				hs.Points = append(hs.Points, HistoryPoint{l.Start.Add(time.Duration(i) * l.Step), v})
			}
		}
		out.Series = append(out.Series, hs)
	}
	return out, nil
}

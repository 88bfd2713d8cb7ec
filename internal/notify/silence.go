package notify

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/matcher/compat"
	"github.com/prometheus/alertmanager/pkg/labels"
	prom "github.com/prometheus/common/model"

	"triage/internal/model"
	"triage/internal/store"
)

// ErrInvalid means that a silence was refused for what it says.
var ErrInvalid = errors.New("silence is not valid")

// Silence keeps alerts that all its matchers match from being told, from Starts to Ends.
type Silence struct {
	ID string `json:"id"`
	// Matchers are written as Alertmanager's: service="cart", alertname=~"err.*", operation!="ping".
	Matchers []string  `json:"matchers"`
	Starts   time.Time `json:"starts"`
	Ends     time.Time `json:"ends"`
	By       string    `json:"by,omitempty"`
	Comment  string    `json:"comment,omitempty"`

	matchers labels.Matchers
}

// SilenceKind is the kind of silences' documents in the state store.
const SilenceKind = "silence"

// keepSilences is how long silences that are over are still listed.
const keepSilences = 5 * 24 * time.Hour

func (s *Silence) compile() (err error) {
	if len(s.Matchers) == 0 {
		return errors.New("matchers: is empty, which would silence everything")
	}
	s.matchers = nil
	empty := true
	for i, text := range s.Matchers {
		m, err := compat.Matcher(text, "silence")
		if err != nil {
			return fmt.Errorf("matchers[%d]: %w", i, err)
		}
		empty = empty && m.Matches("")
		s.matchers = append(s.matchers, m)
	}
	if empty {
		return errors.New("matchers: match what has none of the labels, and so nearly everything")
	}
	return nil
}

// Validate says what is wrong with a silence, whenever it holds.
func (s Silence) Validate() error {
	err := s.compile()
	if !s.Ends.After(s.Starts) {
		err = errors.Join(err, fmt.Errorf("ends: %s is not after starts", s.Ends.Format(time.RFC3339)))
	}
	return err
}

func (s *Silence) active(at time.Time) bool { return !at.Before(s.Starts) && at.Before(s.Ends) }

// Silences lists a tenant's silences, those that end last first. Those that are over stay for some days.
func (m *Manager) Silences(ctx context.Context, tenant string) ([]Silence, error) {
	docs, err := m.opts.State.Documents(ctx, tenant, SilenceKind)
	if err != nil {
		return nil, err
	}
	out := []Silence{}
	for _, d := range docs {
		var s Silence
		if err := json.Unmarshal(d.Body, &s); err != nil {
			return nil, fmt.Errorf("silence %s: %w", d.Name, err)
		}
		if err := s.compile(); err != nil {
			return nil, fmt.Errorf("silence %s: %w", d.Name, err)
		}
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b Silence) int { return b.Ends.Compare(a.Ends) })
	return out, nil
}

// SaveSilence stores a silence; without an ID it is a new one, which begins at once if it says nothing else.
func (m *Manager) SaveSilence(ctx context.Context, tenant string, s Silence) (Silence, error) {
	now := m.opts.Now().UTC()
	if s.Starts.IsZero() {
		s.Starts = now
	}
	s.Starts, s.Ends = s.Starts.UTC(), s.Ends.UTC()
	if err := s.compile(); err != nil {
		return s, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !s.Ends.After(s.Starts) || !s.Ends.After(now) {
		return s, fmt.Errorf("%w: ends: %s is not after the beginning and now", ErrInvalid, s.Ends.Format(time.RFC3339))
	}
	if s.ID == "" {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails, by its contract
		s.ID = hex.EncodeToString(b[:])
	}
	return s, m.putSilence(ctx, tenant, s)
}

func (m *Manager) putSilence(ctx context.Context, tenant string, s Silence) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	docs := []store.Document{{Kind: SilenceKind, Name: s.ID, Body: b}}
	list, err := m.Silences(ctx, tenant)
	if err != nil {
		return err
	}
	for _, old := range list {
		if old.ID != s.ID && m.opts.Now().Sub(old.Ends) > keepSilences {
			docs = append(docs, store.Document{Kind: SilenceKind, Name: old.ID})
		}
	}
	return m.opts.State.SaveDocuments(ctx, tenant, docs)
}

// EndSilence ends a silence now; store.ErrNotFound if there is none of the ID.
func (m *Manager) EndSilence(ctx context.Context, tenant, id string) error {
	list, err := m.Silences(ctx, tenant)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(s Silence) bool { return s.ID == id })
	if i < 0 {
		return fmt.Errorf("silence %s: %w", id, store.ErrNotFound)
	}
	s := list[i]
	if now := m.opts.Now().UTC(); s.Ends.After(now) {
		s.Ends = now
		s.Starts = minTime(s.Starts, now)
	}
	return m.putSilence(ctx, tenant, s)
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// silencedBy is the silence that keeps an alert from being told, "" if there is none.
func silencedBy(list []Silence, ls prom.LabelSet, at time.Time) string {
	for _, s := range list {
		if s.active(at) && s.matchers.Matches(ls) {
			return "silence " + s.ID
		}
	}
	return ""
}

// inhibitedBy is the alert whose presence keeps another from being told, "" if there is none. An alert that is both the
// source and the target of a rule is not inhibited by others that are both, as in Alertmanager.
func inhibitedBy(rules []*inhibit.InhibitRule, ls prom.LabelSet, firing []Alert) string {
	for _, r := range rules {
		if !r.TargetMatchers.Matches(ls) {
			continue
		}
		both := r.SourceMatchers.Matches(ls)
		for _, f := range firing {
			source := labelSet(f.Labels)
			if !r.SourceMatchers.Matches(source) || both && r.TargetMatchers.Matches(source) || source.Equal(ls) {
				continue
			}
			same := true
			for name := range r.Equal {
				same = same && source[name] == ls[name]
			}
			if same {
				return "inhibited by " + f.Alarm
			}
		}
	}
	return ""
}

// SilenceIncident silences an incident, whatever alarms join it; or, where alarms are named by their IDs, these alone, in
// whatever incident they are. ErrInvalid if it has no such alarm.
func (m *Manager) SilenceIncident(ctx context.Context, inc model.Incident, alarms []string, s Silence) ([]Silence, error) {
	var all [][]string
	if len(alarms) == 0 {
		all = append(all, []string{matcher(IncidentLabel, inc.ID)})
	}
	for i, id := range alarms {
		n := slices.IndexFunc(inc.Alarms, func(a model.Alarm) bool { return a.ID == id })
		if n < 0 {
			return nil, fmt.Errorf("%w: alarms[%d]: %s has no alarm %q", ErrInvalid, i, inc.ID, id)
		}
		var matchers []string
		ls := labelsOf(&inc, &inc.Alarms[n])
		for _, name := range sortedKeys(ls) {
			if name != IncidentLabel {
				matchers = append(matchers, matcher(name, ls[name]))
			}
		}
		all = append(all, matchers)
	}
	var out []Silence
	for _, matchers := range all {
		s.ID, s.Matchers = "", matchers
		saved, err := m.SaveSilence(ctx, inc.Tenant, s)
		if err != nil {
			return out, err
		}
		out = append(out, saved)
	}
	return out, nil
}

func matcher(name, value string) string {
	return (&labels.Matcher{Type: labels.MatchEqual, Name: name, Value: value}).String()
}

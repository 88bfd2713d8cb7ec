package incident

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
)

var (
	// ErrInvalid means that an act was refused for what it says.
	ErrInvalid = errors.New("not possible")
	// ErrConflict means that an act was refused for how its incident stands.
	ErrConflict = errors.New("not possible any more")
)

// maxText bounds what an entry of the journal may say.
const maxText = 16 << 10

// Act is what somebody does with an incident.
type Act struct {
	Tenant, Incident string
	// By is who does it; nobody is refused.
	By string
	// Text is what they say about it.
	Text string
	At   time.Time
}

// Acknowledge says that somebody looks after an open incident: receivers are then not told again and again.
func (m *Manager) Acknowledge(ctx context.Context, act Act) error {
	return m.act(ctx, act, func(inc *model.Incident) (model.Entry, error) {
		if inc.Status != model.IncidentOpen {
			return model.Entry{}, fmt.Errorf("%w: it is resolved", ErrConflict)
		}
		inc.Acknowledged = &model.Acknowledgement{By: act.By, At: act.At}
		return model.Entry{Kind: model.EntryAcknowledged, Text: act.Text}, nil
	})
}

// Unacknowledge takes an acknowledgement back.
func (m *Manager) Unacknowledge(ctx context.Context, act Act) error {
	return m.act(ctx, act, func(inc *model.Incident) (model.Entry, error) {
		if inc.Acknowledged == nil {
			return model.Entry{}, fmt.Errorf("%w: nobody has acknowledged it", ErrConflict)
		}
		inc.Acknowledged = nil
		return model.Entry{Kind: model.EntryUnacknowledged, Text: act.Text}, nil
	})
}

// Assign says who is to work on an incident; nobody where to is empty.
func (m *Manager) Assign(ctx context.Context, act Act, to string) error {
	if strings.TrimSpace(to) != to || len(to) > maxName {
		return fmt.Errorf("%w: to: %q is not a name", ErrInvalid, to)
	}
	return m.act(ctx, act, func(inc *model.Incident) (model.Entry, error) {
		inc.Assignee = to
		return model.Entry{Kind: model.EntryAssigned, Text: to}, nil
	})
}

// Note writes the act's text down.
func (m *Manager) Note(ctx context.Context, act Act) error {
	if strings.TrimSpace(act.Text) == "" {
		return fmt.Errorf("%w: text: a note says something", ErrInvalid)
	}
	return m.act(ctx, act, func(*model.Incident) (model.Entry, error) {
		return model.Entry{Kind: model.EntryNote, Text: act.Text}, nil
	})
}

// Record writes down what was done about an incident elsewhere; ref is what it is about.
func (m *Manager) Record(ctx context.Context, act Act, kind model.EntryKind, ref string) error {
	return m.act(ctx, act, func(*model.Incident) (model.Entry, error) {
		return model.Entry{Kind: kind, Text: act.Text, Ref: ref}, nil
	})
}

// Merge makes the act's incident go on with the alarms of another one, which is resolved by that and keeps a copy of them.
func (m *Manager) Merge(ctx context.Context, act Act, other string) error {
	if other == act.Incident {
		return fmt.Errorf("%w: %s cannot be merged into itself", ErrInvalid, other)
	}
	return m.change(ctx, act, func(t *incidents) ([]*model.Incident, []model.Entry, error) {
		into, err := m.find(ctx, t, act.Tenant, act.Incident)
		if err != nil {
			return nil, nil, err
		}
		from, err := m.find(ctx, t, act.Tenant, other)
		if err != nil {
			return nil, nil, err
		}
		if into.Status == model.IncidentResolved && from.Status == model.IncidentOpen {
			return nil, nil, fmt.Errorf("%w: %s is resolved and %s is not: merge %s into %s", ErrConflict, into.ID, from.ID, into.ID, from.ID)
		}
		for _, a := range from.Alarms {
			if i := indexOf(into.Alarms, a.ID); i >= 0 && !a.Since.After(into.Alarms[i].Since) {
				continue // it knows more of that alarm itself
			}
			join(into, a)
		}
		if from.Onset.Before(into.Onset) {
			into.Onset = from.Onset
		}
		if from.Status == model.IncidentOpen {
			from.ResolvedAt = act.At
		}
		from.Status, from.MergedInto = model.IncidentResolved, into.ID
		into.RegroupedAt = act.At
		return []*model.Incident{into, from}, []model.Entry{
			{Incident: into.ID, Kind: model.EntryMerged, Text: act.Text, Ref: from.ID},
			{Incident: from.ID, Kind: model.EntryMergedInto, Text: act.Text, Ref: into.ID},
		}, nil
	})
}

// Split takes alarms, by their IDs, out of an open incident and opens another one with them, of which it returns the ID.
func (m *Manager) Split(ctx context.Context, act Act, alarms []string) (id string, err error) {
	err = m.change(ctx, act, func(t *incidents) ([]*model.Incident, []model.Entry, error) {
		from, err := m.find(ctx, t, act.Tenant, act.Incident)
		if err != nil {
			return nil, nil, err
		}
		if from.Status != model.IncidentOpen {
			return nil, nil, fmt.Errorf("%w: %s is resolved", ErrConflict, from.ID)
		}
		for i, a := range alarms {
			if indexOf(from.Alarms, a) < 0 {
				return nil, nil, fmt.Errorf("%w: alarms[%d]: %s has no alarm %q", ErrInvalid, i, from.ID, a)
			}
		}
		var moved, stay []model.Alarm
		for _, a := range from.Alarms {
			if slices.Contains(alarms, a.ID) {
				moved = append(moved, a)
			} else {
				stay = append(stay, a)
			}
		}
		if len(moved) == 0 || len(stay) == 0 {
			return nil, nil, fmt.Errorf("%w: alarms: some must go and some must stay", ErrInvalid)
		}
		if id, err = m.opts.State.NextIncident(ctx, act.Tenant); err != nil {
			return nil, nil, err
		}
		split := &model.Incident{
			ID: id, Tenant: act.Tenant, Status: model.IncidentOpen, Title: title(moved[0], "en"), Titles: titles(moved[0]), OpenedAt: act.At, Onset: moved[0].Onset,
			Alarms: moved, RegroupedAt: act.At,
		}
		from.Alarms, from.Onset, from.RegroupedAt = stay, stay[0].Onset, act.At
		return []*model.Incident{from, split}, []model.Entry{
			{Incident: from.ID, Kind: model.EntrySplit, Text: act.Text, Ref: id},
			{Incident: id, Kind: model.EntrySplitFrom, Text: act.Text, Ref: from.ID},
		}, nil
	})
	return id, err
}

func indexOf(alarms []model.Alarm, id string) int {
	return slices.IndexFunc(alarms, func(a model.Alarm) bool { return a.ID == id })
}

// maxName bounds the names of people.
const maxName = 200

// act changes one incident.
func (m *Manager) act(ctx context.Context, act Act, do func(*model.Incident) (model.Entry, error)) error {
	return m.change(ctx, act, func(t *incidents) ([]*model.Incident, []model.Entry, error) {
		inc, err := m.find(ctx, t, act.Tenant, act.Incident)
		if err != nil {
			return nil, nil, err
		}
		e, err := do(inc)
		e.Incident = inc.ID
		return []*model.Incident{inc}, []model.Entry{e}, err
	})
}

// change stores what do made of some incidents, which are copies, and what is to be written in the journal; and then takes
// it over.
func (m *Manager) change(ctx context.Context, act Act, do func(*incidents) ([]*model.Incident, []model.Entry, error)) error {
	if by := strings.TrimSpace(act.By); by == "" || by != act.By || len(by) > maxName {
		return fmt.Errorf("%w: by: %q is nobody's name", ErrInvalid, act.By)
	}
	if len(act.Text) > maxText {
		return fmt.Errorf("%w: text: %d bytes are more than %d", ErrInvalid, len(act.Text), maxText)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tenants[act.Tenant] // nil before the first Apply: then all is read from the store, and Apply reads it there
	changed, entries, err := do(t)
	if err != nil {
		return err
	}
	list := make([]model.Incident, 0, len(changed))
	for _, inc := range changed {
		inc.UpdatedAt = act.At
		list = append(list, *inc)
	}
	for i := range entries {
		entries[i].At, entries[i].By = act.At, act.By
		entries[i].ID = entryID(entries[i])
	}
	if err := m.opts.State.SaveIncidents(ctx, act.Tenant, list, entries); err != nil {
		return err
	}
	if t != nil {
		t.take(changed)
	}
	return nil
}

// find gives a copy of an incident as it stands. One that was merged into another is refused: that one goes on.
func (m *Manager) find(ctx context.Context, t *incidents, tenant, id string) (*model.Incident, error) {
	if t != nil {
		for _, inc := range t.list {
			if inc.ID == id {
				c := clone(inc)
				return &c, nil
			}
		}
	}
	inc, err := m.opts.State.Incident(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	if inc.MergedInto != "" {
		return nil, fmt.Errorf("%w: %s was merged into %s", ErrConflict, id, inc.MergedInto)
	}
	inc.Verdict = nil
	return &inc, nil
}

// take replaces incidents by what people made of them. Of those that are over, Apply tells only that they were merged.
func (t *incidents) take(changed []*model.Incident) {
	for _, inc := range changed {
		i := slices.IndexFunc(t.list, func(old *model.Incident) bool { return old.ID == inc.ID })
		switch {
		case i < 0 && inc.Status == model.IncidentOpen:
			t.list = append(t.list, inc)
		case i >= 0 && inc.MergedInto != "":
			t.list = slices.Delete(t.list, i, i+1)
		case i >= 0:
			*t.list[i] = *inc
			inc = t.list[i]
		}
		if inc.Status == model.IncidentOpen || inc.MergedInto != "" {
			t.byHand = slices.DeleteFunc(t.byHand, func(old *model.Incident) bool { return old.ID == inc.ID })
			t.byHand = append(t.byHand, inc)
		}
	}
}

// entryID is the same for the same entry, and so is a replay's journal.
func entryID(e model.Entry) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %d", e.Incident, e.Kind, e.By, e.Text, e.Ref, e.At.UnixNano()))
	return hex.EncodeToString(sum[:8])
}

package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// keepTransitions is how long the history of alarms reaches back from its newest entry. It is CloudWatch's.
const keepTransitions = 30 * 24 * time.Hour

// AddChange implements store.State.
func (s *Store) AddChange(ctx context.Context, tenant string, c model.Change) error {
	doing := fmt.Sprintf("save change %s", c.ID)
	if c.ID == "" {
		return fmt.Errorf("save change: it has no ID")
	}
	c.At = c.At.UTC()
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.tx(ctx, doing, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO change (tenant, id, at, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			tenant, c.ID, nanos(c.At), b)
		return err
	})
}

// Changes implements store.State.
func (s *Store) Changes(ctx context.Context, tenant string, w store.Window) ([]model.Change, error) {
	from, to := bounds(w)
	return list(ctx, s, "list changes", body[model.Change],
		`SELECT body FROM change WHERE tenant = ? AND at >= ? AND at < ? ORDER BY at, id`, tenant, from, to)
}

// SaveAlarms implements store.State. A transition that was saved before, by its ID, is not saved again, so that a caller
// who doesn't know how a save ended can repeat it.
func (s *Store) SaveAlarms(ctx context.Context, tenant string, alarms []model.Alarm, transitions []model.Transition) error {
	if len(alarms) == 0 && len(transitions) == 0 {
		return nil
	}
	return s.tx(ctx, "save alarms", func(tx *sql.Tx) error {
		put, err := tx.PrepareContext(ctx, `INSERT INTO alarm (tenant, id, body) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET body = excluded.body`)
		if err != nil {
			return err
		}
		defer put.Close()
		for i := range alarms {
			b, err := json.Marshal(utcAlarm(alarms[i]))
			if err != nil {
				return fmt.Errorf("alarm %s: %w", alarms[i].ID, err)
			}
			if _, err := put.ExecContext(ctx, tenant, alarms[i].ID, b); err != nil {
				return fmt.Errorf("alarm %s: %w", alarms[i].ID, err)
			}
		}
		var newest time.Time
		for _, t := range transitions {
			t.Alarm = utcAlarm(t.Alarm)
			b, err := json.Marshal(t)
			if err != nil {
				return fmt.Errorf("transition %s: %w", t.ID, err)
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO transition (tenant, id, alarm, at, body) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (tenant, id) DO NOTHING`, tenant, t.ID, t.Alarm.ID, nanos(t.Alarm.Since), b)
			if err != nil {
				return fmt.Errorf("transition %s: %w", t.ID, err)
			}
			if t.Alarm.Since.After(newest) {
				newest = t.Alarm.Since
			}
		}
		if newest.IsZero() {
			return nil
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM transition WHERE tenant = ? AND at < ?`, tenant, nanos(newest.Add(-keepTransitions)))
		return err
	})
}

func utcAlarm(a model.Alarm) model.Alarm {
	a.Since, a.Updated, a.Onset = a.Since.UTC(), a.Updated.UTC(), a.Onset.UTC()
	return a
}

// Alarms implements store.State; they come in order of ID.
func (s *Store) Alarms(ctx context.Context, tenant string) ([]model.Alarm, error) {
	return list(ctx, s, "list alarms", body[model.Alarm], `SELECT body FROM alarm WHERE tenant = ? ORDER BY id`, tenant)
}

// DeleteAlarms implements store.State. Their transitions stay: they are history.
func (s *Store) DeleteAlarms(ctx context.Context, tenant string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return s.tx(ctx, "delete alarms", func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, `DELETE FROM alarm WHERE tenant = ? AND id = ?`, tenant, id); err != nil {
				return fmt.Errorf("alarm %s: %w", id, err)
			}
		}
		return nil
	})
}

// Transitions implements store.State. Of more than limit, the oldest are given.
func (s *Store) Transitions(ctx context.Context, tenant, alarm string, w store.Window, limit int) ([]model.Transition, error) {
	from, to := bounds(w)
	if alarm == "" {
		return list(ctx, s, "list transitions", body[model.Transition],
			`SELECT body FROM transition WHERE tenant = ? AND at >= ? AND at < ? ORDER BY at, seq LIMIT ?`,
			tenant, from, to, atMost(limit))
	}
	return list(ctx, s, "list transitions", body[model.Transition],
		`SELECT body FROM transition WHERE tenant = ? AND alarm = ? AND at >= ? AND at < ? ORDER BY at, seq LIMIT ?`,
		tenant, alarm, from, to, atMost(limit))
}

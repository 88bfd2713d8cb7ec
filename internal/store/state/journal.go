package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// keepJournal is how long the journal reaches back from its newest entry.
const keepJournal = 2 * 365 * 24 * time.Hour

func saveEntries(ctx context.Context, tx *sql.Tx, tenant string, entries []model.Entry) error {
	var newest time.Time
	for _, e := range entries {
		e.At = e.At.UTC()
		b, err := json.Marshal(e)
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO journal (tenant, id, incident, at, body) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (tenant, id) DO NOTHING`, tenant, e.ID, e.Incident, nanos(e.At), b)
		}
		if err != nil {
			return fmt.Errorf("entry %s of the journal: %w", e.ID, err)
		}
		if e.At.After(newest) {
			newest = e.At
		}
	}
	if newest.IsZero() {
		return nil
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM journal WHERE tenant = ? AND at < ?`, tenant, nanos(newest.Add(-keepJournal)))
	return err
}

// Journal implements store.State.
func (s *Store) Journal(ctx context.Context, tenant, incident string, w store.Window, limit int) (out []model.Entry, err error) {
	from, to := bounds(w)
	if incident == "" {
		out, err = list(ctx, s, "read the journal", body[model.Entry],
			`SELECT body FROM journal WHERE tenant = ? AND at >= ? AND at < ? ORDER BY at DESC, seq DESC LIMIT ?`,
			tenant, from, to, atMost(limit))
	} else {
		out, err = list(ctx, s, fmt.Sprintf("read the journal of %s", incident), body[model.Entry],
			`SELECT body FROM journal WHERE tenant = ? AND incident = ? AND at >= ? AND at < ? ORDER BY at DESC, seq DESC LIMIT ?`,
			tenant, incident, from, to, atMost(limit))
	}
	slices.Reverse(out)
	return out, err
}

package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"triage/internal/model"
	"triage/internal/store"
)

// NextIncident implements store.State. IDs are given once, also across restarts.
func (s *Store) NextIncident(ctx context.Context, tenant string) (id string, err error) {
	err = s.tx(ctx, "number an incident", func(tx *sql.Tx) error {
		var n int64
		err := tx.QueryRowContext(ctx, `INSERT INTO counter (tenant, name, value) VALUES (?, 'incident', 1)
			ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value`, tenant).Scan(&n)
		id = fmt.Sprintf("INC-%d", n)
		return err
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// SaveIncidents implements store.State.
func (s *Store) SaveIncidents(ctx context.Context, tenant string, incidents []model.Incident, entries []model.Entry) error {
	if len(incidents) == 0 && len(entries) == 0 {
		return nil
	}
	return s.tx(ctx, "save incidents", func(tx *sql.Tx) error {
		for _, inc := range incidents {
			b, err := json.Marshal(storedIncident(inc))
			if err == nil {
				_, err = tx.ExecContext(ctx, `INSERT INTO incident (tenant, id, status, opened_at, body) VALUES (?, ?, ?, ?, ?)
					ON CONFLICT DO UPDATE SET status = excluded.status, opened_at = excluded.opened_at, body = excluded.body`,
					tenant, inc.ID, string(inc.Status), nanos(inc.OpenedAt), b)
			}
			if err != nil {
				return fmt.Errorf("incident %s: %w", inc.ID, err)
			}
		}
		return saveEntries(ctx, tx, tenant, entries)
	})
}

// storedIncident is an incident without its verdict, with times in UTC.
func storedIncident(inc model.Incident) model.Incident {
	inc.Verdict = nil
	inc.OpenedAt, inc.ReopenedAt, inc.ResolvedAt = inc.OpenedAt.UTC(), inc.ReopenedAt.UTC(), inc.ResolvedAt.UTC()
	inc.UpdatedAt, inc.Onset, inc.RegroupedAt = inc.UpdatedAt.UTC(), inc.Onset.UTC(), inc.RegroupedAt.UTC()
	if inc.Acknowledged != nil {
		inc.Acknowledged = &model.Acknowledgement{By: inc.Acknowledged.By, At: inc.Acknowledged.At.UTC()}
	}
	inc.Alarms = slices.Clone(inc.Alarms)
	for i := range inc.Alarms {
		inc.Alarms[i] = utcAlarm(inc.Alarms[i])
	}
	return inc
}

// withVerdict selects incidents, each with its newest verdict.
const withVerdict = `SELECT i.body, (SELECT v.body FROM verdict v WHERE v.tenant = i.tenant AND v.incident = i.id
	ORDER BY v.revision DESC, v.at DESC LIMIT 1) FROM incident i `

func scanIncident(rows *sql.Rows) (inc model.Incident, err error) {
	var b, v sql.RawBytes
	if err := rows.Scan(&b, &v); err != nil {
		return inc, err
	}
	if err := json.Unmarshal(b, &inc); err != nil || v == nil {
		return inc, err
	}
	inc.Verdict = new(model.Verdict)
	return inc, json.Unmarshal(v, inc.Verdict)
}

// Incident implements store.State.
func (s *Store) Incident(ctx context.Context, tenant, id string) (model.Incident, error) {
	doing := fmt.Sprintf("read incident %s", id)
	found, err := list(ctx, s, doing, scanIncident, withVerdict+`WHERE i.tenant = ? AND i.id = ?`, tenant, id)
	if err != nil {
		return model.Incident{}, err
	}
	if len(found) == 0 {
		return model.Incident{}, fmt.Errorf("%s: %w", doing, store.ErrNotFound)
	}
	return found[0], nil
}

// Incidents implements store.State.
func (s *Store) Incidents(ctx context.Context, tenant string, status model.IncidentStatus, limit int) ([]model.Incident, error) {
	// The number breaks ties of those opened at one instant: INC-10 is newer than INC-9.
	const order = ` ORDER BY i.opened_at DESC, length(i.id) DESC, i.id DESC LIMIT ?`
	if status == "" {
		return list(ctx, s, "list incidents", scanIncident, withVerdict+`WHERE i.tenant = ?`+order, tenant, atMost(limit))
	}
	return list(ctx, s, "list incidents", scanIncident, withVerdict+`WHERE i.tenant = ? AND i.status = ?`+order,
		tenant, string(status), atMost(limit))
}

// SaveVerdict implements store.State.
func (s *Store) SaveVerdict(ctx context.Context, tenant string, v model.Verdict, answers []byte) error {
	doing := fmt.Sprintf("save verdict %s revision %d", v.ID, v.Revision)
	v.At = v.At.UTC()
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var packed []byte
	if answers != nil {
		packed = s.enc.EncodeAll(answers, []byte{})
	}
	return s.tx(ctx, doing, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO verdict (tenant, id, revision, incident, at, body, answers) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			tenant, v.ID, v.Revision, v.Incident, nanos(v.At), b, packed)
		return err
	})
}

// Verdicts implements store.State.
func (s *Store) Verdicts(ctx context.Context, tenant, incident string) ([]model.Verdict, error) {
	return list(ctx, s, fmt.Sprintf("list verdicts of %s", incident), body[model.Verdict],
		`SELECT body FROM verdict WHERE tenant = ? AND incident = ? ORDER BY revision, at`, tenant, incident)
}

// Answers implements store.State. A revision that was saved without answers has none to be found.
func (s *Store) Answers(ctx context.Context, tenant, verdict string, revision int) ([]byte, error) {
	doing := fmt.Sprintf("read answers of verdict %s revision %d", verdict, revision)
	found, err := list(ctx, s, doing, func(rows *sql.Rows) (b []byte, err error) { return b, rows.Scan(&b) },
		`SELECT answers FROM verdict WHERE tenant = ? AND id = ? AND revision = ? AND answers IS NOT NULL`, tenant, verdict, revision)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: %w", doing, store.ErrNotFound)
	}
	answers, err := s.dec.DecodeAll(found[0], []byte{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return answers, nil
}

// SaveTemplates implements store.State.
func (s *Store) SaveTemplates(ctx context.Context, tenant string, templates []model.Template) error {
	if len(templates) == 0 {
		return nil
	}
	return s.tx(ctx, "save templates", func(tx *sql.Tx) error {
		put, err := tx.PrepareContext(ctx, `INSERT INTO template (tenant, id, service, text, first, alias) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET service = excluded.service, text = excluded.text, first = excluded.first, alias = excluded.alias`)
		if err != nil {
			return err
		}
		defer put.Close()
		for _, t := range templates {
			if _, err := put.ExecContext(ctx, tenant, int64(t.ID), t.Service, t.Text, nanos(t.First), int64(t.Alias)); err != nil {
				return fmt.Errorf("template %d: %w", t.ID, err)
			}
		}
		return nil
	})
}

// Templates implements store.State; they come in order of service and time of first occurrence.
func (s *Store) Templates(ctx context.Context, tenant string) ([]model.Template, error) {
	return list(ctx, s, "list templates", func(rows *sql.Rows) (t model.Template, err error) {
		var id, first, alias int64
		err = rows.Scan(&id, &t.Service, &t.Text, &first, &alias)
		t.ID, t.First, t.Alias = uint64(id), timeOf(first), uint64(alias)
		return t, err
	}, `SELECT id, service, text, first, alias FROM template WHERE tenant = ? ORDER BY service, first, id`, tenant)
}

package state

import (
	"context"
	"database/sql"
	"fmt"

	"triage/internal/store"
)

// SaveDocuments implements store.State.
func (s *Store) SaveDocuments(ctx context.Context, tenant string, docs []store.Document) error {
	if len(docs) == 0 {
		return nil
	}
	return s.tx(ctx, "save documents", func(tx *sql.Tx) error {
		for _, d := range docs {
			var err error
			if d.Body == nil {
				_, err = tx.ExecContext(ctx, `DELETE FROM document WHERE tenant = ? AND kind = ? AND name = ?`, tenant, d.Kind, d.Name)
			} else {
				_, err = tx.ExecContext(ctx, `INSERT INTO document (tenant, kind, name, body) VALUES (?, ?, ?, ?)
					ON CONFLICT DO UPDATE SET body = excluded.body`, tenant, d.Kind, d.Name, d.Body)
			}
			if err != nil {
				return fmt.Errorf("%s %s: %w", d.Kind, d.Name, err)
			}
		}
		return nil
	})
}

// Documents implements store.State.
func (s *Store) Documents(ctx context.Context, tenant, kind string) ([]store.Document, error) {
	return list(ctx, s, fmt.Sprintf("list documents of kind %s", kind), func(rows *sql.Rows) (store.Document, error) {
		d := store.Document{Kind: kind}
		err := rows.Scan(&d.Name, &d.Body)
		return d, err
	}, `SELECT name, body FROM document WHERE tenant = ? AND kind = ? ORDER BY name`, tenant, kind)
}

package scenario

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/demo/shop"
)

// TestSlowStatements slows each kind of statement down in SQLite, and holds that only those become slow and that the
// schema is then what it was.
func TestSlowStatements(t *testing.T) {
	d := shop.Database{Driver: "sqlite", DSN: "file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "stock.db"))}
	if err := shop.Migrate(t.Context(), d, 1); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(d.Driver, d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	w := &World{SQL: func(ctx context.Context, statements ...string) error {
		for _, s := range statements {
			if _, err := db.ExecContext(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}}
	schema := func() (out []string) {
		t.Helper()
		rows, err := db.Query("SELECT type || ' ' || name || ' ' || coalesce(replace(sql, '\"', ''), '') FROM sqlite_master ORDER BY 1")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		return out
	}
	took := func(statement string) time.Duration {
		t.Helper()
		began := time.Now()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	statements := map[string]string{
		"reading products": "SELECT name FROM products WHERE sku = '" + shop.SKU(1) + "'",
		"reserving":        "INSERT INTO reservations (id, sku, warehouse, qty, state) VALUES (random(), 'x', 'north', 1, 'held')",
		"taking stock":     "UPDATE stock SET reserved = reserved + 1 WHERE sku = '" + shop.SKU(1) + "'",
	}
	usual := schema()
	for _, q := range slowStatements {
		undo, err := q.slowDown(t.Context(), w, 400)
		if err != nil {
			t.Fatal(err)
		}
		slow := map[string]bool{}
		for about, statement := range statements {
			slow[about] = took(statement) > 390*time.Millisecond
		}
		if d := cmp.Diff(map[string]bool{"reading products": false, "reserving": false, "taking stock": false, q.about: true}, slow); d != "" {
			t.Errorf("slow statements (-want +got):\n%s", d)
		}
		if err := undo(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(usual, schema()); d != "" {
			t.Errorf("%s: schema (-before +after):\n%s", q.about, d)
		}
	}
	for about, statement := range statements {
		if d := took(statement); d > 390*time.Millisecond {
			t.Errorf("%s still takes %s", about, d)
		}
	}
}

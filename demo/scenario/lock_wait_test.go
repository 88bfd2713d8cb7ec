package scenario

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"triage/demo/shop"
)

// TestLockWaitHoldsWriters lets the job work on SQLite, and holds that a writer finds the stock locked while a reader does
// not, that a writer who keeps trying gets through, and that nothing is locked once the job is over.
func TestLockWaitHoldsWriters(t *testing.T) {
	file := "file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "stock.db")) + "?_pragma=journal_mode(WAL)&_txlock=immediate"
	d := shop.Database{Driver: "sqlite", DSN: file + "&_pragma=busy_timeout(20000)"}
	if err := shop.Migrate(t.Context(), d, 1); err != nil {
		t.Fatal(err)
	}
	open := func(dsn string) *sql.DB {
		db, err := sql.Open(d.Driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	patient, impatient := open(d.DSN), open(file+"&_pragma=busy_timeout(0)")
	w := &World{SQL: func(ctx context.Context, statements ...string) error {
		conn, err := patient.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		for _, s := range statements {
			if _, err := conn.ExecContext(ctx, s); err != nil {
				_, _ = conn.ExecContext(context.Background(), "ROLLBACK")
				return err
			}
		}
		return nil
	}}
	write := func(db *sql.DB) error {
		_, err := db.Exec("UPDATE stock SET reserved = reserved + 1 WHERE sku = ?", shop.SKU(1))
		return err
	}
	remove, err := lockWait().Draw(Standard(nil)).Inject(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if err := write(impatient); err == nil { // the job has not begun, or pauses
			continue
		} else if !strings.Contains(err.Error(), "locked") {
			t.Fatal(err)
		}
		break
	}
	if _, err := impatient.Exec("SELECT name FROM products WHERE sku = ?", shop.SKU(1)); err != nil {
		t.Errorf("a reader while the job holds the stock: %v", err)
	}
	// SQLite's own waiting looks every 100 ms and can miss every pause of the job; who never stops trying cannot.
	for {
		if err := write(impatient); err == nil {
			break
		} else if !strings.Contains(err.Error(), "locked") {
			t.Fatal(err)
		}
	}
	if err := remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := write(impatient); err != nil {
		t.Errorf("a writer once the job is over: %v", err)
	}
}

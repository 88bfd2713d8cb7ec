package scenario

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"triage/demo/shop"
)

// TestLockWaitHoldsWriters lets the job work on SQLite, and holds that a writer waits for it while a reader does not, and
// that nothing is locked once it is over.
func TestLockWaitHoldsWriters(t *testing.T) {
	d := shop.Database{Driver: "sqlite", DSN: "file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "stock.db")) +
		"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(20000)&_txlock=immediate"}
	if err := shop.Migrate(t.Context(), d, 1); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(d.Driver, d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	holding := make(chan struct{}, 1000)
	w := &World{SQL: func(ctx context.Context, statements ...string) error {
		select {
		case holding <- struct{}{}:
		default:
		}
		conn, err := db.Conn(ctx)
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
	took := func(statement string) time.Duration {
		t.Helper()
		began := time.Now()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	remove, err := lockWait().Draw(Standard(nil)).Inject(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	<-holding // asked whether it sleeps
	<-holding // the job has begun
	var longest, reading time.Duration
	for range 6 {
		longest = max(longest, took("UPDATE stock SET reserved = reserved + 1 WHERE sku = '"+shop.SKU(1)+"'"))
		reading = max(reading, took("SELECT name FROM products WHERE sku = '"+shop.SKU(1)+"'"))
	}
	if longest < 2*reading || longest < 100*time.Millisecond {
		t.Errorf("a writer waits for %s, a reader takes %s", longest, reading)
	}
	if err := remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	took("UPDATE stock SET reserved = reserved + 1 WHERE sku = '" + shop.SKU(1) + "'")
}

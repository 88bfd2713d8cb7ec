package state_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"triage/internal/model"
	"triage/internal/store"
	"triage/internal/store/state"
	"triage/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	storetest.State(t, func(t *testing.T, dir string) (store.State, func() error) {
		s := open(t, filepath.Join(dir, "state.db"))
		return s, s.Close
	})
}

func open(t *testing.T, path string) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// raw opens the file behind the store's back.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestANewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	db := raw(t, path)
	if _, err := db.Exec(`UPDATE schema_version SET version = 99`); err != nil {
		t.Fatal(err)
	}
	_, err := state.Open(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), "newer triage") {
		t.Errorf("open a newer schema: %v", err)
	}
	var version int
	if err := db.QueryRow(`SELECT version FROM schema_version`).Scan(&version); err != nil || version != 99 {
		t.Errorf("version is %d (%v) after a refusal, want it untouched", version, err)
	}
}

func TestJournalAndSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	if err := s.SaveDocuments(t.Context(), "a", []store.Document{{Kind: "rule", Name: "r", Body: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	var mode string
	db := raw(t, path)
	if err := db.QueryRow(`PRAGMA journal_mode`).Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal mode %q (%v), want wal", mode, err)
	}
	if err := db.Close(); err != nil { // the last connection to go takes the log away
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); !os.IsNotExist(err) {
		t.Errorf("the write-ahead log is still there after close: %v", err)
	}
}

func TestPathsOfAnyForm(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "100% of? it # here")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, filepath.Join(dir, "state.db"))
	if _, err := os.Stat(filepath.Join(dir, "state.db")); err != nil {
		t.Error(err)
	}
	t.Chdir(dir)
	open(t, "relative.db")
	if _, err := os.Stat("relative.db"); err != nil {
		t.Error(err)
	}
}

func TestOpenSaysWhichFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database ", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("open a text file: %v", err)
	}
}

func TestHistoryCountsBackFromItsNewest(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, at := range []time.Time{start, start.Add(29 * 24 * time.Hour), start.Add(31 * 24 * time.Hour)} {
		tr := model.Transition{ID: string(rune('a' + i)), Alarm: model.Alarm{ID: "x", Since: at}}
		if err := s.SaveAlarms(t.Context(), "a", nil, []model.Transition{tr}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Transitions(t.Context(), "a", "", store.Window{To: start.Add(1000 * time.Hour)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].ID != "b" {
		t.Errorf("kept %v, want b and c", got)
	}
}

func TestCancelledContext(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.SaveDocuments(ctx, "a", []store.Document{{Kind: "rule", Name: "r"}}); err == nil {
		t.Error("a write with a cancelled context went well")
	}
	if err := s.SaveDocuments(t.Context(), "a", []store.Document{{Kind: "rule", Name: "r", Body: []byte("{}")}}); err != nil {
		t.Errorf("the writer is lost after a cancelled write: %v", err)
	}
}

// Rules had a table of their own once; they are documents now, and none is lost on the way.
func TestRulesBecomeDocuments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := raw(t, path)
	for _, name := range []string{"0001_init.sql", "0002_document.sql", "0003_journal.sql"} {
		script, err := os.ReadFile(filepath.Join("migrations", name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(string(script)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{
		`CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT`, `INSERT INTO schema_version VALUES (3)`,
		`INSERT INTO rule VALUES ('a', 'slow', CAST('{"v":1}' AS BLOB)), ('b', 'slow', CAST('{"v":2}' AS BLOB))`, `INSERT INTO document VALUES ('a', 'silence', 's1', CAST('{}' AS BLOB))`,
	} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	for tenant, want := range map[string]string{"a": `{"v":1}`, "b": `{"v":2}`} {
		docs, err := s.Documents(t.Context(), tenant, "rule")
		if err != nil || len(docs) != 1 || docs[0].Name != "slow" || string(docs[0].Body) != want {
			t.Errorf("tenant %s has %s, %v", tenant, docs, err)
		}
	}
}

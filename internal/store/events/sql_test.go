package events

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/model"
)

// sqlStore has one span and log in a block and one span in the tail.
func sqlStore(t *testing.T) *Store {
	ctx := context.Background()
	s := openTest(t, t.TempDir(), nil)
	t.Cleanup(func() { s.Close() })
	a := spanAt(1, testTime, model.Attr{Key: "http.route", Value: model.String("/cart")}, model.Attr{Key: "code", Value: model.Int(200)},
		model.Attr{Key: "name", Value: model.String("mine")})
	a.Resource = &model.Resource{Service: "frontend", Attrs: model.Attrs{{Key: "host.name", Value: model.String("h1")}, {Key: "code", Value: model.Int(7)}}}
	a.Kind, a.Status = model.SpanServer, model.StatusError
	line := model.LogRecord{Time: testTime.UnixNano(), Severity: 17, Body: model.String("it's broken"), Template: 11, Resource: a.Resource}
	if _, err := s.Append(ctx, &model.Batch{Spans: []model.Span{a}, Logs: []model.LogRecord{line}}); err != nil {
		t.Fatal(err)
	}
	if err := s.flushAll(ctx); err != nil {
		t.Fatal(err)
	}
	b := spanAt(2, testTime.Add(time.Second), model.Attr{Key: "http.route", Value: model.String("/pay")}, model.Attr{Key: "code", Value: model.String("none")})
	if _, err := s.Append(ctx, &model.Batch{Spans: []model.Span{b}}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSQL(t *testing.T) {
	s := sqlStore(t)
	for _, c := range []struct{ query, want string }{
		{`SELECT count(*) n FROM spans`, "[[2]]"},
		{`SELECT "http.route", code, "host.name", "r.code", "a.name", kind, status FROM spans ORDER BY time`,
			"[[/cart 200 h1 7 mine server error] [/pay none <nil> <nil> <nil> unspecified unset]]"},
		{`SELECT time, trace_id, span_id, parent_id FROM spans ORDER BY ts DESC LIMIT 1`,
			"[[2026-03-01T12:00:01Z 00000000000000020000000000000003 0000000000000003 <nil>]]"},
		{`SELECT level, body, template, "host.name" FROM logs`, "[[error it's broken 000000000000000b h1]]"},
		{`WITH x AS (SELECT service FROM spans) SELECT DISTINCT service FROM x`, "[[frontend]]"},
		{`SELECT s.name FROM spans s JOIN logs l ON s.service=l.service LIMIT 1`, "[[work]]"},
		{`FROM range(3) SELECT sum(range)::INTEGER`, "[[3]]"},
		{`SELECT 'NaN'::DOUBLE, [1,2], {'a': 1}`, "[[NaN [1 2] map[a:1]]]"},
	} {
		got, err := s.SQL(t.Context(), "", c.query, SQLLimits{})
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		if d := cmp.Diff(fmt.Sprint(got.Rows), c.want); d != "" {
			t.Errorf("%s (-got +want):\n%s", c.query, d)
		}
	}
	got, err := s.SQL(t.Context(), "", "SELECT range FROM range(100)", SQLLimits{Rows: 10})
	if err != nil || len(got.Rows) != 10 || !got.Truncated {
		t.Errorf("limited rows: %d, truncated %v, %v", len(got.Rows), got.Truncated, err)
	}
	got, err = s.SQL(t.Context(), "", "SELECT repeat('x', 1000) FROM range(100)", SQLLimits{Bytes: 5000})
	if err != nil || len(got.Rows) >= 6 || !got.Truncated {
		t.Errorf("limited bytes: %d rows, truncated %v, %v", len(got.Rows), got.Truncated, err)
	}
	got, err = s.SQL(t.Context(), "nobody", "SELECT count(*), any_value(service) FROM spans", SQLLimits{})
	if err != nil || fmt.Sprint(got.Rows) != "[[0 <nil>]]" {
		t.Errorf("another tenant: %v, %v", got.Rows, err)
	}
}

func TestSQLIsLockedDown(t *testing.T) {
	s := sqlStore(t)
	secret := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(secret, []byte("password\nhunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	block := s.catalog.all()[0].path
	for _, query := range []string{
		"SELECT * FROM '" + secret + "'",
		"SELECT * FROM read_csv('" + secret + "')",
		"SELECT * FROM read_text('" + secret + "')",
		"SELECT * FROM glob('/*')",
		"SELECT * FROM read_parquet('" + block + "')",
		"SELECT * FROM query('SELECT 1')",
		"SELECT * FROM query_table('spans')",
		"WITH x AS (SELECT * FROM read_text('" + secret + "')) SELECT * FROM x",
		"SELECT (SELECT content FROM read_text('" + secret + "'))",
		`WITH "` + secret + `" AS (SELECT 1) SELECT * FROM (SELECT * FROM "` + secret + `") UNION ALL SELECT count(*) FROM read_csv_auto('` + secret + `')`,
		"COPY (SELECT 1) TO '" + block + "'",
		"COPY spans TO '/tmp/out.csv'",
		"CREATE TABLE x AS SELECT 1",
		"INSERT INTO spans SELECT * FROM spans",
		"DROP VIEW spans",
		"ATTACH '/tmp/x.db'",
		"INSTALL httpfs",
		"LOAD httpfs",
		"SET memory_limit='100GB'",
		"RESET lock_configuration",
		"PRAGMA database_list",
		"PRAGMA memory_limit='100GB'",
		"CALL enable_logging()",
		"EXPORT DATABASE '/tmp/x'",
		"SELECT 1; SELECT 2",
		"SELECT 1; DROP VIEW spans",
		"SELECT * FROM duckdb_settings()",
		"SELECT * FROM information_schema.tables",
		"SELECT * FROM pragma_version()",
		"",
		"not SQL",
	} {
		got, err := s.SQL(t.Context(), "", query, SQLLimits{})
		if !isSQLError(err) {
			t.Errorf("%s: %v, %v; want it refused", query, got.Rows, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the file: %v", query, err)
		}
	}
	t.Setenv("TRIAGE_TEST_SECRET", "hunter2")
	got, err := s.SQL(t.Context(), "", "SELECT getenv('TRIAGE_TEST_SECRET')", SQLLimits{})
	if err == nil && strings.Contains(fmt.Sprint(got.Rows), "hunter2") {
		t.Error("the environment can be read")
	}
	if n := count(t, s); n != 2 {
		t.Errorf("after all that there are %d spans, want 2", n)
	}
}

// TestLockDown tries the second wall alone: queries that the first, which reads them, would refuse.
func TestLockDown(t *testing.T) {
	dir := t.TempDir()
	secret, mine := filepath.Join(dir, "secret.csv"), filepath.Join(dir, "mine.csv")
	for _, name := range []string{secret, mine} {
		if err := os.WriteFile(name, []byte("password\nhunter2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := newEngine(Options{Threads: 1, MemoryLimit: 64 << 20}, t.TempDir())
	defer e.close()
	db, err := e.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := lockDown(t.Context(), db, []string{mine}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("SELECT * FROM '" + mine + "'"); err != nil {
		t.Errorf("the allowed file: %v", err)
	}
	for _, query := range []string{
		"SELECT * FROM '" + secret + "'",
		"SELECT * FROM read_text('" + secret + "')",
		"SELECT * FROM glob('/*')",
		"COPY (SELECT 1) TO '" + secret + "'",
		"ATTACH '" + filepath.Join(dir, "x.db") + "'",
		"SET memory_limit='100GB'",
		"SET enable_external_access=true",
		"SET allowed_paths=['" + secret + "']",
		"INSTALL httpfs",
		"EXPORT DATABASE '" + dir + "/x'",
	} {
		if _, err := db.Exec(query); err == nil {
			t.Errorf("%s was done", query)
		}
	}
}

func TestSQLIsEnded(t *testing.T) {
	s := sqlStore(t)
	start := time.Now()
	_, err := s.SQL(t.Context(), "", "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range*b.range=17", SQLLimits{Time: 500 * time.Millisecond})
	if !isSQLError(err) || time.Since(start) > 5*time.Second {
		t.Errorf("slow query: %v after %s", err, time.Since(start))
	}
	// A string heap passes DuckDB's limit of memory; the system's holds.
	_, err = s.SQL(t.Context(), "", "SELECT count(DISTINCT repeat('x', 1000000) || range) FROM range(100000)", SQLLimits{MemoryLimit: 64 << 20, Time: 20 * time.Second})
	if !isSQLError(err) {
		t.Errorf("greedy query: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = s.SQL(ctx, "", "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range*b.range=17", SQLLimits{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled query: %v", err)
	}
	// Sorting more than the limit spills to the directory that the query has.
	got, err := s.SQL(t.Context(), "", "SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY hash(range)) r FROM range(3000000))", SQLLimits{MemoryLimit: 64 << 20})
	if err != nil || fmt.Sprint(got.Rows) != "[[3000000]]" {
		t.Errorf("sort: %v, %v", got.Rows, err)
	}
}

func isSQLError(err error) bool {
	var e *SQLError
	return errors.As(err, &e)
}

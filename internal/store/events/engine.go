package events

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "unsafe" // for linkname

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/duckdb/duckdb-go/v2"
)

// interruptInterval is how long the driver sleeps between attempts to interrupt a query whose context ended; it also
// delays the return of the query. The driver has no option for its 500 ms.
//
//go:linkname interruptInterval github.com/duckdb/duckdb-go/v2.interruptInterval
var interruptInterval time.Duration

// setInterrupt is done once a process, before the first query.
var setInterrupt = sync.OnceFunc(func() { interruptInterval = 10 * time.Millisecond })

// engine is DuckDB in the process. It is opened by the first question and holds no data of its own.
type engine struct {
	dsn  string
	mu   sync.Mutex // guards db
	db   *sql.DB
	done bool
	// failed, if not nil, is told when DuckDB fails: perhaps because of a damaged file.
	failed func()
}

func newEngine(o Options, tmp string) *engine {
	v := url.Values{}
	v.Set("threads", strconv.Itoa(o.Threads))
	v.Set("memory_limit", strconv.FormatInt(o.MemoryLimit, 10)+"B")
	v.Set("temp_directory", tmp)
	v.Set("preserve_insertion_order", "false")
	v.Set("enable_external_file_cache", "false") // the system's page cache does that, and gives it back
	v.Set("autoinstall_known_extensions", "false")
	v.Set("autoload_known_extensions", "false")
	return &engine{dsn: "?" + v.Encode()}
}

// open opens the database if it is not.
func (e *engine) open() (*sql.DB, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.db != nil {
		return e.db, nil
	}
	if e.done {
		return nil, errors.New("DuckDB is closed")
	}
	setInterrupt()
	c, err := duckdb.NewConnector(e.dsn, nil)
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	e.db = sql.OpenDB(c)
	e.db.SetMaxIdleConns(4)
	e.db.SetMaxOpenConns(16)
	return e.db, nil
}

func (e *engine) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done = true
	if e.db == nil {
		return nil
	}
	err := e.db.Close()
	e.db = nil
	return err
}

// query runs a query and calls scan for each row with a function like sql.Rows.Scan.
func (e *engine) query(ctx context.Context, text string, scan func(func(...any) error) error) error {
	db, err := e.open()
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, text)
	if err != nil {
		return e.queryError(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			return err
		}
	}
	return e.queryError(ctx, rows.Err())
}

// batches runs a query and calls fn with each Arrow batch, which is valid only during the call.
func (e *engine) batches(ctx context.Context, text string, fn func(arrow.RecordBatch) error) error {
	db, err := e.open()
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return e.queryError(ctx, err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		a, err := duckdb.NewArrowFromConn(c.(driver.Conn))
		if err != nil {
			return err
		}
		r, err := a.QueryContext(ctx, text)
		if err != nil {
			return err
		}
		defer r.Release()
		for r.Next() {
			if err := fn(r.RecordBatch()); err != nil {
				return err
			}
		}
		return r.Err()
	})
	return e.queryError(ctx, err)
}

// queryError prefers the context's error: an interrupted query says only that it was interrupted.
func (e *engine) queryError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e.failed != nil {
		e.failed()
	}
	return fmt.Errorf("query: %w", err)
}

// quote writes text as an SQL literal.
func quote(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.ContainsRune(s, 0) { // a query ends at a zero byte
		q = "(" + strings.ReplaceAll(q, "\x00", "'||chr(0)||'") + ")"
	}
	return q
}

// ident writes a column's name as an SQL identifier.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// globEscape keeps DuckDB from reading a path as a pattern.
var globEscape = strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]")

// fileList writes the blocks' paths as an SQL list.
func fileList(bs []*block) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, x := range bs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(globEscape.Replace(x.path)))
	}
	b.WriteByte(']')
	return b.String()
}

// Package state is the embedded engine of store.State: one SQLite file that keeps changes, alarms, incidents, verdicts
// and log templates. It owns that file and its schema. It refuses to open a schema newer than it knows, and it judges
// nothing: what is saved comes back as it was, with times in UTC.
//
// All methods are safe for concurrent use. Writes go through one connection, one after the other, and are synced to the
// disk when they return; reads have connections of their own and never wait for a writer.
package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"triage/internal/store"
)

// Each connection may cache so much. What is asked often (open incidents, newest verdicts) is far smaller.
const cacheKiB = 512

// readers is the number of reading connections.
const readers = 2

// maxAnswers bounds what the answers of one verdict may decompress to.
const maxAnswers = 256 << 20

// Store implements store.State.
type Store struct {
	write, read *sql.DB
	enc         *zstd.Encoder
	dec         *zstd.Decoder
	closed      atomic.Bool
}

var _ store.State = (*Store)(nil)

// Open opens or creates the file at path; its directory must exist. The caller closes the store.
func Open(ctx context.Context, path string) (*Store, error) {
	s, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string) (_ *Store, err error) {
	s := new(Store)
	defer func() {
		if err != nil {
			_ = s.Close() // the first error says more
		}
	}()
	if s.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true)); err != nil {
		return nil, err
	}
	s.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxAnswers))
	if err != nil {
		return nil, err
	}
	// The writer comes first: it creates the file and makes it a WAL database, which readers cannot.
	if s.write, err = sql.Open("sqlite", dsn(path, "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)")); err != nil {
		return nil, err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write); err != nil {
		return nil, s.mapError(err)
	}
	if s.read, err = sql.Open("sqlite", dsn(path, "query_only(1)")); err != nil {
		return nil, err
	}
	s.read.SetMaxOpenConns(readers)
	return s, nil
}

// dsn names the file as an URI, so that any path may stand in it.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}}
	// busy_timeout comes first: the others wait by it.
	for _, p := range append([]string{"busy_timeout(5000)", fmt.Sprintf("cache_size(-%d)", cacheKiB)}, pragmas...) {
		q.Add("_pragma", p)
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// Close ends the store; later calls return store.ErrClosed. Closing again does nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	var errs []error
	// The writer goes last, because the last to leave folds the WAL into the file.
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.enc != nil {
		errs = append(errs, s.enc.Close())
	}
	if s.dec != nil {
		s.dec.Close()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// tx runs f in a transaction of the writer and says what it was doing when it went wrong.
func (s *Store) tx(ctx context.Context, doing string, f func(*sql.Tx) error) error {
	if s.closed.Load() {
		return fmt.Errorf("%s: %w", doing, store.ErrClosed)
	}
	if err := transact(ctx, s.write, f); err != nil {
		return fmt.Errorf("%s: %w", doing, s.mapError(err))
	}
	return nil
}

// transact commits what f did if it returns nil, and undoes it otherwise.
func transact(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // f's error says more
		return err
	}
	return tx.Commit()
}

// list reads all rows of a query by scan.
func list[T any](ctx context.Context, s *Store, doing string, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	if s.closed.Load() {
		return nil, fmt.Errorf("%s: %w", doing, store.ErrClosed)
	}
	out, err := func() ([]T, error) {
		rows, err := s.read.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		out := []T{}
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, rows.Err()
	}()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, s.mapError(err))
	}
	return out, nil
}

// body scans a row whose only column is the JSON of a T.
func body[T any](rows *sql.Rows) (v T, err error) {
	var b sql.RawBytes
	if err := rows.Scan(&b); err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

// mapError gives the errors callers branch on their names.
func (s *Store) mapError(err error) error {
	if s.closed.Load() {
		return fmt.Errorf("%w: %w", store.ErrClosed, err)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// nanos is t as it is stored: zero for the zero time, and the nearest that fits for times centuries away.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// bounds are a window's ends as they are compared with stored times. A zero From is the beginning of time.
func bounds(w store.Window) (from, to int64) {
	from, to = nanos(w.From), nanos(w.To)
	if w.From.IsZero() {
		from = math.MinInt64
	}
	return from, to
}

// timeOf is the inverse of nanos.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// atMost is a LIMIT: everything where limit is not positive.
func atMost(limit int) int {
	if limit <= 0 {
		return -1
	}
	return limit
}

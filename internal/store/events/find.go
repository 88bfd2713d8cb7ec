package events

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// Whole rows are found in two steps: first the few columns that decide, then the rows themselves by their numbers, so
// that wide columns are read only where there is a row to return. DuckDB takes the first step where a search needs its
// functions (newestBySQL); all else is read here.

// hit is a row that was found.
type hit struct {
	block  *block
	number int64 // of the row in its file
	ts     int64
	trace  model.TraceID
}

// find returns the rows of blocks that meet a condition; with a limit the newest.
func (s *Store) find(ctx context.Context, p signal, bs []*block, limit int, where func(*compiler) (string, bool, error)) ([]hit, error) {
	byPath := make(map[string]*block, len(bs))
	for _, b := range bs {
		byPath[b.path] = b
	}
	var failed error
	q := unionWith(",file_row_number=true,filename=true", bs, p, func(c *compiler) (string, string, bool) {
		cond, ok, err := where(c)
		if failed == nil {
			failed = err
		}
		if ok && err == nil {
			var whole bool
			if c.stretches, whole = s.catalog.filters.stretches(c.block, c.need); whole {
				c.stretches = nil
			} else if len(c.stretches) == 0 {
				ok = false
			}
		}
		return "filename,file_row_number n,ts,trace_hi,trace_lo", cond, ok
	})
	if failed != nil || q == "" {
		return nil, failed
	}
	if limit > 0 {
		q = fmt.Sprintf("SELECT * FROM (%s) ORDER BY ts DESC,filename,n DESC LIMIT %d", q, limit)
	}
	var hits []hit
	err := s.engine.query(ctx, q, func(scan func(...any) error) error {
		var h hit
		var path string
		var hi, lo uint64
		if err := scan(&path, &h.number, &h.ts, &hi, &lo); err != nil {
			return err
		}
		h.trace = model.TraceIDFrom(hi, lo)
		if h.block = byPath[path]; h.block == nil {
			return fmt.Errorf("query names file %s, which it was not asked about", path)
		}
		hits = append(hits, h)
		return nil
	})
	return hits, err
}

func (s *Store) fetchSpans(ctx context.Context, hits []hit) ([]model.Span, error) {
	out := make([]model.Span, 0, len(hits))
	var r rowReader
	err := s.fetch(ctx, hits, func(rec arrow.RecordBatch) error {
		rows, err := r.spans(rec)
		out = append(out, rows...)
		return err
	})
	return out, err
}

func (s *Store) fetchLogs(ctx context.Context, hits []hit) ([]model.LogRecord, error) {
	out := make([]model.LogRecord, 0, len(hits))
	var r rowReader
	err := s.fetch(ctx, hits, func(rec arrow.RecordBatch) error {
		rows, err := r.logs(rec)
		out = append(out, rows...)
		return err
	})
	return out, err
}

func (s *Store) oneTrace(ctx context.Context, tenant string, id model.TraceID) ([]model.Span, error) {
	end, err := s.begin(ctx, "trace")
	if err != nil {
		return nil, err
	}
	defer end()
	hits, release, err := s.traceHits(ctx, tenant, []model.TraceID{id}, math.MinInt64, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	defer release()
	if len(hits) == 0 {
		return nil, fmt.Errorf("trace %s: %w", id, store.ErrNotFound)
	}
	out, err := s.fetchSpans(ctx, hits)
	sortSpans(out)
	return out, err
}

// sortSpans orders spans by trace, start and ID.
func sortSpans(out []model.Span) {
	slices.SortStableFunc(out, func(a, b model.Span) int {
		return cmp.Or(compareTraces(a.TraceID, b.TraceID), cmp.Compare(a.Start, b.Start), cmp.Compare(a.SpanID.Uint64(), b.SpanID.Uint64()))
	})
}

func compareTraces(a, b model.TraceID) int {
	return cmp.Or(cmp.Compare(a.Hi(), b.Hi()), cmp.Compare(a.Lo(), b.Lo()))
}

func (s *Store) manyTraces(ctx context.Context, tenant string, ids []model.TraceID, w store.Window, limit int) ([]model.Span, error) {
	end, err := s.begin(ctx, "traces")
	if err != nil {
		return nil, err
	}
	defer end()
	if len(ids) == 0 {
		return []model.Span{}, nil
	}
	from, to := bounds(w)
	hits, release, err := s.traceHits(ctx, tenant, ids, from, to)
	if err != nil {
		return nil, err
	}
	defer release()
	slices.SortStableFunc(hits, func(a, b hit) int { return compareTraces(a.trace, b.trace) })
	for i := 0; i < len(hits); { // whole traces only
		n := i + 1
		for n < len(hits) && hits[n].trace == hits[i].trace {
			n++
		}
		if n > limit {
			hits = hits[:i]
			break
		}
		i = n
	}
	out, err := s.fetchSpans(ctx, hits)
	sortSpans(out)
	return out, err
}

// traceHits finds the spans of traces. The hits' blocks must be released.
func (s *Store) traceHits(ctx context.Context, tenant string, ids []model.TraceID, from, to int64) ([]hit, func(), error) {
	snap, err := s.partialSnapshot(ctx, partition{tenantOf(tenant), spans}, from, to)
	if err != nil {
		return nil, nil, err
	}
	wanted := make(map[model.TraceID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	hits, err := s.findTraces(ctx, snap.blocks, wanted, from, to)
	if err != nil {
		snap.release()
		return nil, nil, err
	}
	if err := s.incompleteTrace(ctx, snap, tenant, hits, len(wanted), from, to); err != nil {
		snap.release()
		return nil, nil, err
	}
	return hits, snap.release, nil
}

// newestRows is a page of the newest rows that match.
func newestRows[T any](ctx context.Context, s *Store, p signal, question string, q store.Query,
	fetch func(context.Context, []hit) ([]T, error), key func(T) (int64, uint64)) (page store.Page[T], err error) {
	if q.Limit < 1 {
		return page, fmt.Errorf("%s: limit %d is less than 1", question, q.Limit)
	}
	end, err := s.begin(ctx, question)
	if err != nil {
		return page, err
	}
	defer end()
	from, to := bounds(q.Window)
	snap, err := s.partialSnapshot(ctx, partition{tenantOf(q.Tenant), p}, from, to)
	if err != nil {
		return page, err
	}
	defer snap.release()
	hits, err := s.newest(ctx, p, snap.blocks, q, from, to)
	if err != nil {
		return page, err
	}
	page, err = pageOf(ctx, hits, q.Limit, fetch, key)
	page.Partial = snap.partial
	return page, err
}

// pageOf fetches the rows of hits up to the limit, newest first.
func pageOf[T any](ctx context.Context, hits []hit, limit int, fetch func(context.Context, []hit) ([]T, error), key func(T) (int64, uint64)) (page store.Page[T], err error) {
	if page.More = len(hits) > limit; page.More {
		hits = hits[:limit]
	}
	if page.Rows, err = fetch(ctx, hits); err != nil {
		return page, err
	}
	slices.SortStableFunc(page.Rows, func(a, b T) int {
		ta, ia := key(a)
		tb, ib := key(b)
		return cmp.Or(cmp.Compare(tb, ta), cmp.Compare(ib, ia))
	})
	return page, nil
}

// spanKey is what spans of a page are ordered by.
func spanKey(x model.Span) (int64, uint64) { return x.Start, x.SpanID.Uint64() }

// The first step of a search by SQL reads about firstStep rows; while too little is found, each step reads twice as many as
// the one before, up to longestStep, because between steps it is told how far the search is.
const (
	firstStep   = 1_000_000
	longestStep = 4_000_000
)

// newest finds the newest rows that match, one more than the limit if there are so many.
func (s *Store) newest(ctx context.Context, p signal, bs []*block, q store.Query, from, to int64) ([]hit, error) {
	conds := map[*block]condition{}
	for _, b := range bs {
		c := &compiler{signal: p, layout: b.layout, refs: map[string]string{}, block: b}
		cond, err := c.matches(q.Where)
		if err != nil {
			return nil, err
		}
		if !cond.testable() || s.opts.onlySQL {
			return s.newestBySQL(ctx, p, bs, q, from, to)
		}
		conds[b] = cond
	}
	return s.newestTested(ctx, p, conds, q, from, to)
}

// newestBySQL is newest for searches that DuckDB decides. It walks the blocks backwards in time.
func (s *Store) newestBySQL(ctx context.Context, p signal, bs []*block, q store.Query, from, to int64) ([]hit, error) {
	slices.SortFunc(bs, func(a, b *block) int { return cmp.Compare(b.layout.MaxTime, a.layout.MaxTime) })
	want := q.Limit + 1
	var hits []hit
	store.NoteProgress(ctx, 0, rowsOf(bs))
	for most := int64(firstStep); len(bs) > 0; most = min(2*most, longestStep) {
		oldest := from
		if len(hits) >= want {
			oldest = max(from, hits[want-1].ts)
			if bs[0].layout.MaxTime < oldest {
				break
			}
		}
		var step []*block
		passed := int64(0)
		for rows := int64(0); len(bs) > 0; bs = bs[1:] {
			n := s.mayMatch(p, bs[0], q.Where)
			if rows > 0 && rows+n > most {
				break
			}
			passed += bs[0].layout.Rows
			if n > 0 {
				step, rows = append(step, bs[0]), rows+n
			}
		}
		found, err := s.find(ctx, p, step, want, func(c *compiler) (string, bool, error) {
			cond, err := c.matches(q.Where)
			if err != nil {
				return "", false, err
			}
			c.need = c.needs(q.Where)
			where := cond.sql()
			return between(oldest, to) + " AND " + where, where != "false", nil
		})
		if err != nil {
			return nil, err
		}
		store.NoteProgress(ctx, passed, 0)
		hits = append(hits, found...)
		slices.SortStableFunc(hits, func(a, b hit) int {
			return cmp.Or(cmp.Compare(b.ts, a.ts), cmp.Compare(b.number, a.number))
		})
		hits = hits[:min(len(hits), want)]
	}
	return hits, nil
}

// mayMatch is how many rows of a block its filters do not rule out.
func (s *Store) mayMatch(p signal, b *block, e search.Expr) (rows int64) {
	c := &compiler{signal: p, layout: b.layout, refs: map[string]string{}, block: b}
	runs, whole := s.catalog.filters.stretches(b, c.needs(e))
	if whole {
		return max(1, b.layout.Rows)
	}
	for _, r := range runs {
		rows += r[1] - r[0] + 1
	}
	return rows
}

package events

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"triage/internal/model"
	"triage/internal/store"
)

// findTraces finds the spans of traces that begin in [from, to].
func (s *Store) findTraces(ctx context.Context, bs []*block, wanted map[model.TraceID]bool, from, to int64) (hits []hit, err error) {
	ids := make([]model.TraceID, 0, len(wanted))
	low := make(map[uint64]bool, len(wanted))
	for id := range wanted {
		ids = append(ids, id)
		low[id.Lo()] = true
	}
	n := needTraces(ids)
	one := ids[0].Lo()
	isLow := func(v int64) bool { return uint64(v) == one }
	if len(low) > 1 {
		isLow = func(v int64) bool { return low[uint64(v)] }
	}
	var adding sync.Mutex // of hits
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(s.opts.Threads)
	for _, b := range bs {
		r, may, err := s.openFor(b, n, from, to)
		if err != nil {
			return nil, cmp.Or(work.Wait(), err)
		}
		if r == nil {
			continue
		}
		defer r.close()
		for i := range r.groups {
			g := &r.groups[i]
			if !may(g) {
				continue
			}
			work.Go(func() (err error) {
				defer s.whileReading(b, &err)
				rows, err := testCells(ctx, g, "trace_lo", allRows(g.rows, 0, g.rows), nil, isLow)
				if err != nil {
					return err
				}
				found, err := g.hits(ctx, rows)
				adding.Lock()
				defer adding.Unlock()
				for _, h := range found {
					if wanted[h.trace] && h.ts >= from && h.ts <= to {
						hits = append(hits, h)
					}
				}
				return err
			})
		}
	}
	err = work.Wait() // which adds to hits
	return hits, err
}

// openFor opens a block in which rows may be that need; may tells in which of its row groups they may be, and within
// [from, to]. The reader is nil if they can be in none.
func (s *Store) openFor(b *block, n need, from, to int64) (r *blockReader, may func(*rowGroup) bool, err error) {
	possible, known := s.catalog.filters.possible(b, n)
	if known && !slices.Contains(possible, true) {
		return nil, nil, nil
	}
	r, err = s.openBlock(b)
	return r, func(g *rowGroup) bool {
		return (!known || possible[min(g.first/b.layout.Filters.Rows, int64(len(possible)-1))]) && g.min <= to && g.max >= from
	}, err
}

// hits are rows with their times and traces.
func (g *rowGroup) hits(ctx context.Context, rows rowSet) ([]hit, error) {
	var hits []hit
	for _, row := range rows.rows() {
		hits = append(hits, hit{block: g.in.block, number: g.first + row})
	}
	high := make([]uint64, len(hits))
	for _, c := range []struct {
		column string
		set    func(i int, v int64)
	}{
		{"trace_hi", func(i int, v int64) { high[i] = uint64(v) }},
		{"trace_lo", func(i int, v int64) { hits[i].trace = model.TraceIDFrom(high[i], uint64(v)) }},
		{"ts", func(i int, v int64) { hits[i].ts = v }},
	} {
		i := 0
		if err := eachCell(ctx, g, c.column, rows, func(_ int, v int64) { c.set(i, v); i++ }); err != nil {
			return nil, err
		}
	}
	return hits, nil
}

// newestFirst goes through the row groups of blocks, the newest first.
type newestFirst struct {
	store  *Store
	need   func(*block) need
	from   int64
	to     int64
	blocks []*block // not opened yet, the newest last
	groups []*rowGroup
	open   []*blockReader
}

func (w *newestFirst) close() {
	for _, r := range w.open {
		r.close()
	}
}

// next is the row group that may have the newest row, among those that were not handed out yet and may have rows after oldest;
// nil if there is none.
func (w *newestFirst) next(ctx context.Context, oldest int64) (*rowGroup, error) {
	newest := func() int64 {
		if len(w.groups) == 0 {
			return math.MinInt64
		}
		return w.groups[len(w.groups)-1].max
	}
	for len(w.blocks) > 0 {
		b := w.blocks[len(w.blocks)-1]
		if len(w.groups) > 0 && b.layout.MaxTime < newest() || b.layout.MaxTime < oldest {
			break
		}
		w.blocks = w.blocks[:len(w.blocks)-1]
		r, may, err := w.store.openFor(b, w.need(b), w.from, w.to)
		if err != nil {
			return nil, err
		}
		if r == nil {
			store.NoteProgress(ctx, b.layout.Rows, 0)
			continue
		}
		w.open = append(w.open, r)
		for i := range r.groups {
			g := &r.groups[i]
			if !may(g) {
				store.NoteProgress(ctx, int64(g.rows), 0)
				continue
			}
			w.groups = append(w.groups, g)
		}
		slices.SortStableFunc(w.groups, func(a, b *rowGroup) int { return cmp.Compare(a.max, b.max) })
	}
	if len(w.groups) == 0 || newest() < oldest {
		return nil, nil
	}
	g := w.groups[len(w.groups)-1]
	w.groups = w.groups[:len(w.groups)-1]
	return g, nil
}

// newestTested is newest for searches that can be tested here: row group by row group, the newest first.
func (s *Store) newestTested(ctx context.Context, p signal, conds map[*block]condition, q store.Query, from, to int64) ([]hit, error) {
	w := newestFirst{store: s, from: from, to: to, need: func(b *block) need {
		return (&compiler{signal: p, layout: b.layout, refs: map[string]string{}, block: b}).needs(q.Where)
	}}
	total := int64(0)
	for b, cond := range conds {
		if cond != constant(false) {
			w.blocks = append(w.blocks, b)
			total += b.layout.Rows
		}
	}
	store.NoteProgress(ctx, 0, total)
	slices.SortFunc(w.blocks, func(a, b *block) int {
		return cmp.Or(cmp.Compare(a.layout.MaxTime, b.layout.MaxTime), cmp.Compare(a.ID, b.ID))
	})
	defer w.close()
	want := q.Limit + 1
	var hits []hit
	for oldest := from; ; {
		found, begun := make([][]hit, s.opts.Threads), 0
		work, ctx := errgroup.WithContext(ctx)
		for ; begun < len(found); begun++ {
			g, err := w.next(ctx, oldest)
			if err != nil {
				return nil, cmp.Or(work.Wait(), err)
			}
			if g == nil {
				break
			}
			into := &found[begun]
			work.Go(func() (err error) {
				defer s.whileReading(g.in.block, &err)
				*into, err = g.newest(ctx, conds[g.in.block], want, oldest, to)
				store.NoteProgress(ctx, int64(g.rows), 0)
				return err
			})
		}
		if err := work.Wait(); err != nil {
			return nil, err
		}
		if begun == 0 {
			return hits, nil
		}
		hits = append(hits, slices.Concat(found...)...)
		slices.SortStableFunc(hits, func(a, b hit) int {
			return cmp.Or(cmp.Compare(b.ts, a.ts), cmp.Compare(b.number, a.number))
		})
		if hits = hits[:min(len(hits), want)]; len(hits) == want {
			oldest = max(from, hits[want-1].ts)
		}
	}
}

// newest finds the newest rows of a row group in [from, to] that meet a condition, at most so many.
func (g *rowGroup) newest(ctx context.Context, cond condition, most int, from, to int64) ([]hit, error) {
	rows, err := within{"ts", from, to}.test(ctx, g, allRows(g.rows, 0, g.rows))
	if err != nil {
		return nil, err
	}
	if rows, err = cond.test(ctx, g, rows); err != nil {
		return nil, err
	}
	return g.hits(ctx, rows.newest(most)) // rows are in order of time
}

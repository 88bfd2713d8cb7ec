package events

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"triage/internal/model"
)

// mergeAll merges blocks until there is nothing worth merging. maintaining is held.
func (s *Store) mergeAll(ctx context.Context) error {
	for {
		s.mu.Lock()
		var inputs []*block
		for _, bs := range s.catalog.blocks {
			if inputs = pickMerge(bs, int64(s.opts.Retention)); inputs != nil {
				break
			}
		}
		s.mu.Unlock()
		if inputs == nil {
			return nil
		}
		if err := s.merge(ctx, inputs); err != nil {
			return err
		}
	}
}

// tier is the size class of a block; only blocks of like size are merged, so that no row is rewritten often.
func tier(rows int64) int {
	t := 0
	for limit := int64(4000); rows >= limit && t < 8; limit *= 8 {
		t++
	}
	return t
}

// pickMerge chooses blocks of one partition, given in order of time, to be merged into one; nil if none are worth it.
func pickMerge(bs []*block, retention int64) []*block {
	var total int64
	for _, b := range bs {
		total += b.layout.Rows
	}
	target := max(mergedRows, total/32)
	longest := int64(math.MaxInt64) // the time a merged block may span: retention drops whole blocks
	if retention > 0 {
		longest = max(retention/8, maxGap)
	}
	for t := range 8 {
		var run []*block
		var rows int64
		for i, b := range bs {
			fits := tier(b.layout.Rows) <= t && b.layout.Rows < target/2
			if fits && len(run) > 0 {
				last := run[len(run)-1].layout.MaxTime
				fits = rows+b.layout.Rows <= target && len(run) < mergeAtMost &&
					(b.layout.MinTime <= last || uint64(b.layout.MinTime)-uint64(last) <= uint64(maxGap)) &&
					span(run[0], b) <= uint64(longest)
			}
			if fits {
				run, rows = append(run, b), rows+b.layout.Rows
			}
			if (!fits || i == len(bs)-1) && len(run) >= mergeAtLeast {
				return run
			}
			if !fits {
				run, rows = nil, 0
				if tier(b.layout.Rows) <= t && b.layout.Rows < target/2 {
					run, rows = []*block{b}, b.layout.Rows
				}
			}
		}
	}
	if len(bs) <= maxBlocks {
		return nil
	}
	// Too many files for quick answers: merge the neighbours that hold least.
	best, least := -1, int64(math.MaxInt64)
	for i := 0; i+mergeAtLeast <= len(bs); i++ {
		var rows int64
		for _, b := range bs[i : i+mergeAtLeast] {
			rows += b.layout.Rows
		}
		if rows < least && rows <= 4*target {
			best, least = i, rows
		}
	}
	if best < 0 {
		return nil
	}
	return slices.Clone(bs[best : best+mergeAtLeast])
}

// span is the time from the oldest row of a to the newest of b.
func span(a, b *block) uint64 {
	if b.layout.MaxTime < a.layout.MinTime {
		return 0
	}
	return uint64(b.layout.MaxTime) - uint64(a.layout.MinTime)
}

// merge rewrites blocks of one partition as one.
func (s *Store) merge(ctx context.Context, inputs []*block) error {
	p := partition{inputs[0].Tenant, inputs[0].Signal}
	v := newSurvey(p.signal)
	for _, b := range inputs { // else a merge would give damaged rows a good checksum
		if whole, err := s.check(ctx, b, true); err != nil || !whole {
			return err // what is left is merged another time
		}
		v.block(b.layout)
	}
	l := v.layout()
	id := s.newID()
	w, err := newBlockWriter(s.disk, blockPath(s.opts.Dir, &block{ID: id, Tenant: p.tenant, Signal: p.signal}), p.signal, l)
	if err != nil {
		return diskError("begin block", err)
	}
	s.sketch(w)
	rows, err := s.mergeInto(ctx, w, inputs)
	if err == nil && rows != l.Rows {
		err = fmt.Errorf("merge blocks: read %d rows, their metadata says %d", rows, l.Rows)
	}
	if err != nil {
		w.abort()
		return err
	}
	merged, err := w.finish(p, true)
	if err != nil {
		return err
	}
	merged.ID = id
	if err := s.commit([]*block{merged}, inputs, nil); err != nil {
		return err // the file stays: see flush
	}
	s.metrics.merges.Inc()
	s.metrics.mergedRows.Add(float64(rows))
	s.metrics.mergedBytes.Add(float64(merged.Size))
	return nil
}

// mergeInto writes the rows of blocks, and says how many there were.
func (s *Store) mergeInto(ctx context.Context, w *blockWriter, inputs []*block) (rows int64, err error) {
	if !slices.ContainsFunc(inputs, func(b *block) bool { return !b.layout.fits(w.layout) }) {
		return s.mergeColumns(ctx, w, inputs)
	}
	return s.mergeRows(ctx, w, inputs)
}

// mergeRows is mergeInto for all blocks.
func (s *Store) mergeRows(ctx context.Context, w *blockWriter, inputs []*block) (rows int64, err error) {
	var from heapOfCursors
	defer func() {
		for _, c := range from {
			c.close()
		}
	}()
	for _, b := range inputs {
		c, err := openCursor(ctx, b)
		if err != nil {
			return 0, fmt.Errorf("merge block %s: %w", b.path, err)
		}
		from = append(from, c)
		if err := c.next(); err != nil {
			return 0, fmt.Errorf("merge block %s: %w", b.path, err)
		}
	}
	from = slices.DeleteFunc(from, func(c *cursor) bool {
		if c.empty() {
			c.close()
		}
		return c.empty()
	})
	heap.Init(&from)
	for len(from) > 0 {
		c := from[0]
		if err = c.write(w); err == nil {
			rows++
			err = c.next()
		}
		if err == nil && rows%batchRows == 0 {
			err = s.betweenRows(ctx)
		}
		if err != nil {
			return rows, fmt.Errorf("merge block %s: %w", c.block.path, err)
		}
		if c.empty() {
			c.close()
			heap.Pop(&from)
		} else {
			heap.Fix(&from, 0)
		}
	}
	return rows, nil
}

// betweenRows is what a merge does now and then: new rows don't wait for it, because it may take longer than the tail has
// room for.
func (s *Store) betweenRows(ctx context.Context) error {
	if err := s.flushSealed(ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// cursor walks the rows of one block in order.
type cursor struct {
	block  *block
	file   *os.File
	rows   pqarrow.RecordReader
	reader rowReader
	spans  []model.Span // of the present batch; the first is the present row
	logs   []model.LogRecord
}

func openCursor(ctx context.Context, b *block) (*cursor, error) {
	f, err := os.Open(b.path)
	if err != nil {
		return nil, err
	}
	pf, err := file.NewParquetReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	r, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: 2048}, memory.DefaultAllocator)
	if err != nil {
		f.Close()
		return nil, err
	}
	rows, err := r.GetRecordReader(ctx, nil, nil)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &cursor{block: b, file: f, rows: rows, reader: rowReader{shared: true}}, nil
}

func (c *cursor) empty() bool { return len(c.spans)+len(c.logs) == 0 }

// next goes to the next row.
func (c *cursor) next() (err error) {
	switch {
	case len(c.spans) > 1:
		c.spans = c.spans[1:]
		return nil
	case len(c.logs) > 1:
		c.logs = c.logs[1:]
		return nil
	}
	c.spans, c.logs = nil, nil
	for c.empty() {
		if !c.rows.Next() {
			return c.rows.Err()
		}
		if c.block.Signal == spans {
			c.spans, err = c.reader.spans(c.rows.RecordBatch())
		} else {
			c.logs, err = c.reader.logs(c.rows.RecordBatch())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) time() int64 {
	if len(c.spans) > 0 {
		return c.spans[0].Start
	}
	return c.logs[0].Time
}

func (c *cursor) write(w *blockWriter) error {
	if len(c.spans) > 0 {
		return w.span(&c.spans[0])
	}
	return w.log(&c.logs[0])
}

func (c *cursor) close() {
	c.rows.Release()
	c.file.Close()
}

// heapOfCursors keeps the cursor with the oldest row first.
type heapOfCursors []*cursor

func (h heapOfCursors) Len() int           { return len(h) }
func (h heapOfCursors) Less(i, j int) bool { return h[i].time() < h[j].time() }
func (h heapOfCursors) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heapOfCursors) Push(x any)        { *h = append(*h, x.(*cursor)) }
func (h *heapOfCursors) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

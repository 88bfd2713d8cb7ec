package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// A slice's rows are written to a small file for each question that comes while new ones arrive. Past freeChunks files
// that happens at most once in chunkPause, which is how stale an answer may be.
const (
	freeChunks = 8
	chunkPause = 250 * time.Millisecond
)

// partRows are the decoded rows of one partition.
type partRows struct {
	spans []*model.Span
	logs  []*model.LogRecord
}

func (p *partRows) len() int { return len(p.spans) + len(p.logs) }

// time is the time of a row, of whichever signal the partition has.
func (p *partRows) time(i int) int64 {
	if p.spans != nil {
		return p.spans[i].Start
	}
	return p.logs[i].Time
}

func (p *partRows) part(from, to int) *partRows {
	if p.spans != nil {
		return &partRows{spans: p.spans[from:to]}
	}
	return &partRows{logs: p.logs[from:to]}
}

func (p *partRows) sort() {
	sortRows(p.spans, func(s *model.Span) int64 { return s.Start })
	sortRows(p.logs, func(l *model.LogRecord) int64 { return l.Time })
}

// sortRows sorts rows by time, and leaves those of one time in their order. Times are taken out of the rows first, because
// rows lie all over memory.
func sortRows[T any](rows []*T, time func(*T) int64) {
	type place struct {
		at  int64
		row int
	}
	places := make([]place, len(rows))
	for i, r := range rows {
		places[i] = place{time(r), i}
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		return cmp.Compare(a.row, b.row)
	})
	sorted := make([]*T, len(rows))
	for i, p := range places {
		sorted[i] = rows[p.row]
	}
	copy(rows, sorted)
}

// decodeRecords decodes the rows of records that are of the wanted partition, of all where want is nil.
func decodeRecords(recs []*record, want *partition) (map[partition]*partRows, error) {
	out := map[partition]*partRows{}
	part := func(p partition) *partRows {
		if out[p] == nil {
			out[p] = &partRows{}
		}
		return out[p]
	}
	for _, rec := range recs {
		if rec.spans+rec.logs == 0 || want != nil && !rec.has(*want) {
			continue
		}
		_, rows, err := decodeRecord(rec.payload)
		if err != nil {
			return nil, fmt.Errorf("decode batch of %s: %w", time.Unix(0, rec.at).UTC().Format(time.RFC3339), err)
		}
		if want == nil || want.signal == spans {
			if len(rows.spans) > 0 {
				p := part(partition{rec.tenant, spans})
				for i := range rows.spans {
					p.spans = append(p.spans, &rows.spans[i])
				}
			}
		}
		if want == nil || want.signal == logs {
			if len(rows.logs) > 0 {
				p := part(partition{rec.tenant, logs})
				for i := range rows.logs {
					p.logs = append(p.logs, &rows.logs[i])
				}
			}
		}
	}
	return out, nil
}

// has tells whether a record has rows of a partition.
func (r *record) has(p partition) bool {
	return r.tenant == p.tenant && (p.signal == spans && r.spans > 0 || p.signal == logs && r.logs > 0)
}

// writeRows writes sorted rows of one partition to a file.
func (s *Store) writeRows(path string, p partition, rows *partRows, durable bool) (*block, error) {
	v := newSurvey(p.signal)
	for _, r := range rows.spans {
		v.span(r)
	}
	for _, r := range rows.logs {
		v.log(r)
	}
	w, err := newBlockWriter(s.disk, path, p.signal, v.layout())
	if err != nil {
		return nil, diskError("begin block", err)
	}
	if durable {
		s.sketch(w)
	} else {
		w.filters = nil // the tail's files are read once or twice
	}
	for _, r := range rows.spans {
		if err := w.span(r); err != nil {
			w.abort()
			return nil, err
		}
	}
	for _, r := range rows.logs {
		if err := w.log(r); err != nil {
			w.abort()
			return nil, err
		}
	}
	return w.finish(p, durable)
}

// sketch makes a writer of many spans write sketches of them.
func (s *Store) sketch(w *blockWriter) {
	if w.signal == spans && w.layout.Rows >= s.opts.sketchFrom {
		w.sketches = sketches{}
	}
}

// finish closes the file and describes it.
func (w *blockWriter) finish(p partition, durable bool) (*block, error) {
	if err := w.close(durable); err != nil {
		return nil, err
	}
	b := &block{Tenant: p.tenant, Signal: p.signal, Size: w.size, CRC: w.sum.Sum32(), Meta: w.meta, path: w.name, layout: w.layout}
	b.describe()
	return b, nil
}

// export writes what a partition's tail holds in the time range, and no file has yet, to files.
func (s *Store) export(p partition, from, to int64) error {
	s.exporting.Lock()
	defer s.exporting.Unlock()
	type job struct {
		slice *slice
		recs  []*record
		upTo  int
		path  string
	}
	var jobs []job
	s.mu.Lock()
	for _, sl := range s.slices {
		ch := sl.chunks[p]
		if ch == nil {
			ch = &chunks{}
			sl.chunks[p] = ch
		}
		fresh := sl.recs[ch.exported:]
		if !slices.ContainsFunc(fresh, func(r *record) bool { return r.has(p) && r.min <= to && r.max >= from }) {
			continue
		}
		if len(ch.files) >= freeChunks && s.opts.Now().Sub(ch.last) < chunkPause {
			continue
		}
		s.chunk++
		jobs = append(jobs, job{sl, slices.Clone(fresh), len(sl.recs),
			filepath.Join(s.dir("tail"), fmt.Sprintf("%s-%d-%d.parquet", p.signal, sl.segment, s.chunk))})
	}
	s.mu.Unlock()
	for _, j := range jobs {
		parts, err := decodeRecords(j.recs, &p)
		if err != nil {
			return err
		}
		rows := parts[p]
		rows.sort()
		b, err := s.writeRows(j.path, p, rows, false)
		if err != nil {
			return fmt.Errorf("prepare recent rows for a question: %w", err)
		}
		s.mu.Lock()
		if slices.Contains(s.slices, j.slice) {
			ch := j.slice.chunks[p]
			ch.files, ch.exported, ch.last = append(ch.files, b), j.upTo, s.opts.Now()
		} else {
			b.dead = true // flushed meanwhile: its rows are in blocks
			s.removeDead(b)
		}
		s.mu.Unlock()
	}
	return nil
}

// partialSnapshot takes the blocks of a partition that may have rows in [from, to], of the tail too, and says what is missing.
// Recent rows are missing while the disk is too full to write them out.
func (s *Store) partialSnapshot(ctx context.Context, p partition, from, to int64) (*snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	full := ""
	if err := s.export(p, from, to); errors.Is(err, store.ErrFull) {
		full = err.Error()
	} else if err != nil {
		return nil, err
	}
	if err := s.checkBlocks(ctx, func() []*block {
		return slices.DeleteFunc(slices.Clone(s.catalog.blocks[p]), func(b *block) bool {
			return !b.overlaps(from, to) && b.Meta != 0 // without a checksum its times are not sure either
		})
	}); err != nil {
		return nil, err
	}
	snap := &snapshot{store: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	snap.partial, snap.full = cmp.Or(s.missing(p, from, to), full), full != ""
	take := func(bs []*block) {
		for _, b := range bs {
			if b.overlaps(from, to) {
				b.refs++
				snap.blocks = append(snap.blocks, b)
			}
		}
	}
	take(s.catalog.blocks[p])
	for _, sl := range s.slices {
		if ch := sl.chunks[p]; ch != nil {
			take(ch.files)
		}
	}
	return snap, nil
}

// unref gives blocks back.
func (s *Store) unref(bs []*block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range bs {
		b.refs--
		s.removeDead(b)
	}
}

// removeDead removes the file of a block that left the catalog once no question reads it. Store.mu is held.
func (s *Store) removeDead(b *block) {
	if !b.dead || b.refs > 0 {
		return
	}
	s.catalog.filters.forget(b)
	s.catalog.footers.forget(b)
	if err := ignoreMissing(s.disk.Remove(b.path)); err != nil {
		s.log.Warn("remove block; it will be removed at the next start", "block", b.path, "error", err)
	}
}

// begin starts a question. The returned function ends it.
func (s *Store) begin(ctx context.Context, question string) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	s.queries.Add(1)
	start := time.Now()
	return func() {
		s.metrics.querySeconds.WithLabelValues(question).Observe(time.Since(start).Seconds())
		s.queries.Done()
	}, nil
}

package events

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"
)

const (
	retryPause = 5 * time.Second // after a flush that failed
	// maxGap parts the rows of a slice into blocks where no row lies for so long: a clock set to 1970 or 2100 gets a block
	// of its own instead of stretching one over all time.
	maxGap  = int64(time.Hour)
	maxCuts = 8
	// futureSlack is how far ahead of the clock the newest row may be to count for retention.
	futureSlack = time.Hour

	mergeAtLeast = 8
	mergeAtMost  = 16
	mergedRows   = 1_000_000
	maxBlocks    = 64 // of a partition; beyond that blocks are merged whatever their size
)

// Run flushes, merges and drops blocks until ctx ends. While nothing arrives it sleeps.
func (s *Store) Run(ctx context.Context) error {
	checked := make(chan struct{})
	go func() {
		defer close(checked)
		s.checkInBackground(ctx)
	}()
	defer func() { <-checked }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.work:
		case <-timer.C:
		}
		if wait := s.maintain(ctx); wait > 0 {
			timer.Reset(wait)
		}
	}
}

// Maintain does once what Run does as time passes, for callers whose time is not the machine's (Options.Now) and who want
// the same blocks from the same rows. It and Run exclude each other.
func (s *Store) Maintain(ctx context.Context) error {
	s.maintain(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(ctx.Err(), s.flushErr)
}

// maintain does what there is to do and says when to look again, 0 for not before rows arrive.
func (s *Store) maintain(ctx context.Context) time.Duration {
	if err := s.sealAged(ctx); err != nil {
		return retryPause
	}
	s.maintaining.Lock()
	defer s.maintaining.Unlock()
	flushed := s.flushSealed(ctx)
	if flushed != nil && ctx.Err() == nil {
		s.log.Error("write out recent rows; they stay in the WAL", "error", flushed)
	}
	merged := error(nil)
	if flushed == nil {
		if merged = s.mergeAll(ctx); merged != nil && ctx.Err() == nil {
			s.log.Error("merge blocks", "error", merged)
		}
	}
	if err := s.retain(); err != nil { // also when the disk is full: it makes room
		s.log.Error("drop old blocks", "error", err)
	}
	if flushed != nil || merged != nil {
		return retryPause
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.slices) == 0 {
		return 0
	}
	return max(time.Millisecond, s.slices[0].opened.Add(s.opts.sliceAge).Sub(s.opts.Now()))
}

// sealAged closes the open slice when it is old enough.
func (s *Store) sealAged(ctx context.Context) error {
	s.mu.Lock()
	n := len(s.slices)
	aged := n > 0 && !s.slices[n-1].sealed && s.opts.Now().Sub(s.slices[n-1].opened) >= s.opts.sliceAge
	s.mu.Unlock()
	if !aged {
		return nil
	}
	p, err := s.wal.submit(nil)
	if err != nil {
		return err
	}
	select {
	case err := <-p.result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flushSealed writes closed slices out as blocks, oldest first. maintaining is held.
func (s *Store) flushSealed(ctx context.Context) error {
	for {
		s.mu.Lock()
		var sl *slice
		if len(s.slices) > 0 && s.slices[0].sealed {
			sl = s.slices[0]
		}
		s.mu.Unlock()
		if sl == nil {
			return nil
		}
		err := s.flush(ctx, sl)
		s.mu.Lock()
		s.flushErr = err
		s.mu.Unlock()
		if err != nil {
			s.metrics.flushFailures.Inc()
			return err
		}
		s.metrics.flushes.Inc()
	}
}

// flush writes one slice out: blocks, then the IDs of its batches, then the manifest, which decides; then the segment goes.
func (s *Store) flush(ctx context.Context, sl *slice) error {
	parts, err := decodeRecords(sl.recs, nil)
	if err != nil {
		return fmt.Errorf("flush WAL segment %d: %w", sl.segment, err)
	}
	var fresh []*block
	drop := func() {
		for _, b := range fresh {
			_ = s.disk.Remove(b.path)
		}
	}
	for p, rows := range parts {
		if err := s.disk.MkdirAll(filepath.Join(s.dir("blocks"), tenantDir(p.tenant))); err != nil {
			drop()
			return diskError("make tenant directory", err)
		}
		if err := s.disk.SyncDir(s.dir("blocks")); err != nil { // else a power failure may take it with its blocks
			drop()
			return diskError("make tenant directory", err)
		}
		rows.sort()
		for _, part := range cutAtGaps(rows) {
			if err := ctx.Err(); err != nil {
				drop()
				return err
			}
			id := s.newID()
			b, err := s.writeRows(blockPath(s.opts.Dir, &block{ID: id, Tenant: p.tenant, Signal: p.signal}), p, part, true)
			if err != nil {
				drop()
				return fmt.Errorf("flush WAL segment %d: %w", sl.segment, err)
			}
			b.ID = id
			fresh = append(fresh, b)
		}
	}
	ids, err := s.writeIDs(sl)
	if err != nil {
		drop()
		return err
	}
	// When this fails nobody knows which manifest a restart will find, so the blocks stay; what no manifest names is
	// removed at the next start.
	if err := s.commit(fresh, nil, sl); err != nil {
		return err
	}
	for _, b := range fresh {
		s.metrics.flushedBytes.Add(float64(b.Size))
	}
	path := segmentName(s.dir("wal"), sl.segment, segmentSuffix)
	if sl.damaged {
		err = s.moveToQuarantine(path, filepath.Join(s.dir("quarantine"), filepath.Base(path)), errDamaged)
	} else {
		err = s.disk.Remove(path)
	}
	if err = ignoreMissing(err); err != nil {
		s.log.Warn("remove WAL segment; it will be removed at the next start", "segment", path, "error", err)
	}
	s.forgetIDs(ids)
	return nil
}

// cutAtGaps parts sorted rows where nothing happened for long, at the longest gaps if there are many.
func cutAtGaps(rows *partRows) []*partRows {
	type gap struct {
		at     int
		length uint64
	}
	var gaps []gap
	for i := 1; i < rows.len(); i++ {
		// Unsigned, because the distance between two int64 may exceed one.
		if d := uint64(rows.time(i)) - uint64(rows.time(i-1)); d > uint64(maxGap) {
			gaps = append(gaps, gap{i, d})
		}
	}
	slices.SortFunc(gaps, func(a, b gap) int {
		switch {
		case a.length > b.length:
			return -1
		case a.length < b.length:
			return 1
		}
		return a.at - b.at
	})
	gaps = gaps[:min(len(gaps), maxCuts)]
	slices.SortFunc(gaps, func(a, b gap) int { return a.at - b.at })
	var out []*partRows
	from := 0
	for _, g := range gaps {
		out = append(out, rows.part(from, g.at))
		from = g.at
	}
	return append(out, rows.part(from, rows.len()))
}

func (s *Store) newID() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.catalog.nextID
	s.catalog.nextID++
	return id
}

// commit makes added blocks count and removed ones not, and with them the slice they were made of, in one step: first on
// disk, then in memory. maintaining is held.
func (s *Store) commit(added, removed []*block, flushed *slice) error {
	s.mu.Lock()
	isRemoved := func(o *block) bool {
		return slices.ContainsFunc(removed, func(b *block) bool { return b.ID == o.ID })
	}
	m := manifest{Flushed: s.catalog.flushed, NextID: s.catalog.nextID, Blocks: slices.Clone(added)}
	m.Blocks = append(m.Blocks, slices.DeleteFunc(slices.Clone(s.catalog.lost), isRemoved)...)
	for _, b := range s.catalog.all() {
		if !slices.Contains(removed, b) {
			m.Blocks = append(m.Blocks, b)
		}
	}
	for i, b := range m.Blocks { // a question may check a block while the manifest is written
		c := *b
		m.Blocks[i] = &c
	}
	s.mu.Unlock()
	if flushed != nil {
		m.Flushed = flushed.segment
	}
	if err := writeManifest(s.disk, s.opts.Dir, m); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catalog.flushed = m.Flushed
	s.catalog.add(added...)
	s.catalog.remove(removed...)
	s.catalog.lost = slices.DeleteFunc(s.catalog.lost, isRemoved)
	for _, b := range removed {
		s.forgetQuarantined(b.path)
		b.dead = true
		s.removeDead(b)
	}
	if flushed != nil {
		s.slices = slices.DeleteFunc(s.slices, func(o *slice) bool { return o == flushed })
		for _, ch := range flushed.chunks {
			for _, b := range ch.files {
				b.dead = true
				s.removeDead(b)
			}
		}
	}
	return nil
}

// writeIDs keeps the IDs of a slice's batches beyond its segment.
func (s *Store) writeIDs(sl *slice) (f idFile, err error) {
	content := []byte(walMagic)
	for _, r := range sl.recs {
		if r.id != ([32]byte{}) {
			content = appendFrame(content, encodeID(r.tenant, r.id, r.at))
			f.newest = max(f.newest, r.at)
		}
	}
	if len(content) == len(walMagic) {
		return f, nil
	}
	f.path = segmentName(s.dir("wal"), sl.segment, idsSuffix)
	if err := writeDurably(s.disk, f.path, content); err != nil {
		return f, diskError("keep batch IDs", err)
	}
	return f, nil
}

// forgetIDs takes a new file of IDs into account and drops what is older than ten minutes.
func (s *Store) forgetIDs(fresh idFile) {
	oldest := s.opts.Now().Add(-remember).UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	if fresh.path != "" {
		s.idFiles = append(s.idFiles, fresh)
	}
	s.idFiles = slices.DeleteFunc(s.idFiles, func(f idFile) bool {
		return f.newest < oldest && ignoreMissing(s.disk.Remove(f.path)) == nil
	})
	for k, at := range s.ids {
		if at < oldest {
			delete(s.ids, k)
		}
	}
}

// retain drops the blocks that retention no longer covers. maintaining is held.
func (s *Store) retain() error {
	s.mu.Lock()
	blocks := s.catalog.all()
	lost := slices.Clone(s.catalog.lost)
	s.mu.Unlock()
	latest := s.opts.Now().Add(futureSlack).UnixNano()
	newest, total := int64(math.MinInt64), int64(0)
	for _, b := range blocks {
		total += b.Size
		if b.layout.MaxTime <= latest {
			newest = max(newest, b.layout.MaxTime)
		}
	}
	var gone []*block
	var rowsByAge, rowsBySize int64
	if s.opts.Retention > 0 && newest > math.MinInt64+int64(s.opts.Retention) {
		for _, b := range blocks {
			if b.layout.MaxTime < newest-int64(s.opts.Retention) {
				gone = append(gone, b)
				rowsByAge += b.layout.Rows
				total -= b.Size
			}
		}
		for _, b := range lost {
			if b.layout.MaxTime < newest-int64(s.opts.Retention) {
				gone = append(gone, b)
			}
		}
	}
	if s.opts.MaxBytes > 0 && total > s.opts.MaxBytes {
		slices.SortFunc(blocks, func(a, b *block) int {
			if a.layout.MaxTime < b.layout.MaxTime {
				return -1
			}
			return 1
		})
		for _, b := range blocks {
			if total <= s.opts.MaxBytes {
				break
			}
			if !slices.Contains(gone, b) {
				gone = append(gone, b)
				rowsBySize += b.layout.Rows
				total -= b.Size
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := s.commit(nil, gone, nil); err != nil {
		return err
	}
	s.metrics.droppedAge.Add(float64(rowsByAge))
	s.metrics.droppedSize.Add(float64(rowsBySize))
	s.log.Info("dropped old blocks", "blocks", len(gone), "rows_by_age", rowsByAge, "rows_by_size", rowsBySize)
	return nil
}

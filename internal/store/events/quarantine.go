package events

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"triage/internal/store"
)

// A damaged file is moved to DIR/quarantine and stays there until someone looks at it or retention drops its block. A
// block read at start is compared with its checksum before the first question or merge reads it; Run does that in the
// background, newest first. When DuckDB fails, all blocks are compared again before they are next read.

// lostRange is a time range of which rows of a WAL segment are lost, of any tenant and signal.
type lostRange struct{ from, to int64 }

// errDamaged is a file whose bytes are not those that were written.
var errDamaged = errors.New("its bytes are not those that were written")

func (s *Store) quarantinePath(b *block) string {
	return filepath.Join(s.dir("quarantine"), tenantDir(b.Tenant)+"-"+filepath.Base(blockPath(s.opts.Dir, b)))
}

// moveToQuarantine moves a damaged file away and names it in the log, the metrics and Stats.
func (s *Store) moveToQuarantine(from, to string, reason error) error {
	if err := moveDurably(s.disk, from, to); err != nil {
		return fmt.Errorf("move damaged %s to quarantine: %w", from, err)
	}
	s.log.Error("damaged file moved to quarantine", "file", from, "to", to, "error", reason)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteQuarantined(to)
	return nil
}

// noteQuarantined remembers a file in quarantine. mu is held.
func (s *Store) noteQuarantined(path string) {
	if !slices.Contains(s.quarantined, path) {
		s.quarantined = append(s.quarantined, path)
		slices.Sort(s.quarantined)
		s.metrics.quarantined.WithLabelValues(filepath.Base(path)).Set(1)
	}
}

// moveDurably renames a file into another directory.
func moveDurably(disk FS, from, to string) error {
	if err := disk.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(disk.SyncDir(filepath.Dir(to)), disk.SyncDir(filepath.Dir(from)))
}

// openQuarantine takes up what is in quarantine, and moves the blocks there whose footer cannot be read.
func (s *Store) openQuarantine() error {
	dir := s.dir("quarantine")
	entries, err := s.disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		s.noteQuarantined(path)
		s.log.Warn("there is a damaged file in quarantine", "file", path)
		if _, ok := segmentNumber(e.Name(), segmentSuffix); ok {
			content, err := s.disk.ReadFile(path)
			if err != nil {
				return err
			}
			s.lostRows = append(s.lostRows, rangeOfSegment(content))
		}
	}
	for _, b := range s.catalog.all() {
		b.unchecked = true
		if b.Rows == 0 { // of a manifest that does not describe its blocks
			b.describe()
		}
	}
	for _, b := range s.catalog.lost {
		to := s.quarantinePath(b)
		switch {
		case slices.Contains(s.quarantined, to):
			b.path = to
		case b.unreadable != nil && !isPathError(b.unreadable):
			if err := s.moveToQuarantine(b.path, to, b.unreadable); err != nil {
				return err
			}
			b.path = to
		}
		if l, err := readLayout(b.path, b.Meta); err == nil {
			b.layout = l
		} else if b.Rows > 0 {
			b.layout = &layout{MinTime: b.MinTime, MaxTime: b.MaxTime, Rows: b.Rows}
		} else {
			b.layout = &layout{MinTime: math.MinInt64, MaxTime: math.MaxInt64}
		}
	}
	return nil
}

// isPathError tells that a file could not be opened or read at all, which says nothing about its bytes.
func isPathError(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p)
}

// describe copies what the manifest says of a block from its layout.
func (b *block) describe() {
	b.MinTime, b.MaxTime, b.Rows = b.layout.MinTime, b.layout.MaxTime, b.layout.Rows
}

// rangeOfSegment is the time that the readable rows of a damaged segment span, and a minute around it: the lost ones were
// sent at the same time. Without any it is all time.
func rangeOfSegment(content []byte) lostRange {
	r := lostRange{math.MaxInt64, math.MinInt64}
	_, _ = readSegment(content, false, func(payload []byte) error {
		d := decoder{b: payload}
		if rec := d.header(); d.err == nil && rec.spans+rec.logs > 0 {
			r.from, r.to = min(r.from, rec.min), max(r.to, rec.max)
		}
		return d.err
	})
	if r.from > r.to {
		return lostRange{math.MinInt64, math.MaxInt64}
	}
	return lostRange{addTime(r.from, -time.Minute), addTime(r.to, time.Minute)}
}

// verify compares a file with what the manifest says of it: errDamaged, or an error of the system's.
func verify(ctx context.Context, b *block) error {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, size := crc32.New(castagnoli), int64(0)
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		size += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if size != b.Size || sum.Sum32() != b.CRC {
		return fmt.Errorf("%w: %d bytes with checksum %08x, expected %d with %08x", errDamaged, size, sum.Sum32(), b.Size, b.CRC)
	}
	return nil
}

// check verifies a block and moves it to quarantine if it is damaged, which is no error; again even if that was done
// before. The caller holds a reference.
func (s *Store) check(ctx context.Context, b *block, again bool) (whole bool, err error) {
	s.checking.Lock()
	defer s.checking.Unlock()
	s.mu.Lock()
	known, there := !b.unchecked && !again, slices.Contains(s.catalog.blocks[partition{b.Tenant, b.Signal}], b)
	s.mu.Unlock()
	if known || !there {
		return there, nil
	}
	err = verify(ctx, b)
	meta := uint32(0)
	if err == nil && b.Meta == 0 {
		text, rerr := readFooter(b.path)
		meta, err = crc32.Checksum([]byte(text), castagnoli), rerr
	}
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing && !errors.Is(err, errDamaged) {
		return false, fmt.Errorf("check block: %w", err)
	}
	lost := &block{ID: b.ID, Tenant: b.Tenant, Signal: b.Signal, Size: b.Size, CRC: b.CRC, MinTime: b.MinTime, MaxTime: b.MaxTime, Rows: b.Rows, Meta: b.Meta,
		path: b.path, layout: b.layout}
	switch {
	case missing:
		s.log.Error("block is missing, its rows are missing from every answer", "block", b.path)
	case err != nil:
		lost.path = s.quarantinePath(b)
		if err := s.moveToQuarantine(b.path, lost.path, err); err != nil {
			return false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		if b.unchecked = false; b.Meta == 0 {
			b.Meta = meta
		}
		return true, nil
	}
	s.metrics.blocksLost.Inc()
	s.catalog.remove(b)
	s.catalog.lost = append(s.catalog.lost, lost)
	return false, nil
}

// checkBlocks verifies those of some blocks that were not since they were opened.
func (s *Store) checkBlocks(ctx context.Context, choose func() []*block) error {
	s.mu.Lock()
	var todo []*block
	for _, b := range choose() {
		if b.unchecked {
			b.refs++
			todo = append(todo, b)
		}
	}
	s.mu.Unlock()
	defer s.unref(todo)
	slices.SortFunc(todo, func(a, b *block) int { return byTime(b, a) })
	for _, b := range todo {
		if _, err := s.check(ctx, b, false); err != nil {
			return err
		}
	}
	return nil
}

// checkInBackground verifies all blocks that were there at start.
func (s *Store) checkInBackground(ctx context.Context) {
	if err := s.checkBlocks(ctx, s.catalogAll); err != nil && ctx.Err() == nil {
		s.log.Warn("check blocks; the rest is checked when it is first read", "error", err)
	}
}

func (s *Store) catalogAll() []*block { return s.catalog.all() }

// doubt makes all blocks be verified again before they are next read.
func (s *Store) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.catalog.all() {
		b.unchecked = true
	}
}

// missing says what of a partition and time cannot be read, "" if nothing. mu is held.
func (s *Store) missing(p partition, from, to int64) string {
	blocks, segments := 0, 0
	for _, b := range s.catalog.lost {
		if b.Tenant == p.tenant && b.Signal == p.signal && b.overlaps(from, to) {
			blocks++
		}
	}
	for _, r := range s.lostRows {
		if r.from <= to && r.to >= from {
			segments++
		}
	}
	switch {
	case blocks > 0 && segments > 0:
		return fmt.Sprintf("%d blocks and parts of %d WAL segments cannot be read", blocks, segments)
	case blocks > 0:
		return fmt.Sprintf("%d blocks cannot be read", blocks)
	case segments > 0:
		return fmt.Sprintf("parts of %d WAL segments cannot be read", segments)
	}
	return ""
}

// snapshot is partialSnapshot for questions that cannot say that their answer is partial: it is store.ErrPartial then, but
// for callers who allow it.
func (s *Store) snapshot(ctx context.Context, p partition, from, to int64) (*snapshot, error) {
	snap, err := s.partialSnapshot(ctx, p, from, to)
	if err != nil {
		return nil, err
	}
	if snap.partial != "" && !store.NoteMissing(ctx, snap.partial) {
		snap.release()
		return nil, fmt.Errorf("%s: %w", snap.partial, store.ErrPartial)
	}
	return snap, nil
}

// forgetQuarantined is for a file that is dropped with its block. mu is held.
func (s *Store) forgetQuarantined(path string) {
	if i := slices.Index(s.quarantined, path); i >= 0 {
		s.quarantined = slices.Delete(s.quarantined, i, i+1)
		s.metrics.quarantined.DeleteLabelValues(filepath.Base(path))
	}
}

// incompleteTrace is store.ErrPartial if spans of the traces asked for may be among what cannot be read: of one trace that was
// found, near its spans; else anywhere in [from, to]. A caller may allow that for what was found.
func (s *Store) incompleteTrace(ctx context.Context, snap *snapshot, tenant string, hits []hit, traces int, from, to int64) error {
	if snap.partial == "" {
		return nil
	}
	if traces == 1 && len(hits) > 0 && !snap.full {
		first, last := hits[0].ts, hits[0].ts
		for _, h := range hits {
			first, last = min(first, h.ts), max(last, h.ts)
		}
		from, to = max(from, addTime(first, -slackBefore)), min(to, addTime(last, slackAfter))
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.missing(partition{tenantOf(tenant), spans}, from, to) == "" {
			return nil
		}
	}
	if (traces > 1 || len(hits) > 0) && store.NoteMissing(ctx, snap.partial) {
		return nil
	}
	return fmt.Errorf("trace: %s: %w", snap.partial, store.ErrPartial)
}

// dropFlushed removes a segment whose rows are in blocks, or moves it to quarantine if rows of it are lost.
func (s *Store) dropFlushed(path string) error {
	content, err := s.disk.ReadFile(path)
	if err != nil {
		return err
	}
	bad, err := readSegment(content, false, func(payload []byte) error {
		d := decoder{b: payload}
		d.header()
		return d.err
	})
	if err != nil {
		return err
	}
	if len(bad) == 0 {
		return s.disk.Remove(path)
	}
	s.lostRows = append(s.lostRows, rangeOfSegment(content))
	return s.moveToQuarantine(path, filepath.Join(s.dir("quarantine"), filepath.Base(path)), errDamaged)
}

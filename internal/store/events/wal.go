package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"triage/internal/store"
)

// The WAL is a directory of segments. Batches are appended to the newest; one fsync makes all durable that waited for
// it. docs/format/wal.md describes the bytes.

const (
	walMagic      = "TRIAGEW\x01" // the last byte is the version
	frameHeader   = 8             // length and checksum
	maxRecord     = 256 << 20
	maxInFlight   = 64 << 20 // bytes of batches waiting for the disk; further ones are refused as overload
	segmentSuffix = ".wal"
	idsSuffix     = ".ids"
)

// segmentName is the file of a segment.
func segmentName(dir string, n uint64, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("%016d%s", n, suffix))
}

// segmentNumber reads a number back from a file's name.
func segmentNumber(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil
}

// appendFrame appends a payload with its length and checksum.
func appendFrame(b, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}

// damage is a part of a segment that cannot be read.
type damage struct {
	offset, length int64
	// torn damage is the unfinished end of the newest segment: a write that was never acknowledged.
	torn bool
}

// readSegment calls fn with the payload of each whole record of a segment. newest tells that a crash may have cut off its
// end. Whatever cannot be read is reported, never passed over in silence.
func readSegment(b []byte, newest bool, fn func(payload []byte) error) (bad []damage, err error) {
	size := int64(len(b))
	if size < int64(len(walMagic)) || string(b[:len(walMagic)]) != walMagic {
		torn := newest && (size < int64(len(walMagic)) || allZero(b))
		if size > 0 {
			bad = append(bad, damage{0, size, torn})
		}
		return bad, nil
	}
	for at := int64(len(walMagic)); at < size; {
		left := size - at
		if left < frameHeader {
			return append(bad, damage{at, left, newest}), nil
		}
		length := int64(binary.LittleEndian.Uint32(b[at:]))
		sum := binary.LittleEndian.Uint32(b[at+4:])
		if length == 0 || length > maxRecord || length > left-frameHeader {
			// The length is wrong or what it promises was never written.
			if next := nextRecord(b, at+1); next > 0 {
				bad = append(bad, damage{at, next - at, false})
				at = next
				continue
			}
			return append(bad, damage{at, left, newest && (length > left-frameHeader || allZero(b[at:]))}), nil
		}
		payload := b[at+frameHeader : at+frameHeader+length : at+frameHeader+length]
		end := at + frameHeader + length
		if crc32.Checksum(payload, castagnoli) != sum {
			if end != size && !isRecord(b, end) && !allZero(b[end:]) { // then the length may be wrong, too
				if next := nextRecord(b, at+1); next > 0 {
					end = next
				}
			}
			bad = append(bad, damage{at, end - at, newest && (end == size || allZero(b[end:]))})
		} else if err := fn(payload); err != nil {
			if !errors.Is(err, errRecord) {
				return bad, err
			}
			bad = append(bad, damage{at, end - at, false})
		}
		at = end
	}
	return bad, nil
}

// nextRecord finds the first whole record from an offset on, after a length that is wrong; 0 if there is none.
func nextRecord(b []byte, from int64) int64 {
	for at := from; at < int64(len(b)); at++ {
		if isRecord(b, at) {
			return at
		}
	}
	return 0
}

// isRecord tells whether a frame with a record stands at an offset.
func isRecord(b []byte, at int64) bool {
	left := int64(len(b)) - at - frameHeader
	if left < 1 || b[at+frameHeader] != recordVersion {
		return false
	}
	length := int64(binary.LittleEndian.Uint32(b[at:]))
	if length == 0 || length > maxRecord || length > left {
		return false
	}
	return crc32.Checksum(b[at+frameHeader:][:length], castagnoli) == binary.LittleEndian.Uint32(b[at+4:])
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// wal writes segments. One goroutine, the committer, writes and syncs for all callers of append.
type wal struct {
	disk FS
	dir  string
	// admit takes the records that have become durable, in the order of the segment; dup tells whether a batch was stored
	// before. Both are called by the committer only.
	admit func(segment uint64, recs []*record)
	dup   func(*record) bool
	// sealed is told of each segment that was closed, synced of each sync.
	sealed func(segment uint64)
	synced func()
	// limit is the size past which a segment is closed.
	limit int64

	mu       sync.Mutex // guards queue, inFlight and closed
	queue    []*pending
	inFlight int
	closed   bool
	wake     chan struct{} // holds one: the committer looks at the whole queue each time
	done     chan struct{} // closed when the committer has ended

	// The committer's own.
	file    File
	segment uint64 // number of the open or, if file is nil, the next segment
	size    int64  // bytes of the open segment that are known to be good
	scratch []byte
}

// pending is a batch on its way to the disk, or (without a record) a wish for a new segment.
type pending struct {
	rec    *record
	dup    bool
	result chan error
}

// submit queues a record, or a wish for a new segment, and returns what its result will arrive at.
func (w *wal) submit(rec *record) (*pending, error) {
	p := &pending{rec: rec, result: make(chan error, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, store.ErrClosed
	}
	if rec != nil {
		if len(rec.payload) > maxRecord {
			return nil, fmt.Errorf("batch of %d bytes: larger than the %d a record can have", len(rec.payload), maxRecord)
		}
		if w.inFlight > 0 && w.inFlight+len(rec.payload) > maxInFlight {
			return nil, store.ErrOverloaded
		}
		w.inFlight += len(rec.payload)
	}
	w.queue = append(w.queue, p)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return p, nil
}

// run is the committer. It ends when the WAL is closed and the queue is empty.
func (w *wal) run() {
	defer close(w.done)
	for range w.wake {
		w.mu.Lock()
		group, closed := w.queue, w.closed
		w.queue = nil
		w.mu.Unlock()
		w.commit(group)
		size := 0
		for _, p := range group {
			if p.rec != nil {
				size += len(p.rec.payload)
			}
		}
		w.mu.Lock()
		w.inFlight -= size
		w.mu.Unlock()
		if closed {
			_ = w.rotate()
			return
		}
	}
}

// close lets the committer finish what is queued and waits for it.
func (w *wal) close() {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if !closed {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	<-w.done
}

// commit writes a group of records with one sync.
func (w *wal) commit(group []*pending) {
	for len(group) > 0 {
		// Wishes for a new segment part the group.
		n := slices.IndexFunc(group, func(p *pending) bool { return p.rec == nil })
		if n == 0 {
			group[0].result <- w.rotate()
			group = group[1:]
			continue
		}
		if n < 0 {
			n = len(group)
		}
		w.commitRecords(group[:n])
		group = group[n:]
	}
}

func (w *wal) commitRecords(group []*pending) {
	w.scratch = w.scratch[:0]
	type identity struct {
		tenant string
		id     [32]byte
	}
	seen := map[identity]bool{}
	var recs []*record
	for _, p := range group {
		if p.rec.id != ([32]byte{}) {
			id := identity{p.rec.tenant, p.rec.id}
			if seen[id] || w.dup(p.rec) {
				p.dup = true
				continue
			}
			seen[id] = true
		}
		w.scratch = appendFrame(w.scratch, p.rec.payload)
		recs = append(recs, p.rec)
	}
	var err error
	if len(recs) > 0 {
		if err = w.write(w.scratch); err == nil {
			w.admit(w.segment, recs)
			if w.size >= w.limit {
				_ = w.rotate() // what it holds is synced already
			}
		}
	}
	if cap(w.scratch) > 4<<20 {
		w.scratch = nil
	}
	for _, p := range group {
		p.result <- err
	}
}

// write appends bytes to the open segment and syncs them. After an error the segment is closed at its last good byte:
// after a failed sync nobody knows what of the file's cache was dropped, so nothing more is written to it.
func (w *wal) write(b []byte) error {
	if w.file == nil {
		f, err := w.disk.Create(segmentName(w.dir, w.segment, segmentSuffix))
		if err != nil {
			return diskError("create WAL segment", err)
		}
		if _, err = f.Write([]byte(walMagic)); err == nil {
			err = w.disk.SyncDir(w.dir)
		}
		if err != nil {
			return diskError("create WAL segment", errors.Join(err, f.Close()))
		}
		w.file, w.size = f, int64(len(walMagic))
	}
	_, err := w.file.Write(b)
	if err == nil {
		err = w.file.Sync()
		w.synced()
	}
	if err == nil {
		w.size += int64(len(b))
		return nil
	}
	err = diskError(fmt.Sprintf("append to WAL segment %d", w.segment), err)
	if terr := w.file.Truncate(w.size); terr != nil {
		err = errors.Join(err, terr)
	} else if _, serr := w.file.Seek(w.size, io.SeekStart); serr != nil {
		err = errors.Join(err, serr)
	}
	return errors.Join(err, w.rotate())
}

// rotate closes the open segment; the next record begins a new one.
func (w *wal) rotate() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	w.sealed(w.segment)
	w.segment++
	if err != nil {
		return fmt.Errorf("close WAL segment %d: %w", w.segment-1, err)
	}
	return nil
}

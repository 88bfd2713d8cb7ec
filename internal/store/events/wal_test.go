package events

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

func frames(payloads ...string) []byte {
	b := []byte(walMagic)
	for _, p := range payloads {
		b = appendFrame(b, []byte(p))
	}
	return b
}

func TestReadSegment(t *testing.T) {
	whole := frames("first", "second", "third")
	second := int64(len(walMagic) + frameHeader + len("first"))
	third := second + frameHeader + int64(len("second"))
	flip := func(at int64) []byte {
		b := slices.Clone(whole)
		b[at] ^= 1
		return b
	}
	size := int64(len(whole))
	for _, c := range []struct {
		name   string
		bytes  []byte
		newest bool
		want   string
		bad    []damage
	}{
		{"whole", whole, true, "first second third", nil},
		{"empty file", nil, true, "", nil},
		{"half a magic", whole[:3], true, "", []damage{{0, 3, true}}},
		{"another file", []byte("PAR1 and much more"), true, "", []damage{{0, 18, false}}},
		{"end torn in a payload", whole[:size-2], true, "first second", []damage{{third, size - 2 - third, true}}},
		{"end torn in a header", whole[:third+3], true, "first second", []damage{{third, 3, true}}},
		{"the same in an older segment", whole[:size-2], false, "first second", []damage{{third, size - 2 - third, false}}},
		{"last payload not written", append(slices.Clone(whole[:third+frameHeader]), make([]byte, 5)...), true, "first second", []damage{{third, 13, true}}},
		{"zeros behind the end", append(slices.Clone(whole), make([]byte, 100)...), true, "first second third", []damage{{size, 100, true}}},
		{"flipped bit in the middle", flip(second + frameHeader + 1), true, "first third", []damage{{second, frameHeader + 6, false}}},
		{"flipped bit in a length", flip(second + 1), true, "first", []damage{{second, size - second, true}}},
		{"the same in an older segment", flip(second + 1), false, "first", []damage{{second, size - second, false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			bad, err := readSegment(c.bytes, c.newest, func(p []byte) error { got = append(got, string(p)); return nil })
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("read %q, want %q", got, c.want)
			}
			if d := cmp.Diff(bad, c.bad, cmp.AllowUnexported(damage{})); d != "" {
				t.Errorf("damage (-got +want):\n%s", d)
			}
		})
	}
}

func FuzzReadSegment(f *testing.F) {
	f.Add(frames("first", "second"), true)
	f.Add([]byte(walMagic), false)
	f.Fuzz(func(t *testing.T, b []byte, newest bool) {
		read := 0
		bad, err := readSegment(b, newest, func(p []byte) error { read += frameHeader + len(p); return nil })
		if err != nil {
			t.Fatal(err)
		}
		// Each byte is either read or reported.
		for _, d := range bad {
			read += int(d.length)
		}
		if len(bad) == 0 || bad[0].offset > 0 {
			read += len(walMagic)
		}
		if len(b) > 0 && read != len(b) {
			t.Fatalf("%d of %d bytes accounted for", read, len(b))
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(encodeRecord(killBatch(1), "default", 1).payload)
	f.Add(encodeRecord(&model.Batch{Spans: benchSpans(2, 0)}, "t", 2).payload)
	f.Add(encodeID("t", [32]byte{1}, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, rows, err := decodeRecord(b)
		if err != nil {
			return
		}
		again := encodeRecord(&model.Batch{ID: rec.id, Spans: rows.spans, Logs: rows.logs}, rec.tenant, rec.at)
		_, rows2, err := decodeRecord(again.payload)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows2.spans) != len(rows.spans) || len(rows2.logs) != len(rows.logs) {
			t.Fatal("rows are lost")
		}
	})
}

// count asks how many spans there are.
func count(t *testing.T, s *Store) int64 {
	t.Helper()
	h, err := s.Health(context.Background(), "", store.Window{})
	if err != nil {
		t.Fatal(err)
	}
	return h.Spans
}

func appendBatches(t *testing.T, s *Store, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if stored, err := s.Append(context.Background(), killBatch(n)); err != nil || !stored {
			t.Fatalf("batch %d: stored %v, %v", n, stored, err)
		}
	}
}

// crash leaves a store as a killed process does: without the last flush.
func crash(t *testing.T, s *Store) {
	t.Helper()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wal.close()
	s.queries.Wait()
	if err := s.engine.close(); err != nil {
		t.Fatal(err)
	}
	s.lock.unlock()
}

func segments(t *testing.T, dir string) (paths []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCrashBetweenManifestAndRemovalOfTheSegment(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	appendBatches(t, s, 0, 5)
	old, err := os.ReadFile(segments(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	name := segments(t, dir)[0]
	if err := s.flushAll(context.Background()); err != nil {
		t.Fatal(err)
	}
	crash(t, s)
	if err := os.WriteFile(name, old, 0o600); err != nil { // as if it had not been removed
		t.Fatal(err)
	}
	s = openTest(t, dir, nil)
	defer s.Close()
	if n := count(t, s); n != 15 {
		t.Errorf("%d spans, want 15", n)
	}
	if stored, err := s.Append(context.Background(), killBatch(2)); err != nil || stored {
		t.Errorf("retry after a flush and a restart: stored %v, %v", stored, err)
	}
}

func TestCrashBeforeTheManifest(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	appendBatches(t, s, 0, 5)
	crash(t, s)
	// Blocks that no manifest names are what a flush or merge left that did not finish.
	left := filepath.Join(dir, "blocks", "default", "spans-000000000001.parquet")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte("half a block"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, nil)
	defer s.Close()
	if n := count(t, s); n != 15 {
		t.Errorf("%d spans, want 15", n)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the unfinished block is still there: %v", err)
	}
}

func TestTornEndIsCutOff(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	appendBatches(t, s, 0, 5)
	crash(t, s)
	name := segments(t, dir)[0]
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Write(appendFrame(nil, encodeRecord(killBatch(9), "default", 1).payload)[:100])
	f.Close()
	s = openTest(t, dir, nil)
	if n := count(t, s); n != 15 {
		t.Errorf("%d spans, want 15", n)
	}
	appendBatches(t, s, 9, 10) // it was not acknowledged, so it comes again
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, nil)
	defer s.Close()
	if n := count(t, s); n != 18 {
		t.Errorf("%d spans, want 18", n)
	}
}

func TestDamageIsKeptAndReported(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	appendBatches(t, s, 0, 5)
	crash(t, s)
	name := segments(t, dir)[0]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, nil)
	page, err := s.Spans(context.Background(), store.Query{Where: search.All{}, Limit: 100})
	if err != nil || len(page.Rows) != 12 || page.Partial == "" {
		t.Errorf("%d spans, partial %q, %v; want those of the four whole batches", len(page.Rows), page.Partial, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "quarantine", filepath.Base(name))); err != nil {
		t.Errorf("the damaged segment was not kept: %v", err)
	}
}

// limitedFS is a disk that is full after so many bytes.
type limitedFS struct {
	osFS
	mu   sync.Mutex
	left int
}

type limitedFile struct {
	File
	fs *limitedFS
}

func (l *limitedFS) Create(name string) (File, error) {
	f, err := l.osFS.Create(name)
	return limitedFile{f, l}, err
}

func (f limitedFile) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if len(p) > f.fs.left {
		n, _ := f.File.Write(p[:f.fs.left])
		f.fs.left = 0
		return n, &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	f.fs.left -= len(p)
	return f.File.Write(p)
}

func (l *limitedFS) set(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = n
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	disk := &limitedFS{left: 1 << 30}
	s := openTest(t, dir, func(o *Options) { o.FS = disk })
	appendBatches(t, s, 0, 3)
	disk.set(200)
	if _, err := s.Append(context.Background(), killBatch(3)); !errors.Is(err, store.ErrFull) {
		t.Fatalf("append to a full disk: %v, want ErrFull", err)
	}
	disk.set(1 << 30)
	appendBatches(t, s, 3, 5) // the same batch succeeds later
	crash(t, s)
	s = openTest(t, dir, nil)
	defer s.Close()
	if n := count(t, s); n != 15 {
		t.Errorf("%d spans, want 15", n)
	}
}

// TestFullDiskKeepsAnswering looks that questions are answered without what cannot be written out, and say so.
func TestFullDiskKeepsAnswering(t *testing.T) {
	ctx := context.Background()
	disk := &limitedFS{left: 1 << 30}
	s := openTest(t, t.TempDir(), func(o *Options) { o.FS = disk })
	defer s.Close()
	appendBatches(t, s, 0, 2)
	if err := s.flushAll(ctx); err != nil {
		t.Fatal(err)
	}
	appendBatches(t, s, 2, 3)
	disk.set(0)
	if _, err := s.Append(ctx, killBatch(3)); !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("append to a full disk: %v, want ErrFull and what to do", err)
	}
	page, err := s.Spans(ctx, store.Query{Where: search.All{}, Limit: 100})
	if err != nil || len(page.Rows) != 6 || !strings.Contains(page.Partial, "storage is full") {
		t.Errorf("%d spans, partial %q, %v; want those of the blocks, and why the rest is missing", len(page.Rows), page.Partial, err)
	}
	if _, err := s.Health(ctx, "", store.Window{}); !errors.Is(err, store.ErrPartial) {
		t.Errorf("a judge's question: %v, want ErrPartial", err)
	}
	disk.set(1 << 30)
	appendBatches(t, s, 3, 4)
	if n := count(t, s); n != 12 {
		t.Errorf("with space again %d spans, want 12", n)
	}
}

func TestFlushThatFailsIsRepeated(t *testing.T) {
	disk := &limitedFS{left: 1 << 30}
	s := openTest(t, t.TempDir(), func(o *Options) { o.FS = disk })
	defer s.Close()
	appendBatches(t, s, 0, 3)
	disk.set(100)
	if err := s.flushAll(context.Background()); !errors.Is(err, store.ErrFull) {
		t.Fatalf("flush to a full disk: %v, want ErrFull", err)
	}
	disk.set(1 << 30)
	if n := count(t, s); n != 9 {
		t.Errorf("after the failed flush %d spans, want 9", n)
	}
	if err := s.flushAll(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s); n != 9 {
		t.Errorf("after the flush %d spans, want 9", n)
	}
}

func TestIDsAreForgottenAfterTenMinutes(t *testing.T) {
	now := testTime
	dir := t.TempDir()
	clock := func(o *Options) { o.Now = func() time.Time { return now } }
	s := openTest(t, dir, clock)
	appendBatches(t, s, 0, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{remember - 1, false}, {remember, true}} {
		now = testTime.Add(c.after)
		s = openTest(t, dir, clock)
		stored, err := s.Append(context.Background(), killBatch(0))
		if err != nil || stored != c.want {
			t.Errorf("after %s: stored %v, %v; want %v", c.after, stored, err, c.want)
		}
		crash(t, s)
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	defer s.Close()
	if _, err := Open(context.Background(), Options{Dir: dir}); err == nil {
		t.Fatal("the directory was opened twice")
	}
}

func TestClosed(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(context.Background(), killBatch(1)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Spans(context.Background(), store.Query{Where: search.All{}, Limit: 1}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("spans: %v", err)
	}
}

package events

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// flip changes one bit of a file; at is a byte's place, negative from the end.
func flip(t *testing.T, path string, at int, bit uint) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1 << bit
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// twoBlocks makes a store with a block of 3 spans (and one of a log) at testTime and another a day later, and returns the first.
func twoBlocks(t *testing.T, dir string) string {
	t.Helper()
	s := openTest(t, dir, nil)
	for i := range 2 {
		b := killBatch(i)
		for j := range b.Spans {
			b.Spans[j].Start += int64(i) * int64(24*time.Hour)
		}
		if _, err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	first := s.catalog.blocks[partition{model.DefaultTenant, spans}][0].path
	s.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return first
}

// checkPartial looks that the second block is served, partially, and that the first is in quarantine.
func checkPartial(t *testing.T, s *Store, what string) {
	t.Helper()
	ctx := context.Background()
	page, err := s.Spans(ctx, store.Query{Where: search.All{}, Limit: 10})
	if err != nil || len(page.Rows) != 3 || page.Partial == "" {
		t.Fatalf("%s: %d spans, partial %q, %v; want the 3 of the other block, and that it is partial", what, len(page.Rows), page.Partial, err)
	}
	w := store.Window{From: testTime.Add(-time.Hour), To: testTime.Add(time.Hour)}
	if _, err := s.Operations(ctx, store.Selection{Window: w}, 10); !errors.Is(err, store.ErrPartial) {
		t.Fatalf("%s: a judge's question: %v, want ErrPartial", what, err)
	}
	if _, err := s.Trace(ctx, "", model.TraceIDFrom(1, 0)); !errors.Is(err, store.ErrPartial) {
		t.Fatalf("%s: the lost trace: %v, want ErrPartial", what, err)
	}
	// Whoever can say that an answer is partial gets one, but never that the lost trace is not there.
	allowing, missing := store.AllowPartial(ctx)
	if ops, err := s.Operations(allowing, store.Selection{}, 10); err != nil || len(ops) != 1 || ops[0].Count != 3 || missing.String() == "" {
		t.Fatalf("%s: a judge's question that may be partial: %v, missing %q, %v", what, ops, missing, err)
	}
	if _, err := s.Trace(allowing, "", model.TraceIDFrom(1, 0)); !errors.Is(err, store.ErrPartial) {
		t.Fatalf("%s: the lost trace of a caller that allows a part: %v, want ErrPartial", what, err)
	}
	allowing, missing = store.AllowPartial(ctx)
	day := store.Window{From: testTime.Add(23 * time.Hour), To: testTime.Add(25 * time.Hour)}
	if _, err := s.Operations(allowing, store.Selection{Window: day}, 10); err != nil || missing.String() != "" {
		t.Fatalf("%s: a time of which nothing is lost: missing %q, %v", what, missing, err)
	}
}

func TestFlippedBitInABlock(t *testing.T) {
	proto := t.TempDir()
	first := twoBlocks(t, proto)
	info, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	size := int(info.Size())
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	places := []int{0, 5, size / 2, size - 9, size - 6, size - 1}
	for range soaking(6, 500) {
		places = append(places, random.IntN(size))
	}
	for i, at := range places {
		what := fmt.Sprintf("seed %d, byte %d of %d", seed, at, size)
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.CopyFS(dir, os.DirFS(proto)); err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(proto, first)
		if err != nil {
			t.Fatal(err)
		}
		flip(t, filepath.Join(dir, rel), at, uint(random.IntN(8)))
		reg := prometheus.NewRegistry()
		s := openTest(t, dir, func(o *Options) { o.Registerer = reg })
		checkPartial(t, s, what)
		st, err := s.Stats(context.Background())
		if err != nil || len(st.Quarantined) != 1 || !strings.Contains(st.Quarantined[0], "quarantine") {
			t.Fatalf("%s: in quarantine are %v, %v", what, st.Quarantined, err)
		}
		if _, err := os.Stat(st.Quarantined[0]); err != nil {
			t.Fatal(err)
		}
		if !named(t, reg, filepath.Base(st.Quarantined[0])) {
			t.Fatalf("%s: the metrics do not name %s", what, st.Quarantined[0])
		}
		if i > 1 { // the rest of the story is the same everywhere
			crash(t, s)
			continue
		}
		// The other block's time is whole, also for questions that cannot be partial.
		day := store.Window{From: testTime.Add(23 * time.Hour), To: testTime.Add(25 * time.Hour)}
		if ops, err := s.Operations(context.Background(), store.Selection{Window: day}, 10); err != nil || len(ops) != 1 || ops[0].Count != 3 {
			t.Errorf("%s: the other day: %v, %v", what, ops, err)
		}
		if trace, err := s.Trace(context.Background(), "", model.TraceIDFrom(1, 1)); err != nil || len(trace) != 3 {
			t.Errorf("%s: the other day's trace: %d spans, %v", what, len(trace), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, dir, func(o *Options) { o.Retention = time.Hour })
		checkPartial(t, s, what+", after a restart")
		if err := s.Maintain(context.Background()); err != nil {
			t.Fatal(err)
		}
		page, err := s.Spans(context.Background(), store.Query{Where: search.All{}, Limit: 10})
		if err != nil || page.Partial != "" || len(page.Rows) != 3 {
			t.Errorf("%s: after retention %d spans, partial %q, %v", what, len(page.Rows), page.Partial, err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "quarantine")); err != nil || len(left) != 0 {
			t.Errorf("%s: retention left %v in quarantine, %v", what, left, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// named tells whether the gauge of quarantined files has one of this name.
func named(t *testing.T, reg *prometheus.Registry, file string) bool {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "triage_events_quarantined" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == file && m.GetGauge().GetValue() == 1 {
				return true
			}
		}
	}
	return false
}

// TestMergeDoesNotHealDamage flips a bit while the store is open: a merge must not make good blocks of bad ones.
func TestMergeDoesNotHealDamage(t *testing.T) {
	dir := t.TempDir()
	first := twoBlocks(t, dir)
	s := openTest(t, dir, nil)
	defer s.Close()
	if n := count(t, s); n != 6 {
		t.Fatalf("%d spans, want 6", n)
	}
	flip(t, first, 20, 3)
	for range 2 {
		if err := s.mergeEverything(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	checkPartial(t, s, "after a merge")
}

func TestFlippedBitInTheManifest(t *testing.T) {
	for _, name := range []string{"MANIFEST", "MANIFEST.copy"} {
		for _, at := range []int{0, 8, 30, -1} {
			dir := t.TempDir()
			twoBlocks(t, dir)
			flip(t, filepath.Join(dir, name), at, 1)
			s := openTest(t, dir, nil)
			if n := count(t, s); n != 6 {
				t.Errorf("%s, byte %d: %d spans, want 6", name, at, n)
			}
			st, err := s.Stats(context.Background())
			if err != nil || len(st.Quarantined) != 1 {
				t.Errorf("%s, byte %d: in quarantine are %v, %v", name, at, st.Quarantined, err)
			}
			crash(t, s)
			s = openTest(t, dir, nil) // what is in quarantine does not count
			if n := count(t, s); n != 6 {
				t.Errorf("%s, byte %d, after a restart: %d spans, want 6", name, at, n)
			}
			crash(t, s)
		}
	}
	dir := t.TempDir()
	twoBlocks(t, dir)
	flip(t, filepath.Join(dir, "MANIFEST"), 30, 1)
	flip(t, filepath.Join(dir, "MANIFEST.copy"), 40, 1)
	if s, err := Open(context.Background(), Options{Dir: dir}); err == nil {
		s.Close()
		t.Error("a store without a readable manifest was opened")
	}
}

// TestAnyFlippedBitInTheWAL flips bits at random places: of five batches at most the one that is hit is lost, and that is
// said. Of the last frame nobody knows whether it was ever acknowledged, so it counts as torn.
func TestAnyFlippedBitInTheWAL(t *testing.T) {
	proto := t.TempDir()
	s := openTest(t, proto, nil)
	appendBatches(t, s, 0, 5)
	crash(t, s)
	whole, err := os.ReadFile(segments(t, proto)[0])
	if err != nil {
		t.Fatal(err)
	}
	var starts []int // of frames
	for at := len(walMagic); at < len(whole); at += frameHeader + int(binary.LittleEndian.Uint32(whole[at:])) {
		starts = append(starts, at)
	}
	if len(starts) != 5 {
		t.Fatalf("%d frames, want 5", len(starts))
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	var places []int
	for _, at := range starts {
		places = append(places, at, at+1, at+2, at+3, at+5, at+frameHeader)
	}
	for range soaking(12, 500) {
		places = append(places, random.IntN(len(whole)))
	}
	for _, at := range places {
		bit := uint(random.IntN(8))
		what := fmt.Sprintf("seed %d, byte %d of %d, bit %d", seed, at, len(whole), bit)
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.CopyFS(dir, os.DirFS(proto)); err != nil {
			t.Fatal(err)
		}
		flip(t, segments(t, dir)[0], at, bit)
		s := openTest(t, dir, nil)
		page, err := s.Spans(t.Context(), store.Query{Where: search.All{}, Limit: 100})
		last, magic := at >= starts[4], at < len(walMagic)
		switch {
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case magic && (len(page.Rows) != 0 || page.Partial == ""):
			t.Errorf("%s: %d spans of a file that is none, partial %q", what, len(page.Rows), page.Partial)
		case !magic && (len(page.Rows) != 12 || page.Partial == "" && !last):
			t.Errorf("%s: %d spans, partial %q; want those of the four whole batches", what, len(page.Rows), page.Partial)
		}
		crash(t, s)
	}
}

func TestFlippedBitInTheWAL(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	appendBatches(t, s, 0, 5)
	crash(t, s)
	name := segments(t, dir)[0]
	flip(t, name, 200, 4)
	ctx := context.Background()
	for _, when := range []string{"in the tail", "in blocks", "after a restart"} {
		s = openTest(t, dir, nil)
		if when == "in blocks" {
			if err := s.flushAll(ctx); err != nil {
				t.Fatal(err)
			}
			st, err := s.Stats(ctx)
			if want := filepath.Join(dir, "quarantine", filepath.Base(name)); err != nil || len(st.Quarantined) != 1 || st.Quarantined[0] != want {
				t.Errorf("in quarantine are %v, %v; want %s", st.Quarantined, err, want)
			}
		}
		page, err := s.Spans(ctx, store.Query{Where: search.All{}, Limit: 100})
		if err != nil || len(page.Rows) != 12 || page.Partial == "" {
			t.Errorf("%s: %d spans, partial %q, %v; want those of the four whole batches", when, len(page.Rows), page.Partial, err)
		}
		w := store.Window{From: testTime, To: testTime.Add(time.Second)}
		if _, err := s.Operations(ctx, store.Selection{Window: w}, 10); !errors.Is(err, store.ErrPartial) {
			t.Errorf("%s: a judge's question: %v, want ErrPartial", when, err)
		}
		w = store.Window{From: testTime.Add(time.Hour), To: testTime.Add(2 * time.Hour)}
		if _, err := s.Operations(ctx, store.Selection{Window: w}, 10); err != nil {
			t.Errorf("%s: about another time: %v", when, err)
		}
		crash(t, s)
	}
}

// TestAnyFlippedBitInAFooter reads a footer with each of its bits flipped: what comes back is the metadata as it was written
// or an error, whatever the Parquet library makes of it.
func TestAnyFlippedBitInAFooter(t *testing.T) {
	path := twoBlocks(t, t.TempDir())
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := readFooter(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := crc32.Checksum([]byte(want), castagnoli)
	damaged := filepath.Join(t.TempDir(), "damaged.parquet")
	first, refused := len(good)-8-int(binary.LittleEndian.Uint32(good[len(good)-8:])), 0
	for bit := range 8 * (len(good) - first) {
		bad := slices.Clone(good)
		bad[first+bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(damaged, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		switch text, err := readFooter(damaged); {
		case err != nil:
			refused++
		case text != want && crc32.Checksum([]byte(text), castagnoli) == sum:
			t.Fatalf("bit %d: other metadata has the same checksum", bit)
		}
	}
	if refused == 0 {
		t.Error("no footer was refused")
	}
}

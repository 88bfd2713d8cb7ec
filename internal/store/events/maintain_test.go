package events

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// spanAt is one span of a service at a time.
func spanAt(n int, at time.Time, attrs ...model.Attr) model.Span {
	return model.Span{TraceID: model.TraceIDFrom(2, uint64(n+1)), SpanID: model.SpanIDFrom(uint64(n + 1)), Name: "work", Start: at.UnixNano(), Duration: 1,
		Attrs: attrs, Resource: &model.Resource{Service: "frontend"}}
}

func (s *Store) blockCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.catalog.all())
}

// TestManyBlocksAreMerged flushes hundreds of slices, some late, and looks at how many files are left and that all rows are.
func TestManyBlocksAreMerged(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	n := 0
	for i := range 200 {
		var b model.Batch
		for j := range 5 {
			at := testTime.Add(time.Duration(i*10+j) * time.Second)
			if i%7 == 0 {
				at = at.Add(-20 * time.Minute)
			}
			// The type of "mixed" changes, so that merges meet blocks that disagree.
			mixed := model.Int(int64(n))
			if i%2 == 0 {
				mixed = model.String("text")
			}
			b.Spans = append(b.Spans, spanAt(n, at, model.Attr{Key: "mixed", Value: mixed}, model.Attr{Key: "n", Value: model.Int(int64(n))}))
			n++
		}
		if _, err := s.Append(ctx, &b); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(ctx); err != nil {
			t.Fatal(err)
		}
		s.maintaining.Lock()
		err := s.mergeAll(ctx)
		s.maintaining.Unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	if c := s.blockCount(); c > 40 {
		t.Errorf("%d blocks are left of 200", c)
	}
	page, err := s.Spans(ctx, store.Query{Where: search.Match{Field: "mixed", Op: search.Exists}, Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Rows) != n {
		t.Errorf("%d spans have the attribute, want %d", len(page.Rows), n)
	}
	files, err := filepath.Glob(filepath.Join(s.dir("blocks"), "*", "*"))
	if err != nil || len(files) != s.blockCount() {
		t.Errorf("%d files of %d blocks, %v", len(files), s.blockCount(), err)
	}
}

func TestRetentionByAge(t *testing.T) {
	ctx := context.Background()
	// The clock is years ahead of the data: retention counts from the newest row.
	s := openTest(t, t.TempDir(), func(o *Options) {
		o.Retention, o.Now = time.Hour, func() time.Time { return testTime.AddDate(5, 0, 0) }
	})
	defer s.Close()
	far := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, at := range []time.Time{testTime, testTime.Add(2 * time.Hour), testTime.Add(150 * time.Minute), far} {
		if _, err := s.Append(ctx, &model.Batch{Spans: []model.Span{spanAt(i, at)}}); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.maintaining.Lock()
	err := s.retain()
	s.maintaining.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	// The row of 2200 is kept but does not count as the newest; only the first is more than an hour older than the third.
	if n := count(t, s); n != 3 {
		t.Errorf("%d spans, want 3", n)
	}
	if _, err := s.Trace(ctx, "", model.TraceIDFrom(2, 1)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the old span: %v, want ErrNotFound", err)
	}
}

func TestRetentionBySize(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	for i := range 4 {
		if _, err := s.Append(ctx, &model.Batch{Spans: []model.Span{spanAt(i, testTime.Add(time.Duration(i)*time.Minute))}}); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(ctx); err != nil {
			t.Fatal(err)
		}
	}
	st, err := s.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.opts.MaxBytes = st.Bytes/2 + 1
	s.maintaining.Lock()
	err = s.retain()
	s.maintaining.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Stats(ctx)
	if err != nil || after.Spans != 2 || !after.Oldest.Equal(testTime.Add(2*time.Minute)) {
		t.Errorf("left are %d spans from %s, %v", after.Spans, after.Oldest, err)
	}
}

func TestOddTimesGetBlocksOfTheirOwn(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	b := &model.Batch{}
	for i := range 50 {
		at := testTime.Add(time.Duration(i) * time.Minute)
		switch i {
		case 10:
			at = time.Unix(0, 0)
		case 20:
			at = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		b.Spans = append(b.Spans, spanAt(i, at))
	}
	if _, err := s.Append(ctx, b); err != nil {
		t.Fatal(err)
	}
	if err := s.flushAll(ctx); err != nil {
		t.Fatal(err)
	}
	if n := s.blockCount(); n != 3 {
		t.Errorf("%d blocks, want 3: 1970, today, 2100", n)
	}
}

// TestRunFlushesAndSleeps lets Run close a slice by age and then looks that it has nothing more to do.
func TestRunFlushesAndSleeps(t *testing.T) {
	s := openTest(t, t.TempDir(), func(o *Options) { o.sliceAge = 30 * time.Millisecond })
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	appendBatches(t, s, 0, 3)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		n := len(s.slices)
		s.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the slice was not written out")
		}
	}
	if left := segments(t, s.opts.Dir); len(left) != 0 {
		t.Errorf("segments left: %v", left)
	}
	if wait := s.maintain(ctx); wait != 0 {
		t.Errorf("with nothing to do Run would wake after %s", wait)
	}
	if n := count(t, s); n != 9 {
		t.Errorf("%d spans, want 9", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestQueryDuringMerge holds a snapshot while its blocks are merged away.
func TestQueryDuringMerge(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	for i := range 3 {
		if _, err := s.Append(ctx, &model.Batch{Spans: []model.Span{spanAt(i, testTime)}}); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(ctx); err != nil {
			t.Fatal(err)
		}
	}
	from, to := bounds(store.Window{})
	snap, err := s.snapshot(ctx, partition{model.DefaultTenant, spans}, from, to)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.mergeEverything(ctx); err != nil {
		t.Fatal(err)
	}
	hits, err := s.find(ctx, spans, snap.blocks, 0, func(*compiler) (string, bool, error) { return "true", true, nil })
	if err != nil || len(hits) != 3 {
		t.Errorf("%d rows in the old snapshot, %v", len(hits), err)
	}
	old := snap.blocks[0].path
	snap.release()
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("%s is still there after the last reader: %v", old, err)
	}
	if n := count(t, s); n != 3 {
		t.Errorf("%d spans, want 3", n)
	}
}

// TestCancelledQuery ends a query that would take minutes.
func TestCancelledQuery(t *testing.T) {
	e := newEngine(Options{Threads: 2, MemoryLimit: 256 << 20}, t.TempDir())
	defer e.close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := e.query(ctx, "SELECT count(*) FROM range(10000000) a, range(1000000) b WHERE a.range*b.range=17", func(scan func(...any) error) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("it ended after %s", d)
	}
}

// TestPathWithPattern keeps DuckDB from taking a directory's name for a pattern.
func TestPathWithPattern(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a[1]*?'b"), nil)
	defer s.Close()
	appendBatches(t, s, 0, 2)
	if n := count(t, s); n != 6 {
		t.Errorf("%d spans, want 6", n)
	}
	if trace, err := s.Trace(context.Background(), "", model.TraceIDFrom(1, 1)); err != nil || len(trace) != 3 {
		t.Errorf("%d spans of a trace, %v", len(trace), err)
	}
}

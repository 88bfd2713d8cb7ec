package events

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// TestPromptly ends a search's context while the search does not heed it.
func TestPromptly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	working, release := make(chan struct{}), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		<-working
		cancel()
	}()
	_, err := promptly(ctx, func() (int, error) {
		defer close(ended)
		close(working)
		<-release
		return 1, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	close(release)
	<-ended
	if n, err := promptly(t.Context(), func() (int, error) { return 2, nil }); n != 2 || err != nil {
		t.Errorf("got %d, %v, want the answer", n, err)
	}
	defer func() {
		if recover() != "lost" {
			t.Error("a panic got lost")
		}
	}()
	_, _ = promptly(t.Context(), func() (int, error) { panic("lost") })
}

// TestInterrupt measures how long DuckDB works on after its query was cancelled. The best of a few attempts counts, for a
// busy machine may be late, while the driver's own interval would always be.
func TestInterrupt(t *testing.T) {
	const endless = "SELECT count(*) n FROM range(10000000) a, range(1000000) b WHERE a.range*b.range=17"
	e := newEngine(Options{Threads: 2, MemoryLimit: 256 << 20}, t.TempDir())
	defer e.close()
	for name, run := range map[string]func(context.Context) error{
		"rows": func(ctx context.Context) error {
			return e.query(ctx, endless, func(func(...any) error) error { return nil })
		},
		"batches": func(ctx context.Context) error {
			return e.batches(ctx, endless, func(arrow.RecordBatch) error { return nil })
		},
	} {
		best := time.Hour
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			var cancelled time.Time
			timer := time.AfterFunc(30*time.Millisecond, func() {
				cancelled = time.Now()
				cancel()
			})
			err := run(ctx)
			best = min(best, time.Since(cancelled))
			timer.Stop()
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: %v, want the context's error", name, err)
			}
			if best < 100*time.Millisecond {
				break
			}
		}
		t.Logf("%s: ended %s after it was cancelled", name, best)
		if best >= 100*time.Millisecond {
			t.Errorf("%s: ended %s after it was cancelled, want less than 100 ms", name, best)
		}
	}
}

// TestStructureReach looks for relations across the longest time that counts, in a trace longer than that.
func TestStructureReach(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	res := &model.Resource{Service: "a"}
	at := func(id, parent int, d time.Duration) model.Span {
		return model.Span{TraceID: model.TraceIDFrom(1, 1), SpanID: model.SpanIDFrom(uint64(id)), ParentID: model.SpanIDFrom(uint64(parent)),
			Name: "do", Start: start.Add(d).UnixNano(), Resource: res}
	}
	// Spans 2 and 3 lie an hour from their parent and a nanosecond more; 5 is far from all but its own parent.
	spans := []model.Span{at(1, 0, 0), at(2, 1, time.Hour), at(3, 1, time.Hour+1), at(4, 3, time.Hour), at(5, 4, 2*time.Hour)}
	if _, err := s.Append(t.Context(), &model.Batch{Spans: spans}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    string
		want []uint64
	}{
		{"child(*, *)", []uint64{5, 4, 2}},
		{"parent(*, *)", []uint64{3, 4, 1}},
		{"descendant(parent:0000000000000001, *)", []uint64{5, 4}},
	} {
		where, err := search.Parse(c.q)
		if err != nil {
			t.Fatal(err)
		}
		page, err := s.Spans(t.Context(), store.Query{Where: where, Limit: 10})
		var got []uint64
		for _, x := range page.Rows {
			got = append(got, x.SpanID.Uint64())
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.q, got, err, c.want)
		}
	}
}

package events

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// failing gives every hundredth span an exception with a stack of 30 frames, of twenty kinds.
func failing(spans []model.Span, from int) []model.Span {
	for i := range spans {
		k := from + i
		if k%100 != 0 {
			continue
		}
		var stack strings.Builder
		stack.WriteString("goroutine 41 [running]:\n")
		for f := range 30 {
			fmt.Fprintf(&stack, "shop.example/part%d.(*Server).Do%d(0x%x, {0x1b2c3d, 0x5})\n\t/src/part/server.go:%d +0x1d2\n", f%7, (k/100+f)%20, k, f*3)
		}
		spans[i].Events = []model.SpanEvent{{Time: spans[i].Start, Name: "exception", Attrs: model.Attrs{
			{Key: "exception.type", Value: model.String("*errors.errorString")}, {Key: "exception.message", Value: model.String(fmt.Sprint("no item ", k))},
			{Key: "exception.stacktrace", Value: model.String(stack.String())}}}}
	}
	return spans
}

// BenchmarkExceptions asks a store of a million spans, of which 1 % tell of an exception.
func BenchmarkExceptions(b *testing.B) {
	s := openTest(b, b.TempDir(), nil)
	defer s.Close()
	ctx := context.Background()
	n := benchRows()
	for from := 0; from < n; from += 50_000 {
		if _, err := s.Append(ctx, &model.Batch{Spans: failing(benchSpans(min(50_000, n-from), from), from)}); err != nil {
			b.Fatal(err)
		}
		if err := s.flushAll(ctx); err != nil {
			b.Fatal(err)
		}
	}
	newest := testTime.Add(time.Duration(n) * 50 * time.Microsecond)
	for _, c := range []struct {
		name   string
		forget bool
		window store.Window
	}{
		{"first", true, store.Window{}},
		{"everything", false, store.Window{}},
		{"last_tenth", false, store.Window{From: newest.Add(-newest.Sub(testTime) / 10), To: newest}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if c.forget {
					for _, x := range s.catalog.all() {
						x.seen = nil
					}
				}
				page, err := s.Exceptions(ctx, store.ExceptionQuery{Window: c.window, Buckets: 30, Limit: 100})
				if err != nil || len(page.Rows) != 20 {
					b.Fatal(len(page.Rows), err)
				}
			}
			b.ReportMetric(resident(), "MB-resident")
		})
	}
}

// TestExceptionsSurviveMaintenance holds that the answer is the same from the tail, from blocks, after they are merged
// and after a restart.
func TestExceptionsSurviveMaintenance(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := openTest(t, dir, nil)
	ask := func() string {
		page, err := s.Exceptions(ctx, store.ExceptionQuery{Window: store.Window{From: testTime.Add(20 * time.Millisecond)}, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for _, r := range page.Rows {
			fmt.Fprintf(&out, "%s %d %v %v %v\n", r.ID, r.Count, r.First, r.Last, r.New)
		}
		return out.String()
	}
	for from := 0; from < 9000; from += 1000 {
		if _, err := s.Append(ctx, &model.Batch{Spans: failing(benchSpans(1000, from), from)}); err != nil {
			t.Fatal(err)
		}
		if from == 0 {
			if rows := strings.Count(ask(), "\n"); rows == 0 {
				t.Fatal("no groups in the tail")
			}
		}
		if from < 8000 {
			if err := s.flushAll(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := ask()
	if !strings.Contains(want, "false") || !strings.Contains(want, "true") {
		t.Fatalf("the data has not both new and old groups:\n%s", want)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"flush", func() error { return s.flushAll(ctx) }},
		{"merge", func() error { return s.mergeEverything(ctx) }},
		{"restart", func() error {
			err := s.Close()
			s = openTest(t, dir, nil)
			return err
		}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := ask(); got != want {
			t.Errorf("after %s\n%swant\n%s", step.name, got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

package events

import (
	"context"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/store"
	"triage/internal/store/storetest"
)

// TestContract runs the suite on rows in the tail, in blocks, and in a mix of both while Run works.
func TestContract(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		run    bool
	}{
		{"tail", nil, false},
		{"blocks", func(o *Options) { o.sliceBytes = 1 }, true},
		{"both", func(o *Options) { o.sliceBytes, o.sliceAge = 4000, 50*time.Millisecond }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			storetest.Events(t, func(t *testing.T) store.Events {
				s := openTest(t, t.TempDir(), c.change)
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() {
					if c.run {
						done <- s.Run(ctx)
						return
					}
					done <- nil
				}()
				t.Cleanup(func() {
					cancel()
					if err := <-done; err != nil {
						t.Error(err)
					}
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				})
				return s
			})
		})
	}
}

// flushing makes a block of each batch.
type flushing struct{ *Store }

func (s flushing) Append(ctx context.Context, b *model.Batch) (bool, error) {
	stored, err := s.Store.Append(ctx, b)
	if err == nil {
		err = s.flushAll(ctx)
	}
	return stored, err
}

// TestContractOfMany runs the suite's part for many spans with sketches and samples from few on.
func TestContractOfMany(t *testing.T) {
	storetest.ManyEvents(t, func(t *testing.T) store.Events {
		s := openTest(t, t.TempDir(), func(o *Options) {
			o.sketchFrom, o.sketchRows, o.sampleAbove, o.sampleOf = 1, 1, 10_000, 8000
		})
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return flushing{s}
	})
}

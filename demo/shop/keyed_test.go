package shop

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestKeyed holds that those who want the same wait for each other and nobody else does.
func TestKeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k keyed
		began := time.Now()
		var working sync.WaitGroup
		for _, key := range []string{"a", "a", "a", "b"} {
			working.Go(func() {
				give, err := k.take(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Second)
				give()
				if took := time.Since(began); key == "b" && took != time.Second {
					t.Errorf("another key took %s", took)
				}
			})
		}
		time.Sleep(time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.take(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that time was up", err)
		}
		working.Wait()
		if took := time.Since(began); took != 3*time.Second || len(k.doing) != 0 {
			t.Errorf("three took %s and left %d", took, len(k.doing))
		}
	})
}

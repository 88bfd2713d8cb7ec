package shop

import (
	"context"
	"sync"
)

// keyed lets one at a time do something for a key. The zero value is ready, and safe for concurrent use.
type keyed struct {
	mu sync.Mutex
	// doing has a channel for each key that somebody works for or waits for, and how many those are. Guarded by mu.
	doing map[string]*turn
}

type turn struct {
	free chan struct{} // holds one token while nobody works
	all  int
}

// take waits for the key's turn, unless ctx ends before. give must be called if it returns no error.
func (k *keyed) take(ctx context.Context, key string) (give func(), err error) {
	k.mu.Lock()
	if k.doing == nil {
		k.doing = map[string]*turn{}
	}
	t := k.doing[key]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		k.doing[key] = t
	}
	t.all++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if t.all--; t.all == 0 {
			delete(k.doing, key)
		}
	}
	select {
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	case <-t.free:
		return func() {
			t.free <- struct{}{}
			leave()
		}, nil
	}
}

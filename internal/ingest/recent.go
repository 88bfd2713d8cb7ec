package ingest

import (
	"sync"
	"time"

	"triage/internal/model"
)

const (
	// recentFor is how long at least an accepted batch is remembered, as the event store does.
	recentFor = 10 * time.Minute
	// recentMax bounds one generation: some 8 MB. A sender so busy that it fills one early is remembered for less long.
	recentMax = 100_000
)

// recent remembers which batches were wholly accepted. It spares the stores a retry, and makes retries safe for batches
// that the event store never sees. The zero value is ready to use.
type recent struct {
	mu        sync.Mutex // guards all below
	young     map[batchKey]struct{}
	old       map[batchKey]struct{}
	lastSwept time.Time
}

type batchKey struct {
	tenant string
	id     [32]byte
}

func (r *recent) has(b *model.Batch) bool {
	if b.ID == [32]byte{} {
		return false
	}
	k := batchKey{b.Tenant, b.ID}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(time.Now())
	if _, ok := r.young[k]; ok {
		return true
	}
	_, ok := r.old[k]
	return ok
}

func (r *recent) add(b *model.Batch) {
	if b.ID == [32]byte{} {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(time.Now())
	if r.young == nil {
		r.young = map[batchKey]struct{}{}
	}
	r.young[batchKey{b.Tenant, b.ID}] = struct{}{}
}

// sweep ages the generations; two of them cost no bookkeeping by entry.
func (r *recent) sweep(now time.Time) {
	switch age := now.Sub(r.lastSwept); {
	case age >= 2*recentFor:
		r.young, r.old, r.lastSwept = nil, nil, now
	case age >= recentFor || len(r.young) >= recentMax:
		r.young, r.old, r.lastSwept = nil, r.young, now
	}
}

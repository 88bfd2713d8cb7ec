package store

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// Missing collects why rows may be missing from answers. It is safe for concurrent use.
type Missing struct {
	mu      sync.Mutex // guards reasons
	reasons []string
}

type missingKey struct{}

// AllowPartial is for callers who can say that an answer is partial: a question asked with the returned context answers
// from what can be read where it would otherwise be ErrPartial, and notes in Missing what cannot. A trace of which nothing
// is found stays ErrPartial, because nobody knows whether it is there.
func AllowPartial(ctx context.Context) (context.Context, *Missing) {
	m := &Missing{}
	return context.WithValue(ctx, missingKey{}, m), m
}

// NoteMissing is for engines: it notes a reason and tells whether the caller allows a partial answer.
func NoteMissing(ctx context.Context, reason string) bool {
	m, ok := ctx.Value(missingKey{}).(*Missing)
	if !ok {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.reasons, reason) {
		m.reasons = append(m.reasons, reason)
		slices.Sort(m.reasons)
	}
	return true
}

// String says what is missing, "" if nothing is.
func (m *Missing) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.reasons, "; ")
}

package store

import (
	"context"
	"sync"
)

// Progress is how far a search came: of Total rows in its time range, Done were looked at or ruled out.
type Progress struct{ Done, Total int64 }

type progressKey struct{}

// progress collects what engines report of one question.
type progress struct {
	mu   sync.Mutex // guards at, and orders calls of tell
	at   Progress
	tell func(Progress)
}

// WithProgress is for callers who show how far a search is: tell is called now and then while one asked with the returned
// context runs, by one goroutine at a time, and with values that only grow. Of questions that are quick or cannot say, it
// is told nothing.
func WithProgress(ctx context.Context, tell func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, &progress{tell: tell})
}

// NoteProgress is for engines: it adds rows to those that were looked at, and to those that there are.
func NoteProgress(ctx context.Context, done, total int64) {
	p, ok := ctx.Value(progressKey{}).(*progress)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at.Done += done
	p.at.Total += total
	if ctx.Err() == nil {
		p.tell(p.at)
	}
}

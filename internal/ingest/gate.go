package ingest

import (
	"fmt"
	"sync"
	"unsafe"

	"triage/internal/model"
	"triage/internal/store"
)

// Gate caps bytes held at one time. It never waits: waiting senders would hold the very memory it guards.
type Gate struct {
	limit int64

	mu   sync.Mutex // guards held
	held int64
}

// NewGate makes a Gate of limit bytes.
func NewGate(limit int64) *Gate { return &Gate{limit: limit} }

// Acquire takes n bytes until release is called, which may happen more than once. It fails with store.ErrOverloaded when
// the limit would be passed, except that one holder alone gets through whatever its size: refusing it would be for ever.
func (g *Gate) Acquire(n int64) (release func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held > 0 && g.held+n > g.limit {
		return nil, fmt.Errorf("%d bytes in flight, %d more pass the limit of %d: %w", g.held, n, g.limit, store.ErrOverloaded)
	}
	g.held += n
	return sync.OnceFunc(func() {
		g.mu.Lock()
		g.held -= n
		g.mu.Unlock()
	}), nil
}

// Held is the number of bytes taken now.
func (g *Gate) Held() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

// Limit is the cap.
func (g *Gate) Limit() int64 { return g.limit }

// Size is about what a batch holds in memory. Resources, scopes and shared strings are counted wherever they are
// mentioned by a row's own fields only, so that the cost of a walk stays below that of a copy.
func Size(b *model.Batch) int64 {
	n := int64(len(b.Spans))*int64(unsafe.Sizeof(model.Span{})) +
		int64(len(b.Logs))*int64(unsafe.Sizeof(model.LogRecord{})) +
		int64(len(b.Changes))*int64(unsafe.Sizeof(model.Change{}))
	for i := range b.Spans {
		s := &b.Spans[i]
		n += int64(len(s.Name)+len(s.TraceState)+len(s.StatusMessage)) + attrsSize(s.Attrs)
		for j := range s.Events {
			n += int64(unsafe.Sizeof(s.Events[j])) + int64(len(s.Events[j].Name)) + attrsSize(s.Events[j].Attrs)
		}
		for j := range s.Links {
			n += int64(unsafe.Sizeof(s.Links[j])) + int64(len(s.Links[j].TraceState)) + attrsSize(s.Links[j].Attrs)
		}
	}
	for i := range b.Logs {
		n += int64(len(b.Logs[i].Body.Str())) + attrsSize(b.Logs[i].Attrs)
	}
	for i := range b.Series {
		s := &b.Series[i]
		n += int64(unsafe.Sizeof(*s)) + int64(len(s.Samples))*int64(unsafe.Sizeof(model.Sample{})) + int64(s.Labels.ByteSize())
		for j := range s.Histograms {
			if h := s.Histograms[j].Int; h != nil {
				n += 200 + 8*int64(len(h.PositiveBuckets)+len(h.NegativeBuckets)) + 8*int64(len(h.PositiveSpans)+len(h.NegativeSpans))
			}
			if h := s.Histograms[j].Float; h != nil {
				n += 200 + 8*int64(len(h.PositiveBuckets)+len(h.NegativeBuckets)) + 8*int64(len(h.PositiveSpans)+len(h.NegativeSpans))
			}
		}
	}
	return n
}

func attrsSize(attrs model.Attrs) int64 {
	n := int64(len(attrs)) * int64(unsafe.Sizeof(model.Attr{}))
	for i := range attrs {
		n += int64(len(attrs[i].Key) + len(attrs[i].Value.Str()))
	}
	return n
}

package load

import (
	"context"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// Maker makes what Run sends for Requests, for those who want it as a value. The same seed makes the same, identifiers
// included. It is not safe for concurrent use.
type Maker struct{ world *world }

// NewMaker makes a Maker.
func NewMaker(seed uint64) *Maker {
	return &Maker{newWorld(rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2)))}
}

// Requests makes whole traces of n spans, dated between from and to, and as many log lines within them.
func (m *Maker) Requests(n int, from, to time.Time) (ptrace.Traces, plog.Logs) {
	spans, lines := m.world.requests(n, window{from, to})
	return spans.traces, lines.logs
}

// requests makes traces of n spans, and as many log lines within them.
func (w *world) requests(n int, when window) (*batch, *lines) {
	spans, n := w.spans(n, when)
	lines := newLines()
	for i := range n {
		s := spans.served[i%len(spans.served)]
		at := s.start.Add(s.end.Sub(s.start) / 8 * time.Duration(1+i/len(spans.served)%7))
		lines.write(w, line{s.service, s.instance, s.user, s.trace, s.span, at, s.end})
	}
	return spans, lines
}

// requestMaker makes traces, and log lines that the services on their way wrote.
type requestMaker struct {
	*world
	spanClient ptraceotlp.GRPCClient
	lineClient plogotlp.GRPCClient
}

// make fills two exports, one half spans and the other half log lines within these.
func (m *requestMaker) make(items int, w window) request {
	n := max(1, items/2)
	spans, lines := m.requests(n, w)
	sendSpans, sendLines := spans.send(m.spanClient), lines.send(m.lineClient)
	return request{2 * n, func(ctx context.Context) (int64, error) {
		rejected, err := sendSpans(ctx)
		if err != nil {
			return 0, err
		}
		more, err := sendLines(ctx)
		return rejected + more, err
	}}
}

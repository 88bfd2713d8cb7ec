package load

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// requestMaker makes traces, and log lines that the services on their way wrote.
type requestMaker struct {
	*world
	spanClient ptraceotlp.GRPCClient
	lineClient plogotlp.GRPCClient
}

// make fills two exports, one half spans and the other half log lines within these.
func (m *requestMaker) make(items int, w window) request {
	spans, n := m.spans(max(1, items/2), w)
	lines := newLines()
	for i := range n {
		s := spans.served[i%len(spans.served)]
		at := s.start.Add(s.end.Sub(s.start) / 8 * time.Duration(1+i/len(spans.served)%7))
		lines.write(m.world, line{s.service, s.instance, s.user, s.trace, s.span, at, s.end})
	}
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

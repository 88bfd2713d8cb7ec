package load

import (
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// Exports makes n export requests of about items spans each, as bytes of protobuf, for whoever measures a receiver without a
// network. What they hold is that of Run with Spans, and the same for the same seed; it happened in the second before at.
func Exports(seed uint64, n, items int, at time.Time) ([][]byte, error) {
	w := newWorld(rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)))
	out := make([][]byte, n)
	for i := range out {
		b, _ := w.spans(items, window{at.Add(-100 * time.Millisecond), at})
		var err error
		if out[i], err = ptraceotlp.NewExportRequestFromTraces(b.traces).MarshalProto(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

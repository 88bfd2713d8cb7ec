package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// own is a process' own code, as far as faults can be in it. Nothing tells from outside which are on.
type own struct {
	mu sync.Mutex
	// on are the faults that are switched on, by name, one for each operation. Guarded by mu.
	on map[string][]Fault

	cache cache
}

func newOwn() *own { return &own{on: map[string][]Fault{}} }

// set replaces the fault of that name and operation.
func (o *own) set(f Fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var kept []Fault // a new slice: hit reads the old one
	for _, other := range o.on[f.Name] {
		if other.Operation != f.Operation {
			kept = append(kept, other)
		}
	}
	if f.Strength > 0 {
		kept = append(kept, f)
	}
	o.on[f.Name] = kept
}

// hit is the strength of a fault for one request, 0 if it is spared.
func (o *own) hit(name, operation string) float64 {
	o.mu.Lock()
	on := o.on[name]
	o.mu.Unlock()
	for _, f := range on {
		if (f.Operation == "" || f.Operation == operation) && (f.Share == 0 || rand.Float64() < f.Share) {
			return f.Strength
		}
	}
	return 0
}

// The faults that every service has in its own code.
const (
	slowCode = "slow-code" // Strength is in milliseconds
	errorsIn = "errors"    // Strength says which: 1 is an index out of range, 2 a value of the wrong type
)

// work is what the service does by itself for a request: it looks into its cache and finds the segment that the
// customer is in, which is quick and never fails, as long as nobody broke it.
func (o *own) work(ctx context.Context, operation string) error {
	o.cache.see()
	if ms := o.hit(slowCode, operation); ms > 0 {
		scan(ctx, time.Duration(ms*float64(time.Millisecond)))
	}
	at := rand.IntN(len(segments))
	switch int(o.hit(errorsIn, operation)) {
	case 0:
	case 2:
		return recorded(ctx, json.Unmarshal([]byte(`{"weight":"none"}`), new(struct {
			Weight int `json:"weight"`
		})))
	default:
		at = len(segments)
	}
	return segment(ctx, at)
}

// segments weigh the groups that customers are in.
var segments = []int{50, 25, 15, 5, 5}

// segment looks a segment's weight up. A panic becomes an error.
func segment(ctx context.Context, at int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			broken, ok := p.(error)
			if !ok {
				panic(p)
			}
			err = recorded(ctx, broken)
		}
	}()
	if segments[at] <= 0 {
		return fmt.Errorf("segment %d has no weight", at)
	}
	return nil
}

// recorded records an error on the span of the request that fails by it, as OpenTelemetry has it: with its type and
// stack.
func recorded(ctx context.Context, err error) error {
	trace.SpanFromContext(ctx).RecordError(err, trace.WithStackTrace(true))
	return err
}

// scan compares articles' numbers, a little at a time: a twentieth of d is work, the rest is waiting for its turn, so
// that what is slow is the service and not the machine.
func scan(ctx context.Context, d time.Duration) {
	for began, i := time.Now(), 0; time.Since(began) < d/20; i++ {
		_ = distance(SKU(i), SKU(i+1))
	}
	wait(ctx, around(d-d/20, 0.1))
}

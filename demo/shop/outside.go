package shop

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// outage is the fault that those outside have. Strength 1 is a refusal at once; 2 is no answer until the client gives
// up.
const outage = "outage"

// failing serves h, unless there is an outage.
func failing(e *env, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch int(e.own.hit(outage, r.Pattern)) {
		case 0:
			h(w, r)
		case 2:
			_, _ = io.Copy(io.Discard, r.Body) // whether the client is there is only looked at behind the body
			<-r.Context().Done()
		default:
			http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		}
	}
}

// outsideUnit serves mux with an outage in it.
func outsideUnit(e *env, mux *http.ServeMux) *unit {
	u := httpUnit(mux)
	u.faults = map[string]func(Fault){outage: e.own.set}
	return u
}

// newAcquirer is the bank that takes card payments: a company of its own, whose inside nobody sees. Most answers take
// some twenty milliseconds, one in a hundred half a second; few are refusals and fewer are its own failures. It has a quota that the shop never needs.
func newAcquirer(_ context.Context, e *env) (*unit, error) {
	mux := http.NewServeMux()
	requests := quota{most: 300, within: 10 * time.Second}
	mux.HandleFunc("POST /v1/authorizations", requests.limit(failing(e, func(w http.ResponseWriter, r *http.Request) {
		wait(r.Context(), around(22*time.Millisecond, 0.25))
		switch dice := rand.IntN(1000); {
		case dice < 3:
			http.Error(w, "upstream acquirer unavailable", http.StatusServiceUnavailable)
			return
		case dice < 13:
			wait(r.Context(), around(450*time.Millisecond, 0.4))
		case dice < 33:
			_, _ = w.Write([]byte(`{"status":"declined","reason":"insufficient_funds"}`))
			return
		}
		_, _ = w.Write([]byte(`{"status":"authorised"}`))
	})))
	return outsideUnit(e, mux), nil
}

// quota is how much a client may ask for within a time. What is refused counts too, so that whoever goes on asking goes on
// being refused. It is safe for concurrent use.
type quota struct {
	most   int
	within time.Duration

	mu sync.Mutex
	// asked are the times of the latest requests, oldest first. Guarded by mu.
	asked []time.Time
}

// take counts a request and tells whether it is within the quota.
func (q *quota) take(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	old := 0
	for old < len(q.asked) && now.Sub(q.asked[old]) > q.within {
		old++
	}
	q.asked = append(q.asked[old:], now)
	return len(q.asked) <= q.most
}

// limit serves h as far as the quota goes.
func (q *quota) limit(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !q.take(time.Now()) {
			http.Error(w, "too many requests, slow down", http.StatusServiceUnavailable)
			return
		}
		h(w, r)
	}
}

// newSupplier is the supplier, who knows how long a delivery takes.
func newSupplier(_ context.Context, e *env) (*unit, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/leadtimes/{sku}", failing(e, func(w http.ResponseWriter, r *http.Request) {
		wait(r.Context(), around(25*time.Millisecond, 0.2))
		_, _ = w.Write([]byte(`{"days":` + string(rune('1'+rand.IntN(9))) + `}`))
	}))
	return outsideUnit(e, mux), nil
}

// around is a log-normal time with the given median.
func around(median time.Duration, sigma float64) time.Duration {
	return time.Duration(float64(median) * math.Exp(sigma*rand.NormFloat64()))
}

// wait is the time that the work of others takes: those outside, and caches and mail servers that the shop has but
// doesn't instrument.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

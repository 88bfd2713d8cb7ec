package shop

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
)

// promotion decides what is on offer, shows it and announces it.
type promotion struct {
	env    *env
	events *events

	mu sync.Mutex
	// current are the offers shown, newest last. Guarded by mu.
	current []offer
}

func newPromotion(ctx context.Context, e *env) (*unit, error) {
	ev, err := newEvents(ctx, e)
	if err != nil {
		return nil, err
	}
	s := &promotion{env: e, events: ev}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /offers", serveJSON(s.offers))
	u := httpUnit(e.tel.server(mux))
	u.background = append(u.background, s.announce)
	var flood task
	u.faults = map[string]func(Fault){eventFlood: func(f Fault) {
		flood.restart(f.Strength > 0, func(stop <-chan struct{}) { s.flood(min(f.Strength, 1000), stop) })
	}}
	u.close = func() {
		flood.restart(false, nil)
		ev.close()
	}
	return u, nil
}

func (s *promotion) offers(r *http.Request) (any, error) {
	if err := s.env.own.work(r.Context(), r.Pattern); err != nil {
		s.env.log.ErrorContext(r.Context(), "offers not shown", "error", err)
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]offer{}, s.current...), nil
}

// announce changes an offer every two seconds or so and tells everybody.
func (s *promotion) announce(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(s.env.cfg.Seed, 0x0ffe))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second + time.Duration(rng.IntN(2000))*time.Millisecond):
		}
		s.change(ctx, rng, 1+rng.IntN(4))
	}
}

// eventFlood is promotion's own fault: it changes offers of very many articles all the time. Strength is in offers a
// second.
const eventFlood = "event-flood"

// flood changes perSecond offers a second until stop.
func (s *promotion) flood(perSecond float64, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(s.env.cfg.Seed, 0xf100d))
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			s.change(context.Background(), rng, 30+rng.IntN(21))
		}
	}
}

// change makes a new offer of some articles and tells everybody.
func (s *promotion) change(ctx context.Context, rng *rand.Rand, articles int) {
	ctx, span := s.env.tel.tracer("shop/promotion").Start(ctx, "change offer")
	defer span.End()
	o := offer{ID: uuid.NewString(), Percent: 5 * rng.IntN(6)}
	first := rng.IntN(Assortment())
	for i := range articles {
		o.SKUs = append(o.SKUs, SKU(first+i))
	}
	s.mu.Lock()
	s.current = append(s.current, o)
	if len(s.current) > 12 {
		s.current = s.current[1:]
	}
	s.mu.Unlock()
	if err := s.events.publish(ctx, subjectChanged, o); err != nil {
		s.env.log.ErrorContext(ctx, "offer not announced", "offer_id", o.ID, "error", err)
		return
	}
	s.env.log.InfoContext(ctx, "offer changed", "offer_id", o.ID, "percent", o.Percent, "articles", len(o.SKUs))
}

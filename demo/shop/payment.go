package shop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

type chargeRequest struct {
	Order       string `json:"order"`
	AmountCents int    `json:"amount_cents"`
	Card        string `json:"card"`
}

type chargeAnswer struct {
	Status string `json:"status"` // "authorised" or "declined"
	Reason string `json:"reason,omitempty"`
}

// payment charges cards through the bank.
type payment struct {
	env  *env
	bank *httpClient
	// journal has each charge before the bank is asked.
	journal *journal
	// timeout is how long one request to the bank may take.
	timeout duration
	// tries is how often the bank is asked at most.
	tries atomic.Int64
}

func newPayment(_ context.Context, e *env) (*unit, error) {
	charges, err := openJournal(e, "charges")
	if err != nil {
		return nil, err
	}
	s := &payment{env: e, bank: e.client(), journal: charges, timeout: duration{standard: 1500 * time.Millisecond}}
	s.tries.Store(usualTries)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /card-payments", serveJSON(s.charge))
	u := httpUnit(e.tel.server(mux))
	u.settings = map[string]func(string) error{
		"payment.acquirer.timeout": s.timeout.set,
		"payment.acquirer.tries":   count(usualTries, 10, func(n int) { s.tries.Store(int64(n)) }),
	}
	u.faults = map[string]func(Fault){retryStorm: e.own.set}
	charges.equip(u)
	return u, nil
}

func (s *payment) charge(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	var in chargeRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	err := s.env.own.work(ctx, r.Pattern)
	if err == nil {
		err = s.journal.add(ctx, map[string]any{"order": in.Order, "amount_cents": in.AmountCents})
	}
	var out *chargeAnswer
	if err == nil {
		out, err = s.authorise(ctx, in)
	}
	if err != nil {
		s.env.log.ErrorContext(ctx, "card payment failed", "order_id", in.Order, "error", err)
		return nil, err
	}
	if out.Status == "declined" {
		s.env.log.InfoContext(ctx, "card declined", "order_id", in.Order, "reason", out.Reason)
	} else {
		s.env.log.InfoContext(ctx, "card charged", "order_id", in.Order, "amount_cents", in.AmountCents)
	}
	return out, nil
}

// usualTries is how often the bank is asked at most, unless a setting says otherwise.
const usualTries = 2

// retryStorm is payment's own fault: it asks the bank again and again. Strength is the milliseconds between.
const retryStorm = "retry-storm"

// authorise asks the bank, up to so many times if the bank was at fault.
func (s *payment) authorise(ctx context.Context, in chargeRequest) (*chargeAnswer, error) {
	var out chargeAnswer
	ask := func() error {
		ctx, cancel := context.WithTimeout(ctx, s.timeout.get())
		defer cancel()
		return call(ctx, s.bank, "http://acquirer.example/v1/authorizations", in, &out)
	}
	theirs := func(err error) bool {
		var answered *statusError
		return err != nil && ctx.Err() == nil && (!errors.As(err, &answered) || answered.code >= 500)
	}
	err := ask()
	for tries := int64(1); theirs(err); tries++ {
		pause := s.env.own.hit(retryStorm, "")
		if tries >= s.tries.Load() && pause == 0 {
			break
		}
		s.env.log.WarnContext(ctx, "acquirer request repeated", "order_id", in.Order, "error", err)
		if pause > 0 {
			wait(ctx, time.Duration(pause*float64(time.Millisecond)))
		}
		err = ask()
	}
	if err != nil {
		return nil, fmt.Errorf("authorise: %w", err)
	}
	return &out, nil
}

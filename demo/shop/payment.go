package shop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	bank *http.Client
}

func newPayment(_ context.Context, e *env) (*unit, error) {
	s := &payment{env: e, bank: e.client(1500 * time.Millisecond)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /card-payments", serveJSON(s.charge))
	return httpUnit(e.tel.server(mux)), nil
}

func (s *payment) charge(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	var in chargeRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	out, err := s.authorise(ctx, in)
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

// authorise asks the bank, twice if the bank was at fault the first time.
func (s *payment) authorise(ctx context.Context, in chargeRequest) (*chargeAnswer, error) {
	var out chargeAnswer
	err := call(ctx, s.bank, "http://acquirer.example/v1/authorizations", in, &out)
	var answered *statusError
	if err != nil && ctx.Err() == nil && (!errors.As(err, &answered) || answered.code >= 500) {
		s.env.log.WarnContext(ctx, "acquirer request repeated", "order_id", in.Order, "error", err)
		err = call(ctx, s.bank, "http://acquirer.example/v1/authorizations", in, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("authorise: %w", err)
	}
	return &out, nil
}

package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// notification writes to customers about what they bought.
type notification struct{ env *env }

func newNotification(ctx context.Context, e *env) (*unit, error) {
	ev, err := newEvents(ctx, e)
	if err != nil {
		return nil, err
	}
	s := &notification{env: e}
	return &unit{
		background: []func(context.Context) error{func(ctx context.Context) error {
			return ev.consume(ctx, consumer{stream: streamOrders, subject: subjectPlaced, handle: s.confirm})
		}},
		close: ev.close,
	}, nil
}

// confirm renders and hands over one confirmation. The mail server answers in a few milliseconds.
func (s *notification) confirm(ctx context.Context, data []byte) error {
	var p placed
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("decode sale: %w", err)
	}
	if err := s.env.own.work(ctx, subjectPlaced); err != nil {
		return fmt.Errorf("render confirmation: %w", err)
	}
	wait(ctx, around(7*time.Millisecond, 0.3))
	s.env.log.InfoContext(ctx, "confirmation sent", "order_id", p.ID, "total_cents", p.TotalCents)
	return nil
}

package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"triage/client"
	"triage/internal/model"
)

// setting is a setting of a process, and values that do harm, from low to high milliseconds.
type setting struct {
	process, key, usual string
	ms, low, high       int
}

// configChange is a timeout that somebody made far too short, and the record of it.
func configChange() Scenario {
	return Scenario{
		Name:  "config-change",
		About: "somebody changes a setting for the worse",
		Draw: func(d *Draw) Case {
			s := Pick(d,
				setting{"payment", "payment.acquirer.timeout", "1500ms", 15, 10, 18},
				setting{"order", "order.payment.timeout", "3s", 15, 10, 20},
				setting{"order", "order.inventory.timeout", "3s", 2, 1, 3},
				setting{"storefront", "storefront.order.timeout", "3s", 8, 5, 10},
				setting{"storefront", "storefront.inventory.timeout", "3s", 4, 3, 6},
			)
			to := fmt.Sprintf("%dms", d.Int(s.ms, s.low, s.high))
			change := model.Change{Service: d.Name(s.process), Key: s.key}
			return Case{
				Truths: []Truth{{model.ClassChange, change.Entity(), model.Configuration}},
				Target: fmt.Sprintf("%s of %s from %s to %s", s.key, s.process, s.usual, to),
				Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
					set := func(ctx context.Context, from, to, value string) error {
						return errors.Join(
							w.Record(ctx, client.Change{At: time.Now(), Kind: "configuration", Service: change.Service,
								Key: s.key, From: from, To: to, By: "operations"}),
							w.Set(ctx, s.process, s.key, value))
					}
					if err := set(ctx, s.usual, to, to); err != nil {
						return nil, err
					}
					return func(ctx context.Context) error { return set(ctx, to, s.usual, "") }, nil
				},
			}
		},
	}
}

package scenario

import (
	"context"
	"fmt"
	"time"

	"triage/demo/shop"
	"triage/internal/model"
)

// retryStorm is payment that repeats what the bank refused until its own caller gives up, after a moment in which the
// bank refused everything. The bank has a quota, and what exceeds it counts: the repeats keep it exceeded long after
// the bank is well again.
func retryStorm() Scenario {
	return Scenario{
		Name:  "retry-storm",
		About: "a service's retries keep what it calls overloaded",
		Draw: func(d *Draw) Case {
			const process, host = "payment", "acquirer"
			f := shop.Fault{Name: "retry-storm", Strength: float64(d.Int(12, 8, 16))}
			blip := time.Duration(d.Int(4000, 3000, 5000)) * time.Millisecond
			return Case{
				Truths: []Truth{{model.ClassCaller, d.Service(process), model.RetryStorm}},
				Target: fmt.Sprintf("%s asks again every %.0f ms; the bank refused for %s", process, f.Strength, blip),
				Inject: together(switchFault(process, f), func(ctx context.Context, w *World) (func(context.Context) error, error) {
					refused := shop.Fault{Name: "outage", Strength: 1}
					if err := w.Fault(ctx, host, refused); err != nil {
						return nil, err
					}
					over := refused
					over.Strength = 0
					stop := background(ctx, func(ctx context.Context) {
						select {
						case <-ctx.Done():
						case <-time.After(blip):
							if err := w.Fault(ctx, host, over); err != nil {
								w.Say("the bank goes on refusing: %v", err)
							}
						}
					})
					return func(ctx context.Context) error {
						_ = stop(ctx) // returns nil
						return w.Fault(ctx, host, over)
					}, nil
				}),
			}
		},
	}
}

package scenario

import (
	"context"
	"fmt"
)

// faultInSurge is a fault that begins when the visitors become many more, who are not to blame.
func faultInSurge() Scenario {
	return Scenario{
		Name:      "fault-in-surge",
		About:     "something goes wrong just when visitors double",
		Confusing: true,
		Draw: func(d *Draw) Case {
			factor := d.Float(2, 1.8, 2.2)
			p := Pick(d,
				func() part { return slow(d, "payment", "POST /card-payments") },
				func() part { return slow(d, "inventory", "GetProduct") },
				func() part { return failing(d, "order", "POST /internal/prices") },
				func() part { return delayed(d, "order", "inventory") },
				func() part { return down(d, "acquirer.example") },
			)()
			surge := func(_ context.Context, w *World) (func(context.Context) error, error) {
				w.Load.SetFactor(factor)
				return func(context.Context) error {
					w.Load.SetFactor(1)
					return nil
				}, nil
			}
			return Case{
				Truths: []Truth{p.truth},
				Target: fmt.Sprintf("%s; %.1f times the visitors", p.target, factor),
				Inject: together(surge, p.inject),
			}
		},
	}
}

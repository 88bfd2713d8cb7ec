package scenario

import (
	"context"
	"time"

	"triage/demo/shop"
)

// innocentDeploy is a deployment that changes nothing, a moment before something else goes wrong somewhere else.
func innocentDeploy() Scenario {
	const from, to, before = "1.0.0", "1.1.0", 25 * time.Second
	type chance struct {
		deployed string
		fault    func() part
	}
	return Scenario{
		Name:      "innocent-deploy",
		About:     "something goes wrong soon after a harmless deployment elsewhere",
		Confusing: true,
		Draw: func(d *Draw) Case {
			c := Pick(d,
				chance{"payment", func() part { return delayed(d, "order", "inventory") }},
				chance{"promotion", func() part { return slow(d, "inventory", "GetProduct") }},
				chance{"storefront", func() part { return slow(d, "order", "POST /internal/prices") }}, // the caller
				chance{"payment", func() part { return failing(d, "order", "POST /internal/orders") }}, // the callee
				chance{"order", func() part { return down(d, "acquirer.example") }},
			)
			p := c.fault()
			release := func(ctx context.Context, w *World, from, to string) error {
				return w.release(ctx, c.deployed, d.Name(c.deployed), from, "routine release", shop.Options{Version: to})
			}
			deploy := func(ctx context.Context, w *World) (func(context.Context) error, error) {
				faulty := time.After(before)
				if err := release(ctx, w, from, to); err != nil {
					return nil, err
				}
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-faulty:
				}
				return func(ctx context.Context) error { return release(ctx, w, to, from) }, nil
			}
			return Case{
				Truths: []Truth{p.truth},
				Target: p.target + "; " + c.deployed + " was deployed",
				Lead:   before,
				Inject: together(deploy, p.inject),
			}
		},
	}
}

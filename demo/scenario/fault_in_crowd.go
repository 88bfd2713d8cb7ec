package scenario

import (
	"context"
	"fmt"
	"net/http"

	"triage/demo/load"
	"triage/demo/shop"
)

// faultInCrowd is a fault that begins when very many look at one article, as many as the shop can well serve.
func faultInCrowd() Scenario {
	return Scenario{
		Name:      "fault-in-crowd",
		About:     "something goes wrong just when one article becomes popular",
		Confusing: true,
		Draw: func(d *Draw) Case {
			crowd := load.Crowd{Method: http.MethodGet, Path: "/articles/" + shop.SKU(d.Int(77, 0, shop.Assortment()-1)),
				Rate: d.Float(7, 6, 9), Most: 100}
			p := Pick(d,
				func() part { return slow(d, "payment", "POST /card-payments") },
				func() part { return slow(d, "inventory", "GetProduct") },
				func() part { return failing(d, "storefront", "GET /articles/{sku}") },
				func() part { return delayed(d, "storefront", "inventory") },
				func() part { return down(d, "acquirer.example") },
			)()
			gather := func(ctx context.Context, w *World) (func(context.Context) error, error) {
				return background(ctx, func(ctx context.Context) { w.Load.Crowd(ctx, crowd) }), nil
			}
			return Case{
				Truths: []Truth{p.truth},
				Target: fmt.Sprintf("%s; %s is asked for %.0f times a second", p.target, crowd.Path, crowd.Rate),
				Inject: together(gather, p.inject),
			}
		},
	}
}

package scenario

import (
	"context"
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
	"triage/internal/proxy"
)

// dnsFailure is a name that a service can no longer resolve, just when its connections to it are closed, as when what
// is behind the name moves. Both ends and the network between them are well.
func dnsFailure() Scenario {
	const unknown, broken = 1, 2
	type resolver struct {
		strength float64
		about    string
	}
	return Scenario{
		Name:  "dns-failure",
		About: "a service cannot resolve another's name any more",
		Draw: func(d *Draw) Case {
			c := Pick(d, call{"order", "payment"}, call{"storefront", "order"}, call{"order", "inventory"},
				call{"storefront", "inventory"}, call{"payment", "acquirer.example"})
			r := Pick(d, resolver{unknown, "unknown"}, resolver{broken, "the resolver fails"})
			truth := Truth{model.ClassNetwork, model.EdgeEntity(d.Name(c.caller), d.Name(c.callee)), model.DNSFailure}
			if shop.ProcessOf(c.callee) != c.callee { // outside: nothing is seen of the other end
				truth.Entity = model.RemoteEntity(d.Name(c.callee))
			}
			return Case{
				Truths: []Truth{truth},
				Target: fmt.Sprintf("%s's name in %s: %s", c.callee, c.caller, r.about),
				Inject: together(
					switchFault(c.caller, shop.Fault{Name: "dns", Operation: c.callee, Strength: r.strength}),
					cutOnce(c.caller, c.callee)),
			}
		},
	}
}

// cutOnce breaks the connections that are open now, and no others.
func cutOnce(caller, callee string) func(context.Context, *World) (func(context.Context) error, error) {
	return func(ctx context.Context, w *World) (func(context.Context) error, error) {
		restore, err := disturb(caller, callee, proxy.Fault{Refuse: true})(ctx, w)
		if err != nil {
			return nil, err
		}
		return func(context.Context) error { return nil }, restore(ctx)
	}
}

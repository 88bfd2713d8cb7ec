package scenario

import (
	"fmt"
	"strings"

	"triage/demo/shop"
)

// lostTelemetry is a fault in a shop of which many spans never arrive, as long as triage has known it.
func lostTelemetry() Scenario {
	return Scenario{
		Name:      "lost-telemetry",
		About:     "something goes wrong where half of the spans are lost",
		Confusing: true,
		Draw: func(d *Draw) Case {
			lossy := Pick(d, []string{"order", "inventory", "payment"}, []string{"storefront", "order", "inventory"},
				[]string{"storefront", "payment"})
			loss := d.Float(0.5, 0.4, 0.6)
			p := Pick(d,
				func() part { return slow(d, "inventory", "ListProducts") },
				func() part { return slow(d, "payment", "POST /card-payments") },
				func() part { return failing(d, "order", "POST /internal/prices") },
				func() part { return delayed(d, "order", "inventory") },
			)()
			return Case{
				Truths:  []Truth{p.truth},
				Target:  fmt.Sprintf("%s; %.0f %% of the spans of %s are lost", p.target, 100*loss, strings.Join(lossy, ", ")),
				Prepare: restarted(shop.Options{Loss: loss}, lossy...),
				Inject:  p.inject,
			}
		},
	}
}

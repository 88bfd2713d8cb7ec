package scenario

import (
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
)

// ownBug is a service's code that becomes slow: by standard a code path that compares every line of a basket with the
// whole assortment, one basket at a time. Nothing is deployed, logged or called that wasn't before.
func ownBug() Scenario {
	type bug struct{ process, fault, operation string }
	return Scenario{
		Name:  "own-bug",
		About: "a service's own code becomes slow",
		Draw: func(d *Draw) Case {
			b := Pick(d,
				bug{"order", "slow-validation", ""},
				bug{"order", "slow-code", "POST /internal/prices"},
				bug{"inventory", "slow-code", "GetProduct"},
				bug{"inventory", "slow-code", "ListProducts"},
				bug{"storefront", "slow-code", "GET /search"},
				bug{"payment", "slow-code", "POST /card-payments"},
			)
			f := shop.Fault{Name: b.fault, Operation: b.operation, Strength: d.Float(110, 95, 140)}
			if b.fault == "slow-code" { // waits rather than works, so there may be more of it
				f.Strength *= 1.6
			}
			return Case{
				Truths: []Truth{{model.ClassSelf, d.Service(b.process), model.SlowCode}},
				Target: fmt.Sprintf("%s %s, %.0f ms", b.process, b.operation, f.Strength),
				Inject: switchFault(b.process, f),
			}
		},
	}
}

package scenario

import (
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
)

// diskFull is a service that keeps a journal on a volume of its own, which something in its process fills: what it
// could not write down it must not do.
func diskFull() Scenario {
	return Scenario{
		Name:  "disk-full",
		About: "a service's disk fills up",
		Draw: func(d *Draw) Case {
			process := Pick(d, "order", "payment")
			f := shop.Fault{Name: "disk-fill", Strength: d.Float(24, 12, 48)}
			return Case{
				Truths: []Truth{{model.ClassResource, d.Service(process), model.DiskFull}},
				Target: fmt.Sprintf("%s, %.0f MiB a second", process, f.Strength),
				Inject: switchFault(process, f),
			}
		},
	}
}

package scenario

import (
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
)

// cpuHog is something in a service's process that takes its processor.
func cpuHog() Scenario {
	return Scenario{
		Name:  "cpu-hog",
		About: "a service runs out of CPU",
		Draw: func(d *Draw) Case {
			process := Pick(d, "inventory", "order", "storefront")
			f := shop.Fault{Name: "cpu-hog", Strength: float64(d.Int(5, 4, 7))}
			return Case{
				Truths: []Truth{{model.ClassResource, d.Service(process), model.CPUSaturation}},
				Target: fmt.Sprintf("%s, %.0f at a time", process, f.Strength),
				Inject: switchFault(process, f),
			}
		},
	}
}

package scenario

import (
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
)

// memoryLeak is a process that keeps more and more, until its garbage collector works all the time.
func memoryLeak() Scenario {
	return Scenario{
		Name:  "memory-leak",
		About: "a service runs out of memory",
		Draw: func(d *Draw) Case {
			process := Pick(d, "order", "inventory", "storefront")
			f := shop.Fault{Name: "memory-leak", Strength: d.Float(6, 4, 10)}
			return Case{
				Truths: []Truth{{model.ClassResource, d.Service(process), model.MemoryPressure}},
				Target: fmt.Sprintf("%s, %.1f MiB a second", process, f.Strength),
				Inject: switchFault(process, f),
			}
		},
	}
}

package scenario

import (
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
)

// slowConsumer is a consumer that takes longer for a message than passes until the next one comes, so that they pile up
// in the queue. Whoever sends them notices nothing.
func slowConsumer() Scenario {
	return Scenario{
		Name:  "slow-consumer",
		About: "a consumer cannot keep up with its queue",
		Draw: func(d *Draw) Case {
			const process = "notification"
			f := shop.Fault{Name: "slow-code", Strength: d.Float(2600, 2200, 3200)}
			return Case{
				Truths: []Truth{{model.ClassSelf, d.Service(process), model.SlowConsumer}},
				Target: fmt.Sprintf("%s, %.0f ms a message", process, f.Strength),
				Inject: switchFault(process, f),
			}
		},
	}
}

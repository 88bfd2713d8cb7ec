package scenario

import (
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
)

// eventFlood is promotion that changes offers of dozens of articles all the time. Inventory stores each offer through
// the connections that requests need too.
func eventFlood() Scenario {
	return Scenario{
		Name:  "event-flood",
		About: "a service floods its consumers with events",
		Draw: func(d *Draw) Case {
			const process = "promotion"
			f := shop.Fault{Name: "event-flood", Strength: float64(d.Int(80, 75, 100))}
			return Case{
				Truths: []Truth{{model.ClassEvent, d.Service(process), model.EventFlood}},
				Target: fmt.Sprintf("%s, %.0f events a second", process, f.Strength),
				Inject: switchFault(process, f),
			}
		},
	}
}

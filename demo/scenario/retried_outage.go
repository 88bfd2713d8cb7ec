package scenario

import (
	"fmt"
	"strconv"

	"triage/demo/shop"
	"triage/internal/model"
)

// retriedOutage is a bank that fails, and payment that asks it a few times more, as it always does. The repeats are there
// because of the outage, and not the other way round.
func retriedOutage() Scenario {
	return Scenario{
		Name:      "retried-outage",
		About:     "a service outside fails, and its client repeats each call a few times",
		Confusing: true,
		Draw: func(d *Draw) Case {
			const process, host = "payment", "acquirer.example"
			tries := d.Int(4, 3, 5)
			f := shop.Fault{Name: "outage", Strength: 1, Share: d.Float(1, 0.9, 1)}
			return Case{
				Truths:  []Truth{{model.ClassDependency, model.RemoteEntity(d.Name(host)), model.DependencyDown}},
				Target:  fmt.Sprintf("%s refuses %.0f %% of the requests; %s tries %d times", host, 100*f.Share, process, tries),
				Prepare: restarted(shop.Options{Settings: map[string]string{"payment.acquirer.tries": strconv.Itoa(tries)}}, process),
				Inject:  switchFault(shop.ProcessOf(host), f),
			}
		},
	}
}

package scenario

import (
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
)

// downstreamOutage is a company outside, whose service fails or does not answer.
func downstreamOutage() Scenario {
	const refuses, hangs = 1, 2
	type outage struct {
		process, host string
		strength      float64
		about         string
	}
	return Scenario{
		Name:  "downstream-outage",
		About: "a service outside fails",
		Draw: func(d *Draw) Case {
			o := Pick(d,
				outage{"acquirer", "acquirer.example", refuses, "refuses"},
				outage{"acquirer", "acquirer.example", hangs, "does not answer"},
				outage{"supplier", "supplier.example", hangs, "does not answer"}, // what it refuses is done without
			)
			f := shop.Fault{Name: "outage", Strength: o.strength, Share: d.Float(1, 0.7, 1)}
			return Case{
				Truths: []Truth{{model.ClassDependency, model.RemoteEntity(d.Name(o.host)), model.DependencyDown}},
				Target: fmt.Sprintf("%s %s, %.0f %% of the requests", o.host, o.about, 100*f.Share),
				Inject: switchFault(o.process, f),
			}
		},
	}
}

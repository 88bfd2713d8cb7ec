package scenario

import (
	"fmt"
	"time"

	"triage/internal/model"
	"triage/internal/proxy"
)

// connectionLoss is a network between two services in which no connection lives long, and over some of them nothing
// arrives before they break.
func connectionLoss() Scenario {
	return Scenario{
		Name:  "connection-loss",
		About: "connections between two services stall and break",
		Draw: func(d *Draw) Case {
			c := Pick(d, between...)
			life, stalled := time.Duration(d.Int(300, 150, 500))*time.Millisecond, d.Float(0.5, 0.4, 0.7)
			return Case{
				Truths: []Truth{{model.ClassNetwork, model.EdgeEntity(d.Name(c.caller), d.Name(c.callee)), model.NetworkLoss}},
				Target: fmt.Sprintf("%s->%s, reset %s after their first use, %.0f %% silent until then", c.caller, c.callee, life, 100*stalled),
				Inject: disturb(c.caller, c.callee, proxy.Fault{Reset: life}, proxy.Fault{Stall: true, Share: stalled}),
			}
		},
	}
}

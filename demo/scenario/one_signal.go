package scenario

import "triage/demo/shop"

// metricsOnly is a fault in a service that reports metrics alone.
func metricsOnly() Scenario {
	return Scenario{
		Name:      "metrics-only",
		About:     "something goes wrong in a service that reports only metrics",
		Confusing: true,
		Draw: func(d *Draw) Case {
			return oneSignal(d, shop.Metrics,
				func() part { return slow(d, "payment", "") },
				func() part { return slow(d, "inventory", "") },
				func() part { return slow(d, "order", "") },
				func() part { return failing(d, "payment", "") },
				func() part { return failing(d, "order", "") })
		},
	}
}

// logsOnly is a fault in a service that reports logs alone. They tell what fails; they do not tell what takes long.
func logsOnly() Scenario {
	return Scenario{
		Name:      "logs-only",
		About:     "something goes wrong in a service that reports only logs",
		Confusing: true,
		Draw: func(d *Draw) Case {
			return oneSignal(d, shop.Logs,
				func() part { return failing(d, "payment", "") },
				func() part { return failing(d, "order", "") },
				func() part { return failing(d, "inventory", "") })
		},
	}
}

// oneSignal is a fault inside of a service that reports one signal, as long as triage has known it.
func oneSignal(d *Draw, signal string, of ...func() part) Case {
	p := Pick(d, of...)()
	return Case{
		Truths:  []Truth{p.truth},
		Target:  p.target + "; reports only " + signal,
		Prepare: restarted(shop.Options{Signals: []string{signal}}, p.process),
		Inject:  p.inject,
	}
}

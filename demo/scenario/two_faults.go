package scenario

// twoFaults are two faults that have nothing to do with each other, at once. Either is a right answer.
func twoFaults() Scenario {
	return Scenario{
		Name:      "two-faults",
		About:     "two unrelated things go wrong at once",
		Confusing: true,
		Draw: func(d *Draw) Case {
			pair := Pick(d,
				func() [2]part {
					return [2]part{failing(d, "payment", "POST /card-payments"), delayed(d, "storefront", "inventory")}
				},
				func() [2]part {
					return [2]part{slow(d, "payment", "POST /card-payments"), down(d, "supplier.example")}
				},
				func() [2]part { return [2]part{slow(d, "inventory", "ListProducts"), down(d, "acquirer.example")} },
				func() [2]part {
					return [2]part{slow(d, "order", "POST /internal/prices"), failing(d, "storefront", "GET /search")}
				},
			)()
			return Case{
				Truths: []Truth{pair[0].truth, pair[1].truth},
				Target: pair[0].target + "; and " + pair[1].target,
				Inject: together(pair[0].inject, pair[1].inject),
			}
		},
	}
}

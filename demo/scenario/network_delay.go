package scenario

// call is who calls whom.
type call struct{ caller, callee string }

// between are the calls between the shop's services whose network is disturbed; the first is the standard one.
var between = []call{
	{"order", "inventory"},
	{"storefront", "inventory"},
	{"storefront", "order"},
	{"order", "payment"},
}

// networkDelay is a network between two services that has become slow. Neither of them has.
func networkDelay() Scenario {
	return Scenario{
		Name:  "network-delay",
		About: "the network between two services becomes slow",
		Draw: func(d *Draw) Case {
			c := Pick(d, between...)
			p := delayed(d, c.caller, c.callee)
			return Case{Truths: []Truth{p.truth}, Target: p.target, Inject: p.inject}
		},
	}
}

package scenario

import (
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
)

// cacheStampede is inventory that does not find its recommendations in its cache any more, because what it puts there
// has expired by the time it is looked up: each home page has them worked out anew, all at once.
func cacheStampede() Scenario {
	return Scenario{
		Name:  "cache-stampede",
		About: "a cache is empty, and everybody works out at once what it held",
		Draw: func(d *Draw) Case {
			const process = "inventory"
			f := shop.Fault{Name: "cache-expiry", Strength: float64(d.Int(1, 1, 20))}
			return Case{
				Truths: []Truth{{model.ClassSelf, d.Service(process), model.CacheStampede}},
				Target: fmt.Sprintf("%s, entries live for %.0f ms", process, f.Strength),
				Inject: switchFault(process, f),
			}
		},
	}
}

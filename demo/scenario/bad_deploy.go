package scenario

import (
	"context"
	"fmt"

	"triage/demo/shop"
	"triage/internal/model"
)

// The versions of a bad deployment.
const (
	goodVersion = "1.0.0"
	badVersion  = "2"
)

// badDeploy is a new version of a service with a bug in it, and the pipeline's record of it.
func badDeploy() Scenario {
	return Scenario{
		Name:  "bad-deploy",
		About: "a new version has a bug",
		Draw: func(d *Draw) Case {
			process := Pick(d, "payment", "order", "inventory", "storefront")
			f := Pick(d,
				shop.Fault{Name: "errors", Strength: float64(d.Int(1, 1, 2)), Share: d.Float(0.5, 0.3, 1)},
				shop.Fault{Name: "slow-code", Strength: d.Float(200, 150, 300), Share: d.Float(1, 0.8, 1)})
			change := model.Change{Service: d.Name(process), Version: badVersion}
			return Case{
				Truths: []Truth{{model.ClassChange, change.Entity(), model.BadDeployment}},
				Target: fmt.Sprintf("%s %s, %s in %.0f %% of the requests", process, badVersion, f.Name, 100*f.Share),
				Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
					err := w.release(ctx, process, change.Service, goodVersion, "routine release",
						shop.Options{Version: badVersion, Faults: []shop.Fault{f}})
					if err != nil {
						return nil, err
					}
					return func(ctx context.Context) error {
						return w.release(ctx, process, change.Service, badVersion, "rollback", shop.Options{Version: goodVersion})
					}, nil
				},
			}
		},
	}
}

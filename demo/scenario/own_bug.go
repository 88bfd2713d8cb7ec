package scenario

import (
	"context"

	"triage/internal/model"
)

// ownBug is a code path of the order service that compares every line of a basket with the whole assortment, one
// basket at a time. Nothing is deployed, logged or called that wasn't before.
func ownBug() Scenario {
	const service, fault = "order", "slow-validation"
	return Scenario{
		Name:  "own-bug",
		About: "a service's own code becomes slow",
		Truth: func(uint64) Truth {
			return Truth{model.ClassSelf, model.ServiceEntity(service), model.SlowCode}
		},
		Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
			if err := w.Fault(ctx, service, fault, true); err != nil {
				return nil, err
			}
			return func(ctx context.Context) error { return w.Fault(ctx, service, fault, false) }, nil
		},
	}
}

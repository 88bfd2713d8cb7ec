package scenario

import (
	"context"
	"net/http"
	"time"

	"triage/demo/load"
	"triage/internal/model"
)

// poolExhaustion is one company that asks for quotes of very many lines, several at a time. Each holds one of
// inventory's connections for seconds, because inventory asks the supplier for every line inside of its transaction;
// everybody else waits for a connection. The database itself has little to do.
func poolExhaustion() Scenario {
	return Scenario{
		Name:  "pool-exhaustion",
		About: "one user's huge requests hold all database connections of a service",
		Truth: func(seed uint64) Truth {
			return Truth{model.ClassCaller, model.UserEntity(load.BusinessUser(seed)), model.PoolExhaustion}
		},
		Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
			flood := load.Flood{
				User: load.BusinessUser(w.Seed), Method: http.MethodPost, Path: "/business/quotes",
				Workers: 11, Pause: 60 * time.Millisecond,
				Body: func(p *load.Plan) any { return map[string]any{"lines": p.Lines(90)} },
			}
			return background(ctx, func(ctx context.Context) { w.Load.Flood(ctx, flood) }), nil
		},
	}
}

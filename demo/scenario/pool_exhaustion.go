package scenario

import (
	"context"
	"fmt"
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
		Draw: func(d *Draw) Case {
			user, lines := load.BusinessUser(uint64(d.Int(1, 0, 59))), d.Int(90, 75, 110)
			flood := load.Flood{
				User: user, Method: http.MethodPost, Path: "/business/quotes",
				Workers: d.Int(11, 10, 14), Pause: 60 * time.Millisecond,
				Body: func(p *load.Plan) any { return map[string]any{"lines": p.Lines(lines)} },
			}
			return Case{
				Truths: []Truth{{model.ClassCaller, model.UserEntity(user), model.PoolExhaustion}},
				Target: fmt.Sprintf("user %s, %d at a time, %d lines each", user, flood.Workers, lines),
				Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
					return background(ctx, func(ctx context.Context) { w.Load.Flood(ctx, flood) }), nil
				},
			}
		},
	}
}

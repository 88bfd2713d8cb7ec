package scenario

import (
	"context"
	"time"

	"triage/client"
	"triage/demo/shop"
)

// quiet is five minutes in which much happens and nothing is wrong: twice the visitors for two minutes, interests that
// drift, and a deployment that changes nothing.
func quiet() Scenario {
	return Scenario{
		Name:  "quiet",
		About: "five minutes in which nothing is wrong",
		Draw: func(d *Draw) Case {
			return Case{
				Target: "twice the visitors, and a harmless deployment of payment",
				For:    300 * time.Second,
				Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
					stop := background(ctx, func(ctx context.Context) { quietly(ctx, w, d.Name("payment")) })
					return func(ctx context.Context) error {
						defer w.Load.SetFactor(1)
						return stop(ctx)
					}, nil
				},
			}
		},
	}
}

// quietly is the story of the quiet period. Changes name the service as its telemetry does.
func quietly(ctx context.Context, w *World, service string) {
	const process, from, to = "payment", "1.0.0", "1.1.0"
	steps := []struct {
		after time.Duration
		do    func() error
	}{
		{20 * time.Second, func() error {
			w.Say("twice as many visitors")
			w.Load.SetFactor(2)
			return nil
		}},
		{70 * time.Second, func() error {
			w.Say("deploying a harmless version")
			if err := w.Restart(ctx, process, shop.Options{Version: to}); err != nil {
				return err
			}
			return w.Record(ctx, client.Change{At: time.Now(), Kind: "deployment", Service: service, Version: to,
				From: from, To: to, By: "pipeline", Summary: "routine release"})
		}},
		{70 * time.Second, func() error {
			w.Say("visitors as before")
			w.Load.SetFactor(1)
			return nil
		}},
	}
	for _, s := range steps {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.after):
		}
		if err := s.do(); err != nil {
			w.Say("the story of the quiet period went wrong: %v", err)
			return
		}
	}
}

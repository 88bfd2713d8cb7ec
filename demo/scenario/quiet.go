package scenario

import (
	"context"
	"time"

	"triage/client"
)

// quiet is five minutes in which much happens and nothing is wrong: twice the visitors for two minutes, interests that
// drift, and a deployment that changes nothing.
func quiet() Scenario {
	const service, from, to = "payment", "1.0.0", "1.1.0"
	steps := []struct {
		after time.Duration
		do    func(context.Context, *World) error
	}{
		{20 * time.Second, func(_ context.Context, w *World) error {
			w.Say("twice as many visitors")
			w.Load.SetFactor(2)
			return nil
		}},
		{70 * time.Second, func(ctx context.Context, w *World) error {
			w.Say("deploying a harmless version")
			if err := w.Restart(ctx, service, to); err != nil {
				return err
			}
			return w.Record(ctx, client.Change{At: time.Now(), Kind: "deployment", Service: service, Version: to,
				From: from, To: to, By: "pipeline", Summary: "routine release"})
		}},
		{70 * time.Second, func(_ context.Context, w *World) error {
			w.Say("visitors as before")
			w.Load.SetFactor(1)
			return nil
		}},
	}
	return Scenario{
		Name:  "quiet",
		About: "five minutes in which nothing is wrong",
		For:   300 * time.Second,
		Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
			stop := background(ctx, func(ctx context.Context) {
				for _, s := range steps {
					select {
					case <-ctx.Done():
						return
					case <-time.After(s.after):
					}
					if err := s.do(ctx, w); err != nil {
						w.Say("the story of the quiet period went wrong: %v", err)
						return
					}
				}
			})
			return func(ctx context.Context) error {
				defer w.Load.SetFactor(1)
				return stop(ctx)
			}, nil
		},
	}
}

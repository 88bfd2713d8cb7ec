package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"triage/demo/shop"
	"triage/internal/model"
	"triage/internal/proxy"
)

// part is one fault of which confusing cases are made.
type part struct {
	process string // that has it; empty where it is in no process
	truth   Truth
	target  string
	inject  func(context.Context, *World) (func(context.Context) error, error)
}

// slow is a service whose own code takes longer.
func slow(d *Draw, process, operation string) part {
	f := shop.Fault{Name: "slow-code", Operation: operation, Strength: d.Float(250, 200, 350)}
	return part{
		process,
		Truth{model.ClassSelf, d.Service(process), model.SlowCode},
		fmt.Sprintf("%s %s, %.0f ms", process, operation, f.Strength),
		switchFault(process, f),
	}
}

// failing is a service whose own code fails.
func failing(d *Draw, process, operation string) part {
	f := shop.Fault{Name: "errors", Operation: operation, Strength: float64(d.Int(1, 1, 2)), Share: d.Float(0.5, 0.35, 0.8)}
	return part{
		process,
		Truth{model.ClassSelf, d.Service(process), model.FailingCode},
		fmt.Sprintf("%s %s, errors in %.0f %%", process, operation, 100*f.Share),
		switchFault(process, f),
	}
}

// delayed is a network that has become slow, measured there and back.
func delayed(d *Draw, caller, callee string) part {
	there := time.Duration(d.Int(200, 150, 400)) * time.Millisecond / 2
	return part{
		"",
		Truth{model.ClassNetwork, model.EdgeEntity(d.Name(caller), d.Name(callee)), model.NetworkDelay},
		fmt.Sprintf("%s->%s, %d ms there and back", caller, callee, 2*there.Milliseconds()),
		disturb(caller, callee, proxy.Fault{Delay: there, Jitter: there / 5}),
	}
}

// down is a host outside whose service does not answer.
func down(d *Draw, host string) part {
	f := shop.Fault{Name: "outage", Strength: 2}
	return part{
		shop.ProcessOf(host),
		Truth{model.ClassDependency, model.RemoteEntity(d.Name(host)), model.DependencyDown},
		host + " does not answer",
		switchFault(shop.ProcessOf(host), f),
	}
}

// disturb is the Inject of a case that is nothing but a disturbed network.
func disturb(caller, callee string, faults ...proxy.Fault) func(context.Context, *World) (func(context.Context) error, error) {
	return func(_ context.Context, w *World) (func(context.Context) error, error) {
		p, err := w.Edge(caller, callee)
		if err != nil {
			return nil, err
		}
		var removes []func() error
		remove := func(context.Context) error {
			var errs []error
			for _, r := range slices.Backward(removes) {
				errs = append(errs, r())
			}
			return errors.Join(errs...)
		}
		for _, f := range faults {
			r, err := p.Apply(f)
			if err != nil {
				return nil, errors.Join(err, remove(context.Background()))
			}
			removes = append(removes, r)
		}
		return remove, nil
	}
}

// together injects one after the other at once, and takes them back in reverse.
func together(injects ...func(context.Context, *World) (func(context.Context) error, error)) func(context.Context, *World) (func(context.Context) error, error) {
	return func(ctx context.Context, w *World) (func(context.Context) error, error) {
		var removes []func(context.Context) error
		remove := func(ctx context.Context) error {
			var errs []error
			for _, r := range slices.Backward(removes) {
				errs = append(errs, r(ctx))
			}
			return errors.Join(errs...)
		}
		for _, inject := range injects {
			r, err := inject(ctx, w)
			if err != nil {
				return nil, errors.Join(err, remove(ctx))
			}
			removes = append(removes, r)
		}
		return remove, nil
	}
}

// restarted is the Prepare of a case in which some processes run with other options.
func restarted(o shop.Options, processes ...string) func(context.Context, *World) (func(context.Context) error, error) {
	return func(ctx context.Context, w *World) (func(context.Context) error, error) {
		for _, p := range processes {
			if err := w.Restart(ctx, p, o); err != nil {
				return nil, err
			}
		}
		return func(ctx context.Context) error {
			var errs []error
			for _, p := range processes {
				errs = append(errs, w.Restart(ctx, p, shop.Options{}))
			}
			return errors.Join(errs...)
		}, nil
	}
}

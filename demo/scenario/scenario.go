// Package scenario is what can go wrong in the shop on purpose: a table of members, each with what a judge should
// find, and how to bring it about and take it back.
//
// A scenario acts through World only: it sends requests, flips a switch that nobody observes, disturbs the network,
// restarts a process or records a change, as a careless colleague might. It never tells the judge.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"triage/client"
	"triage/demo/load"
	"triage/demo/shop"
	"triage/internal/model"
	"triage/internal/proxy"
)

// Truth is the verdict that would be right.
type Truth struct {
	Class     model.Class     `json:"class"`
	Entity    model.Entity    `json:"entity"`
	Mechanism model.Mechanism `json:"mechanism"`
}

// Is tells whether a cause is this truth, compared exactly.
func (t Truth) Is(c *model.Cause) bool {
	return c != nil && c.Class == t.Class && c.Entity == t.Entity && c.Mechanism == t.Mechanism
}

// World is the shop as a scenario may touch it. Processes go by their names in package shop, whatever their telemetry
// calls them.
type World struct {
	Seed uint64
	Load *load.Generator
	// Fault switches a fault that is built into a process on, or off if its Strength is 0.
	Fault func(ctx context.Context, process string, f shop.Fault) error
	// Set gives a setting of a running process another value. An empty one is the default again.
	Set func(ctx context.Context, process, key, value string) error
	// Edge is what stands in the network between two processes, or between a process and a host outside.
	Edge func(caller, callee string) (*proxy.Proxy, error)
	// Restart replaces a process by one with other options, losing no request.
	Restart func(ctx context.Context, process string, o shop.Options) error
	// SQL runs statements on the stock database, as an administrator.
	SQL func(ctx context.Context, statements ...string) error
	// Record tells triage of a change, as a deployment pipeline does.
	Record func(ctx context.Context, c client.Change) error
	// Say tells the person who watches the demo.
	Say func(format string, args ...any)
}

// release replaces a process by another version, and tells triage of it before, as a pipeline does. Service is what the
// process' telemetry calls it.
func (w *World) release(ctx context.Context, process, service, from, summary string, to shop.Options) error {
	return errors.Join(
		w.Record(ctx, client.Change{At: time.Now(), Kind: "deployment", Service: service, Version: to.Version,
			From: from, To: to.Version, By: "pipeline", Summary: summary}),
		w.Restart(ctx, process, to))
}

// Scenario is one member of the table.
type Scenario struct {
	Name string
	// About says in one line what happens.
	About string
	// Confusing marks what is there to mislead the judge, besides the plain faults.
	Confusing bool
	// Draw makes one case of it.
	Draw func(d *Draw) Case
}

// Case is one thing to do to the shop.
type Case struct {
	// Truths are what a judge should find: any of them is right. None where there is nothing to find.
	Truths []Truth
	// Target says in a line what was drawn: whom it hits, and how hard.
	Target string
	// Prepare, if not nil, is done long before, so that triage learns what it brings about as usual. It returns what
	// takes it back.
	Prepare func(ctx context.Context, w *World) (undo func(context.Context) error, err error)
	// Inject makes it happen and returns what takes it back and waits until it is back. What goes on by itself ends
	// with ctx.
	Inject func(ctx context.Context, w *World) (remove func(context.Context) error, err error)
	// Lead is how long after the beginning of Inject something goes wrong, where harmless things come first.
	Lead time.Duration
	// For is how long to watch where there is nothing to find.
	For time.Duration
}

// Right tells whether a cause is one of the case's truths.
func (c Case) Right(cause *model.Cause) bool {
	return slices.ContainsFunc(c.Truths, func(t Truth) bool { return t.Is(cause) })
}

// Draw makes a scenario's choices. Without a generator they are the standard ones.
type Draw struct {
	rng *rand.Rand
	// Name is what the telemetry calls a process or a host.
	Name func(string) string
}

// Standard makes the standard choices in a shop whose telemetry calls a process what name says. A nil name changes no
// name.
func Standard(name func(string) string) *Draw {
	if name == nil {
		name = func(s string) string { return s }
	}
	return &Draw{Name: name}
}

// Seeded makes the choices that follow from a seed.
func Seeded(seed uint64, name func(string) string) *Draw {
	d := Standard(name)
	d.rng = rand.New(rand.NewPCG(seed, 0x5ce0))
	return d
}

// Int is a number in [low, high], by standard the given one.
func (d *Draw) Int(standard, low, high int) int {
	if d.rng == nil {
		return standard
	}
	return low + d.rng.IntN(high-low+1)
}

// Float is a number in [low, high), by standard the given one.
func (d *Draw) Float(standard, low, high float64) float64 {
	if d.rng == nil {
		return standard
	}
	return low + d.rng.Float64()*(high-low)
}

// Pick is one of several, by standard the first.
func Pick[T any](d *Draw, of ...T) T {
	if d.rng == nil {
		return of[0]
	}
	return of[d.rng.IntN(len(of))]
}

// Service is the entity of a process.
func (d *Draw) Service(process string) model.Entity { return model.ServiceEntity(d.Name(process)) }

// All are the scenarios; the first is the default.
func All() []Scenario {
	return []Scenario{
		poolExhaustion(),
		retryStorm(),
		hotKey(),
		slowQuery(),
		lockWait(),
		ownBug(),
		cacheStampede(),
		slowConsumer(),
		networkDelay(),
		connectionLoss(),
		dnsFailure(),
		eventFlood(),
		badDeploy(),
		configChange(),
		cpuHog(),
		memoryLeak(),
		diskFull(),
		downstreamOutage(),
		twoFaults(),
		faultInSurge(),
		faultInCrowd(),
		retriedOutage(),
		innocentDeploy(),
		lostTelemetry(),
		metricsOnly(),
		logsOnly(),
		quiet(), // last: it takes five minutes
	}
}

// Survey is one scenario of each kind of trouble, with the quiet last: what can be seen in twenty minutes.
func Survey() []Scenario {
	return []Scenario{
		poolExhaustion(),                // a caller
		slowQuery(), downstreamOutage(), // dependencies
		ownBug(),                         // the service itself
		networkDelay(), connectionLoss(), // the network
		eventFlood(),                // events
		badDeploy(), configChange(), // changes
		cpuHog(), memoryLeak(), // resources
		quiet(),
	}
}

// Names are the names of All.
func Names() []string {
	var names []string
	for _, s := range All() {
		names = append(names, s.Name)
	}
	return names
}

// Find looks a scenario up by name.
func Find(name string) (Scenario, error) {
	for _, s := range All() {
		if s.Name == name {
			return s, nil
		}
	}
	return Scenario{}, fmt.Errorf("unknown scenario %q; there are %s", name, strings.Join(Names(), ", "))
}

// background runs f until remove is called, or ctx ends.
func background(ctx context.Context, f func(context.Context)) (remove func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func(context.Context) error {
		cancel()
		<-done
		return nil
	}
}

// switchFault is the Inject of a case that is nothing but a process' fault.
func switchFault(process string, f shop.Fault) func(context.Context, *World) (func(context.Context) error, error) {
	return func(ctx context.Context, w *World) (func(context.Context) error, error) {
		if err := w.Fault(ctx, process, f); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			off := f
			off.Strength = 0
			return w.Fault(ctx, process, off)
		}, nil
	}
}

// Package scenario is what can go wrong in the shop on purpose: a table of members, each with what a judge should
// find, and how to bring it about and take it back.
//
// A scenario acts through World only: it sends requests, flips a switch that nobody observes, restarts a process or
// records a change, as a careless colleague might. It never tells the judge.
package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"triage/client"
	"triage/demo/load"
	"triage/internal/model"
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

// World is the shop as a scenario may touch it.
type World struct {
	Seed uint64
	Load *load.Generator
	// Fault switches a fault that is built into a service.
	Fault func(ctx context.Context, service, fault string, on bool) error
	// Restart replaces a service's process by one of another version, losing no request.
	Restart func(ctx context.Context, service, version string) error
	// Record tells triage of a change, as a deployment pipeline does.
	Record func(ctx context.Context, c client.Change) error
	// Say tells the person who watches the demo.
	Say func(format string, args ...any)
}

// Scenario is one member of the table.
type Scenario struct {
	Name string
	// About says in one line what happens.
	About string
	// Truth is what a judge should find in a run with the given seed. Nil where there is nothing to find.
	Truth func(seed uint64) Truth
	// Inject makes it happen and returns what takes it back and waits until it is back. What goes on by itself ends
	// with ctx.
	Inject func(ctx context.Context, w *World) (remove func(context.Context) error, err error)
	// For is how long to watch where there is nothing to find.
	For time.Duration
}

// All are the scenarios; the first is the default.
func All() []Scenario {
	return []Scenario{
		poolExhaustion(),
		ownBug(),
		quiet(), // last: it takes five minutes
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

// Package shop is a small web shop made of real processes: storefront, order, inventory, payment, notification and
// promotion, with a message broker between them, a database behind inventory, and a bank and a supplier outside that
// nobody here instruments.
//
//	                        +--> promotion ...events...> inventory, order
//	load --HTTP--> storefront --gRPC--> inventory --SQL--> stock database
//	                        |             |  +--HTTP--> supplier
//	                        |             ^
//	                        +--HTTP--> order --HTTP--> payment --HTTP--> bank
//	                                    +....events...> notification
//
// The services are instrumented the way shops are: OpenTelemetry's SDK, its HTTP, gRPC, SQL and runtime
// instrumentation, slog bridged to OTLP, the user's id carried as W3C baggage. They log what their libraries return.
// The package refuses to help whoever judges the telemetry: no line, attribute, metric or span exists for the sake of
// a fault, and the port that switches a fault on is not observed.
//
// Each process runs one Run; nothing is shared between two of them, so tests run several in one process.
package shop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Config is all that a process of the shop is told. It comes as one line of JSON on standard input.
type Config struct {
	// Process is the name of one of Processes.
	Process string `json:"process"`
	Version string `json:"version"`
	// Listen and Control are "fd:3" for an inherited listener, or an address to listen on.
	Listen  string `json:"listen"`
	Control string `json:"control"`
	// Hosts says where a process' or a host's name leads for this process, as a cluster's DNS would: to what stands in
	// the network between the two.
	Hosts map[string]string `json:"hosts"`
	// Names is what telemetry calls a process or a host, where that isn't its own name. No two are called the same.
	Names map[string]string `json:"names,omitempty"`
	// OTLP is the address of the OTLP gRPC endpoint. Empty sends nothing.
	OTLP     string   `json:"otlp"`
	Database Database `json:"database"`
	// Dir is where the broker keeps its messages.
	Dir  string `json:"dir"`
	Seed uint64 `json:"seed"`
	// Faults are on from the start.
	Faults []Fault `json:"faults,omitempty"`
	// Settings are configuration, by key. What is missing has its default.
	Settings map[string]string `json:"settings,omitempty"`
	// Signals are those of "traces", "metrics" and "logs" that the process reports; empty is all.
	Signals []string `json:"signals,omitempty"`
	// Loss is the share of the process' spans that never arrive, in [0, 1).
	Loss float64 `json:"loss,omitempty"`
}

// Name is what telemetry calls a process or a host.
func (c Config) Name(host string) string {
	if name, ok := c.Names[host]; ok {
		return name
	}
	return host
}

// host is the process or host that telemetry calls by name.
func (c Config) host(name string) string {
	for host, n := range c.Names {
		if n == name {
			return host
		}
	}
	return name
}

// Fault is a fault that is built into a process.
type Fault struct {
	Name string `json:"name"`
	// Operation is the HTTP route or RPC method that it hits; empty is all.
	Operation string `json:"operation,omitempty"`
	// Strength is in the fault's own unit; 0 switches it off.
	Strength float64 `json:"strength"`
	// Share is the share of the requests that it hits, in (0, 1]; 0 means all.
	Share float64 `json:"share,omitempty"`
}

// Options are what a restart can change of a process.
type Options struct {
	// Version is empty for the one that the process has.
	Version string
	// Faults are built into this version: on from its start.
	Faults []Fault
	// Settings are configuration, as the control port sets it.
	Settings map[string]string
	// Signals are those of "traces", "metrics" and "logs" that the process reports; empty is all.
	Signals []string
	// Loss is the share of its spans that never arrive, in [0, 1).
	Loss float64
}

// Processes are the shop's processes, in the order in which they are started: who is called comes before who calls.
func Processes() []string {
	names := make([]string, len(processes))
	for i, p := range processes {
		names[i] = p.name
	}
	return names
}

// Services are those of them that are the shop's own and report to triage.
func Services() []string {
	var names []string
	for _, p := range processes {
		if !p.outside {
			names = append(names, p.name)
		}
	}
	return names
}

// Edges are the hosts that each process calls, by the names that it calls them by. Besides, inventory calls its
// database.
func Edges() map[string][]string {
	edges := map[string][]string{}
	for _, p := range processes {
		if len(p.calls) > 0 {
			edges[p.name] = p.calls
		}
	}
	return edges
}

// ProcessOf is the process that answers as a host: the outside world goes by its own names.
func ProcessOf(host string) string { return strings.TrimSuffix(host, outsideDomain) }

// outsideDomain is where the acquirer and the supplier are.
const outsideDomain = ".example"

type process struct {
	name string
	// outside marks what is not the shop's own code and reports nothing.
	outside bool
	build   func(ctx context.Context, e *env) (*unit, error)
	calls   []string
}

var processes = []process{
	{"nats", true, newBroker, nil}, // before those that create its streams
	{"acquirer", true, newAcquirer, nil},
	{"supplier", true, newSupplier, nil},
	{"promotion", false, newPromotion, []string{"nats"}},
	{"inventory", false, newInventory, []string{"supplier.example", "nats"}},
	{"payment", false, newPayment, []string{"acquirer.example"}},
	{"notification", false, newNotification, []string{"nats"}},
	{"order", false, newOrder, []string{"inventory", "payment", "nats"}},
	{"storefront", false, newStorefront, []string{"inventory", "order", "promotion"}},
}

// unit is a wired process: what it serves and what runs beside that.
type unit struct {
	// serve answers on the listener until stop is called. Nil where the process only consumes.
	serve func(net.Listener) error
	// stop refuses new requests and waits for those in flight.
	stop func(context.Context) error
	// background runs until its context ends.
	background []func(context.Context) error
	// faults are switched by the control port, by name.
	faults map[string]func(Fault)
	// settings are changed by the control port, by key. An empty value is the default; an error is the value's fault.
	settings map[string]func(value string) error
	// close gives back what build took, after everything else has stopped.
	close func()
}

// env is what a process is built from.
type env struct {
	cfg Config
	tel *Telemetry
	log *slog.Logger
	own *own
}

// drainFor bounds how long a process that was told to stop finishes what it has begun.
const drainFor = 5 * time.Second

// Main reads a Config from r and runs the process until ctx ends or r does: whoever started the process holds the
// other end of r, so that the process never outlives it.
func Main(ctx context.Context, r io.Reader) error {
	in := bufio.NewReader(r)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the configuration of a shop process from standard input: %w", err)
	}
	var cfg Config
	if err := json.Unmarshal(line, &cfg); err != nil {
		return fmt.Errorf("decode the configuration of a shop process: %w", err)
	}
	limitProcess()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The goroutine ends with the process: a read of standard input cannot be interrupted.
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	return Run(ctx, cfg)
}

// Run runs one process until ctx ends, then lets it finish what it has begun.
func Run(ctx context.Context, cfg Config) error {
	for _, p := range processes {
		if p.name == cfg.Process && p.outside {
			cfg.OTLP = ""
		}
	}
	tel, err := newTelemetry(ctx, cfg)
	if err != nil {
		return err
	}
	err = RunWith(ctx, cfg, tel)
	// A dead endpoint must not keep the process: what cannot be sent in two seconds is lost.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = tel.Shutdown(flush)
	return err
}

// RunWith is Run with telemetry of the caller's, which stays the caller's to shut down.
func RunWith(ctx context.Context, cfg Config, tel *Telemetry) error {
	var build func(context.Context, *env) (*unit, error)
	for _, p := range processes {
		if p.name == cfg.Process {
			build = p.build
		}
	}
	if build == nil {
		return fmt.Errorf("unknown shop process %q", cfg.Process)
	}
	listener, err := listen(cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for %s: %w", cfg.Process, err)
	}
	defer func() { _ = listener.Close() }()
	control, err := listen(cfg.Control)
	if err != nil {
		return fmt.Errorf("listen for control of %s: %w", cfg.Process, err)
	}
	defer func() { _ = control.Close() }()
	e := &env{cfg: cfg, tel: tel, log: tel.Logger(cfg.Name(cfg.Process)), own: newOwn()}
	u, err := build(ctx, e)
	if err != nil {
		return fmt.Errorf("build %s: %w", cfg.Process, err)
	}
	e.own.equip(u)
	defer u.close()
	if err := u.configure(cfg); err != nil {
		return fmt.Errorf("configure %s: %w", cfg.Process, err)
	}
	return u.run(ctx, listener, control)
}

// run serves until ctx ends or a part fails, and returns the first failure.
func (u *unit) run(ctx context.Context, listener, control net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	start := func(f func() error) {
		parts.Go(func() {
			if err := f(); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, http.ErrServerClosed) {
				cancel(err)
			}
		})
	}
	for _, b := range u.background {
		start(func() error { return b(ctx) })
	}
	if u.serve != nil {
		start(func() error { return u.serve(listener) })
	}
	ctl := &http.Server{Handler: controlHandler(u), ReadHeaderTimeout: time.Second}
	start(func() error { return ctl.Serve(control) })

	<-ctx.Done()
	drain, done := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer done()
	var errs []error
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		errs = append(errs, cause)
	}
	if u.stop != nil {
		errs = append(errs, u.stop(drain))
	}
	errs = append(errs, ctl.Close())
	parts.Wait()
	return errors.Join(errs...)
}

// listen opens an address, or takes over the listener at an inherited descriptor.
func listen(where string) (net.Listener, error) {
	fd, inherited := strings.CutPrefix(where, "fd:")
	if !inherited {
		return net.Listen("tcp", where)
	}
	var n uintptr
	if _, err := fmt.Sscan(fd, &n); err != nil {
		return nil, fmt.Errorf("descriptor %q: %w", where, err)
	}
	f := os.NewFile(n, where)
	defer func() { _ = f.Close() }() // FileListener works on a copy.
	return net.FileListener(f)
}

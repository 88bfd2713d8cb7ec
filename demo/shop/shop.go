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
	// Hosts says where a host's name leads, as a cluster's DNS would.
	Hosts map[string]string `json:"hosts"`
	// OTLP is the address of the OTLP gRPC endpoint. Empty sends nothing.
	OTLP     string   `json:"otlp"`
	Database Database `json:"database"`
	// Dir is where the broker keeps its messages.
	Dir  string `json:"dir"`
	Seed uint64 `json:"seed"`
}

// Processes are the shop's processes, in the order in which they are started: who is called comes before who calls.
func Processes() []string {
	names := make([]string, len(processes))
	for i, p := range processes {
		names[i] = p.name
	}
	return names
}

type process struct {
	name string
	// outside marks what is not the shop's own code and reports nothing.
	outside bool
	build   func(ctx context.Context, e *env) (*unit, error)
}

var processes = []process{
	{"nats", true, newBroker}, // before those that create its streams
	{"acquirer", true, newAcquirer},
	{"supplier", true, newSupplier},
	{"promotion", false, newPromotion},
	{"inventory", false, newInventory},
	{"payment", false, newPayment},
	{"notification", false, newNotification},
	{"order", false, newOrder},
	{"storefront", false, newStorefront},
}

// unit is a wired process: what it serves and what runs beside that.
type unit struct {
	// serve answers on the listener until stop is called. Nil where the process only consumes.
	serve func(net.Listener) error
	// stop refuses new requests and waits for those in flight.
	stop func(context.Context) error
	// background runs until its context ends.
	background []func(context.Context) error
	// faults are switched by the control port.
	faults map[string]func(on bool)
	// close gives back what build took, after everything else has stopped.
	close func()
}

// env is what a process is built from.
type env struct {
	cfg Config
	tel *Telemetry
	log *slog.Logger
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
	u, err := build(ctx, &env{cfg: cfg, tel: tel, log: tel.Logger(cfg.Process)})
	if err != nil {
		return fmt.Errorf("build %s: %w", cfg.Process, err)
	}
	if u.close != nil {
		defer u.close()
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
	ctl := &http.Server{Handler: controlHandler(u.faults), ReadHeaderTimeout: time.Second}
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

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"triage/client"
	"triage/demo/load"
	"triage/demo/scenario"
)

// serveTimeout is how long triage may take to start.
const serveTimeout = 30 * time.Second

// session is one triage, one shop that reports to it and its customers, in which cases are run one after the other.
type session struct {
	Options
	began    time.Time
	progress io.Writer

	mu sync.Mutex // serializes lines of progress

	client *client.Client
	load   *load.Generator
	world  *scenario.World
	// name is what telemetry calls a process or host.
	name func(string) string
	// failed returns why one of the processes ended by itself, if one did.
	failed func() error

	// quietSince is since when nothing is wrong; zero while something is.
	quietSince time.Time

	dir    string
	triage *proc
	fleet  *fleet
	// leave sends the customers home and waits until they are gone.
	leave func()
}

// open starts everything and returns when triage has learned what is usual. Names are what telemetry calls processes
// and hosts that go by another name. What was started has ended again if it returns an error.
func open(ctx context.Context, o Options, names map[string]string, progress io.Writer) (*session, error) {
	s := &session{Options: o, began: time.Now(), progress: progress, client: client.New("http://" + o.HTTP), leave: func() {}}
	s.name = func(process string) string {
		if name, ok := names[process]; ok {
			return name
		}
		return process
	}
	if err := s.portsAreFree(); err != nil {
		return nil, err
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "triage-demo-"); err != nil {
		return nil, fmt.Errorf("make a directory for the demo: %w", err)
	}
	// The database's server runs as another user, who must be able to pass.
	err = os.Chmod(s.dir, 0o711)
	if err == nil {
		err = s.start(ctx, names)
	}
	if err == nil {
		s.quietSince = time.Now()
		err = s.learn(ctx, s.Warmup)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close stops the customers, the shop and triage, in this order.
func (s *session) close() error {
	s.leave()
	if s.fleet != nil {
		s.fleet.stop()
	}
	if s.triage != nil {
		s.triage.stop(syscall.SIGTERM, 10*time.Second)
	}
	if s.Keep {
		s.say("logs and data are kept in %s", s.dir)
		return nil
	}
	return os.RemoveAll(s.dir)
}

// say prints a line of progress with the time since the start.
func (s *session) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.progress, "%6.1f s  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// portsAreFree says which port is taken and how to move, before anything is started.
func (s *session) portsAreFree() error {
	var errs []error
	for _, p := range []struct{ address, flag string }{
		{s.HTTP, "listen-http"}, {s.OTLPGRPC, "listen-otlp-grpc"}, {s.OTLPHTTP, "listen-otlp-http"},
	} {
		l, err := net.Listen("tcp", p.address)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s is in use or not ours: %w; move with --%s HOST:PORT or %s", p.address, err, p.flag,
				"TRIAGE_"+strings.ToUpper(strings.ReplaceAll(p.flag, "-", "_"))))
			continue
		}
		_ = l.Close()
	}
	return errors.Join(errs...)
}

// start brings up triage and the shop at once, and lets the customers in.
func (s *session) start(ctx context.Context, names map[string]string) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	data := s.Data
	if data == "" {
		data = filepath.Join(s.dir, "data")
	}
	serve := exec.Command(exe, "serve", "--data", data, "--listen-http", s.HTTP, "--listen-otlp-grpc", s.OTLPGRPC,
		"--listen-otlp-http", s.OTLPHTTP)
	serve.Env = withoutSettings(os.Environ())
	if s.triage, err = start("triage", s.dir, serve, nil); err != nil {
		return err
	}
	if s.fleet, err = newFleet(exe, s.dir, s.OTLPGRPC, s.Seed, names, s.say); err != nil {
		return err
	}
	s.say("starting triage and the shop")
	var shopErr error
	var starting sync.WaitGroup
	starting.Go(func() { shopErr = s.fleet.start(ctx) })
	err = s.triage.wait(ctx, serveTimeout, s.client.Ready)
	if err == nil {
		s.say("triage is up: http://%s/", s.HTTP)
	}
	starting.Wait()
	if err := errors.Join(err, shopErr); err != nil {
		return err
	}
	s.say("shop is up: %s", s.fleet.address())
	s.failed = func() error {
		select {
		case <-s.triage.done:
			return fmt.Errorf("triage ended by itself (%w): %s", s.triage.err, s.triage.lastLines())
		default:
			return s.fleet.failed()
		}
	}
	s.load = load.New(load.Config{URL: s.fleet.address(), Rate: s.Rate, Seed: s.Seed})
	s.world = &scenario.World{
		Seed: s.Seed, Load: s.load, Fault: s.fleet.fault, Set: s.fleet.set, Edge: s.fleet.edge, Restart: s.fleet.restart,
		SQL: s.fleet.sql, Say: s.say,
		Record: func(ctx context.Context, c client.Change) error {
			_, err := s.client.RecordChange(ctx, c)
			return err
		},
	}
	shopping, closing := context.WithCancel(ctx)
	var customers sync.WaitGroup
	customers.Go(func() { _ = s.load.Run(shopping) }) // ends with shopping, without an error
	s.leave = func() {
		closing()
		customers.Wait()
	}
	return nil
}

// withoutSettings drops triage's own settings, so that it runs with its defaults whatever the user's are.
func withoutSettings(environ []string) []string {
	var kept []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "TRIAGE_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// pause waits, unless ctx ends or one of the processes does.
func (s *session) pause(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(time.Second, time.Until(end))):
		}
		if err := s.failed(); err != nil {
			return err
		}
		if !time.Now().Before(end) {
			return nil
		}
	}
}

// learn lets normal traffic flow for a time, so that triage knows what is usual.
func (s *session) learn(ctx context.Context, lasting time.Duration) error {
	began := time.Now()
	for next := 10 * time.Second; ; next += 10 * time.Second {
		gone := time.Since(began)
		stats := s.load.Stats()
		s.say("learning what is usual %.0f/%.0f s (%d requests, %d failed)", gone.Seconds(), lasting.Seconds(), stats.Sent, stats.Failed)
		if gone >= lasting {
			return nil
		}
		if err := s.pause(ctx, min(next, lasting)-gone); err != nil {
			return err
		}
	}
}

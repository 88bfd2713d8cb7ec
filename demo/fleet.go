package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"triage/demo/shop"
)

// fleet is the shop's processes and what they share: listeners that outlive a restart, and the database.
type fleet struct {
	exe, dir, otlp string
	seed           uint64
	say            func(string, ...any)
	hosts          map[string]string
	listeners      map[string]*os.File
	database       shop.Database
	postgres       *proc

	mu sync.Mutex
	// members are the running processes by name. Guarded by mu.
	members map[string]member
}

type member struct {
	*proc
	control string // address
}

// newFleet opens a listener for each process; nothing runs yet.
func newFleet(exe, dir, otlp string, seed uint64, say func(string, ...any)) (*fleet, error) {
	f := &fleet{exe: exe, dir: dir, otlp: otlp, seed: seed, say: say, hosts: map[string]string{},
		listeners: map[string]*os.File{}, members: map[string]member{}}
	for _, name := range shop.Processes() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			f.stop()
			return nil, fmt.Errorf("find a port for %s: %w", name, err)
		}
		f.hosts[name] = l.Addr().String()
		// The broker opens its port itself; so does everybody where listeners cannot be handed down.
		if name != "nats" && inheritsListeners {
			if f.listeners[name], err = l.(*net.TCPListener).File(); err != nil {
				_ = l.Close()
				f.stop()
				return nil, fmt.Errorf("keep the port of %s: %w", name, err)
			}
		}
		_ = l.Close()
	}
	// The outside world goes by its own names.
	f.hosts["acquirer.example"], f.hosts["supplier.example"] = f.hosts["acquirer"], f.hosts["supplier"]
	return f, nil
}

// start brings up the database and every process, and returns when all are ready.
func (f *fleet) start(ctx context.Context) error {
	var err error
	f.postgres, f.database, err = startPostgres(ctx, f.dir, f.dir)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errNoPostgres) {
			f.say("no PostgreSQL on this machine, so the stock is in SQLite")
		} else {
			f.say("the stock is in SQLite, because PostgreSQL does not start: %v", err)
		}
		f.database = shop.Database{Driver: "sqlite", DSN: "file:" + filepath.ToSlash(filepath.Join(f.dir, "stock.db")) +
			"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_txlock=immediate"}
	}
	if err := shop.Migrate(ctx, f.database, f.seed); err != nil {
		return err
	}
	var starting sync.WaitGroup
	errs := make([]error, len(shop.Processes()))
	for i, name := range shop.Processes() {
		starting.Go(func() { errs[i] = f.run(ctx, name, "1.0.0") })
	}
	starting.Wait()
	return errors.Join(errs...)
}

// run starts a process and waits until it is ready. One of the same name that was running goes on running.
func (f *fleet) run(ctx context.Context, name, version string) error {
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = control.Close() }()
	cfg := shop.Config{
		Process: name, Version: version, Listen: "127.0.0.1:0", Control: control.Addr().String(), Hosts: f.hosts,
		OTLP: f.otlp, Database: f.database, Dir: filepath.Join(f.dir, name), Seed: f.seed,
	}
	cmd := exec.Command(f.exe, "demo", "service", name)
	switch main := f.listeners[name]; {
	case inheritsListeners:
		file, err := control.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		cmd.ExtraFiles, cfg.Control = append(cmd.ExtraFiles, file), "fd:3"
		if main != nil {
			cmd.ExtraFiles, cfg.Listen = append(cmd.ExtraFiles, main), "fd:4"
		}
	case name != "nats":
		cfg.Listen = f.hosts[name]
		_ = control.Close()
	}
	line, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	p, err := start(name, f.dir, cmd, append(line, '\n'))
	if err != nil {
		return err
	}
	m := member{p, control.Addr().String()}
	f.mu.Lock()
	f.members[name] = m
	f.mu.Unlock()
	return p.wait(ctx, 20*time.Second, m.ready)
}

func (m member) ready(ctx context.Context) error { return m.ask(ctx, http.MethodGet, "/ready") }

// ask sends a request to the control port, which nothing observes.
func (m member) ask(ctx context.Context, method, path string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+m.control+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s %s of %s: status %d", method, path, m.name, res.StatusCode)
	}
	return nil
}

func (f *fleet) member(name string) (member, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.members[name]
	if !ok {
		return member{}, fmt.Errorf("no process %s is running", name)
	}
	return m, nil
}

// fault switches a fault of a service.
func (f *fleet) fault(ctx context.Context, service, fault string, on bool) error {
	m, err := f.member(service)
	if err != nil {
		return err
	}
	method := http.MethodPut
	if !on {
		method = http.MethodDelete
	}
	return m.ask(ctx, method, "/faults/"+fault)
}

// restart lets a new version accept on the same port before the old one stops accepting and finishes what it has.
func (f *fleet) restart(ctx context.Context, service, version string) error {
	old, err := f.member(service)
	if err != nil {
		return err
	}
	if !inheritsListeners {
		old.stop(syscall.SIGTERM, 8*time.Second)
	}
	if err := f.run(ctx, service, version); err != nil {
		return fmt.Errorf("start %s %s: %w", service, version, err)
	}
	old.stop(syscall.SIGTERM, 8*time.Second)
	return nil
}

// failed returns why a process of the shop ended by itself, if one did.
func (f *fleet) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		select {
		case <-m.done:
			return fmt.Errorf("%s ended by itself (%w): %s", m.name, m.err, m.lastLines())
		default:
		}
	}
	return nil
}

// stop ends every process, the broker and the database last, and closes the listeners. It is safe to call twice.
func (f *fleet) stop() {
	f.mu.Lock()
	members := f.members
	f.members = map[string]member{}
	f.mu.Unlock()
	var stopping sync.WaitGroup
	for name, m := range members {
		if name != "nats" {
			stopping.Go(func() { m.stop(syscall.SIGTERM, 6*time.Second) })
		}
	}
	stopping.Wait()
	if m, ok := members["nats"]; ok {
		m.stop(syscall.SIGTERM, 3*time.Second)
	}
	if f.postgres != nil {
		f.postgres.stop(syscall.SIGINT, 3*time.Second)
		f.postgres = nil
	}
	for _, l := range f.listeners {
		if l != nil {
			_ = l.Close()
		}
	}
	clear(f.listeners)
}

// address is where the shop's customers go.
func (f *fleet) address() string { return "http://" + f.hosts["storefront"] }

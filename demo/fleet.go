package demo

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"triage/demo/shop"
	"triage/internal/proxy"
)

// fleet is the shop's processes and what they share: listeners that outlive a restart, the network and the database.
// Every process reaches every other, and the database's server, through a proxy of that pair alone.
type fleet struct {
	exe, dir, otlp string
	seed           uint64
	say            func(string, ...any)
	names          map[string]string
	addresses      map[string]string // by process: where it listens
	listeners      map[string]*os.File
	edges          map[edge]*proxy.Proxy
	database       shop.Database
	postgres       *proc

	mu sync.Mutex
	// members are the running processes by name. Guarded by mu.
	members map[string]member
}

// edge is what lies between two processes.
type edge struct{ caller, callee string }

// stock is the database's name as a callee.
const stock = "stock"

type member struct {
	*proc
	control string // address
	version string
}

// newFleet opens a listener for each process and a proxy for each pair that talks; nothing runs yet. Names are what
// telemetry calls processes and hosts that go by another name.
func newFleet(exe, dir, otlp string, seed uint64, names map[string]string, say func(string, ...any)) (*fleet, error) {
	f := &fleet{exe: exe, dir: dir, otlp: otlp, seed: seed, names: names, say: say, addresses: map[string]string{},
		listeners: map[string]*os.File{}, edges: map[edge]*proxy.Proxy{}, members: map[string]member{}}
	for _, name := range shop.Processes() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			f.stop()
			return nil, fmt.Errorf("find a port for %s: %w", name, err)
		}
		f.addresses[name] = l.Addr().String()
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
	for caller, hosts := range shop.Edges() {
		for _, host := range hosts {
			callee := shop.ProcessOf(host)
			if err := f.connect(caller, callee, f.addresses[callee]); err != nil {
				f.stop()
				return nil, err
			}
		}
	}
	return f, nil
}

// connect opens the proxy between two.
func (f *fleet) connect(caller, callee, upstream string) error {
	p, err := proxy.Listen(caller+"->"+callee, "127.0.0.1:0", upstream)
	if err != nil {
		return err
	}
	f.edges[edge{caller, callee}] = p
	return nil
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
	if f.postgres != nil {
		server, err := url.Parse(f.database.DSN)
		if err != nil {
			return fmt.Errorf("parse the address of the database: %w", err)
		}
		if err := f.connect("inventory", stock, server.Host); err != nil {
			return err
		}
	}
	if err := shop.Migrate(ctx, f.database, f.seed); err != nil {
		return err
	}
	var starting sync.WaitGroup
	errs := make([]error, len(shop.Processes()))
	for i, name := range shop.Processes() {
		starting.Go(func() { errs[i] = f.run(ctx, name, shop.Options{Version: "1.0.0"}) })
	}
	starting.Wait()
	return errors.Join(errs...)
}

// config is what a process is told, apart from where it listens.
func (f *fleet) config(name string, o shop.Options) (shop.Config, error) {
	cfg := shop.Config{
		Process: name, Version: o.Version, Hosts: map[string]string{}, Names: f.names, OTLP: f.otlp, Database: f.database,
		Dir: filepath.Join(f.dir, name), Seed: f.seed, Faults: o.Faults, Settings: o.Settings, Signals: o.Signals, Loss: o.Loss,
	}
	if name == "nats" {
		cfg.Hosts[name] = f.addresses[name] // it opens that by itself
	}
	for _, host := range shop.Edges()[name] {
		cfg.Hosts[host] = f.edges[edge{name, shop.ProcessOf(host)}].Addr()
	}
	if p := f.edges[edge{name, stock}]; p != nil {
		server, err := url.Parse(cfg.Database.DSN)
		if err != nil {
			return cfg, fmt.Errorf("parse the address of the database: %w", err)
		}
		server.Host = p.Addr()
		cfg.Database.DSN = server.String()
	}
	return cfg, nil
}

// run starts a process and waits until it is ready. One of the same name that was running goes on running.
func (f *fleet) run(ctx context.Context, name string, o shop.Options) error {
	cfg, err := f.config(name, o)
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = control.Close() }()
	cfg.Listen, cfg.Control = "127.0.0.1:0", control.Addr().String()
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
		cfg.Listen = f.addresses[name]
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
	m := member{p, control.Addr().String(), o.Version}
	f.mu.Lock()
	f.members[name] = m
	f.mu.Unlock()
	return p.wait(ctx, 20*time.Second, m.ready)
}

func (m member) ready(ctx context.Context) error { return m.ask(ctx, http.MethodGet, "/ready", nil) }

// ask sends a request to the control port, which nothing observes.
func (m member) ask(ctx context.Context, method, path string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // a process that is starved answers late
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+m.control+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusNoContent {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return fmt.Errorf("%s %s of %s: status %d: %s", method, path, m.name, res.StatusCode, bytes.TrimSpace(text))
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

// fault switches a fault that is built into a process.
func (f *fleet) fault(ctx context.Context, process string, fault shop.Fault) error {
	m, err := f.member(process)
	if err != nil {
		return err
	}
	body, err := json.Marshal(fault)
	if err != nil {
		return err
	}
	return m.ask(ctx, http.MethodPut, "/faults", body)
}

// set gives a setting of a process another value; an empty one is the default.
func (f *fleet) set(ctx context.Context, process, key, value string) error {
	m, err := f.member(process)
	if err != nil {
		return err
	}
	return m.ask(ctx, http.MethodPut, "/settings/"+url.PathEscape(key), []byte(value))
}

// edge is the network between a process and another, a host outside or the stock database.
func (f *fleet) edge(caller, callee string) (*proxy.Proxy, error) {
	p := f.edges[edge{caller, shop.ProcessOf(callee)}]
	if p == nil {
		return nil, fmt.Errorf("there is no network between %s and %s", caller, callee)
	}
	return p, nil
}

// sql runs statements on the stock database, over a connection of its own that nothing observes.
func (f *fleet) sql(ctx context.Context, statements ...string) error {
	db, err := sql.Open(f.database.Driver, f.database.DSN)
	if err != nil {
		return fmt.Errorf("open the stock database: %w", err)
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx) // one, so that what a statement sets holds for the next
	if err != nil {
		return fmt.Errorf("open the stock database: %w", err)
	}
	defer func() { _ = conn.Close() }()
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("run %q on the stock database: %w", s, err)
		}
	}
	return nil
}

// restart lets a process with other options accept on the same port before the old one stops accepting and finishes
// what it has. Where listeners cannot be handed down, the port is closed for a moment.
func (f *fleet) restart(ctx context.Context, process string, o shop.Options) error {
	old, err := f.member(process)
	if err != nil {
		return err
	}
	if o.Version == "" {
		o.Version = old.version
	}
	if !inheritsListeners {
		old.stop(syscall.SIGTERM, 8*time.Second)
	}
	if err := f.run(ctx, process, o); err != nil {
		return fmt.Errorf("start %s %s: %w", process, o.Version, err)
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

// stop ends every process, the broker and the database last, and closes the listeners and proxies. It is safe to call
// twice.
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
	for _, p := range f.edges {
		_ = p.Close() // nobody is left who would use it
	}
}

// address is where the shop's customers go.
func (f *fleet) address() string { return "http://" + f.addresses["storefront"] }

// Package proxy stands in the network between two processes and disturbs what they say to each other: it delays,
// throttles, stalls, breaks and refuses TCP connections, those that are already open too.
//
//	caller ──TCP──> listener ─┬─ request way: read ─> [stall] ─> [latency] ─> [bandwidth] ─> write ─┬──TCP──> upstream
//	                          └─ answer way: write <─ [bandwidth] <─ [latency] <─ [stall] <─ read ──┘
//
// Latency and bandwidth are Toxiproxy's toxics. The connections are ours rather than Toxiproxy's, because it breaks
// only new connections with a TCP reset, casts lots for each direction by itself, and leaves goroutines behind when a
// disturbed connection ends.
package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/log"
)

// dialTimeout bounds how long a caller waits for the upstream to take a connection.
const dialTimeout = 2 * time.Second

// quiet silences Toxiproxy's toxics, which log to a logger of the whole process.
var quiet = sync.OnceFunc(func() { log.Logger = zerolog.Nop() })

// Proxy leads the connections to one address to another. Its methods are safe for concurrent use.
type Proxy struct {
	name, upstream string
	listener       net.Listener
	ctx            context.Context // ends dials, when the proxy is closed
	cancel         context.CancelFunc
	running        sync.WaitGroup

	// changing serializes changes of faults. It is locked before mu.
	changing sync.Mutex

	mu sync.Mutex
	// Guarded by mu: the faults by number, the next number, and the open connections with the faults that hit them.
	faults map[int]Fault
	next   int
	conns  map[*conn]map[int]bool
	closed bool
}

// Listen opens a proxy from an address to another. Nothing needs to listen on upstream yet.
func Listen(name, address, upstream string) (*Proxy, error) {
	quiet()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for proxy %s: %w", name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{name: name, upstream: upstream, listener: l, ctx: ctx, cancel: cancel,
		faults: map[int]Fault{}, conns: map[*conn]map[int]bool{}}
	p.running.Go(p.accept)
	return p, nil
}

// Name is what Listen was told.
func (p *Proxy) Name() string { return p.name }

// Addr is the address that the proxy listens on.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Apply disturbs the traffic by one more fault, until remove is called. A second call of remove does nothing.
func (p *Proxy) Apply(f Fault) (remove func() error, err error) {
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("disturb %s: %w", p.name, err)
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fmt.Errorf("disturb %s: %w", p.name, net.ErrClosed)
	}
	id := p.next
	p.next++
	p.faults[id] = f
	for _, hit := range p.conns {
		cast(hit, id, f)
	}
	p.mu.Unlock()
	p.reshape()
	return func() error {
		p.changing.Lock()
		defer p.changing.Unlock()
		p.mu.Lock()
		delete(p.faults, id)
		p.mu.Unlock()
		p.reshape()
		return nil
	}, nil
}

// cast decides whether a fault hits a connection.
func cast(hit map[int]bool, id int, f Fault) {
	hit[id] = f.Share == 0 || rand.Float64() < f.Share
}

// effect is what the present faults do to a connection that some of them hit. The caller holds mu.
func (p *Proxy) effect(hit map[int]bool) effect {
	var e effect
	for id, f := range p.faults {
		if hit[id] {
			e.add(f)
		}
	}
	return e
}

// reshape makes the present faults felt by all open connections. The caller holds changing.
func (p *Proxy) reshape() {
	p.mu.Lock()
	effects := map[*conn]effect{}
	for c, hit := range p.conns {
		effects[c] = p.effect(hit)
	}
	p.mu.Unlock()
	var shaping sync.WaitGroup
	for c, e := range effects {
		shaping.Go(func() { c.shape(e) })
	}
	shaping.Wait()
}

// accept takes connections until the listener is closed.
func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			// Out of descriptors, or a caller who left: neither is the listener's end.
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
				continue
			}
		}
		p.running.Go(func() { p.carry(client.(*net.TCPConn)) })
	}
}

// carry leads one connection to the upstream until it ends. A caller whose connection leads nowhere sees it reset.
func (p *Proxy) carry(client *net.TCPConn) {
	ctx, cancel := context.WithTimeout(p.ctx, dialTimeout)
	defer cancel()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.upstream)
	if err != nil {
		reset(client)
		return
	}
	p.mu.Lock()
	hit := map[int]bool{}
	for id, f := range p.faults {
		cast(hit, id, f)
	}
	e := p.effect(hit)
	if p.closed || e.refuse {
		p.mu.Unlock()
		reset(client)
		reset(server.(*net.TCPConn))
		return
	}
	c := newConn(client, server.(*net.TCPConn), e)
	p.conns[c] = hit
	p.mu.Unlock()
	c.run()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// Close stops listening, breaks all connections and waits until they're gone. It is safe to call twice.
func (p *Proxy) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	for c := range p.conns {
		c.abort()
	}
	p.mu.Unlock()
	p.cancel()
	var err error
	if first {
		err = p.listener.Close()
	}
	p.running.Wait()
	return err
}

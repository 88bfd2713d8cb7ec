package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

// chunk is how much is read at once, and queue how many chunks a way may hold back; then its sender has to wait.
const (
	chunk = 32 << 10
	queue = 128
)

// patience is how long a change waits for a peer that reads nothing. Then the connection is broken.
const patience = 5 * time.Second

// conn is a connection through the proxy.
type conn struct {
	client, server *net.TCPConn
	ways           [2]*way // to the server, to the client
	// gone is closed when the connection has ended or was broken.
	gone chan struct{}
	end  sync.Once

	// shaping serializes changes of the ways. It is locked before mu.
	shaping sync.Mutex

	mu sync.Mutex
	// Guarded by mu: how long the connection lives when it carries something, and the timer once it has.
	reset time.Duration
	fuse  *time.Timer
}

// newConn begins with an effect; nothing flows before run.
func newConn(client, server *net.TCPConn, e effect) *conn {
	c := &conn{client: client, server: server, gone: make(chan struct{}), reset: e.reset}
	c.ways = [2]*way{newWay(client, server, e.ways[0]), newWay(server, client, e.ways[1])}
	return c
}

// run carries both ways until they have ended.
func (c *conn) run() {
	var flowing, ending sync.WaitGroup
	for _, w := range c.ways {
		flowing.Go(func() { c.read(w) })
		flowing.Go(func() { c.write(w) })
	}
	// What a broken connection still holds is not worth waiting for.
	ending.Go(func() {
		<-c.gone
		c.shape(effect{})
	})
	flowing.Wait()
	c.end.Do(func() {
		close(c.gone)
		_ = c.client.Close()
		_ = c.server.Close()
	})
	ending.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fuse != nil {
		c.fuse.Stop()
	}
}

// abort breaks the connection so that both ends see a reset.
func (c *conn) abort() {
	c.end.Do(func() {
		close(c.gone)
		reset(c.client)
		reset(c.server)
	})
}

// reset closes a connection without a farewell.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// shape makes an effect felt.
func (c *conn) shape(e effect) {
	c.shaping.Lock()
	defer c.shaping.Unlock()
	select {
	case <-c.gone:
		e = effect{}
	default:
	}
	if e.refuse {
		c.abort()
		return // run shapes what is left
	}
	c.mu.Lock()
	if c.reset = e.reset; c.reset == 0 && c.fuse != nil {
		c.fuse.Stop()
		c.fuse = nil
	}
	c.mu.Unlock()
	giveUp := time.AfterFunc(patience, c.abort)
	defer giveUp.Stop()
	for i, w := range c.ways {
		w.shape(e.ways[i])
	}
}

// used lights the fuse of a connection that is to be reset.
func (c *conn) used() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reset > 0 && c.fuse == nil {
		c.fuse = time.AfterFunc(c.reset, c.abort)
	}
}

// read takes what comes from the way's sender, until that has no more to say or the connection is broken.
func (c *conn) read(w *way) {
	defer close(w.in)
	for {
		buf := make([]byte, chunk)
		n, err := w.from.Read(buf)
		if n > 0 {
			c.used()
		}
		for open := w.gate(); open != nil; open = w.gate() {
			select {
			case <-open:
			case <-c.gone:
				return
			}
		}
		if n > 0 {
			w.in <- &stream.StreamChunk{Data: buf[:n:n], Timestamp: time.Now()}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.abort()
			}
			return
		}
	}
}

// write gives the way's receiver what has come through. It reads the way to its end in any case, so that nobody waits
// for room in it.
func (c *conn) write(w *way) {
	for b := range w.out {
		if _, err := w.to.Write(b.Data); err != nil {
			c.abort()
		}
	}
	select {
	case <-c.gone: // no farewell from a broken connection
	default:
		_ = w.to.CloseWrite() // it may be closed already
	}
}

// way is one direction of a connection: a gate and two of Toxiproxy's stubs.
type way struct {
	from, to *net.TCPConn
	in, out  chan *stream.StreamChunk
	// latency and bandwidth run a toxic each, or nothing at all.
	latency, bandwidth *toxics.ToxicStub
	now                shape // the present one; guarded by the connection's shaping

	mu sync.Mutex
	// open, if not nil, is closed when data may pass again. Guarded by mu.
	open chan struct{}
}

func newWay(from, to *net.TCPConn, s shape) *way {
	w := &way{from: from, to: to, in: make(chan *stream.StreamChunk, queue), out: make(chan *stream.StreamChunk), now: s}
	between := make(chan *stream.StreamChunk)
	w.latency, w.bandwidth = toxics.NewToxicStub(w.in, between), toxics.NewToxicStub(between, w.out)
	go w.latency.Run(s.latency())
	go w.bandwidth.Run(s.throttle())
	w.stall(s.stall)
	return w
}

// shape changes the toxics that change. A stub that has closed stays as it is.
func (w *way) shape(s shape) {
	w.stall(s.stall)
	if (s.delay != w.now.delay || s.jitter != w.now.jitter) && w.latency.InterruptToxic() {
		go w.latency.Run(s.latency())
	}
	if s.bandwidth != w.now.bandwidth && w.bandwidth.InterruptToxic() {
		go w.bandwidth.Run(s.throttle())
	}
	w.now = s
}

// latency is the toxic that delays. Its unit is the millisecond.
func (s shape) latency() *toxics.ToxicWrapper {
	if s.delay == 0 {
		return always(new(toxics.NoopToxic))
	}
	return always(&toxics.LatencyToxic{Latency: s.delay.Milliseconds(), Jitter: s.jitter.Milliseconds()})
}

// throttle is the toxic that bounds the bandwidth. Its unit is a thousand bytes a second.
func (s shape) throttle() *toxics.ToxicWrapper {
	if s.bandwidth == 0 {
		return always(new(toxics.NoopToxic))
	}
	return always(&toxics.BandwidthToxic{Rate: max(1, s.bandwidth/1000)})
}

func always(t toxics.Toxic) *toxics.ToxicWrapper { return &toxics.ToxicWrapper{Toxic: t, Toxicity: 1} }

// stall shuts or opens the gate.
func (w *way) stall(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case on && w.open == nil:
		w.open = make(chan struct{})
	case !on && w.open != nil:
		close(w.open)
		w.open = nil
	}
}

// gate is nil, or closed when data may pass again.
func (w *way) gate() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		return nil
	}
	return w.open
}

package derive

import (
	"container/list"
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"triage/internal/model"
)

// Connection types, as OpenTelemetry's service graph connector has them; that of a plain call is empty.
const (
	toMessaging = "messaging_system"
	toDatabase  = "database"
	toVirtual   = "virtual_node"
	// user is the client of a call that comes from outside.
	user = "user"
)

// edge is one call or message from client to server.
type edge struct {
	tenant, client, server, connection string
	// caller and callee are what either side measured; one without a time sent no span.
	caller, callee sample
	failed         bool
	weight         float64
}

// pairShard keeps spans that wait for their other side:
//
//	CLIENT   trace T, span S     <-  SERVER    trace T, parent S
//	PRODUCER trace T, span S     <-  CONSUMER  trace T, parent S, or any trace with a link to T, S
//
// Both sides wait under (T, S), whichever comes first.
type pairShard struct {
	mu sync.Mutex // guards what follows
	by map[pairKey]*pair
	// calls and messages hold the pairs in by in order of arrival, so that expiry looks at the front alone.
	calls, messages list.List
}

type pairKey struct {
	tenant string
	trace  model.TraceID
	span   model.SpanID
}

// pair is what is known of one call or message.
type pair struct {
	key     pairKey
	caller  *half
	callees []*half // those who came before the caller
	arrived time.Time
	element *list.Element
	queue   *list.List
}

// half is one side.
type half struct {
	service string
	sample  sample
	failed  bool
	weight  float64
	// message tells that the side is a producer or consumer.
	message bool
	// call is the kind of call that a client's side is, 0 of others.
	call uint64
	// far names the other side by this one's attributes, for when it sends no span.
	far, farType string
	// matched is set once the half is part of an edge: a consumer may wait under several keys, a producer has several
	// consumers.
	matched atomic.Bool
}

func newHalf(s *model.Span, weight float64, now time.Time) *half {
	return &half{
		service: strings.Clone(short(s.Resource.Service)),
		sample:  sample{seconds: time.Duration(s.Duration).Seconds(), at: ended(s, now), trace: s.TraceID, span: s.SpanID},
		failed:  s.Status == model.StatusError, weight: weight, message: s.Kind == model.SpanProducer || s.Kind == model.SpanConsumer,
	}
}

// join makes an edge of two sides and marks them.
func join(tenant string, caller, callee *half) edge {
	caller.matched.Store(true)
	callee.matched.Store(true)
	e := edge{
		tenant: tenant, client: caller.service, server: callee.service, caller: caller.sample, callee: callee.sample,
		failed: caller.failed || callee.failed, weight: caller.weight,
	}
	if caller.message || callee.message {
		e.connection = toMessaging
	}
	return e
}

// alone makes an edge of one side to what its attributes name; false if they name nothing.
func (h *half) alone(tenant string, caller bool) (edge, bool) {
	if h.far == "" {
		return edge{}, false
	}
	e := edge{tenant: tenant, connection: h.farType, failed: h.failed, weight: h.weight}
	if caller {
		e.client, e.server, e.caller = h.service, h.far, h.sample
	} else {
		e.client, e.server, e.callee = h.far, h.service, h.sample
	}
	return e, true
}

// maxLinks bounds the messages of one consumer span that are paired.
const maxLinks = 128

// pairSpan makes the edges that a span completes, or lets it wait. It adds to what the batch's calls tell of their answerers.
func (d *Deriver) pairSpan(tenant string, s *model.Span, weight float64, now time.Time, told []Answer) []Answer {
	switch s.Kind {
	case model.SpanClient, model.SpanProducer:
		h := newHalf(s, weight, now)
		h.far, h.farType = farEnd(s)
		// Databases send no spans of their own, so a call to one is an edge at once.
		if h.farType == toDatabase {
			if e, ok := h.alone(tenant, true); ok {
				d.observeEdge(e, now)
			}
			return told
		}
		h.message = h.message || h.farType == toMessaging
		h.call = d.callOf(tenant, s, h.far)
		told = d.asked(h, told)
		d.callerCame(pairKey{tenant, s.TraceID, s.SpanID}, h, now)
	case model.SpanServer:
		h := newHalf(s, weight, now)
		if s.ParentID.IsZero() {
			h.far, h.farType = user, toVirtual
			e, _ := h.alone(tenant, false)
			d.observeEdge(e, now)
			return told
		}
		d.calleeCame(pairKey{tenant, s.TraceID, s.ParentID}, h, now)
	case model.SpanConsumer:
		h := newHalf(s, weight, now)
		h.far, h.farType = farEnd(s)
		parent := pairKey{tenant, s.TraceID, s.ParentID}
		waits := false
		if !s.ParentID.IsZero() {
			waits = true
			d.calleeCame(parent, h, now)
		}
		for i := range s.Links[:min(len(s.Links), maxLinks)] {
			l := &s.Links[i]
			if key := (pairKey{tenant, l.TraceID, l.SpanID}); key != parent && !l.SpanID.IsZero() {
				waits = true
				d.calleeCame(key, h, now)
			}
		}
		if !waits {
			if e, ok := h.alone(tenant, false); ok {
				d.observeEdge(e, now)
			}
		}
	}
	return told
}

func (d *Deriver) pairShard(key pairKey) *pairShard {
	// Trace and span IDs are random.
	return &d.waiting[(binary.LittleEndian.Uint64(key.trace[8:])^binary.LittleEndian.Uint64(key.span[:]))%shards]
}

func (d *Deriver) callerCame(key pairKey, h *half, now time.Time) {
	w := d.pairShard(key)
	w.mu.Lock()
	p := w.by[key]
	var callees []*half
	if p != nil {
		callees, p.callees = p.callees, nil
		p.caller = h
	}
	var dropped *pair
	switch {
	case p == nil:
		dropped = w.wait(&pair{key: key, caller: h, arrived: now}, h.message, d.opts.MaxUnpaired/shards)
	case !h.message:
		w.remove(p)
	}
	w.mu.Unlock()
	for _, c := range callees {
		d.learn(h, c.service, now, now)
		d.observeEdge(join(key.tenant, h, c), now)
	}
	d.gaveUp(dropped, now)
}

func (d *Deriver) calleeCame(key pairKey, h *half, now time.Time) {
	w := d.pairShard(key)
	w.mu.Lock()
	p := w.by[key]
	var caller *half
	var dropped *pair
	switch {
	case p == nil:
		dropped = w.wait(&pair{key: key, callees: []*half{h}, arrived: now}, h.message, d.opts.MaxUnpaired/shards)
	case p.caller == nil:
		if len(p.callees) < maxLinks {
			p.callees = append(p.callees, h)
		}
	default:
		caller = p.caller
		if !caller.message && !h.message {
			w.remove(p) // a message may have more consumers, a call has one server
		}
	}
	w.mu.Unlock()
	if caller != nil {
		d.learn(caller, h.service, now, now)
		d.observeEdge(join(key.tenant, caller, h), now)
	}
	d.gaveUp(dropped, now)
}

// wait adds a pair, and returns the eldest if there is no room for both.
func (w *pairShard) wait(p *pair, message bool, limit int) (dropped *pair) {
	if len(w.by) >= max(limit, 1) {
		front := w.calls.Front()
		if front == nil {
			front = w.messages.Front()
		}
		dropped = front.Value.(*pair)
		w.remove(dropped)
	}
	if p.queue = &w.calls; message {
		p.queue = &w.messages
	}
	p.key.tenant = strings.Clone(p.key.tenant)
	p.element = p.queue.PushBack(p)
	w.by[p.key] = p
	return dropped
}

func (w *pairShard) remove(p *pair) {
	delete(w.by, p.key)
	p.queue.Remove(p.element)
}

// expire gives up on pairs that waited long enough.
func (d *Deriver) expire(now time.Time) {
	for i := range d.waiting {
		w := &d.waiting[i]
		var old []*pair
		w.mu.Lock()
		for _, q := range []struct {
			queue *list.List
			ttl   time.Duration
		}{{&w.calls, d.opts.PairWithin}, {&w.messages, d.opts.MessagesWithin}} {
			for e := q.queue.Front(); e != nil && now.Sub(e.Value.(*pair).arrived) >= q.ttl; e = q.queue.Front() {
				p := e.Value.(*pair)
				w.remove(p)
				old = append(old, p)
			}
		}
		w.mu.Unlock()
		for _, p := range old {
			d.gaveUp(p, now)
		}
	}
}

// gaveUp makes the edges that one side alone can tell of.
func (d *Deriver) gaveUp(p *pair, now time.Time) {
	if p == nil {
		return
	}
	sides := p.callees
	if p.caller != nil {
		sides = []*half{p.caller}
	}
	for _, h := range sides {
		// Swap, not Load: a consumer may be given up under several keys, and is one edge from its queue.
		if h.matched.Swap(true) {
			continue
		}
		d.counts.unpaired.Inc()
		if h == p.caller {
			d.learn(h, "", p.arrived, now)
		}
		if e, ok := h.alone(p.key.tenant, h == p.caller); ok {
			d.observeEdge(e, now)
		}
	}
}

// unpaired is the number of spans that wait.
func (d *Deriver) unpaired() (n int) {
	for i := range d.waiting {
		w := &d.waiting[i]
		w.mu.Lock()
		n += len(w.by)
		w.mu.Unlock()
	}
	return n
}

// farEnd names the other side of a span by its attributes: a database, a queue, or a host.
func farEnd(s *model.Span) (name, connection string) {
	var db, dbName, messaging, destination, peer, address string
	for i := range s.Attrs {
		a := &s.Attrs[i]
		switch a.Key {
		case "db.system.name", "db.system":
			db = a.Value.String()
		case "db.namespace":
			dbName = a.Value.String()
		case "db.name":
			if dbName == "" {
				dbName = a.Value.String()
			}
		case "messaging.system":
			messaging = a.Value.String()
		case "messaging.destination.name", "messaging.destination":
			destination = a.Value.String()
		case "peer.service":
			peer = a.Value.String()
		case "server.address":
			address = a.Value.String()
		case "net.peer.name":
			if address == "" {
				address = a.Value.String()
			}
		}
	}
	switch {
	case db != "":
		name, connection = firstOf(dbName, address, db), toDatabase
	case messaging != "" || destination != "":
		name, connection = firstOf(destination, messaging), toMessaging
	case s.Kind == model.SpanClient || s.Kind == model.SpanProducer:
		name, connection = firstOf(peer, address), toVirtual
	}
	return strings.Clone(short(name)), connection
}

func firstOf(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return ""
}

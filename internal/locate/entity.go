package locate

import (
	"net/url"
	"slices"
	"strings"

	"triage/internal/model"
)

// Trace is the spans of one trace and the span whose time is to be explained; the zero Entry is the trace's root.
type Trace struct {
	Spans []model.Span
	Entry model.SpanID
}

// Peers says which service answers at an address, as seen from the calling service. It is learned from calls whose
// both sides were seen, so that a call that got no answer still belongs to an edge rather than to an address.
type Peers map[peer]string

type peer struct{ caller, address string } // any caller if ""

// Call is how a caller names the other side: a host, and the RPC service it asks there, "" if the call is no RPC.
type Call struct{ Host, RPC string }

// Untraced says that a service which sends no spans answers a call, whoever calls: what is behind it is then that service
// and not a stranger. An RPC's service is named whatever the host, because proxies and addresses change.
func (p Peers) Untraced(c Call, service string) {
	if c.RPC != "" {
		p[peer{"", "rpc:" + c.RPC}] = service
		return
	}
	p[peer{"", c.Host}] = service
}

// Unanswered lists, in order of their calls, the RPC services that were called and sent no span of it, and the hosts that
// passed a call on without a span of their own.
func Unanswered(sets ...[]Trace) []Call {
	var out []Call
	for _, set := range sets {
		for _, tr := range set {
			t := build(tr.Spans)
			for i := range t.nodes {
				s := t.nodes[i].span
				if s.Kind != model.SpanClient {
					continue
				}
				below := t.callee(i)
				if below >= 0 && !passedOn(s, t.nodes[below].span) {
					continue
				}
				if c := (Call{Remote(s), rpcService(s)}); (c.RPC != "" || below >= 0 && c.Host != "") && !slices.Contains(out, c) {
					out = append(out, c)
				}
			}
		}
	}
	return out
}

// Learn makes Peers of traces.
func Learn(sets ...[]Trace) Peers {
	p := Peers{}
	for _, set := range sets {
		for _, tr := range set {
			p.learn(build(tr.Spans))
		}
	}
	return p
}

func (p Peers) learn(t *tree) {
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.span.Kind != model.SpanClient {
			continue
		}
		if c := t.callee(i); c >= 0 {
			for _, address := range addresses(n.span) {
				p[peer{n.span.Service(), address}] = t.nodes[c].span.Service()
			}
		}
	}
}

// callee is the span that the other side made of a call, -1 if it made none.
func (t *tree) callee(i int) int {
	n := &t.nodes[i]
	for _, c := range n.children {
		s := t.nodes[c].span
		if t.nodes[c].async {
			continue
		}
		if s.Kind == model.SpanServer || s.Service() != n.span.Service() {
			return c
		}
	}
	return -1
}

// passedOn tells that the span below a call is not the other side's: they speak of different protocols, or of different RPC
// services. So somebody between them passed the trace on without a span of their own, as a service without an SDK does
// whose libraries propagate the context.
func passedOn(call, below *model.Span) bool {
	a, b := rpcService(call), rpcService(below)
	if a != "" && b != "" {
		return a != b
	}
	http := func(s *model.Span) bool { return s.Attrs.First("http.request.method", "http.method") != "" }
	return a != "" && http(below) || b != "" && http(call)
}

// addresses are the names a client span gives the other side, most exact first.
func addresses(s *model.Span) []string {
	var out []string
	host := s.Attrs.First("server.address", "net.peer.name", "net.peer.ip", "network.peer.address")
	if host == "" {
		if u, err := url.Parse(s.Attrs.First("url.full", "http.url")); err == nil {
			host = u.Hostname()
			if u.Port() != "" {
				out = append(out, u.Host)
			}
		}
	} else if port := s.Attrs.First("server.port", "net.peer.port", "network.peer.port"); port != "" {
		out = append(out, host+":"+port)
	}
	if name := rpcService(s); name != "" {
		out = append(out, "rpc:"+name)
	}
	if name := s.Attrs.Str("peer.service"); name != "" {
		out = append(out, "peer:"+name)
	}
	if host != "" && len(out) == 0 {
		out = append(out, host)
	}
	return out
}

// rpcService is the service that an RPC's span names: by itself, or before the method, as OpenTelemetry writes it since its
// conventions for RPC are stable.
func rpcService(s *model.Span) string {
	if name := s.Attrs.Str("rpc.service"); name != "" {
		return name
	}
	service, _, qualified := strings.Cut(s.Attrs.Str("rpc.method"), "/")
	if !qualified {
		return ""
	}
	return service
}

// Database is the name a span gives the database it calls, "" if it calls none.
func Database(s *model.Span) string {
	if s.Attrs.First("db.system.name", "db.system") == "" {
		return ""
	}
	if name := s.Attrs.First("db.namespace", "db.name", "server.address", "net.peer.name"); name != "" {
		return name
	}
	return s.Attrs.First("db.system.name", "db.system")
}

// Destination is the queue, topic or subject of a messaging span, "" if it has none.
func Destination(s *model.Span) string {
	return s.Attrs.First("messaging.destination.name", "messaging.destination", "messaging.destination.template")
}

// untraced is the service without spans that answers a call, "" if none is known.
func (p Peers) untraced(call *model.Span) string {
	for _, a := range append(addresses(call), Remote(call)) {
		if service := p[peer{"", a}]; service != "" {
			return service
		}
	}
	return ""
}

// entity says to whom the exclusive time of node i belongs.
func (t *tree) entity(i int, peers Peers) model.Entity {
	n := &t.nodes[i]
	s := n.span
	switch s.Kind {
	case model.SpanClient:
		if c := t.callee(i); c >= 0 {
			below := t.nodes[c].span
			if passedOn(s, below) {
				if service := peers.untraced(s); service != "" && service != below.Service() {
					return model.ServiceEntity(service)
				}
			}
			return model.EdgeEntity(s.Service(), below.Service())
		}
		if db := Database(s); db != "" {
			return model.DatabaseEntity(db)
		}
		if q := Destination(s); q != "" {
			return model.QueueEntity(q)
		}
		if service := peers.untraced(s); service != "" {
			return model.ServiceEntity(service)
		}
		for _, a := range addresses(s) {
			if to, ok := peers[peer{s.Service(), a}]; ok {
				return model.EdgeEntity(s.Service(), to)
			}
		}
		if host := Remote(s); host != "" {
			return model.RemoteEntity(host)
		}
	case model.SpanProducer:
		if q := Destination(s); q != "" {
			return model.QueueEntity(q)
		}
	case model.SpanInternal, model.SpanUnspecified:
		// What a client library does within a call (resolve, connect, read) is part of the call.
		if p := n.parent; p >= 0 && t.nodes[p].span.Kind == model.SpanClient && t.nodes[p].span.Service() == s.Service() {
			return t.entity(p, peers)
		}
		if db := Database(s); db != "" && len(n.children) == 0 {
			return model.DatabaseEntity(db)
		}
	}
	return model.ServiceEntity(s.Service())
}

// Remote is the name a client span gives a host that sent no spans, "" if it names none.
func Remote(s *model.Span) string {
	if name := s.Attrs.First("server.address", "peer.service", "net.peer.name", "network.peer.address", "net.peer.ip"); name != "" {
		return name
	}
	if u, err := url.Parse(s.Attrs.First("url.full", "http.url")); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return s.Attrs.Str("rpc.service")
}

// gaveUp tells whether a failed span says that its time was up, rather than that something broke.
func gaveUp(s *model.Span) bool {
	for _, key := range []string{"rpc.grpc.status_code", "rpc.response.status_code"} {
		switch s.Attrs.Str(key) {
		case "1", "4", "CANCELLED", "DEADLINE_EXCEEDED":
			return true
		}
	}
	texts := []string{s.StatusMessage, s.Attrs.Str("error.type")}
	for i := range s.Events {
		if s.Events[i].Name == "exception" {
			texts = append(texts, s.Events[i].Attrs.Str("exception.type"), s.Events[i].Attrs.Str("exception.message"))
		}
	}
	for _, text := range texts {
		text = strings.ToLower(text)
		for _, word := range []string{"deadline", "timeout", "timed out", "cancel"} {
			if strings.Contains(text, word) {
				return true
			}
		}
	}
	return false
}

// answered tells whether a failed client span carries an answer of the other side, so that the network did its work.
func answered(s *model.Span) bool {
	if v, ok := s.Attrs.Get("http.response.status_code"); ok && v.String() != "0" && v.String() != "" {
		return true
	}
	if v, ok := s.Attrs.Get("http.status_code"); ok && v.String() != "0" && v.String() != "" {
		return true
	}
	switch code := s.Attrs.First("rpc.grpc.status_code", "rpc.response.status_code"); code {
	case "", "1", "4", "14", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE":
		return false
	}
	return true
}

// passes tells whether an answer may be that of somebody on the way, a proxy or a gateway, who did not reach the other side.
func passes(s *model.Span) bool {
	switch s.Attrs.First("http.response.status_code", "http.status_code") {
	case "502", "503", "504":
		return true
	}
	return false
}

package locate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
)

// Origin is where a failure began: the deepest failing span of the chain that made the entry fail.
type Origin struct {
	Entity             model.Entity
	Service, Operation string // of the span
	Span               model.SpanID
	Message            string // the status message or the exception's
	Exception          string // its type, "" if none was recorded
	// GaveUp tells that somebody's time was up; then Entity is where that time went, and By the service that had no more
	// patience: the first in the chain of calls, for those after it are only told to stop.
	GaveUp bool
	By     string
	// Waited is how many seconds the call took that By gave up, and AwaitedOf to whom it was.
	Waited    float64
	AwaitedOf model.Entity
	// Unanswered tells that a call failed and the other side has no part in it: it sent no span, or knows of no failure.
	Unanswered bool
	// Unreached tells that the error speaks of a connection that could not be made or kept. Clients make the span of a
	// call after they have a connection, so the span that fails is then that of whoever wanted to call.
	Unreached bool
}

// told is how much earlier than the caller's end, by clocks that differ a little, a callee may learn that it was given up.
const told = 2 * time.Millisecond

func (t *tree) origin(i int, peers Peers) Origin {
	by, call := "", -1
	for {
		if s := t.nodes[i].span; by == "" && s.Kind == model.SpanClient && gaveUp(s) {
			by, call = s.Service(), i
		}
		next := -1
		for _, c := range t.nodes[i].children {
			if n := &t.nodes[c]; !n.async && n.span.Status == model.StatusError &&
				(next < 0 || n.end >= t.nodes[next].end) {
				next = c
			}
		}
		if next < 0 {
			break
		}
		i = next
	}
	s := t.nodes[i].span
	o := Origin{
		Entity: t.entity(i, peers), Service: s.Service(), Operation: s.Name, Span: s.SpanID,
		Message: s.StatusMessage, GaveUp: gaveUp(s),
	}
	// What fails once nobody waits for it any more fails because of that, whatever it says.
	if by != "" && t.nodes[i].end >= t.nodes[call].end-int64(told) {
		o.GaveUp = true
	}
	if o.GaveUp && by != "" {
		o.By, o.AwaitedOf = by, t.entity(call, peers)
		o.Waited = float64(t.nodes[call].end-t.nodes[call].start) / 1e9
	}
	for k := range s.Events {
		if s.Events[k].Name == "exception" {
			o.Exception = s.Events[k].Attrs.Str("exception.type")
			if m := s.Events[k].Attrs.Str("exception.message"); o.Message == "" {
				o.Message = m
			}
		}
	}
	o.Unreached = unreached(o.Message)
	if s.Kind != model.SpanClient {
		return o
	}
	c := t.callee(i)
	switch {
	case c < 0:
		o.Unanswered = !answered(s)
		if o.Entity.Kind() == "edge" && !o.Unanswered && !passes(s) {
			// The span of the other side is lost, but its answer came.
			_, to := o.Entity.Ends()
			o.Entity, o.Service = model.ServiceEntity(to), to
		}
		return o
	case answered(s):
		// The callee answered with a failure that it didn't mark on its own span.
		o.Entity, o.Service, o.Operation = model.ServiceEntity(t.nodes[c].span.Service()), t.nodes[c].span.Service(), t.nodes[c].span.Name
		return o
	}
	n := &t.nodes[i]
	if o.GaveUp && 2*(t.nodes[c].end-t.nodes[c].start) >= n.end-n.start {
		// The caller waited for work: the failure is a slowness, and belongs to whoever took the time.
		times := map[model.Entity]int64{}
		for _, s := range t.path(c) {
			times[t.entity(s.node, peers)] += s.own
		}
		var longest int64 = -1
		for _, e := range sortedKeys(times) {
			if times[e] > longest {
				o.Entity, longest = e, times[e]
			}
		}
		return o
	}
	o.Unanswered = true
	return o
}

// unreached recognizes what systems and libraries say of a connection that could not be made or that broke.
func unreached(text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(ResolverWords, func(s string) bool { return strings.Contains(text, s) }) ||
		slices.ContainsFunc([]string{"connection refused", "econnrefused", "failed to connect", "could not connect", "no route to host", "ehostunreach", "network is unreachable", "connection error", "error while dialing",
			"connection reset", "econnreset", "broken pipe", "transport is closing"}, func(s string) bool { return strings.Contains(text, s) })
}

// ResolverWords are what resolvers and libraries say of a name that could not be resolved, in lower case: the texts of
// getaddrinfo's errors (RFC 3493, 6.4), of Go, Java, Node.js and gRPC, and the response codes of RFC 1035.
var ResolverWords = []string{"no such host", "server misbehaving", "name resolution", "name or service not known",
	"nodename nor servname", "no address associated with hostname", "unknownhostexception", "unknown host", "enotfound",
	"eai_again", "getaddrinfo", "nxdomain", "servfail", "could not resolve host", "unable to resolve host",
	"produced zero addresses"}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// OriginCount is how many of some requests' failures began at one place.
type OriginCount struct {
	Entity    model.Entity
	Operation string
	Count     int
	GaveUp    int
	By        string // who gave up in one of them, the alphabetically first
	// Waited is how many seconds those that By gave up took together, and AwaitedOf to whom the calls of one of them were.
	Waited    float64
	AwaitedOf model.Entity
	// Unanswered, Unreached and Exceptions count those with that mark.
	Unanswered, Unreached, Exceptions int
	Message                           string // of one of them, the alphabetically first
	Trace                             string // of one of them
}

// Origins counts where failures began, most frequent first.
func Origins(profiles []Profile) []OriginCount {
	counts := map[model.Entity]*OriginCount{}
	for i := range profiles {
		o := profiles[i].Origin
		if o == nil {
			continue
		}
		c := counts[o.Entity]
		if c == nil {
			c = &OriginCount{Entity: o.Entity, Operation: o.Operation, Message: o.Message, Trace: profiles[i].Trace.String()}
			counts[o.Entity] = c
		}
		c.Count++
		if o.GaveUp {
			c.GaveUp++
			c.Waited += o.Waited
			if o.By != "" && (c.By == "" || o.By < c.By) {
				c.By, c.AwaitedOf = o.By, o.AwaitedOf
			}
		}
		if o.Unanswered {
			c.Unanswered++
		}
		if o.Unreached {
			c.Unreached++
		}
		if o.Exception != "" {
			c.Exceptions++
		}
		if o.Message != "" && (c.Message == "" || o.Message < c.Message) {
			c.Message, c.Operation, c.Trace = o.Message, o.Operation, profiles[i].Trace.String()
		}
	}
	out := make([]OriginCount, 0, len(counts))
	for _, e := range sortedKeys(counts) {
		out = append(out, *counts[e])
	}
	slices.SortStableFunc(out, func(a, b OriginCount) int { return b.Count - a.Count })
	return out
}

package derive

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"triage/internal/model"
)

// A client span says that somebody answered, but not who: its attributes name a host at most. Who answers calls like it is
// learnt from those whose server span came, and so is how often one comes. With that, client spans alone tell that a
// service goes on answering whose own spans no longer come.

const (
	// maxAnswerers bounds the kinds of calls of one shard; past it they are learnt anew.
	maxAnswerers = 4096
	// enoughCalls is how many calls of a kind must be known, and manyCalls when the past counts half.
	enoughCalls, manyCalls = 10, 1000
)

// answerShard keeps who answers some kinds of calls.
type answerShard struct {
	mu sync.Mutex // guards by and what it points to
	by map[uint64]*answerer
}

// answerer is who answers one kind of calls.
type answerer struct {
	server string
	// answered of asked calls came with a server span of it.
	answered, asked float64
	last            time.Time // when one came with a server span
}

// callOf is the kind of a call: who calls, what, and where to. It is a hash, because spans wait with it, and 0 for none.
func (d *Deriver) callOf(tenant string, s *model.Span, far string) uint64 {
	if s.Kind != model.SpanClient || d.opts.Answered == nil {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(d.seed)
	for _, part := range []string{tenant, s.Resource.Service, s.Name, far} {
		_, _ = h.WriteString(part)
		_ = h.WriteByte(0)
	}
	for i := range s.Attrs {
		if a := &s.Attrs[i]; a.Key == "server.port" || a.Key == "net.peer.port" { // of many services on one host
			_, _ = h.WriteString(a.Value.String())
		}
	}
	return max(h.Sum64(), 1)
}

func (d *Deriver) answerShard(call uint64) *answerShard { return &d.answers[call%shards] }

// Answer is what a batch's calls tell of one service that answered them, or failed to.
type Answer struct {
	Service string
	// Likely is how likely a span of the service comes of such a call.
	Likely        float64
	Calls, Failed int
}

// asked adds a call that came to what is told of the one by whom such calls are answered.
func (d *Deriver) asked(h *half, told []Answer) []Answer {
	if h.call == 0 {
		return told
	}
	shard := d.answerShard(h.call)
	shard.mu.Lock()
	a := shard.by[h.call]
	known := a != nil && a.asked >= enoughCalls
	var server string
	var likely float64
	if known {
		server, likely = a.server, a.answered/a.asked
	}
	shard.mu.Unlock()
	if !known {
		return told
	}
	i := slices.IndexFunc(told, func(t Answer) bool { return t.Service == server })
	if i < 0 {
		i = len(told)
		told = append(told, Answer{Service: server, Likely: likely})
	}
	told[i].Likely = min(told[i].Likely, likely)
	told[i].Calls++
	if h.failed {
		told[i].Failed++
	}
	return told
}

// learn takes in that a call was answered by a server whose span came, or by "" when none came in time. That says nothing when
// none has come of any such call since: then the server's spans are missing, and not this call's.
func (d *Deriver) learn(caller *half, server string, arrived, now time.Time) {
	if caller.call == 0 {
		return
	}
	shard := d.answerShard(caller.call)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	a := shard.by[caller.call]
	switch {
	case a == nil && server == "":
		return
	case a == nil:
		if len(shard.by) >= maxAnswerers {
			clear(shard.by)
		}
		a = &answerer{server: strings.Clone(server)}
		shard.by[caller.call] = a
	case server == "" && !a.last.After(arrived):
		return
	}
	a.asked++
	if server != "" {
		a.last = now
	}
	if server == a.server {
		a.answered++
	} else if server != "" && a.answered < a.asked/2 { // it moved
		a.server, a.answered, a.asked = strings.Clone(server), 1, 1
	}
	if a.asked >= manyCalls {
		a.answered, a.asked = a.answered/2, a.asked/2
	}
}

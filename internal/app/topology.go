package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"triage/internal/store"
)

const (
	// topologyEvery is how often who calls whom is asked for, at most; topologyTimeout bounds the question.
	topologyEvery   = time.Minute
	topologyTimeout = 2 * time.Second
)

// topology knows which services have to do with each other: those that are joined by calls, messages or databases, through
// however many others. Who uses a system from outside joins nobody.
type topology struct {
	metrics store.Metrics
	now     func() time.Time
	log     *slog.Logger

	mu    sync.Mutex // guards parts
	parts map[string]part
}

// part is what a tenant's services are part of, as of a time.
type part struct {
	at time.Time
	of map[string]string
}

// apart tells whether two services are known and in different parts.
func (t *topology) apart(tenant, a, b string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.parts[tenant]
	if now := t.now(); !ok || now.Sub(p.at) >= topologyEvery || now.Before(p.at) {
		p = part{at: now, of: t.ask(tenant, now)}
		t.parts[tenant] = p
	}
	x, knownA := p.of[a]
	y, knownB := p.of[b]
	return knownA && knownB && x != y
}

// ask reads who called whom in the last quarter of an hour. Without an answer nobody is known.
func (t *topology) ask(tenant string, at time.Time) map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), topologyTimeout)
	defer cancel()
	edges, err := t.metrics.Query(ctx, tenant, `count by (client, server) (last_over_time(traces_service_graph_request_total[15m]))`, at)
	if err != nil {
		t.log.Warn("who calls whom is not known, and alarms are grouped by time alone", "tenant", tenant, "error", err)
		return nil
	}
	of := map[string]string{}
	var root func(s string) string
	root = func(s string) string {
		up, ok := of[s]
		switch {
		case !ok:
			of[s] = s
			return s
		case up == s:
			return s
		}
		of[s] = root(up)
		return of[s]
	}
	for _, e := range edges {
		client, server := e.Labels["client"], e.Labels["server"]
		switch {
		case server == "other": // of many, nobody knows which
		case client == "user" || client == "":
			root(server)
		case server == "":
			root(client)
		default:
			of[root(client)] = root(server)
		}
	}
	for s := range of {
		root(s)
	}
	return of
}

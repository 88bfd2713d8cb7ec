package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"triage/internal/store"
)

// graph is a store.Metrics that knows who calls whom.
type graph struct {
	store.Metrics // nothing else is asked
	edges         string
	err           error
	asked         int
}

func (g *graph) Query(context.Context, string, string, time.Time) (out []store.Point, err error) {
	g.asked++
	for _, e := range strings.Fields(g.edges) {
		client, server, _ := strings.Cut(e, ">")
		out = append(out, store.Point{Labels: map[string]string{"client": client, "server": server}, Value: 1})
	}
	return out, g.err
}

func TestServicesApart(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	g := &graph{edges: "user>shop shop>cart cart>stock user>blog blog>posts bill>queue mail>queue user>lone"}
	top := &topology{metrics: g, now: func() time.Time { return now }, log: testLogger(t), parts: map[string]part{}}
	for pair, want := range map[string]bool{
		"shop stock": false, "cart shop": false, "shop posts": true, "bill mail": false, "bill cart": true, "lone shop": true,
		"unheard shop": false, "blog blog": false,
	} {
		a, b, _ := strings.Cut(pair, " ")
		if got := top.apart("default", a, b); got != want {
			t.Errorf("%s: apart %v, want %v", pair, got, want)
		}
	}
	if g.asked != 1 {
		t.Errorf("asked %d times within a minute", g.asked)
	}
	now = now.Add(time.Minute)
	g.edges += " posts>stock"
	if top.apart("default", "shop", "blog") {
		t.Error("they are connected by now")
	}
	now = now.Add(time.Minute)
	g.err = errors.New("no answer")
	if top.apart("default", "bill", "shop") {
		t.Error("without an answer nothing is known")
	}
}

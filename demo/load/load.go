package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"triage/demo/shop"
)

// Config says how much is sent where.
type Config struct {
	// URL is the shop's.
	URL string
	// Rate is the mean of requests a second.
	Rate float64
	Seed uint64
}

// maxSessions bounds the sessions under way; further visitors find the doors shut and are counted.
const maxSessions = 2000

// Generator sends the sessions of a plan. Its methods are safe for concurrent use.
type Generator struct {
	cfg    Config
	client *http.Client
	base   atomic.Int64 // per mille of the configured rate
	factor atomic.Int64 // per mille of base

	sent, failed, turnedAway atomic.Int64
}

// New makes a generator that has sent nothing yet.
func New(cfg Config) *Generator {
	g := &Generator{cfg: cfg, client: &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 2 * time.Second},
	}}
	g.base.Store(1000)
	g.factor.Store(1000)
	return g
}

// SetBase makes a multiple of the configured rate the usual one from now on.
func (g *Generator) SetBase(f float64) { g.base.Store(int64(f * 1000)) }

// SetFactor multiplies the usual rate from now on.
func (g *Generator) SetFactor(f float64) { g.factor.Store(int64(f * 1000)) }

// Stats counts what was sent since the start, and what of it failed: no answer, or a status from 500 on.
type Stats struct{ Sent, Failed, TurnedAway int64 }

// Stats is the present count.
func (g *Generator) Stats() Stats { return Stats{g.sent.Load(), g.failed.Load(), g.turnedAway.Load()} }

// Run sends sessions until ctx ends and all that were under way have stopped. It starts as if it had been running
// for a while: with visitors in the middle of their visits.
func (g *Generator) Run(ctx context.Context) error {
	requests, length := shape(g.cfg.Seed)
	plan := NewPlan(g.cfg.Seed)
	perSecond := g.cfg.Rate / requests
	var sessions sync.WaitGroup
	defer sessions.Wait()
	slots := make(chan struct{}, maxSessions)
	visit := func(s Session, from int) {
		select {
		case slots <- struct{}{}:
		default:
			g.turnedAway.Add(1)
			return
		}
		sessions.Go(func() {
			defer func() { <-slots }()
			g.visit(ctx, s, from)
		})
	}
	for range int(perSecond * length.Seconds()) {
		s := plan.Session(0)
		visit(s, plan.rng.IntN(len(s.Steps)))
	}
	began := time.Now()
	for {
		if !sleep(ctx, plan.gap(perSecond*float64(g.base.Load()*g.factor.Load())/1e6)) {
			return nil
		}
		visit(plan.Session(time.Since(began)), 0)
	}
}

// shape is the mean number of requests and the mean length of a plan's sessions.
func shape(seed uint64) (requests float64, length time.Duration) {
	const n = 2000
	p := NewPlan(seed)
	for i := range n {
		s := p.Session(time.Duration(i) * 200 * time.Millisecond)
		requests += float64(len(s.Steps))
		for _, step := range s.Steps {
			length += step.Think
		}
	}
	return requests / n, length / n
}

func (g *Generator) visit(ctx context.Context, s Session, from int) {
	for _, step := range s.Steps[from:] {
		if !sleep(ctx, step.Think) {
			return
		}
		g.Send(ctx, step.Request)
	}
}

// Send sends one request and reads its answer.
func (g *Generator) Send(ctx context.Context, r Request) {
	if err := g.send(ctx, r); err != nil && ctx.Err() == nil {
		g.failed.Add(1)
	}
}

func (g *Generator) send(ctx context.Context, r Request) error {
	var body io.Reader
	if r.Body != nil {
		b, err := json.Marshal(r.Body)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, g.cfg.URL+r.Path, body)
	if err != nil {
		return err
	}
	req.Header.Set(shop.UserHeader, r.User)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	g.sent.Add(1)
	res, err := g.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode >= 500 {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

// Flood is one user who sends the same kind of request again and again, several at a time.
type Flood struct {
	User         string
	Method, Path string
	// Workers is how many requests are under way at once, and Pause the mean time between a worker's.
	Workers int
	Pause   time.Duration
	// Body makes the next request's body. Calls don't overlap.
	Body func(*Plan) any
}

// Flood sends until ctx ends and the last request has been answered or given up.
func (g *Generator) Flood(ctx context.Context, f Flood) {
	var mu sync.Mutex // guards plan, and serializes Body
	plan := NewPlan(g.cfg.Seed ^ 0xf100d)
	var workers sync.WaitGroup
	for i := range f.Workers {
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(g.cfg.Seed, uint64(i)))
			for sleep(ctx, time.Duration(rng.ExpFloat64()*float64(f.Pause))) {
				mu.Lock()
				body := f.Body(plan)
				mu.Unlock()
				g.Send(ctx, Request{f.User, f.Method, f.Path, body})
			}
		})
	}
	workers.Wait()
}

// Crowd is very many users who send the same request.
type Crowd struct {
	Method, Path string
	// Rate is the mean of requests a second, however long answers take; Most is how many may wait for one at a time.
	Rate float64
	Most int
}

// Crowd sends until ctx ends and the last request has been answered or given up.
func (g *Generator) Crowd(ctx context.Context, c Crowd) {
	rng := rand.New(rand.NewPCG(g.cfg.Seed, 0xc10d))
	slots := make(chan struct{}, c.Most) // full, further users go away and are counted
	var waiting sync.WaitGroup
	for sleep(ctx, time.Duration(rng.ExpFloat64()*float64(time.Second)/c.Rate)) {
		user := User(rng.IntN(Users))
		select {
		case slots <- struct{}{}:
			waiting.Go(func() {
				defer func() { <-slots }()
				g.Send(ctx, Request{User: user, Method: c.Method, Path: c.Path})
			})
		default:
			g.turnedAway.Add(1)
		}
	}
	waiting.Wait()
}

// sleep tells whether ctx still holds after d.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

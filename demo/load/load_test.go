package load

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/demo/shop"
)

func TestPlanFollowsTheSeed(t *testing.T) {
	sessions := func(seed uint64) (out []Session) {
		p := NewPlan(seed)
		for i := range 60 {
			out = append(out, p.Session(time.Duration(i)*time.Second))
		}
		return out
	}
	if d := cmp.Diff(sessions(7), sessions(7)); d != "" {
		t.Errorf("the same seed differs:\n%s", d)
	}
	if cmp.Equal(sessions(7), sessions(8)) {
		t.Error("two seeds make the same sessions")
	}
}

// TestMix holds what the shop's capacity rests on: few buy, few users make much of the traffic, interests drift.
func TestMix(t *testing.T) {
	p := NewPlan(1)
	byPath, byUser, total := map[string]int{}, map[string]int{}, 0
	for i := range 5000 {
		s := p.Session(time.Duration(i) * 100 * time.Millisecond)
		byUser[s.User]++
		for _, step := range s.Steps {
			path, _, _ := strings.Cut(strings.TrimPrefix(step.Path, "/"), "/")
			path, _, _ = strings.Cut(path, "?")
			byPath[path]++
			total++
			if step.User != s.User || step.Think <= 0 {
				t.Fatalf("step %+v of a session of %s", step, s.User)
			}
		}
	}
	for path, want := range map[string][2]float64{
		"": {0.08, 0.25}, "articles": {0.2, 0.5}, "purchases": {0.01, 0.1}, "business": {0.005, 0.06}, "basket": {0.05, 0.3},
	} {
		if share := float64(byPath[path]) / float64(total); share < want[0] || share > want[1] {
			t.Errorf("%.3f of the requests go to /%s, want %v", share, path, want)
		}
	}
	if len(byUser) < 800 {
		t.Errorf("%d users in 5000 sessions", len(byUser))
	}
	low, high := math.Inf(1), 0.0
	for s := range 400 {
		d := p.drift(toLook, time.Duration(s)*time.Second)
		low, high = min(low, d), max(high, d)
	}
	if high/low < 1.3 || high/low > 2.5 {
		t.Errorf("an interest drifts by a factor of %.2f", high/low)
	}
}

// TestRun holds the rate, and that everything has stopped when Run returns.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := map[string]int{}
		g := New(Config{URL: "http://shop", Rate: 30, Seed: 3})
		g.client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			got[r.Header.Get(shop.UserHeader)]++
			return answer(http.StatusOK), nil
		})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		time.Sleep(100 * time.Second)
		sent := g.Stats().Sent
		if rate := float64(sent) / 100; rate < 24 || rate > 36 {
			t.Errorf("%.1f requests a second, want about 30", rate)
		}
		g.SetFactor(2)
		time.Sleep(60 * time.Second) // until the visits of before are over
		sent = g.Stats().Sent
		time.Sleep(100 * time.Second)
		if rate := float64(g.Stats().Sent-sent) / 100; rate < 48 || rate > 72 {
			t.Errorf("%.1f requests a second after doubling", rate)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got[""] > 0 || len(got) < 100 {
			t.Errorf("%d users, %d requests without one", len(got), got[""])
		}
	})
}

func TestFloodKeepsItsWorkersBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most, user := 0, 0, ""
		g := New(Config{URL: "http://shop", Rate: 1, Seed: 3})
		g.client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			now++
			most, user = max(most, now), r.Header.Get(shop.UserHeader)
			mu.Unlock()
			time.Sleep(2 * time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return answer(http.StatusInternalServerError), nil
		})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		g.Flood(ctx, Flood{User: User(5), Method: http.MethodPost, Path: "/x", Workers: 4, Pause: 50 * time.Millisecond,
			Body: func(p *Plan) any { return p.Lines(3) }})
		if most != 4 || user != User(5) {
			t.Errorf("at most %d at once by %q, want 4 by %q", most, user, User(5))
		}
		s := g.Stats()
		// Those that the end cut short are no failures of the shop.
		if s.Sent < 100 || s.Failed < s.Sent-4 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCrowdIsManyUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most, users, sent := 0, 0, map[string]bool{}, 0
		g := New(Config{URL: "http://shop", Rate: 1, Seed: 3})
		g.client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			now++
			most, sent = max(most, now), sent+1
			users[r.Header.Get(shop.UserHeader)] = true
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return answer(http.StatusOK), nil
		})}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		g.Crowd(ctx, Crowd{Method: http.MethodGet, Path: "/x", Rate: 50, Most: 40})
		if most != 40 || len(users) < 400 || sent < 700 || g.Stats().TurnedAway == 0 {
			t.Errorf("at most %d at once, %d users, %d requests, %d turned away", most, len(users), sent, g.Stats().TurnedAway)
		}
	})
}

func TestSendCountsFailures(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &code)
		w.WriteHeader(code)
	}))
	defer srv.Close()
	g := New(Config{URL: srv.URL, Rate: 1})
	for _, path := range []string{"/200", "/404", "/500", "/504"} {
		g.Send(t.Context(), Request{User: "u", Method: http.MethodGet, Path: path})
	}
	if got, want := g.Stats(), (Stats{Sent: 4, Failed: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(code int) *http.Response {
	return &http.Response{StatusCode: code, Body: http.NoBody, Header: http.Header{}}
}

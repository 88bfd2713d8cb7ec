// Package load is the shop's customers: thousands of users, few of whom make most of the traffic, in sessions with
// think times, whose mix of interests drifts while they shop.
//
// What is requested follows from the seed alone; when it is requested depends on the clock and on how quickly the
// shop answers, as with real customers. The package measures nothing for the judge: what went wrong is for the shop's
// telemetry to say.
package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"triage/demo/shop"
)

// Users is how many customers the shop knows.
const Users = 3000

// businessUsers of them are companies, which ask for quotes.
const businessUsers = 60

// User names the n-th customer.
func User(n int) string { return fmt.Sprintf("u-%05d", 20011+17*n) }

// BusinessUser picks a company by seed.
func BusinessUser(seed uint64) string { return User(company(int(seed % businessUsers))) }

// company spreads the companies over the customers, so that they are not the busiest.
func company(n int) int { return 7 + n*(Users/businessUsers) }

// Request is one request of a user.
type Request struct {
	User         string
	Method, Path string
	// Body is sent as JSON; nil sends none.
	Body any
}

// Step is a request and the time that the user thinks before it.
type Step struct {
	Think time.Duration
	Request
}

// Session is what one user does in one visit.
type Session struct {
	User  string
	Steps []Step
}

// Plan makes sessions, the same ones for the same seed. It is not safe for concurrent use.
type Plan struct {
	rng     *rand.Rand
	popular *rand.Zipf // articles
	active  *rand.Zipf // users
	// phase and period of each interest's drift.
	phase, period [interests]float64
}

// The interests that drift.
const (
	toBrowse = iota
	toSearch
	toLook
	toFill
	toBuy
	toQuote
	interests
)

// NewPlan begins at the first session of a seed.
func NewPlan(seed uint64) *Plan {
	rng := rand.New(rand.NewPCG(seed, 0x10ad))
	p := &Plan{
		rng:     rng,
		popular: rand.NewZipf(rng, 1.2, 8, uint64(shop.Assortment()-1)),
		active:  rand.NewZipf(rng, 1.1, 40, Users-1),
	}
	for i := range interests {
		p.phase[i] = 2 * math.Pi * rng.Float64()
		p.period[i] = 150 + 250*rng.Float64()
	}
	return p
}

// drift is how strong an interest is after t, around 1.
func (p *Plan) drift(interest int, t time.Duration) float64 {
	return math.Exp(0.35 * math.Sin(2*math.Pi*t.Seconds()/p.period[interest]+p.phase[interest]))
}

// Session makes the next session, begun t after the start.
func (p *Plan) Session(t time.Duration) Session {
	if p.rng.Float64() < 0.04*p.drift(toQuote, t) {
		return p.business()
	}
	s := Session{User: User(int(p.active.Uint64()))}
	s.add(p.think(), http.MethodGet, "/", nil)
	var basket []shop.Line
	for len(s.Steps) < 40 {
		leave := 0.13
		buy := 0.0
		if len(basket) > 0 {
			buy = 0.35 * p.drift(toBuy, t)
		}
		weights := []float64{leave, buy, 0.17 * p.drift(toBrowse, t), 0.15 * p.drift(toSearch, t),
			0.40 * p.drift(toLook, t), 0.16 * p.drift(toFill, t)}
		switch p.pick(weights) {
		case 0:
			return s
		case 1:
			s.add(p.think(), http.MethodPost, "/purchases", map[string]any{"lines": basket, "card": "tok_visa"})
			return s
		case 2:
			s.add(p.think(), http.MethodGet, "/departments/"+shop.Categories[p.rng.IntN(len(shop.Categories))], nil)
		case 3:
			terms := shop.SearchTerms()
			s.add(p.think(), http.MethodGet, "/search?q="+url.QueryEscape(terms[p.rng.IntN(len(terms))]), nil)
		case 4:
			sku := p.article()
			if p.rng.IntN(150) == 0 {
				sku = fmt.Sprintf("OLD-%04d", p.rng.IntN(10000)) // a link from an old newsletter
			}
			s.add(p.think(), http.MethodGet, "/articles/"+sku, nil)
		case 5:
			if len(basket) < 8 {
				basket = append(basket[:len(basket):len(basket)], shop.Line{SKU: p.article(), Qty: 1 + p.rng.IntN(3)})
			}
			s.add(p.think(), http.MethodPost, "/basket", map[string]any{"lines": basket})
		}
	}
	return s
}

// business is a company's visit: a few quotes of a few lines.
func (p *Plan) business() Session {
	s := Session{User: User(company(p.rng.IntN(businessUsers)))}
	s.add(p.think(), http.MethodGet, "/", nil)
	for range 1 + p.rng.IntN(4) {
		s.add(2*p.think(), http.MethodPost, "/business/quotes", map[string]any{"lines": p.Lines(2 + p.rng.IntN(5))})
	}
	return s
}

// Lines are n lines of articles as customers like them.
func (p *Plan) Lines(n int) []shop.Line {
	lines := make([]shop.Line, n)
	for i := range lines {
		lines[i] = shop.Line{SKU: p.article(), Qty: 1 + p.rng.IntN(20)}
	}
	return lines
}

// article is a popular article. The factor spreads popularity over the departments; it has no divisor in common with
// the assortment.
func (p *Plan) article() string { return shop.SKU(int(p.popular.Uint64()) * 37) }

// think is the time a user looks at a page: log-normal, a bit more than a second.
func (p *Plan) think() time.Duration {
	return time.Duration(1.1 * math.Exp(0.6*p.rng.NormFloat64()) * float64(time.Second))
}

// gap is the time to the next arrival at the given rate per second.
func (p *Plan) gap(perSecond float64) time.Duration {
	return time.Duration(p.rng.ExpFloat64() / perSecond * float64(time.Second))
}

func (p *Plan) pick(weights []float64) int {
	var sum float64
	for _, w := range weights {
		sum += w
	}
	at := p.rng.Float64() * sum
	for i, w := range weights {
		if at -= w; at < 0 {
			return i
		}
	}
	return len(weights) - 1
}

func (s *Session) add(think time.Duration, method, path string, body any) {
	s.Steps = append(s.Steps, Step{think, Request{s.User, method, path, body}})
}

package explain_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"triage/internal/explain"
	"triage/internal/model"
	"triage/internal/store"
)

// recorded is a window of requests: web calls cart with each, and cart calls stock, runs a query and logs.
type recorded struct {
	spans []model.Span
	logs  []model.LogRecord
	next  uint64
}

var services = map[string]*model.Resource{}

func service(name string) *model.Resource {
	if services[name] == nil {
		services[name] = &model.Resource{Service: name}
	}
	return services[name]
}

func (r *recorded) span(trace model.TraceID, parent model.SpanID, of, name string, kind model.SpanKind, start, ms int64) *model.Span {
	r.next++
	r.spans = append(r.spans, model.Span{TraceID: trace, SpanID: model.SpanIDFrom(r.next), ParentID: parent, Name: name, Kind: kind,
		Start: start * 1e6, Duration: ms * 1e6, Resource: service(of)})
	return &r.spans[len(r.spans)-1]
}

func (r *recorded) log(s *model.Span, template uint64, text string) {
	r.logs = append(r.logs, model.LogRecord{Time: s.Start + int64(len(r.logs)), TraceID: s.TraceID, SpanID: s.SpanID, Resource: s.Resource,
		Template: template, Body: model.String(text)})
}

// way says how a request goes.
type way struct {
	cartBreaks, cartFails, rare, lostQuery bool
	wait, cartOwn                          int64 // ms
}

func (r *recorded) request(w way) {
	r.next++
	trace := model.TraceIDFrom(1, r.next)
	at := int64(r.next)
	web := *r.span(trace, model.SpanID{}, "web", "GET /", model.SpanServer, at, 50+w.wait+w.cartOwn)
	call := *r.span(trace, web.SpanID, "web", "POST", model.SpanClient, at+1, 40+w.wait+w.cartOwn)
	cart := *r.span(trace, call.SpanID, "cart", "POST /cart", model.SpanServer, at+2, 38+w.cartOwn)
	if w.cartFails {
		r.spans[len(r.spans)-1].Status = model.StatusError
		r.spans[len(r.spans)-3].Status = model.StatusError
	}
	r.log(&cart, 1, fmt.Sprintf("10:00:01 INFO c.s.Cart#10 adding item %d", r.next))
	if w.rare {
		r.log(&cart, 2, "10:00:01 INFO c.s.Cart#20 a voucher")
	}
	if w.cartBreaks {
		r.log(&cart, 3, "10:00:01 ERROR c.s.Cart#30 no price")
		r.log(&web, 4, "10:00:01 WARN w.Web#1 the cart refused")
		r.log(&cart, 5, "10:00:01 INFO c.s.Cart#40 done")
		return
	}
	out := *r.span(trace, cart.SpanID, "cart", "GET", model.SpanClient, at+3, 10)
	r.span(trace, out.SpanID, "stock", "GET /stock", model.SpanServer, at+4, 8)
	if !w.lostQuery {
		r.span(trace, cart.SpanID, "cart", "SELECT items", model.SpanInternal, at+20, 5)
	}
	r.log(&cart, 5, "10:00:01 INFO c.s.Cart#40 done")
}

func window(n int, of func(i int) way) *explain.Behaviour {
	r := &recorded{}
	for i := range n {
		r.request(of(i))
	}
	return explain.Observe(r.spans, r.logs)
}

var compared = store.Window{From: time.Unix(1_700_000_000, 0).UTC(), To: time.Unix(1_700_000_060, 0).UTC()}

// told is the first case as class, entity and mechanism.
func told(cases []explain.Case) string {
	if len(cases) == 0 {
		return ""
	}
	c := cases[0]
	return fmt.Sprint(c.Class, " ", c.Entity, " ", c.Mechanism)
}

func TestCompare(t *testing.T) {
	usually := func(i int) way { return way{rare: i%10 == 0} }
	for _, c := range []struct {
		name string
		now  func(i int) way
		want string
	}{
		{"cart breaks off, and web complains of it", func(int) way { return way{cartBreaks: true} }, "self service:cart failing-code"},
		{"calls wait on the way to cart", func(int) way { return way{wait: 1000} }, "network edge:web->cart network-delay"},
		{"cart takes its time", func(int) way { return way{cartOwn: 1000} }, "self service:cart slow-code"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmp := explain.Compare(window(20, c.now), []*explain.Behaviour{window(30, usually)}, nil)
			cases := cmp.Cases(compared)
			if got := told(cases); got != c.want || cases[0].Confidence < 0.6 {
				t.Fatalf("%s with %+v, want %s", got, cases, c.want)
			}
			for _, r := range cmp.RuledOut(&cases[0]) {
				if r.Entity == cases[0].Entity {
					t.Errorf("the cause itself is ruled out: %+v", r)
				}
			}
		})
	}
}

// A change of the mix of work is no fault: code that ran for one request in ten runs for four in ten.
func TestCompareMix(t *testing.T) {
	now := window(40, func(i int) way { return way{rare: i%10 < 4} })
	cases := explain.Compare(now, []*explain.Behaviour{window(40, func(i int) way { return way{rare: i%10 == 0} })}, nil).Cases(compared)
	if len(cases) > 0 && cases[0].Confidence > 0.35 {
		t.Errorf("a verdict on a change of the mix: %s %.2f", told(cases), cases[0].Confidence)
	}
}

// An operation that failed in normal time and no longer does has recovered.
func TestCompareRecovery(t *testing.T) {
	now := window(20, func(int) way { return way{} })
	cases := explain.Compare(now, []*explain.Behaviour{window(20, func(int) way { return way{cartBreaks: true, cartFails: true} })}, nil).Cases(compared)
	for _, c := range cases {
		if c.Confidence > 0.35 {
			t.Errorf("a verdict on a recovery: %s %.2f", told(cases), c.Confidence)
		}
	}
}

// History holds the same fault earlier, and more of it than of anything else; that does not make it usual.
func TestCompareHistory(t *testing.T) {
	broken := func(int) way { return way{cartBreaks: true} }
	fine := func(int) way { return way{} }
	history := []*explain.Behaviour{window(20, broken), window(20, broken), window(20, fine)}
	if got, want := told(explain.Compare(window(20, broken), []*explain.Behaviour{window(10, fine)}, history).Cases(compared)), "self service:cart failing-code"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The evidence of a new line says between which lines it stands.
func TestCompareEvidence(t *testing.T) {
	cases := explain.Compare(window(20, func(int) way { return way{cartBreaks: true} }), []*explain.Behaviour{window(30, func(int) way { return way{} })}, nil).Cases(compared)
	var found bool
	for _, s := range append(cases[0].Required, cases[0].Supporting...) {
		if e := s.Evidence; e != nil && e.Key == "request_logs_between" && strings.Contains(e.Args[4], "Cart#30") {
			found = true
			if !strings.Contains(e.Args[5], "Cart#10") || !strings.Contains(e.Args[6], "Cart#40") {
				t.Errorf("it stands between %q and %q", e.Args[5], e.Args[6])
			}
			if e.Value != 1 || e.Usual != 0 || e.Link == "" {
				t.Errorf("numbers and link: %+v", e)
			}
		}
	}
	if !found {
		t.Errorf("no evidence of the new line: %+v", cases[0])
	}
}

func TestCompareBusy(t *testing.T) {
	fine := func(int) way { return way{} }
	c := explain.Compare(window(20, fine), []*explain.Behaviour{window(20, fine)}, nil)
	before := []float64{0.01, 0.011, 0.012, 0.01, 0.011}
	c.AddBusy(explain.Busy{Service: "stock", Metric: "cpu"}, []float64{0.99}, before)
	c.AddBusy(explain.Busy{Service: "web", Metric: "cpu"}, []float64{0.09}, before) // unusual, and of no consequence
	cases := c.Cases(compared)
	if got, want := told(cases), "resource service:stock cpu-saturation"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, k := range cases {
		if k.Entity == model.ServiceEntity("web") && k.Confidence > 0.1 {
			t.Errorf("an idle processor is accused: %+v", k)
		}
	}
}

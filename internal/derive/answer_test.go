package derive

import (
	"fmt"
	"testing"
	"time"

	"triage/internal/model"
)

// Who answers a call is learnt from the server spans of others like it, and told of those whose server span does not come.
func TestAnswered(t *testing.T) {
	host := model.Attrs{{Key: "server.address", Value: model.String("10.0.0.7")}, {Key: "server.port", Value: model.Int(8080)}}
	other := model.Attrs{{Key: "server.address", Value: model.String("10.0.0.7")}, {Key: "server.port", Value: model.Int(9090)}}
	var told []string
	d, c := newDeriver(Options{Answered: func(tenant string, list []Answer) {
		for _, a := range list {
			told = append(told, fmt.Sprintf("%s %s %.2f %v", tenant, a.Service, a.Likely, a.Failed == a.Calls))
		}
	}})
	// call sends a client span, and the server's if heard, a second later each.
	call := func(id byte, attrs model.Attrs, heard, failed bool) {
		c.now = c.now.Add(time.Second)
		at := c.now.Sub(epoch)
		b := batch(testSpan{trace: id, span: 1, service: "shop", name: "GET", kind: model.SpanClient, start: at, attrs: attrs, failed: failed})
		if heard {
			b.Spans = append(b.Spans, testSpan{trace: id, span: 2, parent: 1, service: "cart", name: "GET /cart", kind: model.SpanServer, start: at}.model())
		}
		d.Observe(b)
		d.Collect(c.now)
	}
	for i := range byte(10) {
		call(i, host, true, false)
	}
	if len(told) > 0 {
		t.Fatalf("told %v before enough is known", told)
	}
	call(10, host, true, false)
	call(11, host, false, false)
	call(12, host, false, true)
	call(13, other, false, false) // of another service, perhaps
	for i := range byte(30) {     // those given up on meanwhile say nothing of the past
		call(100+i, host, false, false)
	}
	want := []string{"default cart 1.00 false", "default cart 1.00 false", "default cart 1.00 true"}
	for range 30 {
		want = append(want, "default cart 1.00 false")
	}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told\n%v, want\n%v", told, want)
	}

	// A server of which every second span comes is as likely.
	told = nil
	for i := range byte(100) {
		call(i, host, i%2 == 0, false)
	}
	for i := range byte(100) {
		call(i+100, host, i%2 == 0, false)
	}
	var likely float64
	if _, err := fmt.Sscanf(told[len(told)-1], "default cart %f", &likely); err != nil || likely < 0.45 || likely > 0.6 {
		t.Errorf("told %s at the end, want about a half; %v", told[len(told)-1], err)
	}
}

// A call that others answer from now on is theirs.
func TestAnAnswererMoves(t *testing.T) {
	last := ""
	d, c := newDeriver(Options{Answered: func(_ string, list []Answer) { last = list[0].Service }})
	for i := range byte(200) {
		c.now = c.now.Add(time.Second)
		server := "cart"
		if i > 50 {
			server = "basket"
		}
		d.Observe(batch(
			testSpan{trace: i, span: 1, service: "shop", name: "GET /cart", kind: model.SpanClient, start: c.now.Sub(epoch)},
			testSpan{trace: i, span: 2, parent: 1, service: server, name: "GET /cart", kind: model.SpanServer, start: c.now.Sub(epoch)}))
	}
	if last != "basket" {
		t.Errorf("calls are answered by %q", last)
	}
}

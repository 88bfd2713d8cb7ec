package storetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"triage/internal/model"
	"triage/internal/store"
)

// exceptional makes rows of which some tell of exceptions, over 1,000 seconds: in span events with stacks, in log
// records with and without, and in both.
func exceptional(n int) (spans []model.Span, logs []model.LogRecord) {
	r := rand.New(rand.NewPCG(7, 11))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	resources := map[string]*model.Resource{}
	source := func() *model.Resource {
		service, version := pick("cart", "frontend", "ledger"), pick("1", "2", "")
		if resources[service+version] == nil {
			resources[service+version] = resource(service)
			if version != "" {
				resources[service+version].Attrs = append(resources[service+version].Attrs, str("service.version", version))
			}
		}
		return resources[service+version]
	}
	exception := func() model.Attrs {
		attrs := model.Attrs{str("exception.message", fmt.Sprintf("item %d is %s", r.IntN(50), pick("gone", "locked")))}
		if r.IntN(5) > 0 {
			attrs = append(attrs, str("exception.type", pick("KeyError", "app.Timeout", "*fmt.wrapError")))
		}
		if r.IntN(3) > 0 {
			attrs = append(attrs, str("exception.stacktrace", fmt.Sprintf("Traceback (most recent call last):\n  File \"/app/%s.py\", line %d, in %s\n    run()\n",
				pick("a", "b"), r.IntN(900), pick("f", "g", "h"))))
		}
		return attrs
	}
	for i := range n {
		start := time.Duration(r.IntN(1_000_000)) * time.Millisecond
		s := model.Span{TraceID: traceID(i + 1), SpanID: spanID(i + 1), Name: pick("GET /", "POST /", "work"), Kind: model.SpanServer, Start: ns(start),
			Duration: int64(r.IntN(5000)) * int64(time.Millisecond), Resource: source(), Attrs: model.Attrs{str("user.id", fmt.Sprint("u", r.IntN(9)))}}
		for range r.IntN(4) / 2 * r.IntN(3) {
			s.Events = append(s.Events, model.SpanEvent{Time: s.Start + int64(r.IntN(6000)-200)*int64(time.Millisecond),
				Name: pick("exception", "exception", "retry", "exceptional"), Attrs: exception()})
		}
		spans = append(spans, s)
		if r.IntN(3) > 0 {
			continue
		}
		l := model.LogRecord{Time: s.Start + int64(time.Millisecond), Severity: model.Severity(r.IntN(24)), Body: model.String("line"), Resource: s.Resource}
		if r.IntN(4) > 0 {
			l.TraceID, l.SpanID = s.TraceID, s.SpanID
		}
		switch r.IntN(4) {
		case 0:
			l.Attrs = exception()
		case 1:
			l.Attrs = model.Attrs{str("error", fmt.Sprint("dial 10.0.0.", r.IntN(9), ": refused"))}
		case 2:
			if len(s.Events) > 0 {
				l.Attrs = slices.Clone(s.Events[0].Attrs)
			}
		}
		l.Attrs = append(l.Attrs, str("user.id", fmt.Sprint("v", r.IntN(9))))
		logs = append(logs, l)
	}
	return spans, logs
}

// told is one exception as exceptions counts it.
type told struct {
	model.Exception
	key                               model.ExceptionKey
	at                                int64
	trace                             model.TraceID
	span                              model.SpanID
	service, version, operation, user string
	log                               bool
}

func tell(spans []model.Span, logs []model.LogRecord) (out []told) {
	for i := range spans {
		s := &spans[i]
		for j := range s.Events {
			x, ok := model.EventException(&s.Events[j])
			if !ok {
				continue
			}
			at := s.Events[j].Time
			if at < s.Start || at > s.End() {
				at = s.Start
			}
			out = append(out, told{x, x.Group(), at, s.TraceID, s.SpanID, s.Service(), s.Resource.Attrs.Str("service.version"), s.Name, s.Attrs.Str("user.id"), false})
		}
	}
	for i := range logs {
		l := &logs[i]
		if x, ok := model.LogException(l.Severity, l.Attrs.Str); ok {
			out = append(out, told{x, x.Group(), l.Time, l.TraceID, l.SpanID, l.Service(), l.Resource.Attrs.Str("service.version"), "", l.Attrs.Str("user.id"), true})
		}
	}
	return out
}

// groupExceptions is Exceptions in plain Go, without the limit.
func groupExceptions(all []told, q store.ExceptionQuery) []model.ExceptionGroup {
	within := func(x told) bool {
		at := time.Unix(0, x.at)
		return (q.From.IsZero() || !at.Before(q.From)) && (q.To.IsZero() || at.Before(q.To))
	}
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(q.Text)) }
	var chosen []told
	for _, x := range all {
		if within(x) && (q.Group == "" || x.key.ID == q.Group) && (q.Service == "" || x.service == q.Service) &&
			(q.Version == "" || x.version == q.Version) && (has(x.Type) || has(x.Message) || has(x.Stack)) {
			chosen = append(chosen, x)
		}
	}
	by := map[string][]told{}
	for _, x := range chosen {
		again := x.log && !x.span.IsZero() && slices.ContainsFunc(chosen, func(o told) bool {
			return !o.log && o.span == x.span && o.trace == x.trace && o.key.ID == x.key.ID
		})
		if !again {
			by[x.key.ID] = append(by[x.key.ID], x)
		}
	}
	out := []model.ExceptionGroup{}
	for id, list := range by {
		slices.SortFunc(list, func(a, b told) int {
			return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.trace.Hi(), a.trace.Hi()), cmp.Compare(b.trace.Lo(), a.trace.Lo()),
				strings.Compare(b.service, a.service), strings.Compare(b.Message, a.Message))
		})
		g := model.ExceptionGroup{ID: id, Type: list[0].key.Type, Message: list[0].key.Message, Template: list[0].key.Template, Frames: list[0].key.Frames,
			Count: int64(len(list)), Last: time.Unix(0, list[0].at)}
		users := map[string]bool{}
		count := func(in *[]model.ExceptionCount, service, name string) {
			for i := range *in {
				if c := &(*in)[i]; c.Service == service && c.Name == name {
					c.Count++
					return
				}
			}
			*in = append(*in, model.ExceptionCount{Service: service, Name: name, Count: 1})
		}
		if q.Buckets > 0 {
			g.Histogram = make([]int64, q.Buckets)
		}
		for i, x := range list {
			if x.user != "" {
				users[x.user] = true
			}
			count(&g.Services, "", x.service)
			count(&g.Versions, x.service, x.version)
			if x.operation != "" {
				count(&g.Operations, "", x.operation)
			}
			if i < 3 {
				g.Samples = append(g.Samples, model.ExceptionSample{At: time.Unix(0, x.at), Service: x.service, Version: x.version, TraceID: x.trace, SpanID: x.span, Message: x.Message})
			}
			if q.Group != "" && g.Stack == "" {
				g.Stack = x.Stack
			}
			if q.Buckets > 0 {
				// Parts are whole nanoseconds, the last one may be shorter.
				part := (int64(q.Len())-1)/int64(q.Buckets) + 1
				g.Histogram[(x.at-q.From.UnixNano())/part]++
			}
		}
		g.Users = int64(len(users))
		for _, list := range []*[]model.ExceptionCount{&g.Services, &g.Versions, &g.Operations} {
			slices.SortFunc(*list, func(a, b model.ExceptionCount) int {
				return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Service, b.Service), strings.Compare(a.Name, b.Name))
			})
		}
		var first *told
		for i := range all {
			x := &all[i]
			if x.key.ID == id && (first == nil || cmp.Or(cmp.Compare(x.at, first.at), strings.Compare(x.service, first.service), strings.Compare(x.version, first.version)) < 0) {
				first = x
			}
		}
		g.First, g.FirstService, g.FirstVersion = time.Unix(0, first.at), first.service, first.version
		g.New = !q.From.IsZero() && !g.First.Before(q.From)
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b model.ExceptionGroup) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(b.Count, a.Count), strings.Compare(a.ID, b.ID))
	})
	return out
}

func testExceptions(t *testing.T, s store.Events) {
	spans, logs := exceptional(600)
	fill(t, s, spans, logs)
	all := tell(spans, logs)
	middle := store.Window{From: T0.Add(300 * time.Second), To: T0.Add(700 * time.Second)}
	biggest := slices.MaxFunc(groupExceptions(all, store.ExceptionQuery{}), func(a, b model.ExceptionGroup) int { return cmp.Compare(a.Count, b.Count) })
	for _, c := range []struct {
		name string
		q    store.ExceptionQuery
	}{
		{"a window", store.ExceptionQuery{Window: middle, Buckets: 30}},
		{"everything", store.ExceptionQuery{}},
		{"the same window again", store.ExceptionQuery{Window: middle, Buckets: 7}},
		{"a short window", store.ExceptionQuery{Window: store.Window{From: T0.Add(500 * time.Second), To: T0.Add(502 * time.Second)}, Buckets: 2}},
		{"since", store.ExceptionQuery{Window: store.Window{From: T0.Add(900 * time.Second)}}},
		{"until", store.ExceptionQuery{Window: store.Window{To: T0.Add(100 * time.Second)}}},
		{"service", store.ExceptionQuery{Window: middle, Service: "cart"}},
		{"version", store.ExceptionQuery{Window: middle, Version: "2"}},
		{"service and version", store.ExceptionQuery{Window: middle, Service: "ledger", Version: "1"}},
		{"text of a message", store.ExceptionQuery{Window: middle, Text: "LOCKED"}},
		{"text of a type", store.ExceptionQuery{Window: middle, Text: "timeout"}},
		{"text of a stack", store.ExceptionQuery{Text: "b.py"}},
		{"group", store.ExceptionQuery{Group: biggest.ID}},
		{"group in a window", store.ExceptionQuery{Window: middle, Group: biggest.ID, Buckets: 5, Service: "frontend"}},
		{"no such group", store.ExceptionQuery{Group: "0000000000000000"}},
		{"nobody's", store.ExceptionQuery{Service: "nobody"}},
		{"quotes", store.ExceptionQuery{Service: "'; DROP TABLE x --", Text: "'"}},
	} {
		c.q.Limit = 1000
		want := groupExceptions(all, c.q)
		page, err := s.Exceptions(t.Context(), c.q)
		check(t, c.name, page.Rows, err, want)
		if page.More || page.Partial != "" {
			t.Errorf("%s: more %v, partial %q", c.name, page.More, page.Partial)
		}
	}
	if n := len(groupExceptions(all, store.ExceptionQuery{Window: middle})); n < 10 {
		t.Errorf("the data has %d groups only", n)
	}
	page, err := s.Exceptions(t.Context(), store.ExceptionQuery{Window: middle, Limit: 2})
	check(t, "limited", page.Rows, err, groupExceptions(all, store.ExceptionQuery{Window: middle})[:2])
	if !page.More {
		t.Error("there are no more than the limit")
	}
	page, err = s.Exceptions(t.Context(), store.ExceptionQuery{Tenant: "other", Limit: 10})
	check(t, "another tenant's", page.Rows, err, nil)

	// What comes later is seen, and makes groups seen first earlier, too.
	early := spans[0]
	early.SpanID, early.Start = spanID(90_001), ns(-time.Hour)
	early.Events = []model.SpanEvent{{Time: early.Start, Name: "exception", Attrs: model.Attrs{str("exception.type", "Unheard")}}}
	late := early
	late.SpanID, late.Start = spanID(90_002), ns(400*time.Second)
	late.Events = []model.SpanEvent{{Time: late.Start, Name: "exception", Attrs: early.Events[0].Attrs}}
	for i, x := range []model.Span{late, early} {
		if _, err := s.Append(t.Context(), &model.Batch{Spans: []model.Span{x}}); err != nil {
			t.Fatal(err)
		}
		all = append(all, tell([]model.Span{x}, nil)...)
		q := store.ExceptionQuery{Window: middle, Text: "unheard", Limit: 10}
		eventually(t, func() error {
			page, err := s.Exceptions(t.Context(), q)
			if d := gocmp.Diff(page.Rows, groupExceptions(all, q), equal); err == nil && d != "" {
				err = fmt.Errorf("after append %d (-got +want):\n%s", i, d)
			}
			if err == nil && page.Rows[0].New != (i == 0) {
				err = fmt.Errorf("after append %d: new is %v", i, page.Rows[0].New)
			}
			return err
		})
	}
}

// testFewExceptions asks for exceptions in rows that have no other reason for the columns they need.
func testFewExceptions(t *testing.T, s store.Events) {
	page, err := s.Exceptions(t.Context(), store.ExceptionQuery{Window: all, Limit: 10})
	check(t, "empty store", page.Rows, err, nil)
	spans, logs := requests(40)
	spans[3].Events = []model.SpanEvent{{Time: spans[3].Start, Name: "cache miss"},
		{Time: spans[3].Start, Name: "exception", Attrs: model.Attrs{num("exception.type", 404), str("exception.message", "broken \xff text"), {Key: "exception.escaped", Value: model.Bool(true)}}},
		{Time: spans[3].Start, Name: "exception"}}
	logs[5].Severity = 21
	logs[5].Attrs = logs[5].Attrs.Set("err", model.Int(7))
	fill(t, s, spans, logs)
	page, err = s.Exceptions(t.Context(), store.ExceptionQuery{Window: all, Limit: 10})
	check(t, "two", page.Rows, err, groupExceptions(tell(spans, logs), store.ExceptionQuery{Window: all}))
	if len(page.Rows) != 2 {
		t.Errorf("%d groups, want 2", len(page.Rows))
	}
	if _, err := s.Exceptions(t.Context(), store.ExceptionQuery{}); err == nil {
		t.Error("a limit of 0 is no error")
	}
}

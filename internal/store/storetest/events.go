// Package storetest is the contract of the stores as tests: every engine of a kind runs that kind's suite, so that
// engines can be exchanged.
//
// The data is small and written out by hand; what an engine answers is compared with sums done in plain Go. The suite
// asks through the interface only, and waits up to two seconds for rows to become visible, twice what the contract
// allows.
package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// Events runs the contract of store.Events. open returns an empty store, which the test that asked closes with
// t.Cleanup if need be.
func Events(t *testing.T, open func(t *testing.T) store.Events) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, store.Events)
	}{
		{"empty", testEmpty},
		{"append and trace", testTrace},
		{"retries", testRetries},
		{"concurrent retries", testConcurrentRetries},
		{"tenants", testTenants},
		{"traces", testTraces},
		{"search", testSearch},
		{"search logs", testSearchLogs},
		{"search words", testSearchWords},
		{"search relations", testSearchRelations},
		{"pages", testPages},
		{"operations", testOperations},
		{"selections", testSelections},
		{"edges", testEdges},
		{"timeline", testTimeline},
		{"sample traces", testSampleTraces},
		{"template counts", testTemplateCounts},
		{"attribute difference", testDifference},
		{"difference from trace", testDifferenceFromTrace},
		{"values", testValues},
		{"impact", testImpact},
		{"health", testHealth},
		{"exceptions", testExceptions},
		{"exceptions of few rows", testFewExceptions},
		{"counts", testCounts},
		{"odd times", testOddTimes},
		{"cancelled", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// T0 is the start of all test data.
var T0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ns(d time.Duration) int64 { return T0.Add(d).UnixNano() }

// all is a window around all ordinary test data.
var all = store.Window{From: T0.Add(-time.Hour), To: T0.Add(time.Hour)}

func first(d time.Duration) store.Window { return store.Window{From: T0, To: T0.Add(d)} }

func resource(service string, attrs ...model.Attr) *model.Resource {
	return &model.Resource{Service: service, Attrs: append(model.Attrs{{Key: "service.name", Value: model.String(service)}}, attrs...)}
}

func str(k, v string) model.Attr { return model.Attr{Key: k, Value: model.String(v)} }

func num(k string, v int64) model.Attr { return model.Attr{Key: k, Value: model.Int(v)} }

func traceID(n int) model.TraceID { return model.TraceIDFrom(uint64(n)*0x9e3779b97f4a7c15, uint64(n)) }

func spanID(n int) model.SpanID { return model.SpanIDFrom(uint64(n)) }

// requests makes traces of a frontend calling a cart, which asks a database and sends a message to a ledger. Every tenth
// request fails, every seventh is slow; two services log.
func requests(n int) (spans []model.Span, logs []model.LogRecord) {
	frontend, cart := resource("frontend", str("host.name", "h1")), resource("cart", str("host.name", "h2"))
	cart2, ledger := resource("cart", str("host.name", "h3")), resource("ledger", str("host.name", "h1"))
	scope := &model.Scope{Name: "lib", Version: "1"}
	for i := range n {
		start := time.Duration(i) * time.Second
		status, message := model.StatusUnset, ""
		if i%10 == 3 {
			status, message = model.StatusError, "cart is empty"
		}
		work := 100 * time.Millisecond
		if i%7 == 2 {
			work = 900 * time.Millisecond
		}
		c := cart
		if i%3 == 0 {
			c = cart2
		}
		id, base := traceID(i+1), (i+1)*16
		user := fmt.Sprintf("u%d", i%5)
		route := model.Attrs{str("http.route", "/cart"), str("user.id", user), str("request.id", fmt.Sprint("r", i)), num("http.response.status_code", 200)}
		if status == model.StatusError {
			route = route.Set("http.response.status_code", model.Int(500))
		}
		spans = append(spans,
			model.Span{TraceID: id, SpanID: spanID(base), Name: "GET /cart", Kind: model.SpanServer, Start: ns(start), Duration: int64(work + 40*time.Millisecond),
				Status: status, Attrs: route, Resource: frontend, Scope: scope},
			model.Span{TraceID: id, SpanID: spanID(base + 1), ParentID: spanID(base), Name: "call cart", Kind: model.SpanClient, Start: ns(start + 10*time.Millisecond),
				Duration: int64(work + 20*time.Millisecond), Status: status, Attrs: model.Attrs{str("server.address", "cart.local")}, Resource: frontend},
			model.Span{TraceID: id, SpanID: spanID(base + 2), ParentID: spanID(base + 1), Name: "read cart", Kind: model.SpanServer, Start: ns(start + 15*time.Millisecond),
				Duration: int64(work), Status: status, StatusMessage: message, Attrs: model.Attrs{str("shard", fmt.Sprint(i%2)), num("items", int64(i%4))}, Resource: c},
			model.Span{TraceID: id, SpanID: spanID(base + 3), ParentID: spanID(base + 2), Name: "SELECT", Kind: model.SpanClient, Start: ns(start + 20*time.Millisecond),
				Duration: int64(work / 2), Attrs: model.Attrs{str("db.system.name", "postgresql"), str("db.namespace", "carts"), str("server.address", "db.local")}, Resource: c},
			model.Span{TraceID: id, SpanID: spanID(base + 4), ParentID: spanID(base + 2), Name: "send booked", Kind: model.SpanProducer, Start: ns(start + 90*time.Millisecond),
				Duration: int64(2 * time.Millisecond), Attrs: model.Attrs{str("messaging.system", "nats"), str("messaging.destination.name", "booked")}, Resource: c})
		if i%2 == 0 { // the consumer is found by its parent in one half, by a link from another trace in the other
			consumer := model.Span{TraceID: id, SpanID: spanID(base + 5), ParentID: spanID(base + 4), Name: "book", Kind: model.SpanConsumer,
				Start: ns(start + 192*time.Millisecond), Duration: int64(5 * time.Millisecond), Resource: ledger}
			if i%4 == 0 {
				consumer.TraceID, consumer.ParentID = traceID(100_000+i), model.SpanID{}
				consumer.Links = []model.Link{{TraceID: id, SpanID: spanID(base + 4)}}
			}
			spans = append(spans, consumer)
		}
		logs = append(logs, model.LogRecord{Time: ns(start + 16*time.Millisecond), Observed: ns(start + 17*time.Millisecond), TraceID: id, SpanID: spanID(base + 2), Severity: 9,
			SeverityText: "INFO", Body: model.String(fmt.Sprintf("reading cart of %s", user)), Template: 11, Resource: c, Attrs: model.Attrs{str("user.id", user)}})
		if status == model.StatusError {
			logs = append(logs, model.LogRecord{Time: ns(start + 20*time.Millisecond), TraceID: id, SpanID: spanID(base + 2), Severity: 17,
				Body: model.String("cart is empty: pool_size=4"), Template: 12, Resource: c})
		}
		if i%5 == 0 {
			logs = append(logs, model.LogRecord{Time: ns(start), Severity: 5, Body: model.String("tick"), Template: 13, Resource: frontend})
		}
	}
	return spans, logs
}

// fill appends rows in a few batches and waits until all are visible.
func fill(t *testing.T, s store.Events, spans []model.Span, logs []model.LogRecord) {
	t.Helper()
	const parts = 3
	for i := range parts {
		b := &model.Batch{Spans: spans[len(spans)*i/parts : len(spans)*(i+1)/parts], Logs: logs[len(logs)*i/parts : len(logs)*(i+1)/parts]}
		if stored, err := s.Append(t.Context(), b); err != nil || !stored {
			t.Fatalf("append: stored %v, %v", stored, err)
		}
	}
	eventually(t, func() error {
		h, err := s.Health(t.Context(), model.DefaultTenant, store.Window{})
		if err == nil && (h.Spans != int64(len(spans)) || h.Logs != int64(len(logs))) {
			err = fmt.Errorf("%d spans and %d logs are visible, want %d and %d", h.Spans, h.Logs, len(spans), len(logs))
		}
		return err
	})
}

// eventually asks until the answer is right or rows should long have been visible.
func eventually(t *testing.T, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Second)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var equal = gocmp.Options{
	gocmp.Comparer(func(a, b model.Value) bool { return a == b }),
	// Attributes have their own comparer, so they are kept from the one of empty slices.
	gocmp.Comparer(func(a, b model.Attrs) bool { return slices.Equal(a.Sorted(), b.Sorted()) }),
	gocmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
	gocmp.Comparer(func(a, b float64) bool {
		return a == b || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1) || math.IsNaN(a) && math.IsNaN(b)
	}),
	gocmp.FilterPath(func(p gocmp.Path) bool { return p.Last().Type() != reflect.TypeFor[model.Attrs]() }, cmpopts.EquateEmpty()),
}

func check[T any](t *testing.T, what string, got T, err error, want T) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if d := gocmp.Diff(got, want, equal); d != "" {
		t.Errorf("%s (-got +want):\n%s", what, d)
	}
}

func byStart(spans []model.Span) []model.Span {
	out := slices.Clone(spans)
	slices.SortStableFunc(out, func(a, b model.Span) int {
		return cmp.Or(cmp.Compare(a.TraceID.Hi(), b.TraceID.Hi()), cmp.Compare(a.TraceID.Lo(), b.TraceID.Lo()), cmp.Compare(a.Start, b.Start))
	})
	return out
}

func filter[T any](in []T, keep func(*T) bool) []T {
	out := []T{}
	for i := range in {
		if keep(&in[i]) {
			out = append(out, in[i])
		}
	}
	return out
}

func testEmpty(t *testing.T, s store.Events) {
	ctx := t.Context()
	if _, err := s.Trace(ctx, "", traceID(1)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("trace of an empty store: %v, want ErrNotFound", err)
	}
	page, err := s.Spans(ctx, store.Query{Window: all, Where: search.All{}, Limit: 10})
	check(t, "spans", page.Rows, err, nil)
	ops, err := s.Operations(ctx, store.Selection{Window: all}, 10)
	check(t, "operations", ops, err, nil)
	edges, err := s.Edges(ctx, "", all, 10)
	check(t, "edges", edges, err, nil)
	counts, err := s.TemplateCounts(ctx, "", all, all, 10)
	check(t, "template counts", counts, err, nil)
	d, err := s.AttributeDifference(ctx, store.DifferenceQuery{A: store.Selection{Window: all}, B: store.Selection{Window: all}, Limit: 5})
	check(t, "difference", d, err, store.Difference{})
	impact, err := s.Impact(ctx, store.Selection{Window: all}, []string{"user.id"})
	check(t, "impact", impact, err, model.Impact{})
	stats, err := s.Stats(ctx)
	check(t, "rows", stats.Spans+stats.Logs, err, 0)
}

func testTrace(t *testing.T, s store.Events) {
	span := model.Span{TraceID: traceID(7), SpanID: spanID(1), ParentID: spanID(9), TraceState: "k=v", Flags: 257, Name: "do", Kind: model.SpanInternal,
		Start: ns(0), Duration: 5, Status: model.StatusOK, StatusMessage: "fine",
		Attrs: model.Attrs{str("s", "text"), num("i", -3), {Key: "d", Value: model.Double(1.5)}, {Key: "nan", Value: model.Double(math.NaN())},
			{Key: "b", Value: model.Bool(true)}, {Key: "bytes", Value: model.Bytes([]byte{0, 255})}, {Key: "none"},
			{Key: "list", Value: model.List(`{"values":[{"intValue":"1"}]}`)}, {Key: "map", Value: model.Map(`{"values":[]}`)},
			str("Case", "1"), str("case", "2"), str("http.method", "GET"), str("http_method", "PUT"), str("ts", "mine"), str(`q"uote`, "'")},
		Events:       []model.SpanEvent{{Time: ns(1), Name: "exception", Attrs: model.Attrs{str("exception.type", "E")}, DroppedAttrs: 1}},
		Links:        []model.Link{{TraceID: traceID(8), SpanID: spanID(3), TraceState: "x=y", Flags: 1, Attrs: model.Attrs{num("n", 1)}, DroppedAttrs: 2}},
		DroppedAttrs: 3, DroppedEvents: 4, DroppedLinks: 5,
		Resource: &model.Resource{Service: "frontend", SchemaURL: "https://schema", Attrs: model.Attrs{str("service.name", "frontend"), str("s", "resource")}},
		Scope:    &model.Scope{Name: "lib", Version: "1.2", SchemaURL: "https://scope", Attrs: model.Attrs{str("s", "scope")}}}
	root := model.Span{TraceID: traceID(7), SpanID: spanID(9), Name: "root", Start: ns(-time.Second), Duration: 9, Resource: span.Resource,
		Attrs: model.Attrs{str("i", "text where the other has a number")}}
	other := model.Span{TraceID: traceID(8), SpanID: spanID(1), Name: "other", Start: ns(0), Resource: span.Resource}
	fill(t, s, []model.Span{span, other, root}, nil)
	got, err := s.Trace(t.Context(), model.DefaultTenant, traceID(7))
	check(t, "trace", got, err, []model.Span{root, span})
}

func testRetries(t *testing.T, s store.Events) {
	spans, _ := requests(2)
	b := &model.Batch{ID: [32]byte{1}, Spans: spans}
	for i, want := range []bool{true, false, false} {
		if stored, err := s.Append(t.Context(), b); err != nil || stored != want {
			t.Fatalf("append %d: stored %v, %v; want %v", i, stored, err, want)
		}
	}
	b.ID = [32]byte{2}
	if stored, err := s.Append(t.Context(), b); err != nil || !stored {
		t.Fatalf("the same rows under another ID: stored %v, %v", stored, err)
	}
	// A batch of no spans or logs is remembered too: it may have brought metrics.
	for i, want := range []bool{true, false} {
		if stored, err := s.Append(t.Context(), &model.Batch{ID: [32]byte{3}}); err != nil || stored != want {
			t.Fatalf("empty batch %d: stored %v, %v; want %v", i, stored, err, want)
		}
	}
	eventually(t, func() error {
		h, err := s.Health(t.Context(), "", all)
		if err == nil && h.Spans != int64(2*len(spans)) {
			err = fmt.Errorf("%d spans, want %d", h.Spans, 2*len(spans))
		}
		return err
	})
}

func testConcurrentRetries(t *testing.T, s store.Events) {
	spans, _ := requests(1)
	var wg sync.WaitGroup
	stored := make([]bool, 16)
	for i := range stored {
		wg.Go(func() {
			var err error
			if stored[i], err = s.Append(t.Context(), &model.Batch{ID: [32]byte{9}, Spans: spans}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(filter(stored, func(b *bool) bool { return *b })); n != 1 {
		t.Errorf("%d of 16 equal batches were stored, want 1", n)
	}
}

func testTenants(t *testing.T, s store.Events) {
	spans, logs := requests(3)
	for _, tenant := range []string{"acme", "Böse/../Firma"} {
		if _, err := s.Append(t.Context(), &model.Batch{Tenant: tenant, ID: [32]byte{5}, Spans: spans, Logs: logs}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			trace, err := s.Trace(t.Context(), tenant, spans[0].TraceID)
			if err == nil && len(trace) == 0 {
				err = errors.New("no spans")
			}
			return err
		})
	}
	if _, err := s.Trace(t.Context(), "other", spans[0].TraceID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's trace: %v, want ErrNotFound", err)
	}
	h, err := s.Health(t.Context(), "acme", all)
	check(t, "spans of one tenant", h.Spans, err, int64(len(spans)))
	h, err = s.Health(t.Context(), "", all)
	check(t, "spans of the default tenant", h.Spans, err, 0)
}

func testTraces(t *testing.T, s store.Events) {
	spans, _ := requests(12)
	fill(t, s, spans, nil)
	ids := []model.TraceID{traceID(3), traceID(1), traceID(2), traceID(999)}
	of := func(ids ...model.TraceID) []model.Span {
		return byStart(filter(spans, func(s *model.Span) bool { return slices.Contains(ids, s.TraceID) }))
	}
	got, err := s.Traces(t.Context(), "", ids, all, 1000)
	check(t, "traces", got, err, of(ids...))

	w := store.Window{From: T0.Add(time.Second), To: T0.Add(time.Second + 20*time.Millisecond)}
	got, err = s.Traces(t.Context(), "", ids, w, 1000)
	check(t, "traces in a window", got, err, filter(of(ids...), func(s *model.Span) bool { return w.Contains(time.Unix(0, s.Start)) }))

	// Only whole traces are returned: the second does not fit any more.
	whole := of(ids...)
	firstTrace := filter(whole, func(s *model.Span) bool { return s.TraceID == whole[0].TraceID })
	got, err = s.Traces(t.Context(), "", ids, all, len(firstTrace)+2)
	check(t, "limited traces", got, err, firstTrace)
}

func testSearch(t *testing.T, s store.Events) {
	spans, _ := requests(40)
	spans[0].Events = []model.SpanEvent{{Time: ns(0), Name: "cache miss"}}
	fill(t, s, spans, nil)
	attr := func(s *model.Span, key string) string {
		if v, ok := s.Attrs.Get(key); ok {
			return v.String()
		}
		return s.Resource.Attrs.Str(key)
	}
	m := func(field string, op search.Op, value string) search.Match {
		return search.Match{Field: field, Op: op, Value: value}
	}
	for _, c := range []struct {
		name  string
		where search.Expr
		keep  func(*model.Span) bool
	}{
		{"all", search.All{}, func(*model.Span) bool { return true }},
		{"service", m("service", search.Equal, "CART"), func(s *model.Span) bool { return s.Service() == "cart" }},
		{"operation", m("operation", search.Equal, "SELECT"), func(s *model.Span) bool { return s.Name == "SELECT" }},
		{"name", m("name", search.Prefix, "get "), func(s *model.Span) bool { return s.Name == "GET /cart" }},
		{"kind", m("kind", search.Equal, "consumer"), func(s *model.Span) bool { return s.Kind == model.SpanConsumer }},
		{"status", m("status", search.Equal, "error"), func(s *model.Span) bool { return s.Status == model.StatusError }},
		{"duration", m("duration", search.Greater, "150ms"), func(s *model.Span) bool { return s.Duration > int64(150*time.Millisecond) }},
		{"trace", m("trace", search.Equal, traceID(4).String()), func(s *model.Span) bool { return s.TraceID == traceID(4) }},
		{"span", m("span", search.Equal, spanID(64).String()), func(s *model.Span) bool { return s.SpanID == spanID(64) }},
		{"parent", m("parent", search.Equal, spanID(64).String()), func(s *model.Span) bool { return s.ParentID == spanID(64) }},
		{"time", m("time", search.Less, T0.Add(5*time.Second).Format(time.RFC3339)), func(s *model.Span) bool { return s.Start < ns(5*time.Second) }},
		{"attribute", m("user.id", search.Equal, "u3"), func(s *model.Span) bool { return attr(s, "user.id") == "u3" }},
		{"attribute underscored", m("user_id", search.Equal, "u3"), func(s *model.Span) bool { return attr(s, "user.id") == "u3" }},
		{"resource attribute", m("host.name", search.Equal, "h3"), func(s *model.Span) bool { return attr(s, "host.name") == "h3" }},
		{"number", m("http.response.status_code", search.GreaterEqual, "500"), func(s *model.Span) bool { return attr(s, "http.response.status_code") == "500" }},
		{"number as text", m("http.response.status_code", search.Equal, "500"), func(s *model.Span) bool { return attr(s, "http.response.status_code") == "500" }},
		{"exists", m("shard", search.Exists, ""), func(s *model.Span) bool { return attr(s, "shard") != "" }},
		{"no such attribute", m("nowhere", search.Equal, "x"), func(*model.Span) bool { return false }},
		{"not", search.Not{Expr: m("user.id", search.Equal, "u3")}, func(s *model.Span) bool { return attr(s, "user.id") != "u3" }},
		{"not missing", search.Not{Expr: m("nowhere", search.Equal, "x")}, func(*model.Span) bool { return true }},
		{"and", search.And{m("service", search.Equal, "cart"), m("status", search.Equal, "error")},
			func(s *model.Span) bool { return s.Service() == "cart" && s.Status == model.StatusError }},
		{"or", search.Or{m("kind", search.Equal, "producer"), m("kind", search.Equal, "consumer")},
			func(s *model.Span) bool { return s.Kind >= model.SpanProducer }},
		{"word in status message", m("", search.Word, "EMPTY"), func(s *model.Span) bool { return s.StatusMessage != "" }},
		{"word in event name", m("", search.Word, "miss"), func(s *model.Span) bool { return len(s.Events) > 0 }},
		{"half a word", m("", search.Word, "empt"), func(*model.Span) bool { return false }},
		{"glob", m("http.route", search.Glob, "/c?r*"), func(s *model.Span) bool { return attr(s, "http.route") != "" }},
		{"regexp", m("user.id", search.Regexp, "^u[12]$"), func(s *model.Span) bool { u := attr(s, "user.id"); return u == "u1" || u == "u2" }},
		{"quotes", m("user.id", search.Equal, "'; DROP TABLE spans; --\x00"), func(*model.Span) bool { return false }},
	} {
		want := filter(spans, c.keep)
		slices.SortStableFunc(want, func(a, b model.Span) int {
			return cmp.Or(cmp.Compare(b.Start, a.Start), cmp.Compare(b.SpanID.Uint64(), a.SpanID.Uint64()))
		})
		page, err := s.Spans(t.Context(), store.Query{Window: all, Where: c.where, Limit: 1000})
		check(t, c.name, page.Rows, err, want)
		if page.More || page.Partial != "" {
			t.Errorf("%s: more %v, partial %q", c.name, page.More, page.Partial)
		}
	}
	if _, err := s.Spans(t.Context(), store.Query{Window: all, Where: m("user.id", search.Regexp, "("), Limit: 1}); err == nil {
		t.Error("a malformed regular expression is no error")
	}
}

func testSearchLogs(t *testing.T, s store.Events) {
	_, logs := requests(40)
	logs = append(logs, model.LogRecord{Time: ns(time.Minute), Body: model.String("결제가 실패했습니다"), Resource: resource("billing")},
		model.LogRecord{Time: ns(2 * time.Minute), Body: model.Map(`{"values":[{"key":"msg","value":{"stringValue":"structured"}}]}`), Resource: resource("billing")},
		model.LogRecord{Time: ns(3 * time.Minute), EventName: "only.attributes", Resource: resource("billing"), Attrs: model.Attrs{{Key: "ratio", Value: model.Double(0.25)}}})
	fill(t, s, nil, logs)
	m := func(field string, op search.Op, value string) search.Match {
		return search.Match{Field: field, Op: op, Value: value}
	}
	for _, c := range []struct {
		name  string
		where search.Expr
		keep  func(*model.LogRecord) bool
	}{
		{"all", search.All{}, func(*model.LogRecord) bool { return true }},
		{"level", m("level", search.Equal, "error"), func(l *model.LogRecord) bool { return l.Severity == 17 }},
		{"severity range", m("severity", search.GreaterEqual, "info"), func(l *model.LogRecord) bool { return l.Severity >= 9 }},
		{"phrase", m("", search.Word, "cart IS empty"), func(l *model.LogRecord) bool { return l.Template == 12 }},
		{"part joined by underscore", m("", search.Word, "pool"), func(l *model.LogRecord) bool { return l.Template == 12 }},
		{"body", m("body", search.Equal, "TICK"), func(l *model.LogRecord) bool { return l.Template == 13 }},
		{"template", m("template", search.Equal, "000000000000000b"), func(l *model.LogRecord) bool { return l.Template == 11 }},
		{"with a trace", m("trace", search.Exists, ""), func(l *model.LogRecord) bool { return !l.TraceID.IsZero() }},
		{"within Korean", m("", search.Word, "실패"), func(l *model.LogRecord) bool { return l.Time == ns(time.Minute) }},
		{"structured", m("", search.Word, "structured"), func(l *model.LogRecord) bool { return l.Body.Kind() == model.KindMap }},
		{"fraction", m("ratio", search.Equal, "0.25"), func(l *model.LogRecord) bool { return l.EventName != "" }},
	} {
		want := filter(logs, c.keep)
		slices.SortStableFunc(want, func(a, b model.LogRecord) int {
			return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.SpanID.Uint64(), a.SpanID.Uint64()))
		})
		page, err := s.Logs(t.Context(), store.Query{Window: all, Where: c.where, Limit: 1000})
		check(t, c.name, page.Rows, err, want)
	}
}

func testPages(t *testing.T, s store.Events) {
	spans, _ := requests(30)
	fill(t, s, spans, nil)
	newest := slices.Clone(spans)
	slices.SortFunc(newest, func(a, b model.Span) int { return cmp.Compare(b.Start, a.Start) })
	for _, limit := range []int{1, 7, len(spans) - 1, len(spans), len(spans) + 1} {
		page, err := s.Spans(t.Context(), store.Query{Window: all, Where: search.All{}, Limit: limit})
		check(t, fmt.Sprintf("limit %d", limit), page.Rows, err, newest[:min(limit, len(newest))])
		if page.More != (limit < len(spans)) {
			t.Errorf("limit %d of %d: more is %v", limit, len(spans), page.More)
		}
	}
	// Both ends of a window, to the nanosecond.
	w := store.Window{From: time.Unix(0, newest[5].Start), To: time.Unix(0, newest[2].Start)}
	page, err := s.Spans(t.Context(), store.Query{Window: w, Where: search.All{}, Limit: 100})
	check(t, "window", page.Rows, err, newest[3:6])
}

package storetest

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// quantile interpolates linearly between the values around the rank, as SQL's quantile_cont does.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	rank := q * float64(len(values)-1)
	low := int(rank)
	if low+1 >= len(values) {
		return values[len(values)-1]
	}
	return values[low] + (rank-float64(low))*(values[low+1]-values[low])
}

func mean(values []float64) (m float64) {
	for _, v := range values {
		m += v / float64(len(values))
	}
	return m
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }

// operations is Operations in plain Go.
func operations(spans []model.Span) []store.OperationStat {
	type key struct {
		service, name string
		kind          model.SpanKind
	}
	durations, errs := map[key][]float64{}, map[key]int64{}
	for i := range spans {
		k := key{spans[i].Service(), spans[i].Name, spans[i].Kind}
		durations[k] = append(durations[k], seconds(spans[i].Duration))
		if spans[i].Status == model.StatusError {
			errs[k]++
		}
	}
	var out []store.OperationStat
	for k, d := range durations {
		out = append(out, store.OperationStat{Service: k.service, Operation: k.name, Kind: k.kind, Count: int64(len(d)), Errors: errs[k],
			Mean: mean(d), P50: quantile(d, 0.5), P95: quantile(d, 0.95), P99: quantile(d, 0.99)})
	}
	slices.SortFunc(out, func(a, b store.OperationStat) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Service, b.Service), strings.Compare(a.Operation, b.Operation), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

func testOperations(t *testing.T, s store.Events) {
	spans, _ := requests(50)
	fill(t, s, spans, nil)
	got, err := s.Operations(t.Context(), store.Selection{Window: all}, 100)
	check(t, "operations", got, err, operations(spans))
	got, err = s.Operations(t.Context(), store.Selection{Window: all}, 2)
	check(t, "two operations", got, err, operations(spans)[:2])
}

// testSelections asks Operations with each field of a Selection.
func testSelections(t *testing.T, s store.Events) {
	spans, _ := requests(60)
	fill(t, s, spans, nil)
	failed, unset := model.StatusError, model.StatusUnset
	slow := 500 * time.Millisecond
	isBad := func(s *model.Span) bool { return s.Status == model.StatusError || s.Duration >= int64(slow) }
	for _, c := range []struct {
		name string
		sel  store.Selection
		keep func(*model.Span) bool
	}{
		{"window", store.Selection{Window: first(10 * time.Second)}, func(s *model.Span) bool { return s.Start < ns(10*time.Second) }},
		{"unbounded", store.Selection{}, func(*model.Span) bool { return true }},
		{"service", store.Selection{Window: all, Service: "cart"}, func(s *model.Span) bool { return s.Service() == "cart" }},
		{"operation", store.Selection{Window: all, Operation: "SELECT"}, func(s *model.Span) bool { return s.Name == "SELECT" }},
		{"kinds", store.Selection{Window: all, Kinds: []model.SpanKind{model.SpanServer, model.SpanConsumer}}, func(s *model.Span) bool { return s.Kind.Entry() }},
		{"durations", store.Selection{Window: all, MinDuration: 100 * time.Millisecond, MaxDuration: 120 * time.Millisecond},
			func(s *model.Span) bool {
				return s.Duration >= int64(100*time.Millisecond) && s.Duration < int64(120*time.Millisecond)
			}},
		{"status", store.Selection{Window: all, Status: &failed}, func(s *model.Span) bool { return s.Status == failed }},
		{"not status", store.Selection{Window: all, NotStatus: &unset}, func(s *model.Span) bool { return s.Status != unset }},
		{"bad", store.Selection{Window: all, Bad: true, BadDuration: slow}, isBad},
		{"good", store.Selection{Window: all, Good: true, BadDuration: slow}, func(s *model.Span) bool { return !isBad(s) }},
		{"failed only", store.Selection{Window: all, Bad: true}, func(s *model.Span) bool { return s.Status == failed }},
		{"own attribute", store.Selection{Window: all, Attrs: []store.AttrMatch{{Key: "shard", Value: "1"}}},
			func(s *model.Span) bool { return s.Attrs.Str("shard") == "1" }},
		{"number", store.Selection{Window: all, Attrs: []store.AttrMatch{{Key: "http.response.status_code", Value: "500"}}},
			func(s *model.Span) bool { return s.Attrs.Str("http.response.status_code") == "500" }},
		{"resource attribute", store.Selection{Window: all, Attrs: []store.AttrMatch{{Key: "host.name", Value: "h3"}}},
			func(s *model.Span) bool { return s.Resource.Attrs.Str("host.name") == "h3" }},
		{"both attributes", store.Selection{Window: all, Attrs: []store.AttrMatch{{Key: "host.name", Value: "h3"}, {Key: "shard", Value: "0"}}},
			func(s *model.Span) bool {
				return s.Resource.Attrs.Str("host.name") == "h3" && s.Attrs.Str("shard") == "0"
			}},
		{"nothing", store.Selection{Window: all, Service: "nobody"}, func(*model.Span) bool { return false }},
	} {
		got, err := s.Operations(t.Context(), c.sel, 100)
		check(t, c.name, got, err, operations(filter(spans, c.keep)))
	}
}

func testEdges(t *testing.T, s store.Events) {
	spans, _ := requests(40)
	fill(t, s, spans, nil)
	type edge struct {
		count, errors        int64
		client, server, wait []float64
	}
	edges := map[store.EdgeStat]*edge{}
	for i := range spans {
		x := &spans[i]
		if x.Kind != model.SpanClient && x.Kind != model.SpanProducer {
			continue
		}
		k := store.EdgeStat{From: x.Service()}
		var e *model.Span
		for j := range spans {
			y := &spans[j]
			byLink := len(y.Links) > 0 && y.Links[0].TraceID == x.TraceID && y.Links[0].SpanID == x.SpanID
			if y.Kind.Entry() && (byLink || y.TraceID == x.TraceID && y.ParentID == x.SpanID) {
				e = y
			}
		}
		switch {
		case e != nil && e.Kind == model.SpanConsumer:
			k.To, k.Kind = e.Service(), store.EdgeMessage
		case e != nil:
			k.To, k.Kind = e.Service(), store.EdgeCall
		case x.Attrs.Str("db.system.name") != "":
			k.To, k.Kind = x.Attrs.Str("db.namespace"), store.EdgeDatabase
		case x.Attrs.Str("messaging.system") != "":
			k.To, k.Kind = x.Attrs.Str("messaging.destination.name"), store.EdgeQueue
		default:
			k.To, k.Kind = x.Attrs.Str("server.address"), store.EdgeRemote
		}
		if edges[k] == nil {
			edges[k] = &edge{}
		}
		g := edges[k]
		g.count++
		g.client = append(g.client, seconds(x.Duration))
		if x.Status == model.StatusError || e != nil && e.Status == model.StatusError {
			g.errors++
		}
		if e != nil {
			g.server = append(g.server, seconds(e.Duration))
			wait := x.Duration - e.Duration
			if k.Kind == store.EdgeMessage {
				wait = e.Start - x.End()
			}
			g.wait = append(g.wait, seconds(max(0, wait)))
		}
	}
	var want []store.EdgeStat
	for k, g := range edges {
		k.Count, k.Errors, k.ClientMean, k.ServerMean = g.count, g.errors, mean(g.client), mean(g.server)
		k.ClientP99, k.WaitP50, k.WaitMean = quantile(g.client, 0.99), quantile(g.wait, 0.5), mean(g.wait)
		want = append(want, k)
	}
	slices.SortFunc(want, func(a, b store.EdgeStat) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.From, b.From), strings.Compare(a.To, b.To), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	got, err := s.Edges(t.Context(), "", all, 100)
	check(t, "edges", got, err, want)
}

func testTimeline(t *testing.T, s store.Events) {
	spans, _ := requests(30)
	fill(t, s, spans, nil)
	const step = 7 * time.Second
	sel := store.Selection{Window: store.Window{From: T0.Add(-time.Second), To: T0.Add(25 * time.Second)}, Service: "cart"}
	var want []store.TimelineStat
	for at := sel.From; at.Before(sel.To); at = at.Add(step) {
		inside := operations(filter(spans, func(s *model.Span) bool {
			start := time.Unix(0, s.Start)
			return s.Service() == "cart" && !start.Before(at) && start.Before(at.Add(step)) && start.Before(sel.To)
		}))
		slices.SortFunc(inside, func(a, b store.OperationStat) int { return strings.Compare(a.Operation, b.Operation) })
		for _, o := range inside {
			want = append(want, store.TimelineStat{At: at, Service: o.Service, Operation: o.Operation, Kind: o.Kind, Count: o.Count, Errors: o.Errors, Mean: o.Mean})
		}
	}
	got, err := s.Timeline(t.Context(), sel, step, 1000)
	check(t, "timeline", got, err, want)
	got, err = s.Timeline(t.Context(), sel, step, 4)
	check(t, "limited timeline", got, err, want[:4])
}

func testSampleTraces(t *testing.T, s store.Events) {
	spans, _ := requests(30)
	fill(t, s, spans, nil)
	sel := store.Selection{Window: all, Service: "cart"}
	longest := map[model.TraceID]*model.Span{}
	for i := range spans {
		x := &spans[i]
		if l := longest[x.TraceID]; x.Service() == "cart" && (l == nil || x.Duration > l.Duration) {
			longest[x.TraceID] = x
		}
	}
	var want []store.TraceRef
	for id, x := range longest {
		want = append(want, store.TraceRef{ID: id, Span: x.SpanID, Start: time.Unix(0, x.Start), Duration: time.Duration(x.Duration), Error: x.Status == model.StatusError})
	}
	slices.SortFunc(want, func(a, b store.TraceRef) int {
		return cmp.Or(cmp.Compare(b.Duration, a.Duration), cmp.Compare(a.ID.Hi(), b.ID.Hi()), cmp.Compare(a.ID.Lo(), b.ID.Lo()))
	})
	got, err := s.SampleTraces(t.Context(), sel, store.Slowest, 8)
	check(t, "slowest", got, err, want[:8])

	random, err := s.SampleTraces(t.Context(), sel, store.Random, 8)
	if err != nil || len(random) != 8 {
		t.Fatalf("random: %d traces, %v", len(random), err)
	}
	seen := map[model.TraceID]bool{}
	for _, r := range random {
		if seen[r.ID] || longest[r.ID] == nil {
			t.Errorf("random: trace %s is there twice or has no such span", r.ID)
		}
		seen[r.ID] = true
	}
	again, err := s.SampleTraces(t.Context(), sel, store.Random, 8)
	check(t, "random again", again, err, random)
}

func testTemplateCounts(t *testing.T, s store.Events) {
	spans, logs := requests(40)
	fill(t, s, spans, logs)
	a, b := store.Window{From: T0.Add(20 * time.Second), To: T0.Add(40 * time.Second)}, first(20*time.Second)
	type key struct {
		service, operation string
		template           uint64
	}
	counts := map[key]*store.TemplateCount{}
	for i := range logs {
		l := &logs[i]
		when := time.Unix(0, l.Time).UTC()
		if !a.Contains(when) && !b.Contains(when) {
			continue
		}
		k := key{l.Service(), "", l.Template}
		for j := range spans {
			if x := &spans[j]; x.Kind.Entry() && x.TraceID == l.TraceID && x.Service() == l.Service() && !l.TraceID.IsZero() {
				k.operation = x.Name
			}
		}
		c := counts[k]
		if c == nil {
			c = &store.TemplateCount{Service: k.service, Operation: k.operation, Template: k.template, First: when}
			counts[k] = c
		}
		if c.Sample == "" || a.Contains(when) && c.A == 0 {
			c.Sample, c.SampleTrace = l.Body.Str(), l.TraceID
		}
		c.Severity = max(c.Severity, l.Severity)
		if a.Contains(when) {
			if c.A == 0 {
				c.FirstA = when
			}
			c.A++
		} else {
			c.B++
		}
	}
	var want []store.TemplateCount
	for _, c := range counts {
		want = append(want, *c)
	}
	slices.SortFunc(want, func(a, b store.TemplateCount) int {
		return cmp.Or(cmp.Compare(b.A, a.A), cmp.Compare(b.B, a.B), strings.Compare(a.Service, b.Service), strings.Compare(a.Operation, b.Operation), cmp.Compare(a.Template, b.Template))
	})
	got, err := s.TemplateCounts(t.Context(), "", a, b, 100)
	check(t, "template counts", got, err, want)
	got, err = s.TemplateCounts(t.Context(), "", a, b, 1)
	check(t, "the most frequent", got, err, want[:1])
}

// difference compares one attribute of two selections in plain Go.
func difference(d *store.Difference, key string, a, b []model.Span, values func(*model.Span) []string) {
	at := map[string]*store.DifferenceValue{}
	count := func(spans []model.Span, n func(*store.DifferenceValue) (*int64, *float64)) {
		for i := range spans {
			vs := values(&spans[i])
			slices.Sort(vs)
			for _, v := range slices.Compact(vs) {
				if at[v] == nil {
					at[v] = &store.DifferenceValue{Key: key, Value: v}
				}
				rows, secs := n(at[v])
				*rows++
				*secs += seconds(spans[i].Duration)
			}
		}
	}
	count(a, func(v *store.DifferenceValue) (*int64, *float64) { return &v.A, &v.SecondsA })
	count(b, func(v *store.DifferenceValue) (*int64, *float64) { return &v.B, &v.SecondsB })
	for _, v := range at {
		d.Values = append(d.Values, *v)
	}
}

func finish(d *store.Difference, a, b []model.Span) {
	d.A, d.B = int64(len(a)), int64(len(b))
	for i := range a {
		d.SecondsA += seconds(a[i].Duration)
	}
	for i := range b {
		d.SecondsB += seconds(b[i].Duration)
	}
	share := func(v store.DifferenceValue) float64 {
		return math.Abs(float64(v.A)/float64(d.A) - float64(v.B)/float64(d.B))
	}
	slices.SortFunc(d.Values, func(x, y store.DifferenceValue) int {
		return cmp.Or(cmp.Compare(share(y), share(x)), strings.Compare(x.Key, y.Key), strings.Compare(x.Value, y.Value))
	})
}

func testDifference(t *testing.T, s store.Events) {
	spans, _ := requests(70)
	fill(t, s, spans, nil)
	failed := model.StatusError
	q := store.DifferenceQuery{Limit: 100,
		A: store.Selection{Window: all, Operation: "GET /cart", Status: &failed},
		B: store.Selection{Window: all, Operation: "GET /cart", NotStatus: &failed}}
	a := filter(spans, func(s *model.Span) bool { return s.Name == "GET /cart" && s.Status == failed })
	b := filter(spans, func(s *model.Span) bool { return s.Name == "GET /cart" && s.Status != failed })
	own := func(key string) func(*model.Span) []string {
		return func(s *model.Span) []string {
			if v, ok := s.Attrs.Get(key); ok {
				return []string{v.String()}
			}
			return nil
		}
	}
	// request.id is left out because its values are all distinct, host.name because these spans' resources have but one.
	var want store.Difference
	for _, key := range []string{"http.response.status_code", "http.route", "user.id"} {
		difference(&want, key, a, b, own(key))
	}
	finish(&want, a, b)
	got, err := s.AttributeDifference(t.Context(), q)
	check(t, "difference", got, err, want)

	q.Keys = []string{"user.id"}
	want = store.Difference{}
	difference(&want, "user.id", a, b, own("user.id"))
	finish(&want, a, b)
	got, err = s.AttributeDifference(t.Context(), q)
	check(t, "difference of one key", got, err, want)

	q.Limit = 2
	want.Values = want.Values[:2]
	got, err = s.AttributeDifference(t.Context(), q)
	check(t, "the two largest", got, err, want)

	// A resource's attribute that varies tells as much as a span's own.
	q = store.DifferenceQuery{Limit: 100, Keys: []string{"host.name"},
		A: store.Selection{Window: all, Operation: "read cart", Attrs: []store.AttrMatch{{Key: "items", Value: "1"}}},
		B: store.Selection{Window: all, Operation: "read cart", Attrs: []store.AttrMatch{{Key: "items", Value: "2"}}}}
	a = filter(spans, func(s *model.Span) bool { return s.Name == "read cart" && s.Attrs.Str("items") == "1" })
	b = filter(spans, func(s *model.Span) bool { return s.Name == "read cart" && s.Attrs.Str("items") == "2" })
	want = store.Difference{}
	difference(&want, "host.name", a, b, func(s *model.Span) []string { return []string{s.Resource.Attrs.Str("host.name")} })
	finish(&want, a, b)
	got, err = s.AttributeDifference(t.Context(), q)
	check(t, "difference of resources", got, err, want)
}

func testDifferenceFromTrace(t *testing.T, s store.Events) {
	spans, _ := requests(40)
	fill(t, s, spans, nil)
	failed := model.StatusError
	q := store.DifferenceQuery{Limit: 100, FromTrace: true, Keys: []string{"user.id", "shard"},
		A: store.Selection{Window: all, Operation: "read cart", Status: &failed},
		B: store.Selection{Window: all, Operation: "read cart", NotStatus: &failed}}
	a := filter(spans, func(s *model.Span) bool { return s.Name == "read cart" && s.Status == failed })
	b := filter(spans, func(s *model.Span) bool { return s.Name == "read cart" && s.Status != failed })
	var want store.Difference
	for _, key := range q.Keys {
		difference(&want, key, a, b, func(s *model.Span) (out []string) {
			for i := range spans {
				if e := &spans[i]; e.TraceID == s.TraceID && (e.Kind.Entry() || e.SpanID == s.SpanID) {
					if v, ok := e.Attrs.Get(key); ok {
						out = append(out, v.String())
					}
				}
			}
			return out
		})
	}
	finish(&want, a, b)
	got, err := s.AttributeDifference(t.Context(), q)
	check(t, "difference", got, err, want)

	q.Keys = nil
	got, err = s.AttributeDifference(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range want.Values {
		if !slices.ContainsFunc(got.Values, func(g store.DifferenceValue) bool {
			return g.Key == v.Key && g.Value == v.Value && g.A == v.A && g.B == v.B
		}) {
			t.Errorf("without keys named, %s=%s (%d against %d) is missing", v.Key, v.Value, v.A, v.B)
		}
	}
}

func testValues(t *testing.T, s store.Events) {
	spans, _ := requests(30)
	spans[0].Attrs = spans[0].Attrs.Set("ratio", model.Double(2)) // 2, not 2.0
	fill(t, s, spans, nil)
	for _, key := range []string{"user.id", "http.response.status_code", "host.name", "ratio", "nowhere"} {
		values := map[string]*store.ValueStat{}
		for i := range spans {
			x := &spans[i]
			v, ok := x.Attrs.Get(key)
			if !ok {
				v, ok = x.Resource.Attrs.Get(key)
			}
			if !ok || x.Service() == "ledger" {
				continue
			}
			when := time.Unix(0, x.Start).UTC()
			st := values[v.String()]
			if st == nil {
				st = &store.ValueStat{Value: v.String(), First: when, Last: when}
				values[v.String()] = st
			}
			st.Count++
			if when.Before(st.First) {
				st.First = when
			}
			if when.After(st.Last) {
				st.Last = when
			}
		}
		var want []store.ValueStat
		for _, v := range values {
			want = append(want, *v)
		}
		slices.SortFunc(want, func(a, b store.ValueStat) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
		})
		got, err := s.Values(t.Context(), store.Selection{Window: all, Kinds: []model.SpanKind{model.SpanServer, model.SpanClient, model.SpanProducer}}, key, 100)
		check(t, key, got, err, want)
	}
}

func testImpact(t *testing.T, s store.Events) {
	spans, _ := requests(40)
	fill(t, s, spans, nil)
	failed := model.StatusError
	// The cart's spans carry no user; their traces' first spans do.
	sel := store.Selection{Window: all, Operation: "read cart", Status: &failed}
	chosen := filter(spans, func(s *model.Span) bool { return s.Name == "read cart" && s.Status == failed })
	users := map[string]bool{}
	for i := range chosen {
		for j := range spans {
			if u := spans[j].Attrs.Str("user.id"); spans[j].TraceID == chosen[i].TraceID && u != "" {
				users[u] = true
			}
		}
	}
	got, err := s.Impact(t.Context(), sel, []string{"enduser.id", "user.id", "request.id"})
	check(t, "impact", got, err, model.Impact{Requests: int64(len(chosen)), Users: int64(len(users))})
	got, err = s.Impact(t.Context(), sel, nil)
	check(t, "impact without users", got, err, model.Impact{Requests: int64(len(chosen))})
}

func testHealth(t *testing.T, s store.Events) {
	spans, logs := requests(20)
	spans = append(spans, model.Span{TraceID: traceID(5000), SpanID: spanID(1), ParentID: spanID(2), Name: "orphan", Start: ns(0), Resource: resource("frontend")})
	fill(t, s, spans, logs)
	without := filter(logs, func(l *model.LogRecord) bool { return l.TraceID.IsZero() })
	got, err := s.Health(t.Context(), "", all)
	check(t, "health", got, err, model.Telemetry{Spans: int64(len(spans)), Logs: int64(len(logs)), OrphanSpans: 1 / float64(len(spans)),
		LogsWithoutSpan: float64(len(without)) / float64(len(logs))})
}

// testOddTimes stores rows of long ago and far ahead among others.
func testOddTimes(t *testing.T, s store.Events) {
	res := resource("frontend")
	times := []int64{math.MinInt64, -1, 0, ns(0), ns(time.Second), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), math.MaxInt64}
	var spans []model.Span
	for i, at := range times {
		spans = append(spans, model.Span{TraceID: traceID(1), SpanID: spanID(i + 1), Name: "odd", Start: at, Duration: 1, Resource: res})
	}
	fill(t, s, spans, nil)
	got, err := s.Trace(t.Context(), "", traceID(1))
	check(t, "trace", got, err, spans)
	ops, err := s.Operations(t.Context(), store.Selection{Window: first(time.Minute)}, 10)
	check(t, "within a minute", ops, err, operations(spans[3:5]))
	page, err := s.Spans(t.Context(), store.Query{Where: search.All{}, Limit: 3})
	newest := slices.Clone(spans[4:])
	slices.Reverse(newest)
	check(t, "newest", page.Rows, err, newest)
}

func testCancelled(t *testing.T, s store.Events) {
	spans, _ := requests(2)
	fill(t, s, spans, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range map[string]error{
		"append":     second(s.Append(ctx, &model.Batch{Spans: spans})),
		"trace":      second(s.Trace(ctx, "", spans[0].TraceID)),
		"spans":      second(s.Spans(ctx, store.Query{Window: all, Where: search.All{}, Limit: 1})),
		"operations": second(s.Operations(ctx, store.Selection{Window: all}, 1)),
		"stats":      second(s.Stats(ctx)),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want the context's error", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

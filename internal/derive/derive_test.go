package derive

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"triage/internal/model"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testSpan is a span in few words. Times are offsets from epoch.
type testSpan struct {
	trace, span, parent byte
	service, name       string
	kind                model.SpanKind
	start, duration     time.Duration
	failed              bool
	state               string
	attrs               model.Attrs
	links               [][2]byte
}

func (t testSpan) model() model.Span {
	s := model.Span{
		TraceID: model.TraceID{15: t.trace}, SpanID: model.SpanID{7: t.span}, Name: t.name, Kind: t.kind, TraceState: t.state,
		Start: epoch.Add(t.start).UnixNano(), Duration: int64(t.duration), Attrs: t.attrs, Resource: &model.Resource{Service: t.service},
	}
	if t.parent != 0 {
		s.ParentID = model.SpanID{7: t.parent}
	}
	if t.failed {
		s.Status = model.StatusError
	}
	for _, l := range t.links {
		s.Links = append(s.Links, model.Link{TraceID: model.TraceID{15: l[0]}, SpanID: model.SpanID{7: l[1]}})
	}
	return s
}

func batch(spans ...testSpan) *model.Batch {
	b := &model.Batch{}
	for _, s := range spans {
		b.Spans = append(b.Spans, s.model())
	}
	return b
}

// clock is a time that tests move.
type clock struct{ now time.Time }

func newDeriver(o Options) (*Deriver, *clock) {
	c := &clock{epoch}
	o.Instance = "node"
	o.Now = func() time.Time { return c.now }
	return New(o), c
}

// show writes series one a line, sorted: name{labels} value, or count, sum and exemplar of histograms.
func show(series []model.Series) []string {
	var out []string
	for _, s := range series {
		var b strings.Builder
		s.Labels.Range(func(l labels.Label) {
			switch l.Name {
			case "__name__", "instance":
				return
			}
			v := strings.TrimPrefix(strings.TrimPrefix(l.Value, "SPAN_KIND_"), "STATUS_CODE_")
			fmt.Fprintf(&b, " %s", cmpOr(v, "-"))
		})
		name := strings.TrimPrefix(s.Labels.Get("__name__"), "traces_")
		for _, v := range s.Samples {
			out = append(out, fmt.Sprintf("%s%s = %g", name, &b, v.V))
		}
		for _, h := range s.Histograms {
			if h.Int != nil {
				out = append(out, fmt.Sprintf("%s%s = n %d sum %g", name, &b, h.Int.Count, h.Int.Sum))
			} else {
				out = append(out, fmt.Sprintf("%s%s = float n %g sum %g", name, &b, h.Float.Count, h.Float.Sum))
			}
		}
	}
	slices.Sort(out)
	return out
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// only keeps lines with one of these names.
func only(lines []string, part string) (out []string) {
	for _, l := range lines {
		if strings.HasPrefix(l, part) {
			out = append(out, l)
		}
	}
	return out
}

func TestObserve(t *testing.T) {
	const ms = time.Millisecond
	db := model.Attrs{{Key: "db.system.name", Value: model.String("postgresql")}, {Key: "db.namespace", Value: model.String("ledger")}}
	queue := model.Attrs{{Key: "messaging.system", Value: model.String("nats")}, {Key: "messaging.destination.name", Value: model.String("bills")}}
	host := model.Attrs{{Key: "server.address", Value: model.String("rates.example")}}
	call := []testSpan{
		{trace: 1, span: 1, service: "frontend", name: "GET /cart", kind: model.SpanServer, duration: 500 * ms},
		{trace: 1, span: 2, parent: 1, service: "frontend", name: "cart.Get", kind: model.SpanClient, duration: 400 * ms},
		{trace: 1, span: 3, parent: 2, service: "cart", name: "cart.Get", kind: model.SpanServer, duration: 250 * ms, failed: true},
	}
	tests := []struct {
		name    string
		batches [][]testSpan
		wait    time.Duration
		part    string
		want    []string
	}{
		{
			name: "red", batches: [][]testSpan{call, call[:1]}, part: "span_metrics",
			want: []string{
				"span_metrics_calls_total cart SERVER cart.Get ERROR = 1",
				"span_metrics_calls_total frontend CLIENT cart.Get UNSET = 1",
				"span_metrics_calls_total frontend SERVER GET /cart UNSET = 2",
				"span_metrics_duration_seconds cart SERVER cart.Get ERROR = n 1 sum 0.25",
				"span_metrics_duration_seconds frontend CLIENT cart.Get UNSET = n 1 sum 0.4",
				"span_metrics_duration_seconds frontend SERVER GET /cart UNSET = n 2 sum 1",
			},
		},
		{
			name: "call", batches: [][]testSpan{call}, part: "service_graph",
			want: []string{
				"service_graph_request_client_seconds frontend - cart = n 1 sum 0.4",
				"service_graph_request_failed_total frontend - cart = 1",
				"service_graph_request_failed_total user virtual_node frontend = 0",
				"service_graph_request_server_seconds frontend - cart = n 1 sum 0.25",
				"service_graph_request_server_seconds user virtual_node frontend = n 1 sum 0.5",
				"service_graph_request_total frontend - cart = 1",
				"service_graph_request_total user virtual_node frontend = 1",
			},
		},
		{
			name: "server comes first, in another batch", batches: [][]testSpan{call[2:], call[1:2]}, part: "service_graph_request_total",
			want: []string{"service_graph_request_total frontend - cart = 1"},
		},
		{
			name: "database at once", part: "service_graph", batches: [][]testSpan{{
				{trace: 1, span: 2, parent: 1, service: "cart", name: "SELECT", kind: model.SpanClient, duration: 20 * ms, attrs: db, failed: true},
			}},
			want: []string{
				"service_graph_request_client_seconds cart database ledger = n 1 sum 0.02",
				"service_graph_request_failed_total cart database ledger = 1",
				"service_graph_request_total cart database ledger = 1",
			},
		},
		{
			name: "silent host before expiry", part: "service_graph", wait: 10*time.Second - 1, batches: [][]testSpan{{
				{trace: 1, span: 2, parent: 1, service: "cart", name: "GET", kind: model.SpanClient, duration: 20 * ms, attrs: host},
			}},
		},
		{
			name: "silent host after expiry", part: "service_graph_request_total", wait: 10 * time.Second, batches: [][]testSpan{{
				{trace: 1, span: 2, parent: 1, service: "cart", name: "GET", kind: model.SpanClient, duration: 20 * ms, attrs: host},
				{trace: 1, span: 4, parent: 1, service: "cart", name: "GET", kind: model.SpanClient, duration: 20 * ms},
				{trace: 1, span: 5, parent: 9, service: "cart", name: "orphan", kind: model.SpanServer, duration: 20 * ms},
			}},
			want: []string{"service_graph_request_total cart virtual_node rates.example = 1"},
		},
		{
			name: "message by parent and by link, consumer first", part: "service_graph_request_total", batches: [][]testSpan{
				{{trace: 7, span: 8, service: "ledger", name: "process", kind: model.SpanConsumer, attrs: queue, links: [][2]byte{{1, 2}, {1, 3}}}},
				{
					{trace: 1, span: 2, parent: 1, service: "billing", name: "publish", kind: model.SpanProducer, attrs: queue},
					{trace: 1, span: 3, parent: 1, service: "billing", name: "publish", kind: model.SpanProducer, attrs: queue},
					{trace: 1, span: 4, parent: 2, service: "mailer", name: "process", kind: model.SpanConsumer, attrs: queue, links: [][2]byte{{1, 2}}},
				},
			},
			wait: time.Minute,
			want: []string{
				"service_graph_request_total billing messaging_system ledger = 2",
				"service_graph_request_total billing messaging_system mailer = 1",
			},
		},
		{
			name: "queue without the other side", part: "service_graph_request_total", wait: time.Minute, batches: [][]testSpan{{
				{trace: 1, span: 2, parent: 1, service: "billing", name: "publish", kind: model.SpanProducer, attrs: queue},
				{trace: 2, span: 3, service: "mailer", name: "process", kind: model.SpanConsumer, attrs: queue},
				{trace: 2, span: 4, parent: 5, service: "mailer", name: "process", kind: model.SpanConsumer, attrs: queue, links: [][2]byte{{9, 9}}},
			}},
			want: []string{
				"service_graph_request_total billing messaging_system bills = 1",
				"service_graph_request_total bills messaging_system mailer = 2",
			},
		},
		{
			name: "late", part: "", batches: [][]testSpan{{
				{trace: 1, span: 1, service: "cart", name: "ended in time", kind: model.SpanInternal, start: -5 * time.Minute, duration: 3 * time.Minute},
				{trace: 1, span: 2, service: "cart", name: "late", kind: model.SpanServer, start: -5 * time.Minute, duration: 3*time.Minute - 1},
			}},
			want: []string{
				"span_metrics_calls_total cart INTERNAL ended in time UNSET = 1",
				"span_metrics_duration_seconds cart INTERNAL ended in time UNSET = n 1 sum 180",
			},
		},
		{
			name: "weights", part: "span_metrics", batches: [][]testSpan{{
				{trace: 1, span: 1, service: "cart", name: "quarter", kind: model.SpanServer, duration: time.Second, state: "x=y,ot=th:c"},
				{trace: 1, span: 2, service: "cart", name: "odd", kind: model.SpanServer, duration: time.Second, state: "ot=rv:0;th:4"},
				{trace: 1, span: 3, service: "cart", name: "eighth", kind: model.SpanServer, duration: time.Second, state: "ot=p:3;r:9"},
			}},
			want: []string{
				"span_metrics_calls_total cart SERVER eighth UNSET = 8",
				"span_metrics_calls_total cart SERVER odd UNSET = 1.3333333333333333",
				"span_metrics_calls_total cart SERVER quarter UNSET = 4",
				"span_metrics_duration_seconds cart SERVER eighth UNSET = n 8 sum 8",
				"span_metrics_duration_seconds cart SERVER odd UNSET = float n 1.3333333333333333 sum 1.3333333333333333",
				"span_metrics_duration_seconds cart SERVER quarter UNSET = n 4 sum 4",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, c := newDeriver(Options{})
			for _, b := range tt.batches {
				d.Observe(batch(b...))
			}
			c.now = c.now.Add(tt.wait)
			got := only(show(d.Collect(c.now)[model.DefaultTenant]), tt.part)
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("series (-got +want):\n%s", diff)
			}
		})
	}
}

func TestCollect(t *testing.T) {
	d, c := newDeriver(Options{})
	slow := testSpan{trace: 1, span: 1, service: "cart", name: "get", kind: model.SpanInternal, duration: time.Second}
	fast := testSpan{trace: 2, span: 2, service: "cart", name: "get", kind: model.SpanInternal, duration: time.Millisecond}
	c.now = epoch.Add(time.Second)
	b := batch(fast, slow)
	b.Tenant = "acme"
	d.Observe(b)
	b.Tenant = "umbrella"
	d.Observe(b)
	at := epoch.Add(5 * time.Second)
	all := d.Collect(at)
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, []string{"acme", "umbrella"}) {
		t.Fatalf("tenants %v", got)
	}
	var h model.Series
	for _, s := range all["acme"] {
		if s.Created != epoch.Add(time.Second).UnixMilli() {
			t.Errorf("%s was created at %d", s.Labels, s.Created)
		}
		if s.Labels.Get("instance") != "node" {
			t.Errorf("%s has no instance", s.Labels)
		}
		if len(s.Histograms) > 0 {
			h = s
		}
	}
	if h.Histograms[0].T != at.UnixMilli() || len(h.Exemplars) != 1 {
		t.Fatalf("histogram %+v", h)
	}
	e := h.Exemplars[0]
	if e.Value != 1 || e.Ts != epoch.Add(time.Second).UnixMilli() || e.Labels.Get("trace_id") != slow.model().TraceID.String() ||
		e.Labels.Get("span_id") != slow.model().SpanID.String() {
		t.Errorf("exemplar %+v", e)
	}

	// Nothing new: the same values and no exemplar again; then the series end after 15 minutes.
	for _, s := range d.Collect(at.Add(5 * time.Second))["acme"] {
		if len(s.Exemplars) > 0 {
			t.Errorf("%s repeats its exemplar", s.Labels)
		}
	}
	if got := len(d.Collect(c.now.Add(idleAfter - 1))["acme"]); got != 2 {
		t.Errorf("%d series before they are idle, want 2", got)
	}
	if got := d.Collect(c.now.Add(idleAfter)); len(got) != 0 || d.live.Load() != 0 {
		t.Errorf("idle series remain: %v, %d live", got, d.live.Load())
	}
}

func TestLimits(t *testing.T) {
	reg := prometheus.NewRegistry()
	d, c := newDeriver(Options{MaxOperations: 3, MaxSeries: 6, MaxUnpaired: shards, Registerer: reg})
	for i := range 10 {
		d.Observe(batch(testSpan{trace: 1, span: 1, service: "cart", name: fmt.Sprintf("op %d", i), kind: model.SpanInternal}))
	}
	got := only(show(d.Collect(c.now)[model.DefaultTenant]), "span_metrics_calls")
	want := []string{
		"span_metrics_calls_total cart INTERNAL op 0 UNSET = 1",
		"span_metrics_calls_total cart INTERNAL op 1 UNSET = 1",
		"span_metrics_calls_total cart INTERNAL op 2 UNSET = 1",
		"span_metrics_calls_total cart INTERNAL other UNSET = 7",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("series (-got +want):\n%s", diff)
	}
	for i := range 10 {
		d.Observe(batch(testSpan{trace: 1, span: 1, service: fmt.Sprintf("s%d", i), name: "a", kind: model.SpanInternal}))
	}
	if got := d.live.Load(); got != 6 {
		t.Errorf("%d series live, want 6", got)
	}
	if got := testutil.ToFloat64(d.counts.refused); got != 8 {
		t.Errorf("%g refused, want 8", got)
	}
	owners := 0
	for i := range d.series {
		owners += len(d.series[i].owners)
	}
	if owners > 6 {
		t.Errorf("%d services take memory, want at most one for each series", owners)
	}
	for i := range 100 {
		d.Observe(batch(testSpan{trace: byte(i), span: byte(i + 1), parent: 1, service: "cart", name: "op 0", kind: model.SpanClient}))
	}
	if got := d.unpaired(); got > shards {
		t.Errorf("%d spans wait, want at most %d", got, shards)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
}

// memory is a Templates that keeps them in memory.
type memory struct {
	mu sync.Mutex
	by map[string]map[uint64]model.Template
}

func (m *memory) SaveTemplates(_ context.Context, tenant string, ts []model.Template) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == nil {
		m.by = map[string]map[uint64]model.Template{}
	}
	if m.by[tenant] == nil {
		m.by[tenant] = map[uint64]model.Template{}
	}
	for _, t := range ts {
		m.by[tenant][t.ID] = t
	}
	return nil
}

func (m *memory) Templates(_ context.Context, tenant string) ([]model.Template, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.by[tenant])), nil
}

func logs(tenant string, bodies ...string) *model.Batch {
	b := &model.Batch{Tenant: tenant}
	r := &model.Resource{Service: "cart"}
	for _, body := range bodies {
		b.Logs = append(b.Logs, model.LogRecord{Time: epoch.UnixNano(), Body: model.String(body), Resource: r})
	}
	return b
}

// Clocks that are wrong by decades, and names that are books, must not spoil what right ones measure.
func TestNonsenseIsBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	d, c := newDeriver(Options{Registerer: reg})
	long := strings.Repeat("x", 1<<20)
	d.Observe(batch(
		testSpan{trace: 1, span: 1, service: "cart", name: "a", kind: model.SpanServer, start: -50 * 365 * 24 * time.Hour, duration: 50 * 365 * 24 * time.Hour},
		testSpan{trace: 1, span: 2, service: "cart", name: "a", kind: model.SpanInternal, start: 20 * time.Hour, duration: time.Second},
		testSpan{trace: 1, span: 3, service: long, name: long, kind: model.SpanClient, attrs: model.Attrs{{Key: "db.system", Value: model.String(long)}}},
	))
	if got := testutil.ToFloat64(d.counts.implausible); got != 1 {
		t.Errorf("%g spans are implausible, want 1", got)
	}
	for _, s := range d.Collect(c.now)[model.DefaultTenant] {
		if n := s.Labels.ByteSize(); n > 5*maxName {
			t.Errorf("labels of %d bytes", n)
		}
		for _, e := range s.Exemplars {
			if e.Ts > c.now.UnixMilli() {
				t.Errorf("an exemplar of the future: %v", e)
			}
		}
	}
}

func TestTemplatesSurviveRestart(t *testing.T) {
	for _, tenant := range []string{model.DefaultTenant, "acme"} {
		var m memory
		ctx := t.Context()
		first, _ := newDeriver(Options{Templates: &m})
		if err := first.Load(ctx); err != nil {
			t.Fatal(err)
		}
		a := logs(tenant, "cart of ann is full", "cart of ben is full", "cart of cat is full", "cart of dan is full", "cart of eve is full", "stock of <x>")
		first.Enrich(a)
		if err := first.Save(ctx); err != nil {
			t.Fatal(err)
		}
		second, _ := newDeriver(Options{Templates: &m})
		if err := second.Load(ctx); err != nil {
			t.Fatal(err)
		}
		b := logs(tenant, "cart of fay is full", "stock of <x>")
		second.Enrich(b)
		if got, want := b.Logs[0].Template, a.Logs[4].Template; got != want {
			t.Errorf("%s: after restart %x, before %x", tenant, got, want)
		}
		if got, want := b.Logs[1].Template, a.Logs[5].Template; got != want {
			t.Errorf("%s: after restart %x, before %x", tenant, got, want)
		}
		for _, r := range a.Logs[:4] {
			saved := m.by[tenant][r.Template]
			if id := saved.ID; id == 0 || saved.Alias != 0 && saved.Alias != a.Logs[4].Template {
				t.Errorf("template %x is saved as %+v", r.Template, saved)
			}
		}
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Options{Instance: "node"})
		ctx, cancel := context.WithCancel(t.Context())
		type call struct {
			At time.Duration
			N  float64
		}
		start := time.Now() // at midnight in the bubble
		var got []call
		done := make(chan error)
		go func() {
			done <- d.Run(ctx, 5*time.Second, func(_ context.Context, _ string, s []model.Series) error {
				for _, x := range s {
					if len(x.Samples) > 0 {
						got = append(got, call{time.Since(start), x.Samples[0].V})
					}
				}
				return fmt.Errorf("store is closed")
			})
		}()
		span := func() {
			d.Observe(&model.Batch{Spans: []model.Span{{Name: "get", Start: time.Now().UnixNano(), Resource: &model.Resource{Service: "cart"}}}})
		}
		time.Sleep(7 * time.Second)
		span()
		time.Sleep(time.Second)
		span()
		time.Sleep(3 * time.Second)
		span()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []call{{7 * time.Second, 1}, {10 * time.Second, 2}, {11 * time.Second, 3}}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("collections (-got +want):\n%s", diff)
		}
	})
}

func TestConcurrentObserve(t *testing.T) {
	d, c := newDeriver(Options{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				trace := byte(i)
				client := testSpan{trace: trace, span: byte(g), parent: 200, service: "frontend", name: "call", kind: model.SpanClient, duration: 2}
				server := testSpan{trace: trace, span: byte(100 + g), parent: byte(g), service: "cart", name: "call", kind: model.SpanServer, duration: 1}
				if g%2 == 0 {
					client, server = server, client
				}
				d.Observe(batch(client))
				d.Observe(batch(server))
				d.Enrich(logs("", fmt.Sprintf("call %d of g%d trace_id=%032x", i, g, i+1)))
				if i%20 == 0 {
					d.Collect(c.now)
				}
			}
		})
	}
	wg.Wait()
	got := only(show(d.Collect(c.now)[model.DefaultTenant]), "service_graph_request_total")
	// Span 0 of g = 0 has no parent ID, so its servers are roots.
	want := []string{"service_graph_request_total frontend - cart = 700", "service_graph_request_total user virtual_node cart = 100"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("edges (-got +want):\n%s", diff)
	}
}

func BenchmarkObserve(b *testing.B) {
	d, _ := newDeriver(Options{})
	in := &model.Batch{}
	res := []*model.Resource{{Service: "frontend"}, {Service: "cart"}, {Service: "ledger"}}
	attrs := model.Attrs{}
	for i := range 12 {
		attrs = append(attrs, model.Attr{Key: fmt.Sprintf("some.attribute.%d", i), Value: model.Int(int64(i))})
	}
	for i := range 1000 {
		id := model.TraceIDFrom(uint64(i/2), uint64(i/2)*0x9E3779B97F4A7C15)
		s := model.Span{TraceID: id, SpanID: model.SpanIDFrom(uint64(i + 1)), ParentID: model.SpanIDFrom(uint64(i)), Kind: model.SpanServer + model.SpanKind(1-i%2),
			Name: fmt.Sprintf("GET /thing/%d", i%50), Start: epoch.UnixNano(), Duration: int64(i) * 1e6, Attrs: attrs, Resource: res[i%3]}
		in.Spans = append(in.Spans, s)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		d.Observe(in)
		n += len(in.Spans)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "spans/s")
}

func BenchmarkEnrich(b *testing.B) {
	lines := map[string]string{
		"plain":   "request GET /v1/things/%d handled in %d ms for tenant acme with status 200 from 10.1.2.3:4711",
		"keyed":   "request %d handled in %d ms trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331",
		"json":    `{"time":"2026-03-01T12:00:00Z","level":"info","msg":"request handled","id":%d,"ms":%d,"status":200}`,
		"dashing": "2026-03-01 12:00:%02d thing 1b4e28ba-2fa1-11d2-883f-0016d3cca%03d handled [worker-7] ok",
	}
	for name, format := range lines {
		b.Run(name, func(b *testing.B) {
			d, _ := newDeriver(Options{})
			var bodies []string
			for i := range 1000 {
				bodies = append(bodies, fmt.Sprintf(format, i, i%90))
			}
			in := logs("", bodies...)
			for i := range in.Logs {
				in.Logs[i].Severity = 9
				in.Logs[i].Attrs = model.Attrs{{Key: "http.route", Value: model.String("/v1")}, {Key: "code.function", Value: model.String("f")},
					{Key: "user.id", Value: model.Int(1)}, {Key: "thread.name", Value: model.String("t")}}
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				for i := range in.Logs {
					in.Logs[i].TraceID = model.TraceID{}
				}
				d.Enrich(in)
				n += len(in.Logs)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

package diagnose_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"triage/internal/diagnose"
	"triage/internal/model"
	"triage/internal/store"
	"triage/internal/store/events"
)

// benchEnd is when what is stored for a benchmark ends.
var benchEnd = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	benchRate = 2400            // spans a second, and as many log lines: ten million take 70 minutes
	benchSlow = 2 * time.Minute // before benchEnd a service became slow
)

// BenchmarkVerdict measures a verdict over TRIAGE_BENCH_ROWS spans (a million if that is not set) and as many log lines,
// in the store in TRIAGE_BENCH_DIR, which is filled if it is empty, or in one of its own. Besides the time it reports the
// processor's, which other programs' work falsifies less.
func BenchmarkVerdict(b *testing.B) {
	rows := 1_000_000
	if n, err := strconv.Atoi(os.Getenv("TRIAGE_BENCH_ROWS")); err == nil {
		rows = n
	}
	dir := os.Getenv("TRIAGE_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	ctx := context.Background()
	engine, err := events.Open(ctx, events.Options{Dir: dir, FS: events.Unsynced()})
	if err != nil {
		b.Fatal(err)
	}
	defer engine.Close()
	st, err := engine.Stats(ctx)
	if err != nil {
		b.Fatal(err)
	}
	if st.Spans == 0 {
		benchFill(b, engine, rows)
	}
	if st, err = engine.Stats(ctx); err != nil {
		b.Fatal(err)
	}
	d := diagnose.New(diagnose.Options{Events: engine})
	req := diagnose.Request{Service: "frontend", From: benchEnd.Add(-benchSlow), To: benchEnd}
	var cpu time.Duration
	for b.Loop() {
		before := processorTime()
		v, _, err := d.Diagnose(ctx, req, benchEnd)
		if err != nil {
			b.Fatal(err)
		}
		cpu += processorTime() - before
		if v.Why == nil || v.Why.Entity != "service:pricing" {
			b.Fatalf("verdict %+v\n%s", v.Why, v.Text["en"])
		}
	}
	b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(st.Spans), "spans")
	b.ReportMetric(float64(st.Logs), "logs")
	b.ReportMetric(float64(st.Blocks), "blocks")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchFill stores traces and log lines of one made-up system that end at benchEnd.
func benchFill(b *testing.B, engine *events.Store, rows int) {
	ctx := context.Background()
	w := newBenchWorld()
	length := time.Duration(rows) * time.Second / benchRate
	const batch = 5000
	for done := 0; done < rows; done += batch {
		from := benchEnd.Add(-length + time.Duration(float64(length)*float64(done)/float64(rows)))
		w.spans, w.logs = w.spans[:0], w.logs[:0]
		for i := 0; len(w.spans) < batch; i++ {
			w.trace(from.Add(time.Duration(i) * 9 * time.Second / benchRate))
		}
		w.lines(len(w.spans))
		for {
			_, err := engine.Append(ctx, &model.Batch{Spans: w.spans, Logs: w.logs})
			if err == nil {
				break
			}
			if err != store.ErrOverloaded {
				b.Fatal(err)
			}
			if err := engine.Maintain(ctx); err != nil {
				b.Fatal(err)
			}
		}
		if done/batch%20 == 19 {
			if err := engine.Maintain(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := engine.Maintain(ctx); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
}

// benchWorld makes traces of nine spans with fifteen attributes each:
//
//	frontend -> gateway -> catalog -> database
//	                    -> pricing -> database
type benchWorld struct {
	r         *rand.Rand
	users     *rand.Zipf
	resources map[string][]*model.Resource
	spans     []model.Span
	logs      []model.LogRecord
	texts     map[string][]string
}

func newBenchWorld() *benchWorld {
	w := &benchWorld{r: rand.New(rand.NewPCG(1, 2)), resources: map[string][]*model.Resource{}, texts: map[string][]string{}}
	w.users = rand.NewZipf(w.r, 1.2, 5, 9999)
	for _, s := range []string{"frontend", "gateway", "catalog", "pricing"} {
		for i := range 3 {
			w.resources[s] = append(w.resources[s], &model.Resource{Service: s, Attrs: model.Attrs{
				{Key: "service.name", Value: model.String(s)}, {Key: "service.version", Value: model.String("1.4.2")},
				{Key: "service.instance.id", Value: model.String(fmt.Sprintf("%s-%d", s, i))},
				{Key: "host.name", Value: model.String(fmt.Sprintf("host-%d", i))}}})
		}
	}
	for _, kind := range []string{"u", "session", "10.0.0", "/api/items"} {
		for i := range 10_000 {
			w.texts[kind] = append(w.texts[kind], fmt.Sprintf("%s-%d", kind, i))
		}
	}
	return w
}

func (w *benchWorld) took(median time.Duration) time.Duration {
	return time.Duration(float64(median) * math.Exp(w.r.NormFloat64()*0.5))
}

// trace makes one request that begins at a time.
func (w *benchWorld) trace(at time.Time) {
	id := model.TraceIDFrom(w.r.Uint64(), w.r.Uint64())
	user := int(w.users.Uint64())
	var serve func(service string, parent model.SpanID, at time.Time) time.Time
	span := func(service, name string, kind model.SpanKind, parent model.SpanID, at time.Time) (int, model.SpanID) {
		s := model.Span{TraceID: id, SpanID: model.SpanIDFrom(w.r.Uint64() | 1), ParentID: parent, Name: name, Kind: kind, Start: at.UnixNano(),
			Resource: w.resources[service][w.r.IntN(3)], Attrs: w.attrs(user)}
		w.spans = append(w.spans, s)
		return len(w.spans) - 1, s.SpanID
	}
	finish := func(i int, end time.Time) time.Time {
		w.spans[i].Duration = end.UnixNano() - w.spans[i].Start
		return end
	}
	call := func(service, callee string, parent model.SpanID, at time.Time) time.Time {
		i, id := span(service, "GET", model.SpanClient, parent, at)
		w.spans[i].Attrs[0] = model.Attr{Key: "server.address", Value: model.String(callee)}
		return finish(i, serve(callee, id, at.Add(w.took(300*time.Microsecond))).Add(w.took(300*time.Microsecond)))
	}
	query := func(service string, parent model.SpanID, at time.Time) time.Time {
		i, _ := span(service, "SELECT items", model.SpanClient, parent, at)
		w.spans[i].Attrs[0] = model.Attr{Key: "db.system.name", Value: model.String("postgresql")}
		w.spans[i].Attrs[1] = model.Attr{Key: "db.namespace", Value: model.String(service)}
		return finish(i, at.Add(w.took(3*time.Millisecond)))
	}
	serve = func(service string, parent model.SpanID, at time.Time) time.Time {
		i, id := span(service, "GET /api/"+service+"/items/{id}", model.SpanServer, parent, at)
		next := at.Add(w.took(time.Millisecond))
		switch service {
		case "frontend":
			next = call(service, "gateway", id, next)
		case "gateway":
			next = call(service, "pricing", id, call(service, "catalog", id, next))
		default:
			next = query(service, id, next)
		}
		if service == "pricing" && !at.Before(benchEnd.Add(-benchSlow)) {
			next = next.Add(w.took(400 * time.Millisecond))
		}
		if w.r.IntN(200) == 0 {
			w.spans[i].Status = model.StatusError
		}
		return finish(i, next.Add(w.took(time.Millisecond)))
	}
	serve("frontend", model.SpanID{}, at)
}

func (w *benchWorld) attrs(user int) model.Attrs {
	return model.Attrs{
		{Key: "http.request.method", Value: model.String("GET")}, {Key: "http.route", Value: model.String("/api/items/{id}")},
		{Key: "http.response.status_code", Value: model.Int(200)}, {Key: "url.path", Value: model.String(w.texts["/api/items"][w.r.IntN(10_000)])},
		{Key: "server.port", Value: model.Int(8080)}, {Key: "url.scheme", Value: model.String("http")},
		{Key: "user.id", Value: model.String(w.texts["u"][user])}, {Key: "session.id", Value: model.String(w.texts["session"][user])},
		{Key: "client.address", Value: model.String(w.texts["10.0.0"][user])}, {Key: "network.protocol.version", Value: model.String("1.1")},
		{Key: "thread.id", Value: model.Int(int64(w.r.IntN(16)))}, {Key: "code.function.name", Value: model.String("handle")},
		{Key: "http.response.body.size", Value: model.Int(int64(200 + w.r.IntN(5000)))}, {Key: "cache.hit", Value: model.Bool(w.r.IntN(3) > 0)},
		{Key: "cloud.region", Value: model.String([]string{"eu-west-1", "eu-central-1"}[user%2])}}
}

// lines makes log lines within the entry spans there are.
func (w *benchWorld) lines(n int) {
	for i := 0; len(w.logs) < n; i++ {
		s := &w.spans[i%len(w.spans)]
		if !s.Kind.Entry() {
			continue
		}
		form := min(w.r.IntN(40), w.r.IntN(40))
		w.logs = append(w.logs, model.LogRecord{Time: s.Start + s.Duration/8*int64(1+w.r.IntN(6)), Observed: s.Start + s.Duration, TraceID: s.TraceID,
			SpanID: s.SpanID, Severity: 9, SeverityText: "INFO", Body: model.String("step " + strconv.Itoa(form) + " of request " + strconv.Itoa(i) + " is done"),
			Template: uint64(form + 1), Resource: s.Resource, Attrs: model.Attrs{s.Attrs[6], s.Attrs[10], s.Attrs[11]}})
	}
}

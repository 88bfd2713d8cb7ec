package load

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

type logMaker struct {
	*world
	client plogotlp.GRPCClient
}

// template is a form of log line, the most frequent first.
type template struct {
	severity plog.SeverityNumber
	text     func(w *world, user uint64) string
}

var templates = []template{
	{plog.SeverityNumberInfo, func(w *world, u uint64) string {
		return fmt.Sprintf("handled GET /api/items/%d in %dms with status 200", u*31%9973, w.shape.IntN(80))
	}},
	{plog.SeverityNumberDebug, func(w *world, u uint64) string {
		return fmt.Sprintf("cache hit for key item:%d (age %ds)", u*17%5000, w.shape.IntN(300))
	}},
	{plog.SeverityNumberInfo, func(w *world, u uint64) string {
		return fmt.Sprintf("user u-%d signed in from 10.0.%d.%d", u, u>>8&255, u&255)
	}},
	{plog.SeverityNumberInfo, func(w *world, u uint64) string {
		return fmt.Sprintf("priced %d lines for session %016x, total %d.%02d", 1+w.shape.IntN(9), u*0x9e3779b97f4a7c15, w.shape.IntN(500), w.shape.IntN(100))
	}},
	{plog.SeverityNumberDebug, func(w *world, u uint64) string {
		return fmt.Sprintf("query took %d.%dms: SELECT * FROM items WHERE id = %d", w.shape.IntN(20), w.shape.IntN(10), u)
	}},
	{plog.SeverityNumberInfo, func(w *world, _ uint64) string {
		return fmt.Sprintf("flushed %d events to topic updates in %dms", w.shape.IntN(500), w.shape.IntN(40))
	}},
	{plog.SeverityNumberWarn, func(w *world, _ uint64) string {
		return fmt.Sprintf("slow call to ledger: %dms, budget 250ms", 250+w.shape.IntN(900))
	}},
	{plog.SeverityNumberInfo, func(w *world, _ uint64) string {
		return fmt.Sprintf("connection pool: %d of 20 in use", w.shape.IntN(20))
	}},
	{plog.SeverityNumberDebug, func(w *world, u uint64) string {
		return fmt.Sprintf("token of user u-%d renewed for %dm", u, 5+w.shape.IntN(25))
	}},
	{plog.SeverityNumberInfo, func(w *world, _ uint64) string {
		return fmt.Sprintf("garbage collected %d MiB in %dus", w.shape.IntN(200), w.shape.IntN(900))
	}},
	{plog.SeverityNumberWarn, func(w *world, _ uint64) string {
		return fmt.Sprintf("retry %d of 3 after connection reset by peer 10.0.0.%d:8080", 1+w.shape.IntN(3), w.shape.IntN(255))
	}},
	{plog.SeverityNumberError, func(w *world, u uint64) string {
		return fmt.Sprintf("charge of session %016x refused: code=%d", u*0x9e3779b97f4a7c15, 40+w.shape.IntN(9))
	}},
	{plog.SeverityNumberInfo, func(w *world, _ uint64) string {
		return fmt.Sprintf("reloaded 14 settings, revision %d", w.shape.IntN(1000))
	}},
	{plog.SeverityNumberWarn, func(w *world, _ uint64) string {
		return fmt.Sprintf("clock is %dms behind the time server", w.shape.IntN(200))
	}},
	{plog.SeverityNumberError, func(w *world, _ uint64) string {
		return fmt.Sprintf("upstream shipping answered 503 after %dms", w.shape.IntN(3000))
	}},
	{plog.SeverityNumberFatal, func(w *world, _ uint64) string {
		return fmt.Sprintf("cannot write to /var/lib/data/%d.seg: no space left on device", w.shape.IntN(100))
	}},
}

// make fills a request with lines, most of them written within a trace.
func (m *logMaker) make(items int, w window) request {
	b := newLines()
	for i := range items {
		l := line{service: min(int(m.operation.Uint64())+m.shape.IntN(5), len(services)-1), instance: int(m.instance.Uint64()), user: m.user.Uint64(),
			at: w.at(float64(i) / float64(items)), seen: w.to}
		if m.chance(0.8) {
			l.trace, l.span = m.traceID(), m.spanID()
		}
		b.write(m.world, l)
	}
	return request{items, b.send(m.client)}
}

// lines collects the log lines of a request by who wrote them.
type lines struct {
	logs     plog.Logs
	bySource map[[2]int]plog.LogRecordSlice
}

// line is who wrote a log line, and when.
type line struct {
	service, instance int
	user              uint64
	trace             pcommon.TraceID
	span              pcommon.SpanID
	at, seen          time.Time
}

func newLines() *lines { return &lines{plog.NewLogs(), map[[2]int]plog.LogRecordSlice{}} }

// write adds a line of some template.
func (b *lines) write(w *world, l line) {
	key := [2]int{l.service, l.instance}
	records, ok := b.bySource[key]
	if !ok {
		rl := b.logs.ResourceLogs().AppendEmpty()
		resource(rl.Resource().Attributes(), l.service, l.instance)
		sl := rl.ScopeLogs().AppendEmpty()
		sl.Scope().SetName(services[l.service] + "/server")
		records = sl.LogRecords()
		b.bySource[key] = records
	}
	form := templates[w.template.Uint64()]
	r := records.AppendEmpty()
	r.SetTimestamp(stamp(l.at))
	r.SetObservedTimestamp(stamp(l.seen))
	r.SetSeverityNumber(form.severity)
	r.SetSeverityText(form.severity.String())
	r.Body().SetStr(form.text(w, l.user))
	r.SetTraceID(l.trace)
	r.SetSpanID(l.span)
	a := r.Attributes()
	a.EnsureCapacity(5)
	a.PutStr("user.id", w.people[l.user].id)
	a.PutStr("code.function.name", functions[l.service])
	a.PutInt("code.line.number", int64(40+form.severity*3))
	a.PutInt("thread.id", int64(w.shape.IntN(16)))
	a.PutStr("cloud.region", regions[l.user%uint64(len(regions))])
}

// send is the export of the lines.
func (b *lines) send(client plogotlp.GRPCClient) func(context.Context) (int64, error) {
	req := plogotlp.NewExportRequestFromLogs(b.logs)
	return func(ctx context.Context) (int64, error) {
		resp, err := client.Export(ctx, req)
		if err != nil {
			return 0, err
		}
		return resp.PartialSuccess().RejectedLogRecords(), nil
	}
}

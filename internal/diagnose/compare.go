package diagnose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"triage/internal/explain"
	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// Limits of a comparison. Of a window with more rows its newest part is compared.
const (
	maxSpans   = 60_000
	maxLines   = 60_000
	maxPieces  = 60  // of history
	maxExample = 200 // requests in the table of times
	busyBack   = 30 * time.Minute
	busyStep   = 30 * time.Second
	busyLate   = time.Minute // a sample tells of the minute before it
	maxBusy    = 200         // services whose processors are asked for
)

// compare makes a verdict by comparing a time with others in which all was well.
func (d *Diagnoser) compare(ctx context.Context, req Request, at time.Time, missing *store.Missing) (model.Verdict, []byte, error) {
	w, err := compared(req, at)
	if err != nil {
		return model.Verdict{}, nil, err
	}
	if d.rows == nil {
		return model.Verdict{}, nil, fmt.Errorf("compare with normal time: %w", errors.ErrUnsupported)
	}
	alias, err := d.aliases(ctx, req.Tenant)
	if err != nil {
		return model.Verdict{}, nil, fmt.Errorf("read the log templates: %w", err)
	}
	now, spans, err := d.behaviour(ctx, req.Tenant, w, alias)
	if err != nil {
		return model.Verdict{}, nil, fmt.Errorf("read the requests of %s: %w", windowText(w), err)
	}
	if len(spans) == 0 {
		return d.aggregate(ctx, req, at)
	}
	var normal, history []*explain.Behaviour
	var normalSpans []model.Span
	pieces, err := d.pieces(ctx, req, w)
	if err != nil {
		return model.Verdict{}, nil, fmt.Errorf("find requests in the history: %w", err)
	}
	for i, n := range slices.Concat(req.Normal, pieces) {
		b, s, err := d.behaviour(ctx, req.Tenant, n, alias)
		if err != nil {
			return model.Verdict{}, nil, fmt.Errorf("read the requests of %s: %w", windowText(n), err)
		}
		if i >= len(req.Normal) {
			history = append(history, b)
			continue
		}
		normal = append(normal, b)
		normalSpans = append(normalSpans, s...)
	}
	c := explain.Compare(now, normal, history)
	d.busy(ctx, req.Tenant, w, c)

	s := &scope{onset: w.From, whole: w, bad: w, settled: w, normal: req.Normal[0], service: req.Service, operation: req.Operation, asked: true}
	a := &answers{rivals: c.RuledOut}
	f := &a.facts
	*f = explain.Facts{Onset: w.From, Bad: w, Normal: req.Normal[0], Holders: map[string][]explain.Holder{}}
	for _, n := range c.Requests {
		f.Sampled += n
	}
	d.suffering(s, c)
	f.Service, f.Operation, f.Kind = s.service, s.operation, model.SpanServer
	f.Where = locate.Table(requestsOf(spans, s.service, s.operation), requestsOf(normalSpans, s.service, s.operation))
	q := d.asker(ctx)
	q.question("health", func(ctx context.Context) (err error) {
		a.telemetry, err = d.events.Health(ctx, req.Tenant, w)
		return err
	})
	if d.state != nil {
		q.question("changes", func(ctx context.Context) error {
			changes, err := d.state.Changes(ctx, req.Tenant, store.Window{From: w.From.Add(-explain.ChangeWindow), To: w.To})
			f.Changes = explain.Changes(changes, nil, w.From, 3*time.Second)
			return err
		})
	}
	_ = q.Wait() // a question that fails was logged, and leaves its evidence as it is
	a.telemetry.Missing = missing.String()
	return verdict(req, s, a, c.Cases(w), at)
}

// compared is the time that a request asks about.
func compared(req Request, at time.Time) (store.Window, error) {
	onset, to, known := times(req, at)
	if !known {
		return store.Window{}, errors.New("compare with normal time: say from when to when, for there is no incident")
	}
	return store.Window{From: onset, To: to}, nil
}

func windowText(w store.Window) string {
	return w.From.UTC().Format(time.RFC3339) + " to " + w.To.UTC().Format(time.RFC3339)
}

// aliases says what templates have become since lines were stored with them.
func (d *Diagnoser) aliases(ctx context.Context, tenant string) (map[uint64]uint64, error) {
	if d.forms == nil {
		return nil, nil
	}
	all, err := d.forms.Templates(ctx, tenant)
	out := map[uint64]uint64{}
	for _, t := range all {
		if t.Alias != 0 {
			out[t.ID] = t.Alias
		}
	}
	return out, err
}

// behaviour reads the requests of a window. Where there are more rows than are read, the window is cut to the part for
// which both spans and lines are complete.
func (d *Diagnoser) behaviour(ctx context.Context, tenant string, w store.Window, alias map[uint64]uint64) (*explain.Behaviour, []model.Span, error) {
	spans, err := d.rows.Spans(ctx, store.Query{Tenant: tenant, Window: w, Where: search.All{}, Limit: maxSpans})
	if err != nil {
		return nil, nil, err
	}
	logs, err := d.rows.Logs(ctx, store.Query{Tenant: tenant, Window: w, Where: search.All{}, Limit: maxLines})
	if err != nil {
		return nil, nil, err
	}
	from := w.From.UnixNano()
	if n := len(spans.Rows); spans.More && n > 0 {
		from = max(from, spans.Rows[n-1].Start)
	}
	if n := len(logs.Rows); logs.More && n > 0 {
		from = max(from, logs.Rows[n-1].Time)
	}
	spans.Rows = slices.DeleteFunc(spans.Rows, func(s model.Span) bool { return s.Start < from })
	logs.Rows = slices.DeleteFunc(logs.Rows, func(l model.LogRecord) bool { return l.Time < from })
	for i := range logs.Rows {
		l := &logs.Rows[i]
		for a, ok := alias[l.Template]; ok && a < l.Template; a, ok = alias[l.Template] {
			l.Template = a // an alias is always larger than what it stands for
		}
	}
	return explain.Observe(spans.Rows, logs.Rows), spans.Rows, nil
}

// pieces are the stretches of history with requests, none much longer than the time that is compared, newest first.
func (d *Diagnoser) pieces(ctx context.Context, req Request, w store.Window) (out []store.Window, err error) {
	h := req.History
	if h.To.After(w.From) {
		h.To = w.From
	}
	if !h.From.Before(h.To) {
		return nil, nil
	}
	step := max((w.Len() / 4).Truncate(time.Second), 5*time.Second)
	steps, err := d.events.Timeline(ctx, store.Selection{Tenant: req.Tenant, Window: h, Kinds: []model.SpanKind{model.SpanServer, model.SpanConsumer}}, step, 1_000_000)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		p := store.Window{From: s.At, To: s.At.Add(step)}
		if p.From.Before(h.From) {
			p.From = h.From
		}
		if p.To.After(h.To) {
			p.To = h.To
		}
		switch last := len(out) - 1; {
		case last >= 0 && !p.To.After(out[last].To):
		case last >= 0 && p.From.Equal(out[last].To) && p.To.Sub(out[last].From) <= 2*w.Len():
			out[last].To = p.To
		default:
			out = append(out, p)
		}
	}
	out = slices.DeleteFunc(out, func(p store.Window) bool {
		return slices.ContainsFunc(req.Normal, func(n store.Window) bool { return p.From.Before(n.To) && n.From.Before(p.To) })
	})
	slices.Reverse(out)
	return out[:min(len(out), maxPieces)], nil
}

// busy asks for the processors of the services that took part.
func (d *Diagnoser) busy(ctx context.Context, tenant string, w store.Window, c *explain.Comparison) {
	if d.metrics == nil {
		return
	}
	services := make([]string, 0, len(c.Requests))
	for s := range c.Requests {
		services = append(services, s)
	}
	slices.Sort(services)
	services = services[:min(len(services), maxBusy)]
	span := store.Window{From: w.From.Add(-busyBack).Truncate(busyStep), To: w.To.Add(busyLate)}
	found := make([][]store.Line, len(services))
	q := d.asker(ctx)
	for i, service := range services {
		q.question("processors", func(ctx context.Context) (err error) {
			found[i], err = d.metrics.ServiceSeries(ctx, tenant, service, span, busyStep, 1000)
			return err
		})
	}
	_ = q.Wait() // a question that fails was logged, and leaves its evidence as it is
	for i, lines := range found {
		for _, l := range lines {
			name := strings.ToLower(l.Name)
			if l.Type != "gauge" || !strings.Contains(name, "cpu") || !strings.Contains(name, "utilization") || l.Labels["state"] == "idle" {
				continue
			}
			var now, before []float64
			for k, v := range l.Values {
				t := l.Start.Add(time.Duration(k) * l.Step)
				switch {
				case v != v: // nothing was known
				case !t.Before(w.From):
					now = append(now, v)
				case t.Before(w.From.Add(-busyLate)):
					before = append(before, v)
				}
			}
			c.AddBusy(explain.Busy{Service: services[i], Metric: l.Name, Labels: l.Labels}, now, before)
		}
	}
}

// suffering finds the operation that people feel the trouble in, unless one was asked for: of those that nobody within the
// system calls, the one that lost most time or fails most.
func (d *Diagnoser) suffering(s *scope, c *explain.Comparison) {
	if s.service != "" && s.operation != "" {
		return
	}
	type total struct{ count, failed, seconds float64 }
	sums := func(times []*explain.Behaviour, op explain.Operation) (t total) {
		for _, b := range times {
			for _, h := range b.Handled[op] {
				if h.Root {
					t.count++
					t.seconds += h.Seconds
					if h.Failed {
						t.failed++
					}
				}
			}
		}
		return t
	}
	now := []*explain.Behaviour{c.Now}
	best := -1.0
	for op := range c.Now.Handled {
		a, b := sums(now, op), sums(c.Usual, op)
		if a.count == 0 || s.service != "" && op.Service != s.service {
			continue
		}
		lost := 0.0
		if b.count > 0 {
			lost = max(0, a.seconds-b.seconds/b.count*a.count) + max(0, a.failed-b.failed/b.count*a.count)
		}
		lost += a.count * 1e-6 // where nothing got worse, the busiest
		if lost < best || lost == best && cmp.Or(cmp.Compare(op.Service, s.service), cmp.Compare(op.Name, s.operation)) >= 0 {
			continue
		}
		best = lost
		s.service, s.operation = op.Service, op.Name
		s.now = sum{count: int64(a.count), errors: int64(a.failed), seconds: a.seconds}
		s.usual = sum{count: int64(b.count), errors: int64(b.failed), seconds: b.seconds}
	}
	if s.now.share() > s.usual.share()+0.05 {
		s.failing = 1
	}
}

// requestsOf groups spans by trace and keeps those that an operation is the beginning of.
func requestsOf(spans []model.Span, service, operation string) (out []locate.Trace) {
	byTrace := map[model.TraceID][]model.Span{}
	entry := map[model.TraceID]model.SpanID{}
	var order []model.TraceID
	for i := range spans {
		s := &spans[i]
		byTrace[s.TraceID] = append(byTrace[s.TraceID], *s)
		if s.ParentID.IsZero() && s.Service() == service && s.Name == operation && len(order) < maxExample {
			entry[s.TraceID] = s.SpanID
			order = append(order, s.TraceID)
		}
	}
	for _, id := range order {
		out = append(out, locate.Trace{Spans: byTrace[id], Entry: entry[id]})
	}
	return out
}

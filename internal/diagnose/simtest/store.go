// Package simtest is a small world in which faults are known: a simulator that makes the spans, log lines, series and
// changes of a few services under one fault, and a store in memory that answers the questions of judges about them. It
// is for tests only and favours the obvious over the fast. A Store is safe for concurrent reading once filled.
package simtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// Store answers questions by scanning slices.
type Store struct {
	Spans   []model.Span
	Lines   []model.LogRecord
	Series  map[string][]store.Line // by service
	Altered []model.Change

	byTrace map[model.TraceID][]int
}

// Index must be called once after filling.
func (s *Store) Index() {
	slices.SortStableFunc(s.Spans, func(a, b model.Span) int { return cmp.Compare(a.Start, b.Start) })
	s.byTrace = map[model.TraceID][]int{}
	for i := range s.Spans {
		s.byTrace[s.Spans[i].TraceID] = append(s.byTrace[s.Spans[i].TraceID], i)
	}
}

func matches(sp *model.Span, sel store.Selection) bool {
	if !sel.Window.Contains(time.Unix(0, sp.Start)) || sel.Service != "" && sp.Service() != sel.Service ||
		sel.Operation != "" && sp.Name != sel.Operation || len(sel.Kinds) > 0 && !slices.Contains(sel.Kinds, sp.Kind) {
		return false
	}
	bad := sp.Status == model.StatusError || sel.BadDuration > 0 && sp.Duration >= int64(sel.BadDuration)
	if sel.Bad && !bad || sel.Good && bad {
		return false
	}
	for _, m := range sel.Attrs {
		if attribute(sp, m.Key) != m.Value {
			return false
		}
	}
	return true
}

func attribute(sp *model.Span, key string) string {
	if v := sp.Attrs.Str(key); v != "" {
		return v
	}
	return sp.Resource.Attrs.Str(key)
}

func (s *Store) selected(sel store.Selection) (out []*model.Span) {
	for i := range s.Spans {
		if matches(&s.Spans[i], sel) {
			out = append(out, &s.Spans[i])
		}
	}
	return out
}

type opKey struct {
	service, operation string
	kind               model.SpanKind
}

// Operations implements store.Questions.
func (s *Store) Operations(_ context.Context, sel store.Selection, limit int) ([]store.OperationStat, error) {
	durations := map[opKey][]float64{}
	errors := map[opKey]int64{}
	for _, sp := range s.selected(sel) {
		k := opKey{sp.Service(), sp.Name, sp.Kind}
		durations[k] = append(durations[k], float64(sp.Duration)/1e9)
		if sp.Status == model.StatusError {
			errors[k]++
		}
	}
	var out []store.OperationStat
	for k, d := range durations {
		slices.Sort(d)
		o := store.OperationStat{Service: k.service, Operation: k.operation, Kind: k.kind, Count: int64(len(d)), Errors: errors[k],
			P50: d[len(d)/2], P95: d[len(d)*95/100], P99: d[len(d)*99/100]}
		for _, x := range d {
			o.Mean += x / float64(len(d))
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b store.OperationStat) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation))
	})
	return out[:min(limit, len(out))], nil
}

// Edges implements store.Questions.
func (s *Store) Edges(_ context.Context, _ string, w store.Window, limit int) ([]store.EdgeStat, error) {
	type key struct {
		from, to string
		kind     store.EdgeKind
	}
	type sum struct {
		store.EdgeStat
		waits []float64
	}
	all := map[key]*sum{}
	for i := range s.Spans {
		sp := &s.Spans[i]
		if !w.Contains(time.Unix(0, sp.Start)) || sp.Kind != model.SpanClient && sp.Kind != model.SpanProducer {
			continue
		}
		var child *model.Span
		for _, j := range s.byTrace[sp.TraceID] {
			if s.Spans[j].ParentID == sp.SpanID && s.Spans[j].Kind.Entry() {
				child = &s.Spans[j]
			}
		}
		k := key{from: sp.Service()}
		var wait, server float64
		switch {
		case child != nil && child.Kind == model.SpanServer:
			k.to, k.kind = child.Service(), store.EdgeCall
			wait, server = float64(sp.Duration-child.Duration)/1e9, float64(child.Duration)/1e9
		case child != nil:
			k.to, k.kind = child.Service(), store.EdgeMessage
			wait, server = float64(child.Start-sp.End())/1e9, float64(child.Duration)/1e9
		case sp.Attrs.Str("db.system.name") != "":
			k.to, k.kind = sp.Attrs.Str("db.namespace"), store.EdgeDatabase
		case sp.Attrs.Str("messaging.destination.name") != "":
			k.to, k.kind = sp.Attrs.Str("messaging.destination.name"), store.EdgeQueue
		default:
			k.to, k.kind = sp.Attrs.Str("server.address"), store.EdgeRemote
		}
		e := all[k]
		if e == nil {
			e = &sum{EdgeStat: store.EdgeStat{From: k.from, To: k.to, Kind: k.kind}}
			all[k] = e
		}
		e.Count++
		if sp.Status == model.StatusError {
			e.Errors++
		}
		e.ClientMean += float64(sp.Duration) / 1e9
		e.ServerMean += server
		e.waits = append(e.waits, max(0, wait))
	}
	var out []store.EdgeStat
	for _, e := range all {
		n := float64(e.Count)
		e.ClientMean /= n
		e.ServerMean /= n
		slices.Sort(e.waits)
		e.WaitP50 = e.waits[len(e.waits)/2]
		for _, x := range e.waits {
			e.WaitMean += x / n
		}
		out = append(out, e.EdgeStat)
	}
	slices.SortFunc(out, func(a, b store.EdgeStat) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
	})
	return out[:min(limit, len(out))], nil
}

// Timeline implements store.Questions.
func (s *Store) Timeline(_ context.Context, sel store.Selection, step time.Duration, limit int) ([]store.TimelineStat, error) {
	type key struct {
		at int64
		opKey
	}
	all := map[key]*store.TimelineStat{}
	for _, sp := range s.selected(sel) {
		at := time.Unix(0, sp.Start).UTC().Truncate(step)
		k := key{at.UnixNano(), opKey{sp.Service(), sp.Name, sp.Kind}}
		t := all[k]
		if t == nil {
			t = &store.TimelineStat{At: at, Service: k.service, Operation: k.operation, Kind: k.kind}
			all[k] = t
		}
		t.Count++
		if sp.Status == model.StatusError {
			t.Errors++
		}
		t.Mean += float64(sp.Duration) / 1e9
	}
	var out []store.TimelineStat
	for _, t := range all {
		t.Mean /= float64(t.Count)
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b store.TimelineStat) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Kind, b.Kind))
	})
	return out[:min(limit, len(out))], nil
}

// SampleTraces implements store.Questions. A random order is that of the trace IDs, which are random.
func (s *Store) SampleTraces(_ context.Context, sel store.Selection, order store.SampleOrder, limit int) ([]store.TraceRef, error) {
	best := map[model.TraceID]*model.Span{}
	for _, sp := range s.selected(sel) {
		if b := best[sp.TraceID]; b == nil || sp.Duration > b.Duration {
			best[sp.TraceID] = sp
		}
	}
	var out []store.TraceRef
	for id, sp := range best {
		out = append(out, store.TraceRef{ID: id, Span: sp.SpanID, Start: time.Unix(0, sp.Start).UTC(), Duration: time.Duration(sp.Duration), Error: sp.Status == model.StatusError})
	}
	slices.SortFunc(out, func(a, b store.TraceRef) int {
		if order == store.Slowest && a.Duration != b.Duration {
			return cmp.Compare(b.Duration, a.Duration)
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return out[:min(limit, len(out))], nil
}

// Traces is part of store.Events.
func (s *Store) Traces(_ context.Context, _ string, ids []model.TraceID, w store.Window, limit int) ([]model.Span, error) {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b model.TraceID) int { return bytes.Compare(a[:], b[:]) })
	var out []model.Span
	for _, id := range ids {
		var trace []model.Span
		for _, i := range s.byTrace[id] {
			if w.Contains(time.Unix(0, s.Spans[i].Start)) {
				trace = append(trace, s.Spans[i])
			}
		}
		if len(out)+len(trace) > limit {
			break
		}
		out = append(out, trace...)
	}
	return out, nil
}

// Logs is part of store.Events. It knows the one kind of search that judges ask: fields that equal values.
func (s *Store) Logs(_ context.Context, q store.Query) (store.Page[model.LogRecord], error) {
	var page store.Page[model.LogRecord]
	matches, ok := q.Where.(search.And)
	if !ok {
		return page, fmt.Errorf("search %s: %w", q.Where, errors.ErrUnsupported)
	}
	for i := len(s.Lines) - 1; i >= 0; i-- {
		l := &s.Lines[i]
		all := q.Contains(time.Unix(0, l.Time))
		for _, m := range matches {
			switch m := m.(search.Match); m.Field {
			case "service":
				all = all && l.Service() == m.Value
			case "template":
				all = all && fmt.Sprintf("%016x", l.Template) == m.Value
			default:
				return page, fmt.Errorf("search field %s: %w", m.Field, errors.ErrUnsupported)
			}
		}
		if all && len(page.Rows) < q.Limit {
			page.Rows = append(page.Rows, *l)
		}
	}
	return page, nil
}

// TemplateCounts implements store.Questions.
func (s *Store) TemplateCounts(_ context.Context, _ string, a, b store.Window, limit int) ([]store.TemplateCount, error) {
	type key struct {
		service, operation string
		template           uint64
	}
	all := map[key]*store.TemplateCount{}
	for i := range s.Lines {
		l := &s.Lines[i]
		at := time.Unix(0, l.Time).UTC()
		inA, inB := a.Contains(at), b.Contains(at)
		if !inA && !inB {
			continue
		}
		k := key{service: l.Service(), template: l.Template}
		for _, j := range s.byTrace[l.TraceID] {
			if sp := &s.Spans[j]; sp.Service() == l.Service() && sp.Kind.Entry() {
				k.operation = sp.Name
				break
			}
		}
		c := all[k]
		if c == nil {
			c = &store.TemplateCount{Service: k.service, Operation: k.operation, Template: k.template, First: at}
			all[k] = c
		}
		c.Severity = max(c.Severity, l.Severity)
		if at.Before(c.First) {
			c.First = at
		}
		if inB {
			c.B++
		}
		if inA {
			c.A++
			if c.FirstA.IsZero() || at.Before(c.FirstA) {
				c.FirstA, c.Sample, c.SampleTrace = at, l.Body.String(), l.TraceID
			}
		}
	}
	var out []store.TemplateCount
	for _, c := range all {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(x, y store.TemplateCount) int {
		return cmp.Or(cmp.Compare(y.A, x.A), cmp.Compare(x.Service, y.Service), cmp.Compare(x.Template, y.Template), cmp.Compare(x.Operation, y.Operation))
	})
	return out[:min(limit, len(out))], nil
}

// AttributeDifference implements store.Questions.
func (s *Store) AttributeDifference(_ context.Context, q store.DifferenceQuery) (store.Difference, error) {
	type kv struct{ key, value string }
	var d store.Difference
	values := map[kv]*store.DifferenceValue{}
	count := func(sel store.Selection, inA bool) {
		for _, sp := range s.selected(sel) {
			seconds := float64(sp.Duration) / 1e9
			seen := map[kv]bool{}
			take := func(attrs model.Attrs) {
				for _, a := range attrs {
					k := kv{a.Key, a.Value.String()}
					if seen[k] || len(q.Keys) > 0 && !slices.Contains(q.Keys, a.Key) {
						continue
					}
					seen[k] = true
					v := values[k]
					if v == nil {
						v = &store.DifferenceValue{Key: k.key, Value: k.value}
						values[k] = v
					}
					if inA {
						v.A++
						v.SecondsA += seconds
					} else {
						v.B++
						v.SecondsB += seconds
					}
				}
			}
			take(sp.Attrs)
			take(sp.Resource.Attrs)
			if q.FromTrace {
				for _, i := range s.byTrace[sp.TraceID] {
					if s.Spans[i].Kind.Entry() {
						take(s.Spans[i].Attrs)
					}
				}
			}
			if inA {
				d.A++
				d.SecondsA += seconds
			} else {
				d.B++
				d.SecondsB += seconds
			}
		}
	}
	count(q.A, true)
	count(q.B, false)
	for _, v := range values {
		d.Values = append(d.Values, *v)
	}
	difference := func(v store.DifferenceValue) float64 {
		x := float64(v.A)/float64(max(1, d.A)) - float64(v.B)/float64(max(1, d.B))
		return max(x, -x)
	}
	slices.SortFunc(d.Values, func(a, b store.DifferenceValue) int {
		return cmp.Or(cmp.Compare(difference(b), difference(a)), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
	if q.Limit > 0 && len(d.Values) > q.Limit {
		d.Values = d.Values[:q.Limit]
	}
	return d, nil
}

// Values implements store.Questions.
func (s *Store) Values(_ context.Context, sel store.Selection, key string, limit int) ([]store.ValueStat, error) {
	all := map[string]*store.ValueStat{}
	for _, sp := range s.selected(sel) {
		value := attribute(sp, key)
		if value == "" {
			continue
		}
		at := time.Unix(0, sp.Start).UTC()
		v := all[value]
		if v == nil {
			v = &store.ValueStat{Value: value, First: at}
			all[value] = v
		}
		v.Count++
		v.Last = at
	}
	var out []store.ValueStat
	for _, v := range all {
		out = append(out, *v)
	}
	slices.SortFunc(out, func(a, b store.ValueStat) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	return out[:min(limit, len(out))], nil
}

// Impact implements store.Questions.
func (s *Store) Impact(_ context.Context, sel store.Selection, userKeys []string) (model.Impact, error) {
	users := map[string]bool{}
	var i model.Impact
	for _, sp := range s.selected(sel) {
		i.Requests++
		for _, j := range s.byTrace[sp.TraceID] {
			if u := s.Spans[j].Attrs.First(userKeys...); u != "" {
				users[u] = true
				break
			}
		}
	}
	i.Users = int64(len(users))
	return i, nil
}

// Health implements store.Questions.
func (s *Store) Health(_ context.Context, _ string, w store.Window) (model.Telemetry, error) {
	var t model.Telemetry
	orphans := 0
	for i := range s.Spans {
		sp := &s.Spans[i]
		if !w.Contains(time.Unix(0, sp.Start)) {
			continue
		}
		t.Spans++
		if !sp.ParentID.IsZero() && !slices.ContainsFunc(s.byTrace[sp.TraceID], func(j int) bool { return s.Spans[j].SpanID == sp.ParentID }) {
			orphans++
		}
	}
	for i := range s.Lines {
		if w.Contains(time.Unix(0, s.Lines[i].Time)) {
			t.Logs++
		}
	}
	t.OrphanSpans = float64(orphans) / float64(max(1, t.Spans))
	return t, nil
}

// ServiceSeries is part of store.Metrics.
func (s *Store) ServiceSeries(_ context.Context, _, service string, w store.Window, step time.Duration, limit int) ([]store.Line, error) {
	var out []store.Line
	for _, l := range s.Series[service] {
		c := l
		c.Start, c.Step, c.Values = w.From, step, nil
		for at := w.From; !at.After(w.To); at = at.Add(step) {
			i := int(at.Sub(l.Start) / l.Step)
			i = max(0, min(i, len(l.Values)-1))
			c.Values = append(c.Values, l.Values[i])
		}
		out = append(out, c)
	}
	return out[:min(limit, len(out))], nil
}

// RPCServers is part of store.Metrics.
func (s *Store) RPCServers(_ context.Context, _, rpcService string, _ store.Window) ([]string, error) {
	var out []string
	for _, service := range slices.Sorted(maps.Keys(s.Series)) {
		if slices.ContainsFunc(s.Series[service], func(l store.Line) bool {
			return strings.HasPrefix(l.Name, "rpc_server_") && l.Labels["rpc_service"] == rpcService
		}) {
			out = append(out, service)
		}
	}
	return out, nil
}

// Incidents are none: what is simulated was well before.
func (s *Store) Incidents(context.Context, string, model.IncidentStatus, int) ([]model.Incident, error) {
	return nil, nil
}

// Changes is part of store.State.
func (s *Store) Changes(_ context.Context, _ string, w store.Window) (out []model.Change, err error) {
	for _, c := range s.Altered {
		if w.Contains(c.At) {
			out = append(out, c)
		}
	}
	return out, nil
}

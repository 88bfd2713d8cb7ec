package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// Bounds of answers that have no limit parameter.
const (
	maxOperations = 5000
	maxTraceLogs  = 5000
	traceMargin   = 5 * time.Minute
	tailEvery     = 500 * time.Millisecond
	tailRows      = 2000
	tailBack      = 15 * time.Second
)

type serviceAnswer struct {
	Name       string            `json:"name"`
	Operations []operationAnswer `json:"operations"`
}

type operationAnswer struct {
	Operation string         `json:"operation"`
	Kind      model.SpanKind `json:"kind"`
	Count     int64          `json:"count"`
	Errors    int64          `json:"errors"`
	Mean      float64        `json:"mean_s"`
	P50       float64        `json:"p50_s"`
	P95       float64        `json:"p95_s"`
	P99       float64        `json:"p99_s"`
}

type edgeAnswer struct {
	From       string         `json:"from"`
	To         string         `json:"to"`
	Kind       store.EdgeKind `json:"kind"`
	Count      int64          `json:"count"`
	Errors     int64          `json:"errors"`
	ClientMean float64        `json:"client_mean_s"`
	ClientP99  float64        `json:"client_p99_s"`
	ServerMean float64        `json:"server_mean_s"`
	WaitP50    float64        `json:"wait_p50_s"`
	WaitMean   float64        `json:"wait_mean_s"`
}

func (s *server) services(ctx context.Context, in *Scope) (*body, error) {
	w, err := in.window(s.Now())
	if err != nil {
		return nil, err
	}
	ctx, missing := store.AllowPartial(ctx)
	ops, err := s.Events.Operations(ctx, store.Selection{Tenant: tenant(in.Tenant), Window: w}, maxOperations)
	if err != nil {
		return nil, err
	}
	edges, err := s.Events.Edges(ctx, tenant(in.Tenant), w, maxOperations)
	if err != nil {
		return nil, err
	}
	services, index := []serviceAnswer{}, map[string]int{}
	for _, o := range ops {
		i, ok := index[o.Service]
		if !ok {
			i = len(services)
			index[o.Service] = i
			services = append(services, serviceAnswer{Name: o.Service})
		}
		services[i].Operations = append(services[i].Operations,
			operationAnswer{o.Operation, o.Kind, o.Count, o.Errors, o.Mean, o.P50, o.P95, o.P99})
	}
	calls := make([]edgeAnswer, len(edges))
	for i, e := range edges {
		calls[i] = edgeAnswer(e)
	}
	return answer(map[string]any{"services": services, "edges": calls, "partial": missing.String()})
}

type traceParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	ID     string `path:"id" doc:"32 hex digits, also with dashes or as AWS X-Ray writes it"`
}

func (s *server) trace(ctx context.Context, in *traceParams) (*body, error) {
	id, err := model.ParseTraceID(in.ID)
	if err != nil {
		return nil, bad(err)
	}
	ctx, missing := store.AllowPartial(ctx)
	spans, err := s.Events.Trace(ctx, tenant(in.Tenant), id)
	if err != nil {
		return nil, err
	}
	first, last := spans[0].Start, spans[0].End()
	for i := range spans {
		first, last = min(first, spans[i].Start), max(last, spans[i].End())
	}
	logs, err := s.Events.Logs(ctx, store.Query{
		Tenant: tenant(in.Tenant),
		Window: store.Window{From: time.Unix(0, first).Add(-traceMargin), To: time.Unix(0, last).Add(traceMargin)},
		Where:  search.Match{Field: "trace", Op: search.Equal, Value: id.String()},
		Limit:  maxTraceLogs,
	})
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"trace_id": id, "spans": spans, "logs": nonNil(logs.Rows), "path": nonNil(locate.Path(spans)),
		"more": logs.More, "partial": cmp.Or(missing.String(), logs.Partial)})
}

func (s *server) logs(ctx context.Context, in *searchParams) (*searched, error) {
	return s.search(ctx, in, func(ctx context.Context, q store.Query) (any, error) {
		page, err := s.Events.Logs(ctx, q)
		return map[string]any{"logs": nonNil(page.Rows), "more": page.More, "partial": page.Partial}, err
	})
}

func (s *server) spans(ctx context.Context, in *searchParams) (*searched, error) {
	return s.search(ctx, in, func(ctx context.Context, q store.Query) (any, error) {
		page, err := s.Events.Spans(ctx, q)
		return map[string]any{"spans": nonNil(page.Rows), "more": page.More, "partial": page.Partial}, err
	})
}

type sqlParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	Body   struct {
		Query string `json:"query" minLength:"1"`
	}
}

func (s *server) sql(ctx context.Context, in *sqlParams) (*body, error) {
	r, err := s.SQL(ctx, tenant(in.Tenant), in.Body.Query)
	if err != nil {
		return nil, err
	}
	return answer(r)
}

func (s *server) status(ctx context.Context, _ *struct{}) (*body, error) {
	stats, err := s.Events.Stats(ctx)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{
		"version": s.Version, "started": s.Started.UTC(), "ready": s.Ready(),
		"events": map[string]any{"spans": stats.Spans, "logs": stats.Logs, "bytes": stats.Bytes, "blocks": stats.Blocks,
			"oldest": stats.Oldest, "newest": stats.Newest},
		"received": s.Received(), "config": s.Config(), "storage": s.Storage(),
	})
}

// tail sends new log records as they become visible. It asks the store again and again, so that any engine serves it;
// a record may be late, so each look goes back a little and leaves out what was sent.
func (s *server) tail(w http.ResponseWriter, r *http.Request) {
	where, err := search.Parse(r.URL.Query().Get("q"))
	if err != nil {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"title":"Bad Request","status":400,"detail":` + quote("q: "+err.Error()) + "}\n"))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // a tail has no end; where deadlines can't be set none is
	out := json.NewEncoder(w)
	begin, sent := s.Now(), map[string]int64{}
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		now := s.Now()
		from := now.Add(-tailBack)
		if from.Before(begin) {
			from = begin
		}
		page, err := s.Events.Logs(r.Context(), store.Query{Tenant: tenant(r.Header.Get("X-Scope-OrgID")),
			Window: store.Window{From: from, To: now.Add(time.Minute)}, Where: where, Limit: tailRows})
		if err != nil {
			if r.Context().Err() == nil {
				s.Logger.Warn("tail logs", "error", err)
			}
			return
		}
		for i := len(page.Rows) - 1; i >= 0; i-- {
			row := &page.Rows[i]
			key := fmt.Sprint(row.Time, row.Service(), row.SpanID, row.Body)
			if _, ok := sent[key]; ok {
				continue
			}
			sent[key] = row.Time
			if out.Encode(row) != nil {
				return // the client went
			}
		}
		for key, at := range sent {
			if at < from.UnixNano() {
				delete(sent, key)
			}
		}
		_ = control.Flush()
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

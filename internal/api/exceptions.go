package api

import (
	"context"
	"fmt"
	"time"

	"triage/internal/store"
)

const (
	// exceptionParts is the number of parts of a histogram.
	exceptionParts = 30
	// exceptionBack is how far back one group is looked for unless from says otherwise.
	exceptionBack = 7 * 24 * time.Hour
)

type exceptionsParams struct {
	Scope
	Service string `query:"service" doc:"only what occurred in this service"`
	Version string `query:"version" doc:"only what occurred in this service.version"`
	Q       string `query:"q" doc:"a part of the type, message or stack, in any case"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (s *server) exceptions(ctx context.Context, in *exceptionsParams) (*body, error) {
	w, err := in.window(s.Now())
	if err != nil {
		return nil, err
	}
	page, err := s.Events.Exceptions(ctx, store.ExceptionQuery{Tenant: tenant(in.Tenant), Window: w, Service: in.Service, Version: in.Version,
		Text: in.Q, Buckets: exceptionParts, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"errors": nonNil(page.Rows), "from": w.From, "to": w.To, "more": page.More, "partial": page.Partial})
}

type exceptionParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	ID     string `path:"id" doc:"16 hex digits"`
	From   string `query:"from" doc:"RFC 3339 or Unix seconds; a week before to without it"`
	To     string `query:"to" doc:"RFC 3339 or Unix seconds; now without it"`
}

func (s *server) exception(ctx context.Context, in *exceptionParams) (*body, error) {
	scope := Scope{From: in.From, To: in.To}
	if in.From == "" {
		to, err := ParseTime("to", in.To, s.Now())
		if err != nil {
			return nil, err
		}
		scope.From = to.Add(-exceptionBack).Format(time.RFC3339Nano)
	}
	w, err := scope.window(s.Now())
	if err != nil {
		return nil, err
	}
	page, err := s.Events.Exceptions(ctx, store.ExceptionQuery{Tenant: tenant(in.Tenant), Window: w, Group: in.ID, Buckets: exceptionParts, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(page.Rows) == 0 {
		return nil, fmt.Errorf("error %s between %s and %s: %w", in.ID, w.From.Format(time.RFC3339), w.To.Format(time.RFC3339), store.ErrNotFound)
	}
	return answer(map[string]any{"error": page.Rows[0], "from": w.From, "to": w.To, "partial": page.Partial})
}

package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"triage/internal/diagnose"
	"triage/internal/model"
	"triage/internal/store"
)

type incidentsParams struct {
	Scope
	Status string `query:"status" enum:"open,resolved" doc:"all without it"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
}

func (s *server) incidents(ctx context.Context, in *incidentsParams) (*body, error) {
	list, err := s.State.Incidents(ctx, tenant(in.Tenant), model.IncidentStatus(in.Status), in.Limit)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"incidents": nonNil(list)})
}

type incidentParams struct {
	Scope
	ID       string `path:"id" example:"INC-1"`
	Revision int    `query:"revision" minimum:"0" doc:"the newest without it"`
	Lang     string `query:"lang" enum:"en,ko" default:"en" doc:"of Markdown and plain text"`
	Accept   string `header:"Accept"`
}

func (s *server) incident(ctx context.Context, in *incidentParams) (*body, error) {
	inc, err := s.State.Incident(ctx, tenant(in.Tenant), in.ID)
	if err != nil {
		return nil, err
	}
	return answer(inc)
}

func (s *server) verdict(ctx context.Context, in *incidentParams) (*body, error) {
	v, err := s.revision(ctx, in)
	if err != nil {
		return nil, err
	}
	return asked(v, in.Accept, in.Lang)
}

func (s *server) story(ctx context.Context, in *incidentParams) (*body, error) {
	v, err := s.revision(ctx, in)
	if err != nil {
		return nil, err
	}
	return answer(diagnose.Tell(v, in.Lang))
}

// revision is the one asked for of an incident's verdict, the newest if none is.
func (s *server) revision(ctx context.Context, in *incidentParams) (v model.Verdict, err error) {
	list, err := s.State.Verdicts(ctx, tenant(in.Tenant), in.ID)
	if err != nil {
		return v, err
	}
	for i := len(list) - 1; i >= 0; i-- {
		if in.Revision == 0 || list[i].Revision == in.Revision {
			return list[i], nil
		}
	}
	if in.Revision != 0 {
		return v, fmt.Errorf("revision %d of the verdict on %s: %w", in.Revision, in.ID, store.ErrNotFound)
	}
	return v, fmt.Errorf("verdict on %s: %w", in.ID, store.ErrNotFound)
}

// asked writes a verdict in the form that the Accept header names.
func asked(v model.Verdict, accept, lang string) (*body, error) {
	switch {
	case strings.HasPrefix(accept, "text/markdown"):
		return &body{"text/markdown; charset=utf-8", []byte(diagnose.Markdown(v, lang))}, nil
	case strings.HasPrefix(accept, "text/plain"):
		return &body{"text/plain; charset=utf-8", []byte(diagnose.Text(v, lang))}, nil
	}
	return answer(v)
}

func (s *server) verdicts(ctx context.Context, in *incidentParams) (*body, error) {
	list, err := s.State.Verdicts(ctx, tenant(in.Tenant), in.ID)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"verdicts": nonNil(list)})
}

type diagnoseParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	Accept string `header:"Accept"`
	Lang   string `query:"lang" enum:"en,ko" default:"en"`
	Body   struct {
		Service   string `json:"service,omitempty" doc:"the service that suffers; the worst one without it"`
		Operation string `json:"operation,omitempty"`
		From      string `json:"from,omitempty" doc:"when it began; five minutes ago without it"`
		To        string `json:"to,omitempty" doc:"now without it"`
		Incident  string `json:"incident,omitempty" doc:"diagnose an incident again"`
		Normal    []struct {
			From string `json:"from" doc:"when all was well"`
			To   string `json:"to"`
		} `json:"normal,omitempty" doc:"times to compare with as a whole, before or after; the minutes before the onset without them"`
	}
}

func (s *server) diagnose(ctx context.Context, in *diagnoseParams) (*body, error) {
	now := s.Now()
	r := diagnose.Request{Tenant: tenant(in.Tenant), Service: in.Body.Service, Operation: in.Body.Operation}
	var err error
	if in.Body.Incident != "" {
		inc, err := s.State.Incident(ctx, r.Tenant, in.Body.Incident)
		if err != nil {
			return nil, err
		}
		r.Incident = &inc
	}
	if r.To, err = ParseTime("to", in.Body.To, now); err != nil {
		return nil, err
	}
	if r.Incident == nil || in.Body.From != "" {
		if r.From, err = ParseTime("from", in.Body.From, r.To.Add(-defaultDiagnose)); err != nil {
			return nil, err
		}
	}
	for i, n := range in.Body.Normal {
		var w store.Window
		if w.From, err = ParseTime(fmt.Sprintf("normal[%d].from", i), n.From, time.Time{}); err != nil {
			return nil, err
		}
		if w.To, err = ParseTime(fmt.Sprintf("normal[%d].to", i), n.To, now); err != nil {
			return nil, err
		}
		r.Normal = append(r.Normal, w)
	}
	v, err := s.Diagnose(ctx, r)
	if err != nil {
		return nil, err
	}
	return asked(v, in.Accept, in.Lang)
}

// nonNil makes an empty list [] in JSON.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

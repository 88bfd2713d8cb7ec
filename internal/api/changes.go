package api

import (
	"context"
	"errors"
	"time"

	"triage/internal/model"
)

// defaultDiagnose is how far back a diagnosis looks when nobody says when the trouble began.
const defaultDiagnose = 5 * time.Minute

func (s *server) changes(ctx context.Context, in *Scope) (*body, error) {
	w, err := in.window(s.Now())
	if err != nil {
		return nil, err
	}
	list, err := s.State.Changes(ctx, tenant(in.Tenant), w)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"changes": nonNil(list)})
}

type changeParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	Body   struct {
		ID      string            `json:"id,omitempty" doc:"makes the call safe to repeat; made up without it"`
		At      time.Time         `json:"at,omitzero" doc:"when it took effect; now without it"`
		Kind    string            `json:"kind" example:"deployment" minLength:"1"`
		Service string            `json:"service,omitempty"`
		Version string            `json:"version,omitempty"`
		Key     string            `json:"key,omitempty"`
		From    string            `json:"from,omitempty"`
		To      string            `json:"to,omitempty"`
		By      string            `json:"by,omitempty"`
		Summary string            `json:"summary,omitempty"`
		Link    string            `json:"link,omitempty"`
		Attrs   map[string]string `json:"attributes,omitempty"`
		Source  string            `json:"source,omitempty"`
	}
}

func (s *server) recordChange(ctx context.Context, in *changeParams) (*body, error) {
	b := in.Body
	c := model.Change{ID: b.ID, At: b.At, Kind: b.Kind, Service: b.Service, Version: b.Version, Key: b.Key, From: b.From,
		To: b.To, By: b.By, Summary: b.Summary, Link: b.Link, Attrs: b.Attrs, Source: b.Source}
	if c.Service == "" && c.Key == "" {
		return nil, bad(errors.New("a change needs a service or a key"))
	}
	if c.ID == "" {
		c.ID = newID()
	}
	if c.At.IsZero() {
		c.At = s.Now()
	}
	if c.Source == "" {
		c.Source = "api"
	}
	if err := s.Record(ctx, tenant(in.Tenant), c); err != nil {
		return nil, err
	}
	return answer(c)
}

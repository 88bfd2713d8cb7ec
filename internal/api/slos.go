package api

import (
	"context"
	"fmt"
	"time"

	"triage/internal/alarm"
	"triage/internal/slo"
	"triage/internal/store"
)

// SLOs is what the API needs of those who keep service level objectives.
type SLOs interface {
	List(ctx context.Context, tenant string) ([]slo.SLO, error)
	Get(ctx context.Context, tenant, name string) (slo.SLO, error)
	Save(ctx context.Context, tenant string, s slo.SLO) error
	Delete(ctx context.Context, tenant, name string) error
	Status(ctx context.Context, tenant string, s slo.SLO, at time.Time) (slo.Status, error)
	History(ctx context.Context, tenant string, s slo.SLO, objective int, w store.Window, step time.Duration) (slo.History, error)
}

// slos measures all objectives. One that cannot be measured says why and keeps the others from nothing.
func (s *server) slos(ctx context.Context, in *tenantParams) (*body, error) {
	list, err := s.SLOs.List(ctx, tenant(in.Tenant))
	if err != nil {
		return nil, err
	}
	type row struct {
		slo.Status
		Error string `json:"error,omitempty"`
	}
	out := []row{}
	for _, o := range list {
		st, err := s.SLOs.Status(ctx, tenant(in.Tenant), o, s.Now())
		r := row{Status: st}
		if err != nil {
			r.Error = err.Error()
		}
		out = append(out, r)
	}
	return answer(map[string]any{"slos": out})
}

func (s *server) slo(ctx context.Context, in *namedParams) (*body, error) {
	o, err := s.SLOs.Get(ctx, tenant(in.Tenant), in.Name)
	if err != nil {
		return nil, err
	}
	st, err := s.SLOs.Status(ctx, tenant(in.Tenant), o, s.Now())
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"slo": o, "status": st})
}

type sloParams struct {
	Tenant  string `header:"X-Scope-OrgID"`
	RawBody []byte `contentType:"application/json"`
}

func (s *server) putSLO(ctx context.Context, in *sloParams) (*body, error) {
	o, err := slo.Parse(in.RawBody)
	if err != nil {
		return nil, bad(err)
	}
	if err := s.SLOs.Save(ctx, tenant(in.Tenant), o); err != nil {
		return nil, err
	}
	return answer(o)
}

func (s *server) deleteSLO(ctx context.Context, in *namedParams) (*struct{}, error) {
	return nil, s.SLOs.Delete(ctx, tenant(in.Tenant), in.Name)
}

type sloHistoryParams struct {
	Scope
	Name      string `path:"name"`
	Objective int    `query:"objective" minimum:"1" default:"1" doc:"which one, counted from 1"`
	Step      string `query:"step" doc:"such as 1h; at most 1,000 points without it"`
}

func (s *server) sloHistory(ctx context.Context, in *sloHistoryParams) (*body, error) {
	o, err := s.SLOs.Get(ctx, tenant(in.Tenant), in.Name)
	if err != nil {
		return nil, err
	}
	w, err := in.window(s.Now())
	if err != nil {
		return nil, err
	}
	var step alarm.Duration
	if in.Step != "" {
		if err := step.UnmarshalText([]byte(in.Step)); err != nil || step <= 0 {
			return nil, bad(fmt.Errorf("step: %q is not a duration such as 1h", in.Step))
		}
	}
	h, err := s.SLOs.History(ctx, tenant(in.Tenant), o, in.Objective-1, w, time.Duration(step))
	if err != nil {
		return nil, err
	}
	return answer(h)
}

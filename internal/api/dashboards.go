package api

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"triage/internal/dashboard"
)

// Dashboards is what the API needs of those who keep dashboards.
type Dashboards interface {
	List(ctx context.Context, tenant string) ([]dashboard.Version, error)
	Get(ctx context.Context, tenant, name string, version int) (dashboard.Version, error)
	Versions(ctx context.Context, tenant, name string) ([]dashboard.Version, error)
	Save(ctx context.Context, tenant string, d dashboard.Dashboard, e dashboard.Edit) (dashboard.Version, error)
	Delete(ctx context.Context, tenant, name string) error
}

// dashboards lists without panels, of which there may be many.
func (s *server) dashboards(ctx context.Context, in *tenantParams) (*body, error) {
	list, err := s.Dashboards.List(ctx, tenant(in.Tenant))
	if err != nil {
		return nil, err
	}
	type row struct {
		dashboard.Version
		Panels int `json:"panels"`
	}
	out := []row{}
	for _, v := range list {
		n := len(v.Dashboard.Panels)
		v.Dashboard.Panels, v.Dashboard.Variables = nil, nil
		out = append(out, row{v, n})
	}
	return answer(map[string]any{"dashboards": out})
}

type dashboardParams struct {
	Tenant  string `header:"X-Scope-OrgID"`
	Name    string `path:"name"`
	Version int    `query:"version" minimum:"0" doc:"as it was then; as it is without it"`
}

func (s *server) dashboard(ctx context.Context, in *dashboardParams) (*body, error) {
	v, err := s.Dashboards.Get(ctx, tenant(in.Tenant), in.Name, in.Version)
	if err != nil {
		return nil, err
	}
	return answer(v)
}

func (s *server) dashboardVersions(ctx context.Context, in *namedParams) (*body, error) {
	list, err := s.Dashboards.Versions(ctx, tenant(in.Tenant), in.Name)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"versions": list})
}

type putDashboardParams struct {
	Tenant  string `header:"X-Scope-OrgID"`
	RawBody []byte `contentType:"application/json"`
}

// putDashboard takes {dashboard, by, note, of}; of is the version that was edited.
func (s *server) putDashboard(ctx context.Context, in *putDashboardParams) (*body, error) {
	var b struct {
		Dashboard json.RawMessage `json:"dashboard"`
		By        string          `json:"by"`
		Note      string          `json:"note"`
		Of        *int            `json:"of"`
	}
	if err := json.Unmarshal(in.RawBody, &b); err != nil {
		return nil, bad(err)
	}
	if b.Dashboard == nil {
		return nil, bad(errors.New("dashboard: is missing"))
	}
	d, err := dashboard.Parse(b.Dashboard)
	if err != nil {
		return nil, err
	}
	v, err := s.Dashboards.Save(ctx, tenant(in.Tenant), d, dashboard.Edit{By: b.By, Note: b.Note, Of: b.Of})
	if err != nil {
		return nil, err
	}
	return answer(v)
}

func (s *server) deleteDashboard(ctx context.Context, in *namedParams) (*struct{}, error) {
	return nil, s.Dashboards.Delete(ctx, tenant(in.Tenant), in.Name)
}

type importParams struct {
	Body struct {
		Text string `json:"text" doc:"the other tool's dashboard, as JSON"`
		Name string `json:"name,omitempty" doc:"what it is called here; made of its title without it"`
	}
}

func (s *server) importDashboard(_ context.Context, in *importParams) (*body, error) {
	made, err := dashboard.Import([]byte(in.Body.Text), in.Body.Name)
	if err != nil {
		return nil, err
	}
	return answer(made)
}

// dashboardSchema is JSON Schema 2020-12.
func (s *server) dashboardSchema(_ context.Context, _ *struct{}) (*body, error) {
	r := huma.NewMapRegistry("#/$defs/", huma.DefaultSchemaNamer)
	root := r.Schema(reflect.TypeFor[dashboard.Dashboard](), true, "Dashboard")
	return answer(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "A dashboard of triage",
		"$ref":    root.Ref,
		"$defs":   r.Map(),
	})
}

package api

import (
	"context"
	"crypto/subtle"
	"errors"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"triage/internal/manifest"
)

// Manifests is what the API needs of those who apply what is declared in files.
type Manifests interface {
	Apply(ctx context.Context, tenant string, r manifest.Request) (manifest.Result, error)
	Export(ctx context.Context, tenant, kind string, revision int) (string, error)
	Revisions(ctx context.Context, tenant string) ([]manifest.Revision, error)
}

var errNoToken = errors.New("this needs the token that lies in the server's data directory, in the file token: send it as" +
	" Authorization: Bearer TOKEN; the command line reads TRIAGE_TOKEN")

// Bearer is the token that a request carries.
type Bearer struct {
	Authorization string `header:"Authorization" doc:"Bearer and the token of the server's data directory"`
}

func (s *server) allow(b Bearer) error {
	token, ok := strings.CutPrefix(b.Authorization, "Bearer ")
	if !ok || s.Token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(s.Token)) != 1 {
		return errNoToken
	}
	return nil
}

func details(ps manifest.Problems) []error {
	out := make([]error, len(ps))
	for i, p := range ps {
		d := &huma.ErrorDetail{Message: p.Message, Location: p.Place()}
		for _, part := range []string{p.Path, p.Resource} {
			if part != "" {
				d.Message = part + ": " + d.Message
			}
		}
		out[i] = d
	}
	return out
}

type applyParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	Bearer
	Body struct {
		Files  []manifest.File `json:"files" minItems:"1" doc:"documents in YAML or JSON: apiVersion, kind, metadata, spec"`
		DryRun bool            `json:"dry_run,omitempty" doc:"say what would change, and change nothing"`
		Prune  bool            `json:"prune,omitempty" doc:"remove what earlier files declared and these don't"`
		By     string          `json:"by,omitempty"`
		Note   string          `json:"note,omitempty"`
	}
}

func (s *server) apply(ctx context.Context, in *applyParams) (*body, error) {
	if err := s.allow(in.Bearer); err != nil {
		return nil, err
	}
	r := manifest.Request{Files: in.Body.Files, DryRun: in.Body.DryRun, Prune: in.Body.Prune, By: in.Body.By, Note: in.Body.Note, At: s.Now()}
	result, err := s.Manifests.Apply(ctx, tenant(in.Tenant), r)
	if err != nil {
		return nil, err
	}
	result.Changes = nonNil(result.Changes)
	return answer(result)
}

type exportParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	Bearer
	Kind     string `query:"kind" enum:"Alarm,SLI,AlertCondition,AlertPolicy,SLO,Silence,Routes,Dashboard,Runbook" doc:"all without it"`
	Revision int    `query:"revision" minimum:"0" doc:"what this revision declared; what there is now without it"`
}

func (s *server) export(ctx context.Context, in *exportParams) (*body, error) {
	if err := s.allow(in.Bearer); err != nil {
		return nil, err
	}
	text, err := s.Manifests.Export(ctx, tenant(in.Tenant), in.Kind, in.Revision)
	if err != nil {
		return nil, err
	}
	return &body{"application/yaml", []byte(text)}, nil
}

func (s *server) revisions(ctx context.Context, in *tenantParams) (*body, error) {
	list, err := s.Manifests.Revisions(ctx, tenant(in.Tenant))
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"revisions": nonNil(list)})
}

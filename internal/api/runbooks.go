package api

import (
	"context"

	"triage/internal/runbook"
)

// Runbooks is what the API needs of those who run runbooks.
type Runbooks interface {
	Runbooks(ctx context.Context) ([]runbook.Runbook, error)
	Runs(ctx context.Context, incident string) ([]runbook.Run, error)
	Approve(ctx context.Context, id, by string) (runbook.Run, error)
	Refuse(ctx context.Context, id, by string) (runbook.Run, error)
	Undo(ctx context.Context, id, by string) (runbook.Run, error)
}

// runbooks needs the token because headers of webhooks hold secrets.
func (s *server) runbooks(ctx context.Context, in *Bearer) (*body, error) {
	if err := s.allow(*in); err != nil {
		return nil, err
	}
	list, err := s.Runbooks.Runbooks(ctx)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"runbooks": nonNil(list)})
}

type runsParams struct {
	Bearer
	Incident string `query:"incident" doc:"of one incident; of all without it"`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// runs shows what was done to whoever may read incidents; what it said, which may be anything that a program knows, needs the
// token.
func (s *server) runs(ctx context.Context, in *runsParams) (*body, error) {
	list, err := s.Runbooks.Runs(ctx, in.Incident)
	if err != nil {
		return nil, err
	}
	list = list[:min(len(list), in.Limit)]
	if s.allow(in.Bearer) != nil {
		for i := range list {
			list[i].Withheld, list[i].Output = list[i].Output != "", ""
		}
	}
	return answer(map[string]any{"runs": nonNil(list)})
}

type runParams struct {
	Bearer
	ID   string `path:"id"`
	Body struct {
		By string `json:"by" minLength:"1"`
	}
}

// onRun does something with a run on behalf of who sent the token.
func (s *server) onRun(do func(m Runbooks, ctx context.Context, id, by string) (runbook.Run, error)) handler[runParams, body] {
	return func(ctx context.Context, in *runParams) (*body, error) {
		if err := s.allow(in.Bearer); err != nil {
			return nil, err
		}
		r, err := do(s.Runbooks, ctx, in.ID, in.Body.By)
		if err != nil {
			return nil, err
		}
		return answer(r)
	}
}

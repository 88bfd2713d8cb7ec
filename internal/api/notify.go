package api

import (
	"context"
	"time"

	"triage/internal/model"
	"triage/internal/notify"
)

// Notifications is what the API needs of those who tell people.
type Notifications interface {
	Receivers() []notify.Receiver
	Messages(ctx context.Context, tenant, incident string) ([]notify.Message, error)
	Test(ctx context.Context, receiver string) ([]notify.TestResult, error)
	Silences(ctx context.Context, tenant string) ([]notify.Silence, error)
	SaveSilence(ctx context.Context, tenant string, s notify.Silence) (notify.Silence, error)
	SilenceIncident(ctx context.Context, inc model.Incident, alarms []string, s notify.Silence) ([]notify.Silence, error)
	EndSilence(ctx context.Context, tenant, id string) error
}

type tenantParams struct {
	Tenant string `header:"X-Scope-OrgID"`
}

func (s *server) receivers(_ context.Context, _ *tenantParams) (*body, error) {
	return answer(map[string]any{"receivers": nonNil(s.Notify.Receivers())})
}

func (s *server) testReceiver(ctx context.Context, in *namedParams) (*body, error) {
	results, err := s.Notify.Test(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"results": nonNil(results)})
}

type notificationsParams struct {
	Tenant   string `header:"X-Scope-OrgID"`
	Incident string `query:"incident" doc:"of one incident; of all without it"`
	Limit    int    `query:"limit" minimum:"1" maximum:"10000" default:"100"`
}

func (s *server) notifications(ctx context.Context, in *notificationsParams) (*body, error) {
	list, err := s.Notify.Messages(ctx, tenant(in.Tenant), in.Incident)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"notifications": nonNil(list[:min(len(list), in.Limit)])})
}

func (s *server) silences(ctx context.Context, in *tenantParams) (*body, error) {
	list, err := s.Notify.Silences(ctx, tenant(in.Tenant))
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"silences": nonNil(list)})
}

type silenceParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	Body   struct {
		ID       string    `json:"id,omitempty" doc:"of the silence to replace; a new one without it"`
		Matchers []string  `json:"matchers" doc:"as Alertmanager writes them: service=\"cart\", alertname=~\"err.*\"" minItems:"1"`
		Starts   time.Time `json:"starts,omitempty" doc:"now without it"`
		Ends     time.Time `json:"ends"`
		By       string    `json:"by,omitempty"`
		Comment  string    `json:"comment,omitempty"`
	}
}

func (s *server) putSilence(ctx context.Context, in *silenceParams) (*body, error) {
	b := in.Body
	saved, err := s.Notify.SaveSilence(ctx, tenant(in.Tenant), notify.Silence{
		ID: b.ID, Matchers: b.Matchers, Starts: b.Starts, Ends: b.Ends, By: b.By, Comment: b.Comment,
	})
	if err != nil {
		return nil, err
	}
	return answer(saved)
}

type idParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	ID     string `path:"id"`
}

func (s *server) endSilence(ctx context.Context, in *idParams) (*struct{}, error) {
	return nil, s.Notify.EndSilence(ctx, tenant(in.Tenant), in.ID)
}

package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Run is one run of a runbook.
type Run struct {
	ID       string    `json:"id"`
	Runbook  string    `json:"runbook"`
	Incident string    `json:"incident"`
	State    string    `json:"state"`
	Why      string    `json:"why"`
	Does     string    `json:"does"`
	Of       string    `json:"of,omitempty"` // the run that it takes back
	By       string    `json:"by,omitempty"`
	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Error    string    `json:"error,omitempty"`
	// Output needs the server's token; Withheld tells that there is some.
	Output   string `json:"output,omitempty"`
	Withheld bool   `json:"output_withheld,omitempty"`
	CanUndo  bool   `json:"can_undo,omitempty"`
}

// Runbooks lists runbooks as they were applied. It needs the server's token.
func (c *Client) Runbooks(ctx context.Context) ([]json.RawMessage, error) {
	out, err := get[struct {
		Runbooks []json.RawMessage `json:"runbooks"`
	}](ctx, c, "/api/v1/runbooks", nil)
	return out.Runbooks, err
}

// Runs lists runs, newest first; of one incident if one is named.
func (c *Client) Runs(ctx context.Context, incident string, limit int) ([]Run, error) {
	out, err := get[struct {
		Runs []Run `json:"runs"`
	}](ctx, c, "/api/v1/runs", url.Values(params{}.text("incident", incident).number("limit", limit)))
	return out.Runs, err
}

// ActOnRun does "approve", "refuse" or "undo" and gives the run that came of it. It needs the server's token.
func (c *Client) ActOnRun(ctx context.Context, id, what, by string) (Run, error) {
	return call[Run](ctx, c, request{method: http.MethodPost, path: "/api/v1/runs/" + url.PathEscape(id) + "/" + what, body: map[string]string{"by": by}})
}

package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// ManifestFile is a file that declares something.
type ManifestFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// ApplyRequest is files to apply. It needs the server's token.
type ApplyRequest struct {
	Files  []ManifestFile `json:"files"`
	DryRun bool           `json:"dry_run,omitempty"`
	// Prune removes what earlier files declared and these don't.
	Prune bool   `json:"prune,omitempty"`
	By    string `json:"by,omitempty"`
	Note  string `json:"note,omitempty"`
}

// ManifestChange is what becomes of one declared thing: create, update, delete or same.
type ManifestChange struct {
	Action string `json:"action"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// ApplyResult is what changed, or would. Revision is 0 where nothing did.
type ApplyResult struct {
	Changes  []ManifestChange `json:"changes"`
	Revision int              `json:"revision,omitempty"`
}

// Revision is what was applied once.
type Revision struct {
	Revision int              `json:"revision"`
	At       time.Time        `json:"at"`
	By       string           `json:"by,omitempty"`
	Note     string           `json:"note,omitempty"`
	Changes  []ManifestChange `json:"changes"`
}

// Apply makes what is declared be what files say, all of it or nothing.
func (c *Client) Apply(ctx context.Context, r ApplyRequest) (ApplyResult, error) {
	return call[ApplyResult](ctx, c, request{method: http.MethodPost, path: "/api/v1/apply", body: r})
}

// Export gives what is declared as files that Apply takes; of one kind, or of a revision. It needs the server's token.
func (c *Client) Export(ctx context.Context, kind string, revision int) (string, error) {
	return c.text(ctx, request{
		method: http.MethodGet, path: "/api/v1/export", accept: "application/yaml", query: url.Values(params{}.text("kind", kind).number("revision", revision)),
	})
}

// Revisions lists what was applied, newest first.
func (c *Client) Revisions(ctx context.Context) ([]Revision, error) {
	out, err := get[struct {
		Revisions []Revision `json:"revisions"`
	}](ctx, c, "/api/v1/revisions", nil)
	return out.Revisions, err
}

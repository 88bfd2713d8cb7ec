package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Dashboard is a version of a dashboard. Its document is JSON, whose schema DashboardSchema gives.
type Dashboard struct {
	Version int       `json:"version"` // 0 is what triage brings along
	At      time.Time `json:"at,omitzero"`
	By      string    `json:"by,omitempty"`
	Note    string    `json:"note,omitempty"`
	// Panels is how many there are; only lists say it.
	Panels   int             `json:"panels,omitempty"`
	Document json.RawMessage `json:"dashboard"`
}

// Head is what a dashboard's document says first.
func (d Dashboard) Head() (name, title, description string) {
	var h struct {
		Name        string `json:"name"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}
	_ = json.Unmarshal(d.Document, &h) // what is no object has no head
	return h.Name, h.Title, h.Description
}

// ImportedDashboard is a dashboard made of another tool's, and what could not be taken over.
type ImportedDashboard struct {
	Format   string          `json:"format"`
	Document json.RawMessage `json:"dashboard"`
	Lost     []struct {
		Where string `json:"where"`
		What  string `json:"what"`
	} `json:"lost"`
}

// Dashboards lists dashboards without their panels.
func (c *Client) Dashboards(ctx context.Context) ([]Dashboard, error) {
	out, err := get[struct {
		Dashboards []Dashboard `json:"dashboards"`
	}](ctx, c, "/api/v1/dashboards", nil)
	return out.Dashboards, err
}

// Dashboard gives one, as it is or, if version is not 0, as it was.
func (c *Client) Dashboard(ctx context.Context, name string, version int) (Dashboard, error) {
	return get[Dashboard](ctx, c, "/api/v1/dashboards/"+url.PathEscape(name), url.Values(params{}.number("version", version)))
}

// DashboardVersions lists versions, newest first, also of a dashboard that was deleted.
func (c *Client) DashboardVersions(ctx context.Context, name string) ([]Dashboard, error) {
	out, err := get[struct {
		Versions []Dashboard `json:"versions"`
	}](ctx, c, "/api/v1/dashboards/"+url.PathEscape(name)+"/versions", nil)
	return out.Versions, err
}

// PutDashboard saves a dashboard as a new version of the one of its name.
func (c *Client) PutDashboard(ctx context.Context, document json.RawMessage, by, note string) (Dashboard, error) {
	return call[Dashboard](ctx, c, request{method: http.MethodPost, path: "/api/v1/dashboards", body: map[string]any{"dashboard": document, "by": by, "note": note}})
}

// DeleteDashboard removes a dashboard; its versions remain.
func (c *Client) DeleteDashboard(ctx context.Context, name string) error {
	resp, err := c.send(ctx, request{method: http.MethodDelete, path: "/api/v1/dashboards/" + url.PathEscape(name)})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// ImportDashboard makes a dashboard of Grafana's or CloudWatch's, without saving it.
func (c *Client) ImportDashboard(ctx context.Context, text, name string) (ImportedDashboard, error) {
	return call[ImportedDashboard](ctx, c, request{method: http.MethodPost, path: "/api/v1/dashboards/import", body: map[string]string{"text": text, "name": name}})
}

// DashboardSchema is the JSON Schema of dashboards' documents.
func (c *Client) DashboardSchema(ctx context.Context) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "/api/v1/schema/dashboard", nil)
}

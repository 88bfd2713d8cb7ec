package client

import (
	"context"
	"net/http"
	"net/url"
)

func incidentPath(id, what string) string {
	return "/api/v1/incidents/" + url.PathEscape(id) + "/" + what
}

// act posts what somebody does with an incident and gives the incident as it stands then.
func (c *Client) act(ctx context.Context, id, what string, body any) (Incident, error) {
	return call[Incident](ctx, c, request{method: http.MethodPost, path: incidentPath(id, what), body: body})
}

// Acknowledge says that somebody looks after an incident; undo takes it back.
func (c *Client) Acknowledge(ctx context.Context, id, by, note string, undo bool) (Incident, error) {
	return c.act(ctx, id, "ack", struct {
		By   string `json:"by"`
		Note string `json:"note,omitempty"`
		Undo bool   `json:"undo,omitempty"`
	}{by, note, undo})
}

// Assign says who is to work on an incident; nobody where to is empty.
func (c *Client) Assign(ctx context.Context, id, by, to string) (Incident, error) {
	return c.act(ctx, id, "assign", map[string]string{"by": by, "to": to})
}

// Note writes something down about an incident.
func (c *Client) Note(ctx context.Context, id, by, text string) (Incident, error) {
	return c.act(ctx, id, "notes", map[string]string{"by": by, "text": text})
}

// Merge makes an incident go on with the alarms of another one, which ends.
func (c *Client) Merge(ctx context.Context, id, other, by, note string) (Incident, error) {
	return c.act(ctx, id, "merge", map[string]string{"by": by, "other": other, "note": note})
}

// Split opens a new incident with some of an incident's alarms and returns it.
func (c *Client) Split(ctx context.Context, id string, alarms []string, by, note string) (Incident, error) {
	return c.act(ctx, id, "split", struct {
		By     string   `json:"by"`
		Alarms []string `json:"alarms"`
		Note   string   `json:"note,omitempty"`
	}{by, alarms, note})
}

// SilenceIncident silences an incident or some of its alarms.
func (c *Client) SilenceIncident(ctx context.Context, id string, s IncidentSilence) ([]Silence, error) {
	out, err := call[struct {
		Silences []Silence `json:"silences"`
	}](ctx, c, request{method: http.MethodPost, path: incidentPath(id, "silence"), body: s})
	return out.Silences, err
}

// Timeline tells an incident in order of time, in "en" or "ko".
func (c *Client) Timeline(ctx context.Context, id, lang string) ([]Moment, error) {
	out, err := get[struct {
		Timeline []Moment `json:"timeline"`
	}](ctx, c, incidentPath(id, "timeline"), url.Values(params{}.text("lang", lang)))
	return out.Timeline, err
}

// Postmortem is an incident as Markdown, in "en" or "ko".
func (c *Client) Postmortem(ctx context.Context, id, lang string) (string, error) {
	return c.text(ctx, request{
		method: http.MethodGet, path: incidentPath(id, "postmortem"), accept: "text/markdown", query: url.Values(params{}.text("lang", lang)),
	})
}

// Journal lists what people, and triage by itself, did, oldest first.
func (c *Client) Journal(ctx context.Context, q JournalQuery) ([]Entry, error) {
	out, err := get[struct {
		Entries []Entry `json:"entries"`
	}](ctx, c, "/api/v1/journal", url.Values(params{}.text("incident", q.Incident).time("from", q.From).time("to", q.To).number("limit", q.Limit)))
	return out.Entries, err
}

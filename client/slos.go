package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// SLOs says how all service level objectives stand.
func (c *Client) SLOs(ctx context.Context) ([]SLO, error) {
	out, err := get[struct {
		SLOs []SLO `json:"slos"`
	}](ctx, c, "/api/v1/slos", nil)
	return out.SLOs, err
}

// SLO gives one service level objective and how it stands.
func (c *Client) SLO(ctx context.Context, name string) (SLODetail, error) {
	return get[SLODetail](ctx, c, "/api/v1/slos/"+url.PathEscape(name), nil)
}

// PutSLO adds or replaces an SLO in OpenSLO's format, as JSON, and gives it as it was stored.
func (c *Client) PutSLO(ctx context.Context, slo json.RawMessage) (json.RawMessage, error) {
	return call[json.RawMessage](ctx, c, request{method: http.MethodPost, path: "/api/v1/slos", body: slo})
}

// DeleteSLO removes an SLO with its alarms.
func (c *Client) DeleteSLO(ctx context.Context, name string) error {
	resp, err := c.send(ctx, request{method: http.MethodDelete, path: "/api/v1/slos/" + url.PathEscape(name)})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

package client

import (
	"context"
	"io"
	"net/http"
)

// Record streams a recording of what the server receives from now on, of all tenants unless a header says otherwise. The
// bytes are those of a recording's file, not compressed; docs/format/recording.md describes them. The stream has no end of
// its own: close it, or end the context. One that ends by itself says why in its last frame.
func (c *Client) Record(ctx context.Context) (io.ReadCloser, error) {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: "/api/v1/record", accept: "application/vnd.triage.recording"})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

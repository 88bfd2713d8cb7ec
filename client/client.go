// Package client speaks triage's HTTP API: one method an endpoint, the types of the JSON, and errors that keep what the
// server said.
//
//	c := client.New("http://127.0.0.1:4320")
//	incidents, err := c.Incidents(ctx, client.IncidentsQuery{Status: client.IncidentOpen})
//
// It keeps no state besides its connections, retries nothing and sets no deadline: contexts do. A Client is safe for
// concurrent use. A server that cannot be reached gives the error of net/http as it is; an answer other than 2xx gives
// an *Error.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultURL is where a server listens unless told otherwise.
const DefaultURL = "http://127.0.0.1:4320"

// Client talks to one server.
type Client struct {
	base   string
	http   *http.Client
	header http.Header
}

// Option alters a Client while New makes it.
type Option func(*Client)

// WithHTTPClient replaces http.DefaultClient, for other transports. A Timeout set there also ends TailLogs.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithHeader sends a header with every request, such as Authorization.
func WithHeader(key, value string) Option { return func(c *Client) { c.header.Set(key, value) } }

// New makes a client of the server at baseURL, which may have a path prefix and may lack "http://". An empty baseURL is
// DefaultURL. A URL that makes no sense is reported by the first request.
func New(baseURL string, opts ...Option) *Client {
	base := strings.TrimRight(baseURL, "/")
	if base == "" {
		base = DefaultURL
	}
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	c := &Client{base: base, http: http.DefaultClient, header: http.Header{}}
	for _, opt := range opts {
		opt(c)
	}
	return c
}

// URL is the server's address, without a slash at the end.
func (c *Client) URL() string { return c.base }

// Error is an answer that is not a success: RFC 9457 problem details where the server gave them.
type Error struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Problems are what is wrong in particular, where there is more to say.
	Problems []Problem `json:"errors,omitempty"`
}

// Problem is one thing that is wrong with a request, and where.
type Problem struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
}

// Error is the detail with its title and status.
func (e *Error) Error() string {
	title := e.Title
	if title == "" {
		title = http.StatusText(e.Status)
	}
	text := fmt.Sprintf("%s (%s, %d)", e.Detail, title, e.Status)
	if e.Detail == "" {
		text = fmt.Sprintf("%s (%d)", title, e.Status)
	}
	for _, p := range e.Problems {
		text += "\n" + strings.TrimPrefix(p.Location+": ", ": ") + p.Message
	}
	return text
}

// NotFound tells whether err says that the one thing asked for does not exist.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// maxError bounds how much of an error's body is read: problem details are short, and a proxy's page is of no use.
const maxError = 64 << 10

// request is one call; zero fields are left out.
type request struct {
	method, path string
	query        url.Values
	body         any // sent as JSON
	form         url.Values
	accept       string
}

// send returns the response of a success, whose body the caller closes, or an error.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	contentType := ""
	switch {
	case r.form != nil:
		body, contentType = strings.NewReader(r.form.Encode()), "application/x-www-form-urlencoded"
	case r.body != nil:
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: write the request: %w", r.method, r.path, err)
		}
		body, contentType = bytes.NewReader(b), "application/json"
	}
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, err
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	accept := r.accept
	if accept == "" {
		accept = "application/json"
	}
	req.Header.Set("Accept", accept)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp, nil
}

// readError understands problem details, the Prometheus API's own errors, and plain text.
func readError(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
	e := &Error{}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if strings.HasSuffix(media, "json") {
		var prom struct {
			ErrorType string `json:"errorType"`
			Error     string `json:"error"`
		}
		if json.Unmarshal(b, &prom) == nil && prom.Error != "" {
			e.Title, e.Detail = prom.ErrorType, prom.Error
		} else if json.Unmarshal(b, e) != nil {
			*e = Error{} // JSON of someone else's; the status says enough
		}
	} else if media == "text/plain" {
		e.Detail = strings.TrimSpace(string(b))
	}
	e.Status = resp.StatusCode
	return e
}

// call sends a request and decodes the answer's JSON.
func call[T any](ctx context.Context, c *Client, r request) (T, error) {
	var out T
	resp, err := c.send(ctx, r)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("%s %s: read the answer: %w", r.method, r.path, err)
	}
	return out, nil
}

// get is call for the method that asks.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return call[T](ctx, c, request{method: http.MethodGet, path: path, query: query})
}

// params collects query parameters and leaves out zero ones.
type params url.Values

func (p params) text(key, value string) params {
	if value != "" {
		url.Values(p).Set(key, value)
	}
	return p
}

func (p params) number(key string, value int) params {
	if value != 0 {
		url.Values(p).Set(key, strconv.Itoa(value))
	}
	return p
}

func (p params) time(key string, t time.Time) params {
	if !t.IsZero() {
		url.Values(p).Set(key, t.UTC().Format(time.RFC3339Nano))
	}
	return p
}

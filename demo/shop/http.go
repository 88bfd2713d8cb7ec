package shop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// dial opens connections to hosts by the names that telemetry calls them, as a cluster's DNS would lead them.
func (e *env) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if err := e.resolve(host); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	real, ok := e.cfg.Hosts[e.cfg.host(host)]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, real)
}

// nameserver is where names are asked for, as a cluster's resolver would be.
const nameserver = "10.96.0.10:53"

// unresolved is a fault of every process: a host's name, its Operation, is no longer resolved. Strength 1 is a resolver
// that knows no such name, 2 one that fails.
const unresolved = "dns"

// resolve returns the resolver's error, if it has one.
func (e *env) resolve(host string) error {
	switch int(e.own.hit(unresolved, e.cfg.host(host))) {
	case 0:
		return nil
	case 1:
		return &net.DNSError{Err: "no such host", Name: host, Server: nameserver, IsNotFound: true}
	}
	return &net.DNSError{Err: "server misbehaving", Name: host, Server: nameserver, IsTemporary: true}
}

// httpClient is an instrumented HTTP client that finds hosts by name. How long a request may take is its context's to
// say.
type httpClient struct {
	http.Client
	// name is what telemetry calls a host.
	name func(host string) string
}

func (e *env) client() *httpClient {
	return &httpClient{http.Client{Transport: e.tel.transport(&http.Transport{
		DialContext:         e.dial,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     idleFor,
	})}, e.cfg.Name}
}

// statusError is an answer that is not a success.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.code, e.text) }

// call sends in as JSON and reads the answer into out. Nil in is a GET. The URL's host is a process' or a host's name,
// whatever telemetry calls it. Requests carry an idempotency key, so that the transport may repeat one whose connection
// was closed under it.
func call(ctx context.Context, c *httpClient, url string, in, out any) error {
	method, body := http.MethodGet, io.Reader(nil)
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		method, body = http.MethodPost, bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	req.URL.Host = c.name(req.URL.Host)
	req.Host = req.URL.Host
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", uuid.NewString())
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return &statusError{res.StatusCode, string(bytes.TrimSpace(text))}
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// maxBody bounds a request's body; the largest is a bulk quote.
const maxBody = 1 << 20

// handler answers one JSON request.
type handler func(r *http.Request) (any, error)

// serveJSON writes what h returns. An error's status says whose fault it was; the line that logs it is the handler's.
func serveJSON(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := h(r)
		if err != nil {
			http.Error(w, err.Error(), httpStatus(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// A client that has gone is not ours to report.
		_ = json.NewEncoder(w).Encode(v)
	}
}

// httpStatus maps what a callee or library returned to the status our caller sees.
func httpStatus(err error) int {
	var answered *statusError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &answered):
		if answered.code < 500 {
			return answered.code
		}
		return http.StatusBadGateway
	case errors.As(err, &syntax):
		return http.StatusBadRequest
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	switch status.Code(err) {
	case codes.NotFound:
		return http.StatusNotFound
	case codes.InvalidArgument:
		return http.StatusBadRequest
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	}
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// decode reads a request's JSON body.
func decode(r *http.Request, v any) error {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		return &statusError{http.StatusBadRequest, err.Error()}
	}
	return nil
}

// idleFor is how long our clients keep a connection that they don't use.
const idleFor = 2 * time.Second

// httpUnit serves an instrumented handler. When stopped, it first takes no new connections and asks for those it has
// to be closed after their next answer, until the last one is gone: a server that closes an idle connection itself may
// do so just when a request comes in over it, which would then be lost.
func httpUnit(h http.Handler) *unit {
	var draining atomic.Bool
	var open atomic.Int64
	var listener atomic.Pointer[net.Listener]
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if draining.Load() {
				w.Header().Set("Connection", "close")
			}
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 5 * time.Second,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		},
	}
	return &unit{
		serve: func(l net.Listener) error {
			listener.Store(&l)
			err := srv.Serve(l)
			if draining.Load() {
				return http.ErrServerClosed // by us, below
			}
			return err
		},
		stop: func(ctx context.Context) error {
			draining.Store(true)
			if l := listener.Load(); l != nil {
				_ = (*l).Close()
			}
			// The first look comes late enough to count a connection that was just accepted.
			for deadline := time.Now().Add(idleFor + time.Second); ; {
				wait(ctx, 50*time.Millisecond)
				if open.Load() == 0 || ctx.Err() != nil || time.Now().After(deadline) {
					break
				}
			}
			if err := srv.Shutdown(ctx); err != nil {
				return srv.Close()
			}
			return nil
		},
	}
}

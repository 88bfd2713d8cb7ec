package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Incidents lists incidents, newest first, each with its newest verdict.
func (c *Client) Incidents(ctx context.Context, q IncidentsQuery) ([]Incident, error) {
	p := params{}.text("status", string(q.Status)).number("limit", q.Limit)
	out, err := get[struct {
		Incidents []Incident `json:"incidents"`
	}](ctx, c, "/api/v1/incidents", url.Values(p))
	return out.Incidents, err
}

// Incident returns one incident with its newest verdict.
func (c *Client) Incident(ctx context.Context, id string) (Incident, error) {
	return get[Incident](ctx, c, "/api/v1/incidents/"+url.PathEscape(id), nil)
}

// Verdict returns a revision of an incident's verdict; 0 is the newest. Until one was made the error is NotFound.
func (c *Client) Verdict(ctx context.Context, incident string, revision int) (Verdict, error) {
	return get[Verdict](ctx, c, verdictPath(incident), url.Values(params{}.number("revision", revision)))
}

// VerdictMarkdown returns the same as a page of Markdown in a language ("en" or "ko"; empty is English).
func (c *Client) VerdictMarkdown(ctx context.Context, incident string, revision int, lang string) (string, error) {
	return c.text(ctx, request{
		method: http.MethodGet, path: verdictPath(incident), accept: "text/markdown",
		query: url.Values(params{}.number("revision", revision).text("lang", lang)),
	})
}

func verdictPath(incident string) string {
	return "/api/v1/incidents/" + url.PathEscape(incident) + "/verdict"
}

// Verdicts lists the revisions of an incident's verdict, the first first.
func (c *Client) Verdicts(ctx context.Context, incident string) ([]Verdict, error) {
	out, err := get[struct {
		Verdicts []Verdict `json:"verdicts"`
	}](ctx, c, verdictPath(incident)+"s", nil)
	return out.Verdicts, err
}

// Diagnose asks for a verdict now.
func (c *Client) Diagnose(ctx context.Context, r DiagnoseRequest) (Verdict, error) {
	return call[Verdict](ctx, c, request{method: http.MethodPost, path: "/api/v1/diagnose", body: r})
}

// DiagnoseMarkdown is Diagnose as a page of Markdown in a language.
func (c *Client) DiagnoseMarkdown(ctx context.Context, r DiagnoseRequest, lang string) (string, error) {
	return c.text(ctx, request{
		method: http.MethodPost, path: "/api/v1/diagnose", body: r, accept: "text/markdown",
		query: url.Values(params{}.text("lang", lang)),
	})
}

// text sends a request and returns the answer's body as it is.
func (c *Client) text(ctx context.Context, r request) (string, error) {
	resp, err := c.send(ctx, r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// Changes lists changes that took effect in [from, to); zero times are the server's.
func (c *Client) Changes(ctx context.Context, from, to time.Time) ([]Change, error) {
	out, err := get[struct {
		Changes []Change `json:"changes"`
	}](ctx, c, "/api/v1/changes", url.Values(params{}.time("from", from).time("to", to)))
	return out.Changes, err
}

// RecordChange records a change and returns it as stored. The server gives an ID and a time to one that has none;
// recording the same ID again changes nothing.
func (c *Client) RecordChange(ctx context.Context, ch Change) (Change, error) {
	return call[Change](ctx, c, request{method: http.MethodPost, path: "/api/v1/changes", body: ch})
}

// Alarms lists alarms in a state (all of them if it is empty) and the rules.
func (c *Client) Alarms(ctx context.Context, state AlarmState) (AlarmList, error) {
	return get[AlarmList](ctx, c, "/api/v1/alarms", url.Values(params{}.text("state", string(state))))
}

// AlarmHistory lists transitions, oldest first.
func (c *Client) AlarmHistory(ctx context.Context, q HistoryQuery) ([]Transition, error) {
	p := params{}.text("alarm", q.Alarm).time("from", q.From).time("to", q.To).number("limit", q.Limit)
	out, err := get[struct {
		Transitions []Transition `json:"transitions"`
	}](ctx, c, "/api/v1/alarms/history", url.Values(p))
	return out.Transitions, err
}

// PutRule stores an alarm rule, given as its JSON, in place of one with the same name, and returns it as stored.
func (c *Client) PutRule(ctx context.Context, rule json.RawMessage) (json.RawMessage, error) {
	return call[json.RawMessage](ctx, c, request{method: http.MethodPost, path: "/api/v1/alarms", body: rule})
}

// DeleteRule removes an alarm rule and its alarms.
func (c *Client) DeleteRule(ctx context.Context, name string) error {
	resp, err := c.send(ctx, request{method: http.MethodDelete, path: "/api/v1/alarms/" + url.PathEscape(name)})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Services sums up what services did in [from, to); zero times are the server's.
func (c *Client) Services(ctx context.Context, from, to time.Time) (ServiceMap, error) {
	return get[ServiceMap](ctx, c, "/api/v1/services", url.Values(params{}.time("from", from).time("to", to)))
}

// Trace returns one trace with its log lines. The ID is 32 hex digits, or another form that the server knows.
func (c *Client) Trace(ctx context.Context, id string) (Trace, error) {
	return get[Trace](ctx, c, "/api/v1/traces/"+url.PathEscape(id), nil)
}

func (q SearchQuery) values() url.Values {
	return url.Values(params{}.text("q", q.Q).time("from", q.From).time("to", q.To).number("limit", q.Limit))
}

// Logs searches log records, newest first.
func (c *Client) Logs(ctx context.Context, q SearchQuery) (LogPage, error) {
	return find[LogPage](ctx, c, "/api/v1/logs", q)
}

// Spans searches spans, newest first.
func (c *Client) Spans(ctx context.Context, q SearchQuery) (SpanPage, error) {
	return find[SpanPage](ctx, c, "/api/v1/spans", q)
}

// find makes a search, with progress if that is wanted.
func find[T any](ctx context.Context, c *Client, path string, q SearchQuery) (T, error) {
	if q.Progress == nil {
		return get[T](ctx, c, path, q.values())
	}
	var out T
	resp, err := c.send(ctx, request{method: http.MethodGet, path: path, accept: "application/x-ndjson", query: q.values()})
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var text json.RawMessage
		if err := lines.Decode(&text); err != nil {
			return out, fmt.Errorf("%s %s: read the answer: %w", http.MethodGet, path, err)
		}
		var line struct {
			Progress *struct{ Done, Total int64 }
			Error    *Error
		}
		err := json.Unmarshal(text, &line)
		switch {
		case err != nil:
		case line.Error != nil:
			return out, line.Error
		case line.Progress != nil:
			q.Progress(line.Progress.Done, line.Progress.Total)
			continue
		default:
			err = json.Unmarshal(text, &out)
		}
		if err != nil {
			err = fmt.Errorf("%s %s: read the answer: %w", http.MethodGet, path, err)
		}
		return out, err
	}
}

// Exceptions lists groups of exceptions of one type and stack, those seen last first.
func (c *Client) Exceptions(ctx context.Context, q ExceptionsQuery) (ExceptionPage, error) {
	p := params{}.text("service", q.Service).text("version", q.Version).text("q", q.Text).time("from", q.From).time("to", q.To).number("limit", q.Limit)
	return get[ExceptionPage](ctx, c, "/api/v1/errors", url.Values(p))
}

// Exception returns one group with a stack, of [from, to); zero times are the server's.
func (c *Client) Exception(ctx context.Context, id string, from, to time.Time) (ExceptionDetail, error) {
	return get[ExceptionDetail](ctx, c, "/api/v1/errors/"+url.PathEscape(id), url.Values(params{}.time("from", from).time("to", to)))
}

// TailLogs yields log records that match as they arrive. It ends without an error when the context ends or the loop
// breaks; any other end, the server's included, is the last thing yielded, as an error.
func (c *Client) TailLogs(ctx context.Context, q string) iter.Seq2[LogRecord, error] {
	return func(yield func(LogRecord, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		resp, err := c.send(ctx, request{
			method: http.MethodGet, path: "/api/v1/logs/tail", accept: "application/x-ndjson", query: url.Values(params{}.text("q", q)),
		})
		if err != nil {
			if ctx.Err() == nil {
				yield(LogRecord{}, err)
			}
			return
		}
		defer resp.Body.Close()
		lines := json.NewDecoder(resp.Body)
		for {
			var rec LogRecord
			if err := lines.Decode(&rec); err != nil {
				if errors.Is(err, io.EOF) {
					err = errors.New("the server ended the stream")
				}
				if ctx.Err() == nil {
					yield(LogRecord{}, fmt.Errorf("tail logs: %w", err))
				}
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// SQL runs a read-only query over the tables of spans and logs.
func (c *Client) SQL(ctx context.Context, query string) (Table, error) {
	resp, err := c.send(ctx, request{method: http.MethodPost, path: "/api/v1/sql", body: map[string]string{"query": query}})
	if err != nil {
		return Table{}, err
	}
	defer resp.Body.Close()
	var out Table
	dec := json.NewDecoder(resp.Body)
	dec.UseNumber() // a BIGINT does not fit a float64
	if err := dec.Decode(&out); err != nil {
		return Table{}, fmt.Errorf("read the answer to the SQL query: %w", err)
	}
	return out, nil
}

// Status says what the server is and has.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/api/v1/status", nil)
}

// Ready returns nil when the server is up and takes data, else why it is not.
func (c *Client) Ready(ctx context.Context) error {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: "/-/ready"})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Receivers lists who can be told of incidents.
func (c *Client) Receivers(ctx context.Context) ([]Receiver, error) {
	out, err := get[struct {
		Receivers []Receiver `json:"receivers"`
	}](ctx, c, "/api/v1/receivers", nil)
	return out.Receivers, err
}

// TestReceiver tells a receiver that it can be told, and returns how each of its integrations took it.
func (c *Client) TestReceiver(ctx context.Context, name string) ([]TestResult, error) {
	out, err := call[struct {
		Results []TestResult `json:"results"`
	}](ctx, c, request{method: http.MethodPost, path: "/api/v1/receivers/" + url.PathEscape(name) + "/test"})
	return out.Results, err
}

// Notifications lists messages that wait and that were sent last, newest first; of one incident if one is named.
func (c *Client) Notifications(ctx context.Context, incident string, limit int) ([]Notification, error) {
	out, err := get[struct {
		Notifications []Notification `json:"notifications"`
	}](ctx, c, "/api/v1/notifications", url.Values(params{}.text("incident", incident).number("limit", limit)))
	return out.Notifications, err
}

// Silences lists silences, those that end last first.
func (c *Client) Silences(ctx context.Context) ([]Silence, error) {
	out, err := get[struct {
		Silences []Silence `json:"silences"`
	}](ctx, c, "/api/v1/silences", nil)
	return out.Silences, err
}

// PutSilence adds a silence, or replaces the one of its ID.
func (c *Client) PutSilence(ctx context.Context, s Silence) (Silence, error) {
	return call[Silence](ctx, c, request{method: http.MethodPost, path: "/api/v1/silences", body: s})
}

// EndSilence ends a silence now.
func (c *Client) EndSilence(ctx context.Context, id string) error {
	resp, err := c.send(ctx, request{method: http.MethodDelete, path: "/api/v1/silences/" + url.PathEscape(id)})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Backtest replays a rule over what is stored.
func (c *Client) Backtest(ctx context.Context, q BacktestRequest) (Backtest, error) {
	text := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	return call[Backtest](ctx, c, request{method: http.MethodPost, path: "/api/v1/alarms/backtest", body: struct {
		BacktestRequest
		From string `json:"from"`
		To   string `json:"to,omitempty"`
	}{q, text(q.From), text(q.To)}})
}

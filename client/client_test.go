package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/client"
)

// answer is a server that gives every request the same answer and remembers the last request as "METHOD URI BODY".
type answer struct {
	status      int
	contentType string
	body        string
	request     string
	accept      string
}

func (a *answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	a.request = r.Method + " " + r.URL.RequestURI()
	if len(b) > 0 {
		a.request += " " + string(b)
	}
	a.accept = r.Header.Get("Accept")
	if a.contentType == "" {
		a.contentType = "application/json"
	}
	w.Header().Set("Content-Type", a.contentType)
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	io.WriteString(w, a.body)
}

func serve(t *testing.T, a *answer) *client.Client {
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	return client.New(srv.URL + "/")
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name, body, request string
		call                func(context.Context, *client.Client) (any, error)
		want                string // the result as JSON
	}{
		{"incidents", `{"incidents":[]}`, "GET /api/v1/incidents?limit=5&status=open",
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.Incidents(ctx, client.IncidentsQuery{Status: client.IncidentOpen, Limit: 5})
			}, `[]`},
		{"all incidents", `{"incidents":[]}`, "GET /api/v1/incidents",
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.Incidents(ctx, client.IncidentsQuery{})
			}, `[]`},
		{"verdicts", `{"verdicts":[]}`, "GET /api/v1/incidents/INC-1/verdicts",
			func(ctx context.Context, c *client.Client) (any, error) { return c.Verdicts(ctx, "INC-1") }, `[]`},
		{"markdown", `# INC-1`, "GET /api/v1/incidents/INC-1/verdict?lang=ko&revision=2",
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.VerdictMarkdown(ctx, "INC-1", 2, "ko")
			}, `"# INC-1"`},
		{"changes", `{"changes":[]}`, "GET /api/v1/changes?from=2026-03-01T12%3A00%3A00Z&to=2026-03-01T13%3A00%3A00Z",
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.Changes(ctx, noon, noon.Add(time.Hour))
			}, `[]`},
		{"record a change", `{"id":"c1","at":"2026-03-01T12:00:00Z","kind":"flag","source":"api"}`,
			`POST /api/v1/changes {"id":"c1","at":"2026-03-01T12:00:00Z","kind":"flag"}`,
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.RecordChange(ctx, client.Change{ID: "c1", At: noon, Kind: "flag"})
			}, `{"id":"c1","at":"2026-03-01T12:00:00Z","kind":"flag","source":"api"}`},
		{"put a rule", `{"name":"slow cart"}`, `POST /api/v1/alarms {"name":"slow cart"}`,
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.PutRule(ctx, json.RawMessage(`{"name":"slow cart"}`))
			}, `{"name":"slow cart"}`},
		{"delete a rule", ``, "DELETE /api/v1/alarms/slow%20cart%2Fp99",
			func(ctx context.Context, c *client.Client) (any, error) {
				return nil, c.DeleteRule(ctx, "slow cart/p99")
			}, `null`},
		{"history", `{"transitions":[]}`, "GET /api/v1/alarms/history?alarm=a&limit=3",
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.AlarmHistory(ctx, client.HistoryQuery{Alarm: "a", Limit: 3})
			}, `[]`},
		{"logs", `{"logs":[],"more":true,"partial":"a block"}`, "GET /api/v1/logs?limit=2&q=level%3Aerror",
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.Logs(ctx, client.SearchQuery{Q: "level:error", Limit: 2})
			}, `{"logs":[],"more":true,"partial":"a block"}`},
		{"errors", `{"errors":[],"from":"2026-03-01T11:00:00Z","to":"2026-03-01T12:00:00Z","more":true,"partial":""}`,
			"GET /api/v1/errors?limit=2&q=time+out&service=cart&to=2026-03-01T12%3A00%3A00Z&version=2",
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.Exceptions(ctx, client.ExceptionsQuery{Service: "cart", Version: "2", Text: "time out", To: noon, Limit: 2})
			}, `{"errors":[],"from":"2026-03-01T11:00:00Z","to":"2026-03-01T12:00:00Z","more":true,"partial":""}`},
		{"error", `{"error":{"id":"a/b","count":3}}`, "GET /api/v1/errors/a%2Fb?from=2026-03-01T12%3A00%3A00Z",
			func(ctx context.Context, c *client.Client) (any, error) {
				d, err := c.Exception(ctx, "a/b", noon, time.Time{})
				return d.Error.Count, err
			}, `3`},
		{"sql", `{"columns":["n"],"types":["BIGINT"],"rows":[[9007199254740993]],"truncated":false}`,
			`POST /api/v1/sql {"query":"SELECT 1"}`,
			func(ctx context.Context, c *client.Client) (any, error) { return c.SQL(ctx, "SELECT 1") },
			`{"columns":["n"],"types":["BIGINT"],"rows":[[9007199254740993]],"truncated":false}`},
		{"diagnose", `{"id":"V-1","revision":1}`, `POST /api/v1/diagnose {"service":"cart","from":"2026-03-01T12:00:00Z"}`,
			func(ctx context.Context, c *client.Client) (any, error) {
				v, err := c.Diagnose(ctx, client.DiagnoseRequest{Service: "cart", From: noon})
				return v.ID, err
			}, `"V-1"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &answer{body: c.body}
			got, err := c.call(t.Context(), serve(t, a))
			if err != nil {
				t.Fatal(err)
			}
			if a.request != c.request {
				t.Errorf("request\n got %s\nwant %s", a.request, c.request)
			}
			b, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(b)); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer answer
		want   client.Error
		text   string
	}{
		{"problem details",
			answer{status: 404, contentType: "application/problem+json",
				body: `{"type":"about:blank","title":"Not Found","status":404,"detail":"no incident INC-9"}`},
			client.Error{Type: "about:blank", Title: "Not Found", Status: 404, Detail: "no incident INC-9"},
			"no incident INC-9 (Not Found, 404)"},
		{"prometheus", answer{status: 400, body: `{"status":"error","errorType":"bad_data","error":"1:2: parse error"}`},
			client.Error{Title: "bad_data", Status: 400, Detail: "1:2: parse error"}, "1:2: parse error (bad_data, 400)"},
		{"text", answer{status: 503, contentType: "text/plain; charset=utf-8", body: "starting\n"},
			client.Error{Status: 503, Detail: "starting"}, "starting (Service Unavailable, 503)"},
		{"a proxy's page", answer{status: 502, contentType: "text/html", body: "<html>"},
			client.Error{Status: 502}, "Bad Gateway (502)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := serve(t, &c.answer).Query(t.Context(), "up", time.Time{})
			var got *client.Error
			if !errors.As(err, &got) {
				t.Fatalf("error %v is no *client.Error", err)
			}
			if diff := cmp.Diff(c.want, *got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if err.Error() != c.text {
				t.Errorf("text %q, want %q", err, c.text)
			}
			if client.NotFound(err) != (c.want.Status == 404) {
				t.Errorf("NotFound is wrong for %d", c.want.Status)
			}
		})
	}
}

func TestPrometheus(t *testing.T) {
	at := time.UnixMilli(1772366400250).UTC()
	for _, c := range []struct {
		name, data string
		want       client.Result
	}{
		{"vector", `{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1772366400.25,"NaN"]}]}`,
			client.Result{Type: "vector", Series: []client.Series{{
				Labels: map[string]string{"__name__": "up", "job": "a"}, Points: []client.Point{{At: at, Value: math.NaN()}}}}}},
		{"matrix", `{"resultType":"matrix","result":[{"metric":{},"values":[[1772366400.25,"1"],[1772366400.25,"+Inf"]]}]}`,
			client.Result{Type: "matrix", Series: []client.Series{{
				Labels: map[string]string{}, Points: []client.Point{{At: at, Value: 1}, {At: at, Value: math.Inf(1)}}}}}},
		{"scalar", `{"resultType":"scalar","result":[1772366400.25,"4"]}`,
			client.Result{Type: "scalar", Series: []client.Series{{Labels: map[string]string{}, Points: []client.Point{{At: at, Value: 4}}}}}},
		{"string", `{"resultType":"string","result":[1772366400.25,"a"]}`, client.Result{Type: "string", Text: "a"}},
		{"histogram", `{"resultType":"vector","result":[{"metric":{},"histogram":[1772366400.25,{"count":"2","sum":"3.5","buckets":[[0,"1","2","2"]]}]}]}`,
			client.Result{Type: "vector", Series: []client.Series{{Labels: map[string]string{}, Points: []client.Point{{At: at, Value: 3.5,
				Histogram: &client.Histogram{Count: 2, Sum: 3.5, Buckets: []client.Bucket{{Lower: 1, Upper: 2, Count: 2}}}}}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &answer{body: `{"status":"success","data":` + c.data + `}`}
			got, err := serve(t, a).QueryRange(t.Context(), "up", noon, noon.Add(time.Minute), 1500*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			want := "POST /prometheus/api/v1/query_range end=2026-03-01T12%3A01%3A00Z&query=up&start=2026-03-01T12%3A00%3A00Z&step=1.5"
			if a.request != want {
				t.Errorf("request %s, want %s", a.request, want)
			}
			sameNaN := cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })
			if diff := cmp.Diff(c.want, got, sameNaN); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTailLogs(t *testing.T) {
	gone := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		for i := range 3 {
			fmt.Fprintf(w, `{"time":"2026-03-01T12:00:00Z","service":"cart","body":"line %d"}`+"\n\n", i)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	var got []string
	for rec, err := range client.New(srv.URL).TailLogs(t.Context(), "cart") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec.Service()+" "+rec.Body.String())
		if len(got) == 3 {
			break
		}
	}
	if diff := cmp.Diff([]string{"cart line 0", "cart line 1", "cart line 2"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	<-gone // leaving the loop hangs up
}

func TestTailLogsEndsWithAnErrorUnlessAsked(t *testing.T) {
	c := serve(t, &answer{body: `{"time":"2026-03-01T12:00:00Z","service":"cart","body":"a"}`})
	var last error
	n := 0
	for _, err := range c.TailLogs(t.Context(), "") {
		n++
		last = err
	}
	if n != 2 || last == nil {
		t.Errorf("%d yields, the last with error %v; want 2 and an error", n, last)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, err := range c.TailLogs(ctx, "") {
		t.Errorf("yielded %v after the context ended", err)
	}
}

func TestUnreachable(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	if err := client.New(srv.URL).Ready(t.Context()); err == nil {
		t.Error("no error from a server that is gone")
	}
	if got := client.New("example.test:4320/triage/").URL(); got != "http://example.test:4320/triage" {
		t.Errorf("URL %s", got)
	}
}

// FuzzQuery holds that no answer to a query, whatever it holds, makes the client panic, and that points can be written.
func FuzzQuery(f *testing.F) {
	f.Add("vector", `[{"metric":{"a":"b"},"value":[1,"2"]},{"histogram":[1,{"count":"1","sum":"2","buckets":[[0,"1","2","3"]]}]}]`)
	f.Add("matrix", `[{"values":[[1.5,"NaN"]],"histograms":[[1,{}]]}]`)
	f.Add("scalar", `[1,"+Inf"]`)
	f.Add("string", `[1,"text"]`)
	f.Fuzz(func(t *testing.T, kind, data string) {
		body, err := json.Marshal(map[string]any{"data": map[string]any{"resultType": kind, "result": json.RawMessage(data)}})
		if err != nil {
			return // no JSON at all: the decoder of the standard library refuses it before ours
		}
		c := client.New("http://fuzz.test", client.WithHTTPClient(&http.Client{Transport: roundTrip(body)}))
		r, err := c.Query(t.Context(), "x", time.Time{})
		if err != nil {
			return
		}
		if _, err := json.Marshal(r.Series); err != nil {
			t.Fatalf("%s of %s was read and cannot be written: %v", kind, data, err)
		}
	})
}

// roundTrip answers every request with the same body.
type roundTrip []byte

func (b roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, nil
}

func TestSearchWithProgress(t *testing.T) {
	a := &answer{contentType: "application/x-ndjson", body: `{"progress":{"done":10,"total":30}}
{"progress":{"done":20,"total":30}}
{"logs":[],"more":true,"partial":"a block"}
`}
	c := serve(t, a)
	var told []int64
	q := client.SearchQuery{Q: "cart", Progress: func(done, total int64) { told = append(told, done, total) }}
	page, err := c.Logs(t.Context(), q)
	if err != nil || !page.More || page.Partial != "a block" || a.accept != "application/x-ndjson" {
		t.Errorf("%+v, %v; accepted %s", page, err, a.accept)
	}
	if diff := cmp.Diff([]int64{10, 30, 20, 30}, told); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	a.body = `{"progress":{"done":10,"total":30}}
{"error":{"title":"Gateway Timeout","status":504,"detail":"too long"}}
`
	var failed *client.Error
	if _, err = c.Spans(t.Context(), q); !errors.As(err, &failed) || failed.Status != 504 {
		t.Errorf("got %v, want the server's error", err)
	}
	a.body = `{"progress":{"done":10,"total":30}}`
	if _, err = c.Spans(t.Context(), q); err == nil {
		t.Error("an answer without an end is none")
	}
}

package compat_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	promapi "github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	commonconfig "github.com/prometheus/common/config"
	commonmodel "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"

	"triage/internal/compat"
	"triage/internal/ingest"
	"triage/internal/ingest/promwrite"
	"triage/internal/model"
	"triage/internal/store/metrics"
)

// direct stores a batch's series and nothing else.
type direct struct{ *metrics.Store }

func (d direct) Accept(ctx context.Context, b *model.Batch) (ingest.Result, error) {
	rejected, err := d.Append(ctx, b.Tenant, b.Series)
	return ingest.Result{Rejected: rejected}, err
}

// as names a tenant on every request.
type as string

func (tenant as) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(ingest.TenantHeader, string(tenant))
	return http.DefaultTransport.RoundTrip(r)
}

func serve(t *testing.T) (*metrics.Store, string) {
	t.Helper()
	s, err := metrics.Open(metrics.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	h, err := compat.Prometheus(compat.PrometheusOptions{
		Metrics: s, Write: promwrite.New(promwrite.Options{Sink: direct{s}}), Version: "v1.2.3",
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.StripPrefix("/prometheus", h))
	t.Cleanup(func() {
		srv.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, srv.URL + "/prometheus"
}

func client(t *testing.T, url, tenant string) promv1.API {
	t.Helper()
	c, err := promapi.NewClient(promapi.Config{Address: url, RoundTripper: as(tenant)})
	if err != nil {
		t.Fatal(err)
	}
	return promv1.NewAPI(c)
}

// TestClient asks everything that client_golang can ask.
func TestClient(t *testing.T) {
	s, url := serve(t)
	now := time.Now().Truncate(time.Second)
	series := model.Series{
		Labels: labels.FromStrings("__name__", "hits_total", "service_name", "cart"),
		Type:   "counter", Help: "Hits.",
		Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "abc"), Value: 1, Ts: now.UnixMilli(), HasTs: true}},
	}
	for i := range 5 {
		series.Samples = append(series.Samples, model.Sample{T: now.Add(time.Duration(i-4) * time.Minute).UnixMilli(), V: float64(60 * i)})
	}
	if _, err := s.Append(t.Context(), "acme", []model.Series{series}); err != nil {
		t.Fatal(err)
	}
	ctx, api := t.Context(), client(t, url, "acme")
	begin := now.Add(-time.Hour)

	check := func(what string, got any, err error, want any) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if d := cmp.Diff(got, want); d != "" {
			t.Errorf("%s, got - want:\n%s", what, d)
		}
	}
	value, _, err := api.Query(ctx, "rate(hits_total[4m])", now)
	if v, ok := value.(commonmodel.Vector); !ok || err != nil || len(v) != 1 || math.Abs(float64(v[0].Value)-1) > 1e-9 {
		t.Errorf("query: %v, %v", value, err)
	}
	value, _, err = api.QueryRange(ctx, "hits_total", promv1.Range{Start: now.Add(-2 * time.Minute), End: now, Step: time.Minute})
	if m, ok := value.(commonmodel.Matrix); err != nil || !ok || len(m) != 1 || len(m[0].Values) != 3 {
		t.Errorf("query_range: %v, %v", value, err)
	}
	sets, _, err := api.Series(ctx, []string{"hits_total"}, begin, now)
	check("series", sets, err, []commonmodel.LabelSet{{"__name__": "hits_total", "service_name": "cart"}})
	names, _, err := api.LabelNames(ctx, nil, begin, now)
	check("labels", names, err, []string{"__name__", "service_name"})
	values, _, err := api.LabelValues(ctx, "service_name", nil, begin, now)
	check("label values", values, err, commonmodel.LabelValues{"cart"})
	md, err := api.Metadata(ctx, "", "")
	check("metadata", md, err, map[string][]promv1.Metadata{"hits_total": {{Type: "counter", Help: "Hits."}}})
	exemplars, err := api.QueryExemplars(ctx, "rate(hits_total[5m])", begin, now)
	if err != nil || len(exemplars) != 1 || len(exemplars[0].Exemplars) != 1 || exemplars[0].Exemplars[0].Labels["trace_id"] != "abc" {
		t.Errorf("exemplars: %v, %v", exemplars, err)
	}
	rules, err := api.Rules(ctx)
	check("rules", len(rules.Groups), err, 0)
	alerts, err := api.Alerts(ctx)
	check("alerts", len(alerts.Alerts), err, 0)
	targets, err := api.Targets(ctx)
	check("targets", len(targets.Active), err, 0)
	build, err := api.Buildinfo(ctx)
	check("buildinfo", build.Version+" "+build.Revision, err, "3.13.5 v1.2.3")
	if _, err := api.Runtimeinfo(ctx); err != nil {
		t.Errorf("runtimeinfo: %v", err)
	}
	if _, err := api.Config(ctx); err != nil {
		t.Errorf("config: %v", err)
	}

	_, _, err = api.Query(ctx, "sum(", now)
	if bad := (*promv1.Error)(nil); !errors.As(err, &bad) || bad.Type != promv1.ErrBadData {
		t.Errorf("bad PromQL: %v", err)
	}
	// Another tenant sees nothing, and one with an impossible name is told so.
	value, _, err = client(t, url, "other").Query(ctx, "hits_total", now)
	if v, ok := value.(commonmodel.Vector); err != nil || !ok || len(v) != 0 {
		t.Errorf("another tenant's query: %v, %v", value, err)
	}
	if _, _, err := client(t, url, "../x").Query(ctx, "hits_total", now); err == nil {
		t.Error("a tenant named ../x was let in")
	}
}

func TestWriteAndRead(t *testing.T) {
	_, base := serve(t)
	now := time.Now().Truncate(time.Second)
	body, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:  []prompb.Label{{Name: "__name__", Value: "depth"}},
		Samples: []prompb.Sample{{Timestamp: now.UnixMilli(), Value: 5}},
	}}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	conf := func(path string) *remote.ClientConfig {
		u, err := url.Parse(base + path)
		if err != nil {
			t.Fatal(err)
		}
		return &remote.ClientConfig{URL: &commonconfig.URL{URL: u}, Timeout: commonmodel.Duration(10 * time.Second), ChunkedReadLimit: 1 << 20}
	}
	w, err := remote.NewWriteClient("w", conf("/api/v1/write"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Store(t.Context(), snappy.Encode(nil, body), 0); err != nil {
		t.Fatal(err)
	}
	r, err := remote.NewReadClient("r", conf("/api/v1/read"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := r.Read(t.Context(), &prompb.Query{
		StartTimestampMs: now.Add(-time.Minute).UnixMilli(), EndTimestampMs: now.UnixMilli(),
		Matchers: []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_EQ, Name: "__name__", Value: "depth"}},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for set.Next() {
		n++
	}
	if set.Err() != nil || n != 1 {
		t.Errorf("remote read found %d series, %v; want 1", n, set.Err())
	}
}

// TestOthers asks what no client method does: unknown paths, admin paths, other origins.
func TestOthers(t *testing.T) {
	_, base := serve(t)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/api/v1/nothing", 404},
		{"POST", "/api/v1/admin/tsdb/delete_series?match[]=x", 500},
		{"GET", "/api/v1/status/tsdb", 500},
		{"GET", "/api/v1/status/walreplay", 200},
		{"GET", "/api/v1/status/flags", 200},
		{"GET", "/api/v1/metadata?limit=x", 400},
		{"POST", "/api/v1/otlp/v1/metrics", 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "http://elsewhere.example.com")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s %s: status %d (%s), want %d", c.method, c.path, res.StatusCode, strings.TrimSpace(string(text)), c.want)
		}
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: other origins are allowed: %s", c.path, got)
		}
	}
}

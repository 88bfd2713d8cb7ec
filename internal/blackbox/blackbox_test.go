package blackbox_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"triage/internal/alarm"
	"triage/internal/blackbox"
	"triage/internal/model"
	"triage/internal/store/metrics"
	"triage/internal/store/state"
)

func TestMain(m *testing.M) {
	// net/http keeps its idle connections a little longer than the test; the exporter's client cannot be closed.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("internal/poll.runtime_pollWait"))
}

// look runs checks once each and returns the last value of each series, by name and job.
func look(t *testing.T, checks ...blackbox.Check) map[string]float64 {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	got, seen := map[string]float64{}, 0
	p, err := blackbox.New(blackbox.Options{Checks: checks, Append: func(_ context.Context, list []model.Series) error {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range list {
			got[s.Labels.Get("__name__")+" "+s.Labels.Get("job")] = s.Samples[0].V
		}
		if seen++; seen == len(checks) {
			cancel()
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestChecks(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer up.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer secure.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()

	var trusting blackbox.Check
	if err := yaml.Unmarshal([]byte("module: {prober: http, http: {tls_config: {insecure_skip_verify: true}}}"), &trusting); err != nil {
		t.Fatal(err)
	}
	trusting.Name, trusting.Target = "secure", secure.URL
	got := look(t,
		blackbox.Check{Name: "up", Target: up.URL}, blackbox.Check{Name: "down", Target: up.URL + "/down"}, trusting,
		blackbox.Check{Name: "distrusted", Target: secure.URL},
		blackbox.Check{Name: "tcp", Target: up.Listener.Addr().String()}, blackbox.Check{Name: "nobody", Target: nobody})
	for name, want := range map[string]float64{
		"probe_success up": 1, "probe_http_status_code up": 200, "probe_success down": 0, "probe_http_status_code down": 503,
		"probe_success secure": 1, "probe_http_ssl secure": 1, "probe_success distrusted": 0, "probe_success tcp": 1, "probe_success nobody": 0,
		"probe_ssl_earliest_cert_expiry secure": float64(secure.Certificate().NotAfter.Unix()),
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}
	if d := got["probe_duration_seconds up"]; !(d > 0 && d < 10) {
		t.Errorf("it took %v s", d)
	}
}

// A service that stops answering becomes an alarm by the rules that its check brings.
func TestAFailingCheckIsAnAlarm(t *testing.T) {
	m, err := metrics.Open(metrics.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	checks := []blackbox.Check{{Name: "shop", Target: "shop.example:443"}}
	e, err := alarm.New(alarm.Options{Metrics: m, State: s, Automatic: blackbox.Rules(checks), Delay: -1})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-10 * time.Minute).Truncate(time.Minute)
	var got []string
	for i := range 12 {
		at := begin.Add(time.Duration(i) * 30 * time.Second)
		up := 1.0
		if i >= 6 {
			up = 0
		}
		var list []model.Series
		for name, v := range map[string]float64{"probe_success": up, "probe_ssl_earliest_cert_expiry": float64(begin.Add(13 * 24 * time.Hour).Unix())} {
			ls := labels.FromStrings("__name__", name, "job", "shop", "instance", "shop.example:443")
			list = append(list, model.Series{Labels: ls, Samples: []model.Sample{{T: at.UnixMilli(), V: v}}, Type: "gauge"})
		}
		if _, err := m.Append(t.Context(), model.DefaultTenant, list); err != nil {
			t.Fatal(err)
		}
		transitions, err := e.Evaluate(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range transitions {
			got = append(got, at.Sub(begin).String()+" "+tr.Alarm.Rule+" "+string(tr.Alarm.State))
		}
	}
	want := []string{"0s certificate of shop ALARM", "0s check shop OK", "3m30s check shop ALARM"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestBadChecks(t *testing.T) {
	var checks []blackbox.Check
	err := yaml.Unmarshal([]byte(`
- target: http://x
- {name: a, target: "ftp://x"}
- {name: a, target: "x:1", every: 1ms}
- {name: b, target: "http://", labels: {job: x}}
- {name: c, target: "x:1", every: 5s, module: {prober: icmp, timeout: 6s}}
`), &checks)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(`checks[0].name: is missing
checks[1].target: "ftp://x" is not host:port
checks[2].name: "a" is also the name of checks[1]
checks[2].every: 1ms is shorter than 1s
checks[3].target: "http://" is not a URL such as https://shop.example/health
checks[3].labels: "job" cannot be a label of a check
checks[4].module.prober: "icmp" is neither http nor tcp
checks[4].module.timeout: 6s is longer than every (5s)`, "\n")
	got := strings.Split(errors.Join(blackbox.Validate("checks", checks)...).Error(), "\n")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := blackbox.New(blackbox.Options{Checks: checks}); err == nil {
		t.Error("bad checks were taken")
	}
}

package scrape_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"triage/internal/ingest/scrape"
	"triage/internal/model"
	"triage/internal/store/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text, want string // want is a part of the error, "" for none
	}{
		{"empty", "", ""},
		{"all kinds", `
global: {scrape_interval: 5s}
scrape_configs:
- job_name: cart
  static_configs: [{targets: ["127.0.0.1:1"]}]
  file_sd_configs: [{files: [targets.json]}]
  http_sd_configs: [{url: "http://127.0.0.1:1/"}]
  dns_sd_configs: [{names: [_metrics._tcp.example.com]}]
`, ""},
		{"unknown discovery", `
scrape_configs:
- job_name: cart
  static_configs: []
- job_name: billing
  kubernetes_sd_configs: [{role: pod}]
`, "line 6: scrape_configs[1] (billing): kubernetes_sd_configs is not built in; static_configs, file_sd_configs, http_sd_configs, dns_sd_configs are"},
		{"not for here", "rule_files: [x]\nscrape_configs: []\n", "line 1: rule_files is not for here"},
		{"unknown key", "scrape_configs:\n- job_name: cart\n  scrape_intervall: 5s\n", "line 3: field scrape_intervall not found"},
		{"bad value", "scrape_configs:\n- job_name: cart\n  scrape_interval: soon\n", `not a valid duration string: "soon"`},
		{"timeout past interval", "scrape_configs:\n- job_name: cart\n  scrape_interval: 1s\n  scrape_timeout: 2s\n", `scrape timeout greater than scrape interval for scrape config with job name "cart"`},
		{"job twice", "scrape_configs:\n- job_name: cart\n- job_name: cart\n", `multiple scrape configs with job name "cart"`},
		{"no YAML", ":\n\t:", "yaml:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := scrape.Parse([]byte(c.text), t.TempDir())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func target(t *testing.T, body string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, body)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// eventually asks until the answer has n points; scraping runs on the real clock.
func eventually(t *testing.T, s *metrics.Store, expr string, n int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got, err := s.Query(t.Context(), model.DefaultTenant, expr, time.Now())
		if err == nil && len(got) == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v, %v; want %d points", expr, got, err, n)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestScrape(t *testing.T) {
	store, err := metrics.Open(metrics.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	app, err := store.Appendable(model.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := scrape.New(scrape.Options{Appendable: app, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	first := target(t, "# HELP depth How deep.\n# TYPE depth gauge\ndepth 3\n")
	second := target(t, "width 4\n")
	static := "{global: {scrape_interval: 100ms, scrape_timeout: 100ms}, scrape_configs: [{job_name: cart, static_configs: [{targets: [%q]}]}]}"
	// Applied before Run, it waits for it.
	if err := s.Apply(fmt.Appendf(nil, static, first)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	eventually(t, store, `depth{job="cart"} == 3`, 1)
	eventually(t, store, `up{job="cart"} == 1`, 1)
	md, err := store.Metadata(model.DefaultTenant)
	if err != nil || md["depth"] != (metrics.Metadata{Type: "gauge", Help: "How deep."}) {
		t.Errorf("metadata %v, %v", md["depth"], err)
	}
	if pools := s.Scrape().TargetsActive(); len(pools["cart"]) != 1 {
		t.Errorf("targets %v", pools)
	}

	if err := s.Apply([]byte("scrape_configs: [{job_name: cart, ec2_sd_configs: [{}]}]")); err == nil {
		t.Error("an unknown kind of discovery was applied")
	}
	if err := os.WriteFile(filepath.Join(dir, "targets.json"), fmt.Appendf(nil, `[{"targets":[%q]}]`, second), 0o600); err != nil {
		t.Fatal(err)
	}
	byFile := "{global: {scrape_interval: 100ms, scrape_timeout: 100ms}, scrape_configs: [{job_name: billing, file_sd_configs: [{files: [targets.json]}]}]}"
	if err := s.Apply([]byte(byFile)); err != nil {
		t.Fatal(err)
	}
	eventually(t, store, `width{job="billing"} == 4`, 1)

	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// FuzzParse holds that no configuration makes the parser panic, and that what it takes limits what a target may answer.
func FuzzParse(f *testing.F) {
	f.Add([]byte("global: {scrape_interval: 5s}\nscrape_configs: [{job_name: a, static_configs: [{targets: ['127.0.0.1:1']}]}]\n"))
	f.Add([]byte("scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: pod}]}, {job_name: a}]\n"))
	f.Add([]byte("scrape_configs: 7\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("_files")) {
			return // they name files of this machine
		}
		cfg, err := scrape.Parse(text, "")
		if err != nil {
			return
		}
		for _, job := range cfg.ScrapeConfigs {
			if job.BodySizeLimit <= 0 {
				t.Errorf("job %s has no limit", job.JobName)
			}
		}
	})
}

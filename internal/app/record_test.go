package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/record"
)

// TestRecordServer records a server that runs: what came in by its ports is in the recording once, and a server that
// stops says so.
func TestRecordServer(t *testing.T) {
	config := Default()
	config.Data = t.TempDir()
	config.Listen.HTTP, config.Listen.OTLPHTTP, config.Listen.OTLPGRPC = "127.0.0.1:0", "127.0.0.1:0", "off"
	config.HostMetrics.Enabled = false
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, done := make(chan map[string]net.Addr, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Config: config, Version: "test", Logger: testLogger(t), Listening: func(a map[string]net.Addr) { ready <- a }})
	}()
	var addrs map[string]net.Addr
	select {
	case addrs = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	api := "http://" + addrs["http"].String()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api+"/api/v1/record", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != record.MediaType {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	post := func(url, body string) {
		t.Helper()
		r, err := http.Post(url, "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if b, _ := io.ReadAll(r.Body); r.StatusCode/100 != 2 {
			t.Fatalf("%s: %s", r.Status, b)
		}
	}
	now := time.Now()
	traces := fmt.Sprintf(`{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},"scopeSpans":[{"spans":[
		{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"GET /cart","kind":2,"startTimeUnixNano":"%d","endTimeUnixNano":"%d"}]}]}]}`,
		now.UnixNano(), now.Add(time.Millisecond).UnixNano())
	otlp := "http://" + addrs["otlp_http"].String()
	post(otlp+"/v1/traces", traces)
	post(otlp+"/v1/traces", traces) // a retry
	change, err := json.Marshal(model.Change{Kind: "flag", Key: "retries", To: "3"})
	if err != nil {
		t.Fatal(err)
	}
	post(api+"/api/v1/changes", string(change))
	stop()
	dir := filepath.Join(t.TempDir(), "recording")
	if err := save(resp.Body, dir); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	res, err := Replay(t.Context(), ReplayOptions{Path: dir, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if want := (record.Counts{Batches: 2, Spans: 1, Changes: 1}); res.Items != want || res.Header.Version != "test" {
		t.Errorf("recorded %+v of version %q, want %+v", res.Items, res.Header.Version, want)
	}
}

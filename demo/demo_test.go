package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"

	"triage/client"
	"triage/demo/scenario"
	"triage/internal/model"
)

// TestMain lets this binary be a process of the shop, as the real one is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "demo" {
		ctx, cancel := context.WithCancel(context.Background())
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		go func() {
			<-stop
			cancel()
		}()
		cmd := Command()
		cmd.SetArgs(os.Args[2:])
		if err := cmd.ExecuteContext(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestResultJSON(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	four, nine := 4.5, 9.0
	injected := &Injected{scenario.Truth{Class: "self", Entity: "service:x", Mechanism: "slow-code"}, at}
	for _, c := range []struct {
		name string
		in   Result
		want string
	}{
		{"found", Result{Scenario: "s", Injected: injected, DetectedAfterS: &four, VerdictAfterS: &nine, Verdict: json.RawMessage(`{"id":"v"}`), Correct: true},
			`{"scenario":"s","injected":{"class":"self","entity":"service:x","mechanism":"slow-code","at":"2026-03-01T12:00:00Z"},` +
				`"detected_after_s":4.5,"verdict_after_s":9,"verdict":{"id":"v"},"correct":true}`},
		{"not found", Result{Scenario: "s", Injected: injected},
			`{"scenario":"s","injected":{"class":"self","entity":"service:x","mechanism":"slow-code","at":"2026-03-01T12:00:00Z"},` +
				`"detected_after_s":null,"verdict_after_s":null,"verdict":null,"correct":false}`},
		{"quiet", Result{Scenario: "quiet", ForS: 300, Correct: true}, `{"scenario":"quiet","for_s":300,"correct":true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := json.Marshal(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// fakeTriage answers with incidents and the first revisions of their verdicts.
func fakeTriage(t *testing.T, incidents []client.Incident, first map[string]client.Verdict) *client.Client {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/incidents", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"incidents": incidents})
	})
	mux.HandleFunc("GET /api/v1/incidents/{id}/verdict", func(w http.ResponseWriter, r *http.Request) {
		v, ok := first[r.PathValue("id")]
		if !ok || r.URL.Query().Get("revision") != "1" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(v)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return client.New(srv.URL)
}

// TestJudge holds which verdict counts: the first revision of whatever incident, made after the injection.
func TestJudge(t *testing.T) {
	own, err := scenario.Find("own-bug")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Truncate(time.Second)
	truth := own.Truth(1)
	right := &model.Cause{Class: truth.Class, Entity: truth.Entity, Mechanism: truth.Mechanism}
	wrong := &model.Cause{Class: model.ClassChange, Entity: "change:x", Mechanism: model.BadDeployment}
	verdict := func(after time.Duration, revision int, why *model.Cause) client.Verdict {
		return client.Verdict{ID: fmt.Sprint("v", after), At: at.Add(after), Revision: revision, Why: why, Text: map[string]string{"en": "Because."}}
	}
	incident := func(id string, opened time.Duration, newest *client.Verdict) client.Incident {
		return client.Incident{ID: id, OpenedAt: at.Add(opened), Verdict: newest, Title: "trouble"}
	}
	ptr := func(v client.Verdict) *client.Verdict { return &v }
	for _, c := range []struct {
		name      string
		incidents []client.Incident
		first     map[string]client.Verdict
		want      string
		correct   bool
	}{
		{"a later revision doesn't count",
			[]client.Incident{incident("INC-1", 5*time.Second, ptr(verdict(9*time.Second, 2, right)))},
			map[string]client.Verdict{"INC-1": verdict(6*time.Second, 1, wrong)}, "v6s", false},
		{"the earliest of two incidents counts",
			[]client.Incident{incident("INC-2", 8*time.Second, ptr(verdict(9*time.Second, 1, wrong))), incident("INC-1", 5*time.Second, ptr(verdict(6*time.Second, 1, right)))},
			map[string]client.Verdict{"INC-1": verdict(6*time.Second, 1, right), "INC-2": verdict(9*time.Second, 1, wrong)}, "v6s", true},
		{"what was said before doesn't count",
			[]client.Incident{incident("INC-2", 5*time.Second, ptr(verdict(7*time.Second, 1, right))), incident("INC-1", -9*time.Second, ptr(verdict(-5*time.Second, 1, wrong)))},
			map[string]client.Verdict{"INC-1": verdict(-5*time.Second, 1, wrong), "INC-2": verdict(7*time.Second, 1, right)}, "v7s", true},
		{"no cause is no answer",
			[]client.Incident{incident("INC-1", 5*time.Second, ptr(verdict(6*time.Second, 1, nil)))},
			map[string]client.Verdict{"INC-1": verdict(6*time.Second, 1, nil)}, "v6s", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, progress bytes.Buffer
			r := run{Options: Options{JSON: true, Seed: 1}, scenario: own, began: at, out: &out, progress: &progress,
				client: fakeTriage(t, c.incidents, c.first)}
			got, err := r.judge(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			var printed struct {
				Verdict client.Verdict `json:"verdict"`
				Correct bool           `json:"correct"`
			}
			if err := json.Unmarshal(out.Bytes(), &printed); err != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			if got.Correct != c.correct || printed.Correct != c.correct || printed.Verdict.ID != c.want {
				t.Errorf("correct %v, verdict %s; want %v, %s\n%s", got.Correct, printed.Verdict.ID, c.correct, c.want, progress.String())
			}
		})
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	r := run{Options: Options{HTTP: "127.0.0.1:0", OTLPGRPC: l.Addr().String(), OTLPHTTP: "127.0.0.1:0"}}
	err = r.portsAreFree()
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "TRIAGE_LISTEN_OTLP_GRPC") {
		t.Errorf("%v, want the address and the way out", err)
	}
}

func TestStopEndsAProcessThatDoesNotListen(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell on this machine")
	}
	p, err := start("stubborn", t.TempDir(), exec.Command(sh, "-c", "trap '' TERM; while :; do sleep 1; done"), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.stop(syscall.SIGTERM, 50*time.Millisecond)
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		t.Errorf("it ended with %v", p.err)
	}
}

// spanCounter is a collector that counts spans by service and version.
type spanCounter struct {
	ptraceotlp.UnimplementedGRPCServer
	mu    sync.Mutex
	spans map[string]int
}

func (c *spanCounter) Export(_ context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.Traces().ResourceSpans().All() {
		service, _ := rs.Resource().Attributes().Get("service.name")
		version, _ := rs.Resource().Attributes().Get("service.version")
		for _, ss := range rs.ScopeSpans().All() {
			c.spans[service.AsString()+" "+version.AsString()] += ss.Spans().Len()
		}
	}
	return ptraceotlp.NewExportResponse(), nil
}

func (c *spanCounter) seen(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans[key] > 0
}

// TestFleet runs the real processes, replaces one under load, and looks for lost requests and lost processes.
func TestFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("starts nine processes and a database")
	}
	collector := &spanCounter{spans: map[string]int{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(srv, collector)
	go func() { _ = srv.Serve(l) }()
	defer srv.Stop()

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "triage-demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	f, err := newFleet(exe, dir, l.Addr().String(), 1, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer f.stop()
	if err := f.start(t.Context()); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var customers sync.WaitGroup
	var sent, failed atomic.Int64
	for range 8 {
		customers.Go(func() {
			for ctx.Err() == nil {
				body := strings.NewReader(`{"lines":[{"sku":"KIT-1005","qty":1}],"card":"tok"}`)
				res, err := http.Post(f.address()+"/purchases", "application/json", body)
				sent.Add(1)
				if err != nil {
					failed.Add(1)
					continue
				}
				text, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					failed.Add(1)
					t.Logf("%s: %s", res.Status, text)
				}
			}
		})
	}
	waitFor(t, "requests", func() bool { return sent.Load() > 50 })
	old, err := f.member("payment")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.restart(t.Context(), "payment", "9.9.9"); err != nil {
		t.Fatal(err)
	}
	n := sent.Load()
	waitFor(t, "requests after the restart", func() bool { return sent.Load() > n+50 })
	cancel()
	customers.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), sent.Load())
	}
	if old.err != nil {
		t.Errorf("the old version ended with %v: %s", old.err, old.lastLines())
	}
	if err := f.failed(); err != nil {
		t.Error(err)
	}
	waitFor(t, "spans of both versions", func() bool { return collector.seen("payment 9.9.9") && collector.seen("payment 1.0.0") })
	members := f.members
	f.stop()
	for name, m := range members {
		if m.err != nil {
			t.Errorf("%s ended with %v: %s", name, m.err, m.lastLines())
		}
	}
}

// waitFor polls real processes, which have no clock of ours.
func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 20 s", what)
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"triage/client"
)

// The test binary is triage itself when asTriage is set, so that the tests start real processes without a build.
const asTriage = "TRIAGE_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asTriage) != "" || len(os.Args) == 2 && os.Args[1] == "sql-child" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asTriage+"=1")
	return cmd
}

// running is a `triage serve` of its own process.
type running struct {
	*exec.Cmd
	api, otlp string
	grpc      string // host:port
	log       *bytes.Buffer
	logged    sync.WaitGroup
}

var addr = regexp.MustCompile(`\b(http|otlp_http|otlp_grpc)=(127\.0\.0\.1:\d+)`)

func serve(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	s := &running{log: &bytes.Buffer{}}
	s.Cmd = command(context.Background(), append([]string{"serve", "--data", dir, "--listen-http", "127.0.0.1:0",
		"--listen-otlp-http", "127.0.0.1:0", "--listen-otlp-grpc", "127.0.0.1:0"}, args...)...)
	pipe, err := s.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	s.logged.Go(func() {
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			line := lines.Text()
			fmt.Fprintln(s.log, line)
			if strings.Contains(line, "msg=ready") {
				for _, m := range addr.FindAllStringSubmatch(line, -1) {
					switch m[1] {
					case "http":
						s.api = "http://" + m[2]
					case "otlp_http":
						s.otlp = "http://" + m[2]
					default:
						s.grpc = m[2]
					}
				}
				ready <- true
			}
		}
		close(ready)
	})
	t.Cleanup(func() {
		if s.ProcessState == nil {
			s.end(t, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Logf("server's log:\n%s", s.log)
		}
	})
	if !<-ready {
		_ = s.Wait()
		t.Fatalf("did not start:\n%s", s.log)
	}
	return s
}

// end sends a signal and returns the exit status.
func (s *running) end(t *testing.T, sig syscall.Signal) int {
	t.Helper()
	if err := s.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	s.logged.Wait()
	_ = s.Wait() // the status says it
	return s.ProcessState.ExitCode()
}

// post sends one OTLP request and reports whether it was acknowledged.
func (s *running) post(signal string, body []byte) error {
	res, err := http.Post(s.otlp+"/v1/"+signal, "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, text)
	}
	return nil
}

func traceRequest(id pcommon.TraceID, n int) []byte {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "frontend")
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	now := time.Now()
	for i := range n {
		span := spans.AppendEmpty()
		span.SetTraceID(id)
		span.SetSpanID(pcommon.SpanID{1, byte(i)})
		span.SetName("GET /page")
		span.SetKind(ptrace.SpanKindServer)
		span.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Millisecond)))
		span.SetEndTimestamp(pcommon.NewTimestampFromTime(now))
	}
	b, _ := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	return b
}

func logRequest(text string, id pcommon.TraceID) []byte {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "frontend")
	r := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	r.Body().SetStr(text)
	r.SetTraceID(id)
	b, _ := plogotlp.NewExportRequestFromLogs(ld).MarshalProto()
	return b
}

func metricRequest(value float64) []byte {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "frontend")
	m := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("queue.depth")
	p := m.SetEmptyGauge().DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	p.SetDoubleValue(value)
	b, _ := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	return b
}

func newTrace() (id pcommon.TraceID) {
	_, _ = rand.Read(id[:])
	return id
}

// eventually waits for what the server promises within a second, generously for a loaded machine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestServeTakesThreeSignalsAndShowsThem(t *testing.T) {
	s := serve(t, t.TempDir())
	c, ctx := client.New(s.api), t.Context()
	id := newTrace()
	for signal, body := range map[string][]byte{
		"traces": traceRequest(id, 2), "logs": logRequest("cart is empty", id), "metrics": metricRequest(7),
	} {
		if err := s.post(signal, body); err != nil {
			t.Fatalf("%s: %v", signal, err)
		}
	}
	eventually(t, "the trace with its log line", func() bool {
		tr, err := c.Trace(ctx, id.String())
		return err == nil && len(tr.Spans) == 2 && len(tr.Logs) == 1
	})
	eventually(t, "the metric", func() bool {
		v, err := http.Get(s.api + "/prometheus/api/v1/query?query=queue_depth")
		if err != nil {
			return false
		}
		defer func() { _ = v.Body.Close() }()
		b, _ := io.ReadAll(v.Body)
		return strings.Contains(string(b), `"7"`)
	})
	eventually(t, "rows by SQL", func() bool {
		r, err := c.SQL(ctx, "select count(*) from spans where service = 'frontend'")
		return err == nil && len(r.Rows) == 1 && fmt.Sprint(r.Rows[0][0]) == "2"
	})
	for _, path := range []string{"/", "/-/healthy", "/-/ready", "/metrics", "/api/v1/status", "/openapi.json"} {
		res, err := http.Get(s.api + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s", path, res.Status)
		}
	}
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit status after SIGTERM is %d", code)
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir)
	var mu sync.Mutex
	acked := map[pcommon.TraceID]int{}
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for {
				id := newTrace()
				if s.post("traces", traceRequest(id, 20)) != nil {
					return
				}
				if s.post("logs", logRequest("sequence of things", id)) != nil {
					return
				}
				mu.Lock()
				acked[id] = 20
				mu.Unlock()
			}
		})
	}
	eventually(t, "200 acknowledged requests", func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) >= 200 })
	s.end(t, syscall.SIGKILL)
	senders.Wait()

	s = serve(t, dir)
	c := client.New(s.api)
	missing := 0
	for id, n := range acked {
		tr, err := c.Trace(t.Context(), id.String())
		if err != nil || len(tr.Spans) != n || len(tr.Logs) != 1 {
			missing++
			t.Logf("trace %s: %d spans, %d logs, %v", id, len(tr.Spans), len(tr.Logs), err)
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d acknowledged traces are not whole", missing, len(acked))
	}
}

func TestReloadTakesOverRulesAndKeepsTheOldOnesWhenBad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "triage.yml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("alarms: {automatic: false}\n")
	s := serve(t, filepath.Join(dir, "data"), "--config", file)
	c := client.New(s.api)
	rules := func() string {
		a, err := c.Alarms(t.Context(), "")
		if err != nil {
			return err.Error()
		}
		b, _ := json.Marshal(a.Rules)
		return string(b)
	}
	if got := rules(); got != "[]" {
		t.Fatalf("rules at start: %s", got)
	}
	write("alarms: {automatic: false, rules: [{name: deep-queue, expr: queue_depth, compare: {op: '>', threshold: 5}, period: 10s," +
		" evaluation_periods: 3, datapoints_to_alarm: 2}]}\n")
	if err := s.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new rule", func() bool { return strings.Contains(rules(), "deep-queue") })
	write("alarms: {automatic: perhaps}\n")
	if err := s.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal", func() bool {
		res, err := http.Get(s.api + "/metrics")
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(res.Body)
		return strings.Contains(string(b), "triage_config_last_reload_successful 0")
	})
	if got := rules(); !strings.Contains(got, "deep-queue") {
		t.Errorf("rules after a bad reload: %s", got)
	}
}

func TestServeSaysWhatToDoNext(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	bad := filepath.Join(t.TempDir(), "bad.yml")
	if err := os.WriteFile(bad, []byte("colour: blue\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"port in use", []string{"--listen-http", taken.Addr().String()}, 1, "move it with --listen-http HOST:PORT or TRIAGE_LISTEN_HTTP"},
		{"unknown key", []string{"--config", bad}, 2, "colour: unknown key (line 1)"},
		{"beyond loopback", []string{"--listen-http", "0.0.0.0:0"}, 2, "set listen.allow_unauthenticated_remote"},
		{"unknown flag", []string{"--colour"}, 2, "unknown flag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"serve", "--data", t.TempDir(), "--listen-otlp-grpc", "off", "--listen-otlp-http", "off"}, c.args...)
			cmd := command(t.Context(), args...)
			out, _ := cmd.CombinedOutput() // the status says it
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit status %d, want %d", got, c.code)
			}
			if !strings.Contains(string(out), c.says) {
				t.Errorf("says %q, want %q in it", out, c.says)
			}
		})
	}
}

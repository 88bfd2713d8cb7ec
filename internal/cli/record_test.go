package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/record"
)

// recordFrom runs triage record against a server that offers three batches, and then does as end says.
func recordFrom(t *testing.T, end func(tap *record.Tap, interrupt func()), more ...string) (dir string, errText string, err error) {
	t.Helper()
	tap := record.NewTap(record.TapOptions{Host: "host-a"})
	ctx, interrupt := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sub, err := tap.Subscribe("")
		if err != nil {
			t.Error(err)
			return
		}
		for i := range 3 {
			tap.Offer(&model.Batch{Source: "otlp", Tenant: model.DefaultTenant, Logs: []model.LogRecord{
				{Time: int64(i), Body: model.String("a line"), Resource: &model.Resource{Service: "cart"}}}})
		}
		end(tap, interrupt)
		_ = sub.Run(r.Context(), w, http.NewResponseController(w).Flush)
	}))
	defer srv.Close()
	defer tap.Close()
	dir = filepath.Join(t.TempDir(), "recording")
	root := Root("test")
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append([]string{"record", "--to", dir, "--server", srv.URL}, more...))
	err = root.ExecuteContext(ctx)
	return dir, errs.String() + out.String(), err
}

func lines(t *testing.T, dir string) (n int64) {
	t.Helper()
	r, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for f, err := range r.Frames(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n += f.Counts.Logs
	}
	if d := r.Damage(); len(d) > 0 {
		t.Errorf("damage %v", d)
	}
	return n
}

func TestRecord(t *testing.T) {
	t.Run("for a while", func(t *testing.T) {
		dir, said, err := recordFrom(t, func(*record.Tap, func()) {}, "--for", "200ms")
		if err != nil || lines(t, dir) != 3 || !strings.Contains(said, "0 spans, 3 logs, 0 samples, 0 changes") {
			t.Errorf("%v, %d lines, said %q", err, lines(t, dir), said)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		_, _, err := recordFrom(t, func(_ *record.Tap, interrupt func()) { time.AfterFunc(50*time.Millisecond, interrupt) })
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("server stops", func(t *testing.T) {
		dir, said, err := recordFrom(t, func(tap *record.Tap, _ func()) { tap.Close() }, "--json")
		if ExitCode(err) != exitFailure || !strings.Contains(err.Error(), record.ReasonStopped) {
			t.Errorf("%v, want a failure that says that the server stopped", err)
		}
		if lines(t, dir) != 3 || !strings.Contains(said, `"logs": 3`) {
			t.Errorf("%d lines are kept, want 3; said %q", lines(t, dir), said)
		}
	})
	t.Run("wrong use", func(t *testing.T) {
		for _, args := range [][]string{{"record"}, {"record", "--to", filepath.Dir(t.TempDir())}, {"record", "--to", t.TempDir(), "--for", "-1s"}} {
			root := Root("test")
			root.SetArgs(args)
			if err := root.ExecuteContext(t.Context()); ExitCode(err) != exitUsage {
				t.Errorf("%v: %v, want a mistake in usage", args, err)
			}
		}
	})
	t.Run("no server", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "recording")
		root := Root("test")
		root.SetArgs([]string{"record", "--to", dir, "--server", "http://127.0.0.1:1"})
		if err := root.ExecuteContext(t.Context()); ExitCode(err) != exitUnreachable {
			t.Errorf("%v, want that nobody is there", err)
		}
		if found, _ := filepath.Glob(dir); len(found) > 0 {
			t.Error("an empty directory is left")
		}
	})
}

package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"triage/internal/app"
)

func load(t *testing.T, env map[string]string, args ...string) (app.Config, error) {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	app.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return app.Load(fs, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
}

func TestFlagsWinOverEnvironmentOverFileOverDefaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "triage.yml")
	text := "data: from-file\nlisten: {http: 127.0.0.1:1, otlp_grpc: 127.0.0.1:2}\nretention: {events: {age: 3d}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"TRIAGE_CONFIG": file, "TRIAGE_LISTEN_HTTP": "127.0.0.1:3", "TRIAGE_LISTEN_OTLP_GRPC": "127.0.0.1:4"}
	c, err := load(t, env, "--listen-otlp-grpc", "off", "--host-metrics-enabled=false")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Data, c.Listen.HTTP, c.Listen.OTLPGRPC, c.Listen.OTLPHTTP, time.Duration(c.Retention.Events.Age), c.HostMetrics.Enabled}
	want := []any{"from-file", "127.0.0.1:3", "off", "127.0.0.1:4318", 72 * time.Hour, false}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}

// Each file's first lines, as comments, are the messages it must give: all of them, at once.
func TestBadConfigurationNamesEveryPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				comment, ok := strings.CutPrefix(line, "# ")
				if !ok {
					break
				}
				want = append(want, strings.TrimSpace(comment))
			}
			_, err = load(t, nil, "--config", file)
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(strings.Split(err.Error(), "\n"), want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
}

func TestBadEnvironmentAndFlagsAreNamed(t *testing.T) {
	_, err := load(t, map[string]string{"TRIAGE_INGEST_MAX_BODY": "lots"})
	if err == nil || !strings.HasPrefix(err.Error(), "TRIAGE_INGEST_MAX_BODY: \"lots\" is not a size") {
		t.Errorf("got %v", err)
	}
}

func TestSizesReadWhatTheyWrite(t *testing.T) {
	for _, text := range []string{"0", "7B", "20MiB", "20GB", "1KiB", "1536B", "3TiB"} {
		var s, again app.Size
		if err := s.Set(text); err != nil {
			t.Fatal(err)
		}
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%s is written as %s and read as %d, want %d (%v)", text, s, again, s, err)
		}
	}
}

// FuzzConfigFile holds that no file makes Load panic, and that what it takes is within the bounds that the rest relies on.
func FuzzConfigFile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("scrape_configs: [{job_name: a, static_configs: [{targets: ['127.0.0.1:1']}]}]\nalarms: {rules: [{name: a, expr: up}]}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	file := filepath.Join(f.TempDir(), "triage.yml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := load(t, nil, "--config", file)
		if err != nil {
			return
		}
		if c.Ingest.MaxBody < 1<<10 || c.Ingest.MaxInFlight < c.Ingest.MaxBody || c.Retention.Events.Age <= 0 || c.Retention.Metrics.Size <= 0 {
			t.Errorf("accepted: %+v", c)
		}
	})
}

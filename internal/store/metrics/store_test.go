package metrics_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"triage/internal/model"
	"triage/internal/store"
	"triage/internal/store/metrics"
	"triage/internal/store/storetest"
)

// childDir makes the test binary a writer that its parent kills.
const childDir = "TRIAGE_TEST_METRICS_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		writeUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, o metrics.Options) *metrics.Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := metrics.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	storetest.Metrics(t, func(t *testing.T) store.Metrics { return open(t, metrics.Options{}) })
}

// TestContractOutOfOrder runs it with the window that imports need, which takes another way through the TSDB.
func TestContractOutOfOrder(t *testing.T) {
	storetest.Metrics(t, func(t *testing.T) store.Metrics {
		return open(t, metrics.Options{OutOfOrder: 15 * 24 * time.Hour})
	})
}

func gauge(name string, at time.Time, v float64, kv ...string) model.Series {
	return model.Series{
		Labels:  labels.FromStrings(append([]string{"__name__", name}, kv...)...),
		Samples: []model.Sample{{T: at.UnixMilli(), V: v}},
	}
}

func mustAppend(t testing.TB, s *metrics.Store, series ...model.Series) {
	t.Helper()
	if rejected, err := s.Append(t.Context(), model.DefaultTenant, series); err != nil || rejected.Total() > 0 {
		t.Fatalf("Append: rejected %v, error %v", rejected, err)
	}
}

func TestReasons(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for _, c := range []struct {
		name   string
		window time.Duration
		series model.Series
		want   string // "" for accepted
	}{
		{"older than the window", 10 * time.Minute, gauge("m", now.Add(-11*time.Minute), 1), metrics.TooOld},
		{"within the window", 10 * time.Minute, gauge("m", now.Add(-9*time.Minute), 1), ""},
		{"no window, same series", 0, gauge("m", now.Add(-time.Minute), 1), metrics.OutOfOrder},
		{"no window, another series", 0, gauge("other", now.Add(-time.Minute), 1), ""},
		{"no window, long ago", 0, gauge("other", now.Add(-3*time.Hour), 1), metrics.TooOld},
		{"same time and value", 0, gauge("m", now, 1), ""},
		{"same time, other value", 0, gauge("m", now, 2), metrics.Duplicate},
		{"in the future", 0, gauge("m", now.Add(11*time.Minute), 1), metrics.InFuture},
		{"a little in the future", 0, gauge("m", now.Add(9*time.Minute), 1), ""},
		{"label twice", 0, model.Series{Labels: labels.FromStrings("__name__", "m", "a", "1", "a", "2"), Samples: []model.Sample{{T: now.UnixMilli(), V: 1}}}, metrics.InvalidLabels},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			s := open(t, metrics.Options{OutOfOrder: c.window, Registerer: reg})
			mustAppend(t, s, gauge("m", now, 1))
			rejected, err := s.Append(t.Context(), model.DefaultTenant, []model.Series{c.series})
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && rejected.Total() > 0 || c.want != "" && (rejected[c.want] != 1 || rejected.Total() != 1) {
				t.Errorf("rejected %v, want %q", rejected, c.want)
			}
			if c.want != "" {
				want := fmt.Sprintf("# HELP triage_metrics_rejected_samples_total Samples and histograms not stored, by reason.\n"+
					"# TYPE triage_metrics_rejected_samples_total counter\ntriage_metrics_rejected_samples_total{reason=%q} 1\n", c.want)
				if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "triage_metrics_rejected_samples_total"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestLimits(t *testing.T) {
	s := open(t, metrics.Options{MaxSeries: 2, MaxTenants: 2, MaxSamples: 3})
	now := time.Now()
	mustAppend(t, s, gauge("a", now, 1), gauge("b", now, 1))
	if bytes, series := s.Size(); bytes <= 0 || series != 2 {
		t.Errorf("%d bytes, %d series, want 2", bytes, series)
	}
	rejected, err := s.Append(t.Context(), model.DefaultTenant, []model.Series{gauge("c", now, 1), gauge("a", now.Add(time.Second), 1)})
	if err != nil || rejected.Reasons()[metrics.SeriesLimit] != 1 || rejected.Total() != 1 {
		t.Errorf("third series: rejected %v, error %v", rejected, err)
	}
	if _, err := s.Append(t.Context(), "second", []model.Series{gauge("a", now, 1)}); err != nil {
		t.Errorf("second tenant: %v", err)
	}
	if _, err := s.Append(t.Context(), "third", []model.Series{gauge("a", now, 1)}); !errors.Is(err, store.ErrFull) {
		t.Errorf("third tenant: %v, want ErrFull", err)
	}
	for i := range 3 {
		mustAppend(t, s, gauge("a", now.Add(time.Duration(2+i)*time.Second), 1))
	}
	_, err = s.Query(t.Context(), model.DefaultTenant, `sum_over_time(a[5m])`, now.Add(5*time.Second))
	if !errors.Is(err, store.ErrOverloaded) {
		t.Errorf("query of more samples than allowed: %v, want ErrOverloaded", err)
	}
}

// One metric with too many values of a label is named, and does not take the room of others.
func TestSeriesLimitNamesTheMetric(t *testing.T) {
	reg := prometheus.NewRegistry()
	dir := t.TempDir()
	s := open(t, metrics.Options{Dir: dir, MaxSeriesByMetric: 3, Registerer: reg})
	now := time.Now()
	many := func(at time.Time) []model.Series {
		series := []model.Series{gauge("good", at, 1)}
		for i := range 5 {
			series = append(series, model.Series{
				Labels:  labels.FromStrings("__name__", "hits", "user", fmt.Sprint(i)),
				Samples: []model.Sample{{T: at.UnixMilli(), V: 1}},
			})
		}
		return series
	}
	want := store.Rejected{"series_limit: metric hits has 3 series, at most 3": 2}
	for i := range 2 {
		got, err := s.Append(t.Context(), model.DefaultTenant, many(now.Add(time.Duration(i)*time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("rejected (-got +want)\n%s", diff)
		}
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP triage_metrics_series_limited_total Times that a series was not made because of a limit, by the metric with too many.
# TYPE triage_metrics_series_limited_total counter
triage_metrics_series_limited_total{metric="hits",tenant="default"} 4
`), "triage_metrics_series_limited_total"); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What was accepted under a higher limit is read again, and counts.
	s = open(t, metrics.Options{Dir: dir, MaxSeriesByMetric: 1})
	got, err := s.Append(t.Context(), model.DefaultTenant, many(now.Add(5*time.Second)))
	if want := (store.Rejected{"series_limit: metric hits has 1 series, at most 1": 2}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("after a restart: rejected %v, error %v, want %v", got, err, want)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	s := open(t, metrics.Options{Dir: dir})
	g := gauge("m", now, 7)
	g.Type, g.Unit, g.Help = "gauge", "seconds", "What it is."
	mustAppend(t, s, g)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), model.DefaultTenant, []model.Series{g}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Append after Close: %v, want ErrClosed", err)
	}
	s = open(t, metrics.Options{Dir: dir})
	if got := s.Tenants(); len(got) != 1 || got[0] != model.DefaultTenant {
		t.Errorf("tenants %v", got)
	}
	if got, err := s.Query(t.Context(), model.DefaultTenant, "m", now); err != nil || len(got) != 1 || got[0].Value != 7 {
		t.Errorf("after reopening: %v, %v", got, err)
	}
	md, err := s.Metadata(model.DefaultTenant)
	if err != nil || md["m"] != (metrics.Metadata{Type: "gauge", Unit: "seconds", Help: "What it is."}) {
		t.Errorf("metadata %v, %v", md, err)
	}
}

// TestQueryMakesNoTenant holds that asking for a tenant leaves nothing on disk.
func TestQueryMakesNoTenant(t *testing.T) {
	dir := t.TempDir()
	s := open(t, metrics.Options{Dir: dir})
	if got, err := s.Query(t.Context(), "nobody", "m", time.Now()); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "nobody")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the tenant's directory: %v, want none", err)
	}
}

// TestSync holds that Run syncs each second, and only after a write.
func TestSync(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		s, err := metrics.Open(metrics.Options{Dir: dir, Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { _ = s.Run(ctx); close(done) }()

		want := func(n float64) {
			t.Helper()
			synctest.Wait()
			got := counter(t, reg, "triage_metrics_wal_syncs_total")
			if got != n {
				t.Errorf("%g syncs, want %g", got, n)
			}
		}
		time.Sleep(10 * time.Second)
		want(0)
		mustAppend(t, s, gauge("m", time.Now(), 1))
		want(0)
		time.Sleep(time.Second + time.Millisecond)
		want(1)
		time.Sleep(10 * time.Second)
		want(1)
		mustAppend(t, s, gauge("m", time.Now(), 2))
		stop()
		<-done
		want(2)
	})
}

func counter(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// writeUntilKilled appends one sample at a time and says so after each.
func writeUntilKilled(dir string) {
	s, err := metrics.Open(metrics.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	for i := 1; ; i++ {
		at := time.Date(2024, 3, 1, 12, 0, i, 0, time.UTC)
		if _, err := s.Append(context.Background(), model.DefaultTenant, []model.Series{gauge("m", at, float64(i))}); err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

// TestKill holds that whatever Append acknowledged outlives the process.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last, _ = strconv.Atoi(lines.Text())
		if last == 1000 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if last < 1000 {
		t.Fatalf("the child wrote %d samples", last)
	}
	s := open(t, metrics.Options{Dir: dir})
	end := time.Date(2024, 3, 1, 12, 0, last, 0, time.UTC)
	got, err := s.Query(t.Context(), model.DefaultTenant, fmt.Sprintf("count_over_time(m[%ds])", last+10), end)
	if err != nil || len(got) != 1 || got[0].Value != float64(last) {
		t.Errorf("found %v (%v) of %d samples acknowledged before the kill", got, err, last)
	}
}

// TestRetention holds that time counts back from the newest data: samples of a past year are not old.
func TestRetention(t *testing.T) {
	s := open(t, metrics.Options{Retention: 4 * time.Hour})
	begin := time.Date(2019, 5, 1, 0, 0, 0, 0, time.UTC)
	for h := range 16 {
		var batch []model.Series
		for m := 0; m < 60; m += 5 {
			batch = append(batch, gauge("m", begin.Add(time.Duration(h)*time.Hour+time.Duration(m)*time.Minute), 1))
		}
		mustAppend(t, s, batch...)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	end := begin.Add(16 * time.Hour)
	got, err := s.Query(t.Context(), model.DefaultTenant, "count_over_time(m[1d])", end)
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	if n := got[0].Value; n < 4*12 || n >= 14*12 {
		t.Errorf("%g samples are left of 16 hours, want at least the last 4 hours' 48 and not the first hours'", n)
	}
}

func TestCreated(t *testing.T) {
	s := open(t, metrics.Options{})
	now := time.Now().Truncate(time.Second)
	c := gauge("hits_total", now, 60)
	c.Created = now.Add(-time.Minute).UnixMilli()
	mustAppend(t, s, c)
	got, err := s.Query(t.Context(), model.DefaultTenant, "increase(hits_total[1m1s])", now)
	if err != nil || len(got) != 1 || math.Abs(got[0].Value-61) > 1 {
		t.Errorf("increase since creation: %v, %v; want about 60", got, err)
	}
}

// TestStart holds the promise that an empty store opens at once.
func TestStart(t *testing.T) {
	began := time.Now()
	s := open(t, metrics.Options{})
	mustAppend(t, s, gauge("m", time.Now(), 1))
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("opening an empty store and writing to it took %s", took)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, series := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("series=%d", series), func(b *testing.B) {
			s := open(b, metrics.Options{})
			batch := make([]model.Series, series)
			for i := range batch {
				batch[i] = gauge("http_requests_total", time.Now(), 0,
					"service_name", "cart", "method", "GET", "route", "/items/"+strconv.Itoa(i), "instance", "a")
			}
			at := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli()
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				for i := range batch {
					batch[i].Samples[0] = model.Sample{T: at + int64(n)*100, V: float64(n)}
				}
				if _, err := s.Append(context.Background(), model.DefaultTenant, batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*series)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

package hostmetrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	promname "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"go.uber.org/goleak"

	"triage/internal/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree writes files below a new directory.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// stat is a line of /proc/PID/stat.
func stat(pid int, name string, user, system, pages int) string {
	return fmt.Sprintf("%d (%s) S 1 1 1 0 -1 4194304 7 0 3 0 %d %d 0 0 20 0 4 0 5000 1000000 %d 0 0 0 0 0 0\n", pid, name, user, system, pages)
}

// text is the series whose names begin with one of the prefixes, as "name{labels} value", sorted.
func text(series []model.Series, prefixes ...string) (out []string) {
	for _, s := range series {
		name := s.Labels.Get(promname.MetricNameLabel)
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			ls := labels.NewBuilder(s.Labels).Del(promname.MetricNameLabel, "host_name").Labels()
			v := strconv.FormatFloat(s.Samples[0].V, 'g', -1, 64)
			if value.IsStaleNaN(s.Samples[0].V) {
				v = "stale"
			}
			out = append(out, name+ls.String()+" "+v)
		}
	}
	slices.Sort(out)
	return out
}

const container = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestProcesses(t *testing.T) {
	files := map[string]string{
		"stat":      "cpu  100 0 50 800 10 5 5 0 0 0\nbtime 1700000000\nctxt 99\nprocesses 77\n",
		"42/stat":   stat(42, "a (b) c", 250, 50, 100),
		"42/status": "Name:\ta\nVmSwap:\t 4 kB\nvoluntary_ctxt_switches:\t11\nnonvoluntary_ctxt_switches:\t12\n",
		"42/cgroup": "0::/system.slice/docker-" + container + ".scope\n",
		"42/limits": "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 4096                 files\n",
		"42/io":     "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\n",
		"42/fd/0":   "", "42/fd/1": "",
		"2/stat":  "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 9 0 0 20 0 1 0 1 0 0 18446744073709551615 0 0 0\n",
		"43/stat": stat(43, "idle", 1, 1, 1),
		"44/stat": stat(44, "big", 1, 1, 5000),
		"45/stat": stat(45, "small", 1, 1, 2),
		"46/stat": "garbage",
	}
	c := New(Options{
		Proc: tree(t, files), Sys: tree(t, map[string]string{"fs/cgroup/cgroup.controllers": "cpu"}), Host: "h", Top: 2,
		Services: func() map[int]string { return map[int]string{42: "cart", 4711: "gone"} },
	})
	now := time.Unix(1700000100, 0)
	first := c.Collect(t.Context(), now)
	page := float64(os.Getpagesize())
	who := `{container_id="` + container + `", %sprocess_executable_name="a (b) c", process_pid="42", %sservice_name="cart"%s} %v`
	line := func(name, before, middle, after string, v any) string {
		return name + fmt.Sprintf(who, before, middle, after, v)
	}
	want := []string{
		line("process_context_switches_total", "", `process_context_switch_type="voluntary", `, "", 11),
		line("process_context_switches_total", "", `process_context_switch_type="involuntary", `, "", 12),
		line("process_cpu_time_seconds_total", `cpu_mode="user", `, "", "", 2.5),
		line("process_cpu_time_seconds_total", `cpu_mode="system", `, "", "", 0.5),
		line("process_disk_io_bytes_total", `disk_io_direction="read", `, "", "", 4096),
		line("process_disk_io_bytes_total", `disk_io_direction="write", `, "", "", 8192),
		line("process_memory_swap_bytes", "", "", "", 4096),
		line("process_memory_usage_bytes", "", "", "", 100*page),
		line("process_memory_virtual_bytes", "", "", "", "1e+06"),
		line("process_open_file_descriptor_count", "", "", "", 2),
		line("process_open_file_descriptor_limit", "", "", "", 1024),
		line("process_paging_faults_total", "", "", `, system_paging_fault_type="major"`, 3),
		line("process_paging_faults_total", "", "", `, system_paging_fault_type="minor"`, 7),
		line("process_thread_count", "", "", "", 4),
		line("process_uptime_seconds", "", "", "", 50),
	}
	// The label process_context_switch_type sorts before process_executable_name.
	for i := range want {
		for _, typ := range []string{"voluntary", "involuntary"} {
			l := `process_context_switch_type="` + typ + `", `
			if strings.Contains(want[i], l) {
				want[i] = strings.Replace(strings.Replace(want[i], l, "", 1), "process_executable_name", l+"process_executable_name", 1)
			}
		}
	}
	slices.Sort(want)
	of := func(series []model.Series, pid string) (out []model.Series) {
		for _, s := range series {
			if s.Labels.Get("process_pid") == pid {
				out = append(out, s)
			}
		}
		return out
	}
	if d := cmp.Diff(text(of(first, "42"), "process_"), want); d != "" {
		t.Errorf("the service's process, got - want:\n%s", d)
	}
	if d := cmp.Diff(text(first, "system_process_count", "system_processes_created"), []string{
		`system_process_count{process_status="sleeping"} 5`, `system_processes_created_total{} 77`,
	}); d != "" {
		t.Errorf("counts, got - want:\n%s", d)
	}
	for _, s := range of(first, "42") {
		if s.Type == "counter" && s.Created != 1700000050_000 {
			t.Errorf("%s created at %d", s.Labels, s.Created)
		}
	}
	chosen := func(series []model.Series) (pids []string) {
		for _, s := range series {
			if s.Labels.Get(promname.MetricNameLabel) == "process_thread_count" && !value.IsStaleNaN(s.Samples[0].V) {
				pids = append(pids, s.Labels.Get("process_pid"))
			}
		}
		return pids
	}
	// At first nobody's recent CPU time is known, and the lowest number wins.
	if d := cmp.Diff(chosen(first), []string{"42", "43", "44"}); d != "" {
		t.Errorf("chosen first, got - want:\n%s", d)
	}

	if err := os.WriteFile(filepath.Join(c.opts.Proc, "45", "stat"), []byte(stat(45, "small", 100, 1, 2)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(c.opts.Proc, "42")); err != nil {
		t.Fatal(err)
	}
	second := c.Collect(t.Context(), now.Add(10*time.Second))
	if d := cmp.Diff(chosen(second), []string{"44", "45"}); d != "" {
		t.Errorf("chosen second, got - want:\n%s", d)
	}
	if got := text(of(second, "42"), "process_thread_count"); len(got) != 1 || !strings.HasSuffix(got[0], " stale") {
		t.Errorf("the process that ended: %v, want it stale", got)
	}
	third := c.Collect(t.Context(), now.Add(20*time.Second))
	if got := text(of(third, "42"), "process_"); len(got) != 0 {
		t.Errorf("the process that ended long ago: %v", got)
	}
}

func TestGroups(t *testing.T) {
	for _, c := range []struct {
		name  string
		group string // /proc/42/cgroup
		sys   map[string]string
		want  []string
	}{
		{"version 2", "0::/kubepods/pod1/" + container + "\n", map[string]string{
			"cgroup.controllers": "cpu memory",
			"G/memory.current":   "1000\n", "G/memory.max": "4000\n", "G/memory.stat": "anon 1\ninactive_file 300\n",
			"G/memory.events": "low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\n",
			"G/cpu.stat":      "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 500000\n",
			"G/cpu.max":       "150000 100000\n", "G/pids.current": "7\n", "G/pids.max": "max\n",
			"G/io.stat":      "8:0 rbytes=100 wbytes=200 rios=1\n8:16 rbytes=1 wbytes=2\n",
			"G/cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n",
		}, []string{
			`container_cpu_limit{C} 1.5`,
			`container_cpu_throttled_periods_total{C} 4`, `container_cpu_throttled_time_seconds_total{C} 0.5`,
			`container_cpu_periods_total{C} 10`,
			`container_cpu_time_seconds_total{C, cpu_mode="system"} 1`, `container_cpu_time_seconds_total{C, cpu_mode="user"} 2`,
			`container_disk_io_bytes_total{C, disk_io_direction="read"} 101`, `container_disk_io_bytes_total{C, disk_io_direction="write"} 202`,
			`container_linux_pressure_stall_time_seconds_total{C, kind="some", resource="cpu"} 2.5`,
			`container_memory_limit_bytes{C} 4000`, `container_memory_limit_hits_total{C} 5`, `container_memory_oom_kills_total{C} 1`,
			`container_memory_usage_bytes{C} 1000`, `container_memory_working_set_bytes{C} 700`,
			`container_process_count{C} 7`,
		}},
		{"version 2, within a container", "0::/\n", map[string]string{
			"cgroup.controllers": "memory", "memory.current": "1000\n", "memory.max": "max\n",
		}, []string{`container_memory_usage_bytes{cgroup_path="/", service_name="cart"} 1000`}},
		{"version 2, the machine's root", "0::/\n", map[string]string{"cgroup.controllers": "memory", "cpu.stat": "user_usec 1\n"}, nil},
		{"version 1", "4:memory:/docker/" + container + "\n3:cpu,cpuacct:/docker/" + container + "\n1:name=systemd:/x\n0::/\n", map[string]string{
			"memory/docker/G/memory.usage_in_bytes": "1000\n", "memory/docker/G/memory.limit_in_bytes": "9223372036854771712\n",
			"memory/docker/G/memory.stat": "total_inactive_file 300\n", "memory/docker/G/memory.failcnt": "2\n",
			"memory/docker/G/memory.oom_control":  "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
			"cpuacct/docker/G/cpuacct.usage_user": "2000000000\n", "cpu/docker/G/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 500000000\n",
			"cpu/docker/G/cpu.cfs_quota_us": "50000\n", "cpu/docker/G/cpu.cfs_period_us": "100000\n",
		}, []string{
			`container_cpu_limit{C} 0.5`,
			`container_cpu_throttled_periods_total{C} 4`, `container_cpu_throttled_time_seconds_total{C} 0.5`,
			`container_cpu_periods_total{C} 10`, `container_cpu_time_seconds_total{C, cpu_mode="user"} 2`,
			`container_memory_limit_hits_total{C} 2`, `container_memory_oom_kills_total{C} 3`,
			`container_memory_usage_bytes{C} 1000`, `container_memory_working_set_bytes{C} 700`,
		}},
		{"version 1, the machine's root", "4:memory:/\n0::/\n", map[string]string{"memory/memory.usage_in_bytes": "1"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := map[string]string{}
			for name, text := range c.sys {
				dir := container
				if _, ok := c.sys["cgroup.controllers"]; ok {
					dir = "kubepods/pod1/" + container
				}
				sys["fs/cgroup/"+strings.Replace(name, "G/", dir+"/", 1)] = text
			}
			col := New(Options{
				Proc: tree(t, map[string]string{"42/stat": stat(42, "x", 1, 1, 1), "42/cgroup": c.group}), Sys: tree(t, sys), Host: "h",
				Services: func() map[int]string { return map[int]string{42: "cart"} },
			})
			var want []string
			for _, w := range c.want {
				w = strings.Replace(w, "{C}", `{container_id="`+container+`", service_name="cart"}`, 1)
				if rest, ok := strings.CutPrefix(w[strings.IndexByte(w, '{'):], "{C, "); ok {
					end := strings.IndexByte(rest, '}')
					ls := []string{`container_id="` + container + `"`, rest[:end], `service_name="cart"`}
					w = w[:strings.IndexByte(w, '{')] + "{" + strings.Join(ls, ", ") + rest[end:]
				}
				want = append(want, w)
			}
			slices.Sort(want)
			if d := cmp.Diff(text(col.Collect(t.Context(), time.Unix(1700000000, 0)), "container_"), want); d != "" {
				t.Errorf("got - want:\n%s", d)
			}
		})
	}
}

// TestShared holds that a group of two services is given to neither.
func TestShared(t *testing.T) {
	col := New(Options{
		Proc: tree(t, map[string]string{
			"42/stat": stat(42, "x", 1, 1, 1), "42/cgroup": "0::/user.slice\n",
			"43/stat": stat(43, "y", 1, 1, 1), "43/cgroup": "0::/user.slice\n",
		}),
		Sys:  tree(t, map[string]string{"fs/cgroup/cgroup.controllers": "", "fs/cgroup/user.slice/memory.current": "5"}),
		Host: "h", Services: func() map[int]string { return map[int]string{42: "cart", 43: "billing"} },
	})
	got := text(col.Collect(t.Context(), time.Unix(1700000000, 0)), "container_")
	if d := cmp.Diff(got, []string{`container_memory_usage_bytes{cgroup_path="/user.slice"} 5`}); d != "" {
		t.Errorf("got - want:\n%s", d)
	}
}

// TestHere measures the machine that the test runs on: whatever it is, the values must make sense.
func TestHere(t *testing.T) {
	c := New(Options{Services: func() map[int]string { return map[int]string{os.Getpid(): "cart"} }})
	c.Collect(t.Context(), time.Now())
	series := c.Collect(t.Context(), time.Now())
	seen := map[string]bool{}
	for _, s := range series {
		name := s.Labels.Get(promname.MetricNameLabel)
		seen[name] = true
		v := s.Samples[0].V
		if value.IsStaleNaN(v) {
			continue
		}
		switch {
		case v < 0 || math.IsNaN(v) || math.IsInf(v, 0):
			t.Errorf("%s = %g", s.Labels, v)
		case strings.HasSuffix(name, "_ratio") && v > 1:
			t.Errorf("%s = %g, a ratio", s.Labels, v)
		}
		if (s.Type == "counter") != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, s.Type)
		}
	}
	for _, name := range []string{"system_cpu_time_seconds_total", "system_memory_usage_bytes", "system_filesystem_usage_bytes"} {
		if !seen[name] {
			t.Errorf("no %s", name)
		}
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var calls atomic.Int32
		c := New(Options{
			Proc: t.TempDir(), Sys: t.TempDir(), Host: "h", Interval: 10 * time.Second,
			Append: func(context.Context, []model.Series) error { calls.Add(1); return errors.New("full") },
		})
		done := make(chan struct{})
		go func() { _ = c.Run(ctx); close(done) }()
		synctest.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("%d measurements at the start, want 1", n)
		}
		time.Sleep(30*time.Second + time.Millisecond)
		synctest.Wait()
		if n := calls.Load(); n != 4 {
			t.Errorf("%d measurements after 30 s, want 4: one that is not stored must not end the rest", n)
		}
		cancel()
		<-done
	})
}

// FuzzStat holds that no process name confuses the parser.
func FuzzStat(f *testing.F) {
	f.Add("a (b) c", uint16(3))
	f.Add(") S 1 2 3", uint16(0))
	f.Fuzz(func(t *testing.T, name string, user uint16) {
		p, ok := parseStat(7, []byte(stat(7, name, int(user), 2, 3)))
		if !ok || p.name != name || p.user != uint64(user) || p.system != 2 || p.threads != 4 {
			t.Errorf("%q: %+v, %t", name, p, ok)
		}
	})
}

func BenchmarkCollect(b *testing.B) {
	c := New(Options{})
	entries, err := os.ReadDir("/proc")
	if err != nil {
		b.Skip(err)
	}
	n := 0
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			n++
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Collect(context.Background(), time.Now())
	}
	b.ReportMetric(float64(n), "processes")
}

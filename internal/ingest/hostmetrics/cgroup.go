package hostmetrics

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxGroups bounds the control groups that are measured.
const maxGroups = 100

var (
	groupCPU            = counter("container_cpu_time_seconds_total", "seconds", "CPU time of a control group by mode.")
	groupCPULimit       = gauge("container_cpu_limit", "", "Processors that a control group may use.")
	groupPeriods        = counter("container_cpu_periods_total", "", "Periods in which a control group with a limit ran.")
	groupThrottled      = counter("container_cpu_throttled_periods_total", "", "Periods in which a control group was throttled.")
	groupThrottledTime  = counter("container_cpu_throttled_time_seconds_total", "seconds", "Time for which a control group was throttled.")
	groupMemory         = gauge("container_memory_usage_bytes", "bytes", "Memory of a control group, with its file cache.")
	groupMemoryWorking  = gauge("container_memory_working_set_bytes", "bytes", "Memory of a control group that cannot be had back at once.")
	groupMemoryLimit    = gauge("container_memory_limit_bytes", "bytes", "Memory that a control group may use.")
	groupMemoryFailures = counter("container_memory_limit_hits_total", "", "Times that a control group hit its memory limit.")
	groupOOMKills       = counter("container_memory_oom_kills_total", "", "Processes of a control group killed for want of memory.")
	groupProcesses      = gauge("container_process_count", "", "Processes and threads of a control group.")
	groupProcessLimit   = gauge("container_process_limit", "", "Processes and threads that a control group may have.")
	groupDiskIO         = counter("container_disk_io_bytes_total", "bytes", "Bytes that a control group read from and wrote to disks.")
	groupPressure       = counter("container_linux_pressure_stall_time_seconds_total", "seconds", "Time that some or all tasks of a control group waited for a resource.")
)

// containerID is how Docker, containerd, CRI-O and Podman name control groups.
var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// groups are the control groups of the processes that were chosen.
type groups struct {
	c       *Collector
	unified bool // version 2
	found   map[string]*group
}

type group struct {
	// paths are by controller; version 2 has one, under "".
	paths     map[string]string
	container string
	services  map[string]bool
}

func newGroups(c *Collector) *groups {
	_, err := os.Stat(filepath.Join(c.opts.Sys, "fs", "cgroup", "cgroup.controllers"))
	return &groups{c: c, unified: err == nil, found: map[string]*group{}}
}

// join notes the control groups of a process from /proc/PID/cgroup, and returns the ID of its container.
func (g *groups) join(text []byte, service string) (container string) {
	made := &group{paths: map[string]string{}, services: map[string]bool{}}
	for line := range strings.Lines(string(text)) {
		// hierarchy:controller,controller:path
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if ids := containerID.FindAllString(f[2], -1); len(ids) > 0 {
			container = ids[len(ids)-1] // the innermost
		}
		if g.unified == (f[0] == "0") {
			for _, controller := range strings.Split(f[1], ",") {
				made.paths[controller] = f[2]
			}
		}
	}
	made.container = container
	key := container
	if key == "" {
		key = made.path()
	}
	known, ok := g.found[key]
	if !ok {
		if len(g.found) >= maxGroups {
			return container
		}
		known = made
		g.found[key] = made
	}
	if service != "" {
		known.services[service] = true
	}
	return container
}

// path names a group that is no container: the systemd unit in it, most often.
func (gr *group) path() string {
	for _, controller := range []string{"", "cpu", "memory"} {
		if p, ok := gr.paths[controller]; ok {
			return p
		}
	}
	return "/"
}

func (g *groups) collect(s *set) {
	for _, key := range slices.Sorted(maps.Keys(g.found)) {
		gr := g.found[key]
		who := []string{"container_id", gr.container}
		if gr.container == "" {
			if gr.path() == "/" && !g.unified {
				continue // the machine itself
			}
			who = []string{"cgroup_path", gr.path()}
		}
		if len(gr.services) == 1 { // a group that several share is nobody's
			for service := range gr.services {
				who = append(who, "service_name", service)
			}
		}
		if g.unified {
			g.collectV2(s, gr, who)
		} else {
			g.collectV1(s, gr, who)
		}
	}
}

// dir is where a group's files are. Within a container its own group is mounted as the root.
func (g *groups) dir(controller, path string) string {
	root := filepath.Join(g.c.opts.Sys, "fs", "cgroup", controller)
	if dir := filepath.Join(root, path); dir != root {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return root
}

func (g *groups) collectV2(s *set, gr *group, who []string) {
	dir := g.dir("", gr.path())
	add := func(m metric, v float64, kv ...string) { s.add(m, v, append(who[:len(who):len(who)], kv...)...) }
	// The root of the machine lacks this file, and is what the host's metrics tell.
	usage, ok := g.value(dir, "memory.current")
	if !ok {
		return
	}
	add(groupMemory, usage)
	if st, ok := g.c.keyValues(filepath.Join(dir, "memory.stat")); ok {
		add(groupMemoryWorking, max(0, usage-st["inactive_file"]))
	}
	if limit, ok := g.value(dir, "memory.max"); ok {
		add(groupMemoryLimit, limit)
	}
	if ev, ok := g.c.keyValues(filepath.Join(dir, "memory.events")); ok {
		add(groupOOMKills, ev["oom_kill"])
		add(groupMemoryFailures, ev["max"])
	}
	if st, ok := g.c.keyValues(filepath.Join(dir, "cpu.stat")); ok {
		add(groupCPU, st["user_usec"]/1e6, "cpu_mode", "user")
		add(groupCPU, st["system_usec"]/1e6, "cpu_mode", "system")
		if periods, ok := st["nr_periods"]; ok {
			add(groupPeriods, periods)
			add(groupThrottled, st["nr_throttled"])
			add(groupThrottledTime, st["throttled_usec"]/1e6)
		}
	}
	if b, ok := g.c.read(filepath.Join(dir, "cpu.max")); ok {
		if f := strings.Fields(string(b)); len(f) == 2 && f[0] != "max" && number(f[1]) > 0 {
			add(groupCPULimit, number(f[0])/number(f[1]))
		}
	}
	g.collectPids(dir, add)
	if b, ok := g.c.read(filepath.Join(dir, "io.stat")); ok {
		var read, written float64
		for _, f := range strings.Fields(string(b)) {
			if v, ok := strings.CutPrefix(f, "rbytes="); ok {
				read += number(v)
			} else if v, ok := strings.CutPrefix(f, "wbytes="); ok {
				written += number(v)
			}
		}
		add(groupDiskIO, read, "disk_io_direction", "read")
		add(groupDiskIO, written, "disk_io_direction", "write")
	}
	g.c.collectPressure(s, groupPressure, dir, ".pressure", who...)
}

func (g *groups) collectV1(s *set, gr *group, who []string) {
	add := func(m metric, v float64, kv ...string) { s.add(m, v, append(who[:len(who):len(who)], kv...)...) }
	if path, ok := gr.paths["memory"]; ok {
		dir := g.dir("memory", path)
		if usage, ok := g.value(dir, "memory.usage_in_bytes"); ok {
			add(groupMemory, usage)
			if st, ok := g.c.keyValues(filepath.Join(dir, "memory.stat")); ok {
				add(groupMemoryWorking, max(0, usage-st["total_inactive_file"]))
			}
		}
		if limit, ok := g.value(dir, "memory.limit_in_bytes"); ok {
			add(groupMemoryLimit, limit)
		}
		if n, ok := g.value(dir, "memory.failcnt"); ok {
			add(groupMemoryFailures, n)
		}
		if st, ok := g.c.keyValues(filepath.Join(dir, "memory.oom_control")); ok {
			if n, ok := st["oom_kill"]; ok {
				add(groupOOMKills, n)
			}
		}
	}
	if path, ok := gr.paths["cpuacct"]; ok {
		dir := g.dir("cpuacct", path)
		for mode, file := range map[string]string{"user": "cpuacct.usage_user", "system": "cpuacct.usage_sys"} {
			if ns, ok := g.value(dir, file); ok {
				add(groupCPU, ns/1e9, "cpu_mode", mode)
			}
		}
	}
	if path, ok := gr.paths["cpu"]; ok {
		dir := g.dir("cpu", path)
		if st, ok := g.c.keyValues(filepath.Join(dir, "cpu.stat")); ok {
			add(groupPeriods, st["nr_periods"])
			add(groupThrottled, st["nr_throttled"])
			add(groupThrottledTime, st["throttled_time"]/1e9)
		}
		quota, _ := g.value(dir, "cpu.cfs_quota_us")
		if period, ok := g.value(dir, "cpu.cfs_period_us"); ok && quota > 0 && period > 0 {
			add(groupCPULimit, quota/period)
		}
	}
	if path, ok := gr.paths["pids"]; ok {
		g.collectPids(g.dir("pids", path), add)
	}
}

func (g *groups) collectPids(dir string, add func(metric, float64, ...string)) {
	if n, ok := g.value(dir, "pids.current"); ok {
		add(groupProcesses, n)
	}
	if n, ok := g.value(dir, "pids.max"); ok {
		add(groupProcessLimit, n)
	}
}

// value reads a file of one number. "max", and numbers so large that they mean it, are none.
func (g *groups) value(dir, file string) (float64, bool) {
	b, ok := g.c.read(filepath.Join(dir, file))
	if !ok {
		return 0, false
	}
	text := strings.TrimSpace(string(b))
	v := number(text)
	return v, text != "max" && v < 1<<60
}

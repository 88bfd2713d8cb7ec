package hostmetrics

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

var (
	processCount = gauge("system_process_count", "", "Processes by status.")

	processCPU        = counter("process_cpu_time_seconds_total", "seconds", "CPU time of a process by mode.")
	processMemory     = gauge("process_memory_usage_bytes", "bytes", "Physical memory of a process.")
	processVirtual    = gauge("process_memory_virtual_bytes", "bytes", "Address space of a process.")
	processThreads    = gauge("process_thread_count", "", "Threads of a process.")
	processFiles      = gauge("process_open_file_descriptor_count", "", "Open file descriptors of a process.")
	processFileLimit  = gauge("process_open_file_descriptor_limit", "", "File descriptors that a process may open.")
	processSwitches   = counter("process_context_switches_total", "", "Context switches of a process by type.")
	processFaults     = counter("process_paging_faults_total", "", "Page faults of a process by type.")
	processDiskIO     = counter("process_disk_io_bytes_total", "bytes", "Bytes that a process had read from and written to storage.")
	processUptime     = gauge("process_uptime_seconds", "seconds", "Time since a process started.")
	processSwapMemory = gauge("process_memory_swap_bytes", "bytes", "Memory of a process that was swapped out.")
)

// ticks is how many there are in a second of the proc file system: a constant of Linux' interface to programs.
const ticks = 100

// processID tells processes apart that had the same number one after the other.
type processID struct {
	pid   int
	start uint64 // ticks since the machine started
}

// process is what /proc/PID/stat says.
type process struct {
	processID
	name              string
	state             byte
	minflt, majflt    uint64
	user, system      uint64 // ticks
	threads           int64
	virtual, resident int64   // bytes
	recent            float64 // ticks since the measurement before
}

func (p *process) cpu() float64 { return float64(p.user + p.system) }

// parseStat reads /proc/PID/stat. The name stands in parentheses and may hold any others.
func parseStat(pid int, b []byte) (p process, ok bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return p, false
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 22 {
		return p, false
	}
	u := func(i int) uint64 { v, _ := strconv.ParseUint(f[i-3], 10, 64); return v } // numbered as proc(5) does
	return process{
		processID: processID{pid: pid, start: u(22)},
		name:      string(b[open+1 : end]), state: f[0][0],
		minflt: u(10), majflt: u(12), user: u(14), system: u(15),
		threads: int64(u(20)), virtual: int64(u(23)), resident: int64(u(24)) * int64(os.Getpagesize()),
	}, true
}

// collectProcesses measures the processes of services and those that use most.
func (c *Collector) collectProcesses(s *set) {
	entries, err := os.ReadDir(c.opts.Proc)
	if err != nil {
		c.skip("processes", err)
		return
	}
	var all []*process
	states := map[string]int{}
	cpuNow := make(map[processID]float64, len(c.last.processes))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(c.proc(e.Name(), "stat"))
		if err != nil {
			continue // it ended meanwhile
		}
		p, ok := parseStat(pid, b)
		if !ok {
			continue
		}
		states[status(p.state)]++
		if p.virtual == 0 {
			continue // a thread of the kernel, or a zombie
		}
		cpuNow[p.processID] = p.cpu()
		if before, ok := c.last.processes[p.processID]; ok {
			p.recent = p.cpu() - before
		}
		all = append(all, &p)
	}
	for state, n := range states {
		s.add(processCount, float64(n), "process_status", state)
	}
	c.last.processes = cpuNow

	services := c.opts.Services()
	groups := newGroups(c)
	for _, p := range c.choose(all, services) {
		c.collectProcess(s, p, services[p.pid], groups)
	}
	groups.collect(s)
}

func status(state byte) string {
	switch state {
	case 'R':
		return "running"
	case 'S', 'I':
		return "sleeping"
	case 'D':
		return "blocked"
	case 'Z', 'X':
		return "defunct"
	case 'T', 't':
		return "stopped"
	}
	return "other"
}

// choose picks the services' processes and the top of the others, each once, by process ID.
func (c *Collector) choose(all []*process, services map[int]string) []*process {
	chosen := map[*process]bool{}
	var rest []*process
	for _, p := range all {
		if services[p.pid] != "" {
			chosen[p] = true
		} else {
			rest = append(rest, p)
		}
	}
	top := func(n int, uses func(*process) float64) {
		slices.SortFunc(rest, func(a, b *process) int {
			switch ua, ub := uses(a), uses(b); {
			case ua > ub:
				return -1
			case ua < ub:
				return 1
			}
			return a.pid - b.pid
		})
		for _, p := range rest[:min(n, len(rest))] {
			chosen[p] = true
		}
	}
	top(c.opts.Top/2, func(p *process) float64 { return p.recent })
	top(c.opts.Top-c.opts.Top/2, func(p *process) float64 { return float64(p.resident) })

	out := make([]*process, 0, len(chosen))
	for p := range chosen {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *process) int { return a.pid - b.pid })
	return out
}

func (c *Collector) collectProcess(s *set, p *process, service string, groups *groups) {
	pid := strconv.Itoa(p.pid)
	dir := c.proc(pid)
	name := p.name // cut off at 15 bytes, but there even where the program's path may not be seen
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil {
		name = strings.TrimSuffix(filepath.Base(exe), " (deleted)")
	}
	who := []string{"process_pid", pid, "process_executable_name", name, "service_name", service}
	if b, ok := c.read(filepath.Join(dir, "cgroup")); ok {
		who = append(who, "container_id", groups.join(b, service))
	}
	add := func(m metric, v float64, kv ...string) { s.add(m, v, append(who[:len(who):len(who)], kv...)...) }

	if c.bootTime > 0 {
		s.created = c.bootTime*1000 + int64(p.start)*1000/ticks
		defer func() { s.created = 0 }()
		add(processUptime, float64(s.at-s.created)/1000)
	}
	add(processCPU, float64(p.user)/ticks, "cpu_mode", "user")
	add(processCPU, float64(p.system)/ticks, "cpu_mode", "system")
	add(processMemory, float64(p.resident))
	add(processVirtual, float64(p.virtual))
	add(processThreads, float64(p.threads))
	add(processFaults, float64(p.majflt), "system_paging_fault_type", "major")
	add(processFaults, float64(p.minflt), "system_paging_fault_type", "minor")

	if st, ok := c.keyValues(filepath.Join(dir, "status")); ok {
		add(processSwitches, st["voluntary_ctxt_switches"], "process_context_switch_type", "voluntary")
		add(processSwitches, st["nonvoluntary_ctxt_switches"], "process_context_switch_type", "involuntary")
		if kB, ok := st["VmSwap"]; ok {
			add(processSwapMemory, kB*1024)
		}
	}
	if fds, err := os.ReadDir(filepath.Join(dir, "fd")); err != nil {
		c.skip("fd", err)
	} else {
		add(processFiles, float64(len(fds)))
	}
	if b, ok := c.read(filepath.Join(dir, "limits")); ok {
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
				if f := strings.Fields(rest); len(f) > 0 && f[0] != "unlimited" {
					add(processFileLimit, number(f[0]))
				}
			}
		}
	}
	if io, ok := c.keyValues(filepath.Join(dir, "io")); ok {
		add(processDiskIO, io["read_bytes"], "disk_io_direction", "read")
		add(processDiskIO, io["write_bytes"], "disk_io_direction", "write")
	}
}

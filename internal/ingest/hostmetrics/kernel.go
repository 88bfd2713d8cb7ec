package hostmetrics

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

var (
	pressure = counter("system_linux_pressure_stall_time_seconds_total", "seconds",
		"Time that some or all tasks waited for a resource.")
	oomKills         = counter("system_linux_oom_kills_total", "", "Processes killed for want of memory.")
	pagingFaults     = counter("system_paging_faults_total", "", "Page faults by type.")
	pagingOperations = counter("system_paging_operations_total", "", "Pages swapped in and out.")
	processesCreated = counter("system_processes_created_total", "", "Processes and threads started.")
	contextSwitches  = counter("system_linux_context_switches_total", "", "Context switches.")
	connections      = gauge("system_network_connection_count", "", "TCP sockets by state.")
	retransmits      = counter("system_network_tcp_retransmits_total", "", "TCP segments sent again.")
	listenOverflows  = counter("system_network_tcp_listen_overflows_total", "", "Connections lost because nobody accepted them in time.")
	connectionResets = counter("system_network_tcp_resets_total", "", "TCP connections that were reset.")
	fileHandles      = gauge("system_file_handle_count", "", "Open file handles of the machine.")
	fileHandleLimit  = gauge("system_file_handle_limit", "", "File handles that may be open.")
)

// collectKernel reads what gopsutil leaves out from the proc file system.
func (c *Collector) collectKernel(s *set) {
	c.collectPressure(s, pressure, c.proc("pressure"), "")
	if vm, ok := c.keyValues(c.proc("vmstat")); ok {
		add := func(m metric, key string, kv ...string) {
			if v, ok := vm[key]; ok {
				s.add(m, v, kv...)
			}
		}
		add(oomKills, "oom_kill")
		add(pagingFaults, "pgmajfault", "system_paging_fault_type", "major")
		if v, ok := vm["pgfault"]; ok {
			s.add(pagingFaults, v-vm["pgmajfault"], "system_paging_fault_type", "minor")
		}
		add(pagingOperations, "pswpin", "system_paging_direction", "in")
		add(pagingOperations, "pswpout", "system_paging_direction", "out")
	}
	if stat, ok := c.keyValues(c.proc("stat")); ok {
		if v, ok := stat["processes"]; ok {
			s.add(processesCreated, v)
		}
		if v, ok := stat["ctxt"]; ok {
			s.add(contextSwitches, v)
		}
		c.bootTime = int64(stat["btime"])
	}
	if b, ok := c.read(c.proc("sys", "fs", "file-nr")); ok {
		if f := strings.Fields(string(b)); len(f) == 3 {
			s.add(fileHandles, number(f[0]))
			// "No limit" is the largest number that fits.
			if limit := number(f[2]); limit < 1<<60 {
				s.add(fileHandleLimit, limit)
			}
		}
	}
	if tcp, ok := c.protocol(c.proc("net", "snmp"), "Tcp"); ok {
		s.add(retransmits, tcp["RetransSegs"])
		s.add(connectionResets, tcp["EstabResets"])
		s.add(connections, tcp["CurrEstab"], "network_transport", "tcp", "network_connection_state", "established")
	}
	if tcp, ok := c.protocol(c.proc("net", "netstat"), "TcpExt"); ok {
		s.add(listenOverflows, tcp["ListenOverflows"])
	}
	if b, ok := c.read(c.proc("net", "sockstat")); ok {
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) == 0 || f[0] != "TCP:" {
				continue
			}
			for i := 1; i+1 < len(f); i += 2 {
				if f[i] == "tw" {
					s.add(connections, number(f[i+1]), "network_transport", "tcp", "network_connection_state", "time_wait")
				}
			}
		}
	}
}

// collectPressure reads pressure stall information from the files dir/cpu+suffix and so on.
func (c *Collector) collectPressure(s *set, m metric, dir, suffix string, kv ...string) {
	for _, resource := range []string{"cpu", "memory", "io"} {
		b, ok := c.read(dir + "/" + resource + suffix)
		if !ok {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			if total, ok := strings.CutPrefix(f[len(f)-1], "total="); ok {
				s.add(m, number(total)/1e6, append(kv[:len(kv):len(kv)], "resource", resource, "kind", f[0])...)
			}
		}
	}
}

// read reads a small file; what cannot be read is skipped.
func (c *Collector) read(path string) ([]byte, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			// One line for a kind of file, not for each process' or group's.
			c.skip(path[strings.LastIndexByte(path, '/')+1:], err)
		}
		return nil, false
	}
	return b, true
}

// keyValues reads lines of a key and a number; further numbers are left out.
func (c *Collector) keyValues(path string) (map[string]float64, bool) {
	b, ok := c.read(path)
	if !ok {
		return nil, false
	}
	out := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) >= 2 {
			out[strings.TrimSuffix(f[0], ":")] = number(f[1])
		}
	}
	return out, true
}

// protocol reads the pair of lines, of names and of numbers, that begin with "name:".
func (c *Collector) protocol(path, name string) (map[string]float64, bool) {
	b, ok := c.read(path)
	if !ok {
		return nil, false
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != name+":" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		out := make(map[string]float64, len(f))
		for i := 1; i < min(len(f), len(names)); i++ {
			out[names[i]] = number(f[i])
		}
		return out, true
	}
	return nil, false
}

// number reads what the kernel writes; anything else is 0.
func number(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return v
}

package hostmetrics

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"
)

// maxDevices bounds disks, file systems and network interfaces: a machine full of containers has hundreds.
const maxDevices = 32

var (
	cpuTime        = counter("system_cpu_time_seconds_total", "seconds", "CPU time by mode, of all processors together.")
	cpuUtilization = gauge("system_cpu_utilization_ratio", "ratio", "Part of all processors' time that went to the mode since the measurement before.")
	cpuCount       = gauge("system_cpu_logical_count", "", "Logical processors.")
	load1          = gauge("system_cpu_load_average_1m", "", "Processes running or waiting to, over a minute.")
	load5          = gauge("system_cpu_load_average_5m", "", "Processes running or waiting to, over five minutes.")
	load15         = gauge("system_cpu_load_average_15m", "", "Processes running or waiting to, over fifteen minutes.")
	uptime         = gauge("system_uptime_seconds", "seconds", "Time since the machine started.")

	memoryUsage       = gauge("system_memory_usage_bytes", "bytes", "Memory by what it is used for.")
	memoryUtilization = gauge("system_memory_utilization_ratio", "ratio", "Part of the memory, by what it is used for.")
	memoryLimit       = gauge("system_memory_limit_bytes", "bytes", "Memory of the machine.")
	memoryAvailable   = gauge("system_linux_memory_available_bytes", "bytes", "Memory that can be had without swapping.")
	pagingUsage       = gauge("system_paging_usage_bytes", "bytes", "Swap space by state.")

	diskIO            = counter("system_disk_io_bytes_total", "bytes", "Bytes read from and written to disks.")
	diskOperations    = counter("system_disk_operations_total", "", "Reads and writes of disks.")
	diskOperationTime = counter("system_disk_operation_time_seconds_total", "seconds", "Time that reads and writes took, added up.")
	diskIOTime        = counter("system_disk_io_time_seconds_total", "seconds", "Time that a disk was busy.")
	diskPending       = gauge("system_disk_pending_operations", "", "Reads and writes under way.")

	fsUsage       = gauge("system_filesystem_usage_bytes", "bytes", "Space of file systems by state.")
	fsUtilization = gauge("system_filesystem_utilization_ratio", "ratio", "Part of a file system's space that is used.")
	fsInodes      = gauge("system_filesystem_inodes_usage", "", "Inodes of file systems by state.")

	netIO      = counter("system_network_io_bytes_total", "bytes", "Bytes received and sent by interface.")
	netPackets = counter("system_network_packet_count_total", "", "Packets received and sent by interface.")
	netDropped = counter("system_network_packet_dropped_total", "", "Packets dropped by interface.")
	netErrors  = counter("system_network_errors_total", "", "Errors by interface.")
)

// collectHost measures what gopsutil tells on every system.
func (c *Collector) collectHost(ctx context.Context, s *set) {
	c.collectCPU(ctx, s)
	c.collectMemory(ctx, s)
	c.collectDisks(ctx, s)
	c.collectFilesystems(ctx, s)
	c.collectNetwork(ctx, s)
	if up, err := host.UptimeWithContext(ctx); err != nil {
		c.skip("uptime", err)
	} else {
		s.add(uptime, float64(up))
	}
}

func (c *Collector) collectCPU(ctx context.Context, s *set) {
	s.add(cpuCount, float64(runtime.NumCPU()))
	times, err := cpu.TimesWithContext(ctx, false)
	if err != nil || len(times) == 0 {
		c.skip("cpu times", err)
		return
	}
	t := times[0]
	modes := map[string]float64{
		"user": t.User, "nice": t.Nice, "system": t.System, "idle": t.Idle,
		"iowait": t.Iowait, "interrupt": t.Irq + t.Softirq, "steal": t.Steal,
	}
	var passed float64
	for mode, v := range modes {
		s.add(cpuTime, v, "cpu_mode", mode)
		passed += v - c.last.cpu[mode]
	}
	if c.last.cpu != nil && passed > 0 {
		for mode, v := range modes {
			// Idle and waiting times of Linux may run backwards a little.
			s.add(cpuUtilization, min(max((v-c.last.cpu[mode])/passed, 0), 1), "cpu_mode", mode)
		}
	}
	c.last.cpu = modes
	if l, err := load.AvgWithContext(ctx); err != nil {
		c.skip("load", err)
	} else {
		s.add(load1, l.Load1)
		s.add(load5, l.Load5)
		s.add(load15, l.Load15)
	}
}

func (c *Collector) collectMemory(ctx context.Context, s *set) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil || m.Total == 0 {
		c.skip("memory", err)
		return
	}
	s.add(memoryLimit, float64(m.Total))
	s.add(memoryAvailable, float64(m.Available))
	states := map[string]uint64{"used": m.Used, "free": m.Free, "cached": m.Cached, "buffers": m.Buffers}
	for state, v := range states {
		s.add(memoryUsage, float64(v), "system_memory_state", state)
		s.add(memoryUtilization, float64(v)/float64(m.Total), "system_memory_state", state)
	}
	s.add(pagingUsage, float64(m.SwapTotal-m.SwapFree), "system_paging_state", "used")
	s.add(pagingUsage, float64(m.SwapFree), "system_paging_state", "free")
}

func (c *Collector) collectDisks(ctx context.Context, s *set) {
	disks, err := disk.IOCountersWithContext(ctx)
	if err != nil {
		c.skip("disks", err)
		return
	}
	for _, name := range c.wholeDisks(disks) {
		d := disks[name]
		for direction, v := range map[string][3]uint64{
			"read": {d.ReadBytes, d.ReadCount, d.ReadTime}, "write": {d.WriteBytes, d.WriteCount, d.WriteTime},
		} {
			s.add(diskIO, float64(v[0]), "system_device", name, "disk_io_direction", direction)
			s.add(diskOperations, float64(v[1]), "system_device", name, "disk_io_direction", direction)
			s.add(diskOperationTime, float64(v[2])/1000, "system_device", name, "disk_io_direction", direction)
		}
		s.add(diskIOTime, float64(d.IoTime)/1000, "system_device", name)
		s.add(diskPending, float64(d.IopsInProgress), "system_device", name)
	}
}

// wholeDisks leaves out partitions, whose numbers are part of their disk's, and disks that never did anything.
func (c *Collector) wholeDisks(disks map[string]disk.IOCountersStat) (names []string) {
	block := filepath.Join(c.opts.Sys, "block")
	entries, _ := os.ReadDir(block)
	whole := map[string]bool{}
	for _, e := range entries {
		whole[e.Name()] = true
	}
	for name, d := range disks {
		if (len(whole) == 0 || whole[name]) && d.ReadCount+d.WriteCount > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), maxDevices)]
}

func (c *Collector) collectFilesystems(ctx context.Context, s *set) {
	parts, err := disk.PartitionsWithContext(ctx, false) // without those of the network, which may hang
	if err != nil {
		c.skip("file systems", err)
		return
	}
	if !slices.ContainsFunc(parts, func(p disk.PartitionStat) bool { return p.Mountpoint == "/" }) {
		parts = append(parts, disk.PartitionStat{Device: "rootfs", Mountpoint: "/"}) // an overlay, in containers
	}
	seen := map[string]bool{}
	n := 0
	for _, p := range parts {
		if seen[p.Device] || n == maxDevices {
			continue // mounted twice
		}
		seen[p.Device] = true
		u, err := disk.UsageWithContext(ctx, p.Mountpoint)
		if err != nil || u.Total == 0 {
			c.skip("file system "+p.Mountpoint, err)
			continue
		}
		n++
		where := []string{"system_device", p.Device, "system_filesystem_mountpoint", p.Mountpoint, "system_filesystem_type", p.Fstype}
		with := func(state string) []string { return append(slices.Clone(where), "system_filesystem_state", state) }
		s.add(fsUsage, float64(u.Used), with("used")...)
		s.add(fsUsage, float64(u.Free), with("free")...)
		if reserved := u.Total - u.Used - u.Free; reserved < u.Total {
			s.add(fsUsage, float64(reserved), with("reserved")...)
		}
		s.add(fsUtilization, u.UsedPercent/100, where...)
		if u.InodesTotal > 0 {
			s.add(fsInodes, float64(u.InodesUsed), with("used")...)
			s.add(fsInodes, float64(u.InodesFree), with("free")...)
		}
	}
}

func (c *Collector) collectNetwork(ctx context.Context, s *set) {
	interfaces, err := net.IOCountersWithContext(ctx, true)
	if err != nil {
		c.skip("network", err)
		return
	}
	slices.SortFunc(interfaces, func(a, b net.IOCountersStat) int { return int(a.BytesRecv>>1) - int(b.BytesRecv>>1) })
	slices.Reverse(interfaces) // the busiest, where there are too many
	for _, i := range interfaces[:min(len(interfaces), maxDevices)] {
		for direction, v := range map[string][4]uint64{
			"receive": {i.BytesRecv, i.PacketsRecv, i.Dropin, i.Errin}, "transmit": {i.BytesSent, i.PacketsSent, i.Dropout, i.Errout},
		} {
			for k, m := range []metric{netIO, netPackets, netDropped, netErrors} {
				s.add(m, float64(v[k]), "network_interface_name", i.Name, "network_io_direction", direction)
			}
		}
	}
}

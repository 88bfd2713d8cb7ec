// Package hostmetrics measures the machine that triage runs on: the host, the processes that matter and their control
// groups. Names and labels follow OpenTelemetry's semantic conventions, in the form that Prometheus gives them.
//
//	system_cpu_utilization_ratio{host_name="h",cpu_mode="user"}                                      0.42
//	process_cpu_time_seconds_total{host_name="h",process_pid="42",service_name="cart",cpu_mode="user"}  17.3
//	container_cpu_throttled_time_seconds_total{host_name="h",container_id="3f..."}                       1.5
//
// The host is measured on every system that gopsutil knows, processes and control groups on Linux only. What a machine
// does not tell, because a file is missing or may not be read, is left out after one debug line. A Collector belongs to
// the goroutine that runs it.
package hostmetrics

import (
	"context"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	promname "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/shirou/gopsutil/v4/common"

	"triage/internal/model"
)

// What Options leaves at zero.
const (
	DefaultInterval = 10 * time.Second
	// DefaultTop is how many processes are measured besides those of services.
	DefaultTop = 20
)

// Options wires a Collector.
type Options struct {
	// Interval is the time between measurements.
	Interval time.Duration
	// Append stores what was measured.
	Append func(ctx context.Context, series []model.Series) error
	// Services names the services whose processes are known, by process ID on this host. It may be nil.
	Services func() map[int]string
	// Top is how many other processes are measured: half of them for their CPU time, half for their memory.
	Top int
	// Host is host.name; os.Hostname if empty.
	Host string
	// Proc and Sys are where /proc and /sys are; HOST_PROC and HOST_SYS if empty, as in gopsutil and the Collector, for a
	// triage in a container that is given the host's.
	Proc, Sys string
	// Logger may be nil.
	Logger *slog.Logger
}

// Collector measures while Run runs.
type Collector struct {
	opts Options
	log  *slog.Logger
	// missing are the sources that were reported missing.
	missing map[string]bool
	// last is what the measurement before found, to tell differences.
	last struct {
		cpu       map[string]float64 // by mode
		processes map[processID]float64
		series    map[string]labels.Labels
	}
	bootTime int64 // s since the epoch; 0 if unknown
}

// New makes a Collector.
func New(o Options) *Collector {
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.Top <= 0 {
		o.Top = DefaultTop
	}
	if o.Services == nil {
		o.Services = func() map[int]string { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Host == "" {
		o.Host, _ = os.Hostname() // without a name the label is left out
	}
	fromEnv := func(v *string, key, otherwise string) {
		if *v == "" {
			*v = os.Getenv(key)
		}
		if *v == "" {
			*v = otherwise
		}
	}
	fromEnv(&o.Proc, "HOST_PROC", "/proc")
	fromEnv(&o.Sys, "HOST_SYS", "/sys")
	return &Collector{opts: o, log: o.Logger, missing: map[string]bool{}}
}

// Run measures at once and then every interval, until ctx ends. A measurement that cannot be stored is lost, and said.
func (c *Collector) Run(ctx context.Context) error {
	tick := time.NewTicker(c.opts.Interval)
	defer tick.Stop()
	for {
		if err := c.opts.Append(ctx, c.Collect(ctx, time.Now())); err != nil && ctx.Err() == nil {
			c.log.Warn("host metrics not stored", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Collect measures once. Series that were there the time before and are not now get Prometheus' stale marker.
func (c *Collector) Collect(ctx context.Context, now time.Time) []model.Series {
	ctx = context.WithValue(ctx, common.EnvKey, common.EnvMap{
		common.HostProcEnvKey: c.opts.Proc, common.HostSysEnvKey: c.opts.Sys,
	})
	s := &set{at: now.UnixMilli(), host: c.opts.Host}
	c.collectHost(ctx, s)
	c.collectKernel(s)
	c.collectProcesses(s)

	seen := make(map[string]labels.Labels, len(s.series))
	for i := range s.series {
		seen[s.series[i].Labels.String()] = s.series[i].Labels
	}
	for key, ls := range c.last.series {
		if _, ok := seen[key]; !ok {
			s.series = append(s.series, model.Series{
				Labels: ls, Samples: []model.Sample{{T: s.at, V: math.Float64frombits(value.StaleNaN)}},
			})
		}
	}
	c.last.series = seen
	return s.series
}

// skip notes that a source says nothing, once.
func (c *Collector) skip(source string, err error) {
	if c.missing[source] {
		return
	}
	c.missing[source] = true
	c.log.Debug("host metric skipped", "source", source, "err", err)
}

// metric is a metric family.
type metric struct{ name, typ, unit, help string }

func counter(name, unit, help string) metric { return metric{name, "counter", unit, help} }
func gauge(name, unit, help string) metric   { return metric{name, "gauge", unit, help} }

// set is one measurement under way.
type set struct {
	at      int64 // ms since the epoch
	host    string
	created int64 // ms; when the counters being added began, 0 if unknown
	series  []model.Series
}

// add adds one value; kv are labels, of which empty ones are left out.
func (s *set) add(m metric, v float64, kv ...string) {
	b := labels.NewBuilder(labels.EmptyLabels()).Set(promname.MetricNameLabel, m.name)
	if s.host != "" {
		b.Set("host_name", s.host)
	}
	for i := 0; i < len(kv); i += 2 {
		if kv[i+1] != "" {
			b.Set(kv[i], strings.ToValidUTF8(kv[i+1], "?"))
		}
	}
	ser := model.Series{
		Labels: b.Labels(), Samples: []model.Sample{{T: s.at, V: v}},
		Type: m.typ, Unit: m.unit, Help: m.help,
	}
	if m.typ == "counter" {
		ser.Created = s.created
	}
	s.series = append(s.series, ser)
}

func (c *Collector) proc(elem ...string) string {
	return filepath.Join(append([]string{c.opts.Proc}, elem...)...)
}

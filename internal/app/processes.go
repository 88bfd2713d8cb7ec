package app

import (
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	prom "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/scrape"

	"triage/internal/alarm"
	"triage/internal/ingest"
	"triage/internal/model"
)

// maxProcesses bounds what is remembered; process IDs are few, those of restarted processes are forgotten first.
const maxProcesses = 4096

// processes learns from what services say of themselves which process of this host is which service.
type processes struct {
	host string
	mu   sync.RWMutex // guards the rest
	pids map[int]string
}

func newProcesses(host string) *processes {
	return &processes{host: host, pids: map[int]string{}}
}

func (p *processes) observe(b *model.Batch) {
	var last *model.Resource
	for i := range b.Spans {
		if r := b.Spans[i].Resource; r != last {
			p.learn(r.Service, r.Attrs.Str("host.name"), r.Attrs.Str("process.pid"))
			last = r
		}
	}
	for i := range b.Logs {
		if r := b.Logs[i].Resource; r != last {
			p.learn(r.Service, r.Attrs.Str("host.name"), r.Attrs.Str("process.pid"))
			last = r
		}
	}
}

func (p *processes) learn(service, host, pid string) {
	n, err := strconv.Atoi(pid)
	if err != nil || host != p.host {
		return
	}
	p.mu.RLock()
	known := p.pids[n] == service
	p.mu.RUnlock()
	if known {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pids) >= maxProcesses {
		clear(p.pids) // the living ones are learned again with their next batch
	}
	p.pids[n] = strings.Clone(service) // a batch's strings may be parts of a whole request
}

func (p *processes) services() map[int]string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	m := make(map[int]string, len(p.pids))
	for pid, service := range p.pids {
		m[pid] = service
	}
	return m
}

// watched is a Deriver that also learns processes, and what comes from where.
type watched struct {
	ingest.Deriver
	*processes
	sources *alarm.Sources // nil where nobody waits for them
	now     func() time.Time
}

// inside are the sources of batches that triage makes by itself.
var inside = []string{"hostmetrics", "checks", "api"}

func (w watched) Observe(b *model.Batch) {
	w.observe(b)
	w.Deriver.Observe(b)
	if w.sources != nil && !slices.Contains(inside, b.Source) {
		w.sources.Observe(b.Tenant, b.Source, w.now(), brought(b))
	}
}

// brought is what of a batch rules depend on, with who sent it: the services of spans and logs, and the jobs of series.
func brought(b *model.Batch) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		var last *model.Resource
		for i := range b.Spans {
			if r := b.Spans[i].Resource; r != last {
				if last = r; !yield(r.Service, alarm.SpansKey) {
					return
				}
			}
		}
		if len(b.Logs) > 0 && !yield(b.Logs[0].Resource.Service, alarm.LogsKey) {
			return
		}
		for i := range b.Series {
			ls := &b.Series[i].Labels
			if len(b.Series[i].Samples)+len(b.Series[i].Histograms) > 0 && !yield(ls.Get(prom.JobLabel), alarm.KeyOf(ls.Get(prom.MetricNameLabel))) {
				return
			}
		}
	}
}

// targets are what is scraped. One that was not tried yet has not failed.
func targets(m *scrape.Manager) (out []alarm.Target) {
	for _, pool := range m.TargetsActive() {
		for _, t := range pool {
			out = append(out, alarm.Target{
				Job: t.GetValue(prom.JobLabel), Instance: t.GetValue(prom.InstanceLabel), Up: t.Health() != scrape.HealthBad,
			})
		}
	}
	return out
}

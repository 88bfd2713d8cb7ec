package explain

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"triage/internal/store"
)

// ResourceKind is a kind of resource that can run out.
type ResourceKind string

// The kinds of resources that are recognized by the names of their metrics.
const (
	Pool        ResourceKind = "pool"
	CPU         ResourceKind = "cpu"
	Memory      ResourceKind = "memory"
	Descriptors ResourceKind = "descriptors"
)

// Resource is how near one resource of a service is to its end. It is returned for healthy resources too: a number
// that is as usual rules something out.
type Resource struct {
	Kind    ResourceKind
	Service string
	// Level is the part of the limit in use now and before, 0 to 1; -1 where no limit is known.
	Level, LevelUsual float64
	// Strength is how surely it ran out after the onset, 0 to 1.
	Strength float64
	// Signs are the series that say so, strongest first.
	Signs []SeriesSign
}

// SeriesSign is one series and what it did.
type SeriesSign struct {
	// Role is "used" (against Limit), "waits", "throttled", "starved", "growth", "collection" or "logs".
	Role       string
	Metric     string
	Labels     map[string]string
	Now, Usual float64
	Limit      float64 // 0 if none
	Strength   float64
	Onset      time.Time // zero if it did not change
}

// Resources looks for resources of a service that ran out near the onset, by the metrics that the service, its runtime
// and its host report. Names are recognized by their parts, in OpenTelemetry's spelling and in that of common client
// libraries, because no two pools name their gauges alike.
func Resources(service string, lines []store.Line, onset time.Time) []Resource {
	m := measures(lines, onset)
	out := []Resource{pool(service, m), cpu(service, m), memory(service, m), descriptors(service, m), disk(service, m)}
	return slices.DeleteFunc(out, func(r Resource) bool { return len(r.Signs) == 0 })
}

// measure is one series around the onset.
type measure struct {
	line   *store.Line
	name   string // lower case, underscores
	words  []string
	before []float64
	after  []float64
	onset  time.Time // of the first value beyond halfway from usual to now
}

// now is the level after the onset. The first values after it still contain time before it, so the upper half counts.
func (m *measure) now() float64 {
	s := sorted(m.after)
	if len(s) == 0 {
		return math.NaN()
	}
	return average(s[len(s)/2:])
}

func (m *measure) usual() float64 {
	if len(m.before) == 0 {
		return math.NaN()
	}
	return median(m.before)
}

func average(v []float64) (sum float64) {
	for _, x := range v {
		sum += x / float64(len(v))
	}
	return sum
}

func (m *measure) has(words ...string) bool {
	for _, w := range words {
		if strings.Contains(w, "_") {
			if strings.Contains(m.name, w) {
				return true
			}
		} else if slices.Contains(m.words, w) {
			return true
		}
	}
	return false
}

// state is the value of the label that splits a gauge into used and idle, "" if there is none.
func (m *measure) state() string {
	for k, v := range m.line.Labels {
		if isState(k) {
			return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(v))
		}
	}
	return ""
}

func isState(label string) bool {
	return label == "state" || label == "status" || strings.HasSuffix(label, "_state") || strings.HasSuffix(label, "_status")
}

func measures(lines []store.Line, onset time.Time) []measure {
	out := make([]measure, 0, len(lines))
	for i := range lines {
		l := &lines[i]
		name := strings.ToLower(strings.NewReplacer(".", "_", "-", "_").Replace(l.Name))
		name, _, _ = strings.Cut(name, ":")
		m := measure{line: l, name: name, words: strings.Split(name, "_")}
		var across []float64
		for k, v := range l.Values {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				continue
			}
			// The value of a step tells of the time until the next one; the step that holds the onset tells of both sides.
			at := l.Start.Add(time.Duration(k) * l.Step)
			switch {
			case !at.Before(onset):
				m.after = append(m.after, v)
			case !at.Add(l.Step).After(onset):
				m.before = append(m.before, v)
			default:
				across = append(across, v)
			}
		}
		if len(m.after) == 0 {
			m.after = across
		}
		if len(m.after) == 0 {
			continue
		}
		half := (m.now() + m.usual()) / 2
		for k, v := range l.Values {
			at := l.Start.Add(time.Duration(k) * l.Step)
			if at.Add(l.Step).After(onset) && m.now() > m.usual() && v > half {
				m.onset = maxTime(at, onset)
				break
			}
		}
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b measure) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(labelText(a.line.Labels), labelText(b.line.Labels)))
	})
	return out
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func labelText(labels map[string]string) string {
	keys := make([]string, 0, len(labels))
	for k := range labels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(k + "=" + labels[k] + ",")
	}
	return b.String()
}

func (m *measure) sign(role string, limit, strength float64) SeriesSign {
	s := SeriesSign{Role: role, Metric: m.line.Name, Labels: m.line.Labels, Now: round(m.now()), Usual: round(m.usual()),
		Limit: round(limit), Strength: round(strength)}
	if strength > 0 {
		s.Onset = m.onset
	}
	return s
}

// combine joins independent signs of one thing: each removes part of the doubt.
func combine(strengths ...float64) float64 {
	doubt := 1.0
	for _, s := range strengths {
		doubt *= 1 - s
	}
	return 1 - doubt
}

func (r *Resource) finish() Resource {
	slices.SortStableFunc(r.Signs, func(a, b SeriesSign) int { return cmp.Compare(b.Strength, a.Strength) })
	r.Strength = round(r.Strength)
	return *r
}

// pool recognizes connection (and thread) pools: what is in use has reached the maximum, and requests wait.
func pool(service string, all []measure) Resource {
	r := Resource{Kind: Pool, Service: service, Level: -1, LevelUsual: -1}
	var full, waits float64
	for i := range all {
		m := &all[i]
		if !m.has("connection", "connections", "conn", "conns", "pool", "hikaricp", "pgxpool", "executor") {
			continue
		}
		switch {
		case m.has("wait", "waiting", "waits", "pending", "timeouts", "empty_acquire", "acquire_duration", "canceled_acquire"):
			// The rate of a histogram of waits counts uses of the pool, not waits.
			if strings.HasSuffix(m.line.Name, ":rate") || m.line.Type != "rate" && m.has("max", "limit") {
				continue
			}
			usual := m.usual()
			if math.IsNaN(usual) {
				usual = 0
			}
			// Units differ (waits, seconds or milliseconds of waiting a second), so the factor counts, above a floor
			// below which waiting is the ordinary jostling of a healthy pool.
			s := ramp(ratio(m.now(), usual, 0.02), 2, 6) * ramp(m.now(), 0.05, 0.5)
			waits = max(waits, s)
			r.Signs = append(r.Signs, m.sign("waits", 0, s))
		case used(m):
			limit := limitOf(all, m)
			if limit <= 0 {
				continue
			}
			level, before := m.now()/limit, m.usual()/limit
			if level > r.Level {
				r.Level, r.LevelUsual = round(level), round(before)
			}
			s := ramp(level, 0.8, 0.98)
			if before > 0.9 {
				s *= 0.35 // it was full before and nobody minded
			}
			full = max(full, s)
			r.Signs = append(r.Signs, m.sign("used", limit, s))
		}
	}
	if r.Level >= 0 {
		// Somebody waits now and then in any pool; it ran out when it is also full.
		waits *= ramp(r.Level, 0.5, 0.9)
	}
	r.Strength = combine(0.8*full, 0.85*waits)
	return r.finish()
}

func used(m *measure) bool {
	switch m.state() {
	case "used", "inuse", "active", "busy", "acquired", "borrowed", "checkedout":
		return true
	case "":
		return m.line.Type == "gauge" && !m.has("max", "limit", "min") &&
			m.has("used", "inuse", "in_use", "active", "busy", "acquired", "borrowed", "checked_out")
	}
	return false
}

// limitOf is the maximum that belongs to a pool's gauge: of the same labels if there is one, else the only one of its library.
func limitOf(all []measure, u *measure) float64 {
	var other float64
	n := 0
	for i := range all {
		m := &all[i]
		if m.words[0] != u.words[0] || m.line.Type != "gauge" || !m.has("max", "limit", "capacity", "maximum") || m.has("idle", "lifetime", "time", "age") ||
			!m.has("connection", "connections", "conn", "conns", "pool", "hikaricp", "pgxpool", "executor") {
			continue
		}
		if samePool(m.line.Labels, u.line.Labels) {
			return m.now()
		}
		other, n = m.now(), n+1
	}
	if n == 1 {
		return other
	}
	return 0
}

// samePool tells whether no label that both have differs, apart from the state.
func samePool(a, b map[string]string) bool {
	for k, v := range a {
		if w, ok := b[k]; ok && v != w {
			return false
		}
	}
	return true
}

// cpu recognizes a process that uses all it may, is throttled, or has to wait for a processor.
func cpu(service string, all []measure) Resource {
	r := Resource{Kind: CPU, Service: service, Level: -1, LevelUsual: -1}
	limit := 0.0
	for i := range all {
		if m := &all[i]; m.line.Type == "gauge" && (m.has("processor_limit", "cpu_limit", "cpu_count", "cpu_logical_count", "cpu_cores", "gomaxprocs")) {
			limit = max(limit, m.now())
		}
	}
	var busy, throttled, starved float64
	for _, g := range sums(all, func(m *measure) bool {
		return m.has("cpu") && (m.has("utilization", "utilisation") || m.line.Type == "rate" && m.has("time", "seconds", "usage")) &&
			!m.has("throttled", "throttling", "limit") && !idle(m)
	}) {
		now, usual := g.now(), g.usual()
		ceiling := 1.0
		switch {
		case g.has("utilization", "utilisation"):
			if now > 1.5 {
				ceiling = 100
			}
		case limit > 0:
			ceiling = limit
		default:
			ceiling = 0
		}
		var s float64
		if ceiling > 0 {
			level, before := now/ceiling, usual/ceiling
			if level > r.Level {
				r.Level, r.LevelUsual = round(level), round(before)
			}
			s = ramp(level, 0.7, 0.92)
			switch {
			case before > 0.7:
				s *= 0.4
			case ratio(now, usual, 0.01) > 4:
				s = ramp(level, 0.5, 0.85) // the first values after the onset still contain time before it
			}
		} else {
			s = 0.8 * ramp(ratio(now, usual, 0.05), 2, 5) * ramp(now, 0.6, 1.2)
		}
		busy = max(busy, s)
		r.Signs = append(r.Signs, g.sign("used", ceiling, s))
	}
	for i := range all {
		m := &all[i]
		switch {
		case m.has("throttled", "throttling") && m.line.Type != "mean":
			s := ramp(ratio(m.now(), m.usual(), 0.01), 2, 6) * ramp(m.now(), 0.02, 0.3)
			throttled = max(throttled, s)
			r.Signs = append(r.Signs, m.sign("throttled", 0, s))
		case m.has("schedule_duration", "sched_latencies", "cpu_pressure", "pressure_cpu", "cpu_waiting", "runqueue") && m.line.Type != "rate":
			// Go's scheduler latency is microseconds on an idle machine; a millisecond is a queue for processors.
			s := ramp(ratio(m.now(), m.usual(), 20e-6), 3, 10) * ramp(m.now(), 200e-6, 2e-3)
			starved = max(starved, s)
			r.Signs = append(r.Signs, m.sign("starved", 0, s))
		}
	}
	r.Strength = combine(0.85*busy, 0.85*throttled, 0.7*starved)
	return r.finish()
}

func idle(m *measure) bool {
	for _, v := range m.line.Labels {
		if v == "idle" || v == "iowait" {
			return true
		}
	}
	return false
}

// sums adds up the series of each metric that differ only in a mode, state or type label, so that user and system time
// count together.
func sums(all []measure, take func(*measure) bool) []measure {
	var out []measure
	index := map[string]int{}
	for i := range all {
		m := &all[i]
		if !take(m) {
			continue
		}
		key := m.line.Name
		rest := map[string]string{}
		for k, v := range m.line.Labels {
			switch {
			case k == "mode", k == "state", k == "type", strings.HasSuffix(k, "_mode"), strings.HasSuffix(k, "_state"), strings.HasSuffix(k, "_type"):
			default:
				rest[k] = v
			}
		}
		key += "|" + labelText(rest)
		k, ok := index[key]
		if !ok {
			index[key] = len(out)
			c := *m
			line := *m.line
			line.Labels = rest
			c.line = &line
			c.before, c.after = slices.Clone(m.before), slices.Clone(m.after)
			out = append(out, c)
			continue
		}
		add := func(to, from []float64) {
			for j := range min(len(to), len(from)) {
				to[j] += from[j]
			}
		}
		add(out[k].before, m.before)
		add(out[k].after, m.after)
	}
	return out
}

// memory recognizes a process that grows towards its limit or spends its time collecting garbage.
func memory(service string, all []measure) Resource {
	r := Resource{Kind: Memory, Service: service, Level: -1, LevelUsual: -1}
	limit := 0.0
	for i := range all {
		m := &all[i]
		if m.line.Type == "gauge" && m.has("memory") && m.has("limit") {
			// An unset limit is reported as the largest number there is.
			if v := m.now(); v > 0 && v < 1<<50 && (limit == 0 || v < limit) {
				limit = v
			}
		}
	}
	var level, growth, collection float64
	for _, g := range sums(all, func(m *measure) bool {
		return m.line.Type == "gauge" && m.has("memory", "heap", "rss") && !m.has("limit", "virtual", "goal", "max", "committed", "cache", "utilization") &&
			m.has("usage", "used", "rss", "bytes", "working_set", "inuse", "resident")
	}) {
		now, usual := last(g.after), g.usual()
		s := ramp(ratio(now, usual, 16<<20), 1.6, 3) * climbing(g.after)
		growth = max(growth, s)
		role := "growth"
		if limit > 0 {
			role = "used"
			if l := now / limit; l > r.Level {
				r.Level, r.LevelUsual = round(l), round(usual/limit)
			}
			near := ramp(now/limit, 0.85, 0.97)
			if usual/limit > 0.85 {
				near *= 0.4 * ramp((now-usual)/limit, 0.01, 0.05) // what was as full before did no harm
			}
			level = max(level, near)
			s = max(s, near)
		}
		r.Signs = append(r.Signs, g.sign(role, limit, s))
	}
	for i := range all {
		m := &all[i]
		if m.has("gc") && (m.line.Type == "mean" || m.line.Type == "rate") && !m.has("goal") {
			s := ramp(ratio(m.now(), m.usual(), 1e-5), 2, 6)
			collection = max(collection, s)
			r.Signs = append(r.Signs, m.sign("collection", 0, 0.6*s)) // the memory itself is told first
		}
	}
	// Garbage collection alone is a sign of work, not of shortage.
	r.Strength = combine(0.85*level, 0.75*growth) * (0.8 + 0.2*collection)
	return r.finish()
}

func last(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	return v[len(v)-1]
}

// climbing is how steadily values rise, 0.5 to 1; too few values are given the benefit of the doubt.
func climbing(v []float64) float64 {
	if len(v) < 3 {
		return 0.8
	}
	up := 0
	for i := 1; i < len(v); i++ {
		if v[i] >= v[i-1] {
			up++
		}
	}
	return 0.5 + 0.5*ramp(float64(up)/float64(len(v)-1), 0.4, 0.8)
}

// descriptors recognizes open files at their limit.
func descriptors(service string, all []measure) Resource {
	r := Resource{Kind: Descriptors, Service: service, Level: -1, LevelUsual: -1}
	limit := 0.0
	isLimit := func(m *measure) bool { return m.has("max_fds", "file_descriptor_limit", "files_max") }
	for i := range all {
		if m := &all[i]; isLimit(m) {
			limit = max(limit, m.now())
		}
	}
	for i := range all {
		m := &all[i]
		if limit > 0 && !isLimit(m) && m.has("open_fds", "open_file_descriptor", "files_open") {
			r.Level, r.LevelUsual = round(m.now()/limit), round(m.usual()/limit)
			// What was as full before the onset did no harm then; only what filled up can be the cause.
			r.Strength = 0.9 * ramp(r.Level, 0.9, 0.99) * ramp(r.Level-r.LevelUsual, 0.01, 0.05)
			r.Signs = append(r.Signs, m.sign("used", limit, r.Strength))
		}
	}
	return r.finish()
}

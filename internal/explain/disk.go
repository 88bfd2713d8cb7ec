package explain

import "slices"

// Disk is the room on the file systems of a service.
const Disk ResourceKind = "disk"

// disk recognizes a file system without room: in use against its size, or the room that is left, by the names of
// OpenTelemetry's host metrics, Prometheus' node exporter, kubelet and cAdvisor.
func disk(service string, all []measure) Resource {
	r := Resource{Kind: Disk, Service: service, Level: -1, LevelUsual: -1}
	about := func(m *measure) bool {
		return m.line.Type == "gauge" && m.has("filesystem", "disk", "volume", "container_fs") && !m.has("inodes", "io", "files", "operations")
	}
	take := func(m *measure, now, usual float64) {
		if now > r.Level {
			r.Level, r.LevelUsual = round(now), round(usual)
		}
		// What was as full before did no harm then. A disk fills slowly, so it is the room left that must have gone.
		s := 0.9 * ramp(now, 0.95, 0.995) * ramp(1-ratio(1-now, 1-usual, 1e-4), 0.3, 0.8)
		sign := m.sign("used", 1, s)
		sign.Now, sign.Usual = round(now), round(usual)
		r.Strength = max(r.Strength, s)
		r.Signs = append(r.Signs, sign)
	}
	for i := range all {
		m := &all[i]
		if !about(m) || m.has("limit", "capacity", "size", "size_bytes") {
			continue
		}
		state := m.state()
		switch {
		case m.has("utilization", "utilisation"):
			if state == "" || state == "used" {
				take(m, m.now(), m.usual())
			}
		case state == "used" || state == "" && m.has("used", "usage"):
			if now, usual := total(all, m, about); now > 0 && usual > 0 {
				take(m, m.now()/now, m.usual()/usual)
			}
		case state == "" && m.has("avail", "available", "free"):
			if now, usual := total(all, m, about); now > 0 && usual > 0 {
				take(m, 1-m.now()/now, 1-m.usual()/usual)
			}
		}
	}
	return r.finish()
}

// total is the size of the file system that a gauge tells of: a gauge of its own, or the sum over the states.
func total(all []measure, of *measure, about func(*measure) bool) (now, usual float64) {
	for i := range all {
		m := &all[i]
		if about(m) && m.words[0] == of.words[0] && samePlace(m, of) && m.has("limit", "capacity", "size", "size_bytes") {
			return m.now(), m.usual()
		}
	}
	for i := range all {
		m := &all[i]
		if m.line.Name == of.line.Name && m.state() != "" && samePlace(m, of) && slices.Contains([]string{"used", "free"}, m.state()) {
			now, usual = now+m.now(), usual+m.usual()
		}
	}
	return now, usual
}

// samePlace tells whether no label that both have differs, apart from the state.
func samePlace(a, b *measure) bool {
	for k, v := range a.line.Labels {
		if w, ok := b.line.Labels[k]; ok && v != w && !isState(k) {
			return false
		}
	}
	return true
}

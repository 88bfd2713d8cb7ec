package alarm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
)

// The rule and the labels of alarms on sources and senders that fell silent, and who judges them.
const (
	SourceDown   = model.RuleSourceDown
	SourceLabel  = "source"
	SenderLabel  = "sender"
	SourceTriage = "triage"
	// SourceScrape is the source of what triage fetches by itself.
	SourceScrape = "scrape"
)

const (
	// together is how far apart senders may fall silent to be one alarm.
	together = time.Minute
	// maxNamed bounds the senders that an alarm's reason names.
	maxNamed = 10
)

// reports are the alarms on sources and senders that are silent, and on those that are no more. A source from which nothing
// comes is one alarm, and so are senders of one that fell silent within a minute of each other. A sender is told of when its
// silence is certain (others' calls are answered by it, triage itself cannot reach it), or when something was not judged
// because of it.
func (s *Sources) reports(tenant string, at time.Time, q *silences) (out []Reported) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.tenants[tenant])) {
		src := s.tenants[tenant][name]
		if name != SourceScrape {
			down := src.missed(at)
			src.changed = src.changed || down != src.down
			src.down = down
			out = append(out, report(name, "", at, src.last, down, []string{name}))
		}
		out = append(out, src.outbreaks(name, at, q)...)
	}
	return out
}

// outbreaks are the alarms on a source's senders.
func (s *source) outbreaks(name string, at time.Time, q *silences) (out []Reported) {
	if s.held(at) {
		return nil // of all of them nothing comes
	}
	returning := s.silence.To.After(at)
	ended := make(map[string]bool)
	sick := make(map[string][]*sender)
	for _, n := range slices.Sorted(maps.Keys(s.senders)) {
		from := s.senders[n]
		was := from.outbreak
		switch down := from.down(name, at, q); {
		case !down:
			from.outbreak = ""
		case was == "" && !returning:
			from.outbreak = s.outbreakNear(from)
		}
		if was != "" {
			ended[was] = true
		}
		if from.outbreak != "" {
			sick[from.outbreak] = append(sick[from.outbreak], from)
		}
		s.changed = s.changed || was != from.outbreak
		if from.idle(at) {
			delete(s.senders, n)
		}
	}
	for first := range sick {
		delete(ended, first)
	}
	for _, first := range slices.Sorted(maps.Keys(ended)) {
		out = append(out, report(name, first, at, at, false, []string{first}))
	}
	for _, first := range slices.Sorted(maps.Keys(sick)) {
		since := sick[first][0].since()
		var names []string
		for _, from := range sick[first] {
			names = append(names, from.name)
			if from.since().Before(since) {
				since = from.since()
			}
		}
		out = append(out, report(name, first, at, since, true, names))
	}
	return out
}

// outbreakNear is the one that a sender belongs to which fell silent.
func (s *source) outbreakNear(from *sender) string {
	for _, n := range slices.Sorted(maps.Keys(s.senders)) {
		other := s.senders[n]
		if other.outbreak != "" && other.since().Sub(from.since()).Abs() <= together {
			return other.outbreak
		}
	}
	return from.name
}

// down tells whether a sender's silence is to be told.
func (s *sender) down(source string, at time.Time, q *silences) bool {
	spans := s.spans.missed(at) && s.lost(at)
	metrics := s.metrics.missed(at) && s.established() && (s.outbreak != "" || source == SourceScrape || q.used[s])
	return spans || metrics
}

// since is when something was heard of a sender last.
func (s *sender) since() time.Time {
	if s.metrics.last.IsZero() || s.spans.steady() && s.improbable >= doubt {
		return s.spans.last
	}
	return s.metrics.last
}

// idle tells whether a sender need not be known any more.
func (s *sender) idle(at time.Time) bool {
	return at.Sub(s.spans.last) > forgetAfter && at.Sub(s.metrics.last) > forgetAfter
}

// report says how the alarm on a source stands, or on the senders of one of which the first names it.
func report(source, first string, at, since time.Time, down bool, names []string) Reported {
	r := Reported{Rule: SourceDown, Labels: map[string]string{SourceLabel: source}, At: at, Source: SourceTriage, Until: at.Add(reportGrace)}
	if first != "" {
		r.Labels[SenderLabel] = first
	}
	who := strings.Join(names[:min(len(names), maxNamed)], ", ")
	if n := len(names) - maxNamed; n > 0 {
		who += fmt.Sprintf(" and %d more", n)
	}
	if down {
		r.Firing, r.Onset, r.Value = true, since, at.Sub(since).Seconds()
		r.Reason = fmt.Sprintf("nothing has come from %s since %s; what depends on it waits", who, since.UTC().Format(time.TimeOnly))
		return r
	}
	r.Reason = who + " is heard of again, or no longer expected"
	return r
}

package alarm

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	prom "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"triage/internal/store"
)

// The rule and the label of alarms on sources that fell silent.
const (
	SourceDown  = "source down"
	SourceLabel = "source"
	// SourceTriage is the source of alarms that triage raises about what it receives.
	SourceTriage = "triage"
)

// The keys by which rules depend on spans and logs, and on what is derived from spans.
const (
	SpansKey      = "\x00spans"
	LogsKey       = "\x00logs"
	derivedPrefix = "traces_" // of series that are derived from spans
)

const (
	// steady is how many batches must have come from a source before its silence means anything.
	steady = 20
	// When nothing has come from a source for half as long again as the longest pause that it makes, rules wait at its watermark.
	// It is late after lateFactor times that pause: what lies in between was not seen. It is silent, which is an alarm, after
	// silentFactor times. All are the least times at least.
	holdFactor, lateFactor, silentFactor = 1.5, 3, 10
	leastHold, leastLate, leastSilent    = 2 * time.Second, 5 * time.Second, time.Minute
	// forgetPause is the part of the longest pause that each batch takes away, so that it follows how the source is now.
	forgetPause = 0.01
	// maxKeys bounds the metrics that are remembered of one source; rules on others don't wait for it.
	maxKeys = 20_000
	// sourceKind is the kind of sources' documents in the state store.
	sourceKind = "source"
)

// Sources knows what came from where and when: of each source its watermark, which is when it last sent something, how long
// its pauses are, and which metrics it sends. Rules wait at the watermark of a source that is late. It is safe for
// concurrent use, and each tenant has sources of its own.
type Sources struct {
	mu      sync.Mutex // guards all below
	tenants map[string]map[string]*source
}

type source struct {
	last    time.Time // the watermark; of a source that was restored, when that was
	pause   time.Duration
	batches int
	keys    map[string]bool
	// silence is the last time it was late. It has no end while it is.
	silence store.Window
	changed bool
}

// NewSources makes a Sources that knows nothing.
func NewSources() *Sources { return &Sources{tenants: map[string]map[string]*source{}} }

// Observe takes in that a source sent something at at: metrics by name, SpansKey and LogsKey.
func (s *Sources) Observe(tenant, name string, at time.Time, keys iter.Seq[string]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.tenants[tenant]
	if all == nil {
		all = map[string]*source{}
		s.tenants[tenant] = all
	}
	src := all[name]
	if src == nil {
		src = &source{last: at, keys: map[string]bool{}}
		all[name] = src
	}
	pause := at.Sub(src.last)
	switch {
	case src.batches >= steady && pause > src.late():
		src.silence = store.Window{From: src.last, To: at.Add(settle)} // what comes first is not all there is
	case src.batches < steady || pause < src.silent():
		src.pause = max(pause, time.Duration(float64(src.pause)*(1-forgetPause)))
	}
	src.last = at
	src.batches++
	for k := range keys {
		if !src.keys[k] && len(src.keys) < maxKeys {
			src.keys[strings.Clone(k)], src.changed = true, true // a batch's strings may be parts of a whole request
		}
	}
	src.changed = src.changed || src.batches == steady
}

func (s *source) hold() time.Duration {
	return max(leastHold, time.Duration(holdFactor*float64(s.pause)))
}
func (s *source) late() time.Duration   { return max(leastLate, lateFactor*s.pause) }
func (s *source) silent() time.Duration { return max(leastSilent, silentFactor*s.pause) }

// standing is how the sources of a rule stand.
type standing struct {
	late    string       // one to wait for, "" if there is none
	silence store.Window // when one of them was late last
}

// of tells how the sources of keys stand. A key that several sources send waits when all of them are
// to be waited for; one that nobody is known to send waits for nobody.
func (s *Sources) of(tenant string, keys []string, at time.Time) (out standing) {
	if s == nil {
		return out
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		var late []string
		live := false
		for _, name := range slices.Sorted(maps.Keys(s.tenants[tenant])) {
			src := s.tenants[tenant][name]
			switch {
			case !src.keys[k]:
			case src.batches >= steady && at.Sub(src.last) > src.hold():
				late = append(late, name)
			default:
				live = true
				if src.silence.To.After(out.silence.To) {
					out.silence = src.silence
				}
			}
		}
		if len(late) > 0 && !live {
			out.late = late[0]
		}
	}
	return out
}

// reports are the alarms on sources that are silent, and on those that are no more.
func (s *Sources) reports(tenant string, at time.Time) (out []Reported) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.tenants[tenant])) {
		src := s.tenants[tenant][name]
		r := Reported{Rule: SourceDown, Labels: map[string]string{SourceLabel: name}, At: at, Source: SourceTriage, Until: at.Add(reportGrace)}
		r.Reason = fmt.Sprintf("nothing has come from %s since %s; what depends on it waits", name, src.last.UTC().Format(time.TimeOnly))
		if silent := at.Sub(src.last); src.batches >= steady && silent > src.silent() {
			r.Firing, r.Onset, r.Value = true, src.last, silent.Seconds()
		} else {
			r.Reason = name + " sends again"
		}
		out = append(out, r)
	}
	return out
}

// storedSource is what of a source outlives a restart.
type storedSource struct {
	Pause time.Duration `json:"pause_ns"`
	Keys  []string      `json:"keys"`
}

// Load reads which sources there were, as if each had just sent something: one that never comes back is silent in time.
func (s *Sources) Load(ctx context.Context, state store.State, tenant string, at time.Time) error {
	docs, err := state.Documents(ctx, tenant, sourceKind)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*source{}
	for _, d := range docs {
		var stored storedSource
		if err := json.Unmarshal(d.Body, &stored); err != nil {
			return fmt.Errorf("source %s: %w", d.Name, err)
		}
		src := &source{last: at, pause: stored.Pause, batches: steady, keys: map[string]bool{}}
		for _, k := range stored.Keys {
			src.keys[k] = true
		}
		all[d.Name] = src
	}
	s.tenants[tenant] = all
	return nil
}

// save stores the sources that are steady and have changed.
func (s *Sources) save(ctx context.Context, state store.State, tenant string) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	var docs []store.Document
	for name, src := range s.tenants[tenant] {
		if !src.changed || src.batches < steady {
			continue
		}
		b, err := json.Marshal(storedSource{src.pause, slices.Sorted(maps.Keys(src.keys))})
		if err != nil {
			s.mu.Unlock()
			return err
		}
		docs = append(docs, store.Document{Kind: sourceKind, Name: name, Body: b})
		src.changed = false
	}
	s.mu.Unlock()
	return state.SaveDocuments(ctx, tenant, docs)
}

// dependsOn are the keys by which a rule depends on sources; none if that cannot be told.
func (r Rule) dependsOn() (keys []string) {
	add := func(expr string) {
		parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
		if err != nil {
			return // which was told when the rule was validated
		}
		parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
			if v, ok := n.(*parser.VectorSelector); ok {
				for _, m := range v.LabelMatchers {
					if m.Name == prom.MetricNameLabel && m.Type == labels.MatchEqual {
						keys = append(keys, KeyOf(m.Value))
					}
				}
			}
			return nil
		})
	}
	switch {
	case r.Logs != nil:
		return []string{LogsKey}
	case r.Spans != nil:
		return []string{SpansKey}
	case r.Math != nil:
		for _, id := range slices.Sorted(maps.Keys(r.Math.Metrics)) {
			add(r.Math.Metrics[id])
		}
	case r.Expr != "":
		add(r.Expr)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// KeyOf is what a series of a metric comes from.
func KeyOf(metric string) string {
	if strings.HasPrefix(metric, derivedPrefix) {
		return SpansKey
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(metric, suffix); ok {
			return base
		}
	}
	return metric
}

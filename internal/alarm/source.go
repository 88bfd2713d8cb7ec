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

	"triage/internal/model"
	"triage/internal/store"
)

// The keys by which rules depend on spans and logs, and on what is derived from spans.
const (
	SpansKey      = "\x00spans"
	LogsKey       = "\x00logs"
	derivedPrefix = "traces_" // of series that are derived from spans
)

const (
	// maxKeys bounds the metrics that are remembered of one source; rules on others don't wait for it.
	maxKeys = 20_000
	// maxSenders bounds the senders of one source that are known by name; the others are part of the source alone.
	maxSenders = 1000
	// established is how long metrics must have come from a sender without a break before its silence means anything: what
	// runs for less is a job, and ends.
	established = time.Hour
	// forgetAfter is when something silent is no longer expected.
	forgetAfter = 7 * 24 * time.Hour
	// doubt is how many decades of improbability it takes that calls were answered by a service whose spans were lost by chance.
	doubt = 6
	// sourceKind is the kind of sources' documents in the state store.
	sourceKind = "source"
)

// Sources knows what came from where and when. A source is a way in (otlp, promwrite, ...), and its senders are who uses it: of
// spans the services, of metrics the jobs. An instance is no sender, so that one that is replaced is no loss. Of each it knows
// the watermark, which is when something came last, how long its pauses are, and of sources which metrics they bring. Rules
// wait at the watermark of what is late. It is safe for concurrent use, and each tenant has sources of its own.
type Sources struct {
	mu      sync.Mutex // guards all below
	tenants map[string]map[string]*source
	looked  map[string]time.Time // when it was last asked who is silent, by tenant
	unnamed int                  // how often something came from a sender past the bound
	targets func() []Target
}

// Target is something that triage fetches metrics from by itself.
type Target struct {
	Job, Instance string
	Up            bool
}

// source is one way in.
type source struct {
	pulse
	keys    map[string]*sender // who alone sends a metric, nil if several do or nobody can be named
	senders map[string]*sender
	changed bool // since it was saved
}

// sender is one who uses a source.
type sender struct {
	name           string
	spans, metrics pulse
	// answered is when a call of others was answered by it last, and improbable how improbable it is, in decades, that none of
	// the spans of such calls has come since its last ones.
	answered   time.Time
	improbable float64
	// outbreak names the alarm that tells of its silence.
	outbreak string
}

// NewSources makes a Sources that knows nothing.
func NewSources() *Sources {
	return &Sources{tenants: map[string]map[string]*source{}, looked: map[string]time.Time{}}
}

// Scraped tells where to ask how the targets that triage scrapes fare. They are the default tenant's.
func (s *Sources) Scraped(targets func() []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = targets
}

// Observe takes in that a source brought something at at: who sent it, "" if that is not known, and what it was: metrics by
// name, SpansKey and LogsKey.
func (s *Sources) Observe(tenant, name string, at time.Time, brought iter.Seq2[string, string]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.source(tenant, name)
	was := src.steady()
	src.beat(at, settle)
	src.changed = src.changed || src.steady() != was
	for who, key := range brought {
		from := src.sender(who)
		switch {
		case from == nil && who != "":
			s.unnamed++
		case from != nil && from.heard(key, at):
			src.changed = true
		}
		switch known, ok := src.keys[key]; {
		case !ok && len(src.keys) < maxKeys:
			src.keys[strings.Clone(key)], src.changed = from, true // a batch's strings may be parts of a whole request
		case ok && known != nil && known != from:
			src.keys[key], src.changed = nil, true
		}
	}
}

// known is how many senders are known by name, and how often something came from one that is not, for there being too many.
func (s *Sources) known() (senders, unnamed int) {
	if s == nil {
		return 0, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range s.tenants {
		for _, src := range all {
			senders += len(src.senders)
		}
	}
	return senders, s.unnamed
}

func (s *Sources) source(tenant, name string) *source {
	all := s.tenants[tenant]
	if all == nil {
		all = map[string]*source{}
		s.tenants[tenant] = all
	}
	src := all[name]
	if src == nil {
		src = &source{keys: map[string]*sender{}, senders: map[string]*sender{}}
		all[name] = src
	}
	return src
}

// sender is one by name, nil if it is not to be known.
func (s *source) sender(name string) *sender {
	if name == "" {
		return nil
	}
	from := s.senders[name]
	if from == nil && len(s.senders) < maxSenders {
		name = strings.Clone(name)
		from = &sender{name: name}
		s.senders[name] = from
	}
	return from
}

// heard takes in that something came, and tells whether the sender has become one to remember.
func (s *sender) heard(key string, at time.Time) bool {
	was := s.remembered()
	switch key {
	case SpansKey:
		last := s.spans.last
		s.spans.beat(at, 0)
		if s.improbable < doubt && s.spans.silence.From.Equal(last) {
			s.spans.silence = store.Window{} // nobody asked
		}
		s.improbable = 0
	case LogsKey: // which come when there is something to say
	default:
		s.metrics.beat(at, settle)
	}
	return s.remembered() != was
}

// remembered tells of which signals a silence would mean something.
func (s *sender) remembered() [2]bool { return [2]bool{s.spans.steady(), s.established()} }

func (s *sender) established() bool {
	return s.metrics.steady() && s.metrics.last.Sub(s.metrics.begun) >= established
}

// Answers is what others' calls tell of a service that answers them.
type Answers struct {
	// Likely is how likely the service's own span of such a call comes.
	Likely float64
	// Calls came, of which Failed were not answered, or badly.
	Calls, Failed int
}

// Answered takes in what calls of others that came at at tell of a service. One that failed speaks against all that were
// answered before.
func (s *Sources) Answered(tenant, service string, a Answers, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var senders []*sender
	heard := false // by one of the sources, whichever it sends to by now
	for _, src := range s.tenants[tenant] {
		if from := src.senders[service]; from != nil && from.spans.batches > 0 {
			senders = append(senders, from)
			heard = heard || at.Sub(from.spans.last) <= from.spans.hold()
		}
	}
	for _, from := range senders {
		switch {
		case heard && from.spans.held(at): // it moved
			from.spans, from.improbable = pulse{}, 0
		case a.Failed > 0 || heard:
			from.improbable = 0
		default:
			from.answered = at
			if from.spans.held(at) { // those of calls from before it fell silent may have died with it
				from.improbable += float64(a.Calls) * improbability(a.Likely)
			}
		}
	}
}

// lost tells whether a service's spans are lost: others' calls are answered by it, and nothing of it is heard.
func (s *sender) lost(at time.Time) bool {
	fresh := s.spans.late()
	if s.outbreak != "" { // it takes more to say that it is well again
		fresh = s.spans.silent()
	}
	return s.spans.held(at) && s.improbable >= doubt && at.Sub(s.answered) <= fresh
}

// gone tells whether metrics that came for long no longer come.
func (s *sender) gone(at time.Time) bool {
	return s.metrics.held(at) && s.established() && at.Sub(s.metrics.last) <= forgetAfter
}

// standing is how the sources of a rule stand.
type standing struct {
	late    string       // one to wait for, "" if there is none
	silence store.Window // when one of them was late last
}

// of tells how the sources of keys stand. A key that several sources bring waits when all of them are to be waited for, one
// of a single sender for that; one that nobody is known to bring waits for nobody.
func (s *Sources) of(tenant string, keys []string, at time.Time, quiet *silences) (out standing) {
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
			only, brings := src.keys[k]
			switch {
			case !brings:
			case src.held(at):
				late = append(late, name)
			case only != nil && k != SpansKey && k != LogsKey && only.gone(at):
				late = append(late, only.name)
				quiet.needed(only)
			default:
				live = true
				silence := src.silence
				if only != nil && k != SpansKey && k != LogsKey && only.metrics.silence.To.After(silence.To) {
					silence = only.metrics.silence
				}
				if silence.To.After(out.silence.To) {
					out.silence = silence
				}
			}
		}
		if len(late) > 0 && !live {
			out.late = late[0]
		}
	}
	return out
}

// silences are the senders of a tenant of whom nothing is heard, or was until a moment ago.
type silences struct {
	spans, metrics map[string]silence // by service, and by job, or job and instance
	// used are those because of which something was not judged.
	used map[*sender]bool
}

type silence struct {
	store.Window
	of *sender // nil of those who send again
}

func (q *silences) needed(s *sender) {
	if q != nil && s != nil {
		q.used[s] = true
	}
}

// blind tells whether a datapoint of an alarm, or that there is none, says nothing because of who is silent. From is since
// when.
func (q *silences) blind(w *watch, labels map[string]string, at time.Time, present bool) (from time.Time, blind bool) {
	if q == nil || len(q.spans)+len(q.metrics) == 0 {
		return from, false
	}
	counted := slices.Contains(w.keys, SpansKey) || slices.Contains(w.keys, LogsKey)
	var lag time.Duration
	find := func(by map[string]silence, names ...string) {
		for _, n := range names {
			if s, ok := by[n]; ok && n != "" && s.Contains(at.Add(-lag)) {
				from, blind = s.From, true
				q.needed(s.of)
				return
			}
		}
	}
	switch {
	case counted:
		lag = time.Duration(w.rule.Period) / 2 // a period is blind if more than half of it is
		find(q.spans, labels["service_name"], labels["service.name"], labels["service"])
	case !present:
		find(q.metrics, targetName(labels["job"], labels["instance"]), labels["job"], labels["service_name"], labels["service"])
	}
	return from, blind
}

// targetName tells targets of a job apart.
func targetName(job, instance string) string {
	if instance == "" {
		return ""
	}
	return job + " " + instance
}

// silent are the senders that are.
func (s *Sources) silent(tenant string, at time.Time) *silences {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.looked[tenant]; !last.IsZero() && at.Sub(last) > settle {
		s.pass(tenant, at.Sub(last))
	}
	s.looked[tenant] = at
	if tenant == model.DefaultTenant && s.targets != nil {
		s.scraped(at)
	}
	q := &silences{spans: map[string]silence{}, metrics: map[string]silence{}, used: map[*sender]bool{}}
	endless := at.Add(time.Hour)
	for _, src := range s.tenants[tenant] {
		for name, from := range src.senders {
			switch {
			case from.lost(at):
				q.spans[name] = silence{store.Window{From: from.spans.last, To: endless}, from}
			case from.spans.silence.To.After(at.Add(-time.Hour)): // which rules of long periods still see
				q.spans[name] = silence{Window: from.spans.silence}
			}
			job := name[strings.LastIndexByte(name, '/')+1:] // of namespace/service
			switch {
			case from.gone(at):
				q.metrics[name] = silence{store.Window{From: from.metrics.last, To: endless}, from}
				q.metrics[job] = q.metrics[name]
			case from.metrics.silence.To.After(at):
				q.metrics[name] = silence{Window: from.metrics.silence}
				q.metrics[job] = q.metrics[name]
			}
		}
	}
	return q
}

// pass lets a time pass in which triage itself stood still, as on a machine that slept: nobody was silent in it.
func (s *Sources) pass(tenant string, length time.Duration) {
	for _, src := range s.tenants[tenant] {
		src.pass(length)
		for _, from := range src.senders {
			if from.outbreak == "" {
				from.spans.pass(length)
				from.metrics.pass(length)
			}
		}
	}
}

// scraped takes in how targets fare. One that is no longer scraped is not missed; one that is fails.
func (s *Sources) scraped(at time.Time) {
	src := s.source(model.DefaultTenant, SourceScrape)
	listed := make(map[string]bool)
	for _, t := range s.targets() {
		name := targetName(t.Job, t.Instance)
		from := src.sender(name)
		if from == nil {
			continue
		}
		listed[name] = true
		if from.metrics.batches == 0 { // it is to be there, so that its silence means something at once
			from.metrics = pulse{last: at, begun: at.Add(-established), batches: steady, pause: leastSilent / silentFactor}
		}
		if t.Up {
			from.metrics.beat(at, settle)
			from.metrics.begun = at.Add(-established)
		}
	}
	maps.DeleteFunc(src.senders, func(name string, _ *sender) bool { return !listed[name] })
}

// storedSource is what of a source outlives a restart.
type storedSource struct {
	Pause time.Duration `json:"pause_ns"`
	// Down is since when it is silent, if it is told to be.
	Down    time.Time      `json:"down,omitzero"`
	Keys    []string       `json:"keys"`
	Senders []storedSender `json:"senders,omitempty"`
}

type storedSender struct {
	Name    string        `json:"name"`
	Spans   time.Duration `json:"spans_pause_ns,omitempty"`
	Metrics time.Duration `json:"metrics_pause_ns,omitempty"`
	// Outbreak and Down are those of a sender that is told to be silent.
	Outbreak string    `json:"outbreak,omitempty"`
	Down     time.Time `json:"down,omitzero"`
	// Keys are the metrics that it alone sends.
	Keys []string `json:"keys,omitempty"`
}

// Load reads which sources and senders there were, as if each had just sent something: one that never comes back is silent
// in time. Those that were told to be silent still are.
func (s *Sources) Load(ctx context.Context, state store.State, tenant string, at time.Time) error {
	docs, err := state.Documents(ctx, tenant, sourceKind)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tenants, tenant)
	for _, d := range docs {
		var stored storedSource
		if err := json.Unmarshal(d.Body, &stored); err != nil {
			return fmt.Errorf("source %s: %w", d.Name, err)
		}
		src := s.source(tenant, d.Name)
		src.pulse = restoredPulse(stored.Pause, stored.Down, at)
		for _, k := range stored.Keys {
			src.keys[k] = nil
		}
		for _, t := range stored.Senders {
			from := &sender{name: t.Name, outbreak: t.Outbreak}
			if t.Spans > 0 {
				from.spans = restoredPulse(t.Spans, t.Down, at)
			}
			if t.Outbreak != "" { // what showed it goes on to, until it is out of date
				from.answered, from.improbable = at, doubt
			}
			if t.Metrics > 0 {
				from.metrics = restoredPulse(t.Metrics, t.Down, at)
			}
			src.senders[t.Name] = from
			for _, k := range t.Keys {
				src.keys[k] = from
			}
		}
	}
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
		if !src.changed || !src.steady() || name == SourceScrape {
			continue
		}
		b, err := json.Marshal(src.stored())
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

func (s *source) stored() storedSource {
	out := storedSource{Pause: s.pause, Keys: []string{}}
	if s.down {
		out.Down = s.last
	}
	own := make(map[*sender][]string)
	for _, k := range slices.Sorted(maps.Keys(s.keys)) {
		if from := s.keys[k]; from != nil {
			own[from] = append(own[from], k)
		} else {
			out.Keys = append(out.Keys, k)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.senders)) {
		from := s.senders[name]
		t := storedSender{Name: name, Outbreak: from.outbreak, Keys: own[from]}
		if from.outbreak != "" {
			t.Down = from.since()
		}
		if from.spans.steady() {
			t.Spans = max(from.spans.pause, 1)
		}
		if from.established() {
			t.Metrics = max(from.metrics.pause, 1)
		}
		if t.Spans+t.Metrics > 0 || len(t.Keys) > 0 {
			out.Senders = append(out.Senders, t)
		}
	}
	return out
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

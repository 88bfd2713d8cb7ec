package metrics

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	promname "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"triage/internal/store"
)

const (
	// staleAfter is how long a value counts when none follows it, as in PromQL.
	staleAfter = 5 * time.Minute
	// maxIdentities bounds the processes, containers and targets that are looked for.
	maxIdentities = 200
)

// notOwn are names that do not describe the service itself: series that triage derives from spans, what scraping says of
// itself, and labels in the shape of a metric.
var notOwn = regexp.MustCompile(`^(?:traces_(?:span_metrics|service_graph)_.*|scrape_.*|target_info|ALERTS.*)$`)

// ServiceSeries implements store.Metrics. The value of a step describes the time from its start to the next step's: a
// gauge is the mean of its samples, or the last one before if that is less than five minutes old; a rate is the part of
// each increase that fell into the step, taking it as evenly spread between two samples.
//
// Past limit, the lines left out are those of metrics that have most series.
func (s *Store) ServiceSeries(ctx context.Context, tenant, service string, w store.Window, step time.Duration, limit int) ([]store.Line, error) {
	if err := checkRange(w, step); err != nil {
		return nil, fmt.Errorf("series of service %s: %w", service, err)
	}
	q, err := s.Queryable(tenant)
	if err != nil {
		return nil, err
	}
	from := w.From.Add(-staleAfter)
	querier, err := q.Querier(from.UnixMilli(), w.To.Add(staleAfter).UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("series of service %s: %w", service, err)
	}
	defer querier.Close()

	found, err := seriesOf(ctx, querier, service)
	if err != nil {
		return nil, fmt.Errorf("series of service %s: %w", service, err)
	}
	n := int((w.Len() + step - 1) / step)
	grid := grid{from: w.From.UnixMilli(), to: w.To.UnixMilli(), step: step.Milliseconds(), n: n}
	lines := []store.Line{}
	for _, src := range s.sources(tenant, found) {
		if len(lines) >= limit {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		made, err := src.lines(grid, w.From, step)
		if err != nil {
			return nil, fmt.Errorf("series %s of service %s: %w", src.labels, service, err)
		}
		lines = append(lines, made...)
	}
	lines = lines[:min(len(lines), limit)]
	slices.SortStableFunc(lines, func(a, b store.Line) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return labels.Compare(labels.FromMap(a.Labels), labels.FromMap(b.Labels))
	})
	return lines, nil
}

// RPCServers implements store.Metrics.
func (s *Store) RPCServers(ctx context.Context, tenant, rpcService string, w store.Window) ([]string, error) {
	q, err := s.Queryable(tenant)
	if err != nil {
		return nil, err
	}
	querier, err := q.Querier(w.From.UnixMilli(), w.To.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("servers of %s: %w", rpcService, err)
	}
	defer querier.Close()

	found := map[string]bool{}
	for _, m := range []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, "rpc_service", rpcService),
		labels.MustNewMatcher(labels.MatchRegexp, "rpc_method", regexp.QuoteMeta(rpcService)+"/.*"),
	} {
		set := querier.Select(ctx, false, nil, labels.MustNewMatcher(labels.MatchRegexp, promname.MetricNameLabel, "rpc_server_.+"), m)
		for set.Next() {
			ls := set.At().Labels()
			job := ls.Get("job")
			found[cmp.Or(ls.Get("service_name"), job[strings.LastIndexByte(job, '/')+1:])] = true
		}
		if err := set.Err(); err != nil {
			return nil, fmt.Errorf("servers of %s: %w", rpcService, err)
		}
	}
	delete(found, "")
	return slices.Sorted(maps.Keys(found)), nil
}

// seriesOf finds the series of a service by their labels.
func seriesOf(ctx context.Context, q storage.Querier, service string) (map[string]storage.Series, error) {
	found := map[string]storage.Series{}
	ids := identities{}
	collect := func(ms ...*labels.Matcher) error {
		set := q.Select(ctx, false, nil, ms...)
		for set.Next() {
			series := set.At()
			ls := series.Labels()
			ids.learn(ls)
			if !notOwn.MatchString(ls.Get(promname.MetricNameLabel)) {
				found[ls.String()] = series
			}
		}
		return set.Err()
	}
	quoted := regexp.QuoteMeta(service)
	for _, m := range []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, "service_name", service),
		labels.MustNewMatcher(labels.MatchRegexp, "job", "(?:.+/)?"+quoted),
	} {
		if err := collect(m); err != nil {
			return nil, err
		}
	}
	// A target_info joins series of the same job and instance, a process or container those that its host reports.
	for _, id := range ids.list() {
		if err := collect(id...); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// identities are what a service's series say it runs as: label matchers by their text.
type identities map[string][]*labels.Matcher

func (ids identities) learn(ls labels.Labels) {
	add := func(pairs ...string) {
		if len(ids) >= maxIdentities {
			return
		}
		ms := make([]*labels.Matcher, 0, len(pairs)/2)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] == "" {
				return
			}
			ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, pairs[i], pairs[i+1]))
		}
		ids[strings.Join(pairs, "\x00")] = ms
	}
	if ls.Get(promname.MetricNameLabel) == "target_info" {
		add("job", ls.Get("job"), "instance", ls.Get("instance"))
	}
	add("host_name", ls.Get("host_name"), "process_pid", ls.Get("process_pid"))
	add("container_id", ls.Get("container_id"))
}

func (ids identities) list() [][]*labels.Matcher {
	out := make([][]*labels.Matcher, 0, len(ids))
	for _, key := range slices.Sorted(maps.Keys(ids)) {
		out = append(out, ids[key])
	}
	return out
}

// source is one or, for classic histograms and summaries, two series that make lines.
type source struct {
	labels labels.Labels // with the name that lines get
	value  storage.Series
	// sum and count are set instead of value.
	sum, count storage.Series
	counter    bool
}

// sources turns series into sources, the first of each metric before the second of any.
func (s *Store) sources(tenant string, found map[string]storage.Series) []source {
	meta, err := s.Metadata(tenant)
	if err != nil {
		meta = nil // closing; names will do
	}
	typeOf := func(name string) string {
		if md, ok := meta[name]; ok {
			return md.Type
		}
		return meta[strings.TrimSuffix(name, "_total")].Type
	}
	byName := map[string][]source{}
	for _, series := range found {
		ls := series.Labels()
		name := ls.Get(promname.MetricNameLabel)
		base, suffix := classicName(name)
		sibling := func(suffix string) storage.Series {
			return found[labels.NewBuilder(ls).Set(promname.MetricNameLabel, base+suffix).Labels().String()]
		}
		src := source{labels: ls, value: series}
		switch {
		case suffix == bucketSuffix && ls.Has(labels.BucketLabel), strings.HasSuffix(name, "_created"):
			continue
		case suffix == sumSuffix && sibling(countSuffix) != nil:
			continue // said by its count
		case suffix == countSuffix && sibling(sumSuffix) != nil:
			src = source{
				labels: labels.NewBuilder(ls).Set(promname.MetricNameLabel, base).Labels(),
				sum:    sibling(sumSuffix), count: series,
			}
		default:
			src.counter = strings.HasSuffix(name, "_total") || typeOf(name) == "counter"
		}
		byName[src.labels.Get(promname.MetricNameLabel)] = append(byName[src.labels.Get(promname.MetricNameLabel)], src)
	}
	var out []source
	names := slices.Sorted(maps.Keys(byName))
	for _, name := range names {
		slices.SortFunc(byName[name], func(a, b source) int { return labels.Compare(a.labels, b.labels) })
	}
	for rank := 0; len(out) < len(found); rank++ {
		before := len(out)
		for _, name := range names {
			if rank < len(byName[name]) {
				out = append(out, byName[name][rank])
			}
		}
		if len(out) == before {
			break
		}
	}
	return out
}

// grid is the steps that lines have values for, in ms.
type grid struct {
	from, to, step int64
	n              int
}

// lines reads the source. Lines without any value are left out.
func (src source) lines(g grid, start time.Time, step time.Duration) ([]store.Line, error) {
	var out []store.Line
	add := func(suffix, typ string, values []float64) {
		if !slices.ContainsFunc(values, func(v float64) bool { return !math.IsNaN(v) }) {
			return
		}
		line := newLine(src.labels, typ, start, step, 0)
		line.Name += suffix
		line.Values = values
		out = append(out, line)
	}
	if src.value == nil {
		sums, _, err := readSamples(src.sum)
		if err != nil {
			return nil, err
		}
		counts, _, err := readSamples(src.count)
		if err != nil {
			return nil, err
		}
		meanAndRate(g, sums, counts, add)
		return out, nil
	}
	floats, histograms, err := readSamples(src.value)
	if err != nil {
		return nil, err
	}
	if len(histograms.sums) > 0 {
		meanAndRate(g, histograms.sums, histograms.counts, add)
		return out, nil
	}
	if src.counter {
		add("", "rate", g.perSecond(g.increase(floats, nil)))
	} else {
		add("", "gauge", g.gauge(floats))
	}
	return out, nil
}

func meanAndRate(g grid, sums, counts []sample, add func(suffix, typ string, values []float64)) {
	count := g.increase(counts, nil)
	sum := g.increase(sums, resets(counts))
	mean := make([]float64, g.n)
	for i := range mean {
		mean[i] = math.NaN()
		if count[i] > 0 {
			mean[i] = sum[i] / count[i]
		}
	}
	add(":mean", "mean", mean)
	add(":rate", "rate", g.perSecond(count))
}

type sample struct {
	t int64
	v float64
}

type histogramSamples struct{ sums, counts []sample }

// readSamples reads a series. Stale markers stay in, as NaN.
func readSamples(s storage.Series) (floats []sample, h histogramSamples, err error) {
	it := s.Iterator(nil)
	var fh *histogram.FloatHistogram
	for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
		if vt == chunkenc.ValFloat {
			t, v := it.At()
			floats = append(floats, sample{t, v})
			continue
		}
		var t int64
		t, fh = it.AtFloatHistogram(fh)
		count := fh.Count
		if value.IsStaleNaN(fh.Sum) {
			count = fh.Sum
		}
		h.sums = append(h.sums, sample{t, fh.Sum})
		h.counts = append(h.counts, sample{t, count})
	}
	return floats, h, it.Err()
}

// resets are the times at which a counter is found to have begun again.
func resets(samples []sample) map[int64]bool {
	at := map[int64]bool{}
	for i := 1; i < len(samples); i++ {
		if samples[i].v < samples[i-1].v {
			at[samples[i].t] = true
		}
	}
	return at
}

// increase is how much a counter grew within each step. reset, if not nil, says when it began again, for sums that may
// fall by themselves.
func (g grid) increase(samples []sample, reset map[int64]bool) []float64 {
	out := make([]float64, g.n)
	known := make([]int64, g.n) // ms of each step that are covered by samples
	for i := 1; i < len(samples); i++ {
		a, b := samples[i-1], samples[i]
		gap := b.t - a.t
		if math.IsNaN(a.v) || math.IsNaN(b.v) || gap <= 0 || gap > staleAfter.Milliseconds() {
			continue
		}
		grown := b.v - a.v
		if reset == nil && grown < 0 || reset[b.t] {
			grown = b.v
		}
		for k := max((a.t-g.from)/g.step, 0); k < int64(g.n); k++ {
			lo, hi := max(g.from+k*g.step, a.t), min(g.from+(k+1)*g.step, b.t)
			if lo >= b.t {
				break
			}
			if hi > lo {
				out[k] += grown * float64(hi-lo) / float64(gap)
				known[k] += hi - lo
			}
		}
	}
	for k := range out {
		if known[k] == 0 {
			out[k] = math.NaN()
			continue
		}
		// A step that is only partly covered, as the first and last are, counts as if the rest were alike.
		out[k] *= float64(g.step) / float64(known[k])
	}
	return out
}

func (g grid) perSecond(increase []float64) []float64 {
	out := make([]float64, len(increase))
	for i, v := range increase {
		out[i] = v * 1000 / float64(g.step)
	}
	return out
}

// gauge is the mean of the samples in each step, or the last before it while that is fresh.
func (g grid) gauge(samples []sample) []float64 {
	out := make([]float64, g.n)
	last := sample{math.MinInt64 / 2, math.NaN()}
	i := 0
	for k := range out {
		begin, end := g.from+int64(k)*g.step, g.from+int64(k+1)*g.step
		var sum float64
		var n int
		for ; i < len(samples) && samples[i].t < end; i++ {
			last = samples[i]
			if last.t >= begin && !math.IsNaN(last.v) {
				sum += last.v
				n++
			}
		}
		switch {
		case n > 0:
			out[k] = sum / float64(n)
		case begin-last.t <= staleAfter.Milliseconds():
			out[k] = last.v // NaN if it was marked stale
		default:
			out[k] = math.NaN()
		}
	}
	return out
}

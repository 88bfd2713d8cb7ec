package metrics

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	promname "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Queryable reads one tenant's series. Besides the names under which series are stored it answers
//
//   - X_bucket, X_sum and X_count from a native histogram X, next to series that are stored under those names;
//   - names with dots ("http.server.duration", "service.name") where nothing is stored under them, from the names that
//     OpenTelemetry's rules translate them to: underscores, unit and _total suffix.
//
// Readers of chunks (remote read) get what is stored and no more.
type Queryable struct {
	store  *Store
	tenant string
}

// Queryable gives the tenant's. A tenant without data has no series.
func (s *Store) Queryable(tenant string) (storage.SampleAndChunkQueryable, error) {
	_, release, err := s.use(tenant, false)
	if err != nil {
		return nil, err
	}
	release()
	return &Queryable{store: s, tenant: tenant}, nil
}

// Querier implements storage.Queryable.
func (q *Queryable) Querier(mint, maxt int64) (storage.Querier, error) {
	t, release, err := q.store.use(q.tenant, false)
	if err != nil {
		return nil, err
	}
	if t == nil {
		release()
		return storage.NoopQuerier(), nil
	}
	inner, err := t.db.Querier(mint, maxt)
	if err != nil {
		release()
		return nil, err
	}
	return &querier{Querier: inner, release: release}, nil
}

// ChunkQuerier implements storage.ChunkQueryable.
func (q *Queryable) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	t, release, err := q.store.use(q.tenant, false)
	if err != nil {
		return nil, err
	}
	if t == nil {
		release()
		return storage.NoopChunkedQuerier(), nil
	}
	inner, err := t.db.ChunkQuerier(mint, maxt)
	if err != nil {
		release()
		return nil, err
	}
	return &chunkQuerier{ChunkQuerier: inner, release: release}, nil
}

// ExemplarQuerier implements storage.ExemplarQueryable. Exemplars of a native histogram answer to its classic names too.
func (q *Queryable) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	t, release, err := q.store.use(q.tenant, false)
	if err != nil {
		return nil, err
	}
	defer release() // exemplars live in plain memory
	if t == nil {
		return exemplarQuerier{}, nil
	}
	inner, err := t.db.ExemplarQuerier(ctx)
	return exemplarQuerier{inner}, err
}

type exemplarQuerier struct{ storage.ExemplarQuerier }

func (q exemplarQuerier) Select(start, end int64, sets ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	if q.ExemplarQuerier == nil {
		return nil, nil
	}
	for _, ms := range slices.Clone(sets) {
		if base, suffix := classicName(nameOf(ms)); suffix != "" {
			sets = append(sets, renamed(ms, base, suffix == bucketSuffix))
		}
	}
	return q.ExemplarQuerier.Select(start, end, sets...)
}

type chunkQuerier struct {
	storage.ChunkQuerier
	release func()
}

func (q *chunkQuerier) Close() error {
	defer q.release()
	return q.ChunkQuerier.Close()
}

type querier struct {
	storage.Querier
	release func()
}

func (q *querier) Close() error {
	defer q.release()
	return q.Querier.Close()
}

// Select implements storage.Querier.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	ms, err := q.resolve(ctx, ms)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	base, suffix := classicName(nameOf(ms))
	if suffix == "" {
		return q.Querier.Select(ctx, sorted, hints, ms...)
	}
	stored := q.Querier.Select(ctx, true, hints, ms...)
	native := q.selectNative(ctx, hints, renamed(ms, base, suffix == bucketSuffix))
	made, err := classicSeries(native, suffix, leMatchers(ms))
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	if len(made) == 0 {
		return stored
	}
	// Where the same series is stored too, its samples and ours fall together.
	return storage.NewMergeSeriesSet([]storage.SeriesSet{stored, &seriesList{series: made}}, 0, storage.ChainedSeriesMerge)
}

func (q *querier) selectNative(ctx context.Context, hints *storage.SelectHints, ms []*labels.Matcher) storage.SeriesSet {
	if hints != nil && hints.Func == "series" {
		// That hint asks for labels without samples, and only samples tell a histogram from a gauge.
		h := *hints
		h.Func = ""
		hints = &h
	}
	return q.Querier.Select(ctx, true, hints, ms...)
}

// LabelValues implements storage.Querier.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	ms, err := q.resolve(ctx, ms)
	if err != nil {
		return nil, nil, err
	}
	vals, warns, err := q.Querier.LabelValues(ctx, name, hints, ms...)
	if err != nil || len(vals) > 0 {
		return vals, warns, err
	}
	if base, suffix := classicName(nameOf(ms)); suffix != "" && name != promname.MetricNameLabel {
		return q.Querier.LabelValues(ctx, name, hints, renamed(ms, base, suffix == bucketSuffix)...)
	}
	if u := underscored(name); u != name {
		return q.Querier.LabelValues(ctx, u, hints, ms...)
	}
	return vals, warns, nil
}

// LabelNames implements storage.Querier.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	ms, err := q.resolve(ctx, ms)
	if err != nil {
		return nil, nil, err
	}
	names, warns, err := q.Querier.LabelNames(ctx, hints, ms...)
	if err != nil || len(names) > 0 {
		return names, warns, err
	}
	if base, suffix := classicName(nameOf(ms)); suffix != "" {
		return q.Querier.LabelNames(ctx, hints, renamed(ms, base, suffix == bucketSuffix)...)
	}
	return names, warns, nil
}

// nameOf is the metric name that the matchers ask for, "" if they ask for none or several.
func nameOf(ms []*labels.Matcher) string {
	for _, m := range ms {
		if m.Name == promname.MetricNameLabel && m.Type == labels.MatchEqual {
			return m.Value
		}
	}
	return ""
}

// The suffixes that classic histograms add to their name.
const (
	bucketSuffix = "_bucket"
	sumSuffix    = "_sum"
	countSuffix  = "_count"
)

func classicName(name string) (base, suffix string) {
	for _, s := range []string{bucketSuffix, sumSuffix, countSuffix} {
		if base, ok := strings.CutSuffix(name, s); ok && base != "" {
			return base, s
		}
	}
	return name, ""
}

// renamed copies matchers with another metric name, and without those of the label le that native histograms lack.
func renamed(ms []*labels.Matcher, name string, withoutLE bool) []*labels.Matcher {
	out := make([]*labels.Matcher, 0, len(ms))
	for _, m := range ms {
		switch {
		case m.Name == promname.MetricNameLabel && m.Type == labels.MatchEqual:
			out = append(out, labels.MustNewMatcher(labels.MatchEqual, promname.MetricNameLabel, name))
		case m.Name == labels.BucketLabel && withoutLE:
		default:
			out = append(out, m)
		}
	}
	return out
}

func leMatchers(ms []*labels.Matcher) (le []*labels.Matcher) {
	for _, m := range ms {
		if m.Name == labels.BucketLabel {
			le = append(le, m)
		}
	}
	return le
}

// underscored replaces what Prometheus' classic names cannot have.
func underscored(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == ':' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, s)
}

// unitSuffix is what translation of OpenTelemetry names may append for units.
const unitSuffix = `(?:_(?:seconds|milliseconds|microseconds|nanoseconds|minutes|hours|days|bytes|kibibytes|mebibytes|` +
	`gibibytes|tibibytes|kilobytes|megabytes|gigabytes|terabytes|bits|ratio|percent|celsius|volts|amperes|joules|watts|` +
	`meters|grams|hertz)(?:_per_second)?)?`

// resolve replaces dotted names by the underscored ones that have series, where the dotted ones have none.
func (q *querier) resolve(ctx context.Context, ms []*labels.Matcher) ([]*labels.Matcher, error) {
	name := nameOf(ms)
	dotted := strings.Contains(name, ".")
	for _, m := range ms {
		dotted = dotted || strings.Contains(m.Name, ".")
	}
	if !dotted {
		return ms, nil
	}
	found, err := q.names(ctx, ms, 1)
	if err != nil || len(found) > 0 {
		return ms, err
	}

	plain := make([]*labels.Matcher, 0, len(ms))
	for _, m := range ms {
		if m.Name == promname.MetricNameLabel && m.Type == labels.MatchEqual {
			continue
		}
		if strings.Contains(m.Name, ".") {
			n, err := labels.NewMatcher(m.Type, underscored(m.Name), m.Value)
			if err != nil {
				return nil, fmt.Errorf("match label %s: %w", m.Name, err)
			}
			m = n
		}
		plain = append(plain, m)
	}
	if name == "" {
		return plain, nil
	}
	equal := func(n string) []*labels.Matcher {
		return append(plain, labels.MustNewMatcher(labels.MatchEqual, promname.MetricNameLabel, n))
	}
	u := underscored(name)
	base, suffix := classicName(u)
	like, err := labels.NewMatcher(labels.MatchRegexp, promname.MetricNameLabel,
		"("+regexp.QuoteMeta(u)+"|"+regexp.QuoteMeta(base)+")"+unitSuffix+"(?:_total|_bucket|_sum|_count)?")
	if err != nil {
		return nil, fmt.Errorf("match name %s: %w", name, err)
	}
	if found, err = q.names(ctx, append(slices.Clone(plain), like), 0); err != nil {
		return nil, err
	}
	// Shorter names first: the fewer suffixes, the nearer to what was asked for.
	slices.SortStableFunc(found, func(a, b string) int { return len(a) - len(b) })
	for _, n := range found {
		if n == u {
			return equal(n), nil
		}
	}
	for _, n := range found {
		nb, ns := classicName(n)
		switch {
		case suffix == "" && ns == "", suffix != "" && ns == suffix && nb != base:
			return equal(n), nil
		case suffix != "" && ns == "" && !strings.HasSuffix(n, "_total"):
			return equal(n + suffix), nil // a native histogram, perhaps
		}
	}
	return equal(u), nil
}

func (q *querier) names(ctx context.Context, ms []*labels.Matcher, limit int) ([]string, error) {
	names, _, err := q.Querier.LabelValues(ctx, promname.MetricNameLabel, &storage.LabelHints{Limit: limit}, ms...)
	return slices.Clone(names), err
}

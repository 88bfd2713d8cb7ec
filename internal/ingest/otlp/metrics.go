package otlp

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	prommodel "github.com/prometheus/common/model"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"

	"triage/internal/model"
)

// Why data points are rejected, besides what sieve.go names.
const (
	invalidName      = "invalid_name"      // no Prometheus name can be made of the metric's
	invalidLabel     = "invalid_label"     // likewise of an attribute's, or there are too many, or one is too long
	invalidHistogram = "invalid_histogram" // buckets and bounds do not fit together
	noTemporality    = "no_temporality"    // neither delta nor cumulative
	noValue          = "no_value"          // a point without a value that does not say so
	outOfOrder       = "out_of_order"      // a delta older than one already added
	invalidDelta     = "invalid_delta"     // a delta that would make a sum useless: negative or not a number
	tooManyDeltas    = "too_many_deltas"   // no room for one more delta series
	untranslatable   = "untranslatable"    // refused by Prometheus' translation for another reason
)

// Limits of one series, so that one request cannot put a book into the index of labels.
const (
	maxLabels     = 128
	maxLabelValue = 8 << 10
	maxBounds     = 1024 // of a classic histogram, each of which is a series
)

// promoted are the resource attributes that become labels of every series of a resource. The rest is in target_info.
var promoted = []string{
	"service.name", "service.namespace", "service.instance.id", "service.version", "host.name", "process.pid",
	"container.id", "k8s.pod.name", "k8s.namespace.name", "deployment.environment.name",
}

// translator makes Prometheus series from OTLP metrics. It is safe for concurrent use.
type translator struct {
	promote *prometheusremotewrite.PromoteResourceAttributes
	deltas  *deltas
}

func newTranslator(d *deltas) *translator {
	return &translator{
		promote: prometheusremotewrite.NewPromoteResourceAttributes(config.OTLPConfig{PromoteResourceAttributes: promoted}),
		deltas:  d,
	}
}

// translate sieves data points, makes deltas cumulative and puts series into the batch. It changes md.
func (t *translator) translate(ctx context.Context, md pmetric.Metrics, s *sieve) error {
	c := &points{sieve: s, tenant: s.batch.Tenant, deltas: t.deltas}
	c.metrics(md)
	s.points = md.DataPointCount()
	if s.points == 0 {
		return nil
	}
	col := &collector{series: make([]model.Series, 0, s.points), index: make(map[uint64]int, s.points)}
	_, errs := prometheusremotewrite.NewPrometheusConverter(col).FromMetrics(ctx, md, prometheusremotewrite.Settings{
		AddMetricSuffixes:         true,
		PromoteResourceAttributes: t.promote,
		LookbackDelta:             c.infoInterval(),
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, err := range leaves(errs) {
		s.reject(untranslatable, 1, err.Error)
	}
	col.sort()
	s.batch.Series = col.series
	return nil
}

// leaves takes a tree of joined errors apart.
func leaves(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, leaves(e)...)
	}
	return out
}

// points sieves the data points of one request.
type points struct {
	*sieve
	tenant string
	deltas *deltas

	labelNamer otlptranslator.LabelNamer
	metricName otlptranslator.MetricNamer
	goodKeys   map[string]bool
	earliest   pcommon.Timestamp
	latest     pcommon.Timestamp
}

func (c *points) metrics(md pmetric.Metrics) {
	c.metricName.WithMetricSuffixes = true
	c.goodKeys = map[string]bool{}
	c.earliest = math.MaxUint64
	for i, rm := range md.ResourceMetrics().All() {
		c.at = [3]int{i, -1, -1}
		c.repair(rm.Resource().Attributes())
		c.trimResource(rm.Resource().Attributes())
		resource := hashOf(c.tenant, rm.Resource().Attributes())
		for j, sm := range rm.ScopeMetrics().All() {
			c.at = [3]int{i, j, -1}
			c.repair(sm.Scope().Attributes())
			scope := hashOf(sm.Scope().Name()+"\x00"+sm.Scope().Version(), sm.Scope().Attributes())
			k := -1
			sm.Metrics().RemoveIf(func(m pmetric.Metric) bool {
				k++
				c.at[2] = k
				m.SetDescription(c.name(m.Description()))
				m.SetUnit(c.name(m.Unit()))
				at := func() string { return fmt.Sprintf("%s %.100q", c.where(), m.Name()) }
				id := deltaID{resource: resource, scope: scope, metric: m.Name() + "\x00" + m.Unit(), typ: m.Type()}
				return !c.metric(m, id, at)
			})
		}
	}
}

// infoInterval is the lookback that spaces target_info samples. They fill the time between a resource's first and last
// point, which one stray timestamp could make decades.
func (c *points) infoInterval() time.Duration {
	const most = 500
	if c.latest < c.earliest {
		return 0
	}
	return max(5*time.Minute, 2*time.Duration(c.latest-c.earliest)/most)
}

func pointCount(m pmetric.Metric) int {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return m.Gauge().DataPoints().Len()
	case pmetric.MetricTypeSum:
		return m.Sum().DataPoints().Len()
	case pmetric.MetricTypeHistogram:
		return m.Histogram().DataPoints().Len()
	case pmetric.MetricTypeExponentialHistogram:
		return m.ExponentialHistogram().DataPoints().Len()
	case pmetric.MetricTypeSummary:
		return m.Summary().DataPoints().Len()
	}
	return 0
}

// metric sieves one metric's points and tells whether any are left.
func (c *points) metric(m pmetric.Metric, id deltaID, at func() string) bool {
	all := pointCount(m)
	if all == 0 {
		return false // nothing was said, nothing is lost
	}
	if name, err := c.metricName.Build(prometheusremotewrite.TranslatorMetricFromOtelMetric(m)); err != nil {
		c.reject(invalidName, all, func() string { return at() + ": " + err.Error() })
		return false
	} else if len(name) > maxLabelValue {
		c.reject(invalidName, all, func() string { return at() + ": name too long" })
		return false
	}
	temporality := pmetric.AggregationTemporalityCumulative
	switch m.Type() {
	case pmetric.MetricTypeSum:
		temporality = m.Sum().AggregationTemporality()
	case pmetric.MetricTypeHistogram:
		temporality = m.Histogram().AggregationTemporality()
	case pmetric.MetricTypeExponentialHistogram:
		temporality = m.ExponentialHistogram().AggregationTemporality()
	}
	delta := temporality == pmetric.AggregationTemporalityDelta
	if !delta && temporality != pmetric.AggregationTemporalityCumulative {
		c.reject(noTemporality, all, func() string { return at() + ": neither delta nor cumulative" })
		return false
	}

	switch m.Type() {
	case pmetric.MetricTypeGauge:
		m.Gauge().DataPoints().RemoveIf(func(p pmetric.NumberDataPoint) bool { return !c.number(p, at) })
	case pmetric.MetricTypeSum:
		m.Sum().DataPoints().RemoveIf(func(p pmetric.NumberDataPoint) bool {
			return !c.number(p, at) || delta && !c.delta(at, p, id, func(st *deltaState) string {
				return st.addNumber(p, m.Sum().IsMonotonic())
			})
		})
		m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	case pmetric.MetricTypeHistogram:
		m.Histogram().DataPoints().RemoveIf(func(p pmetric.HistogramDataPoint) bool {
			return !c.histogram(p, at) || delta && !c.delta(at, p, id, func(st *deltaState) string { return st.addHistogram(p) })
		})
		m.Histogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	case pmetric.MetricTypeExponentialHistogram:
		m.ExponentialHistogram().DataPoints().RemoveIf(func(p pmetric.ExponentialHistogramDataPoint) bool {
			return !c.exponential(p, at) || delta && !c.delta(at, p, id, func(st *deltaState) string { return st.addExponential(p) })
		})
		m.ExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	case pmetric.MetricTypeSummary:
		m.Summary().DataPoints().RemoveIf(func(p pmetric.SummaryDataPoint) bool { return !c.point(p, at) })
	}
	return pointCount(m) > 0
}

// delta makes a delta point cumulative and tells whether it counts.
func (c *points) delta(at func() string, p deltaPoint, id deltaID, add func(*deltaState) string) bool {
	if p.Flags().NoRecordedValue() {
		return true // a staleness marker says nothing of the sum
	}
	id.attrs = hashOf("", p.Attributes())
	if reason := c.deltas.add(id, p, c.now, add); reason != "" {
		c.reject(reason, 1, func() string { return at() + ": " + strings.ReplaceAll(reason, "_", " ") })
		return false
	}
	return true
}

// point sieves what all kinds of points have.
func (c *points) point(p interface {
	Attributes() pcommon.Map
	Timestamp() pcommon.Timestamp
}, at func() string) bool {
	t := p.Timestamp()
	if t == 0 {
		c.reject(noTime, 1, func() string { return at() + ": a point without a time" })
		return false
	}
	if _, ok := c.time(t); !ok {
		c.reject(inTheFuture, 1, func() string { return at() + ": a point at " + t.String() })
		return false
	}
	c.repair(p.Attributes())
	if bad := c.badKey(p.Attributes()); bad != "" {
		c.reject(invalidLabel, 1, func() string { return at() + ": " + bad })
		return false
	}
	c.earliest, c.latest = min(c.earliest, t), max(c.latest, t)
	return true
}

func (c *points) number(p pmetric.NumberDataPoint, at func() string) bool {
	if p.ValueType() == pmetric.NumberDataPointValueTypeEmpty && !p.Flags().NoRecordedValue() {
		c.reject(noValue, 1, func() string { return at() + ": a point without a value" })
		return false
	}
	c.exemplars(p.Exemplars())
	return c.point(p, at)
}

func (c *points) histogram(p pmetric.HistogramDataPoint, at func() string) bool {
	bounds, counts := p.ExplicitBounds().AsRaw(), p.BucketCounts().Len()
	if len(bounds) > maxBounds || counts != 0 && counts != len(bounds)+1 || !slices.IsSorted(bounds) || slices.ContainsFunc(bounds, math.IsNaN) {
		c.reject(invalidHistogram, 1, func() string {
			return fmt.Sprintf("%s: %d buckets for %d bounds", at(), counts, len(bounds))
		})
		return false
	}
	c.exemplars(p.Exemplars())
	// The translation gives exemplars to buckets in one pass over both.
	sortByValue(p.Exemplars())
	return c.point(p, at)
}

func sortByValue(e pmetric.ExemplarSlice) {
	order := make([]int, e.Len())
	for i := range order {
		order[i] = i
	}
	byValue := func(i, j int) int { return cmp.Compare(exemplarValue(e.At(i)), exemplarValue(e.At(j))) }
	if slices.IsSortedFunc(order, byValue) {
		return
	}
	slices.SortStableFunc(order, byValue)
	sorted := pmetric.NewExemplarSlice()
	sorted.EnsureCapacity(e.Len())
	for _, i := range order {
		e.At(i).CopyTo(sorted.AppendEmpty())
	}
	sorted.CopyTo(e)
}

func exemplarValue(e pmetric.Exemplar) float64 {
	if e.ValueType() == pmetric.ExemplarValueTypeInt {
		return float64(e.IntValue())
	}
	return e.DoubleValue()
}

func (c *points) exponential(p pmetric.ExponentialHistogramDataPoint, at func() string) bool {
	// Prometheus has no finer buckets than its highest schema's, which are merged, and no coarser ones than its lowest's.
	if !bucketsFit(p.Positive()) || !bucketsFit(p.Negative()) {
		c.reject(invalidHistogram, 1, func() string { return at() + ": buckets beyond 32-bit indexes" })
		return false
	}
	if !fit(p) {
		c.reject(invalidHistogram, 1, func() string {
			return fmt.Sprintf("%s: no scale of at least %d holds it", at(), histogram.ExponentialSchemaMin)
		})
		return false
	}
	c.exemplars(p.Exemplars())
	return c.point(p, at)
}

// exemplars drops those without a value, which would cost the whole metric.
func (c *points) exemplars(e pmetric.ExemplarSlice) {
	if e.Len() == 0 {
		return
	}
	e.RemoveIf(func(x pmetric.Exemplar) bool {
		c.repair(x.FilteredAttributes())
		if x.ValueType() == pmetric.ExemplarValueTypeEmpty {
			c.repaired["exemplar_no_value"]++
			return true
		}
		return false
	})
}

// repair makes attribute values UTF-8. Keys need none: making label names of them replaces what is no letter.
func (c *points) repair(m pcommon.Map) {
	for _, v := range m.All() {
		switch v.Type() {
		case pcommon.ValueTypeStr:
			if !utf8.ValidString(v.Str()) {
				v.SetStr(c.text(v.Str(), maxValue))
			}
		case pcommon.ValueTypeSlice, pcommon.ValueTypeMap:
			if text := v.AsString(); !utf8.ValidString(text) {
				v.SetStr(c.text(text, maxValue))
			}
		}
	}
}

// badKey says what keeps attributes from being labels, "" if nothing does.
func (c *points) badKey(m pcommon.Map) string {
	if m.Len() > maxLabels {
		return fmt.Sprintf("%d attributes, at most %d", m.Len(), maxLabels)
	}
	for k, v := range m.All() {
		if !c.goodKey(k) {
			return fmt.Sprintf("attribute %.100q makes no label", k)
		}
		if n := textLen(v); n > maxLabelValue {
			return fmt.Sprintf("attribute %.100q of %d bytes, at most %d", k, n, maxLabelValue)
		}
	}
	return ""
}

// trimResource drops the attributes of a resource that make no label. They would only have described the target, which
// is no reason to lose its values: command lines, for one, are longer than labels should be.
func (c *points) trimResource(m pcommon.Map) {
	n := 0
	m.RemoveIf(func(k string, v pcommon.Value) bool {
		n++
		if n <= maxLabels && c.goodKey(k) && textLen(v) <= maxLabelValue {
			return false
		}
		c.repaired[invalidLabel]++
		return true
	})
}

func (c *points) goodKey(k string) bool {
	good, known := c.goodKeys[k]
	if !known {
		_, err := c.labelNamer.Build(k)
		good = err == nil && len(k) <= maxLabelValue
		c.goodKeys[k] = good
	}
	return good
}

func textLen(v pcommon.Value) int {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return len(v.Str())
	case pcommon.ValueTypeSlice, pcommon.ValueTypeMap, pcommon.ValueTypeBytes:
		return len(v.AsString())
	}
	return 0
}

// collector is the appender that Prometheus' translation writes to. Nothing is committed: it only keeps series apart.
type collector struct {
	series []model.Series
	// index finds the newest entry of a label set by its hash.
	index map[uint64]int
}

var _ storage.AppenderV2 = (*collector)(nil)

// Append implements storage.AppenderV2.
func (c *collector) Append(_ storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AOptions) (storage.SeriesRef, error) {
	if o.Metadata.Type == prommodel.MetricTypeGauge {
		st = 0 // gauges begin nowhere; what OTLP gives is when the process did
	}
	hash := ls.Hash()
	i, ok := c.index[hash]
	// A series that began anew within the request takes a second entry, because an entry has one beginning. So do label
	// sets whose hashes collide.
	if !ok || !labels.Equal(c.series[i].Labels, ls) || st != 0 && c.series[i].Created != st {
		i = len(c.series)
		c.index[hash] = i
		c.series = append(c.series, model.Series{
			Labels: ls, Created: st,
			Type: string(o.Metadata.Type), Unit: o.Metadata.Unit, Help: o.Metadata.Help,
		})
	}
	s := &c.series[i]
	if h != nil || fh != nil {
		s.Histograms = append(s.Histograms, model.HistogramSample{T: t, Int: h, Float: fh})
	} else {
		s.Samples = append(s.Samples, model.Sample{T: t, V: v})
	}
	for _, e := range o.Exemplars { // the slice is the translation's to reuse
		if !e.HasTs {
			e.Ts, e.HasTs = t, true
		}
		s.Exemplars = append(s.Exemplars, e)
	}
	return 0, nil
}

// Commit implements storage.AppenderV2.
func (c *collector) Commit() error { return nil }

// Rollback implements storage.AppenderV2.
func (c *collector) Rollback() error { return nil }

// sort puts each series in order of time, which senders need not keep.
func (c *collector) sort() {
	for i := range c.series {
		s := &c.series[i]
		slices.SortStableFunc(s.Samples, func(a, b model.Sample) int { return int(a.T - b.T) })
		slices.SortStableFunc(s.Histograms, func(a, b model.HistogramSample) int { return int(a.T - b.T) })
		slices.SortStableFunc(s.Exemplars, func(a, b exemplar.Exemplar) int { return int(a.Ts - b.Ts) })
	}
}

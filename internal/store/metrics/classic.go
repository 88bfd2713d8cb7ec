package metrics

import (
	"math"
	"slices"
	"strconv"

	promname "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// maxBounds caps the classic buckets made of native histograms. Their resolution is halved until they fit, as often as
// needed; dashboards rarely have more than a dozen.
const maxBounds = 64

// classicSeries makes the series that native histograms have under a classic suffix, sorted. Series in the set that hold
// no histogram are left out. Buckets have the same bounds in all series, because dashboards add them up by le.
func classicSeries(set storage.SeriesSet, suffix string, le []*labels.Matcher) ([]storage.Series, error) {
	var native []storage.Series
	for set.Next() {
		if s := set.At(); holdsHistograms(s) {
			native = append(native, s)
		}
	}
	if err := set.Err(); err != nil {
		return nil, err
	}
	var made []storage.Series
	if suffix == bucketSuffix {
		var err error
		if made, err = bucketSeries(native, le); err != nil {
			return nil, err
		}
	} else {
		for _, s := range native {
			made = append(made, fieldSeries(s, suffix))
		}
	}
	slices.SortFunc(made, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return made, nil
}

func holdsHistograms(s storage.Series) bool {
	switch s.Iterator(nil).Next() {
	case chunkenc.ValHistogram, chunkenc.ValFloatHistogram:
		return true
	}
	return false
}

// suffixed is the labels of a series under its classic name.
func suffixed(ls labels.Labels, suffix string) *labels.Builder {
	return labels.NewBuilder(ls).Set(promname.MetricNameLabel, ls.Get(promname.MetricNameLabel)+suffix)
}

// fieldSeries is the sum or the count of a native histogram.
func fieldSeries(series storage.Series, suffix string) storage.Series {
	return &storage.SeriesEntry{
		Lset: suffixed(series.Labels(), suffix).Labels(),
		SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
			_, h, err := readSamples(series)
			if err != nil {
				return failedIterator{chunkenc.NewNopIterator(), err}
			}
			if suffix == countSuffix {
				return storage.NewListSeriesIterator(fieldSamples(h.counts))
			}
			return storage.NewListSeriesIterator(fieldSamples(h.sums))
		},
	}
}

// failedIterator has no samples, and says why.
type failedIterator struct {
	chunkenc.Iterator
	err error
}

func (it failedIterator) Err() error { return it.err }

type fieldSamples []sample

func (s fieldSamples) Len() int                { return len(s) }
func (s fieldSamples) Get(i int) chunks.Sample { return floatSample(s[i]) }

// floatSample is a chunks.Sample.
type floatSample sample

func (s floatSample) T() int64                      { return s.t }
func (s floatSample) ST() int64                     { return 0 }
func (s floatSample) F() float64                    { return s.v }
func (s floatSample) H() *histogram.Histogram       { return nil }
func (s floatSample) FH() *histogram.FloatHistogram { return nil }
func (s floatSample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s floatSample) Copy() chunks.Sample           { return s }

// bucketSeries are the cumulative buckets of native histograms.
func bucketSeries(native []storage.Series, le []*labels.Matcher) ([]storage.Series, error) {
	points := make([][]histogramPoint, len(native))
	bounds := map[float64]struct{}{}
	coarsest := int32(math.MaxInt32)
	for i, s := range native {
		it := s.Iterator(nil)
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			if vt == chunkenc.ValFloat {
				continue
			}
			t, h := it.AtFloatHistogram(nil)
			points[i] = append(points[i], histogramPoint{t, h})
			if histogram.IsExponentialSchema(h.Schema) && !value.IsStaleNaN(h.Sum) {
				coarsest = min(coarsest, h.Schema)
			}
		}
		if err := it.Err(); err != nil {
			return nil, err
		}
	}
	exact, isExact := exactBound(le)
	// Bounds are collected at one resolution, and at half of it where they are too many.
	for {
		clear(bounds)
		for i := range points {
			for j := range points[i] {
				h := points[i][j].h
				if value.IsStaleNaN(h.Sum) {
					continue
				}
				if histogram.IsExponentialSchema(h.Schema) && h.Schema > coarsest {
					if err := h.ReduceResolution(coarsest); err != nil {
						return nil, err
					}
				}
				for b := h.AllBucketIterator(); b.Next(); {
					if bucket := b.At(); bucket.Count > 0 {
						bounds[bucket.Upper] = struct{}{}
						// The lower bound keeps a query from interpolating over an empty stretch.
						bounds[bucket.Lower] = struct{}{}
					}
				}
			}
		}
		if isExact || len(bounds) <= maxBounds || coarsest <= histogram.ExponentialSchemaMin || coarsest == math.MaxInt32 {
			break
		}
		coarsest--
	}
	delete(bounds, math.Inf(1))
	delete(bounds, math.Inf(-1))
	uppers := make([]float64, 0, len(bounds)+1)
	for b := range bounds {
		uppers = append(uppers, b)
	}
	slices.Sort(uppers)
	uppers = append(uppers, math.Inf(1))
	if isExact {
		uppers = []float64{exact}
	}

	var made []storage.Series
	for i, s := range native {
		lb := suffixed(s.Labels(), bucketSuffix)
		for _, upper := range uppers {
			text := formatBound(upper)
			if isExact {
				text = le[0].Value // as it was asked for: "0.50" is not "0.5" to whoever compares text
			} else if slices.ContainsFunc(le, func(m *labels.Matcher) bool { return !m.Matches(text) }) {
				continue
			}
			samples := bucketSamples{points[i], upper}
			made = append(made, &storage.SeriesEntry{
				Lset:             lb.Set(labels.BucketLabel, text).Labels(),
				SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator { return storage.NewListSeriesIterator(samples) },
			})
		}
	}
	return made, nil
}

// exactBound is the one bound that the matchers ask for.
func exactBound(le []*labels.Matcher) (float64, bool) {
	if len(le) != 1 || le[0].Type != labels.MatchEqual {
		return 0, false
	}
	f, err := strconv.ParseFloat(le[0].Value, 64)
	return f, err == nil
}

func formatBound(f float64) string {
	if math.IsInf(f, 1) {
		return "+Inf"
	}
	return labels.FormatOpenMetricsFloat(f)
}

// countUpTo is how many observations were at most bound. Within the bucket that holds bound it interpolates, as PromQL
// does on native histograms.
func countUpTo(h *histogram.FloatHistogram, bound float64) float64 {
	if math.IsInf(bound, 1) {
		return h.Count
	}
	var n float64
	for it := h.AllBucketIterator(); it.Next(); {
		b := it.At()
		if b.Upper <= bound {
			n += b.Count
			continue
		}
		if b.Lower < bound {
			n += b.Count * share(b, h.UsesCustomBuckets(), bound)
		}
		break
	}
	return n
}

// share is the part of a bucket's observations that is at most bound: evenly spread over the logarithm in exponential
// buckets, evenly over the value in others.
func share(b histogram.Bucket[float64], linear bool, bound float64) float64 {
	switch {
	case math.IsInf(b.Lower, -1), math.IsInf(b.Upper, 1):
		return 0
	case linear || b.Lower <= 0 && b.Upper >= 0:
		return (bound - b.Lower) / (b.Upper - b.Lower)
	case b.Lower > 0:
		return math.Log(bound/b.Lower) / math.Log(b.Upper/b.Lower)
	default: // both below zero
		return 1 - math.Log(bound/b.Upper)/math.Log(b.Lower/b.Upper)
	}
}

type histogramPoint struct {
	t int64
	h *histogram.FloatHistogram
}

// bucketSamples are histograms seen as one cumulative bucket. All buckets of a series share the histograms, and count
// only when they are read.
type bucketSamples struct {
	points []histogramPoint
	upper  float64
}

func (s bucketSamples) Len() int                { return len(s.points) }
func (s bucketSamples) Get(i int) chunks.Sample { return bucketSample{&s.points[i], s.upper} }

type bucketSample struct {
	*histogramPoint
	upper float64
}

func (s bucketSample) F() float64 {
	if value.IsStaleNaN(s.h.Sum) {
		return s.h.Sum // the marker must stay what it is
	}
	return countUpTo(s.h, s.upper)
}

func (s bucketSample) T() int64                      { return s.t }
func (s bucketSample) ST() int64                     { return 0 }
func (s bucketSample) H() *histogram.Histogram       { return nil }
func (s bucketSample) FH() *histogram.FloatHistogram { return nil }
func (s bucketSample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s bucketSample) Copy() chunks.Sample           { return s }

// seriesList is a storage.SeriesSet.
type seriesList struct {
	series []storage.Series
	next   int
}

func (l *seriesList) Next() bool                        { l.next++; return l.next <= len(l.series) }
func (l *seriesList) At() storage.Series                { return l.series[l.next-1] }
func (l *seriesList) Err() error                        { return nil }
func (l *seriesList) Warnings() annotations.Annotations { return nil }

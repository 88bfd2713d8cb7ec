package derive

import (
	"math"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
)

// Buckets start at schema 3: each is 9 % wider than the one before, so a quantile is right to about 4 %. A histogram that
// fills more than maxBuckets (20 doublings without a gap) halves its resolution.
const (
	startSchema   = 3
	minSchema     = -4
	maxBuckets    = 160
	zeroThreshold = 2.938735877055719e-39 // 2^-128, as Prometheus' own client has it
)

// bounds are the upper bounds of the buckets within [0.5, 1) at startSchema.
var bounds = func() (b [1 << startSchema]float64) {
	for i := range b {
		b[i] = math.Ldexp(math.Exp2(float64(i)/float64(len(b))), -1)
	}
	return b
}()

// duration is a cumulative native histogram of seconds. Counts are floats because spans have weights; below 2^53 sums of
// whole numbers are exact.
//
// As long as all weights are whole, it is read as an integer histogram. Once there was one that is not, it is a float
// histogram for good: rounding each weight would be biased, rounding at random would make verdicts differ between two
// runs over the same data. PromQL mixes both kinds freely.
type duration struct {
	schema int32
	zero   float64
	count  float64
	sum    float64
	// buckets are dense from index first on; durations in ns span 63 doublings at most, so they are 505 at most.
	first      int32
	buckets    []float64
	used       int // buckets that are not empty
	fractional bool
}

func (d *duration) observe(seconds, weight float64) {
	d.count += weight
	d.sum += seconds * weight
	if weight != math.Trunc(weight) {
		d.fractional = true
	}
	if seconds <= zeroThreshold {
		d.zero += weight
		return
	}
	i := bucketIndex(seconds)
	for s := int32(startSchema); s > d.schema; s-- {
		i = halve(i)
	}
	d.add(i, weight)
	for d.used > maxBuckets && d.schema > minSchema {
		d.coarsen()
	}
}

// bucketIndex is the bucket of a positive value at startSchema; buckets include their upper bound.
func bucketIndex(v float64) int32 {
	frac, exp := math.Frexp(v)
	return int32(sort.SearchFloat64s(bounds[:], frac) + (exp-1)*len(bounds))
}

// halve gives the bucket at the next lower schema.
func halve(i int32) int32 { return (i-1)>>1 + 1 }

func (d *duration) add(i int32, weight float64) {
	switch {
	case len(d.buckets) == 0:
		d.first = i
		d.buckets = append(d.buckets, 0)
	case i < d.first:
		grown := make([]float64, int(d.first-i)+len(d.buckets))
		copy(grown[d.first-i:], d.buckets)
		d.first, d.buckets = i, grown
	default:
		for int(i-d.first) >= len(d.buckets) {
			d.buckets = append(d.buckets, 0)
		}
	}
	if d.buckets[i-d.first] == 0 {
		d.used++
	}
	d.buckets[i-d.first] += weight
}

// coarsen halves the resolution.
func (d *duration) coarsen() {
	old, first := d.buckets, d.first
	d.buckets, d.used = nil, 0
	d.schema--
	for i, c := range old {
		if c != 0 {
			d.add(halve(first+int32(i)), c)
		}
	}
}

// read returns a copy in Prometheus' form; exactly one of the two is set.
func (d *duration) read() (*histogram.Histogram, *histogram.FloatHistogram) {
	var spans []histogram.Span
	var deltas []int64
	var counts []float64
	var last int64
	end := int32(0) // after the last bucket written
	for k, c := range d.buckets {
		if c == 0 {
			continue
		}
		i := d.first + int32(k)
		if len(spans) > 0 && i == end {
			spans[len(spans)-1].Length++
		} else {
			// The first offset is the index itself, the others are gaps.
			spans = append(spans, histogram.Span{Offset: i - end, Length: 1})
		}
		end = i + 1
		if d.fractional {
			counts = append(counts, c)
		} else {
			deltas = append(deltas, int64(c)-last)
			last = int64(c)
		}
	}
	if d.fractional {
		return nil, &histogram.FloatHistogram{
			Schema: d.schema, ZeroThreshold: zeroThreshold, ZeroCount: d.zero, Count: d.count, Sum: d.sum,
			PositiveSpans: spans, PositiveBuckets: counts,
		}
	}
	return &histogram.Histogram{
		Schema: d.schema, ZeroThreshold: zeroThreshold, ZeroCount: uint64(d.zero), Count: uint64(d.count), Sum: d.sum,
		PositiveSpans: spans, PositiveBuckets: deltas,
	}, nil
}

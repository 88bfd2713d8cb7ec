package otlp

import (
	"math"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/prometheus/prometheus/model/histogram"
)

// maxBuckets bounds each side of an exponential histogram, sent or summed up. It is twice what SDKs use, so that summing
// up costs no resolution unless two points lie far apart.
const maxBuckets = 320

// buckets are the counts of buckets offset, offset+1, ... of an exponential histogram.
type buckets struct {
	offset int32
	counts []uint64
}

func bucketsFit(b pmetric.ExponentialHistogramDataPointBuckets) bool {
	return int64(b.Offset())+int64(b.BucketCounts().Len()) <= math.MaxInt32
}

func bucketsOf(b pmetric.ExponentialHistogramDataPointBuckets) buckets {
	return buckets{b.Offset(), b.BucketCounts().AsRaw()}.trim()
}

// trim drops empty buckets at both ends.
func (b buckets) trim() buckets {
	for len(b.counts) > 0 && b.counts[len(b.counts)-1] == 0 {
		b.counts = b.counts[:len(b.counts)-1]
	}
	for len(b.counts) > 0 && b.counts[0] == 0 {
		b.offset++
		b.counts = b.counts[1:]
	}
	if len(b.counts) == 0 {
		return buckets{}
	}
	return b
}

// end is the index after the last bucket.
func (b buckets) end() int64 { return int64(b.offset) + int64(len(b.counts)) }

// scaled merges 2^by buckets into one. Bucket i at one scale lies in bucket i>>by at a scale coarser by that much, for
// negative indexes too, because an arithmetic shift rounds down.
func (b buckets) scaled(by int32) buckets {
	if by <= 0 || len(b.counts) == 0 {
		return b
	}
	by = min(by, 31)
	first := b.offset >> by
	out := buckets{first, make([]uint64, int32(b.end()-1)>>by-first+1)}
	for i, n := range b.counts {
		out.counts[(b.offset+int32(i))>>by-first] += n
	}
	return out
}

// coarser is by how much both must be scaled down so that together they take no more than maxBuckets.
func coarser(a, b buckets) int32 {
	if len(a.counts) == 0 && len(b.counts) == 0 {
		return 0
	}
	if len(a.counts) == 0 {
		a = b
	}
	if len(b.counts) == 0 {
		b = a
	}
	low, high := min(a.offset, b.offset), int32(max(a.end(), b.end())-1)
	by := int32(0)
	for int64(high>>by)-int64(low>>by)+1 > maxBuckets {
		by++
	}
	return by
}

// plus adds two sets of buckets of the same scale.
func (b buckets) plus(o buckets) buckets {
	if len(o.counts) == 0 {
		return b
	}
	if len(b.counts) == 0 {
		return o
	}
	low, high := min(b.offset, o.offset), max(b.end(), o.end())
	out := buckets{low, make([]uint64, high-int64(low))}
	copy(out.counts[b.offset-low:], b.counts)
	for i, n := range o.counts {
		out.counts[int64(o.offset)-int64(low)+int64(i)] += n
	}
	return out
}

func (b buckets) to(p pmetric.ExponentialHistogramDataPointBuckets) {
	p.SetOffset(b.offset)
	p.BucketCounts().FromRaw(b.counts)
}

// exponential is an exponential histogram without what only one interval has (least and greatest value).
type exponential struct {
	scale     int32
	zeros     uint64
	pos, neg  buckets
	count     uint64
	sum       float64
	hasSum    bool
	threshold float64
}

func exponentialOf(p pmetric.ExponentialHistogramDataPoint) exponential {
	return exponential{
		scale: p.Scale(), zeros: p.ZeroCount(), pos: bucketsOf(p.Positive()), neg: bucketsOf(p.Negative()),
		count: p.Count(), sum: p.Sum(), hasSum: p.HasSum(), threshold: p.ZeroThreshold(),
	}
}

// plus merges two histograms at the coarser of their scales, or coarser still if the sum would take too many buckets.
func (e exponential) plus(o exponential) exponential {
	scale := min(e.scale, o.scale)
	ep, en := e.pos.scaled(e.scale-scale), e.neg.scaled(e.scale-scale)
	op, on := o.pos.scaled(o.scale-scale), o.neg.scaled(o.scale-scale)
	by := max(coarser(ep, op), coarser(en, on))
	return exponential{
		scale: scale - by, zeros: e.zeros + o.zeros,
		pos:   ep.scaled(by).plus(op.scaled(by)),
		neg:   en.scaled(by).plus(on.scaled(by)),
		count: e.count + o.count, sum: e.sum + o.sum, hasSum: e.hasSum && o.hasSum,
		threshold: max(e.threshold, o.threshold),
	}
}

func (e exponential) to(p pmetric.ExponentialHistogramDataPoint) {
	p.SetScale(e.scale)
	p.SetZeroCount(e.zeros)
	p.SetZeroThreshold(e.threshold)
	e.pos.to(p.Positive())
	e.neg.to(p.Negative())
	p.SetCount(e.count)
	p.RemoveSum()
	if e.hasSum {
		p.SetSum(e.sum)
	}
	p.RemoveMin()
	p.RemoveMax()
}

// fit makes a point's buckets so coarse, in place, that Prometheus knows the scale and no side has more than maxBuckets.
// It reports false if that takes a scale coarser than Prometheus knows.
func fit(p pmetric.ExponentialHistogramDataPoint) bool {
	pos, neg := bucketsOf(p.Positive()), bucketsOf(p.Negative())
	by := max(p.Scale()-histogram.ExponentialSchemaMax, 0)
	pos, neg = pos.scaled(by), neg.scaled(by)
	more := max(coarser(pos, buckets{}), coarser(neg, buckets{}))
	scale := p.Scale() - by - more
	if scale < histogram.ExponentialSchemaMin {
		return false
	}
	pos.scaled(more).to(p.Positive())
	neg.scaled(more).to(p.Negative())
	p.SetScale(scale)
	return true
}

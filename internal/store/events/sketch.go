package events

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"triage/internal/model"
)

// A sketch says how long the spans of one service, operation, kind and status took: a histogram whose buckets part each
// power of two into 64, as HdrHistogram's do. Sketches of several blocks are added bucket by bucket, and what is counted
// so by SQL fits to them. A quantile is off by at most 1/128 of its value.

const (
	sketchBits    = 6       // a power of two has two to this many buckets
	sketchVersion = 1       // first byte of the section
	maxSketches   = 5000    // of a block; one with more kinds of spans has none
	maxBucket     = 58 << 6 // beyond every bucket of an int64
)

// bucketOf is the bucket of a duration: 0 for none, the number itself below 128.
func bucketOf(ns int64) int {
	if ns < 2<<sketchBits {
		return int(max(0, ns))
	}
	shift := bits.Len64(uint64(ns)) - 1 - sketchBits
	return shift<<sketchBits + int(ns>>shift)
}

// bucketSQL is bucketOf in SQL. The logarithm of a number just below a power of two may be rounded up to it; then the
// number shifted further gives the same bucket.
const bucketSQL = `CASE WHEN duration<128 THEN greatest(0,duration) ELSE
 (CAST(floor(log2(duration)) AS BIGINT)-6)*64+(duration>>(CAST(floor(log2(duration)) AS INTEGER)-6)) END`

// bucketMiddle is the duration that a bucket stands for, in ns.
func bucketMiddle(bucket int) float64 {
	if bucket < 2<<sketchBits {
		return float64(bucket)
	}
	shift := bucket>>sketchBits - 1
	low := float64(bucket-shift<<sketchBits) * math.Exp2(float64(shift))
	return low + (math.Exp2(float64(shift))-1)/2
}

// sketchKey is whose durations a sketch has, as they stand in the block.
type sketchKey struct {
	service, operation string
	kind               model.SpanKind
	status             model.StatusCode
}

func (k sketchKey) compare(o sketchKey) int {
	return cmp.Or(strings.Compare(k.service, o.service), strings.Compare(k.operation, o.operation), cmp.Compare(k.kind, o.kind), cmp.Compare(k.status, o.status))
}

// sketch is a histogram of durations.
type sketch struct {
	sum     float64 // ns
	first   int     // the bucket that buckets begin with
	buckets []int64
}

// add counts n durations in a bucket.
func (s *sketch) add(bucket int, n int64) {
	switch {
	case len(s.buckets) == 0:
		s.first = bucket
	case bucket < s.first:
		s.buckets = append(make([]int64, s.first-bucket, s.first-bucket+len(s.buckets)), s.buckets...)
		s.first = bucket
	}
	for len(s.buckets) <= bucket-s.first {
		s.buckets = append(s.buckets, 0)
	}
	s.buckets[bucket-s.first] += n
}

// merge adds another sketch.
func (s *sketch) merge(o *sketch) {
	s.sum += o.sum
	for i, n := range o.buckets {
		if n > 0 {
			s.add(o.first+i, n)
		}
	}
}

func (s *sketch) count() (n int64) {
	for _, c := range s.buckets {
		n += c
	}
	return n
}

// quantile is about the value, in ns, below which a share q of the durations lies, between two as SQL's quantile_cont.
func (s *sketch) quantile(q float64) float64 {
	rank := q * float64(s.count()-1)
	low := math.Floor(rank)
	at := func(want float64) float64 {
		passed := int64(0)
		for i, n := range s.buckets {
			if passed += n; float64(passed) > want {
				return bucketMiddle(s.first + i)
			}
		}
		return 0
	}
	a := at(low)
	if rank == low {
		return a
	}
	return a + (rank-low)*(at(low+1)-a)
}

// sketches are those of one block, or of several together.
type sketches map[sketchKey]*sketch

func (m sketches) of(k sketchKey) *sketch {
	s := m[k]
	if s == nil {
		s = &sketch{}
		m[k] = s
	}
	return s
}

// group adds the rows of a row group, given its columns.
func (m sketches) group(columns []column, arrays []arrow.Array) {
	if len(m) > maxSketches {
		return
	}
	byName := map[string]arrow.Array{}
	for i := range columns {
		byName[columns[i].field.Name] = arrays[i]
	}
	service, operation := textsOf(byName["service"]), textsOf(byName["name"])
	kind, status := byName["kind"].(*array.Uint8), byName["status"].(*array.Uint8)
	duration := byName["duration"].(*array.Int64)
	known := map[uint64]*sketch{} // by the numbers of the texts in this row group
	for i := range duration.Len() {
		code := uint64(service.number(i))<<40 | uint64(operation.number(i))<<16 | uint64(kind.Value(i))<<8 | uint64(status.Value(i))
		s := known[code]
		if s == nil {
			if len(m) > maxSketches {
				return
			}
			s = m.of(sketchKey{strings.Clone(service.text(i)), strings.Clone(operation.text(i)), model.SpanKind(kind.Value(i)), model.StatusCode(status.Value(i))})
			known[code] = s
		}
		s.sum += float64(duration.Value(i))
		s.add(bucketOf(duration.Value(i)), 1)
	}
}

// texts are a column of texts, with or without a dictionary.
type texts struct {
	codes  *array.Dictionary // nil for a column without
	values *array.String
}

func textsOf(a arrow.Array) texts {
	if d, ok := a.(*array.Dictionary); ok {
		return texts{d, d.Dictionary().(*array.String)}
	}
	return texts{values: a.(*array.String)}
}

// number is the same for two rows only if their texts are.
func (t texts) number(row int) int {
	if t.codes != nil {
		return t.codes.GetValueIndex(row)
	}
	return row
}

func (t texts) text(row int) string { return t.values.Value(t.number(row)) }

// encode writes the section; nil if there are too many sketches.
func (m sketches) encode() []byte {
	if len(m) == 0 || len(m) > maxSketches {
		return nil
	}
	keys := make([]sketchKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, sketchKey.compare)
	out := []byte{sketchVersion}
	text := func(s string) { out = append(binary.AppendUvarint(out, uint64(len(s))), s...) }
	for _, k := range keys {
		s := m[k]
		text(k.service)
		text(k.operation)
		out = append(out, byte(k.kind), byte(k.status))
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(s.sum))
		used := 0
		for _, n := range s.buckets {
			if n > 0 {
				used++
			}
		}
		out = binary.AppendUvarint(out, uint64(used))
		last := 0
		for i, n := range s.buckets {
			if n > 0 {
				out = binary.AppendUvarint(out, uint64(s.first+i-last))
				out = binary.AppendUvarint(out, uint64(n))
				last = s.first + i
			}
		}
	}
	return out
}

var errSketches = errors.New("sketches are not well formed")

// decode adds the sketches of a section that are wanted to m.
func (m sketches) decode(b []byte, want func(sketchKey) bool) error {
	if len(b) == 0 || b[0] != sketchVersion {
		return fmt.Errorf("sketches of version %d, this program reads %d", b[:min(1, len(b))], sketchVersion)
	}
	b = b[1:]
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b = nil
			return math.MaxUint64
		}
		b = b[n:]
		return v
	}
	text := func() (s string, ok bool) {
		n := number()
		if n > uint64(len(b)) {
			return "", false
		}
		s, b = string(b[:n]), b[n:]
		return s, true
	}
	for len(b) > 0 {
		var k sketchKey
		var ok, ok2 bool
		k.service, ok = text()
		if k.operation, ok2 = text(); !ok || !ok2 || len(b) < 10 {
			return errSketches
		}
		k.kind, k.status = model.SpanKind(b[0]), model.StatusCode(b[1])
		sum := math.Float64frombits(binary.LittleEndian.Uint64(b[2:]))
		b = b[10:]
		var into *sketch
		if want(k) {
			into = m.of(k)
			into.sum += sum
		}
		bucket := uint64(0)
		for range number() {
			bucket += number()
			n := number()
			if bucket >= maxBucket || n > math.MaxInt64 || b == nil {
				return errSketches
			}
			if into != nil {
				into.add(int(bucket), int64(n))
			}
		}
		if b == nil {
			return errSketches
		}
	}
	return nil
}

package events

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// traceValues counts, for each value of some keys, the spans that say it themselves or whose trace says it where one of
// its services began. It is done here and not in SQL because there it takes a join and a removal of duplicates for each
// key, some ten times the work.
type traceValues struct {
	counts  []valueCount
	numbers []map[string]int32 // by key and value: which count
	traces  map[[2]uint64]int32
	says    [][]int32 // by trace: which counts
	spans   []comparedSpan
	own     []int32 // what spans say themselves, one span's after the other's
}

// comparedSpan is a span of either selection.
type comparedSpan struct {
	trace    int32
	end      int32 // of the span's part of own
	inA, inB bool
	duration int64
}

// ofTraces counts what the selected spans and the entry spans of their traces say.
func (d *difference) ofTraces(ctx context.Context) ([]valueCount, error) {
	if d.out.B > restSample {
		d.everyB = (d.out.B + restSample - 1) / restSample
	}
	rows := d.rows(func(c *compiler) (string, bool) { return "trace_hi,trace_lo," + d.keyColumns(c), true })
	if rows == "" {
		return nil, nil
	}
	t := &traceValues{numbers: make([]map[string]int32, len(d.keys)), traces: map[[2]uint64]int32{}}
	for i := range t.numbers {
		t.numbers[i] = map[string]int32{}
	}
	if err := d.store.engine.batches(ctx, rows, t.addSpans); err != nil {
		return nil, err
	}
	if entries := d.entries(); entries != "" {
		if err := d.store.engine.batches(ctx, entries, t.addEntries); err != nil {
			return nil, err
		}
	}
	sampled := t.count()
	if d.everyB > 1 && sampled > 0 {
		scale := float64(d.out.B) / float64(sampled)
		d.out.SampledB = sampled
		for i := range t.counts {
			c := &t.counts[i]
			p := float64(c.b) / float64(sampled)
			c.errorB = 2 * math.Sqrt(p*(1-p)/float64(sampled)) * float64(d.out.B)
			c.b, c.secondsB = int64(math.Round(float64(c.b)*scale)), c.secondsB*scale
		}
	}
	return t.counts, nil
}

// columns gives the two halves of the trace IDs and the values of all keys.
func (t *traceValues) columns(rec arrow.RecordBatch) (hi, lo *array.Uint64, values []*array.String, err error) {
	hi, ok1 := rec.Column(0).(*array.Uint64)
	lo, ok2 := rec.Column(1).(*array.Uint64)
	values = make([]*array.String, len(t.numbers))
	for i := range values {
		var ok bool
		values[i], ok = rec.Column(2 + i).(*array.String)
		ok1 = ok1 && ok
	}
	if !ok1 || !ok2 {
		return nil, nil, nil, fmt.Errorf("compare attributes: columns are %s", rec.Schema())
	}
	return hi, lo, values, nil
}

// number is the number of a key's value.
func (t *traceValues) number(key int, value string) int32 {
	n, ok := t.numbers[key][value]
	if !ok {
		n = int32(len(t.counts))
		value = strings.Clone(value)
		t.numbers[key][value] = n
		t.counts = append(t.counts, valueCount{key: key, value: value})
	}
	return n
}

func (t *traceValues) addSpans(rec arrow.RecordBatch) error {
	hi, lo, values, err := t.columns(rec)
	if err != nil {
		return err
	}
	after := 2 + len(values)
	duration, ok1 := rec.Column(after).(*array.Int64)
	inA, ok2 := rec.Column(after + 1).(*array.Boolean)
	inB, ok3 := rec.Column(after + 2).(*array.Boolean)
	if !ok1 || !ok2 || !ok3 {
		return fmt.Errorf("compare attributes: columns are %s", rec.Schema())
	}
	for row := range int(rec.NumRows()) {
		id := [2]uint64{hi.Value(row), lo.Value(row)}
		trace, ok := t.traces[id]
		if !ok {
			trace = int32(len(t.says))
			t.traces[id] = trace
			t.says = append(t.says, nil)
		}
		for k, v := range values {
			if v.IsValid(row) {
				t.own = append(t.own, t.number(k, v.Value(row)))
			}
		}
		t.spans = append(t.spans, comparedSpan{trace, int32(len(t.own)), inA.Value(row), inB.Value(row), duration.Value(row)})
	}
	return nil
}

func (t *traceValues) addEntries(rec arrow.RecordBatch) error {
	hi, lo, values, err := t.columns(rec)
	if err != nil {
		return err
	}
	for row := range int(rec.NumRows()) {
		trace, ok := t.traces[[2]uint64{hi.Value(row), lo.Value(row)}]
		if !ok {
			continue
		}
		says := t.says[trace]
		if says == nil {
			says = make([]int32, 0, 2*len(values))
		}
		for k, v := range values {
			if v.IsValid(row) {
				says = append(says, t.number(k, v.Value(row)))
			}
		}
		t.says[trace] = says
	}
	return nil
}

// count adds the spans up and returns how many of them are in B. What a span finds twice counts once.
func (t *traceValues) count() (inB int64) {
	seen := make([]int32, len(t.counts)) // by count: the span that counted last, from 1
	nanosA, nanosB := make([]int64, len(t.counts)), make([]int64, len(t.counts))
	from := int32(0)
	for i, s := range t.spans {
		for _, list := range [...][]int32{t.own[from:s.end], t.says[s.trace]} {
			for _, n := range list {
				if seen[n] == int32(i+1) {
					continue
				}
				seen[n] = int32(i + 1)
				if s.inA {
					t.counts[n].a++
					nanosA[n] += s.duration
				}
				if s.inB {
					t.counts[n].b++
					nanosB[n] += s.duration
				}
			}
		}
		from = s.end
		if s.inB {
			inB++
		}
	}
	for n := range t.counts {
		t.counts[n].secondsA, t.counts[n].secondsB = float64(nanosA[n])/1e9, float64(nanosB[n])/1e9
	}
	return inB
}

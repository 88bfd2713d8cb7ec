package events

import (
	"context"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/apache/arrow-go/v18/parquet"
	"golang.org/x/sync/errgroup"
)

// A difference is counted row group by row group, each in one pass: which spans are in the selections, then key by key what
// they say. Texts of a dictionary are looked up once, so a span costs a few nanoseconds a key.

// tally is what is counted of one value.
type tally struct {
	a, b     int64   // spans
	nsA, nsB sum     // their durations
	xx, xn   float64 // over row groups, the sum of squares of b, and that of its products with how many spans of B there are
}

// sum is a sum of int64s, which is the same in any order.
type sum struct{ hi, lo uint64 }

func (s *sum) add(o sum) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, o.lo, 0)
	s.hi, _ = bits.Add64(s.hi, o.hi, carry)
}

func (s *sum) addInt(v int64) { s.add(sum{uint64(v >> 63), uint64(v)}) }

func (s *sum) seconds() float64 {
	return (math.Ldexp(float64(int64(s.hi)), 64) + float64(s.lo)) / 1e9
}

// counted is what was counted in some row groups.
type counted struct {
	values []map[string]*tally // by key and value
	// groups are the row groups in which B was counted, b its spans and bb the sum of their squares by row group.
	groups, b, bb float64
}

func newCounted(keys int) *counted {
	c := &counted{values: make([]map[string]*tally, keys)}
	for i := range c.values {
		c.values[i] = map[string]*tally{}
	}
	return c
}

// tally is that of a value, which is copied if it is new.
func (c *counted) tally(key int, value string) *tally {
	t := c.values[key][value]
	if t == nil {
		t = &tally{}
		c.values[key][strings.Clone(value)] = t
	}
	return t
}

// add adds what was counted in one row group.
func (c *counted) add(g *counted) {
	c.groups += g.groups
	c.b += g.b
	c.bb += g.b * g.b
	for key, values := range g.values {
		for value, t := range values {
			to := c.values[key][value]
			if to == nil {
				to = &tally{}
				c.values[key][value] = to
			}
			to.a, to.b = to.a+t.a, to.b+t.b
			to.nsA.add(t.nsA)
			to.nsB.add(t.nsB)
			n := float64(t.b)
			to.xx += n * n
			to.xn += n * g.b
		}
	}
}

// asked is what a difference wants of a block: nil conditions where no span can be in the selection.
type asked struct {
	a, b   condition
	places [][]operand // by key
}

func (d *difference) askOf(b *block) asked {
	c := &compiler{signal: spans, layout: b.layout, refs: map[string]string{}, block: b}
	var out asked
	if cond, ok := c.selected(&d.query.A); ok {
		out.a = cond
	}
	if cond, ok := c.selected(&d.query.B); ok {
		out.b = cond
	}
	for _, k := range d.keys {
		out.places = append(out.places, c.attr(k, false))
	}
	return out
}

// countGroup counts what the spans of a row group say; of B's only if withB, and of A's at most the last so many, if most is
// not zero. It is nil if there are none.
func (d *difference) countGroup(ctx context.Context, g *rowGroup, what asked, withB bool, most int) (*counted, error) {
	all := allRows(g.rows, 0, g.rows)
	inA, inB := newRowSet(g.rows), newRowSet(g.rows)
	var err error
	if what.a != nil {
		if inA, err = what.a.test(ctx, g, all); err != nil {
			return nil, err
		}
		if most > 0 {
			inA = inA.newest(most)
		}
	}
	if what.b != nil && withB {
		if inB, err = what.b.test(ctx, g, all); err != nil {
			return nil, err
		}
	}
	either := inA.or(inB)
	out := newCounted(len(d.keys))
	if n := inB.count(); n > 0 {
		out.groups, out.b = 1, float64(n)
	}
	if either.count() == 0 {
		return out, nil
	}
	durations := make([]int64, g.rows)
	if err := eachCell(ctx, g, "duration", either, func(row int, v int64) { durations[row] = v }); err != nil {
		return nil, err
	}
	add := func(row int, t *tally) {
		if inA.has(row) {
			t.a++
			t.nsA.addInt(durations[row])
		}
		if inB.has(row) {
			t.b++
			t.nsB.addInt(durations[row])
		}
	}
	for key, places := range what.places {
		left := either
		for i, place := range places {
			var seen rowSet // a span's first value counts
			if i < len(places)-1 {
				seen = newRowSet(g.rows)
			}
			err := out.eachTally(ctx, g, place, left, key, func(row int, t *tally) {
				add(row, t)
				if seen != nil {
					seen.add(row)
				}
			})
			if err != nil {
				return nil, err
			}
			if seen != nil {
				left = left.except(seen)
			}
		}
	}
	return out, nil
}

// eachTally calls fn for the values of an operand in some rows.
func (c *counted) eachTally(ctx context.Context, g *rowGroup, o operand, among rowSet, key int, fn func(row int, t *tally)) error {
	if o.typ != typeText {
		return o.eachText(ctx, g, among, func(row int, text string) { fn(row, c.tally(key, text)) })
	}
	var tallies []*tally // by number in the dictionary
	return eachKnown(ctx, g, o.column, among, nil, func(row int, v parquet.ByteArray, known int) {
		if known < 0 {
			fn(row, c.tally(key, unsafe.String(unsafe.SliceData([]byte(v)), len(v))))
			return
		}
		for len(tallies) <= known {
			tallies = append(tallies, nil)
		}
		if tallies[known] == nil {
			tallies[known] = c.tally(key, unsafe.String(unsafe.SliceData([]byte(v)), len(v)))
		}
		fn(row, tallies[known])
	})
}

// ofSpans counts what the selected spans say themselves: of A's all; of many of B's those in some row groups, evenly chosen.
func (d *difference) ofSpans(ctx context.Context) ([]valueCount, error) {
	var only groupSample
	if d.out.B > d.store.opts.sampleAbove {
		only = everyGroup(d.within(&d.query.B), (d.out.B+d.store.opts.sampleOf-1)/d.store.opts.sampleOf)
	}
	all, err := d.count(ctx, only)
	if err != nil {
		return nil, err
	}
	if only != nil && all.groups < 2 { // which tell no error
		only = nil
		if all, err = d.count(ctx, nil); err != nil {
			return nil, err
		}
	}
	var out []valueCount
	for key, values := range all.values {
		for value, t := range values {
			v := valueCount{key: key, value: value, a: t.a, b: t.b, secondsA: t.nsA.seconds(), secondsB: t.nsB.seconds()}
			if only != nil {
				d.estimate(&v, t, all)
			}
			if v.a > 0 || v.b > 0 {
				out = append(out, v)
			}
		}
	}
	if only != nil {
		d.out.SampledB = int64(all.b)
	}
	return out, nil
}

// estimate tells of all of B's spans what was counted in some row groups.
func (d *difference) estimate(v *valueCount, t *tally, all *counted) {
	scale := float64(d.out.B) / all.b
	if t.b < rareInSample {
		v.b, v.secondsB, v.errorB = 0, 0, rareInSample*scale
		return
	}
	p := float64(t.b) / all.b
	squared := max(0, t.xx-2*p*t.xn+p*p*all.bb)
	v.b, v.secondsB = int64(math.Round(float64(t.b)*scale)), v.secondsB*scale
	v.errorB = 2 * math.Sqrt(max(0, 1-1/scale)*all.groups/(all.groups-1)*squared) * scale
}

// count counts all spans of A, and those of B that are in the row groups of only, if it is not nil.
func (d *difference) count(ctx context.Context, only groupSample) (*counted, error) {
	out := newCounted(len(d.keys))
	var adding sync.Mutex // to out
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(d.store.opts.Threads)
	for _, b := range d.blocks {
		what := d.askOf(b)
		if what.a == nil && (what.b == nil || only != nil && only[b] == nil) {
			continue
		}
		r, err := d.store.openBlock(b)
		if err != nil {
			_ = work.Wait()
			return nil, err
		}
		defer r.close()
		for i := range r.groups {
			g := &r.groups[i]
			withB := only == nil || slices.ContainsFunc(only[b], func(r [2]int64) bool { return r[0] <= g.first && g.first <= r[1] })
			if what.a == nil && !withB {
				continue
			}
			work.Go(func() (err error) {
				defer d.store.whileReading(b, &err)
				some, err := d.countGroup(ctx, g, what, withB, 0)
				if err != nil {
					return err
				}
				adding.Lock()
				defer adding.Unlock()
				out.add(some)
				return nil
			})
		}
	}
	return out, work.Wait()
}

// present counts, in about so many spans of A, how many have a value for each key, and how many different ones there are. It
// looks at row groups from all over the time.
func (d *difference) present(ctx context.Context, most int) (present, distinct []int64, err error) {
	present, distinct = make([]int64, len(d.keys)), make([]int64, len(d.keys))
	var groups []*rowGroup
	for _, b := range d.within(&d.query.A) {
		r, err := d.store.openBlock(b)
		if err != nil {
			return nil, nil, err
		}
		defer r.close()
		for i := range r.groups {
			groups = append(groups, &r.groups[i])
		}
	}
	all := newCounted(len(d.keys))
	step := stride(len(groups))
	for i := range groups {
		g := groups[i*step%len(groups)]
		some, err := d.presentIn(ctx, g, max(1, most/4))
		if err != nil {
			return nil, nil, err
		}
		all.add(some)
		spans := int64(0)
		for key, values := range all.values {
			present[key], distinct[key] = 0, int64(len(values))
			for _, t := range values {
				present[key] += t.a
			}
			spans = max(spans, present[key])
		}
		if spans >= int64(most) {
			break
		}
	}
	return present, distinct, nil
}

func (d *difference) presentIn(ctx context.Context, g *rowGroup, most int) (c *counted, err error) {
	defer d.store.whileReading(g.in.block, &err)
	return d.countGroup(ctx, g, d.askOf(g.in.block), false, most)
}

// stride is a step by which one comes to each of n places once, those of the first few steps far apart.
func stride(n int) int {
	s := max(1, int(float64(n)*0.618))
	for {
		a, b := s, n
		for b != 0 {
			a, b = b, a%b
		}
		if a <= 1 {
			return s
		}
		s++
	}
}

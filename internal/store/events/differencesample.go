package events

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"triage/internal/store"
)

// Of many spans a difference looks at whole row groups, evenly chosen over time: the same question has the same answer,
// and what is left out costs nothing. Only B, the larger part by far, is sampled so; A, which is what went wrong, is
// counted in full. How far B's counts may be off is told from how much they differ between row groups, since spans of one
// row group are of one time and more alike than spans drawn one by one: W. Cochran, "Sampling Techniques" (1977), chapter
// 9A, the ratio estimate of a cluster sample.

const (
	streamA = 1_000_000 // spans of A up to which they are read once and counted here
	// rareInSample are values of B that are left out: they take the most room and hardly tell anything.
	rareInSample = 4
)

// groupSample are the rows, first and last, of the chosen row groups.
type groupSample map[*block][][2]int64

// everyGroup chooses each so manieth row group of blocks.
func everyGroup(bs []*block, every int64) groupSample {
	out := groupSample{}
	bs = slices.Clone(bs)
	slices.SortFunc(bs, byTime)
	n := int64(0)
	for _, b := range bs {
		for first := int64(0); first < b.layout.Rows; first += rowGroupRows {
			if n%every == every/2 {
				out[b] = append(out[b], [2]int64{first, first + rowGroupRows - 1})
			}
			n++
		}
	}
	return out
}

// within are the blocks that may have rows of a selection's window.
func (d *difference) within(sel *store.Selection) []*block {
	from, to := bounds(sel.Window)
	return slices.DeleteFunc(slices.Clone(d.blocks), func(b *block) bool { return !b.overlaps(from, to) })
}

// someOfA chooses row groups that have about so many spans of A, if A is spread over many; else nil.
func (d *difference) someOfA(most int64) groupSample {
	bs := d.within(&d.query.A)
	every := min(d.out.A/max(1, most), rowsOf(bs)/(4*rowGroupRows))
	if d.query.FromTrace || rowsOf(bs) <= d.store.opts.sampleAbove || every < 2 {
		return nil
	}
	from, to := bounds(d.query.A.Window)
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, b := range bs {
		first, last = min(first, b.layout.MinTime), max(last, b.layout.MaxTime)
	}
	// Where the window is a small part of its blocks, a row group chosen may lie outside of it.
	if float64(min(to, last))-float64(max(from, first)) < (float64(last)-float64(first))/2 {
		return nil
	}
	return everyGroup(bs, every)
}

// sketchedTotals counts both selections by sketches, if these can tell.
func (d *difference) sketchedTotals(ctx context.Context) (known bool, err error) {
	type totals struct {
		n       int64
		seconds float64
	}
	var out [2]totals
	for i, sel := range []*store.Selection{&d.query.A, &d.query.B} {
		sketchy, scanned := sketched(d.within(sel), sel)
		if rowsOf(sketchy) < max(d.store.opts.sketchRows, rowsOf(scanned)) {
			return false, nil
		}
		all, err := d.store.sketchesOf(ctx, sketchy, scanned, sel)
		if err != nil {
			return false, err
		}
		for _, x := range all {
			out[i].n += x.count()
			out[i].seconds += x.sum / 1e9
		}
	}
	d.out.A, d.out.SecondsA, d.out.B, d.out.SecondsB = out[0].n, out[0].seconds, out[1].n, out[1].seconds
	return true, nil
}

// sampled counts A in full and B in some row groups.
func (d *difference) sampled(ctx context.Context) ([]valueCount, error) {
	bad := *d
	bad.noB = true
	count := bad.grouped
	if d.out.A <= streamA {
		count = bad.streamed
	}
	out, err := count(ctx)
	if err != nil {
		return nil, err
	}
	return d.estimated(ctx, out)
}

// estimated adds what some row groups tell of B to what is known of A.
func (d *difference) estimated(ctx context.Context, known []valueCount) ([]valueCount, error) {
	rest := *d
	rest.noA = true
	rest.only = everyGroup(d.within(&d.query.B), (d.out.B+d.store.opts.sampleOf-1)/d.store.opts.sampleOf)
	const cluster = "filename f,file_row_number//100000 r"
	all := rest.rows(func(*compiler) (string, bool) { return cluster, true })
	if all == "" {
		return known, nil
	}
	parts := []string{"SELECT -1 k,'' v,count(*)::DOUBLE x,sum(n) xx,sum(n*n) xn,0::DOUBLE s FROM t"}
	for i, k := range d.keys {
		rows := rest.rows(func(c *compiler) (string, bool) {
			text := c.attrText(k)
			return text + " v," + cluster, text != "NULL::VARCHAR"
		})
		if rows == "" {
			continue
		}
		parts = append(parts, fmt.Sprintf(`SELECT %d,v,sum(g.n),sum(g.n*g.n),sum(g.n*t.n),sum(g.s) FROM
  (SELECT v,f,r,count(*)::DOUBLE n,sum(duration)::DOUBLE s FROM (%s) WHERE v IS NOT NULL GROUP BY v,f,r) g JOIN t USING (f,r)
  GROUP BY v HAVING sum(g.n)>=%d`, i, rows, rareInSample))
	}
	q := fmt.Sprintf("WITH t AS MATERIALIZED (SELECT f,r,count(*)::DOUBLE n FROM (%s) GROUP BY f,r)\n%s", all, strings.Join(parts, "\nUNION ALL\n"))
	// Of a value, x is how many spans have it in all row groups together, xx the sum of squares by row group, xn that of
	// the products with how many spans the row group has.
	type estimate struct{ x, xx, xn, seconds float64 }
	var groups, spans, squares float64
	values := map[valueCount]estimate{} // by key and value alone
	err := d.store.engine.query(ctx, q, func(scan func(...any) error) error {
		var v valueCount
		var e estimate
		if err := scan(&v.key, &v.value, &e.x, &e.xx, &e.xn, &e.seconds); err != nil {
			return err
		}
		if v.key < 0 {
			groups, spans, squares = e.x, e.xx, e.xn
		} else {
			values[v] = e
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if groups < 2 {
		return d.grouped(ctx)
	}
	d.out.SampledB = int64(spans)
	scale := float64(d.out.B) / spans
	add := func(v *valueCount, e estimate) {
		p := e.x / spans
		squared := max(0, e.xx-2*p*e.xn+p*p*squares)
		v.b, v.secondsB = int64(math.Round(e.x*scale)), e.seconds/1e9*scale
		v.errorB = 2 * math.Sqrt(max(0, 1-1/scale)*groups/(groups-1)*squared) * scale
	}
	for i := range known {
		v := &known[i]
		id := valueCount{key: v.key, value: v.value}
		if e, ok := values[id]; ok {
			add(v, e)
			delete(values, id)
		} else {
			v.errorB = rareInSample * scale
		}
	}
	for id, e := range values {
		add(&id, e)
		known = append(known, id)
	}
	return known, nil
}

// streamed reads the selected spans once and counts them here.
func (d *difference) streamed(ctx context.Context) ([]valueCount, error) {
	rows := d.rows(func(c *compiler) (string, bool) { return d.keyColumns(c), true })
	if rows == "" {
		return nil, nil
	}
	numbers := make([]map[string]int, len(d.keys))
	for i := range numbers {
		numbers[i] = map[string]int{}
	}
	var out []valueCount
	var nanos []int64 // whole numbers, whose sum is the same in any order
	err := d.store.engine.batches(ctx, rows, func(rec arrow.RecordBatch) error {
		duration, ok := rec.Column(len(d.keys)).(*array.Int64)
		for k := range d.keys {
			values, isText := rec.Column(k).(*array.String)
			if !ok || !isText {
				return fmt.Errorf("compare attributes: columns are %s", rec.Schema())
			}
			for row := range values.Len() {
				if values.IsNull(row) {
					continue
				}
				n, known := numbers[k][values.Value(row)]
				if !known {
					n = len(out)
					value := strings.Clone(values.Value(row))
					numbers[k][value] = n
					out = append(out, valueCount{key: k, value: value})
					nanos = append(nanos, 0)
				}
				out[n].a++
				nanos[n] += duration.Value(row)
			}
		}
		return nil
	})
	for n := range out {
		out[n].secondsA = float64(nanos[n]) / 1e9
	}
	return out, err
}

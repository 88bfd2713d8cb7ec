package events

import (
	"context"
	"maps"
	"slices"

	"triage/internal/store"
)

// Of many spans a difference looks at whole row groups, evenly chosen over time: the same question has the same answer,
// and what is left out costs nothing. Only B, the larger part by far, is sampled so; A, which is what went wrong, is
// counted in full. How far B's counts may be off is told from how much they differ between row groups, since spans of one
// row group are of one time and more alike than spans drawn one by one: W. Cochran, "Sampling Techniques" (1977), chapter
// 9A, the ratio estimate of a cluster sample.

// rareInSample are values of B that are left out: they take the most room and hardly tell anything.
const rareInSample = 4

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
		keys := slices.Collect(maps.Keys(all))
		slices.SortFunc(keys, sketchKey.compare) // sums of floats depend on their order
		for _, k := range keys {
			out[i].n += all[k].count()
			out[i].seconds += all[k].sum / 1e9
		}
	}
	d.out.A, d.out.SecondsA, d.out.B, d.out.SecondsB = out[0].n, out[0].seconds, out[1].n, out[1].seconds
	return true, nil
}

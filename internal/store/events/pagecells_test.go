package events

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"

	"triage/internal/model"
)

// sameCells compares the cells of a column, read in place and by the Parquet library.
func sameCells[T cellType](t *testing.T, g *rowGroup, column string, among rowSet, same func(a, b T) bool) (n int) {
	t.Helper()
	type cell struct {
		row   int
		value T
	}
	var want []cell
	keep := func(v T) T {
		if b, ok := any(v).(parquet.ByteArray); ok {
			return any(parquet.ByteArray(bytes.Clone(b))).(T)
		}
		return v
	}
	err := eachOfChunk(context.Background(), g, column, among, func(row int, v T) { want = append(want, cell{row, keep(v)}) })
	if err != nil {
		t.Fatal(err)
	}
	err = eachInPlace(context.Background(), g, g.in.leaves[column], among, nil, func(row int, v T, _ int) {
		if n >= len(want) || want[n].row != row || !same(want[n].value, v) {
			t.Fatalf("column %s: cell %d of %d is %v in row %d", column, n, len(want), v, row)
		}
		n++
	})
	if err != nil || n != len(want) {
		t.Fatalf("column %s: %d cells of %d, error %v", column, n, len(want), err)
	}
	return n
}

// TestInPlaceLikeTheLibrary reads columns of every kind in place, in sets of rows of every density, and compares that with
// what the Parquet library reads.
func TestInPlaceLikeTheLibrary(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	all := benchSpans(rowGroupRows+3001, 0)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range all {
		all[i].Attrs = all[i].Attrs[r.IntN(len(all[i].Attrs)):]
		if i%700 > 400 { // long runs with a value and without
			all[i].StatusMessage = "failed"
			all[i].Attrs = all[i].Attrs.Set("run", model.Int(int64(i/7000)))
		}
	}
	if _, err := s.Append(t.Context(), &model.Batch{Spans: all}); err != nil {
		t.Fatal(err)
	}
	if err := s.flushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := s.openBlock(s.catalog.all()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	columns, cells := 0, 0
	for i := range b.groups {
		g := &b.groups[i]
		var sets []rowSet
		for _, one := range []int{1, 2, 50, 3000, 40_000} {
			set := newRowSet(g.rows)
			for row := range g.rows {
				if r.IntN(one) == 0 {
					set.add(row)
				}
			}
			sets = append(sets, set)
		}
		last := newRowSet(g.rows)
		last.add(g.rows - 1)
		sets = append(sets, last, allRows(g.rows, g.rows/2, g.rows/2+3))
		for column, leaf := range b.leaves {
			for _, set := range sets {
				n := -1
				if ok, _, _ := inPlace[int32](g, leaf); ok {
					n = sameCells(t, g, column, set, func(a, b int32) bool { return a == b })
				}
				if ok, _, _ := inPlace[int64](g, leaf); ok {
					n = sameCells(t, g, column, set, func(a, b int64) bool { return a == b })
				}
				if ok, _, _ := inPlace[float64](g, leaf); ok {
					n = sameCells(t, g, column, set, func(a, b float64) bool { return a == b })
				}
				if ok, _, _ := inPlace[parquet.ByteArray](g, leaf); ok {
					n = sameCells(t, g, column, set, func(a, b parquet.ByteArray) bool { return bytes.Equal(a, b) })
				}
				if n >= 0 {
					columns, cells = columns+1, cells+n
				}
			}
		}
	}
	if columns < 250 || cells < 1_000_000 {
		t.Errorf("%d cells of %d columns were read in place", cells, columns)
	}
}

// FuzzPage reads any bytes as levels and as numbers: they may be wrong, but reading ends without a panic.
func FuzzPage(f *testing.F) {
	f.Add([]byte{8, 1, 3, 0x55}, uint16(12), uint8(1))
	f.Add([]byte{3, 0x88, 0xc6, 0xfa, 2, 5}, uint16(9), uint8(3))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, uint16(300), uint8(32))
	f.Fuzz(func(t *testing.T, data []byte, rows uint16, width uint8) {
		n := int(rows)%5000 + 1
		if there, count, err := presentRows(data, n); err == nil && (count > n || there.countIn(0, n) != count) {
			t.Errorf("%d rows of %d have a value, %d counted again", count, n, there.countIn(0, n))
		}
		h := hybrid{data: data, width: int(width) % 33}
		for i := range n {
			v, err := h.at(i)
			if err != nil {
				break
			}
			if v < 0 || v >= 1<<(8*((h.width+7)/8)) {
				t.Fatalf("value %d of %d bits", v, h.width)
			}
		}
		texts, err := plainAt[parquet.ByteArray](data, n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if _, err := texts(i); err != nil {
				break
			}
		}
	})
}

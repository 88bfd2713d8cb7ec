package events

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sort"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// Blocks whose attributes have the same columns in the merged block as in their own are merged column by column: their
// rows are never made. That is how nearly all blocks are merged, because what services send changes seldom, and it costs a
// fraction.

const (
	columnBatch = 8192 // rows that are read of a block at a time
	copyRows    = 8192 // rows that are chosen before their columns are copied
)

// fits tells whether every cell of a block goes to the same column of the merged block.
func (l *layout) fits(merged *layout) bool {
	if l.RestMore {
		return false
	}
	for _, c := range l.Columns {
		if to := merged.column(c.Name); to == nil || to.Type != c.Type {
			return false
		}
	}
	for name, n := range l.Rest {
		_, key, _ := splitName(name)
		if c := merged.column(name[:len(name)-len(key)] + unclean(key)); c != nil && n[c.Type] > 0 {
			return false
		}
	}
	return true
}

// columnCursor walks the rows of one block in order, a batch at a time.
type columnCursor struct {
	block *block
	file  *os.File
	rows  pqarrow.RecordReader
	batch *columns
	row   int // in the batch
}

// columns are a batch of a block with its arrays in the order of the columns of the merged block.
type columns struct {
	arrow.RecordBatch
	ts     []int64
	arrays []arrow.Array // nil where the block has no such column
	// codes are, for texts that have a dictionary, the numbers that its texts have in the merged block, negative where they are
	// not known yet, in the row group that codesOf says.
	codes   [][]int32
	codesOf []int
}

func openColumns(ctx context.Context, b *block) (c *columnCursor, err error) {
	f, err := os.Open(b.path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	properties := parquet.NewReaderProperties(memory.DefaultAllocator)
	properties.BufferedStreamEnabled = true // else all of a row group is in memory, of each block
	pf, err := file.NewParquetReader(f, file.WithReadProps(properties))
	if err != nil {
		return nil, err
	}
	read := pqarrow.ArrowReadProperties{BatchSize: columnBatch}
	if pf.NumRowGroups() > 0 {
		group := pf.MetaData().RowGroup(0)
		for i := range group.NumColumns() {
			chunk, err := group.ColumnChunk(i)
			if err != nil {
				return nil, err
			}
			read.SetReadDict(i, chunk.HasDictionaryPage())
		}
	}
	r, err := pqarrow.NewFileReader(pf, read, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	rows, err := r.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	return &columnCursor{block: b, file: f, rows: rows}, nil
}

// next goes to the next batch; the cursor has none at the end.
func (c *columnCursor) next(w *blockWriter) error {
	c.batch, c.row = nil, 0
	for c.rows.Next() {
		rec := c.rows.RecordBatch()
		if rec.NumRows() == 0 {
			continue
		}
		rec.Retain() // it is copied later
		b := &columns{RecordBatch: rec, arrays: make([]arrow.Array, len(w.columns)), codes: make([][]int32, len(w.columns)), codesOf: make([]int, len(w.columns))}
		for i, f := range rec.Schema().Fields() {
			to, ok := w.byName[f.Name]
			if !ok {
				return fmt.Errorf("column %s has no place in the merged block", f.Name)
			}
			b.arrays[to] = rec.Column(i)
		}
		ts, ok := b.arrays[w.byName["ts"]].(*array.Int64)
		if !ok {
			return fmt.Errorf("column ts is not BIGINT")
		}
		b.ts, c.batch = ts.Int64Values(), b
		return nil
	}
	return c.rows.Err()
}

func (c *columnCursor) time() int64 { return c.batch.ts[c.row] }

func (c *columnCursor) close() {
	c.rows.Release()
	c.file.Close()
}

// run is a stretch of rows of a batch.
type run struct {
	*columns
	from, to int
}

// columnMerger merges blocks, whose cells all have a column in w, in order of time.
type columnMerger struct {
	w    *blockWriter
	from []*columnCursor // in order of their present rows
	runs []run           // chosen, not copied yet
	rows int             // in runs
	done []*columns      // batches that nothing but runs needs
}

// step copies about copyRows rows. more is false when none are left.
func (m *columnMerger) step() (copied int, more bool, err error) {
	for len(m.from) > 0 && m.rows < copyRows {
		c := m.from[0]
		ts := c.batch.ts
		to := len(ts)
		if len(m.from) > 1 {
			// All rows that are no newer than the next block's first; mostly these are few.
			bound := m.from[1].time()
			for to = c.row + 1; to < len(ts) && ts[to] <= bound; to++ {
				if to == c.row+16 {
					to += sort.Search(len(ts)-to, func(i int) bool { return ts[to+i] > bound })
					break
				}
			}
		}
		to = min(to, c.row+copyRows)
		m.runs = append(m.runs, run{c.batch, c.row, to})
		m.rows += to - c.row
		if c.row = to; to == len(ts) {
			m.done = append(m.done, c.batch)
			if err := c.next(m.w); err != nil {
				return 0, false, fmt.Errorf("merge block %s: %w", c.block.path, err)
			}
			if c.batch == nil {
				m.from = m.from[1:]
				continue
			}
		}
		m.settle()
	}
	copied = m.rows
	if err := m.copy(); err != nil {
		return 0, false, err
	}
	return copied, len(m.from) > 0, nil
}

// mergeColumns is mergeInto for blocks that fit.
func (s *Store) mergeColumns(ctx context.Context, w *blockWriter, inputs []*block) (rows int64, err error) {
	m := &columnMerger{w: w}
	var open []*columnCursor
	defer func() {
		for _, c := range open {
			c.close()
		}
	}()
	for _, b := range inputs {
		c, err := openColumns(ctx, b)
		if err == nil {
			open = append(open, c)
			err = c.next(w)
		}
		if err != nil {
			return 0, fmt.Errorf("merge block %s: %w", b.path, err)
		}
		if c.batch != nil {
			m.from = append(m.from, c)
		}
	}
	slices.SortStableFunc(m.from, func(a, b *columnCursor) int { return cmp.Compare(a.time(), b.time()) })
	for more := true; more; {
		var n int
		if n, more, err = m.step(); err != nil {
			return rows, err
		}
		rows += int64(n)
		if err := s.betweenRows(ctx); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// settle moves the first cursor to its place.
func (m *columnMerger) settle() {
	c := m.from[0]
	at := c.time()
	i := 1
	for ; i < len(m.from) && m.from[i].time() < at; i++ {
		m.from[i-1] = m.from[i]
	}
	m.from[i-1] = c
}

// copy writes the runs, column by column, row group by row group.
func (m *columnMerger) copy() error {
	for len(m.runs) > 0 {
		// The row group may have room for a part of them only.
		n, room := 0, rowGroupRows-m.w.row
		var left []run
		for i := range m.runs {
			r := &m.runs[i]
			if size := r.to - r.from; n+size > room {
				left = append(left, run{r.columns, r.from + room - n, r.to})
				left = append(left, m.runs[i+1:]...)
				r.to = r.from + room - n
				m.runs = m.runs[:i+1]
				n = room
				break
			}
			n += r.to - r.from
		}
		for i := range m.w.columns {
			if err := m.w.copyColumn(i, m.runs); err != nil {
				return err
			}
		}
		m.w.row += n
		if err := m.w.maybeFlush(); err != nil {
			return err
		}
		m.runs = append(m.runs[:0], left...)
	}
	m.rows = 0
	for _, b := range m.done {
		b.Release()
	}
	m.done = m.done[:0]
	return nil
}

// copyColumn appends the cells of runs to a column.
func (w *blockWriter) copyColumn(i int, runs []run) error {
	c, row := &w.columns[i], w.row
	for _, r := range runs {
		n := r.to - r.from
		if from := r.arrays[i]; from != nil && from.NullN() < from.Len() {
			ok := false
			if c.text != nil {
				ok = c.text.copy(row, r, i)
			} else {
				ok = copyCells(upTo(row, c.builder), from, r.from, r.to)
			}
			if !ok {
				return fmt.Errorf("column %s is %s", c.field.Name, from.DataType())
			}
		}
		row += n
	}
	return nil
}

// copy appends the texts of a run, whose column is the i-th.
func (c *textColumn) copy(row int, r run, i int) bool {
	switch from := r.arrays[i].(type) {
	case *array.String:
		for j := r.from; j < r.to; j++ {
			if from.IsValid(j) {
				c.append(row+j-r.from, from.Value(j))
			}
		}
	case *array.Dictionary:
		texts, ok := from.Dictionary().(*array.String)
		if !ok {
			return false
		}
		codes := r.codes[i]
		if codes == nil {
			codes = make([]int32, texts.Len())
			r.codes[i] = codes
		}
		if r.codesOf[i] != c.group {
			r.codesOf[i] = c.group
			for k := range codes {
				codes[k] = -1
			}
		}
		all := from.NullN() == 0
		for j := r.from; j < r.to; j++ {
			if !all && from.IsNull(j) {
				continue
			}
			k := from.GetValueIndex(j)
			if c.plain != nil || codes[k] < 0 {
				c.append(row+j-r.from, texts.Value(k))
				if c.plain == nil {
					codes[k] = c.codes[len(c.codes)-1]
				}
				continue
			}
			c.fill(row + j - r.from)
			c.codes = append(c.codes, codes[k])
		}
	default:
		return false
	}
	return true
}

// fixedBuilder and fixedArray are what Arrow's columns of numbers have in common.
type (
	fixedBuilder[T any] interface {
		Append(T)
		AppendNull()
		AppendValues([]T, []bool)
	}
	fixedArray[T any] interface {
		arrow.Array
		Value(int) T
	}
)

func copyFixed[T any](b fixedBuilder[T], from fixedArray[T], values []T, lo, hi int) {
	if from.NullN() == 0 && values != nil {
		b.AppendValues(values[lo:hi], nil)
		return
	}
	for i := lo; i < hi; i++ {
		if from.IsValid(i) {
			b.Append(from.Value(i))
		} else {
			b.AppendNull()
		}
	}
}

// copyCells appends cells to a builder; false if their type is not the builder's.
func copyCells(to array.Builder, from arrow.Array, lo, hi int) bool {
	switch b := to.(type) {
	case *array.Int64Builder:
		if a, ok := from.(*array.Int64); ok {
			copyFixed(b, a, a.Int64Values(), lo, hi)
			return true
		}
	case *array.Uint64Builder:
		if a, ok := from.(*array.Uint64); ok {
			copyFixed(b, a, a.Uint64Values(), lo, hi)
			return true
		}
	case *array.Uint32Builder:
		if a, ok := from.(*array.Uint32); ok {
			copyFixed(b, a, a.Uint32Values(), lo, hi)
			return true
		}
	case *array.Uint8Builder:
		if a, ok := from.(*array.Uint8); ok {
			copyFixed(b, a, a.Uint8Values(), lo, hi)
			return true
		}
	case *array.Float64Builder:
		if a, ok := from.(*array.Float64); ok {
			copyFixed(b, a, a.Float64Values(), lo, hi)
			return true
		}
	case *array.BooleanBuilder:
		if a, ok := from.(*array.Boolean); ok {
			copyFixed(b, a, nil, lo, hi)
			return true
		}
	case *array.StringBuilder:
		switch a := from.(type) {
		case *array.String:
			copyFixed(b, a, nil, lo, hi)
			return true
		case *array.Dictionary:
			texts, ok := a.Dictionary().(*array.String)
			for i := lo; ok && i < hi; i++ {
				if a.IsNull(i) {
					b.AppendNull()
				} else {
					b.Append(texts.Value(a.GetValueIndex(i)))
				}
			}
			return ok
		}
	case *array.ListBuilder:
		if a, ok := from.(*array.List); ok {
			return copyLists(b, a, lo, hi)
		}
	case *array.MapBuilder:
		if a, ok := from.(*array.Map); ok {
			return copyMaps(b, a, lo, hi)
		}
	}
	return false
}

func copyLists(b *array.ListBuilder, a *array.List, lo, hi int) bool {
	for i := lo; i < hi; i++ {
		if a.IsNull(i) {
			b.AppendNull()
			continue
		}
		b.Append(true)
		first, end := a.ValueOffsets(i)
		if !copyCells(b.ValueBuilder(), a.ListValues(), int(first), int(end)) {
			return false
		}
	}
	return true
}

func copyMaps(b *array.MapBuilder, a *array.Map, lo, hi int) bool {
	for i := lo; i < hi; i++ {
		if a.IsNull(i) {
			b.AppendNull()
			continue
		}
		b.Append(true)
		first, end := a.ValueOffsets(i)
		if !copyCells(b.KeyBuilder(), a.Keys(), int(first), int(end)) || !copyCells(b.ItemBuilder(), a.Items(), int(first), int(end)) {
			return false
		}
	}
	return true
}

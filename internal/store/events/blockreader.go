package events

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"golang.org/x/sync/errgroup"
)

// Questions for few rows read blocks without DuckDB: it takes 10 ms to begin, and decodes a row group to its end for one
// row of it. What is read here is only the pages that hold the rows.

// footers keeps what was parsed of blocks' footers, because that takes as long as reading a trace. It is safe for
// concurrent use.
type footers struct {
	mu    sync.Mutex // guards known and order
	known map[*block]*metadata.FileMetaData
	order []*block // the one used last is the last
}

// maxFooters are remembered: half a MB each in blocks of a million rows.
const maxFooters = 64

func (c *footers) get(b *block) *metadata.FileMetaData {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.known[b]
	if m != nil {
		c.touch(b)
	}
	return m
}

// touch makes a block the one used last. mu is held.
func (c *footers) touch(b *block) {
	c.order = append(slices.DeleteFunc(c.order, func(o *block) bool { return o == b }), b)
}

func (c *footers) put(b *block, m *metadata.FileMetaData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[*block]*metadata.FileMetaData{}
	}
	c.known[b] = m
	if c.touch(b); len(c.order) > maxFooters {
		delete(c.known, c.order[0])
		c.order = c.order[1:]
	}
}

// forget is for a block that is gone.
func (c *footers) forget(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, b)
	c.order = slices.DeleteFunc(c.order, func(o *block) bool { return o == b })
}

// blockReader is a block that is open for reading. Its row groups may be read concurrently.
type blockReader struct {
	block  *block
	reader *file.Reader
	leaves map[string]int // columns of the file by their path
	groups []rowGroup
}

// rowGroup is one row group of a block.
type rowGroup struct {
	in       *blockReader
	number   int
	first    int64 // number of its first row
	rows     int
	min, max int64 // of its rows' times
}

// openBlock opens a block; the caller holds a reference to it.
func (s *Store) openBlock(b *block) (r *blockReader, err error) {
	defer s.whileReading(b, &err)
	f, err := os.Open(b.path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	props := parquet.NewReaderProperties(&pages)
	props.BufferedStreamEnabled, props.BufferSize = true, 16<<10 // so much of a page is looked at for its header
	options := []file.ReadOption{file.WithReadProps(props)}
	m := s.catalog.footers.get(b)
	if m != nil {
		options = append(options, file.WithMetadata(m))
	}
	in, err := file.NewParquetReader(f, options...)
	if err != nil {
		return nil, err
	}
	if m == nil {
		m = in.MetaData()
		s.catalog.footers.put(b, m)
	}
	r = &blockReader{block: b, reader: in, leaves: map[string]int{}}
	for i := range m.Schema.NumColumns() {
		r.leaves[m.Schema.Column(i).Path()] = i
	}
	first := int64(0)
	for i := range m.NumRowGroups() {
		g := rowGroup{in: r, number: i, first: first, rows: int(m.RowGroup(i).NumRows()), min: b.layout.MinTime, max: b.layout.MaxTime}
		if low, high, ok := r.bounds(i, "ts"); ok {
			g.min, g.max = low, high
		}
		r.groups = append(r.groups, g)
		first += int64(g.rows)
	}
	return r, nil
}

func (r *blockReader) close() { r.reader.Close() }

// bounds are the least and the greatest number in a column of a row group, if the file says so.
func (r *blockReader) bounds(group int, column string) (low, high int64, ok bool) {
	c, err := r.reader.MetaData().RowGroup(group).ColumnChunk(r.leaves[column])
	if err != nil {
		return 0, 0, false
	}
	stats, err := c.Statistics()
	if err != nil || stats == nil || !stats.HasMinMax() {
		return 0, 0, false
	}
	s, ok := stats.(*metadata.Int64Statistics)
	if !ok {
		return 0, 0, false
	}
	return s.Min(), s.Max(), true
}

// whileReading completes an error of reading a block. The bytes of a damaged file may also make the Parquet reader panic.
func (s *Store) whileReading(b *block, err *error) {
	if p := recover(); p != nil {
		s.log.Error("reading a block panicked", "block", b.path, "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("%v", p)
	}
	if *err == nil || errors.Is(*err, context.Canceled) || errors.Is(*err, context.DeadlineExceeded) {
		return
	}
	s.doubt()
	*err = fmt.Errorf("read block %s: %w", b.path, *err)
}

// chunkReader is what the Parquet library has for columns of each type.
type chunkReader[T any] interface {
	Skip(int64) (int64, error)
	SeekToRow(int64) error
	HasNext() bool
	Err() error
	ReadBatchInPage(n int64, values []T, defs, reps []int16) (int64, int, error)
}

// chunk is the part of a column that lies in one row group. It is read forwards.
type chunk[T any] struct {
	in     chunkReader[T]
	close  func() error
	pages  []int64 // the first rows of its pages, if known
	at     int64   // the next row
	most   int16   // definition level of a value that is there
	values []T
	defs   []int16
	reps   []int16
}

// chunkRows are read at once.
const chunkRows = 4096

// openChunk begins to read a column; nil if the block has none of the name.
func openChunk[T any](g *rowGroup, path string) (*chunk[T], error) {
	leaf, ok := g.in.leaves[path]
	if !ok {
		return nil, nil
	}
	column, err := g.in.reader.RowGroup(g.number).Column(leaf)
	if err != nil {
		return nil, err
	}
	c := &chunk[T]{close: column.Close, most: column.Descriptor().MaxDefinitionLevel()}
	if c.in, ok = column.(chunkReader[T]); !ok {
		return nil, fmt.Errorf("column %s is %s", path, column.Type())
	}
	c.pages, err = g.pageStarts(leaf)
	return c, err
}

// page is the number of the page that a row lies in.
func (c *chunk[T]) page(row int64) int {
	i, found := slices.BinarySearch(c.pages, row)
	if !found {
		i--
	}
	return i
}

// to goes forward to a row.
func (c *chunk[T]) to(row int64) error {
	if row == c.at {
		return nil
	}
	if len(c.pages) > 0 && c.page(row) != c.page(c.at) {
		c.at = c.pages[c.page(row)]
		if err := c.in.SeekToRow(c.at); err != nil {
			return err
		}
	}
	// In steps, because the reader makes room for the levels of all rows that it passes over.
	for c.at < row {
		n := min(row-c.at, chunkRows)
		if _, err := c.in.Skip(n); err != nil {
			return err
		}
		c.at += n
	}
	return nil
}

// next reads some cells, at most so many: a value for each cell whose definition level is the column's greatest. The result
// is valid until the next call.
func (c *chunk[T]) next(most int64) (values []T, defs []int16, err error) {
	if c.values == nil {
		n := min(most, chunkRows)
		c.values, c.defs, c.reps = make([]T, n), make([]int16, n), make([]int16, n)
	}
	if !c.in.HasNext() {
		return nil, nil, errors.Join(errors.New("a column has too few rows"), c.in.Err())
	}
	// The reader leaves levels alone that the column has not.
	if c.most == 0 {
		clear(c.defs)
	}
	cells, n, err := c.in.ReadBatchInPage(min(most, int64(len(c.values))), c.values, c.defs, c.reps)
	if err != nil {
		return nil, nil, err
	}
	if cells == 0 {
		return nil, nil, errors.New("a page has no rows")
	}
	c.at += cells
	return c.values[:n], c.defs[:cells], nil
}

// read calls fn for the cells of rows, which are in order, with whether there is a value.
func (c *chunk[T]) read(rows []int64, fn func(value T, there bool)) error {
	var none T
	for len(rows) > 0 {
		end := 1
		for end < len(rows) && rows[end] == rows[0]+int64(end) {
			end++
		}
		if err := c.to(rows[0]); err != nil {
			return err
		}
		for left := int64(end); left > 0; {
			values, defs, err := c.next(left)
			if err != nil {
				return err
			}
			left -= int64(len(defs))
			for _, d := range defs {
				if d == c.most {
					fn(values[0], true)
					values = values[1:]
				} else {
					fn(none, false)
				}
			}
		}
		rows = rows[end:]
	}
	return nil
}

// all calls fn with the values of the row group, and the row of each.
func (c *chunk[T]) all(ctx context.Context, rows int, fn func(values []T, at []int32)) error {
	at := make([]int32, 0, chunkRows)
	for row := 0; row < rows; {
		if err := ctx.Err(); err != nil {
			return err
		}
		values, defs, err := c.next(int64(rows - row))
		if err != nil {
			return err
		}
		at = at[:0]
		for i, d := range defs {
			if d == c.most {
				at = append(at, int32(row+i))
			}
		}
		row += len(defs)
		fn(values, at)
	}
	return nil
}

// cells reads a column's cells of some rows; nil if the block has no such column.
func (g *rowGroup) cells(ctx context.Context, name string, typ arrow.DataType, rows rowSet) (arrow.Array, error) {
	b := array.NewBuilder(memory.DefaultAllocator, typ)
	defer b.Release()
	b.Reserve(rows.count())
	switch b := b.(type) {
	case *array.Int64Builder:
		return cellsOf(ctx, g, name, rows, b, func(v int64) { b.Append(v) })
	case *array.Uint64Builder:
		return cellsOf(ctx, g, name, rows, b, func(v int64) { b.Append(uint64(v)) })
	case *array.Uint32Builder:
		return cellsOf(ctx, g, name, rows, b, func(v int32) { b.Append(uint32(v)) })
	case *array.Uint8Builder:
		return cellsOf(ctx, g, name, rows, b, func(v int32) { b.Append(uint8(v)) })
	case *array.Float64Builder:
		return cellsOf(ctx, g, name, rows, b, func(v float64) { b.Append(v) })
	case *array.BooleanBuilder:
		return cellsOf(ctx, g, name, rows, b, func(v bool) { b.Append(v) })
	case *array.StringBuilder:
		return cellsOf(ctx, g, name, rows, b, func(v parquet.ByteArray) { b.BinaryBuilder.Append(v) })
	case *array.MapBuilder:
		return g.maps(name, rows.rows(), b)
	}
	return nil, fmt.Errorf("column %s: cannot read %s", name, typ)
}

func cellsOf[T cellType](ctx context.Context, g *rowGroup, name string, rows rowSet, b array.Builder, add func(T)) (arrow.Array, error) {
	if _, ok := g.in.leaves[name]; !ok {
		return nil, nil
	}
	at := rows.next(0)
	err := eachCell(ctx, g, name, rows, func(row int, v T) {
		for ; at < row; at = rows.next(at + 1) {
			b.AppendNull()
		}
		add(v)
		at = rows.next(row + 1)
	})
	if err != nil {
		return nil, err
	}
	if missing := rows.count() - b.Len(); missing > 0 {
		b.AppendNulls(missing)
	}
	return b.NewArray(), nil
}

// maps reads cells of a map from text to text.
func (g *rowGroup) maps(name string, rows []int64, b *array.MapBuilder) (arrow.Array, error) {
	cells := make([][][2]string, len(rows))
	at := 0
	all := func(string) bool { return true }
	err := g.entries(name, all, func(row int, key, value string) {
		for at < len(rows) && rows[at] < int64(row) {
			at++
		}
		if at < len(rows) && rows[at] == int64(row) {
			cells[at] = append(cells[at], [2]string{key, strings.Clone(value)})
		}
	})
	if err != nil {
		return nil, err
	}
	keys, items := b.KeyBuilder().(*array.StringBuilder), b.ItemBuilder().(*array.StringBuilder)
	for _, cell := range cells {
		b.Append(len(cell) > 0)
		for _, e := range cell {
			keys.Append(e[0])
			items.Append(e[1])
		}
	}
	return b.NewArray(), nil
}

// entries calls fn with the entries of a column of maps whose keys are wanted, in order of their rows; a value lives as
// long as the call. It reads the whole row group: how many entries there are before a row stands nowhere.
func (g *rowGroup) entries(name string, want func(key string) bool, fn func(row int, key, value string)) error {
	// Keys come first and are few, so of each entry its number is kept.
	var keys []string
	numbers := map[string]int32{}
	var wanted []bool
	var entries []int32
	err := g.eachEntry(name+".key_value.key", func(_, _ int, key []byte) {
		n, known := numbers[string(key)]
		if !known {
			n = int32(len(keys))
			keys = append(keys, string(key))
			numbers[keys[n]] = n
			wanted = append(wanted, want(keys[n]))
		}
		entries = append(entries, n)
	})
	if err != nil {
		return err
	}
	return g.eachEntry(name+".key_value.value", func(entry, row int, value []byte) {
		if entry < len(entries) && wanted[entries[entry]] {
			fn(row, keys[entries[entry]], unsafe.String(unsafe.SliceData(value), len(value)))
		}
	})
}

// eachEntry calls fn with the values of a column that has several, or none, in a row: with the number of each and its row.
func (g *rowGroup) eachEntry(leaf string, fn func(entry, row int, value []byte)) error {
	c, err := openChunk[parquet.ByteArray](g, leaf)
	if c == nil || err != nil {
		return err
	}
	defer c.close()
	for entry, row := 0, -1; row < g.rows-1 || c.in.HasNext(); {
		values, defs, err := c.next(chunkRows)
		if err != nil {
			return fmt.Errorf("column %s: %w", leaf, err)
		}
		for i, d := range defs {
			if c.reps[i] == 0 {
				row++
			}
			if d == c.most {
				fn(entry, row, values[0])
				values = values[1:]
				entry++
			}
		}
	}
	return nil
}

// unread are columns that say nothing that others don't: they serve SQL.
var unread = map[string]bool{"event_names": true, "link_ids": true}

// batch reads whole rows, some columns at once.
func (s *Store) batch(ctx context.Context, g *rowGroup, rows rowSet) (arrow.RecordBatch, error) {
	b := g.in.block
	var fields []arrow.Field
	for _, c := range fixedColumns[b.Signal] {
		if !unread[c.name] && (!c.optional || b.layout.has(c.name)) {
			fields = append(fields, arrow.Field{Name: c.name, Type: c.typ, Nullable: true})
		}
	}
	for _, c := range b.layout.Columns {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.Type.arrow(), Nullable: true})
	}
	columns := make([]arrow.Array, len(fields))
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	var next atomic.Int64
	work, ctx := errgroup.WithContext(ctx)
	for range s.opts.Threads {
		work.Go(func() (err error) {
			defer s.whileReading(b, &err)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(fields) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				if columns[i], err = g.cells(ctx, fields[i].Name, fields[i].Type, rows); err != nil {
					return err
				}
				if columns[i] == nil {
					return fmt.Errorf("no column %s", fields[i].Name)
				}
			}
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, int64(rows.count())), nil
}

// fetch reads whole rows by their numbers and hands them on batch by batch, in any order.
func (s *Store) fetch(ctx context.Context, hits []hit, fn func(arrow.RecordBatch) error) error {
	numbers := map[*block][]int64{}
	for _, h := range hits {
		numbers[h.block] = append(numbers[h.block], h.number)
	}
	for b, all := range numbers {
		if err := s.fetchFrom(ctx, b, all, fn); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) fetchFrom(ctx context.Context, b *block, numbers []int64, fn func(arrow.RecordBatch) error) error {
	r, err := s.openBlock(b)
	if err != nil {
		return err
	}
	defer r.close()
	slices.Sort(numbers)
	for i := range r.groups {
		g := &r.groups[i]
		if len(numbers) == 0 || numbers[0] >= g.first+int64(g.rows) {
			continue
		}
		rows := newRowSet(g.rows)
		for len(numbers) > 0 && numbers[0] < g.first+int64(g.rows) {
			rows.add(int(numbers[0] - g.first))
			numbers = numbers[1:]
		}
		batch, err := s.batch(ctx, g, rows)
		if err != nil {
			return err
		}
		err = fn(batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

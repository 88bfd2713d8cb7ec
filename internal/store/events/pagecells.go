package events

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
)

// Most columns are numbers into a dictionary, or plain values. A page of these is read in place, so that a row costs a few
// nanoseconds and the rows before it nothing; the Parquet library finds and decompresses pages. Columns of other
// encodings it reads as a whole (chunk).

var errPage = errors.New("a page is not well formed")

// cellType is what a cell holds as Parquet stores it.
type cellType interface {
	int32 | int64 | float64 | bool | parquet.ByteArray
}

// inPlace tells whether all pages of a column can be read in place, and whether all are numbers into a dictionary.
func inPlace[T cellType](g *rowGroup, leaf int) (quick, numbers bool, err error) {
	column := g.in.reader.MetaData().Schema.Column(leaf)
	if column.MaxRepetitionLevel() > 0 || column.MaxDefinitionLevel() > 1 || !sameType[T](column.PhysicalType()) {
		return false, false, nil
	}
	meta, err := g.in.reader.MetaData().RowGroup(g.number).ColumnChunk(leaf)
	if err != nil {
		return false, false, err
	}
	pages, plain := 0, 0
	for _, s := range meta.EncodingStats() {
		if s.PageType == file.PageTypeDictionaryPage {
			continue
		}
		if pages++; s.PageType != file.PageTypeDataPage || s.Encoding != parquet.Encodings.Plain && s.Encoding != parquet.Encodings.RLEDict {
			return false, false, nil
		}
		if s.Encoding == parquet.Encodings.Plain {
			plain++
		}
	}
	return pages > 0, pages > 0 && plain == 0, nil
}

func sameType[T cellType](t parquet.Type) bool {
	var v T
	switch any(v).(type) {
	case int32:
		return t == parquet.Types.Int32
	case int64:
		return t == parquet.Types.Int64
	case float64:
		return t == parquet.Types.Double
	case parquet.ByteArray:
		return t == parquet.Types.ByteArray
	}
	return false
}

// eachInPlace calls fn with the values of a column in some rows. A text lives as long as the call; known says which of the
// dictionary's values it is, -1 if it is none. With want, it is enough to call fn with values that are wanted, and where no
// value of the dictionary is, pages are not read.
func eachInPlace[T cellType](ctx context.Context, g *rowGroup, leaf int, among rowSet, want func(T) bool, fn func(row int, v T, known int)) error {
	pages, err := g.in.reader.RowGroup(g.number).GetColumnPageReader(leaf)
	if err != nil {
		return err
	}
	defer pages.Close()
	nullable := g.in.reader.MetaData().Schema.Column(leaf).MaxDefinitionLevel() > 0
	starts, err := g.pageStarts(leaf)
	if err != nil {
		return err
	}
	var dictionary []T
	if want != nil {
		p, err := pages.GetDictionaryPage()
		if err != nil || p == nil {
			return errors.Join(errPage, err)
		}
		if dictionary, err = dictionaryOf[T](p); err != nil {
			return err
		}
		if !slices.ContainsFunc(dictionary, want) {
			return nil
		}
	}
	page, first := 0, 0
	for row := among.next(0); row >= 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if skip := page; len(starts) > 0 {
			for skip+1 < len(starts) && starts[skip+1] <= int64(row) {
				skip++
			}
			if skip > page {
				if err := pages.SeekToPageWithRow(starts[skip]); err != nil {
					return err
				}
				page, first = skip, int(starts[skip])
			} else if !pages.Next() {
				return errors.Join(errPage, pages.Err())
			}
		} else if !pages.Next() {
			return errors.Join(errPage, pages.Err())
		}
		data, ok := pages.Page().(*file.DataPageV1)
		if !ok {
			if _, ok := pages.Page().(*file.DictionaryPage); !ok {
				return errPage
			}
			if dictionary == nil || want != nil { // which the library has read into the same memory
				if dictionary, err = dictionaryOf[T](pages.Page()); err != nil {
					return err
				}
			}
			continue
		}
		n := int(data.NumValues())
		if first+n > g.rows {
			return errPage
		}
		if row < first+n {
			if dictionary == nil && data.Encoding() != 0 { // after a seek
				p, err := pages.GetDictionaryPage()
				if err != nil || p == nil {
					return errors.Join(errPage, err)
				}
				if dictionary, err = dictionaryOf[T](p); err != nil {
					return err
				}
			}
			if err := eachOfPage(data, nullable, dictionary, first, among, fn); err != nil {
				return err
			}
			row = among.next(first + n)
		}
		first += n
		page++
	}
	return nil
}

// pageStarts are the first rows of a column's pages; nil if the file does not say.
func (g *rowGroup) pageStarts(leaf int) (out []int64, err error) {
	index, err := g.in.reader.GetPageIndexReader().RowGroup(g.number)
	if err != nil || index == nil {
		return nil, err
	}
	offsets, err := index.GetOffsetIndex(leaf)
	if err != nil || offsets == nil {
		return nil, err
	}
	for _, p := range offsets.GetPageLocations() {
		out = append(out, p.FirstRowIndex)
	}
	return out, nil
}

// eachOfPage calls fn with the values of a page's rows, the first of which is given.
func eachOfPage[T cellType](page *file.DataPageV1, nullable bool, dictionary []T, first int, among rowSet, fn func(row int, v T, known int)) error {
	data, n := page.Data(), int(page.NumValues())
	var there rowSet // nil if all are
	count := n
	if nullable {
		if len(data) < 4 {
			return errPage
		}
		size := int(binary.LittleEndian.Uint32(data))
		if size > len(data)-4 {
			return errPage
		}
		var err error
		if there, count, err = presentRows(data[4:4+size], n); err != nil {
			return err
		}
		data = data[4+size:]
	}
	var value func(i int) (T, int, error) // called with growing i
	if page.Encoding() == 0 {
		at, err := plainAt[T](data, count)
		if err != nil {
			return err
		}
		value = func(i int) (T, int, error) { v, err := at(i); return v, -1, err }
	} else {
		if len(data) < 1 || data[0] > 32 {
			return errPage
		}
		codes := hybrid{data: data[1:], width: int(data[0])}
		value = func(i int) (v T, code int, err error) {
			if code, err = codes.at(i); err != nil || code >= len(dictionary) {
				return v, 0, errors.Join(errPage, err)
			}
			return dictionary[code], code, nil
		}
	}
	rank, ranked := 0, 0 // of the rows before ranked, so many are there
	for row := among.next(first); row >= 0 && row < first+n; row = among.next(row + 1) {
		i := row - first
		if there != nil {
			if !there.has(i) {
				continue
			}
			rank += there.countIn(ranked, i)
			ranked = i
			i = rank
		}
		v, code, err := value(i)
		if err != nil {
			return err
		}
		fn(row, v, code)
	}
	return nil
}

// presentRows reads definition levels of one bit, and tells how many rows have a value.
func presentRows(levels []byte, rows int) (there rowSet, count int, err error) {
	there = newRowSet(rows + 64)
	h := hybrid{data: levels, width: 1}
	for done := 0; done < rows; {
		if err := h.run(); err != nil {
			return nil, 0, err
		}
		n := min(h.count, rows-done)
		if h.packed == nil {
			if h.value == 1 {
				there.addRange(done, done+n)
			}
			done += n
			continue
		}
		if (n+7)/8 > len(h.packed) {
			return nil, 0, errPage
		}
		for i := 0; i < n; i += 8 {
			b := uint64(h.packed[i/8])
			if n-i < 8 {
				b &= 1<<(n-i) - 1
			}
			at := done + i
			there[at/64] |= b << (at % 64)
			if at%64 > 56 {
				there[at/64+1] |= b >> (64 - at%64)
			}
		}
		done += n
	}
	return there, there.count(), nil
}

// hybrid reads Parquet's mix of runs and packed bits, at growing places.
type hybrid struct {
	data  []byte // behind the present run
	width int

	start, count int    // of the present run
	packed       []byte // nil for a run of one value
	value        int
}

// run reads the next run.
func (h *hybrid) run() error {
	header, n := binary.Uvarint(h.data)
	if n <= 0 || header > math.MaxInt32 {
		return errPage
	}
	h.data = h.data[n:]
	h.start += h.count
	size := (h.width + 7) / 8
	if header&1 == 0 {
		if len(h.data) < size {
			return errPage
		}
		h.count, h.packed, h.value = int(header>>1), nil, 0
		for i := range size {
			h.value |= int(h.data[i]) << (8 * i)
		}
		h.data = h.data[size:]
	} else {
		groups := int(header >> 1)
		h.count = 8 * groups
		size = min(groups*h.width, len(h.data)) // the last run may be cut short
		h.packed, h.data = h.data[:size:size], h.data[size:]
	}
	if h.count == 0 {
		return errPage
	}
	return nil
}

// at is the value at a place.
func (h *hybrid) at(i int) (int, error) {
	for i >= h.start+h.count {
		if err := h.run(); err != nil {
			return 0, err
		}
	}
	if h.packed == nil {
		return h.value, nil
	}
	bit := (i - h.start) * h.width
	from := bit / 8
	if from+8 <= len(h.packed) {
		return int(binary.LittleEndian.Uint64(h.packed[from:]) >> (bit % 8) & (1<<h.width - 1)), nil
	}
	if (bit+h.width+7)/8 > len(h.packed) {
		return 0, errPage
	}
	var w uint64
	for j, b := range h.packed[from:] {
		w |= uint64(b) << (8 * j)
	}
	return int(w >> (bit % 8) & (1<<h.width - 1)), nil
}

func dictionaryOf[T cellType](p file.Page) ([]T, error) {
	n := int(p.NumValues())
	if n > len(p.Data()) { // each takes at least four bytes
		return nil, errPage
	}
	at, err := plainAt[T](p.Data(), n)
	if err != nil {
		return nil, err
	}
	out := make([]T, n)
	for i := range out {
		if out[i], err = at(i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// plainAt reads plain values at growing places.
func plainAt[T cellType](data []byte, count int) (func(i int) (T, error), error) {
	var v T
	size := int(unsafe.Sizeof(v))
	switch p := any(&v).(type) {
	case *int32:
		return func(i int) (T, error) { *p = int32(binary.LittleEndian.Uint32(data[4*i:])); return v, nil }, enough(data, count, size)
	case *int64:
		return func(i int) (T, error) { *p = int64(binary.LittleEndian.Uint64(data[8*i:])); return v, nil }, enough(data, count, size)
	case *float64:
		return func(i int) (T, error) {
			*p = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
			return v, nil
		}, enough(data, count, size)
	case *parquet.ByteArray:
		next := 0
		return func(i int) (T, error) {
			for {
				if len(data) < 4 {
					return v, errPage
				}
				n := int(binary.LittleEndian.Uint32(data))
				if n > len(data)-4 {
					return v, errPage
				}
				*p, data = data[4:4+n:4+n], data[4+n:]
				if next++; next > i {
					return v, nil
				}
			}
		}, nil
	}
	return nil, fmt.Errorf("cannot read %T in place", v)
}

func enough(data []byte, count, size int) error {
	if count > len(data)/size {
		return errPage
	}
	return nil
}

// next is the first row of the set from one on, -1 if there is none.
func (s rowSet) next(from int) int {
	for i := from / 64; i < len(s); i++ {
		w := s[i]
		if i == from/64 {
			w &^= 1<<(from%64) - 1
		}
		if w != 0 {
			return 64*i + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// countIn is how many rows of the set are at least from and less than to.
func (s rowSet) countIn(from, to int) (n int) {
	for i := from / 64; i <= to/64 && i < len(s); i++ {
		w := s[i]
		if i == from/64 {
			w &^= 1<<(from%64) - 1
		}
		if i == to/64 {
			w &= 1<<(to%64) - 1
		}
		n += bits.OnesCount64(w)
	}
	return n
}

// addRange adds the rows from one up to another.
func (s rowSet) addRange(from, to int) {
	for i := from; i < to; {
		if i%64 == 0 && i+64 <= to {
			s[i/64] = math.MaxUint64
			i += 64
			continue
		}
		s.add(i)
		i++
	}
}

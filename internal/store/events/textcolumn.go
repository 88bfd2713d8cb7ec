package events

import (
	"strings"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// dictionaryType is the Arrow type of a text column that has a dictionary. In the file it is plain BYTE_ARRAY.
var dictionaryType = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}

const (
	// A column whose first manyTexts texts are mostly different gets no dictionary, nor one whose dictionary would be
	// larger than Parquet's usual limit for one.
	manyTexts     = 4096
	maxDictionary = 1 << 20
)

// textColumn collects the texts of one column for one row group: each distinct text once, and its number for every row.
// Most texts repeat, so this costs less than handing each to Arrow and to Parquet, which would find the repetitions by
// hashing them again. A column without repetitions becomes a plain Arrow builder.
type textColumn struct {
	index   map[string]int32
	values  []string // by number; copies
	bytes   int      // of values
	codes   []int32  // by row; null where negative
	nulls   int
	settled bool // the column's type stands in the file: it is not changed any more
	group   int  // the number of the row group, so that a textCode of an earlier one is known
	plain   *array.StringBuilder
	// frequent are some of the texts, by their ends.
	frequent [256]frequentText
}

// frequentText is a text and its number.
type frequentText struct {
	text string
	textCode
}

// textCode remembers the number of a text that is written again and again. The zero textCode remembers nothing.
type textCode struct {
	group int
	code  int32
}

func newTextColumn() *textColumn { return &textColumn{index: map[string]int32{}, group: 1} }

// len is the number of rows so far.
func (c *textColumn) len() int {
	if c.plain != nil {
		return c.plain.Len()
	}
	return len(c.codes)
}

// reserve makes room for rows of a new row group.
func (c *textColumn) reserve(rows int) {
	if c.plain == nil {
		c.codes = make([]int32, 0, rows)
	}
}

// fill makes the rows before row null where they have no text.
func (c *textColumn) fill(row int) {
	if c.plain != nil {
		if missing := row - c.plain.Len(); missing > 0 {
			c.plain.AppendNulls(missing)
		}
		return
	}
	for len(c.codes) < row {
		c.codes = append(c.codes, -1)
		c.nulls++
	}
}

// append gives a row its text. The text is copied if it is kept.
func (c *textColumn) append(row int, text string) {
	c.fill(row)
	if c.plain != nil {
		c.plain.Append(text)
		return
	}
	c.codes = append(c.codes, c.code(text))
	if len(c.values) == manyTexts && !c.settled && 2*manyTexts > len(c.codes)-c.nulls {
		c.toPlain()
	}
}

// repeat is append for a text whose number is remembered.
func (c *textColumn) repeat(row int, text string, known *textCode) {
	if c.plain != nil {
		c.append(row, text)
		return
	}
	c.fill(row)
	if known.group != c.group {
		*known = textCode{c.group, c.code(text)}
	}
	c.codes = append(c.codes, known.code)
}

func (c *textColumn) code(text string) int32 {
	// Few texts make up most rows, and comparing with one takes a fifth of hashing the whole.
	q := &c.frequent[ends(text)]
	if q.group == c.group && q.text == text {
		return q.code
	}
	code, ok := c.index[text]
	if !ok {
		text = strings.Clone(text)
		code = int32(len(c.values))
		c.index[text] = code
		c.values = append(c.values, text)
		c.bytes += len(text)
	}
	*q = frequentText{c.values[code], textCode{c.group, code}}
	return code
}

// ends is a hash of a text's length, first and last bytes.
func ends(text string) uint8 {
	n := len(text)
	if n < 4 {
		h := uint32(n)
		for i := range n {
			h = h<<8 | uint32(text[i])
		}
		return uint8(h * 0x9e3779b1 >> 24)
	}
	first := uint32(text[0]) | uint32(text[1])<<8 | uint32(text[2])<<16 | uint32(text[3])<<24
	last := uint32(text[n-4]) | uint32(text[n-3])<<8 | uint32(text[n-2])<<16 | uint32(text[n-1])<<24
	return uint8((first ^ last*0x85ebca6b ^ uint32(n)) * 0x9e3779b1 >> 24)
}

// toPlain gives up the dictionary.
func (c *textColumn) toPlain() {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	for _, code := range c.codes {
		if code < 0 {
			b.AppendNull()
		} else {
			b.Append(c.values[code])
		}
	}
	c.plain, c.index, c.values, c.codes = b, nil, nil, nil
}

// settle decides for good whether the column has a dictionary.
func (c *textColumn) settle() {
	if c.plain == nil && c.bytes > maxDictionary {
		c.toPlain()
	}
	c.settled = true
}

// array gives the texts of all rows and begins the next row group.
func (c *textColumn) array(rows int) arrow.Array {
	c.fill(rows)
	if c.plain != nil {
		return c.plain.NewArray()
	}
	texts := array.NewStringBuilder(memory.DefaultAllocator)
	texts.Reserve(len(c.values))
	texts.ReserveData(c.bytes)
	for _, v := range c.values {
		texts.Append(v)
	}
	dictionary := texts.NewArray()
	defer dictionary.Release()
	var valid *memory.Buffer
	if c.nulls > 0 {
		bits := make([]byte, bitutil.BytesForBits(int64(rows)))
		for i, code := range c.codes {
			if code >= 0 {
				bitutil.SetBit(bits, i)
			} else {
				c.codes[i] = 0
			}
		}
		valid = memory.NewBufferBytes(bits)
	}
	data := array.NewData(arrow.PrimitiveTypes.Int32, rows, []*memory.Buffer{valid, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(c.codes))},
		nil, c.nulls, 0)
	codes := array.NewInt32Data(data)
	data.Release()
	defer codes.Release()
	out := array.NewDictionaryArray(dictionaryType, codes, dictionary)
	// Arrow reads the codes until the row group is written, so the next one gets its own.
	c.codes, c.nulls, c.bytes, c.values = nil, 0, 0, nil
	clear(c.index)
	c.group++
	return out
}

// textCache finds what belongs to a text by where the text lies in memory: rows of one batch share the texts of their keys,
// and comparing addresses costs a fraction of hashing. It remembers 256 texts.
type textCache[T any] [256]struct {
	text  string
	value T
}

// slot is where the text's value is; known tells that it is the text's already, else it is the caller's to set.
func (c *textCache[T]) slot(text string) (value *T, known bool) {
	at := unsafe.StringData(text)
	s := &c[(uintptr(unsafe.Pointer(at))>>2^uintptr(unsafe.Pointer(at))>>9)%uintptr(len(c))]
	known = len(s.text) == len(text) && unsafe.StringData(s.text) == at && at != nil
	s.text = text // which keeps the address from being anything else's
	return &s.value, known
}

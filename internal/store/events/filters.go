package events

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/cespare/xxhash/v2"

	"triage/internal/model"
	"triage/internal/search"
)

// Each row group has two filters, which say of a trace ID, a word or an attribute's value that it is certainly not there or
// may be. See docs/format/blocks.md.

const (
	filterBits = 10      // of a filter for each entry: one answer in about a hundred is "may be" for nothing
	maxFilter  = 1 << 20 // bytes of one filter; a fuller one is wrong more often, in the harmless direction
	maxRuns    = 8       // stretches of a block that a query reads on their own
	fewHashes  = 16      // so many are looked up in a filter's file one by one; for more it is read whole
)

// filterSection says where a block's filters are: the last section before the footer.
type filterSection struct {
	section
	Rows int64 `json:"rows"` // of each row group but the last
}

// bloom is a split-block Bloom filter: F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and Space-Efficient Bloom Filters"
// (2007), as the Parquet format's BloomFilter.md lays it out. Without bytes it holds nothing.
type bloom []byte

const bloomBlock = 32 // bytes: eight little-endian words, of which each entry has one bit

var bloomSalt = [8]uint32{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31}

// newBloom makes a filter of distinct hashes.
func newBloom(hashes []uint64) bloom {
	size := min((len(hashes)*filterBits/8+bloomBlock-1)/bloomBlock*bloomBlock, maxFilter)
	if len(hashes) > 0 {
		size = max(size, bloomBlock)
	}
	f := make(bloom, size)
	for _, h := range hashes {
		b := f.block(h)
		for i, salt := range bloomSalt {
			w := b[4*i:]
			binary.LittleEndian.PutUint32(w, binary.LittleEndian.Uint32(w)|1<<(uint32(h)*salt>>27))
		}
	}
	return f
}

// blockOf is where in a filter of a size a hash has its bits.
func blockOf(h uint64, size int64) int64 {
	n, _ := bits.Mul64(h>>32<<32, uint64(size/bloomBlock))
	return int64(n * bloomBlock)
}

func (f bloom) block(h uint64) []byte { return f[blockOf(h, int64(len(f))):][:bloomBlock] }

// has tells whether a hash may have been added.
func (f bloom) has(h uint64) bool {
	if len(f) == 0 {
		return false
	}
	b := f.block(h)
	for i, salt := range bloomSalt {
		if binary.LittleEndian.Uint32(b[4*i:])&(1<<(uint32(h)*salt>>27)) == 0 {
			return false
		}
	}
	return true
}

// filterWriter makes the filters of a block, row group by row group. It is not safe for concurrent use.
type filterWriter struct {
	hashes  []uint64
	recent  [1 << 13]uint64 // some of hashes, so that what repeats is not collected again
	buf     []byte
	section []byte
}

func (w *filterWriter) add(h uint64) {
	if at := &w.recent[h%uint64(len(w.recent))]; *at != h || h == 0 {
		*at = h
		w.hashes = append(w.hashes, h)
	}
}

// end writes the filter of what was added.
func (w *filterWriter) end() {
	slices.Sort(w.hashes)
	f := newBloom(slices.Compact(w.hashes))
	w.section = binary.LittleEndian.AppendUint32(w.section, uint32(len(f)))
	w.section = append(w.section, f...)
	w.hashes = w.hashes[:0]
	clear(w.recent[:])
}

// group writes the filters of a row group, given its columns.
func (w *filterWriter) group(columns []column, arrays []arrow.Array) {
	var hi, lo *array.Uint64
	for i := range columns {
		switch columns[i].field.Name {
		case "trace_hi":
			hi = arrays[i].(*array.Uint64)
		case "trace_lo":
			lo = arrays[i].(*array.Uint64)
		}
	}
	for i := range hi.Len() {
		w.add(hashTrace(hi.Value(i), lo.Value(i)))
	}
	w.end()
	for i := range columns {
		c := &columns[i]
		words, values := wordColumn(c.field.Name), c.text != nil
		if !words && !values {
			continue
		}
		a := arrays[i]
		if d, ok := a.(*array.Dictionary); ok {
			a = d.Dictionary()
		}
		texts := a.(*array.String)
		for j := range texts.Len() {
			if texts.IsNull(j) {
				continue
			}
			if words {
				w.buf = eachWord(texts.Value(j), w.buf, w.add)
			}
			if values {
				var h uint64
				h, w.buf = hashValue(c.field.Name, texts.Value(j), w.buf)
				w.add(h)
			}
		}
	}
	w.end()
}

// wordColumn tells whether the words of a column are in the filters.
func wordColumn(name string) bool {
	switch name {
	case "body", "name", "status_message", "event_names":
		return true
	}
	return false
}

func hashTrace(hi, lo uint64) uint64 {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	return xxhash.Sum64(id[:])
}

// foldRune is what filters take a character for: an ASCII letter or digit in lower case, and three letters that lower
// case or a regular expression that ignores case takes for one. Zero is anything else. What SQL takes for the same has
// the same fold, whichever version of Unicode it knows.
func foldRune(r rune) byte {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		return byte(r)
	case r >= 'A' && r <= 'Z':
		return byte(r) + 'a' - 'A'
	case r == '\u0130': // capital I with a dot
		return 'i'
	case r == '\u017f': // long s
		return 's'
	case r == '\u212a': // Kelvin
		return 'k'
	}
	return 0
}

// eachWord hands on the hash of each word of a text: each longest run of ASCII letters and digits, folded. Others part words.
func eachWord(text string, buf []byte, fn func(uint64)) []byte {
	buf = buf[:0]
	for _, r := range text {
		if c := foldRune(r); c != 0 {
			buf = append(buf, c)
		} else if len(buf) > 0 {
			fn(xxhash.Sum64(buf))
			buf = buf[:0]
		}
	}
	if len(buf) > 0 {
		fn(xxhash.Sum64(buf))
	}
	return buf
}

// hashValue is the hash of a whole value in a column: its name, a zero byte, the value, in which every character that is
// neither ASCII nor folded to it is the byte 0x80.
func hashValue(column, text string, buf []byte) (uint64, []byte) {
	buf = append(append(buf[:0], column...), 0)
	for _, r := range text {
		c := foldRune(r)
		if c == 0 {
			c = 0x80
			if r < utf8.RuneSelf {
				c = byte(r)
			}
		}
		buf = append(buf, c)
	}
	return xxhash.Sum64(buf), buf
}

// need tells of a row group's filters whether a row that is looked for may be there. nil is always true.
type need func(groupFilters) bool

// needTraces is the need of rows of any of the traces.
func needTraces(ids []model.TraceID) need {
	hashes := make([]uint64, len(ids))
	for i, id := range ids {
		hashes[i] = hashTrace(id.Hi(), id.Lo())
	}
	if len(hashes) > fewHashes {
		return func(g groupFilters) bool { return slices.ContainsFunc(hashes, g.traces.whole().has) }
	}
	return func(g groupFilters) bool { return slices.ContainsFunc(hashes, g.traces.has) }
}

// needs is what a search that matches compiles needs of a row group.
func (c *compiler) needs(e search.Expr) need {
	switch e := e.(type) {
	case search.And:
		var parts []need
		for _, p := range e {
			if n := c.needs(p); n != nil {
				parts = append(parts, n)
			}
		}
		if len(parts) == 0 {
			return nil
		}
		return func(g groupFilters) bool {
			return !slices.ContainsFunc(parts, func(n need) bool { return !n(g) })
		}
	case search.Or:
		parts := make([]need, len(e))
		for i, p := range e {
			if parts[i] = c.needs(p); parts[i] == nil {
				return nil
			}
		}
		if len(parts) == 0 {
			return nil
		}
		return func(g groupFilters) bool {
			return slices.ContainsFunc(parts, func(n need) bool { return n(g) })
		}
	case search.Match:
		return c.needMatch(e)
	}
	return nil
}

// needMatch is what one comparison needs.
func (c *compiler) needMatch(m search.Match) need {
	if m.Op != search.Equal && m.Op != search.Word {
		return nil
	}
	value := strings.ToValidUTF8(m.Value, "\ufffd") // as quote
	isSpan := c.signal == spans
	switch {
	case m.Field == "", m.Field == "body" && !isSpan:
		return needWords(value)
	case m.Field == "trace", m.Field == "trace_id":
		if id, err := model.ParseTraceID(m.Value); err == nil {
			return needTraces([]model.TraceID{id})
		}
	case m.Op == search.Word:
		switch m.Field {
		case "name", "operation", "status_message":
			if isSpan {
				return needWords(value)
			}
		}
		return nil
	case m.Field == "service":
		return needValue(value, "service")
	case m.Field == "scope":
		return needValue(value, "scope_name")
	case (m.Field == "name" || m.Field == "operation") && isSpan:
		return needValue(value, "name")
	case m.Field == "status_message" && isSpan, m.Field == "event_name" && !isSpan:
		return needValue(value, m.Field)
	}
	if _, ok := c.fixed(m); ok || m.Op != search.Equal {
		return nil
	}
	var columns []string
	for _, o := range c.attr(m.Field, true) {
		if o.typ != typeText {
			return nil
		}
		columns = append(columns, o.column)
	}
	return needValue(value, columns...)
}

// needWords needs all words of a text that stands between bounds of words.
func needWords(text string) need {
	var hashes []uint64
	eachWord(text, nil, func(h uint64) { hashes = append(hashes, h) })
	if len(hashes) == 0 {
		return nil
	}
	return func(g groupFilters) bool {
		return !slices.ContainsFunc(hashes, func(h uint64) bool { return !g.words.has(h) })
	}
}

// needValue needs the value in any of the columns.
func needValue(value string, columns ...string) need {
	hashes := make([]uint64, len(columns))
	for i, c := range columns {
		hashes[i], _ = hashValue(c, value, nil)
	}
	return func(g groupFilters) bool { return slices.ContainsFunc(hashes, g.words.has) }
}

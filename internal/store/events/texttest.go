package events

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"triage/internal/search"
)

// textTest tests texts as the SQL of compare does. Nearly all texts are ASCII, and of these that is quick.
type textTest struct {
	op          search.Op
	want        []byte // in lower case
	ascii       bool   // what is looked for is
	left, right bool   // a word must begin or end there
	pattern     *regexp.Regexp
	lower       []byte // room
}

func newTextTest(m search.Match) *textTest {
	value := strings.ToValidUTF8(m.Value, "\ufffd") // as quote
	t := &textTest{op: m.Op, want: []byte(strings.ToLower(value))}
	t.ascii = isASCII([]byte(value))
	if m.Op == search.Word {
		var pattern string
		pattern, t.left, t.right = wordPattern(value)
		t.pattern = regexp.MustCompile(pattern)
	}
	return t
}

// isASCII tells whether all bytes are below 0x80.
func isASCII(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// appendLower appends ASCII text in lower case; other bytes stay.
func appendLower(to, text []byte) []byte {
	for ; len(text) >= 8; text = text[8:] {
		w := binary.LittleEndian.Uint64(text)
		low := w & 0x7f7f7f7f7f7f7f7f
		// The high bit of a byte is set where it is at least 'A', and where it is more than 'Z'.
		upper := (low + 0x3f3f3f3f3f3f3f3f) &^ (low + 0x2525252525252525) &^ w & 0x8080808080808080
		to = binary.LittleEndian.AppendUint64(to, w|upper>>2)
	}
	for _, c := range text {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		to = append(to, c)
	}
	return to
}

// met tests one text.
func (t *textTest) met(text []byte) bool {
	ascii := isASCII(text)
	if ascii && !isASCII(t.want) {
		return false
	}
	if !ascii || !t.ascii {
		lower := strings.ToLower(string(text))
		switch t.op {
		case search.Equal:
			return lower == string(t.want)
		case search.Prefix:
			return strings.HasPrefix(lower, string(t.want))
		}
		return strings.Contains(lower, string(t.want)) && t.pattern.Match(text)
	}
	if len(text) < len(t.want) || t.op == search.Equal && len(text) != len(t.want) {
		return false
	}
	t.lower = appendLower(t.lower[:0], text)
	switch t.op {
	case search.Equal:
		return bytes.Equal(t.lower, t.want)
	case search.Prefix:
		return bytes.HasPrefix(t.lower, t.want)
	}
	for rest := t.lower; ; {
		i := bytes.Index(rest, t.want)
		if i < 0 {
			return false
		}
		at := len(t.lower) - len(rest) + i
		end := at + len(t.want)
		if (!t.left || at == 0 || !isWordByte(t.lower[at-1])) && (!t.right || end == len(t.lower) || !isWordByte(t.lower[end])) {
			return true
		}
		rest = rest[i+1:]
	}
}

// isWordByte tells whether a byte of ASCII text in lower case is a letter or a digit.
func isWordByte(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// testColumn tests the texts of a column in some rows, and notes in there, if it is not nil, which have one.
func (t *textTest) testColumn(ctx context.Context, g *rowGroup, column string, among, there rowSet) (rowSet, error) {
	if there == nil && t.op == search.Word && t.ascii {
		some, err := t.mayHave(ctx, g, column)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", column, err)
		}
		if some != nil {
			among = among.and(some)
		}
	}
	if among.count() == 0 {
		return among, nil
	}
	met := make(rowSet, len(among))
	var answers []int8 // by number in the dictionary: 1 and -1 are yes and no
	want := func(v parquet.ByteArray) bool { return t.met(v) }
	if there != nil {
		want = nil
	}
	err := eachKnown(ctx, g, column, among, want, func(row int, v parquet.ByteArray, known int) {
		yes := false
		if known < 0 {
			yes = t.met(v)
		} else {
			for len(answers) <= known {
				answers = append(answers, 0)
			}
			if answers[known] == 0 {
				if answers[known] = -1; t.met(v) {
					answers[known] = 1
				}
			}
			yes = answers[known] > 0
		}
		if yes {
			met.add(row)
		}
		if there != nil {
			there.add(row)
		}
	})
	return met, err
}

// mayHave are the rows of a column without a dictionary whose pages have the wanted text somewhere; nil if that is not known.
// A page is looked through as a whole, which takes a tenth of the time that its texts would take one by one.
func (t *textTest) mayHave(ctx context.Context, g *rowGroup, column string) (rowSet, error) {
	leaf, ok := g.in.leaves[column]
	if !ok {
		return nil, nil
	}
	meta, err := g.in.reader.MetaData().RowGroup(g.number).ColumnChunk(leaf)
	if err != nil || meta.HasDictionaryPage() {
		return nil, err
	}
	pages, err := g.in.reader.RowGroup(g.number).GetColumnPageReader(leaf)
	if err != nil {
		return nil, err
	}
	defer pages.Close()
	some := newRowSet(g.rows)
	row := 0
	for pages.Next() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		page, ok := pages.Page().(*file.DataPageV1)
		if !ok {
			return nil, nil
		}
		rows := int(page.NumValues())
		if row+rows > g.rows {
			return nil, fmt.Errorf("pages of more than %d rows", g.rows)
		}
		t.lower = appendLower(t.lower[:0], page.Data())
		if bytes.Contains(t.lower, t.want) || foldsToASCII(t.lower) {
			some = some.or(allRows(g.rows, row, row+rows))
		}
		row += rows
	}
	return some, pages.Err()
}

// foldsToASCII tells whether a letter may be in a text whose lower case is an ASCII letter: U+0130, U+212A.
func foldsToASCII(text []byte) bool {
	return bytes.Contains(text, []byte("\u0130")) || bytes.Contains(text, []byte("\u212a"))
}

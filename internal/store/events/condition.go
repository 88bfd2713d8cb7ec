package events

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/apache/arrow-go/v18/parquet"

	"triage/internal/model"
	"triage/internal/search"
)

// condition is a search, or a part of one, compiled for one block. DuckDB decides it by its SQL; most can also be tested here,
// which is quicker where few row groups are concerned. Both decide the same. A missing value meets nothing but a negation.
type condition interface {
	// sql may be NULL where a field is missing.
	sql() string
	// testable tells whether test can decide.
	testable() bool
	// cost orders tests: about how many bytes of a row they read.
	cost() int
	// test returns those of a row group's rows that meet the condition. The set that it gets is the caller's.
	test(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error)
}

// rowSet is a set of rows of a row group, counted from its first.
type rowSet []uint64

func newRowSet(rows int) rowSet { return make(rowSet, (rows+63)/64) }

// allRows is the set of the rows of a row group from one up to another.
func allRows(rows, from, to int) rowSet {
	s := newRowSet(rows)
	s.addRange(from, to)
	return s
}

func (s rowSet) add(row int)      { s[row/64] |= 1 << (row % 64) }
func (s rowSet) has(row int) bool { return s[row/64]&(1<<(row%64)) != 0 }

func (s rowSet) count() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// rows lists the rows in order.
func (s rowSet) rows() []int64 {
	out := make([]int64, 0, s.count())
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			out = append(out, int64(i*64+bits.TrailingZeros64(w)))
		}
	}
	return out
}

// newest keeps the last so many rows.
func (s rowSet) newest(n int) rowSet {
	rows := s.rows()
	if len(rows) <= n {
		return s
	}
	out := make(rowSet, len(s))
	for _, r := range rows[len(rows)-n:] {
		out.add(int(r))
	}
	return out
}

func (s rowSet) and(o rowSet) rowSet { return s.combine(o, func(a, b uint64) uint64 { return a & b }) }
func (s rowSet) or(o rowSet) rowSet  { return s.combine(o, func(a, b uint64) uint64 { return a | b }) }
func (s rowSet) except(o rowSet) rowSet {
	return s.combine(o, func(a, b uint64) uint64 { return a &^ b })
}

func (s rowSet) combine(o rowSet, with func(a, b uint64) uint64) rowSet {
	out := make(rowSet, len(s))
	for i := range s {
		out[i] = with(s[i], o[i])
	}
	return out
}

// constant is met by all rows or by none.
type constant bool

func (c constant) sql() string    { return strconv.FormatBool(bool(c)) }
func (c constant) testable() bool { return true }
func (c constant) cost() int      { return 0 }
func (c constant) test(_ context.Context, _ *rowGroup, among rowSet) (rowSet, error) {
	if c {
		return among, nil
	}
	return make(rowSet, len(among)), nil
}

// allOf is met where all parts are.
type allOf []condition

func (c allOf) sql() string    { return joined(c, " AND ") }
func (c allOf) testable() bool { return testable(c) }
func (c allOf) cost() int      { return costliest(c) }
func (c allOf) test(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error) {
	// What costs little leaves less to test for the rest.
	parts := slices.Clone(c)
	slices.SortStableFunc(parts, func(a, b condition) int { return a.cost() - b.cost() })
	for _, p := range parts {
		if among.count() == 0 {
			break
		}
		var err error
		if among, err = p.test(ctx, g, among); err != nil {
			return nil, err
		}
	}
	return among, nil
}

// anyOf is met where any part is.
type anyOf []condition

func (c anyOf) sql() string    { return joined(c, " OR ") }
func (c anyOf) testable() bool { return testable(c) }
func (c anyOf) cost() int      { return costliest(c) }
func (c anyOf) test(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error) {
	met := make(rowSet, len(among))
	for _, p := range c {
		more, err := p.test(ctx, g, among.except(met))
		if err != nil {
			return nil, err
		}
		met = met.or(more)
	}
	return met, nil
}

// negation is met where its part is not, so also where it has no value.
type negation struct{ condition }

func (c negation) sql() string { return "NOT coalesce(" + c.condition.sql() + ",false)" }
func (c negation) test(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error) {
	met, err := c.condition.test(ctx, g, among)
	if err != nil {
		return nil, err
	}
	return among.except(met), nil
}

// opposite is met where its part is not; every row has what the part looks at.
type opposite struct{ condition }

func (c opposite) sql() string { return "NOT " + c.condition.sql() }
func (c opposite) test(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error) {
	return negation(c).test(ctx, g, among)
}

func joined(parts []condition, with string) string {
	if len(parts) == 0 {
		return "true"
	}
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p.sql()
	}
	return "(" + strings.Join(out, with) + ")"
}

func testable(parts []condition) bool {
	return !slices.ContainsFunc(parts, func(p condition) bool { return !p.testable() })
}

func costliest(parts []condition) (most int) {
	for _, p := range parts {
		most = max(most, p.cost())
	}
	return most
}

// within is met by numbers of a column that every row has.
type within struct {
	column    string
	low, high int64
}

func (c within) sql() string {
	switch {
	case c.low == math.MinInt64 && c.high == math.MaxInt64:
		return "true"
	case c.low == c.high:
		return "(" + c.column + "=" + literal(c.low) + ")"
	case c.high == math.MaxInt64:
		return "(" + c.column + ">=" + literal(c.low) + ")"
	case c.low == math.MinInt64:
		return "(" + c.column + "<=" + literal(c.high) + ")"
	}
	return "(" + c.column + " BETWEEN " + literal(c.low) + " AND " + literal(c.high) + ")"
}

func (c within) testable() bool { return true }

func (c within) wide() bool { return c.column == "ts" || c.column == "duration" }

func (c within) cost() int {
	if c.wide() {
		return 8
	}
	return 1
}

func (c within) test(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error) {
	if c.wide() {
		if low, high, ok := g.in.bounds(g.number, c.column); ok && (low > c.high || high < c.low) {
			return make(rowSet, len(among)), nil
		} else if ok && low >= c.low && high <= c.high {
			return among, nil
		}
		return testCells(ctx, g, c.column, among, nil, func(v int64) bool { return v >= c.low && v <= c.high })
	}
	return testCells(ctx, g, c.column, among, nil, func(v int32) bool { return int64(v) >= c.low && int64(v) <= c.high })
}

// identity is met by one ID, or by any if none is known; every row has its column, 0 where it has no ID.
type identity struct {
	column string
	id     uint64
	known  bool
}

func (c identity) sql() string {
	if !c.known {
		return "(" + c.column + "<>0)"
	}
	return "(" + c.column + "=" + strconv.FormatUint(c.id, 10) + ")"
}

func (c identity) testable() bool { return true }
func (c identity) cost() int      { return 8 }
func (c identity) test(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error) {
	return testCells(ctx, g, c.column, among, nil, func(v int64) bool { return c.known && uint64(v) == c.id || !c.known && v != 0 })
}

// comparison compares the value of one column, or of one key of rest.
type comparison struct {
	operand
	match search.Match
	fixed bool // a column of texts that is no attribute's: none is as good as an empty one
	exact bool // the text of the value must be the match's, letter by letter
}

// exactly compares with the text of a value.
func exactly(o operand, text string) comparison {
	return comparison{operand: o, match: search.Match{Value: strings.ToValidUTF8(text, "\ufffd")}, exact: true} // as quote
}

func (c comparison) sql() string {
	switch {
	case c.exact:
		return c.equals(c.match.Value)
	case c.match.Op == search.Exists && c.fixed:
		return "(" + c.operand.sql + "<>'')"
	case c.match.Op == search.Exists || c.fixed:
		return compare(c.operand, c.match)
	}
	return "coalesce(" + compare(c.operand, c.match) + ",false)"
}

func (c comparison) cost() int {
	if c.column == "body" {
		return 50
	}
	return 2
}

// testable: the text that SQL makes of a double is SQL's own, and so are regular expressions.
func (c comparison) testable() bool {
	if c.exact {
		return true
	}
	if c.typ == typeNone {
		return false
	}
	_, isNumber := search.Number(c.match.Value)
	switch c.match.Op {
	case search.Exists:
		return true
	case search.Equal:
		return isNumber || c.typ != typeDouble
	case search.Word:
		return c.match.Value != "" && c.typ != typeDouble
	case search.Prefix:
		return c.match.Field != "" && c.match.Field != "body" && c.typ != typeDouble
	case search.Greater, search.GreaterEqual, search.Less, search.LessEqual:
		return isNumber && (c.typ == typeInt || c.typ == typeDouble)
	}
	return false
}

func (c comparison) test(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error) {
	met, _, err := c.testWith(ctx, g, among, false)
	return met, err
}

// testWith is test that also tells which rows have a value, if that is wanted.
func (c comparison) testWith(ctx context.Context, g *rowGroup, among rowSet, want bool) (met, there rowSet, err error) {
	met = make(rowSet, len(among))
	if want {
		there = make(rowSet, len(among))
	}
	if c.exact {
		err = c.eachText(ctx, g, among, func(row int, text string) {
			if text == c.match.Value {
				met.add(row)
			}
			if there != nil {
				there.add(row)
			}
		})
		return met, there, err
	}
	number, isNumber := search.Number(c.match.Value)
	if isNumber && (c.typ == typeInt || c.typ == typeDouble) && c.match.Op != search.Word && c.match.Op != search.Prefix {
		test := compareNumber(c.match.Op, number)
		if c.typ == typeInt {
			met, err = testCells(ctx, g, c.column, among, there, func(v int64) bool { return test(float64(v)) })
		} else {
			met, err = testCells(ctx, g, c.column, among, there, test)
		}
		return met, there, err
	}
	if c.match.Op == search.Exists {
		met, err = c.present(ctx, g, among)
		return met, met, err
	}
	t := newTextTest(c.match)
	switch c.typ {
	case typeInt:
		met, err = testCells(ctx, g, c.column, among, there, func(v int64) bool { return t.met([]byte(strconv.FormatInt(v, 10))) })
	case typeBool:
		yes, no := t.met([]byte("true")), t.met([]byte("false"))
		met, err = testCells(ctx, g, c.column, among, there, func(v bool) bool { return v && yes || !v && no })
	default:
		met, err = t.testColumn(ctx, g, c.column, among, there)
	}
	return met, there, err
}

// present are the rows that have a value.
func (c comparison) present(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error) {
	switch c.typ {
	case typeInt:
		return testCells(ctx, g, c.column, among, nil, func(int64) bool { return true })
	case typeDouble:
		return testCells(ctx, g, c.column, among, nil, func(float64) bool { return true })
	case typeBool:
		return testCells(ctx, g, c.column, among, nil, func(bool) bool { return true })
	}
	return testCells(ctx, g, c.column, among, nil, func(v parquet.ByteArray) bool { return !c.fixed || len(v) > 0 })
}

func compareNumber(op search.Op, with float64) func(float64) bool {
	switch op {
	case search.Exists:
		return func(float64) bool { return true }
	case search.Greater:
		return func(v float64) bool { return v > with }
	case search.GreaterEqual:
		return func(v float64) bool { return v >= with }
	case search.Less:
		return func(v float64) bool { return v < with }
	case search.LessEqual:
		return func(v float64) bool { return v <= with }
	}
	return func(v float64) bool { return v == with }
}

// firstOf compares the first of several places in which a row has a value.
type firstOf []comparison

func (c firstOf) sql() string {
	var out strings.Builder
	out.WriteString("(CASE")
	for _, p := range c {
		met := compare(p.operand, p.match)
		if p.exact {
			met = p.sql()
		}
		fmt.Fprintf(&out, " WHEN %s IS NOT NULL THEN %s", p.operand.sql, met)
	}
	out.WriteString(" ELSE false END)")
	return out.String()
}

func (c firstOf) testable() bool {
	return !slices.ContainsFunc(c, func(p comparison) bool { return !p.testable() })
}

func (c firstOf) cost() int { return 2 * len(c) }

func (c firstOf) test(ctx context.Context, g *rowGroup, among rowSet) (rowSet, error) {
	met := make(rowSet, len(among))
	for _, p := range c {
		more, there, err := p.testWith(ctx, g, among, true)
		if err != nil {
			return nil, err
		}
		met, among = met.or(more), among.except(there)
	}
	return met, nil
}

// testCells tests the values of a column in some rows, and notes in there, if it is not nil, which have one.
func testCells[T cellType](ctx context.Context, g *rowGroup, column string, among, there rowSet, test func(T) bool) (rowSet, error) {
	met := make(rowSet, len(among))
	want := test
	if there != nil {
		want = nil
	}
	err := eachKnown(ctx, g, column, among, want, func(row int, v T, _ int) {
		if test(v) {
			met.add(row)
		}
		if there != nil {
			there.add(row)
		}
	})
	return met, err
}

// eachCell calls fn with the values of a column in some rows; a text lives as long as the call.
func eachCell[T cellType](ctx context.Context, g *rowGroup, column string, among rowSet, fn func(row int, v T)) error {
	return eachKnown(ctx, g, column, among, nil, func(row int, v T, _ int) { fn(row, v) })
}

// eachKnown is eachCell with which of the column's dictionary each value is, -1 if it is none or that is not known. With
// want, it is enough to call fn with values that are wanted.
func eachKnown[T cellType](ctx context.Context, g *rowGroup, column string, among rowSet, want func(T) bool, fn func(row int, v T, known int)) error {
	leaf, ok := g.in.leaves[column]
	if !ok {
		return nil
	}
	quick, numbers, err := inPlace[T](g, leaf)
	if !numbers {
		want = nil
	}
	if err == nil && quick {
		err = eachInPlace(ctx, g, leaf, among, want, fn)
	} else if err == nil {
		err = eachOfChunk(ctx, g, column, among, func(row int, v T) { fn(row, v, -1) })
	}
	if err != nil {
		return fmt.Errorf("column %s: %w", column, err)
	}
	return nil
}

// eachOfChunk is eachCell by the Parquet library.
func eachOfChunk[T cellType](ctx context.Context, g *rowGroup, column string, among rowSet, fn func(row int, v T)) error {
	c, err := openChunk[T](g, column)
	if c == nil || err != nil {
		return err
	}
	defer c.close()
	if among.count() < g.rows/512 { // where it pays to pass over the others
		rows := among.rows()
		i := 0
		return c.read(rows, func(v T, has bool) {
			if has {
				fn(int(rows[i]), v)
			}
			i++
		})
	}
	return c.all(ctx, g.rows, func(values []T, at []int32) {
		for i, row := range at {
			if among.has(int(row)) {
				fn(int(row), values[i])
			}
		}
	})
}

// eachText calls fn with the texts of an operand's values in some rows, as model.Value.String gives them.
func (o operand) eachText(ctx context.Context, g *rowGroup, among rowSet, fn func(row int, text string)) error {
	switch o.typ {
	case typeInt:
		return eachCell(ctx, g, o.column, among, func(row int, v int64) { fn(row, strconv.FormatInt(v, 10)) })
	case typeDouble:
		return eachCell(ctx, g, o.column, among, func(row int, v float64) { fn(row, model.Double(v).String()) })
	case typeBool:
		return eachCell(ctx, g, o.column, among, func(row int, v bool) { fn(row, strconv.FormatBool(v)) })
	case typeNone:
		return g.entries("rest", func(key string) bool { return key == o.column }, func(row int, _, typed string) {
			if among.has(row) {
				fn(row, textOfTyped(typed))
			}
		})
	}
	return eachCell(ctx, g, o.column, among, func(row int, v parquet.ByteArray) { fn(row, unsafe.String(unsafe.SliceData([]byte(v)), len(v))) })
}

// textOfTyped is what operand.text makes of typed text.
func textOfTyped(typed string) string {
	switch {
	case strings.HasPrefix(typed, "d:0x"):
		return "NaN"
	case len(typed) < 2:
		return ""
	}
	return typed[2:]
}

package events

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// compiler writes SQL for one block: it knows which columns the block has and of which type. What it is asked for and
// the block has not, is NULL. It remembers the columns that it named, because only blocks in which these have the same
// types can be read by one scan.
type compiler struct {
	signal signal
	layout *layout
	refs   map[string]string
	block  *block
	// need is what the caller of find needs of a row group; stretches are then the rows to read, all if there are none.
	need      need
	stretches [][2]int64
}

// operand is one place where an attribute's value may be.
type operand struct {
	sql    string
	typ    columnType // typeNone: typed text out of rest
	column string     // its name, or the key in rest
}

// union writes one SELECT for each set of blocks for which fn gives the same columns and condition, joined by UNION ALL;
// "" if no block can have rows. fn returns false for blocks that have none.
func union(p signal, bs []*block, fn func(*compiler) (columns, where string, ok bool)) string {
	return unionWith("", bs, p, fn)
}

// unionWith is union with further options of read_parquet.
func unionWith(options string, bs []*block, p signal, fn func(*compiler) (columns, where string, ok bool)) string {
	type group struct {
		columns, where string
		blocks         []*block
	}
	groups := map[string]*group{}
	var order []*group
	for _, b := range bs {
		c := &compiler{signal: p, layout: b.layout, refs: map[string]string{}, block: b}
		columns, where, ok := fn(c)
		if !ok {
			continue
		}
		wheres := []string{where}
		if len(c.stretches) > 0 {
			wheres = nil
			for _, r := range c.stretches { // one scan each: DuckDB passes over row groups for one range, not for several
				wheres = append(wheres, fmt.Sprintf("file_row_number BETWEEN %d AND %d AND (%s)", r[0], r[1], cmp.Or(where, "true")))
			}
		}
		for _, where := range wheres {
			key := columns + "\x00" + where + "\x00" + c.signature()
			g := groups[key]
			if g == nil {
				g = &group{columns: columns, where: where}
				groups[key] = g
				order = append(order, g)
			}
			g.blocks = append(g.blocks, b)
		}
	}
	var out strings.Builder
	for i, g := range order {
		if i > 0 {
			out.WriteString("\nUNION ALL\n")
		}
		fmt.Fprintf(&out, "SELECT %s FROM read_parquet(%s%s) WHERE %s", g.columns, fileList(g.blocks), options, cmp.Or(g.where, "true"))
	}
	return out.String()
}

func (c *compiler) signature() string {
	names := make([]string, 0, len(c.refs))
	for n, t := range c.refs {
		names = append(names, n+"\x00"+t)
	}
	slices.Sort(names)
	return strings.Join(names, "\x00")
}

// optional is an optional fixed column.
func (c *compiler) optional(name, typ string) string {
	if !c.layout.has(name) {
		return "NULL::" + typ
	}
	c.refs[name] = typ
	return ident(name)
}

// normal is what spellings of one attribute's key have in common: dots and underscores are the same.
func normal(key string) string { return strings.ReplaceAll(key, ".", "_") }

// attr finds where an attribute's value may be: the row's own before the resource's before the scope's. With variants,
// the other spelling (http_method for http.method) answers as well.
func (c *compiler) attr(key string, variants bool) []operand {
	var out []operand
	add := func(name string) {
		if col := c.layout.column(name); col != nil {
			c.refs[name] = col.Type.String()
			out = append(out, operand{ident(name), col.Type, name})
		}
		restName := name
		if p, k, ok := splitName(name); ok {
			restName = prefixes[p] + clean(k)
		}
		if c.layout.inRest(restName) {
			c.refs["rest"] = "MAP"
			out = append(out, operand{"rest[" + quote(restName) + "]", typeNone, restName})
		}
	}
	for i, p := range prefixes {
		add(p + key)
		if variants {
			for _, name := range c.layout.variants(p, key) {
				add(name)
			}
		}
		if i == 1 && (key == "service.name" || variants && normal(key) == "service_name") {
			out = append(out, operand{"service", typeText, "service"})
		}
	}
	return out
}

// variants are the names of a prefix that spell key differently, in order.
func (l *layout) variants(prefix, key string) []string {
	want := normal(key)
	var out []string
	match := func(name string) {
		k, ok := strings.CutPrefix(name, prefix)
		if ok && k != key && normal(k) == want && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for i := range l.Columns {
		match(l.Columns[i].Name)
	}
	for name := range l.Rest {
		match(name)
	}
	slices.Sort(out)
	return out
}

// doubleMark begins the text that SQL gives of a DOUBLE; fixText gives it the form that model.Value has.
const doubleMark = "\x01"

// text is the operand's value as text.
func (o operand) text() string {
	switch o.typ {
	case typeText:
		return o.sql
	case typeDouble:
		return "(chr(1)||CAST(" + o.sql + " AS VARCHAR))"
	case typeNone:
		return "(CASE WHEN starts_with(" + o.sql + ",'d:0x') THEN 'NaN' ELSE substr(" + o.sql + ",3) END)"
	}
	return "CAST(" + o.sql + " AS VARCHAR)"
}

// number is the operand's value as a DOUBLE, NULL if it is none.
func (o operand) number() string {
	switch o.typ {
	case typeText:
		return "TRY_CAST(" + o.sql + " AS DOUBLE)"
	case typeNone:
		return "TRY_CAST(substr(" + o.sql + ",3) AS DOUBLE)"
	case typeBool:
		return "NULL::DOUBLE"
	}
	return "CAST(" + o.sql + " AS DOUBLE)"
}

// equals compares the operand with the text of a value, exactly.
func (o operand) equals(text string) string {
	switch o.typ {
	case typeText:
		return o.sql + "=" + quote(text)
	case typeInt:
		if i, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(i, 10) == text {
			return o.sql + "=" + literal(i)
		}
		return "false"
	case typeDouble:
		if d, err := strconv.ParseFloat(text, 64); err == nil && model.Double(d).String() == text {
			return o.sql + "=" + quote(text) + "::DOUBLE"
		}
		return "false"
	case typeBool:
		if text == "true" || text == "false" {
			return o.sql + "=" + text
		}
		return "false"
	}
	return o.text() + "=" + quote(text)
}

// fixText turns text out of SQL into what model.Value.String gives.
func fixText(s string) string {
	if t, ok := strings.CutPrefix(s, doubleMark); ok {
		if d, err := strconv.ParseFloat(t, 64); err == nil {
			return model.Double(d).String()
		}
	}
	return unclean(s)
}

// attrText is an attribute as text, NULL where a row has none.
func (c *compiler) attrText(key string) string {
	ops := c.attr(key, false)
	switch len(ops) {
	case 0:
		return "NULL::VARCHAR"
	case 1:
		return ops[0].text()
	}
	texts := make([]string, len(ops))
	for i, o := range ops {
		texts[i] = o.text()
	}
	return "coalesce(" + strings.Join(texts, ",") + ")"
}

// firstText is the first of several attributes that is present, NULL where a row has none.
func (c *compiler) firstText(keys ...string) string {
	var texts []string
	for _, k := range keys {
		if t := c.attrText(k); t != "NULL::VARCHAR" {
			texts = append(texts, t)
		}
	}
	if len(texts) == 0 {
		return "NULL::VARCHAR"
	}
	return "coalesce(" + strings.Join(texts, ",") + ",NULL)"
}

// literal writes a number so that SQL takes it as a BIGINT: the least one has no literal of its own.
func literal(i int64) string {
	if i == math.MinInt64 {
		return "(-9223372036854775807-1)"
	}
	return strconv.FormatInt(i, 10)
}

// bounds is a window in nanoseconds, both ends included. A zero end does not restrict.
func bounds(w store.Window) (from, to int64) {
	from, to = math.MinInt64, math.MaxInt64
	if !w.From.IsZero() {
		from = nanos(w.From)
	}
	if !w.To.IsZero() {
		if to = nanos(w.To); to > math.MinInt64 {
			to--
		}
	}
	return from, to
}

// nanos is a time in nanoseconds, at most as far away as an int64 can say.
func nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// addTime shifts a time in nanoseconds without passing the ends of int64.
func addTime(ns int64, d time.Duration) int64 {
	sum := ns + int64(d)
	switch {
	case d > 0 && sum < ns:
		return math.MaxInt64
	case d < 0 && sum > ns:
		return math.MinInt64
	}
	return sum
}

// between is the condition that a row's time lies in [from, to].
func between(from, to int64) string {
	switch {
	case from == math.MinInt64 && to == math.MaxInt64:
		return "true"
	case from == math.MinInt64:
		return "ts<=" + literal(to)
	case to == math.MaxInt64:
		return "ts>=" + literal(from)
	}
	return "ts>=" + literal(from) + " AND ts<=" + literal(to)
}

// selection is the condition of a Selection as SQL; false when no row of the block can meet it.
func (c *compiler) selection(sel *store.Selection) (where string, ok bool) {
	cond, ok := c.selected(sel)
	return cond.sql(), ok
}

// selected is the condition of a Selection; false when no row of the block can meet it.
func (c *compiler) selected(sel *store.Selection) (cond condition, ok bool) {
	from, to := bounds(sel.Window)
	if c.layout.MinTime > to || c.layout.MaxTime < from {
		return constant(false), false
	}
	conds := allOf{within{"ts", from, to}}
	if sel.Service != "" {
		if !c.layout.mayHave(sel.Service) {
			return constant(false), false
		}
		conds = append(conds, exactly(operand{"service", typeText, "service"}, clean(sel.Service)))
	}
	if sel.Operation != "" {
		conds = append(conds, exactly(operand{"name", typeText, "name"}, clean(sel.Operation)))
	}
	if len(sel.Kinds) > 0 {
		var kinds anyOf
		for _, k := range sel.Kinds {
			kinds = append(kinds, within{"kind", int64(k), int64(k)})
		}
		conds = append(conds, kinds)
	}
	if sel.MinDuration > 0 {
		if c.layout.MaxDuration < int64(sel.MinDuration) {
			return constant(false), false
		}
		conds = append(conds, within{"duration", int64(sel.MinDuration), math.MaxInt64})
	}
	if sel.MaxDuration > 0 {
		conds = append(conds, within{"duration", math.MinInt64, int64(sel.MaxDuration) - 1})
	}
	if sel.Status != nil {
		conds = append(conds, within{"status", int64(*sel.Status), int64(*sel.Status)})
	}
	if sel.NotStatus != nil {
		conds = append(conds, opposite{within{"status", int64(*sel.NotStatus), int64(*sel.NotStatus)}})
	}
	bad := anyOf{within{"status", int64(model.StatusError), int64(model.StatusError)}}
	if sel.BadDuration > 0 {
		bad = append(bad, within{"duration", int64(sel.BadDuration), math.MaxInt64})
	}
	if sel.Bad {
		conds = append(conds, bad)
	}
	if sel.Good {
		conds = append(conds, opposite{bad})
	}
	for _, a := range sel.Attrs {
		places := c.attr(a.Key, false)
		if len(places) == 0 {
			return constant(false), false
		}
		var first firstOf
		for _, o := range places {
			first = append(first, exactly(o, a.Value))
		}
		if len(first) > 1 {
			conds = append(conds, first)
			continue
		}
		if first[0].sql() == "false" {
			return constant(false), false
		}
		conds = append(conds, first[0])
	}
	return conds, true
}

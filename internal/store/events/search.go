package events

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"triage/internal/model"
	"triage/internal/search"
)

// matches compiles a search for one block.
func (c *compiler) matches(e search.Expr) (condition, error) {
	switch e := e.(type) {
	case nil, search.All:
		return constant(true), nil
	case search.And:
		parts, err := c.parts(e)
		return allOf(parts), err
	case search.Or:
		parts, err := c.parts(e)
		if len(parts) == 0 {
			return constant(true), err
		}
		return anyOf(parts), err
	case search.Not:
		inner, err := c.matches(e.Expr)
		return negation{inner}, err
	case search.Match:
		return c.match(e)
	case search.Related:
		if c.signal == logs { // a log has no relations
			return constant(false), nil
		}
	}
	return nil, fmt.Errorf("search: cannot compile %T", e)
}

func (c *compiler) parts(in []search.Expr) ([]condition, error) {
	out := make([]condition, len(in))
	for i, p := range in {
		var err error
		if out[i], err = c.matches(p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// match compiles the comparison of one field: a fixed column where the signal has one of the name and the value fits it,
// else an attribute.
func (c *compiler) match(m search.Match) (condition, error) {
	if m.Op == search.Regexp {
		if _, err := regexp.Compile(m.Value); err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
	}
	if m.Field == "" {
		return c.anyText(m), nil
	}
	if cond, ok := c.fixed(m); ok {
		return cond, nil
	}
	// An attribute may stand in several places; each row's first counts.
	var places firstOf
	for _, o := range c.attr(m.Field, true) {
		places = append(places, comparison{operand: o, match: m})
	}
	switch len(places) {
	case 0:
		return constant(false), nil
	case 1:
		return places[0], nil
	}
	return places, nil
}

// anyText compares the text of a row: a log's body, a span's name, status message and event names.
func (c *compiler) anyText(m search.Match) condition {
	columns := []string{"body"}
	if c.signal == spans {
		columns = []string{"name", "status_message", "event_names"}
	}
	var out anyOf
	for _, name := range columns {
		if name == "name" || c.layout.has(name) {
			out = append(out, comparison{operand: c.textColumn(name), match: m})
		}
	}
	if len(out) == 0 {
		return constant(false)
	}
	return out
}

// textColumn is a fixed column of texts.
func (c *compiler) textColumn(name string) operand {
	if name == "service" || name == "name" {
		return operand{sql: name, typ: typeText, column: name}
	}
	return operand{sql: c.optional(name, "VARCHAR"), typ: typeText, column: name}
}

// fixed compiles fields that are no attributes.
func (c *compiler) fixed(m search.Match) (cond condition, ok bool) {
	text := func(column string) (condition, bool) {
		return comparison{operand: c.textColumn(column), match: m, fixed: true}, true
	}
	exactly := m.Op == search.Equal || m.Op == search.Word
	switch m.Field {
	case "service":
		return text("service")
	case "body":
		if c.signal == logs {
			return text("body")
		}
	case "name", "operation":
		if c.signal == spans {
			return text("name")
		}
	case "status_message":
		if c.signal == spans {
			return text("status_message")
		}
	case "event_name":
		if c.signal == logs {
			return text("event_name")
		}
	case "scope":
		return text("scope_name")
	case "kind":
		if k := model.ParseSpanKind(strings.ToLower(m.Value)); c.signal == spans && exactly && k.String() == strings.ToLower(m.Value) {
			return within{"kind", int64(k), int64(k)}, true
		}
	case "status":
		if st := model.ParseStatusCode(strings.ToLower(m.Value)); c.signal == spans && exactly && st.String() == strings.ToLower(m.Value) {
			return within{"status", int64(st), int64(st)}, true
		}
	case "severity", "level":
		if c.signal == logs {
			return severity(m)
		}
	case "duration":
		if d, found := search.Nanoseconds(m.Value); c.signal == spans && found {
			return ordered("duration", m.Op, d)
		}
	case "time", "timestamp":
		if t, found := search.Time(m.Value); found {
			return ordered("ts", m.Op, nanos(t))
		}
	case "trace", "trace_id":
		if m.Op == search.Exists {
			return anyOf{identity{column: "trace_hi"}, identity{column: "trace_lo"}}, true
		}
		if id, err := model.ParseTraceID(m.Value); err == nil && exactly {
			return allOf{identity{"trace_lo", id.Lo(), true}, identity{"trace_hi", id.Hi(), true}}, true
		}
	case "span", "span_id", "parent", "parent_id":
		column := "span_id"
		if strings.HasPrefix(m.Field, "parent") {
			if column = "parent_id"; c.signal == logs {
				return nil, false
			}
		}
		if m.Op == search.Exists {
			return identity{column: column}, true
		}
		if id, err := model.ParseSpanID(m.Value); err == nil && exactly {
			return identity{column, id.Uint64(), true}, true
		}
	case "template":
		if c.signal == logs {
			if m.Op == search.Exists {
				return identity{column: "template"}, true
			}
			if id, err := strconv.ParseUint(m.Value, 16, 64); err == nil && len(m.Value) == 16 && exactly {
				return identity{"template", id, true}, true
			}
		}
	}
	return nil, false
}

// severity compiles severity:error (any number of the range) and severity:>=warn or severity:17.
func severity(m search.Match) (condition, bool) {
	const most = math.MaxUint8
	if m.Op == search.Exists {
		return within{"severity", 1, most}, true
	}
	least, greatest, _ := search.Severity(m.Value)
	low, high := int64(least), int64(greatest)
	if high == 0 {
		return nil, false
	}
	switch m.Op {
	case search.Equal, search.Word:
		return within{"severity", low, high}, true
	case search.Greater:
		return within{"severity", high + 1, most}, true
	case search.GreaterEqual:
		return within{"severity", low, most}, true
	case search.Less:
		return within{"severity", 1, low - 1}, true
	case search.LessEqual:
		return within{"severity", 1, high}, true
	}
	return nil, false
}

// ordered compares a column of numbers that every row has.
func ordered(column string, op search.Op, value int64) (condition, bool) {
	switch op {
	case search.Equal, search.Word:
		return within{column, value, value}, true
	case search.Exists:
		return constant(true), true
	case search.Greater:
		if value == math.MaxInt64 {
			return constant(false), true
		}
		return within{column, value + 1, math.MaxInt64}, true
	case search.GreaterEqual:
		return within{column, value, math.MaxInt64}, true
	case search.Less:
		if value == math.MinInt64 {
			return constant(false), true
		}
		return within{column, math.MinInt64, value - 1}, true
	case search.LessEqual:
		return within{column, math.MinInt64, value}, true
	}
	return nil, false
}

var operators = map[search.Op]string{search.Greater: ">", search.GreaterEqual: ">=", search.Less: "<", search.LessEqual: "<="}

// compare compiles a comparison with one operand.
func compare(o operand, m search.Match) string {
	text := o.text()
	if o.typ == typeDouble {
		text = "CAST(" + o.sql + " AS VARCHAR)"
	}
	switch m.Op {
	case search.Exists:
		return "(" + o.sql + " IS NOT NULL)"
	case search.Equal:
		if f, ok := search.Number(m.Value); ok && (o.typ == typeInt || o.typ == typeDouble) {
			return "(" + o.sql + "=" + double(f) + ")"
		}
		return "(lower(" + text + ")=lower(" + quote(m.Value) + "))"
	case search.Word:
		return wordIn(text, m.Value)
	case search.Prefix, search.Glob:
		if m.Field == "" || m.Field == "body" {
			return "regexp_matches(" + text + "," + quote(search.TextRegexp(m)) + ")"
		}
		if m.Op == search.Glob {
			return "regexp_matches(" + text + "," + quote("(?is)^"+search.GlobRegexp(m.Value)+"$") + ")"
		}
		return "starts_with(lower(" + text + "),lower(" + quote(m.Value) + "))"
	case search.Regexp:
		return "regexp_matches(" + text + "," + quote(m.Value) + ")"
	case search.Greater, search.GreaterEqual, search.Less, search.LessEqual:
		if f, ok := search.Number(m.Value); ok {
			return "(" + o.number() + operators[m.Op] + double(f) + ")"
		}
		return "(" + text + operators[m.Op] + quote(m.Value) + ")"
	}
	return "false"
}

func double(f float64) string { return quote(strconv.FormatFloat(f, 'g', -1, 64)) + "::DOUBLE" }

// wordIn finds a word or phrase that does not begin or end within another. Letters and digits make words; Chinese,
// Japanese and Korean, which join words without a space, may match within.
func wordIn(text, word string) string {
	if word == "" {
		return "true"
	}
	pattern, _, _ := wordPattern(word)
	return "(contains(lower(" + text + "),lower(" + quote(word) + ")) AND regexp_matches(" + text + "," + quote(pattern) + "))"
}

// wordPattern is the regular expression of a word, and tells whether the word must begin and end at bounds of words.
func wordPattern(word string) (pattern string, left, right bool) {
	const boundary = `[^\pL\pN]`
	first, _ := utf8.DecodeRuneInString(word)
	last, _ := utf8.DecodeLastRuneInString(word)
	pattern = regexp.QuoteMeta(word)
	if left = search.Bounded(first); left {
		pattern = "(?:^|" + boundary + ")" + pattern
	}
	if right = search.Bounded(last); right {
		pattern += "(?:$|" + boundary + ")"
	}
	return "(?is)" + pattern, left, right
}

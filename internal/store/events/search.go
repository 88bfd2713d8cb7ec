package events

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"triage/internal/model"
	"triage/internal/search"
)

// matches compiles a search for one block. The result may be NULL where a field is missing; NULL does not match.
func (c *compiler) matches(e search.Expr) (string, error) {
	switch e := e.(type) {
	case nil, search.All:
		return "true", nil
	case search.And:
		return c.join(e, " AND ")
	case search.Or:
		return c.join(e, " OR ")
	case search.Not:
		inner, err := c.matches(e.Expr)
		// Without a value there is no match, so its negation is one.
		return "NOT coalesce(" + inner + ",false)", err
	case search.Match:
		return c.match(e)
	case search.Related:
		if c.signal == logs { // a log has no relations
			return "false", nil
		}
	}
	return "", fmt.Errorf("search: cannot compile %T", e)
}

func (c *compiler) join(parts []search.Expr, with string) (string, error) {
	if len(parts) == 0 {
		return "true", nil
	}
	out := make([]string, len(parts))
	for i, p := range parts {
		s, err := c.matches(p)
		if err != nil {
			return "", err
		}
		out[i] = s
	}
	return "(" + strings.Join(out, with) + ")", nil
}

// match compiles the comparison of one field: a fixed column where the signal has one of the name and the value fits it,
// else an attribute.
func (c *compiler) match(m search.Match) (string, error) {
	if m.Op == search.Regexp {
		if _, err := regexp.Compile(m.Value); err != nil {
			return "", fmt.Errorf("search: %w", err)
		}
	}
	if m.Field == "" {
		return c.anyText(m), nil
	}
	if cond, ok := c.fixed(m); ok {
		return cond, nil
	}
	var conds []string
	// An attribute may stand in several places; each row's first counts.
	ops := c.attr(m.Field, true)
	for _, o := range ops {
		conds = append(conds, fmt.Sprintf(" WHEN %s IS NOT NULL THEN %s", o.sql, compare(o, m)))
	}
	switch len(conds) {
	case 0:
		return "false", nil
	case 1:
		if m.Op == search.Exists {
			return "(" + ops[0].sql + " IS NOT NULL)", nil
		}
		return "coalesce(" + compare(ops[0], m) + ",false)", nil
	}
	return "(CASE" + strings.Join(conds, "") + " ELSE false END)", nil
}

// anyText compares the text of a row: a log's body, a span's name, status message and event names.
func (c *compiler) anyText(m search.Match) string {
	columns := []string{c.optional("body", "VARCHAR")}
	if c.signal == spans {
		columns = []string{"name", c.optional("status_message", "VARCHAR"), c.optional("event_names", "VARCHAR")}
	}
	var conds []string
	for _, col := range columns {
		if !strings.HasPrefix(col, "NULL") {
			conds = append(conds, "coalesce("+compare(operand{col, typeText}, m)+",false)")
		}
	}
	if len(conds) == 0 {
		return "false"
	}
	return "(" + strings.Join(conds, " OR ") + ")"
}

// fixed compiles fields that are no attributes.
func (c *compiler) fixed(m search.Match) (cond string, ok bool) {
	text := func(column string) (string, bool) {
		if m.Op == search.Exists {
			return "(" + column + "<>'')", true
		}
		return compare(operand{column, typeText}, m), true
	}
	switch m.Field {
	case "service":
		return text("service")
	case "body":
		if c.signal == logs {
			return text(c.optional("body", "VARCHAR"))
		}
	case "name", "operation":
		if c.signal == spans {
			return text("name")
		}
	case "status_message":
		if c.signal == spans {
			return text(c.optional("status_message", "VARCHAR"))
		}
	case "event_name":
		if c.signal == logs {
			return text(c.optional("event_name", "VARCHAR"))
		}
	case "scope":
		return text(c.optional("scope_name", "VARCHAR"))
	case "kind":
		if k := model.ParseSpanKind(strings.ToLower(m.Value)); c.signal == spans && m.Op <= search.Word && k.String() == strings.ToLower(m.Value) {
			return fmt.Sprintf("kind=%d", k), true
		}
	case "status":
		if st := model.ParseStatusCode(strings.ToLower(m.Value)); c.signal == spans && m.Op <= search.Word && st.String() == strings.ToLower(m.Value) {
			return fmt.Sprintf("status=%d", st), true
		}
	case "severity", "level":
		if c.signal == logs {
			return severity(m)
		}
	case "duration":
		if d, found := search.Nanoseconds(m.Value); c.signal == spans && found {
			return ordered("duration", m.Op, strconv.FormatInt(d, 10))
		}
	case "time", "timestamp":
		if t, found := search.Time(m.Value); found {
			return ordered("ts", m.Op, literal(nanos(t)))
		}
	case "trace", "trace_id":
		if m.Op == search.Exists {
			return "(trace_hi<>0 OR trace_lo<>0)", true
		}
		if id, err := model.ParseTraceID(m.Value); err == nil && m.Op <= search.Word {
			return fmt.Sprintf("(trace_hi=%d AND trace_lo=%d)", id.Hi(), id.Lo()), true
		}
	case "span", "span_id", "parent", "parent_id":
		column := "span_id"
		if strings.HasPrefix(m.Field, "parent") {
			if column = "parent_id"; c.signal == logs {
				return "", false
			}
		}
		if m.Op == search.Exists {
			return "(" + column + "<>0)", true
		}
		if id, err := model.ParseSpanID(m.Value); err == nil && m.Op <= search.Word {
			return fmt.Sprintf("(%s=%d)", column, id.Uint64()), true
		}
	case "template":
		if c.signal == logs {
			if m.Op == search.Exists {
				return "(template<>0)", true
			}
			if id, err := strconv.ParseUint(m.Value, 16, 64); err == nil && len(m.Value) == 16 && m.Op <= search.Word {
				return fmt.Sprintf("(template=%d)", id), true
			}
		}
	}
	return "", false
}

// severity compiles severity:error (any number of the range) and severity:>=warn or severity:17.
func severity(m search.Match) (string, bool) {
	if m.Op == search.Exists {
		return "(severity<>0)", true
	}
	low, high, _ := search.Severity(m.Value)
	if high == 0 {
		return "", false
	}
	switch m.Op {
	case search.Equal, search.Word:
		return fmt.Sprintf("(severity BETWEEN %d AND %d)", low, high), true
	case search.Greater:
		return fmt.Sprintf("(severity>%d)", high), true
	case search.GreaterEqual:
		return fmt.Sprintf("(severity>=%d)", low), true
	case search.Less:
		return fmt.Sprintf("(severity<%d AND severity<>0)", low), true
	case search.LessEqual:
		return fmt.Sprintf("(severity<=%d AND severity<>0)", high), true
	}
	return "", false
}

// ordered compares a number column.
func ordered(column string, op search.Op, value string) (string, bool) {
	switch op {
	case search.Equal, search.Word:
		return "(" + column + "=" + value + ")", true
	case search.Exists:
		return "true", true
	case search.Greater, search.GreaterEqual, search.Less, search.LessEqual:
		return "(" + column + operators[op] + value + ")", true
	}
	return "", false
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
	const boundary = `[^\pL\pN]`
	pattern := regexp.QuoteMeta(word)
	first, _ := utf8.DecodeRuneInString(word)
	last, _ := utf8.DecodeLastRuneInString(word)
	if search.Bounded(first) {
		pattern = "(?:^|" + boundary + ")" + pattern
	}
	if search.Bounded(last) {
		pattern += "(?:$|" + boundary + ")"
	}
	return "(contains(lower(" + text + "),lower(" + quote(word) + ")) AND regexp_matches(" + text + "," + quote("(?is)"+pattern) + "))"
}

package search

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The language, from loose to tight. Terms that only a space parts are joined by AND, which binds tighter than OR.
//
//	or      = and { ("OR" | "||") and }
//	and     = not { [ "AND" | "&&" ] not }
//	not     = { "NOT" | "!" | "-" | "+" } primary
//	primary = "(" or ")" | [ field ":" ] value | "_exists_:" field | "*" | "*:*" | relation "(" or "," or ")"
//	value   = word | phrase | "/" RE2 "/" | "(" or ")" | ( ">" | ">=" | "<" | "<=" | "=" | "~" ) ( word | phrase )
//	        | ( "[" | "{" ) bound "TO" bound ( "]" | "}" )
//
// A word may hold * and ?, and a backslash before any character takes its meaning away. field:=x is the whole value
// where field:x would look for a word (in body), field:~x is a word or phrase where field:x would be the whole value (in
// attributes). A field in quotes is taken as it is: "name":x is an attribute called name, name:x is the operation.
//
// A relation is child, parent, descendant, ancestor or sibling with its parenthesis right behind it; see Related. Between
// its parentheses a comma ends a word, unless a backslash stands before it.

// Limits on a search, so that a stack and a query plan stay small whoever asks.
const (
	MaxLength = 16 << 10 // bytes
	MaxDepth  = 64       // parentheses and NOTs within each other
)

// Error says where in a search something is wrong and what to write instead.
type Error struct {
	Pos int // column, in characters from 1
	Msg string
}

// Error names the column.
func (e *Error) Error() string { return fmt.Sprintf("column %d: %s", e.Pos, e.Msg) }

// Parse reads a search. Text without any term is All. Every error is an *Error.
func Parse(text string) (Expr, error) {
	p := parser{text: text}
	if len(text) > MaxLength {
		return nil, p.errorf(MaxLength, "the search is longer than %d bytes: look for less at once", MaxLength)
	}
	p.space()
	if p.end() {
		return All{}, nil
	}
	e, err := p.or("", 0)
	if err != nil {
		return nil, err
	}
	if !p.end() { // only a parenthesis stops or
		return nil, p.errorf(p.pos, "this ) closes nothing: remove it, or write \\) to look for one")
	}
	return e, nil
}

// parser walks over text; pos is the next byte.
type parser struct {
	text string
	pos  int
	args int // relations within each other, in which a comma ends a word
}

func (p *parser) errorf(pos int, format string, args ...any) error {
	return &Error{Pos: utf8.RuneCountInString(p.text[:min(pos, len(p.text))]) + 1, Msg: fmt.Sprintf(format, args...)}
}

func (p *parser) end() bool { return p.pos >= len(p.text) }

// peek is the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.end() {
		return 0
	}
	return p.text[p.pos]
}

// next is the next character with its bytes as they stand, valid UTF-8 or not.
func (p *parser) next() (rune, string) {
	r, n := utf8.DecodeRuneInString(p.text[p.pos:])
	return r, p.text[p.pos : p.pos+n]
}

func (p *parser) space() {
	for !p.end() {
		r, s := p.next()
		if !unicode.IsSpace(r) {
			return
		}
		p.pos += len(s)
	}
}

// accept steps over s if it is next.
func (p *parser) accept(s string) bool {
	if strings.HasPrefix(p.text[p.pos:], s) {
		p.pos += len(s)
		return true
	}
	return false
}

// boundary tells whether a term may end at pos.
func (p *parser) boundary() bool {
	r, _ := p.next()
	return p.end() || unicode.IsSpace(r) || r == ')' || r == '(' || r == ',' && p.args > 0
}

// operator steps over one of names if it stands there as a word of its own, or, for signs, at all.
func (p *parser) operator(word, sign string) bool {
	if p.accept(sign) {
		return true
	}
	start := p.pos
	if p.accept(word) && p.boundary() {
		return true
	}
	p.pos = start
	return false
}

func (p *parser) or(field string, depth int) (Expr, error) {
	var parts Or
	for {
		e, err := p.and(field, depth)
		if err != nil {
			return nil, err
		}
		parts = append(parts, e)
		p.space()
		if !p.operator("OR", "||") {
			break
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return parts, nil
}

func (p *parser) and(field string, depth int) (Expr, error) {
	var parts And
	for {
		e, err := p.not(field, depth)
		if err != nil {
			return nil, err
		}
		parts = append(parts, e)
		p.space()
		if p.operator("AND", "&&") {
			continue
		}
		start := p.pos
		if p.end() || p.peek() == ')' || p.comma() || p.operator("OR", "||") {
			p.pos = start
			break
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return parts, nil
}

func (p *parser) not(field string, depth int) (Expr, error) {
	if depth > MaxDepth {
		return nil, p.errorf(p.pos, "more than %d parentheses and NOTs within each other: write it flatter", MaxDepth)
	}
	p.space()
	start := p.pos
	switch {
	case p.operator("NOT", "!"), p.accept("-"):
		sign := p.text[start:p.pos]
		if sign == "-" && p.boundary() && p.peek() != '(' {
			return nil, p.errorf(start, `- excludes the term right behind it: write -term, or "-" to look for one`)
		}
		e, err := p.not(field, depth+1)
		if err != nil {
			return nil, err
		}
		return Not{e}, nil
	case p.accept("+"):
		if p.boundary() && p.peek() != '(' {
			return nil, p.errorf(start, `+ requires the term right behind it: write +term, or "+" to look for one`)
		}
		return p.not(field, depth+1)
	case p.operator("AND", "&&"), p.operator("OR", "||"):
		return nil, p.errorf(start, "%s needs a term on both sides", p.text[start:p.pos])
	case p.end() || p.peek() == ')' || p.comma():
		before := strings.TrimRightFunc(p.text[:p.pos], unicode.IsSpace)
		for _, op := range []string{"AND", "&&", "OR", "||", "NOT", "!"} {
			if strings.HasSuffix(before, op) {
				return nil, p.errorf(len(before)-len(op), "%s needs a term behind it", op)
			}
		}
		return nil, p.errorf(p.pos, "a term is missing here: empty parentheses match nothing")
	}
	if p.peek() == '(' {
		return p.group(field, depth)
	}
	return p.term(field, depth)
}

// group reads parentheses.
func (p *parser) group(field string, depth int) (Expr, error) {
	start := p.pos
	p.pos++
	e, err := p.or(field, depth+1)
	if err != nil {
		return nil, err
	}
	if p.comma() {
		return nil, p.errorf(p.pos, "this comma stands within parentheses of their own: close them first, or write \\, to look for one")
	}
	if !p.accept(")") {
		return nil, p.errorf(start, "this ( is never closed: write ) behind what belongs to it, or \\( to look for one")
	}
	return e, nil
}

// term reads one term; within the parentheses of field:(...) field is set and terms are its values.
func (p *parser) term(field string, depth int) (Expr, error) {
	if field != "" {
		return p.value(field)
	}
	start := p.pos
	switch p.peek() {
	case '/':
		return p.regexp("")
	case '"':
		text, err := p.phrase()
		if err != nil {
			return nil, err
		}
		if p.accept(":") {
			if text == "" {
				return nil, p.errorf(start, "a field needs a name before the colon")
			}
			return p.fieldValue(text, depth)
		}
		if text == "" {
			return nil, p.errorf(start, "an empty phrase matches nothing: remove it")
		}
		return Match{Op: Word, Value: text}, p.closed(start)
	}
	w, err := p.word(":")
	if err != nil {
		return nil, err
	}
	if !p.accept(":") {
		if w.glob == "*" {
			return All{}, p.closed(start)
		}
		if r, ok := relations[w.text]; ok && !w.escaped && p.peek() == '(' {
			return p.related(r, start, depth)
		}
		return w.match(""), p.closed(start)
	}
	switch {
	case w.text == "":
		return nil, p.errorf(start, "a field needs a name before the colon")
	case w.glob == "*" && p.accept("*") && p.boundary():
		return All{}, nil
	case w.wild:
		return nil, p.errorf(start, "the name of a field takes no wildcards: write \\* or \\? if they belong to it")
	case w.text == "_exists_":
		return p.exists(start)
	}
	name := w.text
	if !w.escaped {
		name = Canonical(name)
	}
	return p.fieldValue(name, depth)
}

// fieldValue reads what follows field and colon.
func (p *parser) fieldValue(field string, depth int) (Expr, error) {
	if p.end() || p.boundary() && p.peek() != '(' {
		return nil, p.errorf(p.pos, "nothing stands behind the colon: write %s, or put the text in quotes to look for it",
			Match{field, plainOp(field), "value"})
	}
	if p.peek() == '(' {
		return p.group(field, depth)
	}
	return p.value(field)
}

// exists reads the name behind _exists_:.
func (p *parser) exists(start int) (Expr, error) {
	if p.peek() == '"' {
		name, err := p.phrase()
		if err != nil {
			return nil, err
		}
		if name != "" {
			return Match{Field: name, Op: Exists}, p.closed(start)
		}
	}
	w, err := p.word("")
	if err != nil {
		return nil, err
	}
	if w.text == "" || w.wild {
		return nil, p.errorf(start, "_exists_: wants the name of one field, without wildcards")
	}
	if !w.escaped {
		w.text = Canonical(w.text)
	}
	return Match{Field: w.text, Op: Exists}, p.closed(start)
}

// value reads one value of field.
func (p *parser) value(field string) (Expr, error) {
	start := p.pos
	for _, c := range comparisons {
		if p.accept(c.sign) {
			v, err := p.operand(c.sign)
			return Match{field, c.op, v}, err
		}
	}
	switch p.peek() {
	case '/':
		return p.regexp(field)
	case '[', '{':
		return p.span(field)
	case '"':
		text, err := p.phrase()
		if err != nil {
			return nil, err
		}
		if p.peek() == ':' {
			return nil, p.errorf(start, "a field stands within the parentheses of another: close them first")
		}
		if text == "" && isText(field) {
			return nil, p.errorf(start, "an empty phrase matches nothing: remove it")
		}
		return Match{field, plainOp(field), text}, p.closed(start)
	}
	w, err := p.word("")
	if err != nil {
		return nil, err
	}
	if w.glob == "*" {
		return Match{Field: field, Op: Exists}, p.closed(start)
	}
	return w.match(field), p.closed(start)
}

// comparisons in an order in which no sign hides a longer one.
var comparisons = []struct {
	sign string
	op   Op
}{
	{">=", GreaterEqual}, {">", Greater}, {"<=", LessEqual}, {"<", Less}, {"=", Equal}, {"~", Word},
}

// operand reads a word or phrase behind a comparison. Wildcards mean nothing there.
func (p *parser) operand(sign string) (string, error) {
	start := p.pos
	if p.peek() == '"' {
		text, err := p.phrase()
		if err != nil {
			return "", err
		}
		if text == "" && sign != "=" {
			return "", p.errorf(start, "%s wants a value behind it", sign)
		}
		return text, p.closed(start)
	}
	w, err := p.word("")
	if err != nil {
		return "", err
	}
	if w.text == "" {
		return "", p.errorf(start, "%s wants a value right behind it, without a space", sign)
	}
	return w.text, p.closed(start)
}

// closed checks that a term ends where it should, for what follows would otherwise silently become a term of its own.
func (p *parser) closed(start int) error {
	switch {
	case p.boundary():
		return nil
	case p.peek() == '~' || p.peek() == '^':
		return p.errorf(p.pos, "%c behind a phrase (nearness, weight) is not known here: remove it", p.peek())
	}
	return p.errorf(p.pos, "put a space between %s and what follows", p.text[start:p.pos])
}

// phrase reads text in quotes. Within it \" is a quote and \\ a backslash; any other backslash is itself.
func (p *parser) phrase() (string, error) {
	start := p.pos
	var out strings.Builder
	for p.pos++; !p.end(); p.pos++ {
		switch c := p.text[p.pos]; c {
		case '"':
			p.pos++
			return out.String(), nil
		case '\\':
			if p.pos+1 < len(p.text) && (p.text[p.pos+1] == '"' || p.text[p.pos+1] == '\\') {
				p.pos++
			}
			out.WriteByte(p.text[p.pos])
		default:
			out.WriteByte(c)
		}
	}
	return "", p.errorf(start, `this quote is never closed: write " behind the phrase, or \" to look for one`)
}

// regexp reads /.../. Within it \/ is a slash; everything else is RE2's.
func (p *parser) regexp(field string) (Expr, error) {
	start := p.pos
	const hint = `what begins with / is a regular expression: write /.../, or put it in quotes to look for it as it is`
	var out strings.Builder
	for p.pos++; !p.end() && p.peek() != '/'; p.pos++ {
		c := p.text[p.pos]
		if c == '\\' && p.pos+1 < len(p.text) {
			p.pos++
			if p.text[p.pos] != '/' {
				out.WriteByte(c)
			}
		}
		out.WriteByte(p.text[p.pos])
	}
	if p.end() {
		return nil, p.errorf(start, "this / is never closed: %s", hint)
	}
	p.pos++
	if out.Len() == 0 || !p.boundary() {
		return nil, p.errorf(start, "%s", hint)
	}
	if _, err := syntax.Parse(out.String(), syntax.Perl); err != nil {
		return nil, p.errorf(start, "%s", err)
	}
	return Match{field, Regexp, out.String()}, nil
}

// span reads a range. One that is open on both sides is Exists.
func (p *parser) span(field string) (Expr, error) {
	start := p.pos
	low, high := GreaterEqual, LessEqual
	if p.text[p.pos] == '{' {
		low = Greater
	}
	p.pos++
	from, err := p.bound(start)
	if err != nil {
		return nil, err
	}
	p.space()
	if !p.accept("TO") || !p.boundary() {
		return nil, p.badRange(start)
	}
	to, err := p.bound(start)
	if err != nil {
		return nil, err
	}
	p.space()
	switch {
	case p.accept("}"):
		high = Less
	case !p.accept("]"):
		return nil, p.badRange(start)
	}
	if err := p.closed(start); err != nil {
		return nil, err
	}
	if a, ok := Number(from.text); ok && !from.open() {
		if b, ok := Number(to.text); ok && !to.open() && a > b {
			return nil, p.errorf(start, "nothing lies between %s and %s: write the smaller one first", from.text, to.text)
		}
	}
	switch {
	case from.open() && to.open():
		return Match{Field: field, Op: Exists}, nil
	case from.open():
		return Match{field, high, to.text}, nil
	case to.open():
		return Match{field, low, from.text}, nil
	}
	return And{Match{field, low, from.text}, Match{field, high, to.text}}, nil
}

func (p *parser) badRange(start int) error {
	return p.errorf(start, "a range is written [1 TO 5], or {1 TO 5} without its ends; * leaves an end open")
}

// bound reads one end of a range.
func (p *parser) bound(start int) (word, error) {
	p.space()
	if p.peek() == '"' {
		text, err := p.phrase()
		if err == nil && text == "" {
			err = p.badRange(start)
		}
		return word{text: text}, err
	}
	w, err := p.word("]}")
	if err == nil && w.text == "" {
		err = p.badRange(start)
	}
	return w, err
}

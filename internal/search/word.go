package search

import (
	"strings"
	"unicode"
)

// word is a run of characters as it was written, read in three ways.
type word struct {
	text    string // without escapes, wildcards standing for themselves
	glob    string // as the Value of a Glob
	wild    bool   // it has a wildcard
	escaped bool   // it has an escape, and so is no operator and no alias
}

// open tells whether the word, as an end of a range, leaves it open.
func (w word) open() bool { return w.glob == "*" }

// match makes the comparison with field that the word stands for.
func (w word) match(field string) Expr {
	if !w.wild {
		return Match{field, plainOp(field), w.text}
	}
	if body, ok := strings.CutSuffix(w.glob, "*"); ok {
		if literal, ok := unglob(body); ok {
			return Match{field, Prefix, literal}
		}
	}
	return Match{field, Glob, w.glob}
}

// unglob is a glob as the text it matches, if it has no wildcards.
func unglob(glob string) (string, bool) {
	var out strings.Builder
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '*', '?':
			return "", false
		case '\\':
			i++
			if i == len(glob) {
				return "", false // the backslash belongs to a * that was cut off: it is a literal star
			}
		}
		out.WriteByte(glob[i])
	}
	return out.String(), true
}

// word reads up to a space, a parenthesis, a quote or one of the bytes in stops.
func (p *parser) word(stops string) (word, error) {
	var w word
	var text, glob strings.Builder
	start := p.pos
scan:
	for !p.end() {
		r, s := p.next()
		switch {
		case unicode.IsSpace(r), r == '(', r == ')', r == '"', strings.ContainsRune(stops, r), r == ',' && p.args > 0:
			break scan
		case r == '\\':
			p.pos++
			if p.end() {
				return w, p.errorf(p.pos-1, `a \ must stand before the character it escapes: write \\ to look for one`)
			}
			r, s = p.next()
			w.escaped = true
			if r == '*' || r == '?' || r == '\\' {
				glob.WriteByte('\\')
			}
			glob.WriteString(s)
		case r == '*' || r == '?':
			w.wild = true
			if r == '?' || !endsInStar(glob.String()) { // ** is *
				glob.WriteString(s)
			}
		default:
			glob.WriteString(s)
		}
		text.WriteString(s)
		p.pos += len(s)
	}
	w.text, w.glob = text.String(), glob.String()
	if i := strings.LastIndexByte(w.text, '~'); i > 0 && !w.escaped && strings.Trim(w.text[i+1:], "0123456789.") == "" {
		return w, p.errorf(start, `~ behind a word (likeness) is not known here: use wildcards or /regex/, or put it in quotes`)
	}
	return w, nil
}

// endsInStar tells whether a glob ends in a star that is a wildcard.
func endsInStar(glob string) bool {
	body, ok := strings.CutSuffix(glob, "*")
	if !ok {
		return false
	}
	slashes := len(body) - len(strings.TrimRight(body, `\`))
	return slashes%2 == 0
}

// GlobRegexp is the Value of a Glob as a regular expression without anchors.
func GlobRegexp(glob string) string {
	var out strings.Builder
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case c == '*':
			out.WriteString(".*")
		case c == '?':
			out.WriteByte('.')
		default:
			if c == '\\' && i+1 < len(glob) {
				i++
				c = glob[i]
			}
			if strings.IndexByte(`\.+*?()|[]{}^$`, c) >= 0 {
				out.WriteByte('\\')
			}
			out.WriteByte(c)
		}
	}
	return out.String()
}

// isText tells whether field holds running text, of which one looks for words.
func isText(field string) bool { return field == "" || field == "body" }

// plainOp is how field:value compares.
func plainOp(field string) Op {
	if isText(field) {
		return Word
	}
	return Equal
}

// Canonical is the name by which a Match calls a built-in field that has several, or the field itself.
func Canonical(field string) string {
	switch field {
	case "name":
		return "operation"
	case "level":
		return "severity"
	case "service.name", "service_name":
		return "service"
	case "trace_id":
		return "trace"
	case "span_id":
		return "span"
	case "parent_id", "parent_span_id":
		return "parent"
	case "timestamp":
		return "time"
	}
	return field
}

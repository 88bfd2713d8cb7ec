package search

import (
	"strings"
	"unicode"
)

// Expressions that Parse made, or that keep to its forms, print as text that Parse reads back to an equal one. The
// forms: And and Or have two parts at least; an empty Field is searched for a Word, Prefix, Glob or Regexp with a Value;
// a Glob is not just a prefix and has no ** ; a Regexp writes a slash without a backslash.

// String is a star.
func (All) String() string { return "*" }

// String joins the parts by AND.
func (e And) String() string { return join(e, " AND ") }

// String joins the parts by OR.
func (e Or) String() string { return join(e, " OR ") }

// String puts NOT before the part.
func (e Not) String() string { return "NOT " + nested(e.Expr) }

// String is field:value.
func (m Match) String() string {
	if m.Op == Exists {
		return fieldText(m.Field) + ":*"
	}
	field := ""
	if m.Field != "" {
		field = fieldText(m.Field) + ":"
	}
	switch m.Op {
	case Greater:
		return field + ">" + valueText(m.Value)
	case GreaterEqual:
		return field + ">=" + valueText(m.Value)
	case Less:
		return field + "<" + valueText(m.Value)
	case LessEqual:
		return field + "<=" + valueText(m.Value)
	case Prefix:
		return field + escape(m.Value, true) + "*"
	case Glob:
		return field + escape(m.Value, false)
	case Regexp:
		return field + regexpText(m.Value)
	case plainOp(m.Field):
		return field + valueText(m.Value)
	case Word:
		return field + "~" + valueText(m.Value)
	}
	return field + "=" + valueText(m.Value)
}

func join(parts []Expr, op string) string {
	texts := make([]string, len(parts))
	for i, e := range parts {
		texts[i] = nested(e)
	}
	return strings.Join(texts, op)
}

// nested puts parentheses around what binds looser than its surroundings.
func nested(e Expr) string {
	switch e.(type) {
	case And, Or:
		return "(" + e.String() + ")"
	}
	return e.String()
}

// fieldText is a field's name, in quotes unless it would be read as itself.
func fieldText(field string) string {
	if plain(field) && Canonical(field) == field && field != "_exists_" {
		return field
	}
	return quote(field)
}

// valueText is a value, in quotes unless it would be read as one word without meaning of its own.
func valueText(v string) string {
	if plain(v) {
		return v
	}
	return quote(v)
}

// plain tells whether a text is read as one word: letters and digits, and within it a few signs that never matter.
func plain(s string) bool {
	switch s {
	case "", "AND", "OR", "NOT":
		return false
	}
	for i, r := range s {
		if !plainRune(r) && (i == 0 || !strings.ContainsRune(".-/@", r)) {
			return false
		}
	}
	return true
}

// plainRune leaves out U+FFFD, which is also what an invalid byte looks like.
func plainRune(r rune) bool {
	return r == '_' || r != unicode.ReplacementChar && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// escape puts a backslash before all that is not plain; wildcards are escaped only if they are literal, as in a Prefix.
// In a Glob backslashes before wildcards and backslashes are there already.
func escape(s string, literal bool) string {
	var out strings.Builder
	p := parser{text: s}
	for !p.end() {
		r, text := p.next()
		p.pos += len(text)
		if !literal && r == '\\' && !p.end() {
			_, text = p.next()
			p.pos += len(text)
			out.WriteString(`\` + text)
			continue
		}
		wild := !literal && (r == '*' || r == '?')
		inner := out.Len() > 0 && strings.ContainsRune(".-/@", r)
		if !plainRune(r) && !inner && !wild {
			out.WriteByte('\\')
		}
		out.WriteString(text)
	}
	return out.String()
}

// regexpText puts a pattern between slashes.
func regexpText(pattern string) string {
	var out strings.Builder
	out.WriteByte('/')
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '/':
			out.WriteString(`\/`)
		case c == '\\' && i+1 < len(pattern):
			i++
			out.WriteString(pattern[i-1 : i+1])
		default:
			out.WriteByte(c)
		}
	}
	out.WriteByte('/')
	return out.String()
}

package search

import (
	"regexp"
	"strings"
	"unicode"
)

// Relation is how a span stands to another of the same trace.
type Relation uint8

// The relations.
const (
	Child      Relation = iota // its parent is the other
	Parent                     // the other's parent is it
	Descendant                 // the other is reached by going from parent to parent
	Ancestor                   // it is reached from the other by going from parent to parent
	Sibling                    // both name the same parent, which need not be there
)

var relationNames = [...]string{"child", "parent", "descendant", "ancestor", "sibling"}

var relations = func() map[string]Relation {
	out := map[string]Relation{}
	for i, name := range relationNames {
		out[name] = Relation(i)
	}
	return out
}()

// String is the relation's name in a search.
func (r Relation) String() string { return relationNames[r] }

// Related matches the spans that match Want and stand in the relation to a span of the same trace that matches Of:
// child(service:checkout, status:error) is failed spans that checkout called. The second is what is returned, as by
// TraceQL's >, <, >>, << and ~. No span stands in a relation to itself or to one with its span ID, a span that names
// itself as its parent has none, and spans without a trace have no relations. A way from parent to parent ends at a span
// that is not there. Logs have no relations, so none matches.
type Related struct {
	Relation Relation
	Of, Want Expr
}

func (Related) isExpr() {}

// String is relation(of, want).
func (e Related) String() string {
	return e.Relation.String() + "(" + e.Of.String() + ", " + e.Want.String() + ")"
}

// HasRelation tells whether there is a Related in an expression.
func HasRelation(e Expr) bool {
	var parts []Expr
	switch e := e.(type) {
	case Related:
		return true
	case And:
		parts = e
	case Or:
		parts = e
	case Not:
		return HasRelation(e.Expr)
	}
	for _, p := range parts {
		if HasRelation(p) {
			return true
		}
	}
	return false
}

// comma tells whether a comma between the arguments of a relation is next.
func (p *parser) comma() bool { return p.args > 0 && p.peek() == ',' }

// related reads the arguments of a relation, whose name begins at start.
func (p *parser) related(r Relation, start, depth int) (Expr, error) {
	p.args++
	defer func() { p.args-- }()
	open := p.pos
	p.pos++
	of, err := p.or("", depth+1)
	if err != nil {
		return nil, err
	}
	if !p.accept(",") {
		if p.peek() == ')' {
			return nil, p.errorf(start, `%s takes two searches, of which it returns the second: write %[1]s(service:a, service:b), or "%[1]s" to look for the word`, r)
		}
		return nil, p.errorf(open, "this ( is never closed: write %s(service:a, service:b)", r)
	}
	want, err := p.or("", depth+1)
	if err != nil {
		return nil, err
	}
	if p.comma() {
		return nil, p.errorf(p.pos, `%s takes two searches: remove this comma, or write \, to look for one`, r)
	}
	if !p.accept(")") {
		return nil, p.errorf(open, "this ( is never closed: write ) behind the second search of %s", r)
	}
	return Related{r, of, want}, nil
}

// notSpace is a character of a word in the widest sense.
const notSpace = `[^\s\pZ]`

// TextRegexp is what a Prefix or Glob looks for in running text, as a regular expression for anywhere in it: * is any
// run of characters without white space and ? is one. What is found begins and ends at the bounds of words, which are runs
// of letters and digits, so timeou* finds "a timeout occurred" and not "notimeout"; Chinese, Japanese and Korean, which
// join words without a space, may be found within. A star at an end leaves that end open; a ? there stands for a letter.
// Case is ignored.
func TextRegexp(m Match) string {
	glob := m.Value
	if m.Op == Prefix {
		glob = globEscape.Replace(m.Value) + "*"
	}
	var out strings.Builder
	out.WriteString("(?is)")
	edge := func(r rune, wild bool, pattern string) {
		if wild && r == '?' || !wild && Bounded(r) {
			out.WriteString(pattern)
		}
	}
	p := parser{text: glob}
	var last rune
	var lastWild bool
	for first := true; !p.end(); first = false {
		r, s := p.next()
		p.pos += len(s)
		wild := r == '*' || r == '?'
		if r == '\\' && !p.end() {
			r, s = p.next()
			p.pos += len(s)
		}
		if first {
			edge(r, wild, `(?:^|[^\pL\pN])`)
		}
		switch {
		case wild && r == '*':
			out.WriteString(notSpace + "*")
		case wild:
			out.WriteString(notSpace)
		default:
			out.WriteString(regexp.QuoteMeta(s))
		}
		last, lastWild = r, wild
	}
	edge(last, lastWild, `(?:$|[^\pL\pN])`)
	return out.String()
}

var globEscape = strings.NewReplacer("*", `\*`, "?", `\?`, `\`, `\\`)

// Bounded tells whether a word may not begin or end beside r within a run of letters and digits.
func Bounded(r rune) bool {
	return (unicode.IsLetter(r) || unicode.IsDigit(r)) && !unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana)
}

// Package search is the one language in which people look for logs and spans, after Lucene's: terms, "phrases",
// field:value, ranges, wildcards, regular expressions, exists, AND, OR, NOT and parentheses, and relations between spans,
// child(a, b). It parses and prints;
// store engines compile what it parses.
package search

// Expr is a parsed search: one of And, Or, Not, Match, Related or All.
type Expr interface {
	// String writes the expression so that Parse reads it back to an equal one.
	String() string
	isExpr()
}

// All matches every row: the empty search.
type All struct{}

// And matches what all of its parts match. It has at least two.
type And []Expr

// Or matches what any of its parts match. It has at least two.
type Or []Expr

// Not matches what its part does not.
type Not struct{ Expr Expr }

// Op says how a Match compares.
type Op uint8

// The ways to compare.
const (
	Equal  Op = iota // the whole value, ignoring case for text
	Word             // a word or phrase within the value, ignoring case
	Prefix           // the value begins so; the trailing * is not part of Value
	Glob             // * and ? within Value
	Regexp           // RE2, anywhere in the value
	Exists           // the field is present
	Greater
	GreaterEqual
	Less
	LessEqual
)

// Match compares one field. An empty Field is the text of the row: a log's body, a span's name, status message and
// event names. Fields are original attribute names or one of: service, operation (name), kind, status, duration, trace,
// span, parent, severity (level), template, body, time. Numbers may carry units: 2s, 150ms, 10kB.
//
// Parse writes the built-in fields by the names listed first (see Canonical), so that engines know no others. In the
// text of a row (Field "" or body) a plain value is a Word, elsewhere it is Equal; Prefix and Glob look there for
// a stretch that begins and ends at the bounds of words, as TextRegexp says, elsewhere they cover the whole value. In
// the Value of a Glob a backslash takes the meaning of *, ? and \ away; GlobRegexp translates it. A Prefix's Value has no
// wildcards at all.
//
// Engines read the Value of comparisons with Number: a duration is its seconds, a size its bytes. That is also what a
// bare number means, because seconds are what metrics, alarms and verdicts here speak: duration:>2 is duration:>2s. Of
// a span's duration, which is kept in nanoseconds, they read Nanoseconds; of time, Time; of severity, Severity.
type Match struct {
	Field string
	Op    Op
	Value string
}

func (All) isExpr()   {}
func (And) isExpr()   {}
func (Or) isExpr()    {}
func (Not) isExpr()   {}
func (Match) isExpr() {}

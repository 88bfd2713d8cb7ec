// Package metricmath is CloudWatch's metric math: expressions over metrics that have names such as m1, which give a new
// series point by point. It parses and computes; where the metrics come from is for others. SEARCH and Metrics Insights are no
// part of it: here a metric is whatever its name was given to. Of ANOMALY_DETECTION_BAND it reads what it is over and how
// wide it is; the band itself needs a past, which is for others too.
//
// It follows https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html. A missing datapoint
// is NaN; what is computed from one is missing. Comparisons give 1 and 0.
package metricmath

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxDepth bounds how deeply an expression may be nested, maxLength how long it may be. CloudWatch allows 1,024 letters.
const (
	maxDepth  = 50
	maxLength = 2048
)

// Expr is a parsed expression. It never changes, so that several may evaluate it at once.
type Expr struct {
	root node
	ids  []string
}

// IDs are the metrics that the expression names, in order.
func (e *Expr) IDs() []string { return slices.Clone(e.ids) }

// UsesAll tells whether the expression has METRICS(), and with it all metrics there are.
func (e *Expr) UsesAll() bool { return e.root.usesAll() }

// node is one part of an expression: a number, a metric, or a function of parts; operators are functions too.
type node struct {
	op   string // "number", "metric", "text", an operator, or a function's name
	text string // of a metric, a text
	n    float64
	args []node
	pos  int
}

func (n node) usesAll() bool {
	return n.op == "METRICS" || slices.ContainsFunc(n.args, node.usesAll)
}

var idPattern = regexp.MustCompile(`^[a-z][a-zA-Z0-9_]*$`)

// ValidID tells whether a metric may have the name: a lower-case letter, then letters, digits and underscores.
func ValidID(id string) bool { return idPattern.MatchString(id) }

// Error is what is wrong with an expression, and where.
type Error struct {
	Column int // from 1
	Reason string
}

// Error says column and reason.
func (e *Error) Error() string { return fmt.Sprintf("column %d: %s", e.Column, e.Reason) }

// Parse reads an expression and checks that it yields a series: names of functions, numbers and kinds of their arguments.
// The error is an *Error.
func Parse(text string) (*Expr, error) {
	root, err := parse(text)
	if err != nil {
		return nil, err
	}
	return newExpr(root)
}

// band is the function of an anomaly band, and defaultDeviations its width where none is given, as CloudWatch's.
const (
	band              = "ANOMALY_DETECTION_BAND"
	defaultDeviations = 2
)

// ParseBand reads ANOMALY_DETECTION_BAND(expression, deviations) and gives both. The error is an *Error.
func ParseBand(text string) (of *Expr, deviations float64, err error) {
	root, err := parse(text)
	switch {
	case err != nil:
		return nil, 0, err
	case root.op != band:
		return nil, 0, &Error{root.pos + 1, "it is not " + band + "(expression, deviations)"}
	case len(root.args) < 1 || len(root.args) > 2:
		return nil, 0, &Error{root.pos + 1, fmt.Sprintf("%s has %d arguments, it takes 1 to 2", band, len(root.args))}
	}
	deviations = defaultDeviations
	if len(root.args) == 2 {
		k := root.args[1]
		if k.op != "number" || !(k.n > 0) {
			return nil, 0, &Error{k.pos + 1, "the number of deviations is not a positive number"}
		}
		deviations = k.n
	}
	of, err = newExpr(root.args[0])
	return of, deviations, err
}

// Equal tells whether expressions say the same, however they are written.
func (e *Expr) Equal(o *Expr) bool { return e.root.equal(o.root) }

func (n node) equal(o node) bool {
	return n.op == o.op && n.text == o.text && n.n == o.n && slices.EqualFunc(n.args, o.args, node.equal)
}

func parse(text string) (node, error) {
	if len(text) > maxLength {
		return node{}, &Error{1, fmt.Sprintf("it is %d bytes long, at most %d are allowed", len(text), maxLength)}
	}
	p := &parser{text: text}
	root, err := p.binary(0, 0)
	if err != nil {
		return node{}, err
	}
	p.space()
	if p.pos < len(text) {
		return node{}, p.fail(p.pos, "%q stands where the expression should end", text[p.pos:min(len(text), p.pos+10)])
	}
	return root, nil
}

func newExpr(root node) (*Expr, error) {
	kind, err := root.kind()
	if err != nil {
		return nil, err
	}
	switch kind {
	case scalar:
		return nil, &Error{1, "it yields one number, not a series: give it to TIME_SERIES()"}
	case list:
		return nil, &Error{1, "it yields several series: give them to a function such as SUM() or MAX()"}
	}
	e := &Expr{root: root}
	root.collect(&e.ids)
	slices.Sort(e.ids)
	e.ids = slices.Compact(e.ids)
	return e, nil
}

func (n node) collect(ids *[]string) {
	if n.op == "metric" {
		*ids = append(*ids, n.text)
	}
	for _, a := range n.args {
		a.collect(ids)
	}
}

type parser struct {
	text string
	pos  int
}

func (p *parser) fail(pos int, format string, args ...any) error {
	return &Error{pos + 1, fmt.Sprintf(format, args...)}
}

func (p *parser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// operators by how strongly they bind, the weakest first. Of those of a level longer ones come before their beginnings.
var operators = [][]string{
	{"||", "OR"}, {"&&", "AND"}, {"==", "!=", "<=", ">=", "<", ">"}, {"+", "-"}, {"*", "/"}, {"^"},
}

// canonical are spellings that mean the same.
var canonical = map[string]string{"||": "OR", "&&": "AND"}

func (p *parser) operator(level int) (string, bool) {
	p.space()
	for _, op := range operators[level] {
		if len(p.text)-p.pos < len(op) || !strings.EqualFold(p.text[p.pos:p.pos+len(op)], op) {
			continue
		}
		end := p.pos + len(op)
		if letters := op == "OR" || op == "AND"; letters && end < len(p.text) && wordByte(p.text[end]) {
			continue
		}
		p.pos = end
		if c, ok := canonical[op]; ok {
			op = c
		}
		return op, true
	}
	return "", false
}

// binary reads operators of a level and stronger ones. Those of one level go from left to right, ^ from right to left.
func (p *parser) binary(level, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, p.fail(p.pos, "it is nested more than %d deep", maxDepth)
	}
	if level == len(operators) {
		return p.unary(depth)
	}
	left, err := p.binary(level+1, depth+1)
	if err != nil {
		return node{}, err
	}
	for range len(p.text) {
		at := p.pos
		op, ok := p.operator(level)
		if !ok {
			break
		}
		next := level + 1
		if op == "^" {
			next = level
		}
		right, err := p.binary(next, depth+1)
		if err != nil {
			return node{}, err
		}
		left = node{op: op, args: []node{left, right}, pos: at}
	}
	return left, nil
}

func (p *parser) unary(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, p.fail(p.pos, "it is nested more than %d deep", maxDepth)
	}
	p.space()
	if p.pos < len(p.text) && p.text[p.pos] == '-' {
		at := p.pos
		p.pos++
		// A minus binds less than ^: -2^2 is -4.
		arg, err := p.binary(len(operators)-1, depth+1)
		return node{op: "NEGATE", args: []node{arg}, pos: at}, err
	}
	return p.primary(depth)
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (p *parser) primary(depth int) (node, error) {
	p.space()
	at := p.pos
	if at == len(p.text) {
		return node{}, p.fail(at, "it ends where a metric, a number or a function should stand")
	}
	switch c := p.text[at]; {
	case c == '(':
		p.pos++
		inner, err := p.binary(0, depth+1)
		if err != nil {
			return node{}, err
		}
		return inner, p.expect(')', at)
	case c == '"' || c == '\'':
		end := strings.IndexByte(p.text[at+1:], c)
		if end < 0 {
			return node{}, p.fail(at, "the text that begins here never ends")
		}
		p.pos = at + end + 2
		return node{op: "text", text: p.text[at+1 : at+1+end], pos: at}, nil
	case c == '.' || c >= '0' && c <= '9':
		return p.number()
	case !wordByte(c):
		return node{}, p.fail(at, "%q is neither a metric, a number nor a function", c)
	}
	for p.pos < len(p.text) && wordByte(p.text[p.pos]) {
		p.pos++
	}
	word := p.text[at:p.pos]
	p.space()
	if p.pos == len(p.text) || p.text[p.pos] != '(' {
		if ValidID(word) {
			return node{op: "metric", text: word, pos: at}, nil
		}
		return node{op: "word", text: strings.ToUpper(word), pos: at}, nil
	}
	p.pos++
	return p.call(strings.ToUpper(word), at, depth)
}

func (p *parser) number() (node, error) {
	at := p.pos
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		exponent := p.pos > at && (c == '+' || c == '-') && (p.text[p.pos-1] == 'e' || p.text[p.pos-1] == 'E')
		if !wordByte(c) && c != '.' && !exponent {
			break
		}
		p.pos++
	}
	n, err := strconv.ParseFloat(p.text[at:p.pos], 64)
	if err != nil {
		return node{}, p.fail(at, "%q is not a number", p.text[at:p.pos])
	}
	return node{op: "number", n: n, pos: at}, nil
}

func (p *parser) expect(c byte, opened int) error {
	p.space()
	if p.pos == len(p.text) || p.text[p.pos] != c {
		return p.fail(p.pos, "a %q is missing for the one in column %d", c, opened+1)
	}
	p.pos++
	return nil
}

// call reads the arguments of a function; its opening parenthesis is read.
func (p *parser) call(name string, at, depth int) (node, error) {
	n := node{op: name, pos: at}
	p.space()
	if p.pos < len(p.text) && p.text[p.pos] == ')' {
		p.pos++
		return n, nil
	}
	for range len(p.text) {
		arg, err := p.binary(0, depth+1)
		if err != nil {
			return node{}, err
		}
		n.args = append(n.args, arg)
		p.space()
		if p.pos < len(p.text) && p.text[p.pos] == ',' {
			p.pos++
			continue
		}
		return n, p.expect(')', at)
	}
	return n, nil
}

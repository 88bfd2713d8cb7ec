package alarm

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"triage/internal/model"
)

// Bounds of composite rules; they are CloudWatch's.
const (
	maxChildren = 100
	maxElements = 500
	maxNesting  = 50
)

// composite is a parsed rule such as ALARM("cpu high") AND NOT (OK(disk) OR INSUFFICIENT_DATA(disk)).
type composite struct {
	op    string // "ALARM", "OK", "INSUFFICIENT_DATA", "TRUE", "FALSE", "AND", "OR", "NOT"
	child string // of the first three
	parts []*composite
}

// parseComposite reads a composite rule. A child is the name of a rule or the ID of one alarm, in quotes if it has
// parentheses.
func parseComposite(text string) (*composite, error) {
	p := &compositeParser{text: text}
	c, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.pos < len(text) {
		return nil, p.fail("%q stands where the rule should end", text[p.pos:min(len(text), p.pos+20)])
	}
	if n := len(c.children()); n > maxChildren {
		return nil, fmt.Errorf("it is made of %d alarms, at most %d are allowed", n, maxChildren)
	}
	if p.elements > maxElements {
		return nil, fmt.Errorf("it has %d elements, at most %d are allowed", p.elements, maxElements)
	}
	return c, nil
}

// children are what a rule is made of, each once and in order.
func (c *composite) children() (out []string) {
	if c.child != "" {
		out = append(out, c.child)
	}
	for _, p := range c.parts {
		out = append(out, p.children()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// holds tells whether a rule holds, by its children's states.
func (c *composite) holds(state func(child string) model.AlarmState) bool {
	switch c.op {
	case "TRUE":
		return true
	case "FALSE":
		return false
	case "NOT":
		return !c.parts[0].holds(state)
	case "AND":
		return !slices.ContainsFunc(c.parts, func(p *composite) bool { return !p.holds(state) })
	case "OR":
		return slices.ContainsFunc(c.parts, func(p *composite) bool { return p.holds(state) })
	}
	return string(state(c.child)) == c.op
}

type compositeParser struct {
	text          string
	pos, elements int
}

func (p *compositeParser) fail(format string, args ...any) error {
	return fmt.Errorf("column %d: %s", p.pos+1, fmt.Sprintf(format, args...))
}

func (p *compositeParser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// word reads a keyword or a parenthesis, "" at the end.
func (p *compositeParser) word() string {
	p.space()
	start := p.pos
	for p.pos < len(p.text) && (p.text[p.pos] == '_' || p.text[p.pos] >= 'A' && p.text[p.pos] <= 'Z') {
		p.pos++
	}
	if p.pos == start && p.pos < len(p.text) {
		p.pos++
	}
	return p.text[start:p.pos]
}

func (p *compositeParser) next(word string) bool {
	at := p.pos
	if p.word() == word {
		p.elements++
		return true
	}
	p.pos = at
	return false
}

func (p *compositeParser) or(depth int) (*composite, error) {
	return p.chain("OR", depth, func(depth int) (*composite, error) { return p.chain("AND", depth, p.not) })
}

// chain reads parts with one operator between them.
func (p *compositeParser) chain(op string, depth int, part func(int) (*composite, error)) (*composite, error) {
	first, err := part(depth)
	if err != nil {
		return nil, err
	}
	parts := []*composite{first}
	for p.next(op) {
		c, err := part(depth)
		if err != nil {
			return nil, err
		}
		parts = append(parts, c)
	}
	if len(parts) == 1 {
		return first, nil
	}
	return &composite{op: op, parts: parts}, nil
}

func (p *compositeParser) not(depth int) (*composite, error) {
	if depth > maxNesting {
		return nil, p.fail("it is nested more than %d deep", maxNesting)
	}
	p.space()
	at := p.pos
	word := p.word()
	p.elements++
	switch word {
	case "NOT":
		part, err := p.not(depth + 1)
		return &composite{op: word, parts: []*composite{part}}, err
	case "TRUE", "FALSE":
		return &composite{op: word}, nil
	case "(":
		c, err := p.or(depth + 1)
		if err == nil && !p.next(")") {
			err = p.fail("a closing parenthesis is missing")
		}
		return c, err
	case "ALARM", "OK", "INSUFFICIENT_DATA":
		child, err := p.name(word)
		return &composite{op: word, child: child}, err
	}
	p.pos = at
	if word == "" {
		return nil, p.fail("it ends where ALARM(), OK(), INSUFFICIENT_DATA(), TRUE or FALSE should stand")
	}
	return nil, p.fail("%q is none of ALARM(), OK(), INSUFFICIENT_DATA(), TRUE, FALSE, NOT", word)
}

// name reads ("name") or (name).
func (p *compositeParser) name(of string) (string, error) {
	if !p.next("(") {
		return "", p.fail("the name of a rule in parentheses is missing behind %s", of)
	}
	p.space()
	var name string
	if p.pos < len(p.text) && (p.text[p.pos] == '"' || p.text[p.pos] == '\'') {
		quote := p.text[p.pos]
		end := strings.IndexByte(p.text[p.pos+1:], quote)
		if end < 0 {
			return "", p.fail("the name that begins here never ends")
		}
		name = p.text[p.pos+1 : p.pos+1+end]
		p.pos += end + 2
	} else {
		end := strings.IndexByte(p.text[p.pos:], ')')
		if end < 0 {
			return "", p.fail("a closing parenthesis is missing")
		}
		name = strings.TrimSpace(p.text[p.pos : p.pos+end])
		p.pos += end
	}
	if name == "" {
		return "", p.fail("the name of a rule is missing")
	}
	if !p.next(")") {
		return "", p.fail("a closing parenthesis is missing")
	}
	return name, nil
}

// ruleOf is the rule that a child's alarms are of. An ID is the rule's name and labels in braces.
func ruleOf(child string, known func(name string) bool) (string, bool) {
	if known(child) {
		return child, true
	}
	name, _, labels := strings.Cut(child, "{")
	return name, labels && known(name)
}

var errCycle = errors.New("it is made of itself")

// cycles tells of each composite rule that is made of itself by which way: "it is made of itself: a, b, a".
func cycles(rules map[string]Rule) map[string]error {
	known := func(name string) bool { _, ok := rules[name]; return ok }
	children := make(map[string][]string)
	for name, r := range rules {
		if r.Composite == "" {
			continue
		}
		c, err := parseComposite(r.Composite)
		if err != nil {
			continue // which is told elsewhere
		}
		for _, child := range c.children() {
			if of, ok := ruleOf(child, known); ok {
				children[name] = append(children[name], of)
			}
		}
	}
	out := make(map[string]error)
	for name := range children {
		if way := wayTo(name, name, children, map[string]bool{}); way != nil {
			out[name] = fmt.Errorf("%w: %s", errCycle, strings.Join(append([]string{name}, way...), ", "))
		}
	}
	return out
}

// wayTo finds a way from a rule to another over children, nil if there is none.
func wayTo(from, to string, children map[string][]string, seen map[string]bool) []string {
	for _, c := range children[from] {
		if c == to {
			return []string{c}
		}
		if seen[c] {
			continue
		}
		seen[c] = true
		if way := wayTo(c, to, children, seen); way != nil {
			return append([]string{c}, way...)
		}
	}
	return nil
}

// bottomUp orders composite rules so that each comes after those that it is made of. There must be no cycle.
func bottomUp(watches map[string]*watch) (out []*watch) {
	done := make(map[string]bool)
	var visit func(name string)
	visit = func(name string) {
		w := watches[name]
		if done[name] || w == nil || w.composite == nil {
			return
		}
		done[name] = true
		for _, child := range w.composite.children() {
			if of, ok := ruleOf(child, func(n string) bool { return watches[n] != nil }); ok {
				visit(of)
			}
		}
		out = append(out, w)
	}
	for _, name := range slices.Sorted(maps.Keys(watches)) {
		visit(name)
	}
	return out
}

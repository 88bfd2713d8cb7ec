// Package dashboard keeps dashboards: panels of all signals on a grid, with variables, as JSON documents that people write,
// keep under version control and share. It says what is wrong with one, keeps its versions, and reads Grafana's and
// CloudWatch's, with a list of what could not be taken over. It draws nothing: whoever shows a dashboard asks what its panels
// say to ask.
//
// A grid has 24 columns; its rows are 40 pixels high.
package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"triage/internal/search"
)

// DocumentKind is the kind of dashboards' documents in the state store.
const DocumentKind = "dashboard"

// ErrInvalid means that a dashboard was refused for what it says.
var ErrInvalid = errors.New("dashboard")

// Bounds of a dashboard.
const (
	columns      = 24
	maxRows      = 10_000
	maxPanels    = 500
	maxVariables = 30
	maxQueries   = 20
	maxText      = 64 << 10
	maxSize      = 1 << 20
	maxImport    = 8 << 20 // of another tool's, most of which is looks
)

// Dashboard is what a page shows.
type Dashboard struct {
	Name        string     `json:"name,omitempty" yaml:"name,omitempty" doc:"its address: letters, digits, dashes, dots and underscores"`
	Title       string     `json:"title" yaml:"title" required:"false"`
	Description string     `json:"description,omitempty" yaml:"description,omitempty"`
	Tags        []string   `json:"tags,omitempty" yaml:"tags,omitempty"`
	From        string     `json:"from,omitempty" yaml:"from,omitempty" doc:"where its time range begins unless somebody chooses another, such as now-6h"`
	Variables   []Variable `json:"variables,omitempty" yaml:"variables,omitempty"`
	Panels      []Panel    `json:"panels" yaml:"panels"`
}

// Variable is something that people choose, and that queries, searches, titles and texts name as $name or ${name}. Its
// choices are values, or those of a label; without either it is free text. In a quoted string of PromQL several values become
// a regular expression, so compare with =~.
type Variable struct {
	Name   string       `json:"name" yaml:"name" doc:"a letter, then letters, digits and underscores"`
	Label  string       `json:"label,omitempty" yaml:"label,omitempty" doc:"what people read; the name without it"`
	Values []string     `json:"values,omitempty" yaml:"values,omitempty" doc:"what can be chosen"`
	Of     *LabelValues `json:"of,omitempty" yaml:"of,omitempty" doc:"what can be chosen are the values of a label"`
	// Multiple allows several values, All all of them at once.
	Multiple bool     `json:"multiple,omitempty" yaml:"multiple,omitempty"`
	All      bool     `json:"all,omitempty" yaml:"all,omitempty" doc:"whether everything can be chosen at once"`
	Default  []string `json:"default,omitempty" yaml:"default,omitempty" doc:"what is chosen at first; everything, or else the first choice, without it"`
}

// LabelValues is the values of a label, of all series or of those that a selector selects.
type LabelValues struct {
	Label    string `json:"label" yaml:"label"`
	Selector string `json:"selector,omitempty" yaml:"selector,omitempty" doc:"a selector of PromQL; it may name variables that stand before"`
	Match    string `json:"match,omitempty" yaml:"match,omitempty" doc:"a regular expression that values must match; its first group, if it has one, is the value"`
}

// Kind is what a panel shows.
type Kind string

// The kinds of panels.
const (
	Line      Kind = "line"      // queries as lines over time
	Stat      Kind = "stat"      // the newest value of each series, large, with its course
	Bar       Kind = "bar"       // the newest value of each series as a bar
	Table     Kind = "table"     // the newest value of each series, a row each, a column a query
	Logs      Kind = "logs"      // lines that a search finds
	LogCounts Kind = "logCounts" // how many there are over time, by level
	Spans     Kind = "spans"     // spans that a search finds
	Durations Kind = "durations" // how long they took: median, 95th and 99th percentile
	Alarms    Kind = "alarms"    // alarms and how they stand
	Incidents Kind = "incidents" // incidents, open ones first
	SLOs      Kind = "slos"      // objectives and their budgets
	Text      Kind = "text"      // Markdown
	Section   Kind = "section"   // a heading
)

var (
	ofQueries  = []Kind{Line, Stat, Bar, Table}
	ofSearches = []Kind{Logs, LogCounts, Spans, Durations}
	kinds      = []Kind{Line, Stat, Bar, Table, Logs, LogCounts, Spans, Durations, Alarms, Incidents, SLOs, Text, Section}
)

// Panel is one part of a dashboard.
type Panel struct {
	Title       string `json:"title,omitempty" yaml:"title,omitempty"`
	Description string `json:"description,omitempty" yaml:"description,omitempty"`
	Kind        Kind   `json:"kind" yaml:"kind" enum:"line,stat,bar,table,logs,logCounts,spans,durations,alarms,incidents,slos,text,section"`
	// X and W count columns, Y and H rows.
	X int `json:"x" yaml:"x" required:"false" minimum:"0" maximum:"23"`
	Y int `json:"y" yaml:"y" required:"false" minimum:"0"`
	W int `json:"w" yaml:"w" required:"false" minimum:"1" maximum:"24"`
	H int `json:"h" yaml:"h" required:"false" minimum:"1" maximum:"100"`
	// Queries are of line, stat, bar and table.
	Queries []Query  `json:"queries,omitempty" yaml:"queries,omitempty"`
	Unit    string   `json:"unit,omitempty" yaml:"unit,omitempty" doc:"UCUM as OpenTelemetry uses it: s, By, 1/s, %; also ratio"`
	Stacked bool     `json:"stacked,omitempty" yaml:"stacked,omitempty"`
	Min     *float64 `json:"min,omitempty" yaml:"min,omitempty"`
	Max     *float64 `json:"max,omitempty" yaml:"max,omitempty"`
	Limits  []Limit  `json:"limits,omitempty" yaml:"limits,omitempty" doc:"values from which on something is bad, drawn as lines"`
	// Search is of logs, logCounts, spans and durations; Columns of logs.
	Search  string   `json:"search,omitempty" yaml:"search,omitempty" doc:"in the language of searches; everything without it"`
	Columns []string `json:"columns,omitempty" yaml:"columns,omitempty" doc:"fields shown beside a line; service without it"`
	// Service restricts alarms, incidents and objectives.
	Service string `json:"service,omitempty" yaml:"service,omitempty"`
	Text    string `json:"text,omitempty" yaml:"text,omitempty" doc:"Markdown"`
}

// Query is what a panel asks the metric store, in PromQL.
type Query struct {
	Expr  string `json:"expr" yaml:"expr"`
	Label string `json:"label,omitempty" yaml:"label,omitempty" doc:"the name of its series, in which {{label}} is a label's value; all labels that differ without it"`
}

// Limit is a value that matters.
type Limit struct {
	Value float64 `json:"value" yaml:"value"`
	Label string  `json:"label,omitempty" yaml:"label,omitempty"`
	Below bool    `json:"below,omitempty" yaml:"below,omitempty" doc:"whether it is bad below, and not above"`
}

// Parse reads a dashboard from JSON, strictly, and validates it. The error joins everything that is wrong and is ErrInvalid.
func Parse(b []byte) (Dashboard, error) {
	var d Dashboard
	if len(b) > maxSize {
		return d, fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrInvalid, len(b), maxSize)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return d, fmt.Errorf("%w: %s", ErrInvalid, strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return d, fmt.Errorf("%w: something follows the dashboard", ErrInvalid)
	}
	d = d.WithDefaults()
	if err := d.Validate(); err != nil {
		return d, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return d, nil
}

// WithDefaults fills in what was left out: the title, and how large panels are.
func (d Dashboard) WithDefaults() Dashboard {
	if d.Title == "" {
		d.Title = d.Name
	}
	d.Panels = slices.Clone(d.Panels)
	for i := range d.Panels {
		p := &d.Panels[i]
		if p.W == 0 {
			p.W = columns - min(max(p.X, 0), columns-1)
		}
		if p.H == 0 {
			p.H = 6
			if p.Kind == Section {
				p.H = 1
			}
		}
	}
	return d
}

var (
	namePattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)
	fromPattern     = regexp.MustCompile(`^now-\d{1,6}[smhdw]$`)
)

// Validate says everything that is wrong, each with its path.
func (d Dashboard) Validate() error {
	w := &wrong{}
	if !namePattern.MatchString(d.Name) {
		w.add("name", "%q is no name: up to 100 letters, digits, dashes, dots and underscores, and a letter or digit first", d.Name)
	}
	if d.From != "" && !fromPattern.MatchString(d.From) {
		w.add("from", "%q is not such as now-6h", d.From)
	}
	if n := len(d.Variables); n > maxVariables {
		w.add("variables", "%d are too many, at most %d are allowed", n, maxVariables)
	}
	if n := len(d.Panels); n > maxPanels {
		w.add("panels", "%d are too many, at most %d are allowed", n, maxPanels)
	}
	seen := map[string]bool{}
	for i, v := range d.Variables {
		v.validate(w.at("variables[%d].", i), seen)
		seen[v.Name] = true
	}
	for i, p := range d.Panels {
		p.validate(w.at("panels[%d].", i), seen)
	}
	return errors.Join(w.errs...)
}

// wrong collects what is wrong below a path.
type wrong struct {
	prefix string
	parent *wrong
	errs   []error
}

func (w *wrong) at(format string, args ...any) *wrong {
	return &wrong{prefix: fmt.Sprintf(format, args...), parent: w}
}

func (w *wrong) add(path, format string, args ...any) {
	w.put(path + ": " + fmt.Sprintf(format, args...))
}

func (w *wrong) put(text string) {
	text = w.prefix + text
	if w.parent != nil {
		w.parent.put(text)
		return
	}
	w.errs = append(w.errs, errors.New(text))
}

func (v Variable) validate(w *wrong, seen map[string]bool) {
	switch {
	case !variablePattern.MatchString(v.Name):
		w.add("name", "%q is no name: a letter, then letters, digits and underscores", v.Name)
	case seen[v.Name]:
		w.add("name", "%q is there already", v.Name)
	}
	if len(v.Values) > 0 && v.Of != nil {
		w.add("of", "choices are values or those of a label, not both")
	}
	if len(v.Values) == 0 && v.Of == nil && (v.Multiple || v.All) {
		w.add("values", "there is nothing of which several could be chosen")
	}
	if len(v.Default) > 1 && !v.Multiple {
		w.add("default", "%d values, and only one can be chosen", len(v.Default))
	}
	if v.Of == nil {
		return
	}
	if v.Of.Label == "" {
		w.add("of.label", "is missing")
	}
	if v.Of.Selector != "" {
		if err := checkSelector(v.Of.Selector, seen); err != nil {
			w.add("of.selector", "%s", err)
		}
	}
	if _, err := regexp.Compile(v.Of.Match); err != nil {
		w.add("of.match", "%s", err)
	}
}

func (p Panel) validate(w *wrong, variables map[string]bool) {
	if !slices.Contains(kinds, p.Kind) {
		w.add("kind", "%q is none of %s", p.Kind, list(kinds))
	}
	if p.X < 0 || p.W < 1 || p.X+p.W > columns {
		w.add("w", "columns %d to %d are not within the %d there are", p.X, p.X+p.W, columns)
	}
	if p.Y < 0 || p.H < 1 || p.H > 100 || p.Y+p.H > maxRows {
		w.add("h", "rows %d to %d are not within %d, or more than 100", p.Y, p.Y+p.H, maxRows)
	}
	asks := slices.Contains(ofQueries, p.Kind)
	switch n := len(p.Queries); {
	case asks && n == 0:
		w.add("queries", "is missing: a panel of kind %s shows at least one", p.Kind)
	case !asks && n > 0:
		w.add("queries", "only %s have queries", list(ofQueries))
	case n > maxQueries:
		w.add("queries", "%d are too many, at most %d are allowed", n, maxQueries)
	}
	for i, q := range p.Queries {
		if err := checkPromQL(q.Expr, variables); err != nil {
			w.add(fmt.Sprintf("queries[%d].expr", i), "%s", err)
		}
	}
	if p.Search != "" {
		if !slices.Contains(ofSearches, p.Kind) {
			w.add("search", "only %s have a search", list(ofSearches))
		} else if _, err := search.Parse(fill(p.Search, "x")); err != nil {
			w.add("search", "%s", err)
		}
	}
	if len(p.Text) > maxText {
		w.add("text", "it has %d bytes, at most %d are allowed", len(p.Text), maxText)
	}
	if p.Text != "" && p.Kind != Text {
		w.add("text", "only text has one")
	}
	if p.Min != nil && p.Max != nil && *p.Min >= *p.Max {
		w.add("max", "%g is not above min, %g", *p.Max, *p.Min)
	}
}

func list(ks []Kind) string {
	words := make([]string, len(ks))
	for i, k := range ks {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// reference is a variable where it is named: $name, ${name} or ${name:format}.
var reference = regexp.MustCompile(`\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::[a-z]+)?\}|([A-Za-z_][A-Za-z0-9_]*))`)

// builtIn are the variables that every dashboard has: of the chart's step and range.
var builtIn = []string{"__interval", "__rate_interval", "__range", "__interval_ms", "__range_s", "__range_ms"}

// fill puts a value in place of all variables.
func fill(text, value string) string {
	return reference.ReplaceAllLiteralString(text, value)
}

// unknown names the first variable that nobody has.
func unknown(text string, variables map[string]bool) error {
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		if name := m[1] + m[2]; !variables[name] && !slices.Contains(builtIn, name) {
			return fmt.Errorf("there is no variable %q", name)
		}
	}
	return nil
}

// checkPromQL parses a query as it would be with some value: a variable may stand for a duration, a number or a name.
func checkPromQL(expr string, variables map[string]bool) error {
	if strings.TrimSpace(expr) == "" {
		return errors.New("is missing")
	}
	if err := unknown(expr, variables); err != nil {
		return err
	}
	var first error
	for _, value := range []string{"1m", "1", "x"} {
		_, err := parser.NewParser(parser.Options{}).ParseExpr(fill(durations(expr), value))
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

var windowed = regexp.MustCompile(`([\[:]\s*|offset\s+)` + reference.String())

// durations fills in variables where only a duration can stand, so that others of the same query may stand for something else.
func durations(expr string) string {
	return windowed.ReplaceAllString(expr, "${1}1m")
}

func checkSelector(text string, variables map[string]bool) error {
	if err := unknown(text, variables); err != nil {
		return err
	}
	_, err := parser.NewParser(parser.Options{}).ParseMetricSelector(fill(text, "x"))
	return err
}

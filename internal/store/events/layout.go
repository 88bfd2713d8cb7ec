package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"triage/internal/model"
)

// signal is what a block holds: blocks never mix spans and logs.
type signal uint8

const (
	spans signal = iota
	logs
)

var signals = [...]signal{spans, logs}

// String is the signal's name in paths and metadata.
func (s signal) String() string { return [...]string{"spans", "logs"}[s] }

// columnType is the type of an attribute's column.
type columnType uint8

// The types of attribute columns. Values of other kinds have none and go to "rest".
const (
	typeNone columnType = iota
	typeText
	typeInt
	typeDouble
	typeBool
	columnTypes
)

var columnTypeNames = [columnTypes]string{"", "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN"}

// String is the type's name in SQL.
func (t columnType) String() string { return columnTypeNames[t] }

// MarshalText writes String.
func (t columnType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (t *columnType) UnmarshalText(b []byte) error {
	i := slices.Index(columnTypeNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("column type %q is unknown", b)
	}
	*t = columnType(i)
	return nil
}

func (t columnType) arrow() arrow.DataType {
	switch t {
	case typeInt:
		return arrow.PrimitiveTypes.Int64
	case typeDouble:
		return arrow.PrimitiveTypes.Float64
	case typeBool:
		return arrow.FixedWidthTypes.Boolean
	}
	return arrow.BinaryTypes.String
}

// typeOf is the type of column that can hold a value exactly.
func typeOf(v model.Value) columnType {
	switch v.Kind() {
	case model.KindString:
		if s := v.Str(); utf8.ValidString(s) && !strings.HasPrefix(s, notUTF8) {
			return typeText
		}
	case model.KindInt:
		return typeInt
	case model.KindDouble:
		// A NaN's bits are more than SQL keeps.
		if d := v.Double(); d == d {
			return typeDouble
		}
	case model.KindBool:
		return typeBool
	}
	return typeNone
}

// Attributes of a row, its resource and its scope are told apart by the prefix of their column's name. No fixed column
// has a dot in its name, so none collides.
const (
	ownPrefix      = "a."
	resourcePrefix = "r."
	scopePrefix    = "s."
	fixedPrefix    = "f." // in "rest" only: the exact value of a fixed column that could not hold it
)

var prefixes = [...]string{ownPrefix, resourcePrefix, scopePrefix}

// fixedColumn is a column that every block may have.
type fixedColumn struct {
	name string
	typ  arrow.DataType
	// optional columns are left out of a block in which no row has a value.
	optional bool
	// plain columns have nearly as many values as rows: no dictionary.
	plain bool
}

var (
	linkIDsType = arrow.ListOfNonNullable(arrow.PrimitiveTypes.Uint64)
	restType    = arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String)
)

// The fixed columns in their order in a block. The writer's methods append them in the same order.
var fixedColumns = [...][]fixedColumn{
	spans: {
		{name: "ts", typ: arrow.PrimitiveTypes.Int64, plain: true},
		{name: "trace_hi", typ: arrow.PrimitiveTypes.Uint64},
		{name: "trace_lo", typ: arrow.PrimitiveTypes.Uint64},
		{name: "span_id", typ: arrow.PrimitiveTypes.Uint64, plain: true},
		{name: "parent_id", typ: arrow.PrimitiveTypes.Uint64, plain: true},
		{name: "service", typ: arrow.BinaryTypes.String},
		{name: "name", typ: arrow.BinaryTypes.String},
		{name: "kind", typ: arrow.PrimitiveTypes.Uint8},
		{name: "status", typ: arrow.PrimitiveTypes.Uint8},
		{name: "duration", typ: arrow.PrimitiveTypes.Int64, plain: true},
		{name: "status_message", typ: arrow.BinaryTypes.String, optional: true},
		{name: "trace_state", typ: arrow.BinaryTypes.String, optional: true},
		{name: "flags", typ: arrow.PrimitiveTypes.Uint32, optional: true},
		{name: "events", typ: arrow.BinaryTypes.String, optional: true, plain: true},
		{name: "event_names", typ: arrow.BinaryTypes.String, optional: true},
		{name: "links", typ: arrow.BinaryTypes.String, optional: true, plain: true},
		{name: "link_ids", typ: linkIDsType, optional: true},
		{name: "dropped_attributes", typ: arrow.PrimitiveTypes.Uint32, optional: true},
		{name: "dropped_events", typ: arrow.PrimitiveTypes.Uint32, optional: true},
		{name: "dropped_links", typ: arrow.PrimitiveTypes.Uint32, optional: true},
		{name: "resource_schema", typ: arrow.BinaryTypes.String, optional: true},
		{name: "scope_name", typ: arrow.BinaryTypes.String, optional: true},
		{name: "scope_version", typ: arrow.BinaryTypes.String, optional: true},
		{name: "scope_schema", typ: arrow.BinaryTypes.String, optional: true},
		{name: "rest", typ: restType, optional: true},
	},
	logs: {
		{name: "ts", typ: arrow.PrimitiveTypes.Int64, plain: true},
		{name: "observed", typ: arrow.PrimitiveTypes.Int64, plain: true},
		{name: "trace_hi", typ: arrow.PrimitiveTypes.Uint64},
		{name: "trace_lo", typ: arrow.PrimitiveTypes.Uint64},
		{name: "span_id", typ: arrow.PrimitiveTypes.Uint64},
		{name: "severity", typ: arrow.PrimitiveTypes.Uint8},
		{name: "service", typ: arrow.BinaryTypes.String},
		{name: "template", typ: arrow.PrimitiveTypes.Uint64},
		{name: "body", typ: arrow.BinaryTypes.String, optional: true, plain: true},
		{name: "severity_text", typ: arrow.BinaryTypes.String, optional: true},
		{name: "event_name", typ: arrow.BinaryTypes.String, optional: true},
		{name: "flags", typ: arrow.PrimitiveTypes.Uint32, optional: true},
		{name: "dropped_attributes", typ: arrow.PrimitiveTypes.Uint32, optional: true},
		{name: "resource_schema", typ: arrow.BinaryTypes.String, optional: true},
		{name: "scope_name", typ: arrow.BinaryTypes.String, optional: true},
		{name: "scope_version", typ: arrow.BinaryTypes.String, optional: true},
		{name: "scope_schema", typ: arrow.BinaryTypes.String, optional: true},
		{name: "rest", typ: restType, optional: true},
	},
}

// Limits of a block's layout.
const (
	maxColumns     = 300  // attribute columns; further keys go to rest
	maxKeyLen      = 200  // longer keys go to rest
	maxListed      = 1000 // keys of rest and services that the metadata lists
	layoutVersion  = 1
	metadataKey    = "triage.block" // of the Parquet footer's key-value metadata
	rareRows       = 50             // a key in fewer rows gets no column of its own ...
	rareShare      = 256            // ... unless these are more than one in so many
	maxLinksListed = 128            // links whose IDs can be queried; all come back with the span
)

// attrColumn is an attribute's column in a block: its name with the prefix, and how many rows have a value in it.
type attrColumn struct {
	Name string     `json:"name"`
	Type columnType `json:"type"`
	Rows int64      `json:"rows"`
}

// layout says what a block holds. It stands as JSON in the Parquet footer and is what the catalog keeps in memory.
type layout struct {
	Version int   `json:"version"`
	Rows    int64 `json:"rows"`
	MinTime int64 `json:"min_time"`
	MaxTime int64 `json:"max_time"`
	// MaxDuration is the longest span's.
	MaxDuration int64 `json:"max_duration,omitempty"`
	// Fixed names the optional fixed columns that are there.
	Fixed []string `json:"fixed"`
	// Columns are the attributes' columns in order of name.
	Columns []attrColumn `json:"columns"`
	// Rest counts the rows of each key in the column rest, by the type its values would have in a column of their own (0
	// for those that never have one).
	Rest     map[string]counts `json:"rest,omitempty"`
	RestMore bool              `json:"rest_more,omitempty"` // rest has keys that are not listed
	// Services counts rows by service.
	Services     map[string]int64 `json:"services"`
	ServicesMore bool             `json:"services_more,omitempty"`
	// Sketches says where the sketches of durations are, Filters where the row groups' filters are; nil in blocks without.
	Sketches *section       `json:"sketches,omitempty"`
	Filters  *filterSection `json:"filters,omitempty"`
}

// counts are rows by columnType.
type counts [columnTypes]int64

// best is the type most values have.
func (c *counts) best() columnType {
	b := typeText
	for t := b + 1; t < columnTypes; t++ {
		if c[t] > c[b] {
			b = t
		}
	}
	return b
}

// survey collects what a layout is made from, from rows or from the layouts of blocks to be merged.
type survey struct {
	signal   signal
	rows     int64
	min, max int64
	duration int64
	fixed    map[string]bool
	keys     [len(prefixes)]map[string]*counts
	services map[string]int64
	sources  map[source]int64
	more     bool // there are keys that are not in keys
	moreSvc  bool
	recent   textCache[*counts] // of own attributes' keys
}

// source is what many rows share.
type source struct {
	resource *model.Resource
	scope    *model.Scope
}

func newSurvey(s signal) *survey {
	v := &survey{signal: s, fixed: map[string]bool{}, services: map[string]int64{}, sources: map[source]int64{}}
	for i := range v.keys {
		v.keys[i] = map[string]*counts{}
	}
	return v
}

func (v *survey) time(ts int64) {
	if v.rows == 0 || ts < v.min {
		v.min = ts
	}
	if v.rows == 0 || ts > v.max {
		v.max = ts
	}
}

func (v *survey) count(prefix int, key string, t columnType, n int64) {
	c := v.keys[prefix][key]
	if c == nil {
		c = new(counts)
		v.keys[prefix][key] = c
	}
	c[t] += n
}

// own counts a row's own attributes.
func (v *survey) own(attrs model.Attrs) {
	for i := range attrs {
		slot, known := v.recent.slot(attrs[i].Key)
		if !known {
			v.count(0, attrs[i].Key, typeNone, 0)
			*slot = v.keys[0][attrs[i].Key]
		}
		(*slot)[typeOf(attrs[i].Value)]++
	}
}

func (v *survey) attrs(prefix int, attrs model.Attrs, n int64) {
	for i := range attrs {
		v.count(prefix, attrs[i].Key, typeOf(attrs[i].Value), n)
	}
}

// span notes one span.
func (v *survey) span(s *model.Span) {
	v.time(s.Start)
	v.rows++
	v.duration = max(v.duration, s.Duration)
	v.own(s.Attrs)
	v.sources[source{s.Resource, s.Scope}]++
	v.note("status_message", s.StatusMessage != "")
	v.note("trace_state", s.TraceState != "")
	v.note("flags", s.Flags != 0)
	if len(s.Events) > 0 {
		v.fixed["events"], v.fixed["event_names"] = true, true
	}
	if len(s.Links) > 0 {
		v.fixed["links"], v.fixed["link_ids"] = true, true
	}
	v.note("dropped_attributes", s.DroppedAttrs != 0)
	v.note("dropped_events", s.DroppedEvents != 0)
	v.note("dropped_links", s.DroppedLinks != 0)
}

// log notes one log record.
func (v *survey) log(l *model.LogRecord) {
	v.time(l.Time)
	v.rows++
	v.own(l.Attrs)
	v.sources[source{l.Resource, l.Scope}]++
	v.note("body", l.Body.Kind() != model.KindEmpty)
	v.note("rest", !plainBody(l.Body))
	v.note("severity_text", l.SeverityText != "")
	v.note("event_name", l.EventName != "")
	v.note("flags", l.Flags != 0)
	v.note("dropped_attributes", l.DroppedAttrs != 0)
}

// plainBody tells whether the column body alone says all of a log's body.
func plainBody(v model.Value) bool {
	return v.Kind() == model.KindEmpty || v.Kind() == model.KindString && typeOf(v) == typeText
}

// note remembers that an optional column is needed.
func (v *survey) note(column string, needed bool) {
	if needed && !v.fixed[column] {
		v.fixed[column] = true
	}
}

// block notes all rows of a block by its layout.
func (v *survey) block(l *layout) {
	if l.Rows == 0 {
		return
	}
	v.time(l.MinTime)
	v.rows++ // so that the second time compares
	v.time(l.MaxTime)
	v.rows += l.Rows - 1
	v.duration = max(v.duration, l.MaxDuration)
	for _, c := range l.Columns {
		if p, key, ok := splitName(c.Name); ok {
			v.count(p, key, c.Type, c.Rows)
		}
	}
	for name, c := range l.Rest {
		if p, key, ok := splitName(name); ok {
			for t, n := range c {
				if n > 0 {
					v.count(p, unclean(key), columnType(t), n)
				}
			}
		}
	}
	for s, n := range l.Services {
		v.services[s] += n
	}
	for _, f := range l.Fixed {
		v.fixed[f] = true
	}
	v.more = v.more || l.RestMore
	v.moreSvc = v.moreSvc || l.ServicesMore
}

// splitName parts a column's name into the number of its prefix and the attribute's key.
func splitName(name string) (prefix int, key string, ok bool) {
	for i, p := range prefixes {
		if k, found := strings.CutPrefix(name, p); found {
			return i, k, true
		}
	}
	return 0, "", false
}

// layout decides which attributes get columns. It is called once, after everything was noted.
func (v *survey) layout() *layout {
	for src, n := range v.sources {
		v.services[clean(src.resource.Service)] += n
		v.attrs(1, src.resource.Attrs, n)
		v.note("resource_schema", src.resource.SchemaURL != "")
		if src.scope != nil {
			v.attrs(2, src.scope.Attrs, n)
			v.fixed["scope_name"] = true // also when it is empty: a row without a scope has none
			v.note("scope_version", src.scope.Version != "")
			v.note("scope_schema", src.scope.SchemaURL != "")
		}
	}
	l := &layout{Version: layoutVersion, Rows: v.rows, MinTime: v.min, MaxTime: v.max, MaxDuration: v.duration,
		RestMore: v.more, ServicesMore: v.moreSvc}

	var candidates []attrColumn
	for p, keys := range v.keys {
		for key, c := range keys {
			t := c.best()
			if c[t] == 0 || c[t] < min(rareRows, v.rows/rareShare) || !nameable(key) {
				continue
			}
			candidates = append(candidates, attrColumn{prefixes[p] + key, t, c[t]})
		}
	}
	slices.SortFunc(candidates, func(a, b attrColumn) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), strings.Compare(a.Name, b.Name))
	})
	// SQL ignores the case of names, so of keys that differ by case only the most frequent gets a column.
	taken := map[string]bool{}
	for _, c := range candidates {
		if folded := fold(c.Name); !taken[folded] && len(l.Columns) < maxColumns {
			taken[folded] = true
			l.Columns = append(l.Columns, c)
		}
	}
	slices.SortFunc(l.Columns, func(a, b attrColumn) int { return strings.Compare(a.Name, b.Name) })

	for p, keys := range v.keys {
		for key, c := range keys {
			left := *c
			if col := l.column(prefixes[p] + key); col != nil {
				left[col.Type] = 0
			}
			if left == (counts{}) {
				continue
			}
			if len(l.Rest) == maxListed {
				l.RestMore = true
				break
			}
			if l.Rest == nil {
				l.Rest = map[string]counts{}
			}
			l.Rest[prefixes[p]+clean(key)] = left
		}
	}
	v.note("rest", len(l.Rest) > 0 || l.RestMore)
	for _, c := range fixedColumns[v.signal] {
		if c.optional && v.fixed[c.name] {
			l.Fixed = append(l.Fixed, c.name)
		}
	}
	l.Services = v.services
	if len(l.Services) > maxListed {
		l.Services, l.ServicesMore = nil, true
	}
	return l
}

// nameable tells whether a key can be part of a column's name.
func nameable(key string) bool {
	return len(key) <= maxKeyLen && utf8.ValidString(key) && !strings.HasPrefix(key, notUTF8) &&
		!strings.ContainsFunc(key, unicode.IsControl)
}

// fold is what SQL compares names by, or stricter.
func fold(name string) string { return strings.ToLower(name) }

// column finds an attribute's column by its exact name.
func (l *layout) column(name string) *attrColumn {
	i, ok := slices.BinarySearchFunc(l.Columns, name, func(c attrColumn, n string) int { return strings.Compare(c.Name, n) })
	if !ok {
		return nil
	}
	return &l.Columns[i]
}

// inRest tells whether rows may have a value of the name in the column rest.
func (l *layout) inRest(name string) bool {
	_, ok := l.Rest[name]
	return ok || l.RestMore && l.has("rest")
}

// has tells whether an optional fixed column is there.
func (l *layout) has(column string) bool { return slices.Contains(l.Fixed, column) }

// mayHave tells whether rows of a service may be in the block.
func (l *layout) mayHave(service string) bool {
	return l.ServicesMore || l.Services[clean(service)] > 0
}

// encode writes the layout for the Parquet footer.
func (l *layout) encode() (string, error) {
	b, err := json.Marshal(l)
	return string(b), err
}

// parseLayout reads what encode writes.
func parseLayout(text string) (*layout, error) {
	l := new(layout)
	if err := json.Unmarshal([]byte(text), l); err != nil {
		return nil, fmt.Errorf("read block metadata: %w", err)
	}
	if l.Version != layoutVersion {
		return nil, fmt.Errorf("read block metadata: version %d, this program reads %d", l.Version, layoutVersion)
	}
	return l, nil
}

// filterSize is the size of the filters in the file.
func (l *layout) filterSize() int64 {
	if l.Filters == nil {
		return 0
	}
	return l.Filters.Size
}

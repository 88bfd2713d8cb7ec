package events

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"path/filepath"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"triage/internal/model"
)

const (
	rowGroupRows = 100_000  // measured: smaller groups cost more in footers than they save in pruning
	batchRows    = 4096     // rows between looks at whether to stop
	pageBytes    = 64 << 10 // about, of a column: what is read at least to read one row
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockWriter writes rows, which must come in order of time, into one Parquet file of a layout. It is not safe for
// concurrent use.
//
// Rows are collected by the row group, so that texts can be given to the Parquet writer as numbers into a dictionary
// (textColumn). What a row group's dictionary would not serve is known when the first is full, and only then is the
// Parquet writer made.
type blockWriter struct {
	signal signal
	layout *layout
	schema *arrow.Schema
	out    *pqarrow.FileWriter // nil, as schema, until the first row group is full
	file   File
	buf    *bufio.Writer
	sum    hash.Hash32
	size   int64
	meta   uint32 // checksum of the metadata, once that is written
	disk   FS
	name   string

	columns []column       // all, in the schema's order
	byName  map[string]int // in columns
	// What nearly every row has.
	ts, observed, duration                        *array.Int64Builder
	traceHi, traceLo, spanID, parentID, templates *array.Uint64Builder
	kind, status, severity                        *array.Uint8Builder
	service, operation, severityText              *textColumn
	// optional and texts are the fixed columns that are missing from most rows.
	optional map[string]array.Builder
	texts    map[string]*textColumn
	rest     *array.MapBuilder
	attrs    [len(prefixes)]map[string]*attrColumnWriter
	recent   textCache[*attrColumnWriter] // of own attributes' keys
	sources  map[source]*sourceCells
	filters  *filterWriter   // nil for a block without filters
	sketches sketches        // nil for a block without
	held     *bytes.Buffer   // if not nil, what the Parquet writer writes, while filters wait for the place before the footer
	row      int             // rows in the present row group
	earlier  int64           // rows in the row groups before it
	written  map[string]bool // keys of the present row's rest
}

// column is one column of the file: an Arrow builder, or a textColumn.
type column struct {
	field   arrow.Field
	builder array.Builder
	text    *textColumn
	plain   bool // of a builder: without a dictionary
	dense   bool // most rows have a value
}

// attrColumnWriter is where an attribute's values go.
type attrColumnWriter struct {
	typ columnType
	// exact tells that all values of the key are of the type, so that none has to be looked at.
	exact bool
	b     array.Builder
	text  *textColumn
}

// takes tells whether a value fits into the column.
func (c *attrColumnWriter) takes(v model.Value) bool { return c.exact || c.typ == typeOf(v) }

// len is the number of rows that the column has so far.
func (c *attrColumnWriter) len() int {
	if c.text != nil {
		return c.text.len()
	}
	return c.b.Len()
}

// own is the column of one of the row's own attributes, nil if it has none.
func (w *blockWriter) own(key string) *attrColumnWriter {
	slot, known := w.recent.slot(key)
	if !known {
		*slot = w.attrs[0][key]
	}
	return *slot
}

// sourceCells is what every row of one resource and scope repeats, resolved to columns once.
type sourceCells struct {
	cells []cell
	rest  []restEntry
}

// cell is a value and where it goes.
type cell struct {
	column *attrColumnWriter
	value  model.Value
	code   textCode
}

type restEntry struct{ name, typed string }

// newBlockWriter begins a file under a temporary name.
func newBlockWriter(disk FS, name string, s signal, l *layout) (*blockWriter, error) {
	w := &blockWriter{signal: s, layout: l, disk: disk, name: name, optional: map[string]array.Builder{}, texts: map[string]*textColumn{},
		sources: map[source]*sourceCells{}, written: map[string]bool{}, sum: crc32.New(castagnoli), filters: &filterWriter{}}
	for _, c := range fixedColumns[s] {
		if c.optional && !l.has(c.name) {
			continue
		}
		w.fixedColumn(c)
	}
	w.nameColumns()
	for i := range w.attrs {
		w.attrs[i] = map[string]*attrColumnWriter{}
	}
	for _, c := range l.Columns {
		p, key, _ := splitName(c.Name)
		// The layout says of every other value of the key that it is in rest.
		a := &attrColumnWriter{typ: c.Type, exact: !l.RestMore && !l.inRest(prefixes[p]+clean(key))}
		col := column{field: arrow.Field{Name: c.Name, Type: c.Type.arrow(), Nullable: true}, dense: 2*c.Rows > l.Rows}
		if c.Type == typeText {
			a.text = newTextColumn()
			col.text = a.text
		} else {
			a.b = array.NewBuilder(memory.DefaultAllocator, col.field.Type)
			col.builder = a.b
		}
		w.attrs[p][key] = a
		w.columns = append(w.columns, col)
	}
	w.byName = make(map[string]int, len(w.columns))
	for i := range w.columns {
		w.byName[w.columns[i].field.Name] = i
	}
	f, err := disk.Create(name + ".tmp")
	if err != nil {
		return nil, fmt.Errorf("create block: %w", err)
	}
	w.file = f
	w.reserve()
	w.buf = bufio.NewWriterSize(countingWriter{w}, 256<<10)
	return w, nil
}

// fixedColumn makes one of the fixed columns.
func (w *blockWriter) fixedColumn(c fixedColumn) {
	col := column{field: arrow.Field{Name: c.name, Type: c.typ, Nullable: c.optional}, plain: c.plain, dense: !c.optional}
	if c.typ.ID() == arrow.STRING && !c.plain {
		col.text = newTextColumn()
		w.texts[c.name] = col.text
		w.columns = append(w.columns, col)
		return
	}
	col.builder = array.NewBuilder(memory.DefaultAllocator, c.typ)
	w.columns = append(w.columns, col)
	w.optional[c.name] = col.builder
}

// builderOf is a fixed column's builder, nil if the signal has no such column.
func builderOf[B array.Builder](w *blockWriter, name string) B {
	b, _ := w.optional[name].(B)
	return b
}

// nameColumns finds the columns that nearly every row has.
func (w *blockWriter) nameColumns() {
	w.service, w.operation, w.severityText = w.texts["service"], w.texts["name"], w.texts["severity_text"]
	w.ts, w.observed, w.duration = builderOf[*array.Int64Builder](w, "ts"), builderOf[*array.Int64Builder](w, "observed"),
		builderOf[*array.Int64Builder](w, "duration")
	w.traceHi, w.traceLo = builderOf[*array.Uint64Builder](w, "trace_hi"), builderOf[*array.Uint64Builder](w, "trace_lo")
	w.spanID, w.parentID = builderOf[*array.Uint64Builder](w, "span_id"), builderOf[*array.Uint64Builder](w, "parent_id")
	w.templates = builderOf[*array.Uint64Builder](w, "template")
	w.kind, w.status, w.severity = builderOf[*array.Uint8Builder](w, "kind"), builderOf[*array.Uint8Builder](w, "status"),
		builderOf[*array.Uint8Builder](w, "severity")
	w.rest = builderOf[*array.MapBuilder](w, "rest")
}

// open makes the Parquet writer. The rows collected so far decide which texts get a dictionary.
func (w *blockWriter) open() error {
	properties := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(1),
		parquet.WithMaxRowGroupLength(rowGroupRows), parquet.WithBloomFilterEnabled(false),
		parquet.WithDataPageSize(pageBytes), parquet.WithPageIndexEnabled(true),
		parquet.WithVersion(parquet.V2_LATEST), parquet.WithDataPageVersion(parquet.DataPageV1),
		parquet.WithCreatedBy("triage"), parquet.WithMaxStatsSize(256),
		parquet.WithEncodingFor("ts", parquet.Encodings.DeltaBinaryPacked),
	}
	fields := make([]arrow.Field, len(w.columns))
	for i := range w.columns {
		c := &w.columns[i]
		if c.text != nil {
			c.text.settle()
			if c.plain = c.text.plain != nil; !c.plain {
				c.field.Type = dictionaryType
			}
			// The least and greatest text of many services' rows rule hardly any row group out, and cost as much as writing it.
			properties = append(properties, parquet.WithStatsFor(c.field.Name, false))
		}
		if c.plain {
			properties = append(properties, parquet.WithDictionaryFor(c.field.Name, false))
		}
		fields[i] = c.field
	}
	w.schema = arrow.NewSchema(fields, nil)
	out, err := pqarrow.NewFileWriter(w.schema, parquetSink{w}, parquet.NewWriterProperties(properties...),
		pqarrow.DefaultWriterProps())
	if err != nil {
		return fmt.Errorf("begin block: %w", err)
	}
	w.out = out
	return nil
}

// countingWriter passes a block's bytes to its file and keeps their number and checksum.
type countingWriter struct{ w *blockWriter }

func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.file.Write(p)
	c.w.sum.Write(p[:n])
	c.w.size += int64(n)
	return n, err
}

// reserve makes room for the next row group, so that columns don't grow by copying.
func (w *blockWriter) reserve() {
	rows := int(min(rowGroupRows, w.layout.Rows-w.earlier))
	for i := range w.columns {
		switch c := &w.columns[i]; {
		case !c.dense || rows <= 0:
		case c.text != nil:
			c.text.reserve(rows)
		default:
			c.builder.Reserve(rows)
		}
	}
}

// parquetSink takes what the Parquet writer writes.
type parquetSink struct{ w *blockWriter }

func (s parquetSink) Write(p []byte) (int, error) {
	if s.w.held != nil {
		return s.w.held.Write(p)
	}
	return s.w.buf.Write(p)
}

// at brings a column up to the present row, with nulls where earlier rows had no value.
func (w *blockWriter) at(b array.Builder) array.Builder { return upTo(w.row, b) }

// upTo brings a builder up to a row, with nulls.
func upTo(row int, b array.Builder) array.Builder {
	if missing := row - b.Len(); missing > 0 {
		b.AppendNulls(missing)
	}
	return b
}

// optionalText writes text that is mostly empty.
func (w *blockWriter) optionalText(name, v string) {
	if v == "" {
		return
	}
	if t := w.texts[name]; t != nil {
		t.append(w.row, clean(v))
		return
	}
	w.at(w.optional[name]).(*array.StringBuilder).Append(clean(v))
}

func (w *blockWriter) optionalUint32(name string, v uint32) {
	if v != 0 {
		w.at(w.optional[name]).(*array.Uint32Builder).Append(v)
	}
}

// span writes one span.
func (w *blockWriter) span(s *model.Span) error {
	src := w.source(s.Resource, s.Scope)
	w.ts.Append(s.Start)
	w.traceHi.Append(s.TraceID.Hi())
	w.traceLo.Append(s.TraceID.Lo())
	w.spanID.Append(s.SpanID.Uint64())
	w.parentID.Append(s.ParentID.Uint64())
	w.operation.append(w.row, clean(s.Name))
	w.kind.Append(uint8(s.Kind))
	w.status.Append(uint8(s.Status))
	w.duration.Append(s.Duration)
	w.optionalText("status_message", s.StatusMessage)
	w.optionalText("trace_state", s.TraceState)
	w.optionalUint32("flags", s.Flags)
	w.optionalUint32("dropped_attributes", s.DroppedAttrs)
	w.optionalUint32("dropped_events", s.DroppedEvents)
	w.optionalUint32("dropped_links", s.DroppedLinks)
	if len(s.Events) > 0 {
		text, err := eventsText(s.Events)
		if err != nil {
			return fmt.Errorf("encode events of span %s: %w", s.SpanID, err)
		}
		w.optionalText("events", text)
		names := make([]string, len(s.Events))
		for i := range s.Events {
			names[i] = strings.ToValidUTF8(s.Events[i].Name, "\ufffd")
		}
		w.optionalText("event_names", strings.Join(names, "\n"))
	}
	if len(s.Links) > 0 {
		text, err := linksText(s.Links)
		if err != nil {
			return fmt.Errorf("encode links of span %s: %w", s.SpanID, err)
		}
		w.optionalText("links", text)
		list := w.at(w.optional["link_ids"]).(*array.ListBuilder)
		list.Append(true)
		ids := list.ValueBuilder().(*array.Uint64Builder)
		for _, l := range s.Links[:min(len(s.Links), maxLinksListed)] {
			ids.Append(l.TraceID.Hi())
			ids.Append(l.TraceID.Lo())
			ids.Append(l.SpanID.Uint64())
		}
	}
	w.finishRow(src, s.Attrs, nil)
	return w.maybeFlush()
}

// log writes one log record.
func (w *blockWriter) log(l *model.LogRecord) error {
	src := w.source(l.Resource, l.Scope)
	w.ts.Append(l.Time)
	w.observed.Append(l.Observed)
	w.traceHi.Append(l.TraceID.Hi())
	w.traceLo.Append(l.TraceID.Lo())
	w.spanID.Append(l.SpanID.Uint64())
	w.severity.Append(uint8(l.Severity))
	w.templates.Append(l.Template)
	var extra []restEntry
	if l.Body.Kind() != model.KindEmpty {
		w.at(w.optional["body"]).(*array.StringBuilder).Append(strings.ToValidUTF8(l.Body.String(), "\ufffd"))
		if !plainBody(l.Body) {
			extra = []restEntry{{fixedPrefix + "body", typedText(l.Body)}}
		}
	}
	if l.SeverityText != "" {
		w.severityText.append(w.row, clean(l.SeverityText))
	}
	w.optionalText("event_name", l.EventName)
	w.optionalUint32("flags", l.Flags)
	w.optionalUint32("dropped_attributes", l.DroppedAttrs)
	w.finishRow(src, l.Attrs, extra)
	return w.maybeFlush()
}

// source resolves what rows of a resource and scope repeat.
func (w *blockWriter) source(r *model.Resource, s *model.Scope) *sourceCells {
	key := source{r, s}
	if c := w.sources[key]; c != nil {
		return c
	}
	c := &sourceCells{}
	text := func(name, v string) {
		c.cells = append(c.cells, cell{column: &attrColumnWriter{typ: typeText, exact: true, text: w.texts[name]}, value: model.String(clean(v))})
	}
	resolve := func(prefix int, attrs model.Attrs) {
		for _, a := range attrs {
			if to := w.attrs[prefix][a.Key]; to != nil && to.takes(a.Value) {
				c.cells = append(c.cells, cell{column: to, value: a.Value})
			} else {
				c.rest = append(c.rest, restEntry{prefixes[prefix] + clean(a.Key), typedText(a.Value)})
			}
		}
	}
	text("service", r.Service)
	resolve(1, r.Attrs)
	if r.SchemaURL != "" {
		text("resource_schema", r.SchemaURL)
	}
	if s != nil {
		resolve(2, s.Attrs)
		text("scope_name", s.Name)
		if s.Version != "" {
			text("scope_version", s.Version)
		}
		if s.SchemaURL != "" {
			text("scope_schema", s.SchemaURL)
		}
	}
	if len(w.sources) >= maxSources {
		clear(w.sources)
	}
	w.sources[key] = c
	return c
}

// finishRow writes the attributes and counts the row.
func (w *blockWriter) finishRow(src *sourceCells, attrs model.Attrs, extra []restEntry) {
	for i := range src.cells {
		c := &src.cells[i]
		if t := c.column.text; t != nil {
			t.repeat(w.row, c.value.Str(), &c.code)
		} else {
			w.append(c.column, c.value)
		}
	}
	for i := range attrs {
		to := w.own(attrs[i].Key)
		if to != nil && to.takes(attrs[i].Value) && to.len() <= w.row {
			w.append(to, attrs[i].Value)
		} else {
			extra = append(extra, restEntry{ownPrefix + clean(attrs[i].Key), typedText(attrs[i].Value)})
		}
	}
	if len(src.rest)+len(extra) > 0 {
		w.at(w.rest)
		w.rest.Append(true)
		keys, items := w.rest.KeyBuilder().(*array.StringBuilder), w.rest.ItemBuilder().(*array.StringBuilder)
		clear(w.written)
		for _, entries := range [...][]restEntry{src.rest, extra} {
			for _, e := range entries {
				if w.written[e.name] {
					continue // a map has each key once
				}
				w.written[e.name] = true
				keys.Append(e.name)
				items.Append(e.typed)
			}
		}
	}
	w.row++
}

// append writes a value into the column of its type.
func (w *blockWriter) append(c *attrColumnWriter, v model.Value) {
	if c.text != nil {
		c.text.append(w.row, v.Str())
		return
	}
	w.at(c.b)
	switch c.typ {
	case typeInt:
		c.b.(*array.Int64Builder).Append(v.Int())
	case typeDouble:
		c.b.(*array.Float64Builder).Append(v.Double())
	case typeBool:
		c.b.(*array.BooleanBuilder).Append(v.Bool())
	}
}

func (w *blockWriter) maybeFlush() error {
	if w.row < rowGroupRows {
		return nil
	}
	return w.flush()
}

// flush hands the rows collected to the Parquet writer as a row group.
func (w *blockWriter) flush() error {
	if w.row == 0 {
		return nil
	}
	if w.out == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	arrays := make([]arrow.Array, len(w.columns))
	for i := range w.columns {
		if c := &w.columns[i]; c.text != nil {
			arrays[i] = c.text.array(w.row)
		} else {
			arrays[i] = w.at(c.builder).NewArray()
		}
	}
	if w.filters != nil {
		w.filters.group(w.columns, arrays)
	}
	if w.sketches != nil {
		w.sketches.group(w.columns, arrays)
	}
	batch := array.NewRecordBatch(w.schema, arrays, int64(w.row))
	err := w.out.WriteBuffered(batch)
	batch.Release()
	for _, a := range arrays {
		a.Release()
	}
	w.earlier += int64(w.row)
	w.row = 0
	w.reserve()
	if err != nil {
		return diskError("write block "+filepath.Base(w.name), err)
	}
	return nil
}

// close finishes the file. Durable files are synced; all appear under their name only when whole.
func (w *blockWriter) close(durable bool) error {
	err := w.flush()
	if err == nil && w.out == nil {
		err = w.open()
	}
	var sections [][]byte
	if content := w.sketches.encode(); err == nil && content != nil {
		s := sectionOf(content)
		w.layout.Sketches, sections = &s, append(sections, content)
	}
	if err == nil && w.filters != nil {
		w.layout.Filters = &filterSection{sectionOf(w.filters.section), rowGroupRows}
		sections = append(sections, w.filters.section)
	}
	if len(sections) > 0 {
		// The last row group's columns and the footer come at once, so the sections have to be put between them.
		w.held = &bytes.Buffer{}
	}
	if err == nil {
		var text string
		if text, err = w.layout.encode(); err == nil {
			w.meta = crc32.Checksum([]byte(text), castagnoli)
			err = w.out.AppendKeyValueMetadata(metadataKey, text)
		}
	}
	if w.out != nil {
		err = errors.Join(err, w.out.Close())
	}
	if err == nil && w.held != nil {
		var end []byte
		if end, err = insertBeforeFooter(w.held.Bytes(), sections...); err == nil {
			_, err = w.buf.Write(end)
		}
	}
	if err == nil {
		err = w.buf.Flush()
	}
	if err == nil && durable {
		err = w.file.Sync()
	}
	err = errors.Join(err, w.file.Close())
	if err == nil {
		err = w.disk.Rename(w.name+".tmp", w.name)
	}
	if err == nil && durable {
		err = w.disk.SyncDir(filepath.Dir(w.name))
	}
	if err != nil {
		return errors.Join(diskError("finish block "+filepath.Base(w.name), err), ignoreMissing(w.disk.Remove(w.name+".tmp")))
	}
	return nil
}

// abort drops a file that was begun.
func (w *blockWriter) abort() {
	if w.out != nil {
		_ = w.out.Close()
	}
	_ = w.file.Close()
	_ = w.disk.Remove(w.name + ".tmp")
}

package events

import (
	"bufio"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
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
	rowGroupRows = 100_000 // measured: smaller groups cost more in footers than they save in pruning
	batchRows    = 4096    // rows turned into Arrow arrays at a time
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockWriter writes rows, which must come in order of time, into one Parquet file of a layout. It is not safe for
// concurrent use.
type blockWriter struct {
	signal signal
	layout *layout
	schema *arrow.Schema
	out    *pqarrow.FileWriter
	file   File
	buf    *bufio.Writer
	sum    hash.Hash32
	size   int64
	disk   FS
	name   string

	columns []array.Builder // all, in the schema's order
	fixed   map[string]array.Builder
	rest    *array.MapBuilder
	attrs   [len(prefixes)]map[string]attrBuilder
	sources map[source]*sourceCells
	row     int             // rows in the present batch
	written map[string]bool // keys of the present row's rest
}

// attrBuilder is where an attribute's values go.
type attrBuilder struct {
	typ columnType
	b   array.Builder
}

// sourceCells is what every row of one resource and scope repeats, resolved to columns once.
type sourceCells struct {
	service string
	cells   []cell
	rest    []restEntry
}

type cell struct {
	attrBuilder
	value model.Value
}

type restEntry struct{ name, typed string }

// newBlockWriter begins a file under a temporary name.
func newBlockWriter(disk FS, name string, s signal, l *layout) (*blockWriter, error) {
	w := &blockWriter{signal: s, layout: l, disk: disk, name: name, fixed: map[string]array.Builder{},
		sources: map[source]*sourceCells{}, written: map[string]bool{}, sum: crc32.New(castagnoli)}
	properties := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(1),
		parquet.WithMaxRowGroupLength(rowGroupRows), parquet.WithBloomFilterEnabled(false),
		parquet.WithVersion(parquet.V2_LATEST), parquet.WithDataPageVersion(parquet.DataPageV1),
		parquet.WithCreatedBy("triage"), parquet.WithMaxStatsSize(256),
		parquet.WithEncodingFor("ts", parquet.Encodings.DeltaBinaryPacked),
	}
	var fields []arrow.Field
	add := func(f arrow.Field) array.Builder {
		b := array.NewBuilder(memory.DefaultAllocator, f.Type)
		fields, w.columns = append(fields, f), append(w.columns, b)
		return b
	}
	for _, c := range fixedColumns[s] {
		if c.optional && !l.has(c.name) {
			continue
		}
		w.fixed[c.name] = add(arrow.Field{Name: c.name, Type: c.typ, Nullable: c.optional})
		if c.plain {
			properties = append(properties, parquet.WithDictionaryFor(c.name, false))
		}
	}
	if b, ok := w.fixed["rest"]; ok {
		w.rest = b.(*array.MapBuilder)
	}
	for i := range w.attrs {
		w.attrs[i] = map[string]attrBuilder{}
	}
	for _, c := range l.Columns {
		p, key, _ := splitName(c.Name)
		w.attrs[p][key] = attrBuilder{c.Type, add(arrow.Field{Name: c.Name, Type: c.Type.arrow(), Nullable: true})}
	}
	w.schema = arrow.NewSchema(fields, nil)

	f, err := disk.Create(name + ".tmp")
	if err != nil {
		return nil, fmt.Errorf("create block: %w", err)
	}
	w.file = f
	w.buf = bufio.NewWriterSize(countingWriter{w}, 256<<10)
	w.out, err = pqarrow.NewFileWriter(w.schema, struct{ io.Writer }{w.buf}, parquet.NewWriterProperties(properties...),
		pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin block: %w", err), f.Close(), disk.Remove(name+".tmp"))
	}
	return w, nil
}

// countingWriter passes a block's bytes to its file and keeps their number and checksum.
type countingWriter struct{ w *blockWriter }

func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.file.Write(p)
	c.w.sum.Write(p[:n])
	c.w.size += int64(n)
	return n, err
}

// at brings a column up to the present row, with nulls where earlier rows had no value.
func (w *blockWriter) at(b array.Builder) array.Builder {
	if missing := w.row - b.Len(); missing > 0 {
		b.AppendNulls(missing)
	}
	return b
}

func (w *blockWriter) int64(name string, v int64)   { w.fixed[name].(*array.Int64Builder).Append(v) }
func (w *blockWriter) uint64(name string, v uint64) { w.fixed[name].(*array.Uint64Builder).Append(v) }
func (w *blockWriter) uint8(name string, v uint8)   { w.fixed[name].(*array.Uint8Builder).Append(v) }
func (w *blockWriter) text(name, v string)          { w.fixed[name].(*array.StringBuilder).Append(v) }

// optionalText writes text that is mostly empty.
func (w *blockWriter) optionalText(name, v string) {
	if v != "" {
		w.at(w.fixed[name]).(*array.StringBuilder).Append(clean(v))
	}
}

func (w *blockWriter) optionalUint32(name string, v uint32) {
	if v != 0 {
		w.at(w.fixed[name]).(*array.Uint32Builder).Append(v)
	}
}

// span writes one span.
func (w *blockWriter) span(s *model.Span) error {
	src := w.source(s.Resource, s.Scope)
	w.int64("ts", s.Start)
	w.uint64("trace_hi", s.TraceID.Hi())
	w.uint64("trace_lo", s.TraceID.Lo())
	w.uint64("span_id", s.SpanID.Uint64())
	w.uint64("parent_id", s.ParentID.Uint64())
	w.text("service", src.service)
	w.text("name", clean(s.Name))
	w.uint8("kind", uint8(s.Kind))
	w.uint8("status", uint8(s.Status))
	w.int64("duration", s.Duration)
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
		list := w.at(w.fixed["link_ids"]).(*array.ListBuilder)
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
	w.int64("ts", l.Time)
	w.int64("observed", l.Observed)
	w.uint64("trace_hi", l.TraceID.Hi())
	w.uint64("trace_lo", l.TraceID.Lo())
	w.uint64("span_id", l.SpanID.Uint64())
	w.uint8("severity", uint8(l.Severity))
	w.text("service", src.service)
	w.uint64("template", l.Template)
	var extra []restEntry
	if l.Body.Kind() != model.KindEmpty {
		w.at(w.fixed["body"]).(*array.StringBuilder).Append(strings.ToValidUTF8(l.Body.String(), "\ufffd"))
		if !plainBody(l.Body) {
			extra = []restEntry{{fixedPrefix + "body", typedText(l.Body)}}
		}
	}
	w.optionalText("severity_text", l.SeverityText)
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
	c := &sourceCells{service: clean(r.Service)}
	resolve := func(prefix int, attrs model.Attrs) {
		for _, a := range attrs {
			if b, ok := w.attrs[prefix][a.Key]; ok && b.typ == typeOf(a.Value) {
				c.cells = append(c.cells, cell{b, a.Value})
			} else {
				c.rest = append(c.rest, restEntry{prefixes[prefix] + clean(a.Key), typedText(a.Value)})
			}
		}
	}
	resolve(1, r.Attrs)
	text := func(name, v string) {
		c.cells = append(c.cells, cell{attrBuilder{typeText, w.fixed[name]}, model.String(clean(v))})
	}
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
		w.append(src.cells[i].attrBuilder, src.cells[i].value)
	}
	for i := range attrs {
		b, ok := w.attrs[0][attrs[i].Key]
		if ok && b.typ == typeOf(attrs[i].Value) && b.b.Len() <= w.row {
			w.append(b, attrs[i].Value)
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
func (w *blockWriter) append(b attrBuilder, v model.Value) {
	w.at(b.b)
	switch b.typ {
	case typeText:
		b.b.(*array.StringBuilder).Append(v.Str())
	case typeInt:
		b.b.(*array.Int64Builder).Append(v.Int())
	case typeDouble:
		b.b.(*array.Float64Builder).Append(v.Double())
	case typeBool:
		b.b.(*array.BooleanBuilder).Append(v.Bool())
	}
}

func (w *blockWriter) maybeFlush() error {
	if w.row < batchRows {
		return nil
	}
	return w.flush()
}

// flush hands the rows collected to the Parquet writer.
func (w *blockWriter) flush() error {
	if w.row == 0 {
		return nil
	}
	arrays := make([]arrow.Array, len(w.columns))
	for i, b := range w.columns {
		arrays[i] = w.at(b).NewArray()
	}
	batch := array.NewRecordBatch(w.schema, arrays, int64(w.row))
	err := w.out.WriteBuffered(batch)
	batch.Release()
	for _, a := range arrays {
		a.Release()
	}
	w.row = 0
	if err != nil {
		return diskError("write block "+filepath.Base(w.name), err)
	}
	return nil
}

// close finishes the file. Durable files are synced; all appear under their name only when whole.
func (w *blockWriter) close(durable bool) error {
	err := w.flush()
	if err == nil {
		var text string
		if text, err = w.layout.encode(); err == nil {
			err = w.out.AppendKeyValueMetadata(metadataKey, text)
		}
	}
	err = errors.Join(err, w.out.Close())
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
	_ = w.out.Close()
	_ = w.file.Close()
	_ = w.disk.Remove(w.name + ".tmp")
}

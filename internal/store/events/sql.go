package events

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
)

// Users' SQL never runs in this process: a query can use more memory than any limit of DuckDB's covers, and what it may
// touch should not rest on one check. A child process of the same binary runs one query in a database of its own, with
// nothing in its environment and limits set by the system, and is killed when its time is over.

// SQLError is the query's own fault: it is malformed, not allowed, or went past a limit.
type SQLError struct{ Message string }

func (e *SQLError) Error() string { return "SQL: " + e.Message }

// SQLLimits bound one query. Zero fields take their default.
type SQLLimits struct {
	Rows        int           `json:"rows"`         // default 10,000
	Bytes       int64         `json:"bytes"`        // of the answer; default 16 MiB
	Time        time.Duration `json:"time"`         // default 30 s
	MemoryLimit int64         `json:"memory_limit"` // default 512 MiB
	Threads     int           `json:"threads"`      // default 2
}

func (l SQLLimits) withDefaults() SQLLimits {
	return SQLLimits{Rows: cmp.Or(l.Rows, 10_000), Bytes: cmp.Or(l.Bytes, 16<<20), Time: cmp.Or(l.Time, 30*time.Second),
		MemoryLimit: cmp.Or(l.MemoryLimit, 512<<20), Threads: cmp.Or(l.Threads, 2)}
}

// SQLResult is the answer to a query. Values are what JSON has: numbers, text, truth values, null, lists and objects;
// times are RFC 3339, numbers that JSON cannot write are text.
type SQLResult struct {
	Columns []string `json:"columns"`
	Types   []string `json:"types"`
	Rows    [][]any  `json:"rows"`
	// Truncated tells that a limit cut off rows.
	Truncated bool `json:"truncated"`
	// Partial, if not empty, says why rows may be missing.
	Partial string `json:"partial,omitempty"`
}

// sqlRequest is what the child reads, sqlAnswer what it writes.
type sqlRequest struct {
	Query  string            `json:"query"`
	Limits SQLLimits         `json:"limits"`
	Views  map[string]string `json:"views"`
	Paths  []string          `json:"paths"`
	Tmp    string            `json:"tmp"`
}

type sqlAnswer struct {
	SQLResult
	Error string `json:"error,omitempty"`
}

const (
	sqlChildren = 2   // queries at once; further ones wait
	sqlColumns  = 500 // attribute columns of a view
	// childBase is what the child takes before it runs anything. DuckDB may take twice its limit before it gives up.
	childBase = 128 << 20
	// SQLChildCommand is the only argument of the child: main must call SQLChildMain when it sees it.
	SQLChildCommand = "sql-child"
)

// SQL runs a user's query over the views spans and logs of a tenant, read-only. Each has the fixed columns and one column
// for each attribute, under its original name: the row's own, or the resource's where no row has its own.
func (s *Store) SQL(ctx context.Context, tenant, query string, limits SQLLimits) (SQLResult, error) {
	end, err := s.begin(ctx, "sql")
	if err != nil {
		return SQLResult{}, err
	}
	defer end()
	limits = limits.withDefaults()
	select {
	case s.sqlSlots <- struct{}{}:
		defer func() { <-s.sqlSlots }()
	case <-ctx.Done():
		return SQLResult{}, ctx.Err()
	}
	partial := ""
	req := sqlRequest{Query: query, Limits: limits, Views: map[string]string{}}
	for _, sig := range signals {
		snap, err := s.partialSnapshot(ctx, partition{tenantOf(tenant), sig}, math.MinInt64, math.MaxInt64)
		if err != nil {
			return SQLResult{}, err
		}
		defer snap.release()
		partial = cmp.Or(partial, snap.partial)
		req.Views[sig.String()] = view(sig, snap.blocks)
		for _, b := range snap.blocks {
			req.Paths = append(req.Paths, b.path)
		}
	}
	if req.Tmp, err = os.MkdirTemp(s.dir("tmp"), "sql-"); err != nil {
		return SQLResult{}, diskError("make a directory for a query", err)
	}
	defer os.RemoveAll(req.Tmp)
	out, err := runChild(ctx, req)
	out.Partial = partial
	return out, err
}

// runChild starts the child, hands it the request and waits for its answer, or for the end of its time.
func runChild(ctx context.Context, req sqlRequest) (SQLResult, error) {
	self, err := os.Executable()
	if err != nil {
		return SQLResult{}, fmt.Errorf("find own binary: %w", err)
	}
	in, err := json.Marshal(req)
	if err != nil {
		return SQLResult{}, fmt.Errorf("encode query: %w", err)
	}
	timed, cancel := context.WithTimeout(ctx, req.Limits.Time)
	defer cancel()
	cmd := exec.CommandContext(timed, self, SQLChildCommand)
	cmd.Env = []string{} // not nil, which would be ours
	cmd.Dir = req.Tmp
	cmd.WaitDelay = time.Second
	cmd.Stdin = bytes.NewReader(in)
	out := &limitedBuffer{limit: 2*req.Limits.Bytes + 1<<20}
	complaint := &limitedBuffer{limit: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, complaint
	if err := cmd.Start(); err != nil {
		return SQLResult{}, fmt.Errorf("start a process for a query: %w", err)
	}
	stop, watched := make(chan struct{}), make(chan bool, 1)
	go func() { watched <- killLarge(cmd.Process, 2*req.Limits.MemoryLimit+childBase, stop) }()
	err = cmd.Wait()
	close(stop)
	large := <-watched
	switch {
	case ctx.Err() != nil:
		return SQLResult{}, ctx.Err()
	case timed.Err() != nil:
		return SQLResult{}, &SQLError{fmt.Sprintf("the query took longer than %s", req.Limits.Time)}
	case err != nil && large:
		return SQLResult{}, &SQLError{fmt.Sprintf("the query needs more than %d MiB of memory", req.Limits.MemoryLimit>>20)}
	case err != nil:
		// It met one of the system's limits, or DuckDB gave up: either way the query asked for too much.
		return SQLResult{}, &SQLError{fmt.Sprintf("the query was ended (%v): %.200s", err, firstLine(complaint.String()))}
	}
	var a sqlAnswer
	d := json.NewDecoder(&out.Buffer)
	d.UseNumber()
	if err := d.Decode(&a); err != nil {
		return SQLResult{}, fmt.Errorf("read the query's answer: %w", err)
	}
	if a.Error != "" {
		return SQLResult{}, &SQLError{a.Error}
	}
	return a.SQLResult, nil
}

func firstLine(s string) string { line, _, _ := strings.Cut(s, "\n"); return line }

// limitedBuffer keeps the first bytes written to it and refuses more.
type limitedBuffer struct {
	bytes.Buffer
	limit int64
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if int64(b.Len()+len(p)) > b.limit {
		return 0, errors.New("output is too long")
	}
	return b.Buffer.Write(p)
}

// viewColumn is one column of a view, as SQL of a block.
type viewColumn struct {
	name string
	sql  func(*compiler) string
}

func plain(sql string) func(*compiler) string { return func(*compiler) string { return sql } }

func optional(name, typ string) func(*compiler) string {
	return func(c *compiler) string { return c.optional(name, typ) }
}

// names writes a CASE that gives numbers their words.
func names[T ~uint8](column string, n T, word func(T) string) func(*compiler) string {
	var b strings.Builder
	b.WriteString("CASE " + column)
	for i := range n {
		fmt.Fprintf(&b, " WHEN %d THEN %s", i, quote(word(i)))
	}
	b.WriteString(" END")
	return plain(b.String())
}

const traceText = "CASE WHEN trace_hi<>0 OR trace_lo<>0 THEN printf('%016x%016x',trace_hi,trace_lo) END"

func fixedView(sig signal) []viewColumn {
	cols := []viewColumn{
		{"time", plain("make_timestamp_ns(ts)")}, {"ts", plain("ts")}, {"service", plain("service")},
		{"trace_id", plain(traceText)}, {"span_id", plain("CASE WHEN span_id<>0 THEN printf('%016x',span_id) END")},
	}
	if sig == spans {
		cols = append(cols, viewColumn{"parent_id", plain("CASE WHEN parent_id<>0 THEN printf('%016x',parent_id) END")},
			viewColumn{"name", plain("name")}, viewColumn{"kind", names("kind", model.SpanConsumer+1, model.SpanKind.String)},
			viewColumn{"status", names("status", model.StatusError+1, model.StatusCode.String)},
			viewColumn{"status_message", optional("status_message", "VARCHAR")}, viewColumn{"duration", plain("duration")},
			viewColumn{"duration_s", plain("duration/1e9")},
			viewColumn{"events", optional("events", "VARCHAR")}, viewColumn{"links", optional("links", "VARCHAR")})
	} else {
		cols = append(cols, viewColumn{"severity", plain("severity")}, viewColumn{"level", names("severity", 25, model.Severity.String)},
			viewColumn{"body", optional("body", "VARCHAR")}, viewColumn{"template", plain("CASE WHEN template<>0 THEN printf('%016x',template) END")},
			viewColumn{"event_name", optional("event_name", "VARCHAR")})
	}
	return append(cols, viewColumn{"scope_name", optional("scope_name", "VARCHAR")})
}

// view is the SQL of a view over blocks.
func view(sig signal, bs []*block) string {
	cols := fixedView(sig)
	taken := map[string]bool{}
	for _, c := range cols {
		taken[fold(c.name)] = true
	}
	for _, a := range viewAttributes(bs) {
		name := a.key
		if taken[fold(name)] {
			name = prefixes[a.prefix] + a.key
		}
		if taken[fold(name)] {
			continue
		}
		taken[fold(name)] = true
		cols = append(cols, viewColumn{name, a.sql})
	}
	list := func(c *compiler) (string, string, bool) {
		out := make([]string, len(cols))
		for i, col := range cols {
			out[i] = col.sql(c) + " AS " + ident(col.name)
		}
		return strings.Join(out, ","), "", true
	}
	if text := union(sig, bs, list); text != "" {
		return text
	}
	// Without blocks there is nothing to read the types from, so the columns are those of a block without rows.
	var out []string
	for _, c := range fixedColumns[sig] {
		if !c.optional {
			out = append(out, fmt.Sprintf("NULL::%s AS %s", sqlType(c), ident(c.name)))
		}
	}
	columns, _, _ := list(&compiler{signal: sig, layout: &layout{}, refs: map[string]string{}})
	return fmt.Sprintf("SELECT %s FROM (SELECT %s) WHERE false", columns, strings.Join(out, ","))
}

func sqlType(c fixedColumn) string {
	switch c.typ.Name() {
	case "int64":
		return "BIGINT"
	case "uint64":
		return "UBIGINT"
	case "uint8":
		return "UTINYINT"
	}
	return "VARCHAR"
}

// viewAttribute is an attribute that becomes a column of a view.
type viewAttribute struct {
	prefix int
	key    string
	typ    columnType
	rows   int64
}

// viewAttributes are the attributes that have a column in some block: own ones before the resource's, frequent ones first.
func viewAttributes(bs []*block) []viewAttribute {
	byName := map[string]*viewAttribute{}
	for _, b := range bs {
		for _, c := range b.layout.Columns {
			p, key, _ := splitName(c.Name)
			a := byName[c.Name]
			if a == nil {
				a = &viewAttribute{prefix: p, key: key, typ: c.Type}
				byName[c.Name] = a
			}
			if a.typ != c.Type {
				a.typ = typeText
			}
			a.rows += c.Rows
		}
	}
	var out []viewAttribute
	for _, a := range byName {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b viewAttribute) int {
		return cmp.Or(cmp.Compare(a.prefix, b.prefix), cmp.Compare(b.rows, a.rows), strings.Compare(a.key, b.key))
	})
	return out[:min(len(out), sqlColumns)]
}

// sql is the attribute in one block, as the view's type.
func (a viewAttribute) sql(c *compiler) string {
	name := prefixes[a.prefix] + a.key
	var parts []string
	if col := c.layout.column(name); col != nil {
		c.refs[name] = col.Type.String()
		parts = append(parts, "CAST("+ident(name)+" AS "+a.typ.String()+")")
	}
	if c.layout.inRest(name) {
		c.refs["rest"] = "MAP"
		parts = append(parts, "TRY_CAST(substr(rest["+quote(name)+"],3) AS "+a.typ.String()+")")
	}
	switch len(parts) {
	case 0:
		return "NULL::" + a.typ.String()
	case 1:
		return parts[0]
	}
	return "coalesce(" + strings.Join(parts, ",") + ")"
}

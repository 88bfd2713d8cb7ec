package events

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	"triage/internal/model"
	"triage/internal/store"
)

// Exceptions reads the exceptions of the window from each block and groups them in Go, because a stack is no matter for
// SQL. When a group was first seen must be true of everything that is kept: each block's first occurrences are found
// once, when a question comes for the first time, and remembered with the block, which never changes. After a start
// the first question so reads all exceptions that are stored, later ones those of the window and of new blocks. What
// retention dropped is forgotten: a group that comes back after that is new.

// Bounds of what a question about exceptions holds in memory, and of lists in its answer.
const (
	maxExceptionGroups  = 10_000 // in the answer, and in what is remembered of a block
	maxExceptionMessage = 2 << 10
	maxExceptionStack   = 64 << 10
	maxExceptionCounts  = 10
	maxOperationCounts  = 5
	exceptionSamples    = 3
	groupCache          = 4096 // stacks whose group is remembered during a scan
)

// userKeys are attributes that name a user, the usual one first.
var userKeys = []string{"user.id", "enduser.id"}

// firstSeen is the first occurrence of a group.
type firstSeen struct {
	at               int64
	service, version string
}

func (f firstSeen) before(o firstSeen) bool {
	return cmp.Or(cmp.Compare(f.at, o.at), strings.Compare(f.service, o.service), strings.Compare(f.version, o.version)) < 0
}

// occurrence is one exception.
type occurrence struct {
	model.Exception
	key                               model.ExceptionKey
	at                                int64
	trace                             model.TraceID
	span                              model.SpanID
	service, version, operation, user string
}

func (s *Store) exceptions(ctx context.Context, q store.ExceptionQuery) (page store.Page[model.ExceptionGroup], err error) {
	if q.Limit < 1 {
		return page, fmt.Errorf("exceptions: limit %d is less than 1", q.Limit)
	}
	end, err := s.begin(ctx, "exceptions")
	if err != nil {
		return page, err
	}
	defer end()
	from, to := bounds(q.Window)
	g := newGrouping(&q, from, to)
	var known []map[string]firstSeen
	for _, p := range signals { // spans before logs, which must not count what a span told
		snap, err := s.partialSnapshot(ctx, partition{tenantOf(q.Tenant), p}, math.MinInt64, math.MaxInt64)
		if err != nil {
			return page, err
		}
		defer snap.release()
		page.Partial = cmp.Or(page.Partial, snap.partial)
		g.logs = p == logs
		// Several blocks at once: while one is read, stacks of another are.
		work, ctx := errgroup.WithContext(ctx)
		work.SetLimit(s.opts.Threads)
		for _, b := range snap.blocks {
			work.Go(func() error {
				seen, err := s.exceptionsOf(ctx, b, p, from, to, g)
				if err != nil {
					return fmt.Errorf("exceptions of block %s: %w", b.path, err)
				}
				if len(seen) > 0 {
					g.mu.Lock()
					known = append(known, seen)
					g.mu.Unlock()
				}
				return nil
			})
		}
		if err := work.Wait(); err != nil {
			return page, err
		}
	}
	page.Rows = g.answer(known)
	if page.More = len(page.Rows) > q.Limit; page.More {
		page.Rows = page.Rows[:q.Limit]
	}
	if page.Partial == "" && g.full {
		page.Partial = fmt.Sprintf("there are more than %d groups", maxExceptionGroups)
	}
	return page, nil
}

// exceptionsOf adds a block's exceptions of the window to g and returns when each group was first seen in the block.
func (s *Store) exceptionsOf(ctx context.Context, b *block, p signal, from, to int64, g *grouping) (map[string]firstSeen, error) {
	s.mu.Lock()
	seen := b.seen
	s.mu.Unlock()
	if seen == nil {
		seen = map[string]firstSeen{}
		err := s.scanExceptions(ctx, b, p, "true", func(o *occurrence) {
			f := firstSeen{o.at, o.service, o.version}
			if old, ok := seen[o.key.ID]; ok && f.before(old) || !ok && len(seen) < maxExceptionGroups {
				seen[o.key.ID] = f
			}
			g.add(o)
		})
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		b.seen = seen
		s.mu.Unlock()
		return seen, nil
	}
	// A span's exception happens up to its duration after its start.
	rowsFrom := addTime(from, -time.Duration(b.layout.MaxDuration))
	if len(seen) == 0 || b.layout.MinTime > to || b.layout.MaxTime < rowsFrom || g.q.Service != "" && !b.layout.mayHave(g.q.Service) {
		return seen, nil
	}
	if _, ok := seen[g.q.Group]; !ok && g.q.Group != "" && len(seen) < maxExceptionGroups {
		return seen, nil
	}
	where := between(rowsFrom, to)
	if g.q.Service != "" {
		where += " AND service=" + quote(clean(g.q.Service))
	}
	return seen, s.scanExceptions(ctx, b, p, where, g.add)
}

// scanExceptions calls fn with each exception of those of a block's rows that meet a condition. What fn is given is
// valid only during the call, but for its texts.
func (s *Store) scanExceptions(ctx context.Context, b *block, p signal, where string, fn func(*occurrence)) error {
	rows := union(p, []*block{b}, func(c *compiler) (string, string, bool) {
		common := fmt.Sprintf("ts,trace_hi,trace_lo,span_id,service,%s v,%s u", c.attrText("service.version"), c.firstText(userKeys...))
		if p == spans {
			return common + ",name,duration," + exceptionEvents + " e", fmt.Sprintf("contains(event_names,%s) AND %s", quote(model.ExceptionEvent), where),
				c.layout.has("events")
		}
		var any, errs []string
		for i, key := range slices.Concat(model.LogExceptionKeys, model.LogErrorKeys) {
			text := c.attrText(key)
			common += fmt.Sprintf(",%s %s", text, textColumns[i])
			switch {
			case text == "NULL::VARCHAR":
			case i < len(model.LogExceptionKeys):
				any = append(any, text+"<>''")
			default:
				errs = append(errs, text+"<>''")
			}
		}
		if len(errs) > 0 {
			any = append(any, fmt.Sprintf("(severity>=%d AND (%s))", model.Severity(17), strings.Join(errs, " OR ")))
		}
		return common + ",severity", fmt.Sprintf("(%s) AND %s", strings.Join(any, " OR "), where), len(any) > 0
	})
	if rows == "" {
		return nil
	}
	if p == spans {
		rows = fmt.Sprintf(`SELECT * EXCLUDE (e),e."time" et,e.attributes."exception.type" x0,e.attributes."exception.message" x1,
 e.attributes."exception.stacktrace" x2 FROM (%s) WHERE e."name"=%s`, rows, quote(model.ExceptionEvent))
	}
	r := exceptionReader{names: map[string]string{}, groups: map[model.Exception]model.ExceptionKey{}, fn: fn}
	return s.engine.batches(ctx, rows, func(rec arrow.RecordBatch) error {
		batch := newBatch(rec)
		for i := range int(rec.NumRows()) {
			if err := r.row(batch, i, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// exceptionEvents makes a row of each event of a span, with what it says of an exception as typed texts.
const exceptionEvents = `unnest(from_json(events,'[{"time":"BIGINT","name":"VARCHAR","attributes":` +
	`{"exception.type":"VARCHAR","exception.message":"VARCHAR","exception.stacktrace":"VARCHAR"}}]'))`

// textColumns are the columns of an exception's texts, of log records in order of the keys.
var textColumns = [...]string{"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8"}

// exceptionReader makes occurrences of rows.
type exceptionReader struct {
	names  map[string]string // texts of which there are few
	groups map[model.Exception]model.ExceptionKey
	fn     func(*occurrence)
}

func (r *exceptionReader) name(b *batch, column string, row int) string {
	text, _ := b.text(column, row)
	n, ok := r.names[text]
	if !ok {
		if len(r.names) >= groupCache {
			clear(r.names)
		}
		text = strings.Clone(text)
		n = fixText(text)
		r.names[text] = n
	}
	return n
}

func (r *exceptionReader) row(b *batch, row int, p signal) error {
	o := occurrence{at: b.int64("ts", row), trace: model.TraceIDFrom(b.uint64("trace_hi", row), b.uint64("trace_lo", row)),
		span: model.SpanIDFrom(b.uint64("span_id", row)), service: r.name(b, "service", row), version: r.name(b, "v", row),
		user: r.name(b, "u", row)}
	if p == logs {
		x, ok := model.LogException(model.Severity(b.uint8("severity", row)), func(key string) string {
			i := slices.Index(model.LogExceptionKeys, key)
			if i < 0 {
				i = len(model.LogExceptionKeys) + slices.Index(model.LogErrorKeys, key)
			}
			text, _ := b.text(textColumns[i], row)
			return fixText(strings.Clone(text))
		})
		if ok {
			o.Exception = x
			r.emit(&o)
		}
		return nil
	}
	o.operation = r.name(b, "name", row)
	for i, to := range []*string{&o.Type, &o.Message, &o.Stack} {
		if typed, ok := b.text(textColumns[i], row); ok {
			v, err := parseTyped(strings.Clone(typed))
			if err != nil {
				return fmt.Errorf("decode span events: %w", err)
			}
			*to = v.String()
		}
	}
	if o.Exception == (model.Exception{}) {
		return nil
	}
	if t := b.int64("et", row); t >= o.at && t <= o.at+b.int64("duration", row) {
		o.at = t
	}
	r.emit(&o)
	return nil
}

func (r *exceptionReader) emit(o *occurrence) {
	key, ok := r.groups[o.Exception]
	if !ok {
		if len(r.groups) >= groupCache {
			clear(r.groups)
		}
		key = o.Group()
		r.groups[o.Exception] = key
	}
	o.key = key
	r.fn(o)
}

// grouping collects the exceptions of a question.
type grouping struct {
	q        *store.ExceptionQuery
	from, to int64
	text     string // of the query, in lower case
	width    int64  // of a part of the histogram; 0 for none
	logs     bool   // what is added now comes from log records

	mu     sync.Mutex // guards what follows
	groups map[string]*exceptionGroup
	told   map[toldBy]struct{}
	full   bool // there were groups for which there was no room
}

// toldBy is a span that told of an exception of a group.
type toldBy struct {
	trace model.TraceID
	span  model.SpanID
	group string
}

type exceptionGroup struct {
	count      int64
	users      map[uint64]struct{} // hashes
	services   map[string]int64
	versions   map[[2]string]int64 // by service and version
	operations map[string]int64
	newest     []occurrence // at most exceptionSamples, newest first, without stacks
	stack      occurrence   // the newest with a stack
	histogram  []int64
}

func newGrouping(q *store.ExceptionQuery, from, to int64) *grouping {
	g := &grouping{q: q, from: from, to: to, text: strings.ToLower(q.Text), groups: map[string]*exceptionGroup{}, told: map[toldBy]struct{}{}}
	if q.Buckets > 0 && !q.From.IsZero() && !q.To.IsZero() && to >= from && to-from > 0 {
		g.width = (to-from)/int64(q.Buckets) + 1
	}
	return g
}

func (g *grouping) wants(o *occurrence) bool {
	if o.at < g.from || o.at > g.to || g.q.Group != "" && o.key.ID != g.q.Group ||
		g.q.Service != "" && o.service != g.q.Service || g.q.Version != "" && o.version != g.q.Version {
		return false
	}
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), g.text) }
	return g.text == "" || has(o.Type) || has(o.Message) || has(o.Stack)
}

// newer orders occurrences, newest first, the same wherever they are stored.
func newer(a, b *occurrence) int {
	return cmp.Or(cmp.Compare(b.at, a.at), compareTraces(b.trace, a.trace), cmp.Compare(b.span.Uint64(), a.span.Uint64()),
		strings.Compare(b.service, a.service), strings.Compare(b.Message, a.Message))
}

func (g *grouping) add(o *occurrence) {
	if !g.wants(o) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if by := (toldBy{o.trace, o.span, o.key.ID}); !g.logs {
		g.told[by] = struct{}{}
	} else if _, told := g.told[by]; told && !o.span.IsZero() {
		return
	}
	x := g.groups[o.key.ID]
	if x == nil {
		if len(g.groups) >= maxExceptionGroups {
			g.full = true
			return
		}
		x = &exceptionGroup{users: map[uint64]struct{}{}, services: map[string]int64{}, versions: map[[2]string]int64{}, operations: map[string]int64{}}
		if g.width > 0 {
			x.histogram = make([]int64, g.q.Buckets)
		}
		g.groups[o.key.ID] = x
	}
	x.count++
	x.services[o.service]++
	x.versions[[2]string{o.service, o.version}]++
	if o.operation != "" {
		x.operations[o.operation]++
	}
	if o.user != "" {
		x.users[xxhash.Sum64String(o.user)] = struct{}{}
	}
	if g.width > 0 {
		x.histogram[(o.at-g.from)/g.width]++
	}
	if i, _ := slices.BinarySearchFunc(x.newest, o, func(a occurrence, b *occurrence) int { return newer(&a, b) }); i < exceptionSamples {
		kept := *o
		kept.Stack = "" // it is long, and one is enough
		kept.Message, kept.key.Message = shorten(o.Message, maxExceptionMessage), shorten(o.key.Message, maxExceptionMessage)
		x.newest = slices.Insert(x.newest, i, kept)
		x.newest = x.newest[:min(len(x.newest), exceptionSamples)]
	}
	if g.q.Group != "" && o.Stack != "" && (x.stack.Stack == "" || newer(o, &x.stack) < 0) {
		x.stack = *o
		x.stack.Stack = shorten(o.Stack, maxExceptionStack)
	}
}

// answer makes the groups' rows, those seen last first. known are the first occurrences in each block.
func (g *grouping) answer(known []map[string]firstSeen) []model.ExceptionGroup {
	out := make([]model.ExceptionGroup, 0, len(g.groups))
	for id, x := range g.groups {
		last := &x.newest[0]
		first := firstSeen{at: math.MaxInt64}
		for _, seen := range known {
			if f, ok := seen[id]; ok && f.before(first) {
				first = f
			}
		}
		// What is remembered of a block has bounds; what was just counted is known nevertheless.
		for i := range x.newest {
			if o := &x.newest[i]; o.at < first.at {
				first = firstSeen{o.at, o.service, o.version}
			}
		}
		row := model.ExceptionGroup{ID: id, Type: last.key.Type, Message: last.key.Message, Template: last.key.Template,
			Frames: last.key.Frames, Count: x.count, Users: int64(len(x.users)), First: at(first.at), Last: at(last.at),
			FirstService: first.service, FirstVersion: first.version, New: !g.q.From.IsZero() && first.at >= g.from,
			Services:   mostFrequent(x.services, maxExceptionCounts, func(k string) model.ExceptionCount { return model.ExceptionCount{Name: k} }),
			Operations: mostFrequent(x.operations, maxOperationCounts, func(k string) model.ExceptionCount { return model.ExceptionCount{Name: k} }),
			Versions: mostFrequent(x.versions, maxExceptionCounts, func(k [2]string) model.ExceptionCount {
				return model.ExceptionCount{Service: k[0], Name: k[1]}
			}),
			Stack: x.stack.Stack, Histogram: x.histogram}
		for i := range x.newest {
			o := &x.newest[i]
			row.Samples = append(row.Samples, model.ExceptionSample{At: at(o.at), Service: o.service, Version: o.version,
				TraceID: o.trace, SpanID: o.span, Message: o.Message})
		}
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b model.ExceptionGroup) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(b.Count, a.Count), strings.Compare(a.ID, b.ID))
	})
	return out
}

// mostFrequent lists counts, largest first, equal ones by name.
func mostFrequent[K comparable](counts map[K]int64, limit int, name func(K) model.ExceptionCount) []model.ExceptionCount {
	out := make([]model.ExceptionCount, 0, len(counts))
	for k := range maps.Keys(counts) {
		c := name(k)
		c.Count = counts[k]
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b model.ExceptionCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Service, b.Service), strings.Compare(a.Name, b.Name))
	})
	return out[:min(len(out), limit)]
}

// shorten cuts a text to a number of bytes, at a whole character.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

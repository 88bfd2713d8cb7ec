package events

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// A search with relations between spans takes two steps: the newest spans that may match as far as they themselves tell,
// then, trace by trace, the spans around them with a column of true and false for each part of the search that has no
// relations. SQL decides the parts, Go how spans stand to each other.

// Limits of a search with relations. What lies past one is missing, and the page says so.
const (
	// structureReach is how far from a returned span another may start that decides about it.
	structureReach = time.Hour
	// maxCandidates are spans examined for one search.
	maxCandidates = 100_000
	// maxTogether are traces read at once, and maxAround the spans of these.
	maxTogether = 500
	maxAround   = 500_000
)

// relatedSpans is Spans for a search with relations.
func (s *Store) relatedSpans(ctx context.Context, q store.Query) (page store.Page[model.Span], err error) {
	if q.Limit < 1 {
		return page, fmt.Errorf("spans: limit %d is less than 1", q.Limit)
	}
	end, err := s.begin(ctx, "related_spans")
	if err != nil {
		return page, err
	}
	defer end()
	from, to := bounds(q.Window)
	snap, err := s.partialSnapshot(ctx, partition{tenantOf(q.Tenant), spans}, addTime(from, -structureReach), addTime(to, structureReach))
	if err != nil {
		return page, err
	}
	defer snap.release()
	hits, partial, err := s.newestRelated(ctx, snap.blocks, q, from, to)
	if err != nil {
		return page, err
	}
	if page, err = pageOf(ctx, hits, q.Limit, s.fetchSpans, spanKey); err != nil {
		return page, err
	}
	if snap.partial != "" {
		partial = append(partial, snap.partial)
	}
	page.Partial = strings.Join(partial, "; ")
	return page, nil
}

// newestRelated finds the newest spans that match, one more than the limit if there are so many.
func (s *Store) newestRelated(ctx context.Context, bs []*block, q store.Query, from, to int64) (out []hit, partial []string, err error) {
	within := slices.DeleteFunc(slices.Clone(bs), func(b *block) bool { return !b.overlaps(from, to) })
	where := possible(q.Where)
	examined := map[rowID]bool{}
	for n := max(250, 4*q.Limit); ; n *= 4 {
		n = min(n, maxCandidates)
		candidates, err := s.newest(ctx, spans, slices.Clone(within), store.Query{Where: where, Limit: n}, from, to)
		if err != nil {
			return nil, nil, err
		}
		more := len(candidates) > n
		candidates = slices.DeleteFunc(candidates[:min(n, len(candidates))], func(h hit) bool { return examined[rowID{h.block, h.number}] })
		for len(candidates) > 0 && len(out) <= q.Limit {
			group := together(candidates)
			candidates = candidates[len(group):]
			found, whole, err := s.examine(ctx, bs, q.Where, group)
			if err != nil {
				return nil, nil, err
			}
			if !whole {
				return out, []string{fmt.Sprintf("more than %d spans stand around those that may match; ask for less at once", maxAround)}, nil
			}
			out = append(out, found...)
			for _, h := range group {
				examined[rowID{h.block, h.number}] = true
			}
		}
		switch {
		case len(out) > q.Limit:
			return out[:q.Limit+1], nil, nil
		case !more:
			return out, nil, nil
		case n == maxCandidates:
			return out, []string{fmt.Sprintf("only the newest %d spans that may match were examined; ask for a shorter time range", n)}, nil
		}
	}
}

// together is the first of hits whose traces are read at once.
func together(hits []hit) []hit {
	traces := map[model.TraceID]bool{}
	for i, h := range hits {
		if traces[h.trace] = true; len(traces) > maxTogether {
			return hits[:i]
		}
	}
	return hits
}

// possible is a search without relations that every span meets that meets e.
func possible(e search.Expr) search.Expr {
	parts := func(in []search.Expr) []search.Expr {
		out := make([]search.Expr, len(in))
		for i, x := range in {
			out[i] = possible(x)
		}
		return out
	}
	switch e := e.(type) {
	case search.And:
		return search.And(parts(e))
	case search.Or:
		return search.Or(parts(e))
	case search.Not:
		if search.HasRelation(e.Expr) {
			return search.All{}
		}
	case search.Related:
		return possible(e.Want)
	}
	return e
}

// rowID says which row of which file.
type rowID struct {
	block  *block
	number int64
}

// member is a span as far as relations go. met says of each plain part of the search whether the span meets it.
type member struct {
	row          rowID
	trace        model.TraceID
	ts           int64
	span, parent uint64 // parent is 0 also where a span names itself
	met          []bool
}

// examine returns those of hits that meet e; whole is false if too many spans stand around them.
func (s *Store) examine(ctx context.Context, bs []*block, e search.Expr, hits []hit) (out []hit, whole bool, err error) {
	around, whole, err := s.around(ctx, bs, plainParts(e, nil), hits)
	if err != nil || !whole {
		return nil, whole, err
	}
	reach := int64(structureReach)
	complete := map[model.TraceID]map[rowID]bool{} // of traces that are not longer than the reach
	for _, h := range hits {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		members := around[h.trace]
		met, known := complete[h.trace]
		if !known {
			long := members[len(members)-1].ts-members[0].ts > reach
			near := members
			if long {
				near = slices.DeleteFunc(slices.Clone(members), func(m member) bool {
					return m.ts < addTime(h.ts, -structureReach) || m.ts > addTime(h.ts, structureReach)
				})
			}
			met = map[rowID]bool{}
			part := 0
			for i, ok := range evaluate(e, near, &part) {
				met[near[i].row] = ok
			}
			if !long {
				complete[h.trace] = met
			}
		}
		if met[rowID{h.block, h.number}] {
			out = append(out, h)
		}
	}
	return out, true, nil
}

// around reads the spans that may decide about hits, by trace and in order of time.
func (s *Store) around(ctx context.Context, bs []*block, parts []search.Expr, hits []hit) (out map[model.TraceID][]member, whole bool, err error) {
	byPath := make(map[string]*block, len(bs))
	for _, b := range bs {
		byPath[b.path] = b
	}
	wanted := map[model.TraceID]bool{}
	var halves []string
	first, last := hits[0].ts, hits[0].ts
	for _, h := range hits {
		first, last = min(first, h.ts), max(last, h.ts)
		if !wanted[h.trace] {
			wanted[h.trace] = true
			halves = append(halves, strconv.FormatUint(h.trace.Lo(), 10))
		}
	}
	first, last = addTime(first, -structureReach), addTime(last, structureReach)
	cond := fmt.Sprintf("trace_lo IN (%s) AND %s", strings.Join(halves, ","), between(first, last))
	near := slices.DeleteFunc(slices.Clone(bs), func(b *block) bool { return !b.overlaps(first, last) })
	var failed error
	q := unionWith(",file_row_number=true,filename=true", near, spans, func(c *compiler) (string, string, bool) {
		columns := "filename,file_row_number n,ts,trace_hi,trace_lo,span_id,parent_id"
		for i, p := range parts {
			met, err := c.matches(p)
			if err != nil {
				failed = err
				return "", "", false
			}
			columns += fmt.Sprintf(",coalesce(%s,false) met%d", met.sql(), i)
		}
		return columns, cond, true
	})
	if failed != nil {
		return nil, false, failed
	}
	out = map[model.TraceID][]member{}
	count := 0
	err = s.engine.query(ctx, fmt.Sprintf("SELECT * FROM (%s) LIMIT %d", q, maxAround+1), func(scan func(...any) error) error {
		m := member{met: make([]bool, len(parts))}
		var path string
		var hi, lo uint64
		into := []any{&path, &m.row.number, &m.ts, &hi, &lo, &m.span, &m.parent}
		for i := range m.met {
			into = append(into, &m.met[i])
		}
		if err := scan(into...); err != nil {
			return err
		}
		count++
		if m.trace = model.TraceIDFrom(hi, lo); !wanted[m.trace] {
			return nil
		}
		m.row.block = byPath[path]
		if m.parent == m.span {
			m.parent = 0
		}
		out[m.trace] = append(out[m.trace], m)
		return nil
	})
	for _, members := range out {
		slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.ts, b.ts) })
	}
	return out, count <= maxAround, err
}

// plainParts appends the largest parts of e that have no relations, in the order in which evaluate comes to them.
func plainParts(e search.Expr, parts []search.Expr) []search.Expr {
	if !search.HasRelation(e) {
		return append(parts, e)
	}
	for _, x := range children(e) {
		parts = plainParts(x, parts)
	}
	return parts
}

func children(e search.Expr) []search.Expr {
	switch e := e.(type) {
	case search.And:
		return e
	case search.Or:
		return e
	case search.Not:
		return []search.Expr{e.Expr}
	case search.Related:
		return []search.Expr{e.Of, e.Want}
	}
	return nil
}

// evaluate says of each span of one trace whether it meets e. part is the number of the next plain part.
func evaluate(e search.Expr, members []member, part *int) []bool {
	if !search.HasRelation(e) {
		out := make([]bool, len(members))
		for i := range members {
			out[i] = members[i].met[*part]
		}
		*part++
		return out
	}
	var of [][]bool
	for _, x := range children(e) {
		of = append(of, evaluate(x, members, part))
	}
	out := of[0]
	switch e := e.(type) {
	case search.And:
		for _, met := range of[1:] {
			for i := range out {
				out[i] = out[i] && met[i]
			}
		}
	case search.Or:
		for _, met := range of[1:] {
			for i := range out {
				out[i] = out[i] || met[i]
			}
		}
	case search.Not:
		for i := range out {
			out[i] = !out[i]
		}
	case search.Related:
		out = relate(e.Relation, members, of[0])
		for i := range out {
			out[i] = out[i] && of[1][i]
		}
	}
	return out
}

// two holds up to two different span IDs: enough to know whether there is one other than a given.
type two [2]uint64

// add tells whether it took an ID that it did not have.
func (t *two) add(id uint64) bool {
	switch {
	case id == 0 || id == t[0] || id == t[1] || t[1] != 0:
		return false
	case t[0] == 0:
		t[0] = id
	default:
		t[1] = id
	}
	return true
}

// other tells whether there is an ID other than id.
func (t two) other(id uint64) bool { return t[0] != 0 && t[0] != id || t[1] != 0 && t[1] != id }

// relate says of each span of one trace whether it stands in a relation to one of those in of.
func relate(r search.Relation, members []member, of []bool) []bool {
	out := make([]bool, len(members))
	if len(members) == 0 || members[0].trace.IsZero() {
		return out
	}
	// found are, by a span ID, the IDs of spans in of that lie above it (itself too), below it, or are children of it.
	found := map[uint64]two{}
	edges := map[uint64][]uint64{}
	var changed []uint64
	add := func(at, id uint64) {
		t := found[at]
		if t.add(id) {
			found[at] = t
			changed = append(changed, at)
		}
	}
	for i := range members {
		m := &members[i]
		switch r {
		case search.Descendant:
			edges[m.parent] = append(edges[m.parent], m.span)
		case search.Ancestor:
			edges[m.span] = append(edges[m.span], m.parent)
		}
		if of[i] {
			if r == search.Child || r == search.Descendant {
				add(m.span, m.span)
			} else {
				add(m.parent, m.span)
			}
		}
	}
	delete(edges, 0)
	for len(changed) > 0 { // each ID comes here at most twice
		from := changed[len(changed)-1]
		changed = changed[:len(changed)-1]
		for _, to := range edges[from] {
			for _, id := range found[from] {
				add(to, id)
			}
		}
	}
	for i := range members {
		m := &members[i]
		at := m.parent
		if r == search.Parent || r == search.Ancestor {
			at = m.span
		}
		out[i] = at != 0 && found[at].other(m.span)
	}
	return out
}

package events

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"triage/internal/model"
	"triage/internal/store"
)

func (s *Store) operations(ctx context.Context, sel store.Selection, limit int) ([]store.OperationStat, error) {
	snap, done, err := s.ask(ctx, "operations", &sel)
	if err != nil {
		return nil, err
	}
	defer done()
	known, scanned := sketched(snap.blocks, &sel)
	if rowsOf(known) >= max(s.opts.sketchRows, rowsOf(scanned)) {
		all, err := s.sketchesOf(ctx, known, scanned, &sel)
		if err != nil {
			return nil, err
		}
		return all.operations(limit), nil
	}
	return s.scannedOperations(ctx, snap.blocks, &sel, limit)
}

// scannedOperations answers Operations from the spans themselves.
func (s *Store) scannedOperations(ctx context.Context, bs []*block, sel *store.Selection, limit int) ([]store.OperationStat, error) {
	rows := union(spans, bs, func(c *compiler) (string, string, bool) {
		where, ok := c.selection(sel)
		return "service,name,kind,status,duration", where, ok
	})
	out := []store.OperationStat{}
	if rows == "" {
		return out, nil
	}
	q := fmt.Sprintf(`SELECT service,name,kind,count(*) n,count(*) FILTER (status=%d),avg(duration)/1e9,
 quantile_cont(duration,[0.5,0.95,0.99]) FROM (%s) GROUP BY service,name,kind ORDER BY n DESC,service,name,kind LIMIT %d`,
		model.StatusError, rows, limit)
	err := s.engine.query(ctx, q, func(scan func(...any) error) error {
		var o store.OperationStat
		var kind uint8
		var quantiles []any
		if err := scan(&o.Service, &o.Operation, &kind, &o.Count, &o.Errors, &o.Mean, &quantiles); err != nil {
			return err
		}
		o.Service, o.Operation, o.Kind = unclean(o.Service), unclean(o.Operation), model.SpanKind(kind)
		for i, p := range []*float64{&o.P50, &o.P95, &o.P99} {
			if i < len(quantiles) {
				if v, ok := quantiles[i].(float64); ok {
					*p = v / 1e9
				}
			}
		}
		out = append(out, o)
		return nil
	})
	return out, err
}

// sketched parts blocks into those whose sketches say all that a selection asks, and those that must be scanned.
func sketched(bs []*block, sel *store.Selection) (known, scanned []*block) {
	if len(sel.Attrs) > 0 || sel.MinDuration > 0 || sel.MaxDuration > 0 || (sel.Bad || sel.Good) && sel.BadDuration > 0 {
		return nil, bs
	}
	from, to := bounds(sel.Window)
	for _, b := range bs {
		if b.layout.Sketches != nil && b.layout.MinTime >= from && b.layout.MaxTime <= to {
			known = append(known, b)
		} else {
			scanned = append(scanned, b)
		}
	}
	return known, scanned
}

func rowsOf(bs []*block) (n int64) {
	for _, b := range bs {
		n += b.layout.Rows
	}
	return n
}

// selects tells whether a selection, which asks for nothing that a sketch does not know, has the spans of a sketch.
func selects(sel *store.Selection, k sketchKey) bool {
	failed := k.status == model.StatusError
	switch {
	case sel.Service != "" && clean(sel.Service) != k.service,
		sel.Operation != "" && clean(sel.Operation) != k.operation,
		len(sel.Kinds) > 0 && !slices.Contains(sel.Kinds, k.kind),
		sel.Status != nil && *sel.Status != k.status,
		sel.NotStatus != nil && *sel.NotStatus == k.status,
		sel.Bad && !failed, sel.Good && failed:
		return false
	}
	return true
}

// sketchesOf are the selected spans of some blocks by their sketches, and of others by themselves.
func (s *Store) sketchesOf(ctx context.Context, known, scanned []*block, sel *store.Selection) (sketches, error) {
	all := sketches{}
	for _, b := range known {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if sel.Service != "" && !b.layout.mayHave(sel.Service) {
			continue
		}
		one := sketches{} // so that sketches that are not well formed add nothing
		content, _, err := readSection(b.path, *b.layout.Sketches, b.layout.filterSize())
		if err == nil {
			err = one.decode(content, func(k sketchKey) bool { return selects(sel, k) })
		}
		if err != nil {
			s.log.Warn("read sketches; the block is scanned", "block", b.path, "error", err)
			scanned = append(scanned, b)
			continue
		}
		for k, x := range one {
			all.of(k).merge(x)
		}
	}
	return all, s.scanSketches(ctx, scanned, sel, all)
}

// scanSketches counts the selected spans of blocks into sketches.
func (s *Store) scanSketches(ctx context.Context, bs []*block, sel *store.Selection, into sketches) error {
	rows := union(spans, bs, func(c *compiler) (string, string, bool) {
		where, ok := c.selection(sel)
		return "service,name,kind,status,duration", where, ok
	})
	if rows == "" {
		return nil
	}
	q := fmt.Sprintf(`SELECT service,name,kind,status,%s bucket,count(*),sum(duration)::DOUBLE FROM (%s) GROUP BY ALL`, bucketSQL, rows)
	return s.engine.query(ctx, q, func(scan func(...any) error) error {
		var k sketchKey
		var bucket int
		var n int64
		var sum float64
		if err := scan(&k.service, &k.operation, &k.kind, &k.status, &bucket, &n, &sum); err != nil {
			return err
		}
		x := into.of(k)
		x.sum += sum
		x.add(bucket, n)
		return nil
	})
}

// operations sums up by service, operation and kind.
func (m sketches) operations(limit int) []store.OperationStat {
	type sum struct {
		all    *sketch
		errors int64
	}
	sums := map[sketchKey]*sum{} // without status
	for k, x := range m {
		status := k.status
		k.status = 0
		o := sums[k]
		if o == nil {
			o = &sum{all: &sketch{}}
			sums[k] = o
		}
		o.all.merge(x)
		if status == model.StatusError {
			o.errors += x.count()
		}
	}
	out := make([]store.OperationStat, 0, len(sums))
	for k, o := range sums {
		n := o.all.count()
		out = append(out, store.OperationStat{Service: unclean(k.service), Operation: unclean(k.operation), Kind: k.kind, Count: n, Errors: o.errors,
			Mean: o.all.sum / float64(n) / 1e9, P50: o.all.quantile(0.5) / 1e9, P95: o.all.quantile(0.95) / 1e9, P99: o.all.quantile(0.99) / 1e9})
	}
	slices.SortFunc(out, func(a, b store.OperationStat) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Service, b.Service), strings.Compare(a.Operation, b.Operation), cmp.Compare(a.Kind, b.Kind))
	})
	return out[:min(len(out), limit)]
}

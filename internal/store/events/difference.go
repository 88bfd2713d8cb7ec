package events

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

const (
	differenceKeys = 20 // attributes compared when the caller names none
	candidateKeys  = 64 // of these, the most frequent in all blocks, the best are chosen
	sample         = 4000
	traceSample    = 1000
	// restSample is about how many spans of B are compared where there are more: those of some traces, told by a hash of
	// their IDs, so that the same question has the same answer. A share of so many is off by 0.35 % at most in two of three
	// cases, 0.7 % in nineteen of twenty. A, which is what went wrong, is counted in full, and so are both totals.
	restSample = 20_000
	// A trace's entry spans lie this close around the spans compared.
	traceBefore, traceAfter = 2 * time.Minute, time.Minute
	// A key is left out when more than nearlyAll of its occurrences have a value of their own, if there are enough to say.
	nearlyAll   = 0.9
	enoughToSay = 10
)

func (s *Store) attributeDifference(ctx context.Context, q store.DifferenceQuery) (store.Difference, error) {
	end, err := s.begin(ctx, "attribute_difference")
	if err != nil {
		return store.Difference{}, err
	}
	defer end()
	fromA, toA := bounds(q.A.Window)
	fromB, toB := bounds(q.B.Window)
	from, to := min(fromA, fromB), max(toA, toB)
	if q.FromTrace {
		from, to = addTime(from, -traceBefore), addTime(to, traceAfter)
	}
	snap, err := s.snapshot(ctx, partition{tenantOf(q.A.Tenant), spans}, from, to)
	if err != nil {
		return store.Difference{}, err
	}
	defer snap.release()

	d := difference{store: s, query: q, blocks: snap.blocks, from: from, to: to, keys: q.Keys}
	if len(d.keys) == 0 {
		d.keys = d.candidates()
	}
	d.out.Values = []store.DifferenceValue{}
	if err := d.totals(ctx); err != nil {
		return d.out, err
	}
	if d.out.A+d.out.B == 0 || len(d.keys) == 0 {
		return d.out, nil
	}
	if len(q.Keys) == 0 {
		if err := d.choose(ctx); err != nil {
			return d.out, err
		}
	}
	return d.out, d.values(ctx)
}

// difference is one such question in progress.
type difference struct {
	store    *Store
	query    store.DifferenceQuery
	blocks   []*block
	from, to int64
	keys     []string
	out      store.Difference
	// everyA and everyB say that of the selection's traces only each so manieth is looked at; 0 and 1 are all.
	everyA, everyB int64
	// noB leaves B out, and with it the time that it takes.
	noB bool
}

// picked is the condition that a span's trace is one of those looked at.
func picked(every int64) string {
	if every <= 1 {
		return "true"
	}
	return fmt.Sprintf("hash(trace_lo)%%%d=0", every)
}

// candidates are the keys found most often in the blocks, by their metadata.
func (d *difference) candidates() []string {
	rows := map[string]int64{}
	note := func(name string, n int64) {
		if p, key, ok := splitName(name); ok && p < 2 {
			rows[unclean(key)] += n
		}
	}
	for _, b := range d.blocks {
		for _, c := range b.layout.Columns {
			note(c.Name, c.Rows)
		}
		for name, c := range b.layout.Rest {
			for _, n := range c {
				note(name, n)
			}
		}
	}
	keys := make([]string, 0, len(rows))
	for k := range rows {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(rows[b], rows[a]), strings.Compare(a, b))
	})
	return keys[:min(len(keys), candidateKeys)]
}

// rows is the SQL of the spans of either selection: columns, then duration, in_a and in_b.
func (d *difference) rows(columns func(*compiler) (string, bool)) string {
	return union(spans, d.blocks, func(c *compiler) (string, string, bool) {
		a, okA := c.selection(&d.query.A)
		b, okB := c.selection(&d.query.B)
		if d.noB {
			b, okB = "false", false
		}
		if !okA && !okB {
			return "", "", false
		}
		a, b = fmt.Sprintf("(%s) AND %s", a, picked(d.everyA)), fmt.Sprintf("(%s) AND %s", b, picked(d.everyB))
		where := fmt.Sprintf("((%s) OR (%s))", a, b)
		if d.noB { // DuckDB rules row groups out by a condition on time, but not by one within an OR
			where = a
		}
		cols, ok := columns(c)
		return fmt.Sprintf("%s,duration,coalesce(%s,false) in_a,coalesce(%s,false) in_b", cols, a, b), where, ok
	})
}

// keyColumns are all keys' values as k0, k1, ...
func (d *difference) keyColumns(c *compiler) string {
	cols := make([]string, len(d.keys))
	for i, k := range d.keys {
		cols[i] = fmt.Sprintf("%s k%d", c.attrText(k), i)
	}
	return strings.Join(cols, ",")
}

// entries is the SQL of the spans with which a service's part of a trace began, in the traces of the spans looked at.
func (d *difference) entries() string {
	fromA, toA := bounds(d.query.A.Window)
	entries := union(spans, d.blocks, func(c *compiler) (string, string, bool) {
		// Far from A's window are traces of B alone.
		when := fmt.Sprintf("%s AND %s", picked(d.everyA), between(addTime(fromA, -traceBefore), addTime(toA, traceAfter)))
		if !d.noB {
			when = fmt.Sprintf("(%s OR (%s))", picked(d.everyB), when)
		}
		return "trace_hi,trace_lo," + d.keyColumns(c), fmt.Sprintf("kind IN (%d,%d) AND %s AND %s", model.SpanServer, model.SpanConsumer,
			between(d.from, d.to), when), true
	})
	if entries == "" {
		return ""
	}
	chosen := d.rows(func(*compiler) (string, bool) { return "trace_hi,trace_lo", true })
	return fmt.Sprintf("SELECT * FROM (%s) e SEMI JOIN (%s) c USING (trace_hi,trace_lo)", entries, chosen)
}

// totals counts both selections.
func (d *difference) totals(ctx context.Context) error {
	if known, err := d.sketchedTotals(ctx); known || err != nil {
		return err
	}
	rows := d.rows(func(*compiler) (string, bool) { return "1 one", true })
	if rows == "" {
		return nil
	}
	q := fmt.Sprintf(`SELECT count(*) FILTER (in_a),count(*) FILTER (in_b),coalesce(sum(duration) FILTER (in_a),0)/1e9,
 coalesce(sum(duration) FILTER (in_b),0)/1e9 FROM (%s)`, rows)
	return d.store.engine.query(ctx, q, func(scan func(...any) error) error {
		return scan(&d.out.A, &d.out.B, &d.out.SecondsA, &d.out.SecondsB)
	})
}

// choose keeps the keys most frequent in a sample of A, without those that have a new value nearly every time: grouping by
// these would cost more than all others together.
func (d *difference) choose(ctx context.Context) error {
	present, distinct := make([]int64, len(d.keys)), make([]int64, len(d.keys))
	var err error
	switch {
	case d.query.FromTrace:
		err = d.presentInTraces(ctx, present)
	case d.out.A > 0:
		present, distinct, err = d.present(ctx, sample)
	}
	if err != nil {
		return err
	}
	var order []int
	for i := range d.keys {
		unique := !d.query.FromTrace && present[i] >= enoughToSay && float64(distinct[i]) > nearlyAll*float64(present[i])
		if (present[i] > 0 || d.out.A == 0) && !unique {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(present[b], present[a]) })
	var chosen []string
	for _, i := range order[:min(len(order), differenceKeys)] {
		chosen = append(chosen, d.keys[i])
	}
	d.keys = chosen
	return nil
}

// presentInTraces counts in how many of some spans of A, and of the entry spans of their traces, each key has a value.
func (d *difference) presentInTraces(ctx context.Context, present []int64) error {
	some := *d
	some.noB = true
	some.everyA = (d.out.A + traceSample - 1) / traceSample
	var columns []string
	var to []any
	for i := range d.keys {
		columns = append(columns, fmt.Sprintf("count(k%d)", i))
		to = append(to, &present[i])
	}
	q := some.rows(func(c *compiler) (string, bool) { return d.keyColumns(c), true })
	if q == "" {
		return nil
	}
	q = fmt.Sprintf("SELECT * EXCLUDE (duration,in_a,in_b) FROM (%s) WHERE in_a", q)
	if entries := some.entries(); entries != "" {
		q += fmt.Sprintf(" UNION ALL SELECT * EXCLUDE (trace_hi,trace_lo) FROM (%s)", entries)
	}
	q = fmt.Sprintf("SELECT %s FROM (%s)", strings.Join(columns, ","), q)
	return d.store.engine.query(ctx, q, func(scan func(...any) error) error { return scan(to...) })
}

// valueCount is one value of a key with what is counted of it.
type valueCount struct {
	key                int
	value              string
	a, b               int64
	secondsA, secondsB float64
	errorB             float64
}

// values compares the values of the chosen keys.
func (d *difference) values(ctx context.Context) error {
	var counts []valueCount
	var err error
	if d.query.FromTrace {
		counts, err = d.ofTraces(ctx)
	} else {
		counts, err = d.ofSpans(ctx)
	}
	if err != nil {
		return err
	}
	type total struct{ distinctA, distinct, presentA, present float64 }
	totals := make([]total, len(d.keys))
	for _, v := range counts {
		t := &totals[v.key]
		t.distinct++
		t.present += float64(v.a + v.b)
		t.presentA += float64(v.a)
		if v.a > 0 {
			t.distinctA++
		}
	}
	resource := d.constants()
	for _, v := range counts {
		t, key := totals[v.key], d.keys[v.key]
		if len(d.query.Keys) == 0 {
			if t.presentA >= enoughToSay && t.distinctA > nearlyAll*t.presentA || t.present >= enoughToSay && t.distinct > nearlyAll*t.present {
				continue
			}
			if resource[key] && t.distinct < 2 {
				continue
			}
		}
		d.out.Values = append(d.out.Values, store.DifferenceValue{Key: key, Value: fixText(v.value), A: v.a, B: v.b, SecondsA: v.secondsA, SecondsB: v.secondsB, ErrorB: v.errorB})
	}
	nA, nB := float64(max(1, d.out.A)), float64(max(1, d.out.B))
	share := func(v store.DifferenceValue) float64 { return math.Abs(float64(v.A)/nA - float64(v.B)/nB) }
	slices.SortFunc(d.out.Values, func(a, b store.DifferenceValue) int {
		return cmp.Or(cmp.Compare(share(b), share(a)), strings.Compare(a.Key, b.Key), strings.Compare(a.Value, b.Value))
	})
	if limit := d.query.Limit; limit > 0 {
		d.out.Values = d.out.Values[:min(len(d.out.Values), limit)]
	}
	return nil
}

// constants are the keys that only resources have.
func (d *difference) constants() map[string]bool {
	out := map[string]bool{}
	for _, k := range d.keys {
		out[k] = !slices.ContainsFunc(d.blocks, func(b *block) bool {
			return b.layout.column(ownPrefix+k) != nil || b.layout.inRest(ownPrefix+clean(k))
		})
	}
	return out
}

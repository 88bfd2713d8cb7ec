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
	sample         = 10_000
	traceSample    = 1000
	// A trace's entry spans lie this close around the spans compared.
	traceBefore, traceAfter = 2 * time.Minute, time.Minute
	// A key is left out when more than nearlyAll of its occurrences have a value of their own, if there are enough to say.
	nearlyAll   = 0.9
	enoughToSay = 10
)

// AttributeDifference compares how often attribute values occur in two selections. See store.Questions. Own attributes
// stand before the resource's; a resource's attribute counts only if its value varies.
func (s *Store) AttributeDifference(ctx context.Context, q store.DifferenceQuery) (store.Difference, error) {
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
		if !okA && !okB {
			return "", "", false
		}
		cols, ok := columns(c)
		return fmt.Sprintf("%s,duration,coalesce(%s,false) in_a,coalesce(%s,false) in_b", cols, a, b),
			fmt.Sprintf("((%s) OR (%s))", a, b), ok
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

// with is the SQL of the two tables that a comparison across traces needs: chosen spans (at most so many of A alone, if
// limit is not zero), and the entry spans of their traces.
func (d *difference) with(limit int) string {
	chosen := d.rows(func(c *compiler) (string, bool) { return "trace_hi,trace_lo," + d.keyColumns(c), true })
	if limit > 0 {
		chosen = fmt.Sprintf("SELECT * FROM (%s) WHERE in_a LIMIT %d", chosen, limit)
	}
	entries := union(spans, d.blocks, func(c *compiler) (string, string, bool) {
		return "trace_hi,trace_lo," + d.keyColumns(c), fmt.Sprintf("kind IN (%d,%d) AND %s", model.SpanServer, model.SpanConsumer,
			between(d.from, d.to)), true
	})
	if entries == "" {
		entries = chosen
	}
	return fmt.Sprintf(`WITH chosen AS MATERIALIZED (SELECT row_number() OVER () id,* FROM (%s)),
 entry AS MATERIALIZED (SELECT * FROM (%s) e SEMI JOIN chosen USING (trace_hi,trace_lo))`, chosen, entries)
}

// totals counts both selections.
func (d *difference) totals(ctx context.Context) error {
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
	var columns []string
	for i := range d.keys {
		columns = append(columns, fmt.Sprintf("count(k%d),count(DISTINCT k%[1]d)", i))
	}
	var q string
	if d.query.FromTrace {
		q = fmt.Sprintf(`%s SELECT %s FROM (SELECT * EXCLUDE (id,duration,in_a,in_b) FROM chosen UNION ALL SELECT * FROM entry)`,
			d.with(traceSample), strings.Join(columns, ","))
	} else {
		rows := d.rows(func(c *compiler) (string, bool) { return d.keyColumns(c), true })
		q = fmt.Sprintf("SELECT %s FROM (SELECT * FROM (%s) WHERE in_a LIMIT %d)", strings.Join(columns, ","), rows, sample)
	}
	present, distinct := make([]int64, len(d.keys)), make([]int64, len(d.keys))
	err := d.store.engine.query(ctx, q, func(scan func(...any) error) error {
		var to []any
		for i := range d.keys {
			to = append(to, &present[i], &distinct[i])
		}
		return scan(to...)
	})
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

// values compares the values of the chosen keys.
func (d *difference) values(ctx context.Context) error {
	limit := d.query.Limit
	if limit <= 0 {
		limit = math.MaxInt32
	}
	nA, nB := max(1, d.out.A), max(1, d.out.B)
	var parts []string
	for i, k := range d.keys {
		var rows string
		if d.query.FromTrace {
			rows = fmt.Sprintf(`SELECT id,duration,in_a,in_b,k%d v FROM chosen WHERE v IS NOT NULL
 UNION SELECT id,duration,in_a,in_b,v FROM chosen JOIN (SELECT DISTINCT trace_hi,trace_lo,k%[1]d v FROM entry WHERE v IS NOT NULL) e USING (trace_hi,trace_lo)`, i)
		} else {
			rows = d.rows(func(c *compiler) (string, bool) {
				text := c.attrText(k)
				return text + " v", text != "NULL::VARCHAR"
			})
		}
		if rows == "" {
			continue
		}
		// A sum instead of count(*) FILTER (...) OVER (): DuckDB takes quadratic time for a window with a filter.
		parts = append(parts, fmt.Sprintf(`(SELECT %d k,*,sum(CASE WHEN a>0 THEN 1 ELSE 0 END) OVER () da,count(*) OVER () dall,sum(a) OVER () pa,sum(a+b) OVER () pall
 FROM (SELECT v,coalesce(sum(n) FILTER (in_a),0)::BIGINT a,coalesce(sum(n) FILTER (in_b),0)::BIGINT b,
  coalesce(sum(s) FILTER (in_a),0)/1e9 sa,coalesce(sum(s) FILTER (in_b),0)/1e9 sb
  FROM (SELECT v,in_a,in_b,count(*) n,sum(duration) s FROM (%s) WHERE v IS NOT NULL GROUP BY v,in_a,in_b) GROUP BY v)
 ORDER BY abs(a/%d-b/%d) DESC,v LIMIT %d)`, i, rows, nA, nB, limit))
	}
	if len(parts) == 0 {
		return nil
	}
	q := strings.Join(parts, "\nUNION ALL\n")
	if d.query.FromTrace {
		q = d.with(0) + " " + q
	}
	resource := d.constants()
	err := d.store.engine.query(ctx, q, func(scan func(...any) error) error {
		var v store.DifferenceValue
		var k int
		var distinctA, distinct, presentA, present float64
		if err := scan(&k, &v.Value, &v.A, &v.B, &v.SecondsA, &v.SecondsB, &distinctA, &distinct, &presentA, &present); err != nil {
			return err
		}
		v.Key, v.Value = d.keys[k], fixText(v.Value)
		if len(d.query.Keys) == 0 {
			if presentA >= enoughToSay && distinctA > nearlyAll*presentA || present >= enoughToSay && distinct > nearlyAll*present {
				return nil
			}
			if resource[v.Key] && distinct < 2 {
				return nil
			}
		}
		d.out.Values = append(d.out.Values, v)
		return nil
	})
	if err != nil {
		return err
	}
	share := func(v store.DifferenceValue) float64 {
		return math.Abs(float64(v.A)/float64(nA) - float64(v.B)/float64(nB))
	}
	slices.SortFunc(d.out.Values, func(a, b store.DifferenceValue) int {
		return cmp.Or(cmp.Compare(share(b), share(a)), strings.Compare(a.Key, b.Key), strings.Compare(a.Value, b.Value))
	})
	d.out.Values = d.out.Values[:min(len(d.out.Values), limit)]
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

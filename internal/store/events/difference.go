package events

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"triage/internal/model"
	"triage/internal/store"
)

const (
	differenceKeys = 20 // attributes compared when the caller names none
	candidateKeys  = 64 // of these, the most frequent in all blocks, the first are chosen
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
		from, to = addTime(from, -slackBefore), addTime(to, slackAfter)
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

// with is the SQL of the two tables that a comparison across traces needs: chosen spans, and the entry spans of their
// traces.
func (d *difference) with() string {
	chosen := d.rows(func(c *compiler) (string, bool) { return "trace_hi,trace_lo," + d.keyColumns(c), true })
	entries := union(spans, d.blocks, func(c *compiler) (string, string, bool) {
		return "trace_hi,trace_lo," + d.keyColumns(c), fmt.Sprintf("kind IN (%d,%d) AND %s", model.SpanServer, model.SpanConsumer,
			between(d.from, d.to)), true
	})
	return fmt.Sprintf(`WITH chosen AS MATERIALIZED (SELECT row_number() OVER () id,* FROM (%s)),
 entry AS MATERIALIZED (SELECT * FROM (%s) e SEMI JOIN chosen USING (trace_hi,trace_lo))`, chosen, entries)
}

// totals counts both selections and, where the caller named no keys, chooses the most frequent.
func (d *difference) totals(ctx context.Context) error {
	sums := "count(*) FILTER (in_a),count(*) FILTER (in_b),sum(duration) FILTER (in_a)/1e9,sum(duration) FILTER (in_b)/1e9"
	choose := len(d.query.Keys) == 0
	var q string
	switch {
	case choose && len(d.keys) > 0 && d.query.FromTrace:
		if d.rows(func(*compiler) (string, bool) { return "1 one", true }) == "" {
			return nil
		}
		for i := range d.keys {
			sums += fmt.Sprintf(",count(k%d) FILTER (in_a)+(SELECT count(k%[1]d) FROM entry)", i)
		}
		q = d.with() + " SELECT " + sums + " FROM chosen"
	case choose && len(d.keys) > 0:
		rows := d.rows(func(c *compiler) (string, bool) { return d.keyColumns(c), true })
		if rows == "" {
			return nil
		}
		for i := range d.keys {
			sums += fmt.Sprintf(",count(k%d) FILTER (in_a)", i)
		}
		q = fmt.Sprintf("SELECT %s FROM (%s)", sums, rows)
	default:
		rows := d.rows(func(*compiler) (string, bool) { return "1 one", true })
		if rows == "" {
			return nil
		}
		q = fmt.Sprintf("SELECT %s FROM (%s)", sums, rows)
	}
	present := make([]int64, len(d.keys))
	err := d.store.engine.query(ctx, q, func(scan func(...any) error) error {
		var secondsA, secondsB sql.NullFloat64
		to := []any{&d.out.A, &d.out.B, &secondsA, &secondsB}
		if choose {
			for i := range present {
				to = append(to, &present[i])
			}
		}
		err := scan(to...)
		d.out.SecondsA, d.out.SecondsB = secondsA.Float64, secondsB.Float64
		return err
	})
	if err != nil || !choose {
		return err
	}
	order := make([]int, 0, len(d.keys))
	for i := range d.keys {
		if present[i] > 0 || d.out.A == 0 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(present[b], present[a]) })
	chosen := make([]string, 0, differenceKeys)
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
		parts = append(parts, fmt.Sprintf(`(SELECT %d k,*,count(*) FILTER (a>0) OVER () da,count(*) OVER () dall,sum(a) OVER () pa,sum(a+b) OVER () pall
 FROM (SELECT v,count(*) FILTER (in_a) a,count(*) FILTER (in_b) b,coalesce(sum(duration) FILTER (in_a),0)/1e9 sa,
  coalesce(sum(duration) FILTER (in_b),0)/1e9 sb FROM (%s) WHERE v IS NOT NULL GROUP BY v)
 ORDER BY abs(a/%d-b/%d) DESC,v LIMIT %d)`, i, rows, nA, nB, limit))
	}
	if len(parts) == 0 {
		return nil
	}
	q := strings.Join(parts, "\nUNION ALL\n")
	if d.query.FromTrace {
		q = d.with() + " " + q
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

package events

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// What belongs to a span of a window may lie outside of it: its parent before, its children and logs after.
const (
	slackBefore = 10 * time.Minute
	slackAfter  = 5 * time.Minute
)

func tenantOf(t string) string { return cmp.Or(t, model.DefaultTenant) }

// at is a time of SQL's as a time.Time.
func at(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// ask begins a question about the spans that a selection may have, and takes a snapshot of them. done ends both.
func (s *Store) ask(ctx context.Context, question string, sel *store.Selection) (snap *snapshot, done func(), err error) {
	from, to := bounds(sel.Window)
	return s.askAround(ctx, question, partition{tenantOf(sel.Tenant), spans}, from, to)
}

// askAround is ask for all rows of a partition in [from, to].
func (s *Store) askAround(ctx context.Context, question string, p partition, from, to int64) (snap *snapshot, done func(), err error) {
	end, err := s.begin(ctx, question)
	if err != nil {
		return nil, nil, err
	}
	if snap, err = s.snapshot(ctx, p, from, to); err != nil {
		end()
		return nil, nil, err
	}
	return snap, func() { snap.release(); end() }, nil
}

func (s *Store) timeline(ctx context.Context, sel store.Selection, step time.Duration, limit int) ([]store.TimelineStat, error) {
	if step <= 0 {
		return nil, fmt.Errorf("timeline: step %s is not positive", step)
	}
	snap, done, err := s.ask(ctx, "timeline", &sel)
	if err != nil {
		return nil, err
	}
	defer done()
	// Steps are aligned to the start of the window, to the epoch if it has none.
	origin := int64(0)
	if !sel.From.IsZero() {
		origin = nanos(sel.From)
	}
	rows := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
		where, ok := c.selection(&sel)
		return fmt.Sprintf("CAST(floor((ts::HUGEINT-(%s))/%d::DOUBLE) AS BIGINT) step,service,name,kind,status,duration",
			literal(origin), int64(step)), where, ok
	})
	out := []store.TimelineStat{}
	if rows == "" {
		return out, nil
	}
	q := fmt.Sprintf(`SELECT step,service,name,kind,count(*),count(*) FILTER (status=%d),avg(duration)/1e9
 FROM (%s) GROUP BY step,service,name,kind ORDER BY step,service,name,kind LIMIT %d`, model.StatusError, rows, limit)
	err = s.engine.query(ctx, q, func(scan func(...any) error) error {
		var o store.TimelineStat
		var n int64
		var kind uint8
		if err := scan(&n, &o.Service, &o.Operation, &kind, &o.Count, &o.Errors, &o.Mean); err != nil {
			return err
		}
		o.At, o.Kind = at(origin+n*int64(step)), model.SpanKind(kind)
		o.Service, o.Operation = unclean(o.Service), unclean(o.Operation)
		out = append(out, o)
		return nil
	})
	return out, err
}

func (s *Store) sampleTraces(ctx context.Context, sel store.Selection, order store.SampleOrder, limit int) ([]store.TraceRef, error) {
	snap, done, err := s.ask(ctx, "sample_traces", &sel)
	if err != nil {
		return nil, err
	}
	defer done()
	rows := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
		where, ok := c.selection(&sel)
		return "trace_hi,trace_lo,span_id,ts,duration,status", where, ok
	})
	out := []store.TraceRef{}
	if rows == "" {
		return out, nil
	}
	// The span that stands for its trace is the longest, of those the first; or, at random, the first.
	best, by := "min({'d':-duration,'t':ts,'i':span_id,'s':status})", "b.d,trace_hi,trace_lo"
	if order == store.Random {
		best, by = "min({'t':ts,'i':span_id,'d':-duration,'s':status})", "hash(trace_hi,trace_lo),trace_hi,trace_lo"
	}
	q := fmt.Sprintf(`SELECT trace_hi,trace_lo,b.i,b.t,-b.d,b.s
 FROM (SELECT trace_hi,trace_lo,%s b FROM (%s) GROUP BY trace_hi,trace_lo) ORDER BY %s LIMIT %d`, best, rows, by, limit)
	err = s.engine.query(ctx, q, func(scan func(...any) error) error {
		var hi, lo, span uint64
		var ts, duration int64
		var status uint8
		if err := scan(&hi, &lo, &span, &ts, &duration, &status); err != nil {
			return err
		}
		out = append(out, store.TraceRef{ID: model.TraceIDFrom(hi, lo), Span: model.SpanIDFrom(span), Start: at(ts),
			Duration: time.Duration(duration), Error: model.StatusCode(status) == model.StatusError})
		return nil
	})
	return out, err
}

func (s *Store) values(ctx context.Context, sel store.Selection, key string, limit int) ([]store.ValueStat, error) {
	snap, done, err := s.ask(ctx, "values", &sel)
	if err != nil {
		return nil, err
	}
	defer done()
	rows := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
		where, ok := c.selection(&sel)
		text := c.attrText(key)
		return text + " v,ts", where, ok && text != "NULL::VARCHAR"
	})
	out := []store.ValueStat{}
	if rows == "" {
		return out, nil
	}
	q := fmt.Sprintf(`SELECT v,count(*) n,min(ts),max(ts) FROM (%s) WHERE v IS NOT NULL GROUP BY v ORDER BY n DESC,v LIMIT %d`,
		rows, limit)
	err = s.engine.query(ctx, q, func(scan func(...any) error) error {
		var v store.ValueStat
		var first, last int64
		if err := scan(&v.Value, &v.Count, &first, &last); err != nil {
			return err
		}
		v.Value, v.First, v.Last = fixText(v.Value), at(first), at(last)
		out = append(out, v)
		return nil
	})
	return out, err
}

func (s *Store) impact(ctx context.Context, sel store.Selection, userKeys []string) (model.Impact, error) {
	from, to := bounds(sel.Window)
	snap, done, err := s.askAround(ctx, "impact", partition{tenantOf(sel.Tenant), spans}, addTime(from, -slackBefore), addTime(to, slackAfter))
	if err != nil {
		return model.Impact{}, err
	}
	defer done()
	var out model.Impact
	chosen := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
		where, ok := c.selection(&sel)
		return "trace_hi,trace_lo", where, ok
	})
	if chosen == "" {
		return out, nil
	}
	counts := make([]string, len(userKeys))
	for i := range userKeys {
		counts[i] = fmt.Sprintf(",count(DISTINCT u%d)", i)
	}
	users := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
		columns, any := "trace_hi,trace_lo", false
		for i, k := range userKeys {
			text := c.attrText(k)
			any = any || text != "NULL::VARCHAR"
			columns += fmt.Sprintf(",%s u%d", text, i)
		}
		return columns, between(addTime(from, -slackBefore), addTime(to, slackAfter)), any
	})
	q := fmt.Sprintf(`SELECT count(*) FROM (%s)`, chosen)
	if users != "" {
		q = fmt.Sprintf(`WITH chosen AS MATERIALIZED (%s) SELECT (SELECT count(*) FROM chosen)%s
 FROM (%s) u SEMI JOIN chosen ON u.trace_hi=chosen.trace_hi AND u.trace_lo=chosen.trace_lo`, chosen, strings.Join(counts, ""), users)
	}
	err = s.engine.query(ctx, q, func(scan func(...any) error) error {
		n := make([]int64, len(userKeys))
		to := []any{&out.Requests}
		if users != "" {
			for i := range n {
				to = append(to, &n[i])
			}
		}
		if err := scan(to...); err != nil {
			return err
		}
		if i := slices.IndexFunc(n, func(c int64) bool { return c > 0 }); i >= 0 {
			out.Users = n[i]
		}
		return nil
	})
	return out, err
}

func (s *Store) health(ctx context.Context, tenant string, w store.Window) (model.Telemetry, error) {
	from, to := bounds(w)
	wideFrom, wideTo := addTime(from, -slackBefore), addTime(to, slackAfter)
	var out model.Telemetry
	snap, done, err := s.askAround(ctx, "health", partition{tenantOf(tenant), spans}, wideFrom, wideTo)
	if err != nil {
		return out, err
	}
	defer done()
	inside := func(c *compiler) bool { return c.layout.MinTime <= to && c.layout.MaxTime >= from }
	children := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
		return "trace_hi,trace_lo,parent_id", between(from, to), inside(c)
	})
	if children != "" {
		parents := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
			return "trace_hi,trace_lo,span_id", between(wideFrom, wideTo), true
		})
		q := fmt.Sprintf(`WITH child AS MATERIALIZED (%s) SELECT (SELECT count(*) FROM child),count(*) FROM
 (SELECT * FROM child WHERE parent_id<>0) c ANTI JOIN (%s) p
 ON c.trace_hi=p.trace_hi AND c.trace_lo=p.trace_lo AND c.parent_id=p.span_id`, children, parents)
		var orphans int64
		err = s.engine.query(ctx, q, func(scan func(...any) error) error { return scan(&out.Spans, &orphans) })
		if err != nil {
			return out, err
		}
		if out.Spans > 0 {
			out.OrphanSpans = float64(orphans) / float64(out.Spans)
		}
	}
	logSnap, err := s.snapshot(ctx, partition{tenantOf(tenant), logs}, from, to)
	if err != nil {
		return out, err
	}
	defer logSnap.release()
	lines := union(logs, logSnap.blocks, func(c *compiler) (string, string, bool) {
		return "trace_hi,trace_lo", between(from, to), true
	})
	if lines == "" {
		return out, nil
	}
	var without int64
	err = s.engine.query(ctx, fmt.Sprintf(`SELECT count(*),count(*) FILTER (trace_hi=0 AND trace_lo=0) FROM (%s)`, lines),
		func(scan func(...any) error) error { return scan(&out.Logs, &without) })
	if out.Logs > 0 {
		out.LogsWithoutSpan = float64(without) / float64(out.Logs)
	}
	return out, err
}

func (s *Store) templateCounts(ctx context.Context, tenant string, a, b store.Window, limit int) ([]store.TemplateCount, error) {
	fromA, toA := bounds(a)
	fromB, toB := bounds(b)
	from, to := min(fromA, fromB), max(toA, toB)
	logSnap, done, err := s.askAround(ctx, "template_counts", partition{tenantOf(tenant), logs}, from, to)
	if err != nil {
		return nil, err
	}
	defer done()
	inA, inB := "("+between(fromA, toA)+")", "("+between(fromB, toB)+")"
	lines := union(logs, logSnap.blocks, func(c *compiler) (string, string, bool) {
		return fmt.Sprintf("ts,trace_hi,trace_lo,service,template,severity,%s body,%s in_a,%s in_b",
			c.optional("body", "VARCHAR"), inA, inB), inA + " OR " + inB, true
	})
	out := []store.TemplateCount{}
	if lines == "" {
		return out, nil
	}
	// A line belongs to the entry span of its service that began last before it; clocks of loggers are often coarse, so a
	// line may be a millisecond early.
	entryFrom, entryTo := addTime(from, -slackBefore), addTime(to, time.Millisecond)
	spanSnap, err := s.snapshot(ctx, partition{tenantOf(tenant), spans}, entryFrom, entryTo)
	if err != nil {
		return nil, err
	}
	defer spanSnap.release()
	entries := union(spans, spanSnap.blocks, func(c *compiler) (string, string, bool) {
		return "trace_hi,trace_lo,service,name,ts", fmt.Sprintf("kind IN (%d,%d) AND %s", model.SpanServer, model.SpanConsumer,
			between(entryFrom, entryTo)), true
	})
	if entries == "" {
		entries = "SELECT NULL::UBIGINT trace_hi,NULL::UBIGINT trace_lo,NULL::VARCHAR service,NULL::VARCHAR name,NULL::BIGINT ts WHERE false"
	}
	q := fmt.Sprintf(`SELECT l.service,coalesce(e.name,'') op,l.template,max(l.severity),
 count(*) FILTER (in_a) na,count(*) FILTER (in_b) nb,min(l.ts),min(l.ts) FILTER (in_a),
 coalesce(min({'t':l.ts,'b':coalesce(l.body,''),'h':l.trace_hi,'l':l.trace_lo}) FILTER (in_a),
  min({'t':l.ts,'b':coalesce(l.body,''),'h':l.trace_hi,'l':l.trace_lo})) s
 FROM (%s) l ASOF LEFT JOIN (SELECT trace_hi,trace_lo,service,name,greatest(ts,-9223372036853775808)-1000000 early FROM (%s)
  WHERE trace_hi<>0 OR trace_lo<>0) e
 ON l.trace_hi=e.trace_hi AND l.trace_lo=e.trace_lo AND l.service=e.service AND l.ts>=e.early
 GROUP BY l.service,op,l.template ORDER BY na DESC,nb DESC,l.service,op,l.template LIMIT %d`, lines, entries, limit)
	q = `SELECT * EXCLUDE (s),s.b,s.h,s.l FROM (` + q + `) ORDER BY na DESC,nb DESC,service,op,template`
	err = s.engine.query(ctx, q, func(scan func(...any) error) error {
		var t store.TemplateCount
		var severity uint8
		var first int64
		var firstA sql.NullInt64
		var hi, lo uint64
		err := scan(&t.Service, &t.Operation, &t.Template, &severity, &t.A, &t.B, &first, &firstA, &t.Sample, &hi, &lo)
		if err != nil {
			return err
		}
		t.Service, t.Operation, t.Severity = unclean(t.Service), unclean(t.Operation), model.Severity(severity)
		t.First, t.SampleTrace = at(first), model.TraceIDFrom(hi, lo)
		if firstA.Valid {
			t.FirstA = at(firstA.Int64)
		}
		out = append(out, t)
		return nil
	})
	return out, err
}

// edges: a call counts when its client or producer span started in the window; what it led to may have started a little
// outside. A consumer belongs to the producer that is its parent or that one of its links names.
func (s *Store) edges(ctx context.Context, tenant string, w store.Window, limit int) ([]store.EdgeStat, error) {
	from, to := bounds(w)
	entryFrom, entryTo := addTime(from, -time.Minute), addTime(to, slackAfter)
	snap, done, err := s.askAround(ctx, "edges", partition{tenantOf(tenant), spans}, entryFrom, entryTo)
	if err != nil {
		return nil, err
	}
	defer done()
	out := []store.EdgeStat{}
	exits := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
		return fmt.Sprintf("trace_hi,trace_lo,span_id,service,kind,status,ts,duration,%s db,%s dbname,%s mq,%s mqname,%s remote",
				c.firstText("db.system.name", "db.system"), c.firstText("db.namespace", "db.name"),
				c.firstText("messaging.system"), c.firstText("messaging.destination.name", "messaging.destination"),
				c.firstText("server.address", "peer.service", "net.peer.name", "network.peer.address")),
			fmt.Sprintf("kind IN (%d,%d) AND %s", model.SpanClient, model.SpanProducer, between(from, to)),
			c.layout.MinTime <= to && c.layout.MaxTime >= from
	})
	if exits == "" {
		return out, nil
	}
	entry := fmt.Sprintf("kind IN (%d,%d) AND %s", model.SpanServer, model.SpanConsumer, between(entryFrom, entryTo))
	children := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
		return "trace_hi,trace_lo,parent_id,span_id,service,kind,status,ts,duration", entry + " AND parent_id<>0", true
	})
	linked := union(spans, snap.blocks, func(c *compiler) (string, string, bool) {
		return c.optional("link_ids", "UBIGINT[]") + " ids,span_id,service,kind,status,ts,duration",
			entry + " AND link_ids IS NOT NULL", c.layout.has("link_ids")
	})
	if linked != "" {
		// UNION, not UNION ALL: a consumer may name its producer both as parent and in a link.
		children += fmt.Sprintf(`
 UNION SELECT ids[3*i+1],ids[3*i+2],ids[3*i+3],span_id,service,kind,status,ts,duration
 FROM (SELECT *,unnest(range(0,len(ids)//3)) i FROM (%s))`, linked)
	}
	q := fmt.Sprintf(`WITH edge AS (SELECT x.service f,
  CASE WHEN e.service IS NOT NULL THEN CASE WHEN e.kind=%[1]d THEN 'message' ELSE 'call' END
   WHEN x.db IS NOT NULL THEN 'database' WHEN x.mq IS NOT NULL OR x.kind=%[2]d THEN 'queue' ELSE 'remote' END k,
  CASE WHEN e.service IS NOT NULL THEN e.service WHEN x.db IS NOT NULL THEN coalesce(x.dbname,x.remote,x.db)
   WHEN x.mq IS NOT NULL OR x.kind=%[2]d THEN coalesce(x.mqname,x.mq) ELSE x.remote END t,
  (x.status=%[3]d OR coalesce(e.status,0)=%[3]d) failed,x.duration cd,e.duration sd,
  CASE WHEN e.service IS NULL THEN NULL WHEN e.kind=%[1]d THEN greatest(0,e.ts-(x.ts+x.duration)) ELSE greatest(0,x.duration-e.duration) END wait
  FROM (%[4]s) x LEFT JOIN (%[5]s) e ON x.trace_hi=e.trace_hi AND x.trace_lo=e.trace_lo AND x.span_id=e.parent_id)
 SELECT f,t,k,count(*) n,count(*) FILTER (failed),avg(cd)/1e9,quantile_cont(cd,0.99)/1e9,coalesce(avg(sd)/1e9,0),coalesce(quantile_cont(wait,0.5)/1e9,0),
 coalesce(avg(wait)/1e9,0) FROM edge WHERE t IS NOT NULL AND t<>'' GROUP BY f,t,k ORDER BY n DESC,f,t,k LIMIT %[6]d`,
		model.SpanConsumer, model.SpanProducer, model.StatusError, exits, children, limit)
	err = s.engine.query(ctx, q, func(scan func(...any) error) error {
		var e store.EdgeStat
		var kind string
		err := scan(&e.From, &e.To, &kind, &e.Count, &e.Errors, &e.ClientMean, &e.ClientP99, &e.ServerMean, &e.WaitP50, &e.WaitMean)
		if err != nil {
			return err
		}
		e.From, e.To, e.Kind = unclean(e.From), fixText(e.To), store.EdgeKind(kind)
		out = append(out, e)
		return nil
	})
	return out, err
}

package events

import (
	"context"
	"fmt"
	"strings"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

func (s *Store) countRows(ctx context.Context, p signal, question string, q store.CountQuery) ([]store.CountStat, error) {
	switch {
	case q.Limit < 1:
		return nil, fmt.Errorf("%s: limit %d is less than 1", question, q.Limit)
	case q.Step <= 0:
		return nil, fmt.Errorf("%s: step %s is not positive", question, q.Step)
	case !(q.Quantile >= 0 && q.Quantile <= 1):
		return nil, fmt.Errorf("%s: quantile %v is not between 0 and 1", question, q.Quantile)
	case search.HasRelation(q.Where):
		return nil, fmt.Errorf("%s: relations between spans are not counted", question)
	}
	end, err := s.begin(ctx, question)
	if err != nil {
		return nil, err
	}
	defer end()
	from, to := bounds(q.Window)
	snap, err := s.snapshot(ctx, partition{tenantOf(q.Tenant), p}, from, to)
	if err != nil {
		return nil, err
	}
	defer snap.release()
	origin := int64(0)
	if !q.From.IsZero() {
		origin = nanos(q.From)
	}
	var groups []string // of the outer query
	for i := range q.By {
		groups = append(groups, fmt.Sprintf("g%d", i))
	}
	var failed error
	rows := unionWith(",file_row_number=true", snap.blocks, p, func(c *compiler) (string, string, bool) {
		if c.layout.MinTime > to || c.layout.MaxTime < from {
			return "", "", false
		}
		cond, err := c.matches(q.Where)
		if err != nil {
			failed = err
			return "", "", false
		}
		c.need = c.needs(q.Where)
		stretches, whole := s.catalog.filters.stretches(c.block, c.need)
		where := cond.sql()
		if !whole && len(stretches) == 0 || where == "false" {
			return "", "", false
		}
		if !whole {
			c.stretches = stretches
		}
		columns := []string{fmt.Sprintf("CAST(floor((ts::HUGEINT-(%s))/%d::DOUBLE) AS BIGINT) step", literal(origin), int64(q.Step))}
		for i, key := range q.By {
			columns = append(columns, fmt.Sprintf("coalesce(%s,'') g%d", c.groupText(key), i))
		}
		if p == spans {
			columns = append(columns, "status", "duration")
		}
		return strings.Join(columns, ","), between(from, to) + " AND " + where, true
	})
	if failed != nil {
		return nil, failed
	}
	out := []store.CountStat{}
	if rows == "" {
		return out, nil
	}
	by := strings.Join(append([]string{"step"}, groups...), ",")
	measures := "0::BIGINT,0::DOUBLE,0::DOUBLE"
	if p == spans {
		measures = fmt.Sprintf("count(*) FILTER (status=%d),avg(duration)/1e9,quantile_cont(duration,%s)/1e9", model.StatusError, double(q.Quantile))
	}
	text := fmt.Sprintf("SELECT %s,count(*),%s FROM (%s) GROUP BY %s ORDER BY %s LIMIT %d", by, measures, rows, by, by, q.Limit)
	err = s.engine.query(ctx, text, func(scan func(...any) error) error {
		stat := store.CountStat{By: make([]string, len(q.By))}
		var step int64
		into := []any{&step}
		for i := range stat.By {
			into = append(into, &stat.By[i])
		}
		if err := scan(append(into, &stat.Count, &stat.Errors, &stat.Mean, &stat.Quantile)...); err != nil {
			return err
		}
		for i := range stat.By {
			stat.By[i] = unclean(stat.By[i])
		}
		stat.At = at(origin + step*int64(q.Step))
		out = append(out, stat)
		return nil
	})
	return out, err
}

// levels are the lowest severity numbers of OpenTelemetry's levels, the highest first.
var levels = []model.Severity{21, 17, 13, 9, 5, 1}

// groupText is the text of a field or attribute, by which rows are grouped.
func (c *compiler) groupText(key string) string {
	switch {
	case key == "service":
		return "service"
	case (key == "operation" || key == "name") && c.signal == spans:
		return "name"
	case key == "kind" && c.signal == spans:
		return caseOf("kind", []model.SpanKind{model.SpanUnspecified, model.SpanInternal, model.SpanServer, model.SpanClient, model.SpanProducer, model.SpanConsumer})
	case key == "status" && c.signal == spans:
		return caseOf("status", []model.StatusCode{model.StatusUnset, model.StatusOK, model.StatusError})
	case (key == "severity" || key == "level") && c.signal == logs:
		var out strings.Builder
		out.WriteString("CASE WHEN severity>24 THEN ''")
		for _, l := range levels {
			fmt.Fprintf(&out, " WHEN severity>=%d THEN %s", l, quote(strings.ToLower(l.String())))
		}
		out.WriteString(" ELSE '' END")
		return out.String()
	}
	return c.attrText(key)
}

// caseOf names the numbers of a column.
func caseOf[T interface {
	~uint8
	String() string
}](column string, values []T) string {
	var out strings.Builder
	out.WriteString("CASE " + column)
	for _, v := range values {
		fmt.Fprintf(&out, " WHEN %d THEN %s", v, quote(v.String()))
	}
	out.WriteString(" END")
	return out.String()
}

package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// selectsBack is how far back a series may have ended to be counted: the head holds about so much.
const selectsBack = time.Hour

// Selects counts the series that an expression's selectors find, without reading their samples; it stops at limit.
func (s *Store) Selects(ctx context.Context, tenant, expr string, limit int) (n int, err error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return 0, fmt.Errorf("query %s: %w", expr, err)
	}
	queryable, err := s.Queryable(tenant)
	if err != nil {
		return 0, err
	}
	to := s.opts.Now()
	from := to.Add(-selectsBack)
	q, err := queryable.Querier(from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return 0, fmt.Errorf("query %s: %w", expr, err)
	}
	defer q.Close()
	for _, ms := range parser.ExtractSelectors(parsed) {
		// The function named series makes the TSDB give labels without samples.
		hints := &storage.SelectHints{Start: from.UnixMilli(), End: to.UnixMilli(), Limit: limit, Func: "series"}
		set := q.Select(ctx, false, hints, ms...)
		for n < limit && set.Next() {
			n++
		}
		if err := set.Err(); err != nil {
			return n, fmt.Errorf("query %s: %w", expr, classify(err))
		}
	}
	return n, nil
}

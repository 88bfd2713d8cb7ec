package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triage/client"
	"triage/internal/search"
)

func queryCommand(o *options) *cobra.Command {
	return group(&cobra.Command{
		Use:   "query",
		Short: "Ask for metrics, logs or traces, or in SQL",
	}, queryMetrics(o), queryLogs(o), queryTraces(o), querySQL(o))
}

func queryMetrics(o *options) *cobra.Command {
	var w window
	var at moment
	var step time.Duration
	cmd := &cobra.Command{
		Use:   "metrics PROMQL",
		Short: "Evaluate PromQL: a table of now, or with --from a chart",
		Example: `  triage query metrics 'sum by (service_name) (rate(traces_span_metrics_calls_total[1m]))'
  triage query metrics --from -1h 'rate(traces_span_metrics_calls_total{service_name="cart"}[1m])'`,
		Args: args(cobra.ExactArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			from, to := w.times(e.now)
			if from.IsZero() {
				if !to.IsZero() || step != 0 {
					return &usageError{errors.New("--to and --step need --from; for one time use --at")}
				}
				r, err := e.client.Query(ctx, args[0], at.at(e.now))
				if err != nil {
					return err
				}
				return e.printResult(r, e.printVector)
			}
			if at != "" {
				return &usageError{errors.New("--at asks for one time, --from for a chart: leave out one of them")}
			}
			if to.IsZero() {
				to = e.now
			}
			if !from.Before(to) {
				return &usageError{fmt.Errorf("--from %s is not before --to %s", clock(from), clock(to))}
			}
			if step == 0 {
				step = niceStep(to.Sub(from), e.width)
			}
			if step < time.Millisecond {
				return &usageError{errors.New("--step must be at least 1ms")}
			}
			r, err := e.client.QueryRange(ctx, args[0], from, to, step)
			if err != nil {
				return err
			}
			return e.printResult(r, func(r client.Result) error { return e.chart(r.Series, from, to, step) })
		}),
	}
	w.flags(cmd, "; draws a chart")
	cmd.Flags().Var(&at, "at", `evaluate at this time instead of now`)
	cmd.Flags().DurationVar(&step, "step", 0, "distance of points (chosen to fit the chart without it)")
	return cmd
}

// niceStep gives about one point a column, at distances people use.
func niceStep(d time.Duration, width int) time.Duration {
	want := d / time.Duration(max(width-20, 20))
	for _, s := range []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute,
		15 * time.Minute, 30 * time.Minute, time.Hour, 6 * time.Hour} {
		if s >= want {
			return s
		}
	}
	return want.Round(time.Hour)
}

// printResult prints what JSON wants, or hands over to what people want; warnings come after either.
func (e *env) printResult(r client.Result, people func(client.Result) error) error {
	if e.json {
		return e.printJSON(prometheusJSON(r))
	}
	if err := people(r); err != nil {
		return err
	}
	for _, w := range append(r.Warnings, r.Infos...) {
		if err := e.printf("%s\n", e.paint(yellow, "note: "+clean(w))); err != nil {
			return err
		}
	}
	return nil
}

// prometheusJSON is a result in the shape of the Prometheus API's data.
func prometheusJSON(r client.Result) any {
	type row struct {
		Metric map[string]string `json:"metric"`
		Value  *client.Point     `json:"value,omitempty"`
		Values []client.Point    `json:"values,omitempty"`
	}
	out := map[string]any{"resultType": r.Type}
	switch r.Type {
	case "scalar":
		out["result"] = r.Series[0].Points[0]
	case "string":
		out["result"] = r.Text
	default:
		rows := []row{}
		for _, s := range r.Series {
			if r.Type == "vector" && len(s.Points) > 0 {
				rows = append(rows, row{Metric: s.Labels, Value: &s.Points[0]})
			} else {
				rows = append(rows, row{Metric: s.Labels, Values: s.Points})
			}
		}
		out["result"] = rows
	}
	if len(r.Warnings) > 0 {
		out["warnings"] = r.Warnings
	}
	return out
}

func (e *env) printVector(r client.Result) error {
	if r.Type == "string" {
		return e.printf("%s\n", clean(r.Text))
	}
	t := e.newTable("SERIES", ">VALUE")
	for _, s := range r.Series {
		for _, p := range s.Points {
			value := digits(p.Value)
			if h := p.Histogram; h != nil {
				value = fmt.Sprintf("histogram of %s, mean %s", digits(h.Count), digits(h.Sum/h.Count))
			}
			if len(s.Points) > 1 { // a range selector as the whole query
				value = clock(p.At) + " " + value
			}
			t.add(seriesName(s.Labels), value)
		}
	}
	return t.print("no series")
}

// seriesName is a label set as PromQL writes it.
func seriesName(labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if k != "__name__" {
			parts = append(parts, k+"="+strconv.Quote(labels[k]))
		}
	}
	name := labels["__name__"]
	if len(parts) == 0 {
		return fallback(name, "{}")
	}
	return name + "{" + strings.Join(parts, ", ") + "}"
}

// searchFlags are those of searches for logs and spans.
type searchFlags struct {
	window
	limit int
}

func (f *searchFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.limit, "limit", 0, "how many at most (the server's default without it)")
	f.flags(cmd, " (an hour before the end without it)")
}

// query checks a search before it goes out, so that a mistake is shown beside what was typed.
func (f *searchFlags) query(e *env, args []string) (client.SearchQuery, error) {
	q := client.SearchQuery{Q: strings.Join(args, " "), Limit: f.limit}
	q.From, q.To = f.times(e.now)
	return q, checkSearch(q.Q)
}

func checkSearch(q string) error {
	_, err := search.Parse(q)
	var at *search.Error
	if !errors.As(err, &at) {
		return err
	}
	before := []rune(q)
	before = before[:min(len(before), at.Pos-1)]
	return &usageError{fmt.Errorf("the search has a mistake at %w\n  %s\n  %s^", at, clean(q), strings.Repeat(" ", columns(clean(string(before)))))}
}

func queryLogs(o *options) *cobra.Command {
	var f searchFlags
	cmd := &cobra.Command{
		Use:     "logs [SEARCH]",
		Short:   "Search log lines; the newest are printed last",
		Example: `  triage query logs --from -15m 'service:cart level:error "pool exhausted"'`,
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			q, err := f.query(e, args)
			if err != nil {
				return err
			}
			done := e.showProgress(&q, "log lines")
			page, err := e.client.Logs(ctx, q)
			done()
			if err != nil {
				return err
			}
			if e.json {
				page.Logs = nonNil(page.Logs)
				return e.printJSON(page)
			}
			for i := range slices.Backward(page.Logs) {
				if err := e.printLog(&page.Logs[i], "", logColumns{date: true}); err != nil {
					return err
				}
			}
			return e.printPage(len(page.Logs), page.More, page.Partial, "log lines")
		}),
	}
	f.add(cmd)
	return cmd
}

// showProgress makes a search say on the terminal how far it is. The returned function takes that away again.
func (e *env) showProgress(q *client.SearchQuery, what string) func() {
	if e.screen == nil {
		return func() {}
	}
	shown := false
	q.Progress = func(done, total int64) {
		shown = true
		share := 100.0
		if total > 0 {
			share = 100 * float64(done) / float64(total)
		}
		fmt.Fprintf(e.screen, "\r\x1b[Ksearched %s of %s %s (%.0f %%)", count(done), count(total), what, share)
	}
	return func() {
		if shown {
			fmt.Fprint(e.screen, "\r\x1b[K")
		}
	}
}

// printPage says what a page of results leaves out.
func (e *env) printPage(n int, more bool, partial, what string) error {
	if n == 0 {
		if err := e.printf("no %s\n", what); err != nil {
			return err
		}
	}
	if more {
		if err := e.printf("%s\n", e.paint(dim, fmt.Sprintf("there are more than these %d %s: narrow the search, or raise --limit", n, what))); err != nil {
			return err
		}
	}
	if partial != "" {
		return e.printf("%s\n", e.paint(yellow, "some may be missing: "+clean(partial)))
	}
	return nil
}

func queryTraces(o *options) *cobra.Command {
	var f searchFlags
	cmd := &cobra.Command{
		Use:     "traces [SEARCH]",
		Short:   "Search spans, newest first",
		Example: `  triage query traces --from -15m 'service:cart kind:server duration:>2s'`,
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			q, err := f.query(e, args)
			if err != nil {
				return err
			}
			done := e.showProgress(&q, "spans")
			page, err := e.client.Spans(ctx, q)
			done()
			if err != nil {
				return err
			}
			if e.json {
				page.Spans = nonNil(page.Spans)
				return e.printJSON(page)
			}
			t := e.newTable("START (UTC)", "TRACE", "SERVICE", "OPERATION", "KIND", ">DURATION", "STATUS")
			for i := range page.Spans {
				s := &page.Spans[i]
				status := cell{text: s.Status.String()}
				if failed(s) {
					status = cell{strings.TrimSpace("error " + s.StatusMessage), red}
				}
				t.add(time.Unix(0, s.Start).UTC().Format("2006-01-02 15:04:05.000"), s.TraceID.String(), s.Service(), s.Name,
					s.Kind.String(), lasting(time.Duration(s.Duration)), status)
			}
			if len(page.Spans) > 0 {
				if err := t.print(""); err != nil {
					return err
				}
			}
			return e.printPage(len(page.Spans), page.More, page.Partial, "spans")
		}),
	}
	f.add(cmd)
	return cmd
}

func querySQL(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "sql QUERY",
		Short:   "Run a read-only SQL query over the tables spans and logs",
		Example: `  triage query sql 'SELECT service, count(*) FROM logs GROUP BY ALL'`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			r, err := e.client.SQL(ctx, args[0])
			if err != nil {
				return err
			}
			if e.json {
				r.Rows = nonNil(r.Rows)
				return e.printJSON(r)
			}
			names := make([]string, len(r.Columns))
			for i, c := range r.Columns {
				names[i] = clean(c)
				if i < len(r.Types) && numeric(r.Types[i]) {
					names[i] = ">" + names[i]
				}
			}
			t := e.newTable(names...)
			for _, row := range r.Rows {
				cells := make([]any, len(row))
				for i, v := range row {
					cells[i] = sqlText(v)
				}
				t.add(cells...)
			}
			if err := t.print("no rows"); err != nil {
				return err
			}
			if r.Truncated {
				return e.printf("%s\n", e.paint(yellow, "there were more rows than the server gives: aggregate, or add LIMIT"))
			}
			return nil
		}),
	}
}

func numeric(sqlType string) bool {
	name, _, _ := strings.Cut(sqlType, "(")
	switch strings.ToUpper(name) {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE", "DECIMAL":
		return true
	}
	return false
}

func sqlText(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return v
	case json.Number:
		return v.String()
	case []any, map[string]any:
		b, _ := json.Marshal(v) // it came out of JSON
		return string(b)
	}
	return fmt.Sprint(v)
}

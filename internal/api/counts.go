package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"triage/internal/alarm"
	"triage/internal/search"
	"triage/internal/store"
)

const (
	// countParts is into how many steps a range is parted when nobody says, maxCountParts how many there may be.
	countParts    = 60
	maxCountParts = 1000
	maxCountBy    = 4
	maxCounts     = 20_000
)

// Counting is what is counted and how; it is exported because only then its fields are read.
type Counting struct {
	Scope
	Q    string `query:"q" doc:"what to count, in Lucene's manner; everything without it"`
	By   string `query:"by" example:"service,level" doc:"fields or attributes, at most 4; each combination of their values is counted by itself"`
	Step string `query:"step" example:"30s" doc:"a sixtieth of the range without it"`
}

type countRow struct {
	At    time.Time `json:"at"`
	By    []string  `json:"by,omitempty"`
	Count int64     `json:"count"`
	// Of spans alone.
	Errors   int64   `json:"errors,omitempty"`
	Mean     float64 `json:"mean_s,omitempty"`
	Quantile float64 `json:"quantile_s,omitempty"`
}

func (p Counting) query(now time.Time) (store.CountQuery, error) {
	none := store.CountQuery{}
	w, err := p.window(now)
	if err != nil {
		return none, err
	}
	where, err := search.Parse(p.Q)
	if err != nil {
		return none, bad(fmt.Errorf("q: %w", err))
	}
	if search.HasRelation(where) {
		return none, bad(fmt.Errorf("q: relations between spans are not counted"))
	}
	q := store.CountQuery{Tenant: tenant(p.Tenant), Window: w, Where: where, Limit: maxCounts, Step: max(time.Millisecond, (w.Len()+countParts-1)/countParts)}
	if p.Step != "" {
		var step alarm.Duration
		if err := step.UnmarshalText([]byte(p.Step)); err != nil || step <= 0 {
			return none, bad(fmt.Errorf("step: %q is no duration such as 30s", p.Step))
		}
		q.Step = time.Duration(step)
	}
	if w.Len() > maxCountParts*q.Step {
		return none, bad(fmt.Errorf("step: %s parts the range into more than %d", q.Step, maxCountParts))
	}
	for name := range strings.SplitSeq(p.By, ",") {
		if name = strings.TrimSpace(name); name != "" {
			q.By = append(q.By, name)
		}
	}
	if len(q.By) > maxCountBy {
		return none, bad(fmt.Errorf("by: %d fields, there may be %d", len(q.By), maxCountBy))
	}
	return q, nil
}

func counted(q store.CountQuery, list []store.CountStat, missing string) (*body, error) {
	rows := make([]countRow, len(list))
	for i, c := range list {
		rows[i] = countRow{c.At.UTC(), c.By, c.Count, c.Errors, c.Mean, c.Quantile}
	}
	return answer(map[string]any{"from": q.From.UTC(), "to": q.To.UTC(), "step_s": q.Step.Seconds(), "by": nonNil(q.By), "rows": rows,
		"more": len(list) == q.Limit, "partial": missing})
}

func (s *server) logCounts(ctx context.Context, in *Counting) (*body, error) {
	q, err := in.query(s.Now())
	if err != nil {
		return nil, err
	}
	ctx, missing := store.AllowPartial(ctx)
	list, err := s.Events.LogCounts(ctx, q)
	if err != nil {
		return nil, err
	}
	return counted(q, list, missing.String())
}

type spanCountParams struct {
	Counting
	Quantile float64 `query:"quantile" minimum:"0" maximum:"1" default:"0.95" doc:"which quantile of the durations is told"`
}

func (s *server) spanCounts(ctx context.Context, in *spanCountParams) (*body, error) {
	q, err := in.query(s.Now())
	if err != nil {
		return nil, err
	}
	q.Quantile = in.Quantile
	ctx, missing := store.AllowPartial(ctx)
	list, err := s.Events.SpanCounts(ctx, q)
	if err != nil {
		return nil, err
	}
	return counted(q, list, missing.String())
}

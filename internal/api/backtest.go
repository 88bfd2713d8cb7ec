package api

import (
	"context"
	"encoding/json"
	"time"

	"triage/internal/alarm"
	"triage/internal/store"
)

type backtestParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	Body   struct {
		Rule    json.RawMessage `json:"rule" doc:"an alarm rule"`
		From    string          `json:"from" doc:"RFC 3339 or Unix seconds"`
		To      string          `json:"to,omitempty" doc:"now without it"`
		PerWeek *float64        `json:"per_week,omitempty" minimum:"0" doc:"propose a threshold that gives at most so many pages a week"`
		Lines   int             `json:"lines,omitempty" minimum:"0" maximum:"20" doc:"tell the datapoints of so many alarms, those with pages first"`
	}
}

// defaultBacktest is how far a backtest reaches back.
const defaultBacktest = 7 * 24 * time.Hour

func (s *server) backtest(ctx context.Context, in *backtestParams) (*body, error) {
	r, err := alarm.ParseRule(in.Body.Rule)
	if err != nil {
		return nil, bad(err)
	}
	now := s.Now()
	to, err := ParseTime("to", in.Body.To, now)
	if err != nil {
		return nil, err
	}
	from, err := ParseTime("from", in.Body.From, now.Add(-defaultBacktest))
	if err != nil {
		return nil, err
	}
	got, err := alarm.RunBacktest(ctx, alarm.BacktestOptions{
		Tenant: tenant(in.Tenant), Rule: r, Window: store.Window{From: from, To: to}, Metrics: s.Metrics, Events: s.Events, PerWeek: in.Body.PerWeek, Lines: in.Body.Lines,
	})
	if err != nil {
		return nil, err
	}
	return answer(got)
}

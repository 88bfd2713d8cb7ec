package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
)

type alarmsParams struct {
	Scope
	State string `query:"state" enum:"OK,ALARM,INSUFFICIENT_DATA" doc:"all without it"`
}

func (s *server) alarms(_ context.Context, in *alarmsParams) (*body, error) {
	list := s.Alarms.Alarms(tenant(in.Tenant))
	if in.State != "" {
		list = slices.DeleteFunc(list, func(a model.Alarm) bool { return string(a.State) != in.State })
	}
	return answer(map[string]any{"alarms": nonNil(list), "rules": nonNil(s.Alarms.Rules(tenant(in.Tenant)))})
}

type ruleParams struct {
	Tenant  string `header:"X-Scope-OrgID"`
	RawBody []byte `contentType:"application/json"`
}

func (s *server) putRule(ctx context.Context, in *ruleParams) (*body, error) {
	r, err := alarm.ParseRule(in.RawBody)
	if err != nil {
		return nil, bad(err)
	}
	if err := s.Alarms.SaveRule(ctx, tenant(in.Tenant), r); err != nil {
		return nil, err
	}
	return answer(r)
}

type namedParams struct {
	Tenant string `header:"X-Scope-OrgID"`
	Name   string `path:"name"`
}

func (s *server) deleteRule(ctx context.Context, in *namedParams) (*struct{}, error) {
	return nil, s.Alarms.DeleteRule(ctx, tenant(in.Tenant), in.Name)
}

type historyParams struct {
	Scope
	Alarm string `query:"alarm" doc:"an alarm's id; all without it"`
	Limit int    `query:"limit" minimum:"1" maximum:"10000" default:"1000"`
}

func (s *server) history(ctx context.Context, in *historyParams) (*body, error) {
	w, err := in.window(s.Now())
	if err != nil {
		return nil, err
	}
	list, err := s.State.Transitions(ctx, tenant(in.Tenant), in.Alarm, w, in.Limit)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"transitions": nonNil(list)})
}

type bandParams struct {
	Scope
	Alarm string `query:"alarm" required:"true" doc:"an alarm's id"`
	Step  string `query:"step" doc:"least time between points, such as 1m; the rule's period without it"`
}

func (s *server) band(ctx context.Context, in *bandParams) (*body, error) {
	w, err := in.window(s.Now())
	if err != nil {
		return nil, err
	}
	var step alarm.Duration
	if in.Step != "" {
		if err := step.UnmarshalText([]byte(in.Step)); err != nil {
			return nil, bad(fmt.Errorf("step: %w", err))
		}
	}
	if step < 0 {
		return nil, bad(fmt.Errorf("step: %s is negative", step))
	}
	b, err := s.Alarms.Band(ctx, tenant(in.Tenant), in.Alarm, w, time.Duration(step))
	if err != nil {
		return nil, err
	}
	return answer(b)
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, by its contract
	return hex.EncodeToString(b[:])
}

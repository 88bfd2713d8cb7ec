package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// maxDifference is how many attribute values are compared at most.
const maxDifference = 200

// differenceParams picks "these" spans out of all of an operation's. The rest is what is left of them.
type differenceParams struct {
	Scope
	Service   string `query:"service"`
	Operation string `query:"operation"`
	TheseFrom string `query:"these_from" doc:"RFC 3339 or Unix seconds; from without it"`
	TheseTo   string `query:"these_to" doc:"RFC 3339 or Unix seconds; to without it"`
	Min       string `query:"min" example:"250ms" doc:"least duration of these"`
	Max       string `query:"max" example:"2s" doc:"duration that these stay below"`
	Failed    bool   `query:"failed" doc:"these failed or took at least min; the rest did neither"`
}

type differenceRow struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	These int64  `json:"these"`
	Rest  int64  `json:"rest"`
}

// difference says which attribute values set these spans apart from the rest, the most telling first.
// callersPort are attributes of requests that hold the port which the caller's system happened to take: it tells connections
// apart, which nobody can do anything about.
var callersPort = map[string]bool{"network.peer.port": true, "client.port": true, "net.peer.port": true, "net.sock.peer.port": true}

func (s *server) difference(ctx context.Context, in *differenceParams) (*body, error) {
	all, these, err := in.selections(s.Now())
	if err != nil {
		return nil, err
	}
	ctx, missing := store.AllowPartial(ctx)
	d, err := s.Events.AttributeDifference(ctx, store.DifferenceQuery{A: these, B: all, FromTrace: true, Limit: maxDifference})
	if err != nil {
		return nil, err
	}
	rows := []differenceRow{}
	for _, v := range d.Values {
		if callersPort[v.Key] {
			continue
		}
		// All contains these, so the rest is what remains.
		rows = append(rows, differenceRow{v.Key, v.Value, v.A, max(0, v.B-v.A)})
	}
	return answer(map[string]any{"these": d.A, "rest": max(0, d.B-d.A), "values": rows, "partial": missing.String()})
}

func (p differenceParams) selections(now time.Time) (all, these store.Selection, err error) {
	w, err := p.window(now)
	if err != nil {
		return all, these, err
	}
	all = store.Selection{Tenant: tenant(p.Tenant), Window: w, Service: p.Service, Operation: p.Operation,
		Kinds: []model.SpanKind{model.SpanServer, model.SpanConsumer}}
	these = all
	if these.From, err = ParseTime("these_from", p.TheseFrom, w.From); err != nil {
		return all, these, err
	}
	if these.To, err = ParseTime("these_to", p.TheseTo, w.To); err != nil {
		return all, these, err
	}
	if these.From.Before(w.From) || these.To.After(w.To) || !these.From.Before(these.To) {
		return all, these, bad(errors.New("these_from to these_to must be a part of from to to"))
	}
	least, err := parseDuration("min", p.Min)
	if err != nil {
		return all, these, err
	}
	if p.Failed {
		these.Bad, these.BadDuration = true, least
		return all, these, nil
	}
	these.MinDuration = least
	if these.MaxDuration, err = parseDuration("max", p.Max); err != nil {
		return all, these, err
	}
	return all, these, nil
}

func parseDuration(name, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, bad(fmt.Errorf("%s: %q is no duration such as 250ms", name, text))
	}
	return d, nil
}

// maxTemplates is how many templates an answer has at most.
const maxTemplates = 500

type templatesParams struct {
	Scope
	BeforeFrom string `query:"before_from" doc:"RFC 3339 or Unix seconds; as long before from as to is after it without it"`
	BeforeTo   string `query:"before_to" doc:"RFC 3339 or Unix seconds; from without it"`
	Service    string `query:"service"`
}

type templateAnswer struct {
	Service   string         `json:"service"`
	Operation string         `json:"operation,omitempty"`
	Template  string         `json:"template"` // 16 hex digits
	Severity  model.Severity `json:"severity"`
	Level     string         `json:"level,omitempty"`
	Count     int64          `json:"count"`
	Before    int64          `json:"before"`
	First     time.Time      `json:"first"`
	Sample    string         `json:"sample"`
	Trace     model.TraceID  `json:"sample_trace,omitzero"`
}

// templates counts log lines by template in a range and in one before it.
func (s *server) templates(ctx context.Context, in *templatesParams) (*body, error) {
	w, err := in.window(s.Now())
	if err != nil {
		return nil, err
	}
	before := store.Window{}
	if before.To, err = ParseTime("before_to", in.BeforeTo, w.From); err != nil {
		return nil, err
	}
	if before.From, err = ParseTime("before_from", in.BeforeFrom, before.To.Add(-w.Len())); err != nil {
		return nil, err
	}
	if !before.From.Before(before.To) {
		return nil, bad(errors.New("before_from is not before before_to"))
	}
	ctx, missing := store.AllowPartial(ctx)
	list, err := s.Events.TemplateCounts(ctx, tenant(in.Tenant), w, before, maxTemplates)
	if err != nil {
		return nil, err
	}
	rows := []templateAnswer{}
	for _, t := range list {
		if in.Service != "" && t.Service != in.Service {
			continue
		}
		rows = append(rows, templateAnswer{t.Service, t.Operation, fmt.Sprintf("%016x", t.Template), t.Severity, t.Severity.String(),
			t.A, t.B, t.First.UTC(), t.Sample, t.SampleTrace})
	}
	return answer(map[string]any{"templates": rows, "from": w.From, "to": w.To, "before_from": before.From, "before_to": before.To,
		"more": len(list) == maxTemplates, "partial": missing.String()})
}

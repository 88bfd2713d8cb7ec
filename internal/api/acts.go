package api

import (
	"context"
	"fmt"
	"time"

	"triage/internal/alarm"
	"triage/internal/diagnose"
	"triage/internal/incident"
	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/store"
)

// Incidents is what the API needs of those who keep incidents.
type Incidents interface {
	Acknowledge(ctx context.Context, act incident.Act) error
	Unacknowledge(ctx context.Context, act incident.Act) error
	Assign(ctx context.Context, act incident.Act, to string) error
	Note(ctx context.Context, act incident.Act) error
	Merge(ctx context.Context, act incident.Act, other string) error
	Split(ctx context.Context, act incident.Act, alarms []string) (id string, err error)
	Record(ctx context.Context, act incident.Act, kind model.EntryKind, ref string) error
}

// Acting is who does something with which incident.
type Acting struct {
	Tenant string `header:"X-Scope-OrgID"`
	ID     string `path:"id" example:"INC-1"`
}

func (s *server) act(a Acting, by, text string) incident.Act {
	return incident.Act{Tenant: tenant(a.Tenant), Incident: a.ID, By: by, Text: text, At: s.Now().UTC()}
}

// acted answers an act with the incident as it stands then.
func (s *server) acted(ctx context.Context, a Acting, err error) (*body, error) {
	if err != nil {
		return nil, err
	}
	inc, err := s.State.Incident(ctx, tenant(a.Tenant), a.ID)
	if err != nil {
		return nil, err
	}
	return answer(inc)
}

type ackParams struct {
	Acting
	Body struct {
		By   string `json:"by" doc:"who acknowledges it" minLength:"1"`
		Note string `json:"note,omitempty"`
		Undo bool   `json:"undo,omitempty" doc:"take the acknowledgement back"`
	}
}

func (s *server) acknowledge(ctx context.Context, in *ackParams) (*body, error) {
	do := s.Incidents.Acknowledge
	if in.Body.Undo {
		do = s.Incidents.Unacknowledge
	}
	return s.acted(ctx, in.Acting, do(ctx, s.act(in.Acting, in.Body.By, in.Body.Note)))
}

type assignParams struct {
	Acting
	Body struct {
		By string `json:"by" doc:"who says so" minLength:"1"`
		To string `json:"to,omitempty" doc:"who is to work on it; nobody without it"`
	}
}

func (s *server) assign(ctx context.Context, in *assignParams) (*body, error) {
	return s.acted(ctx, in.Acting, s.Incidents.Assign(ctx, s.act(in.Acting, in.Body.By, ""), in.Body.To))
}

type noteParams struct {
	Acting
	Body struct {
		By   string `json:"by" minLength:"1"`
		Text string `json:"text" minLength:"1"`
	}
}

func (s *server) note(ctx context.Context, in *noteParams) (*body, error) {
	return s.acted(ctx, in.Acting, s.Incidents.Note(ctx, s.act(in.Acting, in.Body.By, in.Body.Text)))
}

type mergeParams struct {
	Acting
	Body struct {
		By    string `json:"by" minLength:"1"`
		Other string `json:"other" doc:"the incident that ends; its alarms join this one" example:"INC-2" minLength:"1"`
		Note  string `json:"note,omitempty"`
	}
}

func (s *server) merge(ctx context.Context, in *mergeParams) (*body, error) {
	return s.acted(ctx, in.Acting, s.Incidents.Merge(ctx, s.act(in.Acting, in.Body.By, in.Body.Note), in.Body.Other))
}

type splitParams struct {
	Acting
	Body struct {
		By     string   `json:"by" minLength:"1"`
		Alarms []string `json:"alarms" doc:"the ids of the alarms that go" minItems:"1"`
		Note   string   `json:"note,omitempty"`
	}
}

// split answers with the new incident.
func (s *server) split(ctx context.Context, in *splitParams) (*body, error) {
	id, err := s.Incidents.Split(ctx, s.act(in.Acting, in.Body.By, in.Body.Note), in.Body.Alarms)
	return s.acted(ctx, Acting{in.Tenant, id}, err)
}

type silenceIncidentParams struct {
	Acting
	Body struct {
		By      string   `json:"by" minLength:"1"`
		For     string   `json:"for" doc:"how long" example:"2h" minLength:"1"`
		Alarms  []string `json:"alarms,omitempty" doc:"ids of alarms to silence, in whatever incident they are; the whole incident without them"`
		Comment string   `json:"comment,omitempty"`
	}
}

func (s *server) silenceIncident(ctx context.Context, in *silenceIncidentParams) (*body, error) {
	var length alarm.Duration
	if err := length.UnmarshalText([]byte(in.Body.For)); err != nil || length <= 0 {
		return nil, bad(fmt.Errorf("for: %q is not a duration such as 30m or 2h", in.Body.For))
	}
	inc, err := s.State.Incident(ctx, tenant(in.Tenant), in.ID)
	if err != nil {
		return nil, err
	}
	act := s.act(in.Acting, in.Body.By, in.Body.Comment)
	list, err := s.Notify.SilenceIncident(ctx, inc, in.Body.Alarms, notify.Silence{
		Starts: act.At, Ends: act.At.Add(time.Duration(length)), By: in.Body.By, Comment: in.Body.Comment,
	})
	for _, silence := range list {
		if err := s.Incidents.Record(ctx, act, model.EntrySilenced, silence.ID); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"silences": nonNil(list)})
}

// maxMoments bounds what is read of each kind of thing for a timeline.
const maxMoments = 1000

// facts reads what is known of an incident.
func (s *server) facts(ctx context.Context, a Acting, lang string) (f incident.Facts, err error) {
	t := tenant(a.Tenant)
	if f.Incident, err = s.State.Incident(ctx, t, a.ID); err != nil {
		return f, err
	}
	if f.Verdicts, err = s.State.Verdicts(ctx, t, a.ID); err != nil {
		return f, err
	}
	now := s.Now()
	from, to := incident.Window(f.Incident, now)
	w := store.Window{From: from, To: to}
	for _, al := range f.Incident.Alarms {
		list, err := s.State.Transitions(ctx, t, al.ID, w, maxMoments)
		if err != nil {
			return f, err
		}
		f.Transitions = append(f.Transitions, list...)
	}
	if f.Changes, err = s.State.Changes(ctx, t, w); err != nil {
		return f, err
	}
	always := store.Window{To: now.Add(time.Minute)}
	if f.Entries, err = s.State.Journal(ctx, t, a.ID, always, maxMoments); err != nil {
		return f, err
	}
	messages, err := s.Notify.Messages(ctx, t, a.ID)
	if err != nil {
		return f, err
	}
	for _, m := range messages[:min(len(messages), maxMoments)] {
		f.Told = append(f.Told, told(m, lang))
	}
	return f, nil
}

// told is a message as a moment of a timeline.
func told(m notify.Message, lang string) incident.Moment {
	out := incident.Moment{At: m.Created, Kind: incident.MomentNotification, Ref: m.ID}
	say := func(en, ko string) {
		if lang == "ko" {
			en = ko
		}
		out.Text = fmt.Sprintf(en, m.Receiver, m.Integration, m.Reason)
	}
	switch {
	case m.Done.IsZero():
		say("%s (%s) is to be told: %s", "%s(%s)에 알릴 예정: %s")
		out.Note = m.Error
	case m.Error != "":
		say("%s (%s) could not be told: %s", "%s(%s)에 알리지 못함: %s")
		out.Note = m.Error
	default:
		say("%s (%s) was told: %s", "%s(%s)에 알림: %s")
		out.At = m.Done
	}
	return out
}

// tellingParams is an incident told in a language.
type tellingParams struct {
	Acting
	Lang string `query:"lang" enum:"en,ko" default:"en"`
}

func (s *server) timeline(ctx context.Context, in *tellingParams) (*body, error) {
	f, err := s.facts(ctx, in.Acting, in.Lang)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"timeline": nonNil(incident.Timeline(f, in.Lang))})
}

func (s *server) postmortem(ctx context.Context, in *tellingParams) (*body, error) {
	f, err := s.facts(ctx, in.Acting, in.Lang)
	if err != nil {
		return nil, err
	}
	verdict := ""
	if n := len(f.Verdicts); n > 0 {
		verdict = diagnose.Markdown(f.Verdicts[n-1], in.Lang)
	}
	text := incident.Postmortem(f, incident.Timeline(f, in.Lang), verdict, in.Lang, s.Now())
	return &body{"text/markdown; charset=utf-8", []byte(text)}, nil
}

type journalParams struct {
	Scope
	Incident string `query:"incident" doc:"of one incident; of all, and of none, without it"`
	Limit    int    `query:"limit" minimum:"1" maximum:"10000" default:"1000" doc:"of more, the newest are given"`
}

func (s *server) journal(ctx context.Context, in *journalParams) (*body, error) {
	w, err := in.window(s.Now())
	if err != nil {
		return nil, err
	}
	list, err := s.State.Journal(ctx, tenant(in.Tenant), in.Incident, w, in.Limit)
	if err != nil {
		return nil, err
	}
	return answer(map[string]any{"entries": nonNil(list)})
}

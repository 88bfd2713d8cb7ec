package incident

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
)

// ChangesBefore is how long before the onset a change may have been to stand in a timeline.
const ChangesBefore = 30 * time.Minute

// Facts are what is known of an incident.
type Facts struct {
	Incident model.Incident
	Verdicts []model.Verdict
	// Transitions are of its alarms, Changes of any service; those that have nothing to do with it are left out.
	Transitions []model.Transition
	Changes     []model.Change
	Entries     []model.Entry
	// Told is what receivers were told.
	Told []Moment
}

// Window is the time that a timeline covers; its transitions and changes are to be found there.
func Window(inc model.Incident, now time.Time) (from, to time.Time) {
	from, to = inc.Onset, now.Add(time.Nanosecond) // what happened just now is in it
	if from.IsZero() || inc.OpenedAt.Before(from) {
		from = inc.OpenedAt
	}
	if !inc.ResolvedAt.IsZero() && inc.Status == model.IncidentResolved {
		to = inc.ResolvedAt.Add(time.Nanosecond)
	}
	return from.Add(-ChangesBefore), to
}

// The kinds of moments that are no entries of the journal.
const (
	MomentOnset        = "onset"
	MomentAlarm        = "alarm"        // Ref is the alarm, State the state it entered
	MomentVerdict      = "verdict"      // Ref is the revision's ID
	MomentChange       = "change"       // Ref is the change
	MomentNotification = "notification" // Ref is the message
)

// Moment is one line of a timeline.
type Moment struct {
	At time.Time `json:"at"`
	// Kind is one of the journal's or of the Moment constants.
	Kind string `json:"kind"`
	// By is who did it, where somebody did.
	By string `json:"by,omitempty"`
	// Text says it in a sentence; Note is what somebody said about it.
	Text string `json:"text"`
	Note string `json:"note,omitempty"`
	// Ref is the ID of what it is about, as its kind says.
	Ref   string           `json:"ref,omitempty"`
	State model.AlarmState `json:"state,omitempty"`
}

// Timeline tells an incident in order of time, in one of Languages. What people and programs said stays as they said it.
func Timeline(f Facts, lang string) []Moment {
	out := slices.Clone(f.Told)
	inc := f.Incident
	if !inc.Onset.IsZero() {
		out = append(out, Moment{At: inc.Onset, Kind: MomentOnset, Text: in(lang, [2]string{"it began", "시작"})})
	}
	for _, tr := range f.Transitions {
		// That an alarm has datapoints now says nothing of the incident.
		began := tr.From == model.StateInsufficient && tr.Alarm.State == model.StateOK
		if a := tr.Alarm; indexOf(inc.Alarms, a.ID) >= 0 && !began {
			m := Moment{At: a.Since, Kind: MomentAlarm, Text: title(a, lang), Ref: a.ID, State: a.State}
			switch name := alarmName(a, lang); {
			case a.State == model.StateAlarm:
			case lang == "ko": // what an alarm said is English
				m.Text, m.Note = name+": "+map[model.AlarmState]string{model.StateOK: "정상", model.StateInsufficient: "데이터 부족"}[a.State], a.Reason
			default:
				m.Text = name + ": " + a.Reason
			}
			out = append(out, m)
		}
	}
	for _, v := range f.Verdicts {
		text := in(lang, [2]string{"no cause found", "원인을 찾지 못함"})
		if v.Why != nil {
			text = in(lang, [2]string{"%s at %s (%s, confidence %.2f)", "%[2]s의 %[1]s (%[3]s, 신뢰도 %.2[4]f)"}, v.Why.Mechanism, v.Why.Entity, v.Why.Class, v.Why.Confidence)
		}
		out = append(out, Moment{At: v.At, Kind: MomentVerdict, Text: text, Ref: v.ID})
	}
	concerned := services(inc, f.Verdicts)
	for _, c := range f.Changes {
		if c.Service == "" || concerned[c.Service] {
			out = append(out, Moment{At: c.At, Kind: MomentChange, By: c.By, Text: changeText(c), Ref: c.ID})
		}
	}
	for _, e := range f.Entries {
		m := Moment{At: e.At, Kind: string(e.Kind), By: e.By, Text: entryText(e, lang), Ref: e.Ref}
		switch e.Kind {
		case model.EntryNote, model.EntryAssigned, model.EntryOpened, model.EntryReopened, model.EntryRunbook:
		default:
			m.Note = e.Text
		}
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b Moment) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(order(a.Kind), order(b.Kind)))
	})
	return out
}

// order puts what happens at one instant in the order in which one thing leads to the next.
func order(kind string) int {
	first := []string{MomentChange, MomentOnset, MomentAlarm, string(model.EntryOpened), string(model.EntryReopened), MomentVerdict,
		MomentNotification}
	if i := slices.Index(first, kind); i >= 0 {
		return i
	}
	return len(first)
}

// services are those that an incident is about.
func services(inc model.Incident, verdicts []model.Verdict) map[string]bool {
	out := map[string]bool{}
	add := func(e model.Entity) {
		switch e.Kind() {
		case "service":
			out[e.Name()] = true
		case "edge":
			from, to := e.Ends()
			out[from], out[to] = true, true
		}
	}
	for _, a := range inc.Alarms {
		out[a.Service] = true
	}
	for _, v := range verdicts {
		for _, w := range v.Where {
			add(w.Entity)
		}
		if v.Why != nil {
			add(v.Why.Entity)
		}
	}
	return out
}

func alarmName(a model.Alarm, lang string) string {
	name, _, _ := strings.Cut(title(a, lang), ": ")
	return name
}

func changeText(c model.Change) string {
	text := c.Kind
	for _, part := range []string{c.Service, c.Key, c.Version} {
		if part != "" {
			text += " " + part
		}
	}
	if c.From != "" || c.To != "" {
		text += fmt.Sprintf(": %q -> %q", c.From, c.To)
	}
	if c.Summary != "" {
		text += ": " + c.Summary
	}
	return text
}

func entryText(e model.Entry, lang string) string {
	say := func(en, ko string, args ...any) string { return in(lang, [2]string{en, ko}, args...) }
	switch e.Kind {
	case model.EntryOpened:
		if lang == "ko" { // the alarms beside it tell of what
			return "발생"
		}
		return "opened: " + e.Text
	case model.EntryReopened:
		if lang == "ko" {
			return "재발생"
		}
		return "opened again: " + e.Text
	case model.EntryResolved:
		return say("resolved", "해결됨")
	case model.EntryAcknowledged:
		return say("acknowledged", "확인함")
	case model.EntryUnacknowledged:
		return say("acknowledgement taken back", "확인을 취소함")
	case model.EntryAssigned:
		if e.Text == "" {
			return say("assigned to nobody", "담당자 없음")
		}
		return say("assigned to %s", "담당자: %s", e.Text)
	case model.EntryNote, model.EntryRunbook:
		return e.Text
	case model.EntryMerged:
		return say("%s was merged into this one", "%s을(를) 병합함", e.Ref)
	case model.EntryMergedInto:
		return say("merged into %s", "%s에 병합됨", e.Ref)
	case model.EntrySplit:
		return say("alarms were split off into %s", "알람을 %s로 분리함", e.Ref)
	case model.EntrySplitFrom:
		return say("split off from %s", "%s에서 분리됨", e.Ref)
	case model.EntrySilenced:
		return say("silenced", "알림 중지됨")
	}
	return string(e.Kind)
}

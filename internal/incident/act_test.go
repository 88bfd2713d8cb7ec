package incident_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"triage/internal/incident"
	"triage/internal/model"
	"triage/internal/store"
)

func (y *story) act(id, by, text string) incident.Act {
	return incident.Act{Tenant: "a", Incident: id, By: by, Text: text, At: y.at}
}

func (y *story) stored(ids ...string) (out []model.Incident) {
	y.t.Helper()
	for _, id := range ids {
		inc, err := y.s.Incident(y.t.Context(), "a", id)
		if err != nil {
			y.t.Fatal(err)
		}
		out = append(out, inc)
	}
	return out
}

func (y *story) journal(id string) (out []string) {
	y.t.Helper()
	list, err := y.s.Journal(y.t.Context(), "a", id, store.Window{To: y.at.Add(time.Hour)}, 100)
	if err != nil {
		y.t.Fatal(err)
	}
	for _, e := range list {
		out = append(out, strings.TrimRight(strings.Join([]string{string(e.Kind), e.By, e.Text, e.Ref}, "|"), "|"))
	}
	return out
}

func (y *story) must(err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
}

// Acts must hold whether the incident is in memory, or was never asked for by this process.
func inBoth(t *testing.T, run func(t *testing.T, y *story, between func())) {
	t.Run("in memory", func(t *testing.T) {
		y := begin(t, incident.Options{})
		run(t, y, func() {})
	})
	t.Run("after a restart", func(t *testing.T) {
		y := begin(t, incident.Options{})
		run(t, y, y.restart)
	})
}

func TestSomebodyLooksAfterIt(t *testing.T) {
	inBoth(t, func(t *testing.T, y *story, between func()) {
		ctx := t.Context()
		y.apply(y.fires("cart")...)
		between()
		y.must(y.m.Acknowledge(ctx, y.act("INC-1", "ann", "on it")))
		y.must(y.m.Assign(ctx, y.act("INC-1", "ann", ""), "bob"))
		y.must(y.m.Note(ctx, y.act("INC-1", "bob", "the disk is full")))
		got := y.stored("INC-1")[0]
		if got.Acknowledged == nil || got.Acknowledged.By != "ann" || !got.Acknowledged.At.Equal(y.at) || got.Assignee != "bob" {
			t.Errorf("stored as %+v", got)
		}
		between()
		// What people did is not undone by what alarms do, until it begins anew.
		y.apply(y.fires("ledger")...)
		if got := y.stored("INC-1")[0]; got.Acknowledged == nil || got.Assignee != "bob" || len(got.Alarms) != 2 {
			t.Errorf("after another alarm: %+v", got)
		}
		y.after(time.Minute).apply(y.ends("cart", "ledger")...)
		y.after(time.Minute).apply(y.fires("cart")...)
		if got := y.stored("INC-1")[0]; got.Acknowledged != nil || got.Assignee != "bob" {
			t.Errorf("opened again: %+v", got)
		}
		y.must(y.m.Acknowledge(ctx, y.act("INC-1", "bob", "")))
		y.must(y.m.Unacknowledge(ctx, y.act("INC-1", "bob", "")))
		if got := y.stored("INC-1")[0]; got.Acknowledged != nil {
			t.Errorf("taken back: %+v", got)
		}
		title := "checkout in cart: latency 2.7x its usual"
		want := []string{"opened||" + title, "acknowledged|ann|on it", "assigned|ann|bob", "note|bob|the disk is full", "resolved",
			"reopened||" + title, "acknowledged|bob", "unacknowledged|bob"}
		if d := cmp.Diff(want, y.journal("INC-1")); d != "" {
			t.Errorf("journal (-want +got):\n%s", d)
		}
	})
}

func TestMerge(t *testing.T) {
	inBoth(t, func(t *testing.T, y *story, between func()) {
		ctx := t.Context()
		y.opts.Apart = func(_, _, _ string) bool { return true }
		y.restart()
		y.apply(y.fires("cart")...)
		y.after(time.Second).apply(y.fires("ledger")...)
		between()
		y.must(y.m.Merge(ctx, y.act("INC-1", "ann", "one trouble"), "INC-2"))
		y.want(y.stored("INC-1", "INC-2"), "INC-1 open: duration/cart=ALARM duration/ledger=ALARM", "INC-2 resolved: duration/ledger=ALARM")
		if got := y.stored("INC-2")[0]; got.MergedInto != "INC-1" || !got.ResolvedAt.Equal(y.at) {
			t.Errorf("merged as %+v", got)
		}
		between()
		got := y.after(time.Second).apply(y.ends("ledger")...)
		if len(got) == 0 || got[0].ID != "INC-1" {
			t.Errorf("the alarm's end goes to %v", brief(got))
		}
		y.want(y.stored("INC-1", "INC-2"), "INC-1 open: duration/cart=ALARM duration/ledger=OK", "INC-2 resolved: duration/ledger=ALARM")
		y.want(y.after(time.Second).apply(y.fires("ledger")...), "INC-1 open: duration/cart=ALARM duration/ledger=ALARM")
		if d := cmp.Diff([]string{"opened||checkout in ledger: latency 2.7x its usual", "merged_into|ann|one trouble|INC-1"}, y.journal("INC-2")); d != "" {
			t.Errorf("journal (-want +got):\n%s", d)
		}
		if err := y.m.Note(ctx, y.act("INC-2", "ann", "late")); !errors.Is(err, incident.ErrConflict) || !strings.Contains(err.Error(), "merged into INC-1") {
			t.Errorf("a note on what was merged: %v", err)
		}
	})
}

// Those who follow incidents hear of both sides of a merge and of a split, once.
func TestApplyTellsWhatPeopleRegrouped(t *testing.T) {
	ctx := t.Context()
	y := begin(t, incident.Options{Apart: func(_, _, _ string) bool { return true }})
	y.apply(y.fires("cart")...)
	y.apply(y.fires("ledger")...)
	y.must(y.m.Merge(ctx, y.act("INC-1", "ann", ""), "INC-2"))
	y.want(y.after(time.Second).apply(), "INC-1 open: duration/cart=ALARM duration/ledger=ALARM", "INC-2 resolved: duration/ledger=ALARM")
	y.want(y.after(time.Second).apply())
	id, err := y.m.Split(ctx, y.act("INC-1", "ann", "two after all"), []string{"duration/ledger"})
	y.must(err)
	y.want(y.after(time.Second).apply(), "INC-1 open: duration/cart=ALARM", id+" open: duration/ledger=ALARM")
	y.want(y.after(time.Second).apply())
}

func TestSplit(t *testing.T) {
	inBoth(t, func(t *testing.T, y *story, between func()) {
		ctx := t.Context()
		y.apply(y.fires("cart", "ledger", "catalog")...)
		between()
		y.after(time.Minute)
		id, err := y.m.Split(ctx, y.act("INC-1", "ann", "another trouble"), []string{"duration/ledger"})
		y.must(err)
		y.want(y.stored("INC-1", id), "INC-1 open: duration/cart=ALARM duration/catalog=ALARM", "INC-2 open: duration/ledger=ALARM")
		if got := y.stored(id)[0]; !got.OpenedAt.Equal(y.at) || !got.Onset.Equal(start.Add(-15*time.Second)) || !strings.Contains(got.Title, "ledger") {
			t.Errorf("opened as %+v", got)
		}
		between()
		y.apply(y.ends("ledger")...)
		y.want(y.stored("INC-1", id), "INC-1 open: duration/cart=ALARM duration/catalog=ALARM", "INC-2 resolved: duration/ledger=OK")
		if d := cmp.Diff([]string{"split_from|ann|another trouble|INC-1", "resolved"}, y.journal(id)); d != "" {
			t.Errorf("journal (-want +got):\n%s", d)
		}
	})
}

func TestActsThatAreRefused(t *testing.T) {
	ctx := t.Context()
	y := begin(t, incident.Options{Apart: func(_, _, _ string) bool { return true }})
	y.apply(y.fires("cart")...)
	y.apply(y.fires("ledger")...)
	y.apply(y.ends("ledger")...)
	before := append(y.journal("INC-1"), y.journal("INC-2")...)
	split := func(id string, alarms ...string) error {
		_, err := y.m.Split(ctx, y.act(id, "ann", ""), alarms)
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"by nobody":                   {y.m.Acknowledge(ctx, y.act("INC-1", "", "")), incident.ErrInvalid},
		"of nothing":                  {y.m.Acknowledge(ctx, y.act("INC-7", "ann", "")), store.ErrNotFound},
		"of another tenant":           {y.m.Note(ctx, incident.Act{Tenant: "b", Incident: "INC-1", By: "ann", Text: "x", At: y.at}), store.ErrNotFound},
		"too late":                    {y.m.Acknowledge(ctx, y.act("INC-2", "ann", "")), incident.ErrConflict},
		"nothing to take back":        {y.m.Unacknowledge(ctx, y.act("INC-1", "ann", "")), incident.ErrConflict},
		"an empty note":               {y.m.Note(ctx, y.act("INC-1", "ann", " ")), incident.ErrInvalid},
		"an endless note":             {y.m.Note(ctx, y.act("INC-1", "ann", strings.Repeat("x", 1<<20))), incident.ErrInvalid},
		"to no name":                  {y.m.Assign(ctx, y.act("INC-1", "ann", ""), " bob"), incident.ErrInvalid},
		"into itself":                 {y.m.Merge(ctx, y.act("INC-1", "ann", ""), "INC-1"), incident.ErrInvalid},
		"what lasts into what ended":  {y.m.Merge(ctx, y.act("INC-2", "ann", ""), "INC-1"), incident.ErrConflict},
		"merge with nothing":          {y.m.Merge(ctx, y.act("INC-1", "ann", ""), "INC-7"), store.ErrNotFound},
		"split off what is not there": {split("INC-1", "duration/none"), incident.ErrInvalid},
		"split off everything":        {split("INC-1", "duration/cart"), incident.ErrInvalid},
		"split off nothing":           {split("INC-1"), incident.ErrInvalid},
		"split what ended":            {split("INC-2", "duration/ledger"), incident.ErrConflict},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if d := cmp.Diff(before, append(y.journal("INC-1"), y.journal("INC-2")...)); d != "" {
		t.Errorf("what was refused stands in the journal (-before +after):\n%s", d)
	}
}

// An act that could not be stored did not happen.
func TestAnActOnAFullDisk(t *testing.T) {
	full := false
	y := begin(t, incident.Options{})
	y.opts.State = failing{y.s, &full}
	y.restart()
	y.apply(y.fires("cart")...)
	full = true
	if err := y.m.Acknowledge(t.Context(), y.act("INC-1", "ann", "")); !errors.Is(err, store.ErrFull) {
		t.Errorf("acknowledge on a full disk: %v, want ErrFull", err)
	}
	full = false
	y.apply(y.fires("ledger")...)
	if got := y.stored("INC-1")[0]; got.Acknowledged != nil {
		t.Error("it was acknowledged all the same")
	}
}

func TestTimeline(t *testing.T) {
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	cart := model.Alarm{ID: "errors/cart", Rule: "errors", Signal: model.SignalErrors, Service: "cart", State: model.StateAlarm, Since: at(10), Onset: at(0), Value: 0.2, Unit: "ratio"}
	well := cart
	well.State, well.Since, well.Reason = model.StateOK, at(60), "3 of 3 datapoints are fine"
	started := cart
	started.State, started.Since, started.Reason = model.StateOK, at(-60), "0 of 1 datapoints are breaching"
	other := model.Alarm{ID: "errors/other", State: model.StateAlarm, Since: at(11)}
	f := incident.Facts{
		Incident:    model.Incident{ID: "INC-1", Onset: at(0), OpenedAt: at(10), Alarms: []model.Alarm{well}},
		Transitions: []model.Transition{{From: model.StateAlarm, Alarm: well}, {Alarm: cart}, {Alarm: other}, {From: model.StateInsufficient, Alarm: started}},
		Verdicts: []model.Verdict{{ID: "INC-1.1", At: at(10), Where: []model.Where{{Entity: "service:ledger"}}}, {ID: "INC-1.2", At: at(20),
			Why: &model.Cause{Class: model.ClassNetwork, Entity: "edge:cart->stock", Mechanism: model.NetworkDelay, Confidence: 0.876}}},
		Changes: []model.Change{{ID: "c1", At: at(-5), Kind: "deployment", Service: "cart", Version: "2", By: "ci"}, {ID: "c2", At: at(-4), Kind: "deployment", Service: "far"},
			{ID: "c3", At: at(-3), Kind: "flag", Key: "fast", From: "off", To: "on"}, {ID: "c4", At: at(-2), Kind: "scaling", Service: "stock"}},
		Entries: []model.Entry{{At: at(10), Kind: model.EntryOpened, Text: "cart fails"}, {At: at(15), Kind: model.EntryAcknowledged, By: "ann", Text: "on it"},
			{At: at(60), Kind: model.EntryResolved}},
		Told: []incident.Moment{{At: at(10), Kind: incident.MomentNotification, Text: "ops was told"}},
	}
	var got []string
	for _, m := range incident.Timeline(f, "en") {
		got = append(got, strings.TrimRight(strings.Join([]string{m.At.Sub(start).String(), m.Kind, string(m.State), m.By, m.Text, m.Note}, "|"), "|"))
	}
	want := []string{
		"-5s|change||ci|deployment cart 2", `-3s|change|||flag fast: "off" -> "on"`, "-2s|change|||scaling stock", "0s|onset|||it began",
		"10s|alarm|ALARM||cart: 20 % of requests fail (usually 0 %)", "10s|opened|||opened: cart fails", "10s|verdict|||no cause found",
		"10s|notification|||ops was told", "15s|acknowledged||ann|acknowledged|on it",
		"20s|verdict|||network-delay at edge:cart->stock (network, confidence 0.88)", "1m0s|alarm|OK||cart: 3 of 3 datapoints are fine", "1m0s|resolved|||resolved",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("timeline (-want +got):\n%s", d)
	}
	for _, m := range incident.Timeline(f, "ko") {
		if m.Kind != incident.MomentChange && m.Kind != incident.MomentNotification && !strings.ContainsFunc(m.Text, func(r rune) bool { return unicode.Is(unicode.Hangul, r) }) {
			t.Errorf("in Korean: %s %q", m.Kind, m.Text)
		}
		if strings.Contains(m.Text, "%!") {
			t.Errorf("arguments of %q", m.Text)
		}
	}
}

// What people and telemetry say stays text in a post-mortem.
func TestPostmortemIsPlain(t *testing.T) {
	f := incident.Facts{Incident: model.Incident{ID: "INC-1", Title: "a|b <script>", Onset: start, OpenedAt: start, ResolvedAt: start.Add(90 * time.Second), Status: model.IncidentResolved}}
	moments := []incident.Moment{{At: start, Kind: "note", By: "ann", Text: "first\n# second | *third*"}}
	got := incident.Postmortem(f, moments, "## INC-1 cart\n\n**slow**\n", "en", start)
	for _, want := range []string{
		`# INC-1: a\|b &lt;script&gt;`, "| Lasted | 1m30s |", "### INC-1 cart\n\n**slow**\n", `| 2030-01-01 12:00:00 | note | first # second \| \*third\* | ann |`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	if ko := incident.Postmortem(f, moments, "", "ko", start); !strings.Contains(ko, "## 타임라인") || strings.Contains(ko, "||\n") {
		t.Errorf("in Korean:\n%s", ko)
	}
}

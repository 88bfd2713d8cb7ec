package notify_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/store"
)

func TestAnAcknowledgedIncidentIsNotRepeated(t *testing.T) {
	got := story(t, plain, nil, func(m *notify.Manager, s store.State, second int) bool {
		opened := time.Now().Add(-time.Duration(second)*time.Second - time.Second/2)
		inc := incidentOf(opened, alarmOf("errors", "cart", model.StateAlarm, opened))
		inc.Verdict = verdictOf(opened)
		if second >= 30 && second < 150 {
			inc.Acknowledged = &model.Acknowledgement{By: "ann", At: time.Now()}
		}
		if second >= 100 { // what is new is told all the same
			inc.Alarms = append(inc.Alarms, alarmOf("duration", "cart", model.StateAlarm, opened))
		}
		observe(t, m, s, inc)
		return second < 200
	})
	equal(t, "messages", got, []string{"1s ops first 1", "101s ops new alarms 2", "161s ops repeat 2"})
}

// What was merged is over for its receivers, though its alarms are not.
func TestAMergedIncidentIsOver(t *testing.T) {
	got := story(t, plain, nil, func(m *notify.Manager, s store.State, second int) bool {
		opened := time.Now().Add(-time.Duration(second)*time.Second - time.Second/2)
		inc := incidentOf(opened, alarmOf("errors", "cart", model.StateAlarm, opened))
		inc.Verdict = verdictOf(opened)
		if second == 10 {
			inc.Status, inc.MergedInto, inc.ResolvedAt = model.IncidentResolved, "INC-0", time.Now()
		}
		if second == 0 || second == 10 {
			observe(t, m, s, inc)
		}
		if second == 15 {
			list, err := m.Messages(t.Context(), model.DefaultTenant, "INC-1")
			if err != nil {
				t.Fatal(err)
			}
			a := list[0].Alerts[0]
			equal(t, "summary", a.Annotations["summary"], "merged into INC-0: "+inc.Title)
			equal(t, "link", a.Annotations["incident_url"], "https://triage.example/incidents/INC-0")
			if a.Ends.IsZero() {
				t.Error("its alert is not over")
			}
		}
		return second < 20
	})
	equal(t, "messages", got, []string{"1s ops first 1", "11s ops resolved 1"})
}

func TestSilenceAnIncident(t *testing.T) {
	s := openState(t, filepath.Join(t.TempDir(), "state.db"))
	m := notify.New(notify.Options{State: s})
	now := time.Now()
	odd := alarmOf(`say "hi"`, "cart", model.StateAlarm, now)
	inc := incidentOf(now, alarmOf("errors", "cart", model.StateAlarm, now), odd)
	for _, c := range []struct {
		name   string
		alarms []string
		want   [][]string
	}{
		{"whole", nil, [][]string{{`incident="INC-1"`}}},
		{"some alarms", []string{"errors{cart}", odd.ID}, [][]string{
			{`alertname="errors"`, `service="cart"`, `service_name="cart"`, `signal="errors"`},
			{`alertname="say \"hi\""`, `service="cart"`, `service_name="cart"`, `signal="errors"`},
		}},
	} {
		list, err := m.SilenceIncident(t.Context(), inc, c.alarms, notify.Silence{Ends: now.Add(time.Hour), By: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		var got [][]string
		for _, silence := range list {
			got = append(got, silence.Matchers)
		}
		equal(t, c.name, got, c.want)
	}
	if list, _ := m.Silences(t.Context(), model.DefaultTenant); len(list) != 3 {
		t.Errorf("%d silences, want 3", len(list))
	}
	if _, err := m.SilenceIncident(t.Context(), inc, []string{"none"}, notify.Silence{Ends: now.Add(time.Hour)}); !errors.Is(err, notify.ErrInvalid) {
		t.Errorf("an alarm that it has not: %v", err)
	}
}

// observe stores an incident and tells that it changed.
func observe(t *testing.T, m *notify.Manager, s store.State, inc model.Incident) {
	if err := s.SaveIncidents(t.Context(), inc.Tenant, []model.Incident{inc}, nil); err != nil {
		t.Error(err)
	}
	m.Observe(inc)
}

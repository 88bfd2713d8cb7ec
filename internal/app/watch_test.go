package app

import (
	"path/filepath"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/store/state"
)

// TestOldVerdictsStand starts with two open incidents that have verdicts and one that has none: only what is fresh or has no
// verdict is judged again.
func TestOldVerdictsStand(t *testing.T) {
	ctx := t.Context()
	st, err := state.Open(ctx, filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	last := revisions[len(revisions)-1]
	for id, c := range map[string]struct {
		age    time.Duration
		judged bool
	}{"INC-1": {last, true}, "INC-2": {last - time.Second, true}, "INC-3": {3 * 24 * time.Hour, false}} {
		began := now.Add(-c.age)
		a := model.Alarm{ID: "slow/" + id, Rule: "slow", Service: "cart", State: model.StateAlarm, Since: began, Onset: began}
		inc := model.Incident{ID: id, Tenant: model.DefaultTenant, Status: model.IncidentOpen, OpenedAt: began, UpdatedAt: began, Onset: began, Alarms: []model.Alarm{a}}
		if err := st.SaveIncidents(ctx, inc.Tenant, []model.Incident{inc}, nil); err != nil {
			t.Fatal(err)
		}
		if c.judged {
			if err := st.SaveVerdict(ctx, inc.Tenant, model.Verdict{ID: id + ".1", Incident: id, Revision: 1, At: began}, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	w, err := newWatch(ctx, watch{state: st}, now)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int{"INC-1": len(revisions), "INC-2": 0, "INC-3": 0} {
		if got := w.open[model.DefaultTenant+"/"+id]; got == nil || got.made != want {
			t.Errorf("%s: %+v, want %d revisions made", id, got, want)
		}
	}
}

package alarm_test

import (
	"errors"
	"testing"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
	"triage/internal/store"
)

// reported is what others say of an alarm in a minute.
func reported(rule string, firing bool, minute int) alarm.Reported {
	at := simStart.Add(time.Duration(minute) * time.Minute)
	return alarm.Reported{
		Rule: rule, Labels: map[string]string{"job": "cart"}, Firing: firing, At: at, Onset: at.Add(-time.Minute), Value: 3, Reason: "down",
		Until: at.Add(4 * time.Minute),
	}
}

func TestReportedAlarms(t *testing.T) {
	m := &table{names: []string{"a"}, value: minutes()}
	s := openState(t)
	opts := alarm.Options{Rules: []alarm.Rule{composite("all", "ALARM(Down)")}, Delay: -1}
	e := newEvaluator(t, m, s, opts)
	tell := func(list ...alarm.Reported) { e.Report(model.DefaultTenant, list) }
	tell(reported("Down", true, 1), reported("Over", false, 1))
	e.Report("nobody", []alarm.Reported{reported("Down", true, 1)})
	equal(t, "fires", evaluate(t, e, 1, 1), []string{
		`1 Down{job="cart"} OK->ALARM onset 0`, `1 all{} INSUFFICIENT_DATA->ALARM onset 0`,
	})
	a := e.Alarms(model.DefaultTenant)[0]
	equal(t, "source", a.Source, alarm.SourcePrometheus)
	if _, err := e.Band(t.Context(), model.DefaultTenant, a.ID, store.Window{From: simStart, To: simStart.Add(time.Hour)}, 0); !errors.Is(err, alarm.ErrInvalid) {
		t.Errorf("band of a reported alarm: %v", err)
	}
	tell(reported("Down", true, 3))
	equal(t, "fires still", evaluate(t, e, 3, 6), []string(nil))

	// After a restart it stands as it stood, until it is heard of again.
	e = newEvaluator(t, m, s, opts)
	equal(t, "after a restart", evaluate(t, e, 7, 7), []string(nil))
	tell(reported("Down", true, 8))
	equal(t, "heard of again", evaluate(t, e, 8, 11), []string(nil))
	tell(reported("Down", false, 12))
	equal(t, "ends", evaluate(t, e, 12, 12), []string{`12 Down{job="cart"} ALARM->OK`, `12 all{} ALARM->OK`})

	// When its rule goes, nothing is heard of it.
	tell(reported("Down", true, 13))
	equal(t, "goes", evaluate(t, e, 13, 20), []string{
		`13 Down{job="cart"} OK->ALARM onset 12`, `13 all{} OK->ALARM onset 12`,
		`18 Down{job="cart"} ALARM->INSUFFICIENT_DATA`, `18 all{} ALARM->OK`,
	})
	evaluate(t, e, 21, 80)
	if n := len(e.Alarms(model.DefaultTenant)); n != 1 {
		t.Errorf("%d alarms an hour later, want the composite alone", n)
	}
}

func TestReportedAlarmsNamedLikeOurs(t *testing.T) {
	m := &table{names: []string{"a"}, value: minutes(20, 20, 20, 20)}
	e := newEvaluator(t, m, openState(t), atOnce)
	evaluate(t, e, 0, 1)
	e.Report(model.DefaultTenant, []alarm.Reported{reported("high", true, 2)})
	equal(t, "transitions", evaluate(t, e, 2, 2), []string{`2 high (rule file){job="cart"} OK->ALARM onset 1`})
}

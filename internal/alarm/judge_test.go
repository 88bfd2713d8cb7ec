package alarm_test

import (
	"testing"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
)

// points reads datapoints as CloudWatch's guide writes them: 0 is good, X breaching, - missing; the latest is the last.
func points(text string) (out []alarm.Datapoint) {
	for i, c := range text {
		out = append(out, alarm.Datapoint{
			At: simStart.Add(time.Duration(i) * time.Minute),
			Status: map[rune]alarm.DatapointStatus{
				'0': alarm.DatapointGood, 'X': alarm.DatapointBreaching, '-': alarm.DatapointMissing,
			}[c],
		})
	}
	return out
}

func TestDecide(t *testing.T) {
	const ok, fire, none, keep = model.StateOK, model.StateAlarm, model.StateInsufficient, model.AlarmState("keep")
	for _, c := range []struct {
		points string
		m, n   int
		// As missing, ignore, breaching, notBreaching treat it.
		want [4]model.AlarmState
	}{
		// The examples of the CloudWatch user guide, "configuring how alarms treat missing data".
		{"0-X-X", 3, 3, [4]model.AlarmState{ok, ok, ok, ok}},
		{"0----", 3, 3, [4]model.AlarmState{ok, ok, ok, ok}},
		{"-----", 3, 3, [4]model.AlarmState{none, keep, fire, ok}},
		{"0XX-X", 3, 3, [4]model.AlarmState{fire, fire, fire, fire}},
		{"--X--", 3, 3, [4]model.AlarmState{fire, keep, fire, ok}},
		{"0-X-X", 2, 3, [4]model.AlarmState{fire, fire, fire, fire}},
		{"00X0X", 2, 3, [4]model.AlarmState{fire, fire, fire, fire}},
		{"0-X--", 2, 3, [4]model.AlarmState{ok, ok, fire, ok}},
		{"----0", 2, 3, [4]model.AlarmState{ok, ok, fire, ok}},
		{"---X-", 2, 3, [4]model.AlarmState{fire, keep, fire, ok}},
		// Both sides of M of N.
		{"0XX", 2, 3, [4]model.AlarmState{fire, fire, fire, fire}},
		{"X00", 2, 3, [4]model.AlarmState{ok, ok, ok, ok}},
		{"XX0", 2, 3, [4]model.AlarmState{fire, fire, fire, fire}},
		{"X", 1, 1, [4]model.AlarmState{fire, fire, fire, fire}},
		{"0", 1, 1, [4]model.AlarmState{ok, ok, ok, ok}},
		// What lies further back than two more periods is not looked at.
		{"XXX-----", 3, 3, [4]model.AlarmState{none, keep, fire, ok}},
		// A beginning: periods before the first datapoint are missing too.
		{"", 2, 3, [4]model.AlarmState{none, keep, fire, ok}},
		{"X", 2, 3, [4]model.AlarmState{keep, keep, fire, ok}},
		{"XX", 2, 3, [4]model.AlarmState{fire, fire, fire, fire}},
		{"X-", 2, 3, [4]model.AlarmState{fire, keep, fire, ok}},
	} {
		for i, treat := range []alarm.Missing{alarm.TreatMissing, alarm.TreatIgnore, alarm.TreatBreaching, alarm.TreatNotBreaching} {
			r := alarm.Rule{EvaluationPeriods: c.n, DatapointsToAlarm: c.m, TreatMissingData: treat}
			for _, now := range []model.AlarmState{ok, fire, none} {
				want := c.want[i]
				if want == keep {
					want = now
				}
				if got := alarm.Decide(points(c.points), r, now).State; got != want {
					t.Errorf("%q, %d of %d, %s, now %s: %s, want %s", c.points, c.m, c.n, treat, now, got, want)
				}
			}
		}
	}
}

func TestDecideTellsTheFirstBreach(t *testing.T) {
	r := alarm.Rule{EvaluationPeriods: 3, DatapointsToAlarm: 2, TreatMissingData: alarm.TreatMissing}
	for text, want := range map[string]int{"0XX": 1, "X0X": 0, "XX-X": 0, "XXXXX": 2, "0X-X-": 1} {
		d := alarm.Decide(points(text), r, model.StateOK)
		if got := d.First.Sub(simStart); got != time.Duration(want)*time.Minute {
			t.Errorf("%s: first breach at %s, want %d min", text, got, want)
		}
	}
	if d := alarm.Decide(points("X00"), r, model.StateOK); !d.First.IsZero() {
		t.Errorf("OK has a first breach: %s", d.First)
	}
}

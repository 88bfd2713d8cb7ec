package alarm_test

import (
	"os"
	"regexp"
	"strings"
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

// treatments are in the order of the guide's columns.
var treatments = []alarm.Missing{alarm.TreatMissing, alarm.TreatIgnore, alarm.TreatBreaching, alarm.TreatNotBreaching}

// keep stands for the state that an alarm has already.
const keep = model.AlarmState("keep")

// decides holds a row to Decide, from each state.
func decides(t *testing.T, text string, m, n int, want []model.AlarmState) {
	t.Helper()
	for i, treat := range treatments {
		r := alarm.Rule{EvaluationPeriods: n, DatapointsToAlarm: m, TreatMissingData: treat}
		for _, now := range []model.AlarmState{model.StateOK, model.StateAlarm, model.StateInsufficient} {
			want := want[i]
			if want == keep {
				want = now
			}
			if got := alarm.Decide(points(text), r, now).State; got != want {
				t.Errorf("%q, %d of %d, %s, now %s: %s, want %s", text, m, n, treat, now, got, want)
			}
		}
	}
}

var tableRow = regexp.MustCompile("^\\| `([0X-]+)` \\| (\\w+) \\| (\\w+) \\| (\\w+) \\| (\\w+) \\|$")

// The tables of the documentation are CloudWatch's own, of "Configuring how CloudWatch alarms treat missing data": five rows each,
// and these alone.
func TestTheGuidesTables(t *testing.T) {
	text, err := os.ReadFile("../../docs/alarms.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[int][]string{}
	m := 0
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.Contains(line, "Of three out of three"):
			m = 3
		case strings.Contains(line, "Of two out of three"):
			m = 2
		case strings.HasPrefix(line, "## "):
			m = 0
		}
		cells := tableRow.FindStringSubmatch(strings.TrimSpace(line))
		if m == 0 || cells == nil {
			continue
		}
		var want []model.AlarmState
		for _, c := range cells[2:] {
			if c == "stays" {
				c = string(keep)
			}
			want = append(want, model.AlarmState(c))
		}
		rows[m] = append(rows[m], cells[1])
		decides(t, cells[1], m, 3, want)
	}
	equal(t, "rows", rows, map[int][]string{
		3: {"0-X-X", "0----", "-----", "0XX-X", "--X--"},
		2: {"0-X-X", "00X0X", "0-X--", "----0", "---X-"},
	})
}

// What follows from the guide's words beyond its tables.
func TestDecide(t *testing.T) {
	const ok, fire, none = model.StateOK, model.StateAlarm, model.StateInsufficient
	for _, c := range []struct {
		points string
		m, n   int
		want   []model.AlarmState // as missing, ignore, breaching, notBreaching treat it
	}{
		// Both sides of M of N.
		{"0XX", 2, 3, []model.AlarmState{fire, fire, fire, fire}},
		{"X00", 2, 3, []model.AlarmState{ok, ok, ok, ok}},
		{"XX0", 2, 3, []model.AlarmState{fire, fire, fire, fire}},
		{"X", 1, 1, []model.AlarmState{fire, fire, fire, fire}},
		{"0", 1, 1, []model.AlarmState{ok, ok, ok, ok}},
		// What lies further back than two more periods is not looked at.
		{"XXX-----", 3, 3, []model.AlarmState{none, keep, fire, ok}},
		// A beginning: periods before the first datapoint are missing too.
		{"", 2, 3, []model.AlarmState{none, keep, fire, ok}},
		{"X", 2, 3, []model.AlarmState{keep, keep, fire, ok}},
		{"XX", 2, 3, []model.AlarmState{fire, fire, fire, fire}},
		{"X-", 2, 3, []model.AlarmState{fire, keep, fire, ok}},
		// With as many real datapoints as are evaluated, the treatment does not matter.
		{"-X0X-", 2, 3, []model.AlarmState{fire, fire, fire, fire}},
		{"X-00-", 2, 3, []model.AlarmState{ok, ok, ok, ok}},
	} {
		decides(t, c.points, c.m, c.n, c.want)
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

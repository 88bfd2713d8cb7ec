package alarm

import (
	"time"

	"triage/internal/model"
)

// Datapoint is one value of one contributor. Its period ends at At.
type Datapoint struct {
	At     time.Time
	Value  float64
	Status DatapointStatus
}

// DatapointStatus is what a datapoint says for itself.
type DatapointStatus uint8

// The statuses of a datapoint.
const (
	DatapointMissing DatapointStatus = iota
	DatapointGood
	DatapointBreaching
)

// spare is how many datapoints beyond the evaluation periods are looked at when some are missing. CloudWatch says only
// that it does so; its examples show two.
const spare = 2

// Decision is what Decide concluded.
type Decision struct {
	State model.AlarmState
	// First is the first breaching datapoint of those that made it ALARM, zero otherwise.
	First time.Time
	// Breaching of Evaluated real datapoints were breaching.
	Breaching, Evaluated int
}

// Decide is the state machine of alarms. Points are the latest ones, oldest first, one a period; it looks at the last
// EvaluationPeriods+2. State is the present one. The rules are CloudWatch's:
//
//   - With at least EvaluationPeriods real datapoints, the latest of these decide: ALARM if DatapointsToAlarm of them are
//     breaching, else OK.
//   - With fewer, the missing ones count as the rule treats them.
//   - Treated as missing: no datapoint at all is INSUFFICIENT_DATA. If all there are breach, and the oldest of them is at
//     least DatapointsToAlarm periods old, it is ALARM although there are too few: nothing has spoken against it since.
//   - What stays undecided keeps the present state.
func Decide(points []Datapoint, r Rule, state model.AlarmState) Decision {
	points = points[max(0, len(points)-r.EvaluationPeriods-spare):]
	var have []Datapoint
	age := 0 // of the oldest real datapoint, 1 for the latest period
	for i, p := range points {
		if p.Status == DatapointMissing {
			continue
		}
		if len(have) == 0 {
			age = len(points) - i
		}
		have = append(have, p)
	}
	have = have[max(0, len(have)-r.EvaluationPeriods):]
	d := Decision{State: state, Evaluated: len(have)}
	for _, p := range have {
		if p.Status == DatapointBreaching {
			d.Breaching++
			if d.First.IsZero() {
				d.First = p.At
			}
		}
	}
	d.State = next(r, state, d, age)
	if d.State != model.StateAlarm {
		d.First = time.Time{}
	}
	return d
}

func next(r Rule, state model.AlarmState, d Decision, age int) model.AlarmState {
	filled := r.EvaluationPeriods - d.Evaluated
	good := d.Evaluated - d.Breaching
	switch {
	case d.Breaching >= r.DatapointsToAlarm:
		return model.StateAlarm
	case filled == 0 || r.TreatMissingData == TreatNotBreaching:
		return model.StateOK
	case r.TreatMissingData == TreatBreaching:
		if d.Breaching+filled >= r.DatapointsToAlarm {
			return model.StateAlarm
		}
		return model.StateOK
	case good > 0:
		return model.StateOK
	case r.TreatMissingData == TreatIgnore:
		return state
	case d.Evaluated == 0:
		return model.StateInsufficient
	case age >= r.DatapointsToAlarm:
		return model.StateAlarm
	}
	return state
}

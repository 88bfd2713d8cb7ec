package incident

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"triage/internal/model"
)

// title says in one line what an alarm saw: "checkout in frontend: latency 2.7x its usual".
func title(a model.Alarm) string {
	where := a.Rule
	switch {
	case a.Operation != "" && a.Service != "":
		where = a.Operation + " in " + a.Service
	case a.Service != "" && a.Signal != model.SignalMetric:
		where = a.Service
	case a.Service != "":
		where = a.Rule + " in " + a.Service
	}
	return where + ": " + symptom(a)
}

// maxReason is how much of a reason a title takes.
const maxReason = 120

func symptom(a model.Alarm) string {
	if a.Source != "" && a.Reason != "" { // there is no threshold that we know
		reason := []rune(strings.Join(strings.Fields(a.Reason), " "))
		if len(reason) > maxReason {
			reason = append(reason[:maxReason-1], '…')
		}
		return string(reason)
	}
	switch a.Signal {
	case model.SignalErrors:
		if a.Unit != "ratio" {
			break
		}
		return fmt.Sprintf("%s of requests fail (usually %s)", percent(a.Value), percent(a.Usual))
	case model.SignalDuration:
		if a.Usual > 0 {
			return fmt.Sprintf("latency %s its usual", times(a.Value/a.Usual))
		}
	case model.SignalRate:
		switch {
		case a.Value == 0 && a.Usual > 0:
			return "no traffic"
		case a.Usual > 0 && a.Value >= a.Usual:
			return fmt.Sprintf("traffic %s its usual", times(a.Value/a.Usual))
		case a.Usual > 0:
			return fmt.Sprintf("traffic down to %s of its usual", percent(a.Value/a.Usual))
		}
	}
	if a.Usual != 0 {
		return fmt.Sprintf("%s (usually %s)", quantity(a.Value, a.Unit), quantity(a.Usual, a.Unit))
	}
	return fmt.Sprintf("%s (threshold %s)", quantity(a.Value, a.Unit), quantity(a.Threshold, a.Unit))
}

func times(x float64) string {
	if x >= 10 {
		return fmt.Sprintf("%.0fx", x)
	}
	return fmt.Sprintf("%.1fx", x)
}

// percent keeps one digit below ten, and none that are not there.
func percent(share float64) string {
	p := 100 * share
	if p < 9.95 {
		p = math.Round(10*p) / 10
	} else {
		p = math.Round(p)
	}
	return strconv.FormatFloat(p, 'f', -1, 64) + " %"
}

func quantity(v float64, unit string) string {
	s := strconv.FormatFloat(v, 'g', 3, 64)
	if math.Abs(v) >= 1000 {
		s = strconv.FormatFloat(v, 'f', 0, 64)
	}
	if unit == "" || unit == "ratio" {
		return s
	}
	return s + " " + unit
}

// distance is by what factor an alarm is away from what it should be; 0 where nothing says.
func distance(a model.Alarm) float64 {
	should := a.Usual
	if should <= 0 {
		should = a.Threshold
	}
	if should <= 0 || a.Value <= 0 {
		return 0
	}
	return max(a.Value/should, should/a.Value)
}

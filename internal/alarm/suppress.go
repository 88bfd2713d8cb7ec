package alarm

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"triage/internal/model"
)

// suppress says of every alarm in ALARM whether nobody is to be told of it at at, and why. It tells whether anything
// changed. What it says follows from the alarms' states and times alone, so that a restart changes nothing.
func suppress(watches map[string]*watch, at time.Time) (changed bool) {
	for _, name := range slices.Sorted(maps.Keys(watches)) {
		w := watches[name]
		for _, c := range w.contributors {
			reason := ""
			if c.alarm.State == model.StateAlarm {
				reason = w.suppressed(&c.alarm, watches, at)
			}
			if reason != c.alarm.Suppressed {
				c.alarm.Suppressed, changed = reason, true
			}
		}
	}
	return changed
}

func (w *watch) suppressed(a *model.Alarm, watches map[string]*watch, at time.Time) string {
	for i, m := range w.rule.Mute {
		if m.contains(at) {
			return fmt.Sprintf("muted by window %d of rule %s", i+1, w.rule.Name)
		}
	}
	s := w.rule.Suppressor
	if s == nil {
		return ""
	}
	if _, firing := stateOf(s.Alarm, watches); len(firing) > 0 {
		return "suppressed by alarm " + firing[0].ID
	}
	if end := lastEnd(s.Alarm, watches).Add(time.Duration(s.Extension)); at.Before(end) {
		return fmt.Sprintf("suppressed until %s, as alarm %s has just ended", end.Format(time.RFC3339), s.Alarm)
	}
	if end := a.Since.Add(time.Duration(s.Wait)); at.Before(end) {
		return fmt.Sprintf("waits until %s for alarm %s", end.Format(time.RFC3339), s.Alarm)
	}
	return ""
}

// lastEnd is when the last of a rule's alarms, or one alarm, left ALARM.
func lastEnd(child string, watches map[string]*watch) (end time.Time) {
	name, ok := ruleOf(child, func(n string) bool { return watches[n] != nil })
	if !ok {
		return end
	}
	for id, c := range watches[name].contributors {
		if (child == name || child == id) && c.alarm.Ended.After(end) {
			end = c.alarm.Ended
		}
	}
	return end
}

// contains tells whether an alarm is mute at at. A window with both kinds of times holds where both do.
func (m MuteWindow) contains(at time.Time) bool {
	if !m.From.IsZero() || !m.To.IsZero() {
		if at.Before(m.From) || !at.Before(m.To) {
			return false
		}
		if empty(m.TimeInterval) {
			return true
		}
	}
	return m.ContainsTime(at.UTC())
}

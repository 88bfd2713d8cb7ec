package alarm

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"triage/internal/model"
)

// Reported is how an alarm stands that someone else judges: Prometheus' rule manager.
type Reported struct {
	// Rule and Labels name the alarm; a rule of ours with the same name keeps it, and this one gets a suffix.
	Rule   string
	Labels map[string]string
	Firing bool
	// At is since when it stands so, Onset when its condition began to hold.
	At, Onset time.Time
	Value     float64
	Reason    string
	// Source is who says so, SourcePrometheus where nothing is said.
	Source string
	// Until is how long the report holds. An alarm of which nothing more is heard is over then, with insufficient data.
	Until time.Time
}

const (
	// SourcePrometheus is the source of alarms whose rules stand in Prometheus rule files.
	SourcePrometheus = "prometheus"
	// reportedSuffix tells reported rules from ours of the same name.
	reportedSuffix = " (rule file)"
	// reportGrace is how long after a restart the first report of an alarm may take.
	reportGrace = 5 * time.Minute
	// keepReported is how long alarms that are over are still listed.
	keepReported = time.Hour
	// maxReports bounds the reports that wait for the next evaluation; past it the oldest are dropped, and come again.
	maxReports = 100_000
)

// Report takes in how others' alarms stand. It shows with the next evaluation. Reports of unknown tenants are dropped.
func (e *Evaluator) Report(tenant string, list []Reported) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.tenants {
		if t.name == tenant {
			t.reports = append(t.reports, list...)
			if n := len(t.reports) - maxReports; n > 0 {
				t.reports = slices.Delete(t.reports, 0, n)
			}
		}
	}
}

// newReported begins to follow a rule that others evaluate, with the alarms of it that were saved.
func newReported(tenant, rule string, saved []model.Alarm, at time.Time) *watch {
	w := newWatch(tenant, Rule{Name: rule, Signal: model.SignalMetric}, saved)
	w.reported = true
	for _, c := range w.contributors {
		c.until = at.Add(reportGrace)
	}
	return w
}

// takeReports moves others' alarms to where they were reported to stand, and ends those of which nothing is heard.
func (e *Evaluator) takeReports(t *tenant, at time.Time, quiet *silences) (out []model.Transition) {
	e.mu.Lock()
	reports := t.reports
	t.reports = nil
	e.mu.Unlock()
	reports = append(reports, e.opts.Sources.reports(t.name, at, quiet)...)
	for _, r := range reports {
		name := r.Rule
		if w := t.watches[name]; w != nil && !w.reported {
			name += reportedSuffix
		}
		w := t.watches[name]
		if w == nil {
			w = newReported(t.name, name, nil, at)
			t.watches[name] = w
		}
		id := alarmID(name, r.Labels)
		c := w.contributors[id]
		if c == nil {
			if !r.Firing || len(w.contributors) >= maxContributors {
				continue
			}
			c = w.newContributor(w.newAlarm(id, r.Labels, r.At))
			c.alarm.Source, c.alarm.State = cmp.Or(r.Source, SourcePrometheus), model.StateOK
			w.contributors[id] = c
		}
		c.until, c.seen = r.Until, at
		a := &c.alarm
		a.Value, a.Updated = r.Value, at
		state := model.StateOK
		if r.Firing {
			state = model.StateAlarm
		}
		if from := a.State; from != state {
			w.enter(c, state, r.At.UTC())
			a.Reason = r.Reason
			if r.Firing {
				a.Onset = r.Onset.UTC()
			}
			out = append(out, transition(from, *a))
		} else if r.Firing && r.Source == SourceTriage {
			a.Reason = r.Reason // more may have fallen silent
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.watches)) {
		w := t.watches[name]
		if !w.reported {
			continue
		}
		w.last = at
		for _, id := range slices.Sorted(maps.Keys(w.contributors)) {
			c := w.contributors[id]
			switch from := c.alarm.State; {
			case from == model.StateAlarm && at.After(c.until):
				w.enter(c, model.StateInsufficient, at)
				c.alarm.Updated, c.alarm.Reason = at, "nothing more was heard of it: its rule is gone, or is not evaluated"
				out = append(out, transition(from, c.alarm))
			case from != model.StateAlarm && at.Sub(c.seen) > keepReported:
				t.gone = append(t.gone, id)
				delete(w.contributors, id)
			}
		}
		if len(w.contributors) == 0 {
			delete(t.watches, name)
		}
	}
	return out
}

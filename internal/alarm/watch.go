package alarm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/store"
	baseline "triage/internal/usual"
)

const (
	// history is how many periods are read back when a rule begins to be watched: enough to fill the past, even if a
	// third of it was an ALARM or missing.
	history = usualLen * 3 / 2
	// learnEvery is the pace at which datapoints of an ALARM become usual: one in so many. What lasts for two hours and a
	// half (of 5 s periods) is the new usual, and a fault of ten minutes leaves hardly a trace.
	learnEvery = 10
	// idlePeriods is after how many periods without a datapoint a contributor that is not in ALARM is forgotten.
	idlePeriods = 720
	// catchUp is how many periods are judged after a pause; what was before is only learnt from.
	catchUp = 360
	// settle is how long after a restart what is missing is not missed: those who send notice it late and try again.
	settle = 30 * time.Second
	// maxContributors bounds the alarms of one rule. Those past it are counted and not watched.
	maxContributors = 5000
)

// watch is one rule of one tenant, being evaluated.
type watch struct {
	tenant string
	rule   Rule
	condition
	last         time.Time // end of the last period evaluated, zero before the first
	contributors map[string]*contributor
	reported     bool  // others evaluate it, and report
	err          error // why the last evaluation failed
	dropped      int   // contributors past the bound, in the last evaluation
	good, odd    int   // datapoints of the last evaluation that are numbers, and that are none
	// judged is the last period that was judged before a restart, and unobserved the time in which nobody may have received
	// anything because of it: what is missing then says nothing.
	judged     time.Time
	unobserved store.Window
	// keys are what it depends on sources by, held the one that it waits for, silence when one of them sent nothing last.
	keys      []string
	held      string
	silence   store.Window
	quiet     *silences // who is silent now
	checked   time.Time // when it was last known to select not too many series
	seasons   map[string]*baseline.Season
	unlearned error          // why seasons were not learnt from before
	recorded  []model.Series // of the last evaluation, see Usual.Record
	lookedAt  time.Time      // when it was last looked whether it goes off early
}

// contributor is one label set of a rule, with its alarm.
type contributor struct {
	alarm  model.Alarm
	points []point // the latest, at most EvaluationPeriods+spare
	few    bool    // the newest datapoint rests on too few samples, and is not to be judged
	usual  usual
	seen   time.Time // last period with a datapoint
	until  time.Time // of others' alarms, how long what was reported holds
	early  time.Time // the end of the period in which it went off before that was over; it doesn't end before
}

// point is a datapoint with what is needed to learn from it later.
type point struct {
	Datapoint
	samples float64
	alarmed bool // part of an ALARM
}

// newWatch begins to watch a rule, with the alarms of it that were saved.
func newWatch(tenant string, r Rule, saved []model.Alarm) *watch {
	r = r.judged()
	w := &watch{tenant: tenant, rule: r, condition: newCondition(r), contributors: make(map[string]*contributor, len(saved)), keys: r.dependsOn()}
	for _, a := range saved {
		w.contributors[a.ID] = w.newContributor(a)
	}
	return w
}

// resume makes a watch go on where the last process stopped, by the alarms that it saved.
func (w *watch) resume(at time.Time) {
	for _, c := range w.contributors {
		if c.alarm.Updated.After(w.judged) {
			w.judged = c.alarm.Updated
		}
	}
	if !w.judged.IsZero() {
		w.unobserved = store.Window{From: w.judged.Add(1), To: at.Add(max(settle, 2*time.Duration(w.rule.Period)))}
	}
}

func (w *watch) newContributor(a model.Alarm) *contributor {
	c := &contributor{alarm: a, seen: a.Updated}
	if w.rule.Usual != nil {
		c.usual.noise, c.usual.exclude = w.rule.Usual.Noise, w.rule.Usual.Exclude
		c.usual.season = w.season(a.ID)
	}
	return c
}

// due gives the end of the newest period that is over at at, and whether it is still to be evaluated. Periods end delay
// after whole multiples.
func (w *watch) due(at time.Time, delay time.Duration) (time.Time, bool) {
	slot := at.Add(-delay).Truncate(time.Duration(w.rule.Period)).Add(delay)
	return slot, slot.After(w.last)
}

// evaluate judges the periods up to slot that were not judged yet. When the store gives no answer nothing changes, and
// the periods are judged next time.
//
// In the beginning, and after a pause longer than history, it first learns what is usual from the past, following alarms
// silently: what was part of an ALARM, by what it sees or by what past says, is no example of the usual. The periods of a
// pause, or of a restart, are judged then, unless there are more than catchUp.
func (w *watch) evaluate(ctx context.Context, src sources, slot time.Time, past map[string][]store.Window) ([]model.Transition, error) {
	from := w.last.Add(time.Duration(w.rule.Period))
	learn := w.fresh(slot)
	if learn {
		from = w.begin(slot)
	}
	frames, err := w.fetch(ctx, src, from, slot)
	if err != nil {
		return nil, err
	}
	w.dropped, w.good, w.odd = 0, 0, 0
	for _, f := range frames {
		w.good += len(f.values)
		w.odd += f.odd
	}
	if learn {
		w.learnSeasons(ctx, src.metrics, from)
		n := len(frames) - w.missed(slot)
		w.learn(frames[:n], slot, past)
		frames = frames[n:]
	}
	var out []model.Transition
	w.recorded = nil
	for _, f := range frames {
		if w.rule.Usual != nil && w.rule.Usual.Record != "" {
			w.recorded = append(w.recorded, w.record(f)...)
		}
		out = append(out, w.step(f, nil)...)
	}
	w.last = slot
	return out, nil
}

// fresh tells whether the past must be learnt before slot can be judged.
func (w *watch) fresh(slot time.Time) bool {
	return w.last.IsZero() || slot.Sub(w.last) > w.history()
}

// missed is how many periods are to be judged when the past is learnt anew: those since the last that was judged, or the
// newest alone when that was never or long ago.
func (w *watch) missed(slot time.Time) int {
	last := w.judged
	if !w.last.IsZero() {
		last = w.last
	}
	period := time.Duration(w.rule.Period)
	if pause := slot.Sub(last); !last.IsZero() && pause <= catchUp*period {
		return max(1, int((pause+period-1)/period))
	}
	return 1
}

// begin is the first period that is read when the past is learnt anew.
func (w *watch) begin(slot time.Time) time.Time {
	return slot.Add(-w.history() - time.Duration(w.missed(slot)-1)*time.Duration(w.rule.Period))
}

func (w *watch) learn(frames []frame, slot time.Time, past map[string][]store.Window) {
	saved := make(map[string]model.Alarm, len(w.contributors))
	for id, c := range w.contributors {
		saved[id] = c.alarm
		w.contributors[id] = w.newContributor(w.newAlarm(id, c.alarm.Labels, slot))
	}
	for _, f := range frames {
		w.step(f, past)
	}
	for id, c := range w.contributors {
		a, ok := saved[id]
		if !ok {
			a = w.newAlarm(id, c.alarm.Labels, slot)
		}
		c.alarm = a
	}
}

// history is how far back a rule reads when it begins.
func (w *watch) history() time.Duration {
	periods := w.rule.EvaluationPeriods + spare
	if w.rule.Usual != nil {
		periods += history
	}
	return time.Duration(periods) * time.Duration(w.rule.Period)
}

// step takes one period in. Datapoints within past were part of an ALARM.
func (w *watch) step(f frame, past map[string][]store.Window) (out []model.Transition) {
	for _, id := range slices.Sorted(maps.Keys(f.values)) {
		if _, known := w.contributors[id]; known {
			continue
		}
		if len(w.contributors) >= maxContributors {
			w.dropped++
			continue
		}
		w.contributors[id] = w.newContributor(w.newAlarm(id, f.values[id].labels, f.at))
	}
	for _, id := range slices.Sorted(maps.Keys(w.contributors)) {
		c := w.contributors[id]
		v, present := f.values[id]
		if w.blind(f.at, present) {
			continue
		}
		if since, blind := w.quiet.blind(w, c.alarm.Labels, f.at, present); blind {
			out = append(out, w.retract(c, since, f.at)...)
			continue
		}
		w.take(c, f.at, v, present)
		if slices.ContainsFunc(past[id], func(p store.Window) bool { return p.Contains(f.at) }) {
			c.points[len(c.points)-1].alarmed = true
		}
		if f.at.Before(c.early) {
			continue
		}
		c.early = time.Time{}
		from := c.alarm.State
		w.decide(c, f.at)
		if c.alarm.State != from {
			out = append(out, transition(from, c.alarm))
		}
	}
	return out
}

// blind tells whether a datapoint, or that there is none, says nothing. While a source is silent what is missing is not
// missed, and what is counted of spans and logs counts nothing.
func (w *watch) blind(at time.Time, present bool) bool {
	if w.silence.Contains(at) && (!present || slices.Contains(w.keys, SpansKey) || slices.Contains(w.keys, LogsKey)) {
		return true
	}
	return !present && w.unobserved.Contains(at)
}

// retract takes back what was judged of a silence before it was known for one.
func (w *watch) retract(c *contributor, since, at time.Time) []model.Transition {
	c.seen = at // it is not to be forgotten meanwhile
	c.points = slices.DeleteFunc(c.points, func(p point) bool { return p.At.After(since) })
	if a := &c.alarm; a.State == model.StateAlarm && !a.Onset.Before(since.Add(-time.Duration(w.rule.Period))) {
		w.enter(c, model.StateOK, at)
		a.Updated, a.Reason = at, "it was not heard of since "+since.UTC().Format(time.TimeOnly)+", which says nothing of what it does"
		return []model.Transition{transition(model.StateAlarm, *a)}
	}
	return nil
}

func (w *watch) newAlarm(id string, labels map[string]string, at time.Time) model.Alarm {
	first := func(names ...string) string {
		for _, n := range names {
			if labels[n] != "" {
				return labels[n]
			}
		}
		return ""
	}
	return model.Alarm{
		ID: id, Tenant: w.tenant, Rule: w.rule.Name, Labels: labels, State: model.StateInsufficient,
		Reason: "there was no datapoint yet", Since: at, Signal: w.rule.Signal,
		Service:   first("service_name", "service.name", "service"),
		Operation: first("span_name", "span.name", "operation"), Unit: w.rule.Unit, Quiet: w.rule.Quiet,
	}
}

// take judges the newest datapoint and learns from the one that it pushes out.
func (w *watch) take(c *contributor, at time.Time, v value, present bool) {
	if n := w.rule.EvaluationPeriods + spare; len(c.points) >= n {
		c.learn(c.points[0], time.Duration(w.rule.Period))
		c.points = slices.Delete(c.points, 0, 1)
	}
	p := point{Datapoint: Datapoint{At: at, Value: v.value}, samples: v.samples}
	c.few = present && w.rule.LowSamples == LowSamplesIgnore && v.samples < enoughSamples(w.rule.percentile())
	if present && !c.few && v.samples >= w.rule.MinSamples {
		c.seen = at
		p.Status = DatapointGood
		breaching, threshold, usual := w.breaching(c, p)
		if breaching {
			p.Status = DatapointBreaching
		}
		c.alarm.Value, c.alarm.Threshold, c.alarm.Usual = v.value, threshold, usual
	}
	c.points = append(c.points, p)
}

// learn makes a datapoint part of the past, those of an ALARM slowly, and never of their hour: once what lasts has become
// usual it is no ALARM.
func (c *contributor) learn(p point, period time.Duration) {
	if p.Status == DatapointMissing || c.usual.excluded(p.At) {
		return
	}
	if !p.alarmed {
		c.usual.addToSeason(p.At, p.Value)
	} else if p.At.UnixNano()/int64(period)%learnEvery != 0 {
		return
	}
	c.usual.add(observation{p.Value, p.samples})
}

// ready tells whether enough of the past is known to judge by.
func (w *watch) ready(c *contributor) bool {
	return w.rule.Usual == nil || len(c.usual.ring) >= w.rule.Usual.MinDatapoints
}

func (w *watch) breaching(c *contributor, p point) (breaching bool, threshold, usual float64) {
	breaching = true
	if cmp := w.rule.Compare; cmp != nil {
		threshold = cmp.Threshold
		switch cmp.Op {
		case Above:
			breaching = p.Value > threshold
		case AtLeast:
			breaching = p.Value >= threshold
		case Below:
			breaching = p.Value < threshold
		case AtMost:
			breaching = p.Value <= threshold
		}
	}
	if u := w.rule.Usual; u != nil {
		if !w.ready(c) {
			return false, threshold, 0
		}
		l := c.usual.level(p.At)
		unusual, far := u.breach(l, observation{p.Value, p.samples})
		switch cmp := w.rule.Compare; {
		case cmp == nil:
			threshold = far
		case cmp.Op == Above || cmp.Op == AtLeast:
			threshold = max(threshold, far)
		default:
			threshold = min(threshold, far)
		}
		return breaching && unusual, threshold, l.usual
	}
	return breaching, threshold, 0
}

// decide moves the alarm to the state its datapoints call for.
func (w *watch) decide(c *contributor, at time.Time) {
	a := &c.alarm
	a.Updated, a.Quiet = at, w.rule.Quiet
	if c.few {
		c.seen = at
		a.Reason = fmt.Sprintf("stays as it is: a percentile of so few samples means little, it takes %.0f", math.Ceil(enoughSamples(w.rule.percentile())))
		return
	}
	if !w.ready(c) {
		// An ALARM from before a restart stays until there is something to judge it by.
		if a.State != model.StateAlarm {
			w.enter(c, model.StateInsufficient, at)
			a.Reason = fmt.Sprintf("what is usual is not known yet: %d of %d datapoints", len(c.usual.ring), w.rule.Usual.MinDatapoints)
		}
		return
	}
	points := make([]Datapoint, len(c.points))
	for i, p := range c.points {
		points[i] = p.Datapoint
	}
	d := Decide(points, w.rule, a.State)
	w.enter(c, d.State, at)
	a.Datapoints = nil // and not cut: transitions keep the old ones
	for _, p := range points[max(0, len(points)-w.rule.EvaluationPeriods):] {
		if p.Status != DatapointMissing {
			a.Datapoints = append(a.Datapoints, p.Value)
		}
	}
	a.Reason = w.reason(a, d)
	if d.State != model.StateAlarm {
		return
	}
	if a.Onset.IsZero() {
		first := d.First
		if first.IsZero() { // missing data alone made it an ALARM
			first = at
		}
		a.Onset = first.Add(-time.Duration(w.rule.Period))
	}
	for i := range c.points {
		if c.points[i].At.After(a.Onset) {
			c.points[i].alarmed = true
		}
	}
}

func (w *watch) enter(c *contributor, state model.AlarmState, at time.Time) {
	if c.alarm.State == state {
		return
	}
	if c.alarm.State == model.StateAlarm {
		c.alarm.Ended = at
	}
	c.alarm.State, c.alarm.Since, c.alarm.Onset = state, at, time.Time{}
}

// reason says in words why the state is what it is.
func (w *watch) reason(a *model.Alarm, d Decision) string {
	if d.Evaluated == 0 {
		return fmt.Sprintf("no datapoint in the last %d periods of %s", w.rule.EvaluationPeriods+spare, w.rule.Period)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the last %d datapoints were breaching, %d make an alarm; the latest is %s, the threshold %s",
		d.Breaching, d.Evaluated, w.rule.DatapointsToAlarm, quantity(a.Value, a.Unit), quantity(a.Threshold, a.Unit))
	if w.rule.Usual != nil {
		fmt.Fprintf(&b, ", usual %s", quantity(a.Usual, a.Unit))
	}
	return b.String()
}

func quantity(v float64, unit string) string {
	s := strconv.FormatFloat(v, 'g', 3, 64)
	if v >= 1000 || v <= -1000 {
		s = strconv.FormatFloat(v, 'f', 0, 64)
	}
	if unit == "" || unit == "ratio" {
		return s
	}
	return s + " " + unit
}

// forget drops contributors that have gone, and gives the IDs of their alarms.
func (w *watch) forget() (ids []string) {
	idle := idlePeriods * time.Duration(w.rule.Period)
	for id, c := range w.contributors {
		if c.alarm.State != model.StateAlarm && w.last.Sub(c.seen) > idle {
			ids = append(ids, id)
			delete(w.contributors, id)
			delete(w.seasons, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// retire ends the alarms of a rule that is no more. Those in ALARM say so, so that their incidents end.
func (w *watch) retire(at time.Time) (out []model.Transition, ids []string) {
	for _, id := range slices.Sorted(maps.Keys(w.contributors)) {
		ids = append(ids, id)
		c := w.contributors[id]
		if from := c.alarm.State; from == model.StateAlarm {
			w.enter(c, model.StateInsufficient, at)
			c.alarm.Updated, c.alarm.Reason = at, "the rule was removed"
			out = append(out, transition(from, c.alarm))
		}
	}
	return out, ids
}

// transition is the record of an alarm's change. Its ID follows from what changed when, so that a replay gives it again.
func transition(from model.AlarmState, a model.Alarm) model.Transition {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%s", a.Tenant, a.ID, a.Since.UnixNano(), a.State))
	return model.Transition{ID: hex.EncodeToString(sum[:12]), From: from, Alarm: a}
}

// alarmID is the rule's name and the labels in order, as PromQL writes them.
func alarmID(rule string, labels map[string]string) string {
	var b strings.Builder
	b.WriteString(rule)
	b.WriteByte('{')
	for i, k := range slices.Sorted(maps.Keys(labels)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(k)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(labels[k]))
	}
	b.WriteByte('}')
	return b.String()
}

package explain

import (
	"cmp"
	"math"
	"slices"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// NearChange is a change with how well its time fits the onset.
type NearChange struct {
	model.Change
	// Before is how long before the onset it took effect; slightly negative where the onset's own time is uncertain.
	Before time.Duration
	// Timing is 1 for a change just before the onset, falling to 0 at half an hour.
	Timing float64
	// Reverts tells that it brought back what had run before an earlier change of the same thing.
	Reverts bool
	// Affected and Others are the share of bad requests with the new version and with other ones, where both ran at
	// once; Split tells whether that is known.
	Affected, Others float64
	Split            bool
}

// ChangeWindow is how long before the onset changes are looked at.
const ChangeWindow = 30 * time.Minute

// prompt is how soon after a change its harm is to be expected: what was changed serves the next request.
const prompt = 10 * time.Second

// Changes rates changes by their time: a cause comes before its effects, mostly shortly before. slack is how far the
// onset may have been dated too early: a request that was under way when the fault began started before it. served says
// when a deployed version was first seen at work, by the change's entity: a deployment may take minutes to come about.
func Changes(changes []model.Change, served map[model.Entity]time.Time, onset time.Time, slack time.Duration) []NearChange {
	var out []NearChange
	for i, c := range changes {
		began := c.At
		if t := served[c.Entity()]; t.After(began) {
			began = t
		}
		before := onset.Sub(began)
		if before < -slack || before > ChangeWindow || undone(changes, i, served, onset) {
			continue
		}
		timing := 1.0
		if before > prompt {
			// Whatever ran well for a while after the change speaks for it: each factor of four costs about a quarter.
			timing = max(0, 1-math.Log(before.Seconds()/prompt.Seconds())/math.Log(ChangeWindow.Seconds()/prompt.Seconds()))
		}
		out = append(out, NearChange{Change: c, Before: before, Timing: round(timing), Reverts: reverts(changes, i)})
	}
	slices.SortFunc(out, func(a, b NearChange) int {
		return cmp.Or(cmp.Compare(b.Timing, a.Timing), a.At.Compare(b.At), cmp.Compare(a.Entity(), b.Entity()))
	})
	return out
}

// reverts tells whether a change brings back the value or version that an earlier change of the same thing replaced.
func reverts(changes []model.Change, i int) bool {
	c := &changes[i]
	return slices.ContainsFunc(changes, func(o model.Change) bool { return o.At.Before(c.At) && reverse(&o, c) })
}

// undone tells whether a change was taken back, and that took effect, well before the onset: it does no more harm.
func undone(changes []model.Change, i int, served map[model.Entity]time.Time, onset time.Time) bool {
	c := &changes[i]
	return slices.ContainsFunc(changes, func(o model.Change) bool {
		back := o.At
		if t := served[o.Entity()]; t.After(back) {
			back = t
		}
		return o.At.After(c.At) && reverse(c, &o) && onset.Sub(back) > prompt
	})
}

// reverse tells whether a change leads back to where another one came from.
func reverse(c, back *model.Change) bool {
	return back.To != "" && c.Service == back.Service && c.Key == back.Key && c.Kind == back.Kind && c.From == back.To && c.To == back.From
}

// NewVersions makes changes of versions that run now and didn't before. recorded are the changes that somebody told us
// of; a version that appears because of one of them isn't reported twice.
func NewVersions(service string, now, usual []store.ValueStat, recorded []model.Change) []model.Change {
	known := map[string]bool{"": true}
	for _, v := range usual {
		known[v.Value] = true
	}
	if len(known) == 1 {
		return nil // nothing to compare with
	}
	for _, c := range recorded {
		if c.Service == service {
			known[c.Version] = true
		}
	}
	from := ""
	if len(usual) > 0 {
		from = usual[0].Value
	}
	var out []model.Change
	for _, v := range now {
		if !known[v.Value] {
			out = append(out, model.Change{ID: "telemetry:" + service + "@" + v.Value, At: v.First, Kind: "deployment",
				Service: service, Version: v.Value, From: from, To: v.Value, Source: "telemetry"})
		}
	}
	return out
}

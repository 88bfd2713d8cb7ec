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
	// Affected and Others are the share of bad requests with the new version and with other ones, where both ran at
	// once; Split tells whether that is known.
	Affected, Others float64
	Split            bool
}

// ChangeWindow is how long before the onset changes are looked at.
const ChangeWindow = 30 * time.Minute

// Changes rates changes by their time: a cause comes before its effects, mostly shortly before. slack is how far the
// onset may have been dated too early: a request that was under way when the fault began started before it.
func Changes(changes []model.Change, onset time.Time, slack time.Duration) []NearChange {
	var out []NearChange
	for _, c := range changes {
		before := onset.Sub(c.At)
		if before < -slack || before > ChangeWindow {
			continue
		}
		timing := 1.0
		if s := before.Seconds(); s > 30 {
			// From 30 s on, each factor of four costs about a third.
			timing = max(0, 1-math.Log(s/30)/math.Log(ChangeWindow.Seconds()/30))
		}
		out = append(out, NearChange{Change: c, Before: before, Timing: round(timing)})
	}
	slices.SortFunc(out, func(a, b NearChange) int {
		return cmp.Or(cmp.Compare(b.Timing, a.Timing), a.At.Compare(b.At), cmp.Compare(a.Entity(), b.Entity()))
	})
	return out
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

package alarm

import (
	"context"
	"math"
	"time"

	"triage/internal/store"
	baseline "triage/internal/usual"
)

const (
	// seasonPast is how far back hours are learnt when a rule begins to be watched, by a datapoint every seasonStep: an
	// hour of the week is known by two of them.
	seasonPast = 21 * 24 * time.Hour
	seasonStep = 15 * time.Minute
	// seasonTimeout bounds the query for it: the rule is evaluated without it.
	seasonTimeout = 4 * time.Second
)

// season is what is usual of a contributor at each hour of the week. It is kept by the watch while contributors are learnt
// anew.
func (w *watch) season(id string) *baseline.Season {
	s := w.seasons[id]
	if s == nil {
		if w.seasons == nil {
			w.seasons = make(map[string]*baseline.Season)
		}
		s = new(baseline.Season)
		w.seasons[id] = s
	}
	return s
}

// learnSeasons reads what was usual at each hour of the week before a time. Contributors that come later, and rules that
// have no expression to ask for the past, learn from their own datapoints alone.
func (w *watch) learnSeasons(ctx context.Context, m store.Metrics, before time.Time) {
	if w.rule.Usual == nil || w.rule.Expr == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, seasonTimeout)
	defer cancel()
	before = before.Truncate(seasonStep)
	lines, err := m.QueryRange(ctx, w.tenant, w.rule.Expr, store.Window{From: before.Add(-seasonPast), To: before.Add(-seasonStep)}, seasonStep)
	if w.unlearned = err; err != nil {
		return
	}
	clear(w.seasons)
	for _, l := range lines {
		id := alarmID(w.rule.Name, l.Labels)
		if len(w.seasons) >= maxContributors && w.seasons[id] == nil {
			continue
		}
		u := usual{noise: w.rule.Usual.Noise, exclude: w.rule.Usual.Exclude, season: w.season(id)}
		for i, v := range l.Values {
			at := l.Start.Add(time.Duration(i) * l.Step)
			if !math.IsNaN(v) && !math.IsInf(v, 0) && !u.excluded(at) {
				u.add(observation{value: v}) // for the noise
				u.addToSeason(at, v)
			}
		}
	}
}

package explain

import (
	"cmp"
	"slices"

	"triage/internal/model"
	"triage/internal/store"
)

// Rivals lists what else could have been the cause, each with the number that speaks against it. chosen is the verdict,
// nil if there is none. Only what is as usual, or clearly lies elsewhere, is listed: a rival that is merely weaker is a
// candidate, not ruled out.
func Rivals(f *Facts, chosen *Case) (out []model.RuledOut) {
	accused := map[model.Entity]bool{}
	if chosen != nil {
		accused[chosen.Entity] = true
		if chosen.Resource != "" {
			accused[chosen.Resource] = true
		}
	}
	add := func(class model.Class, e model.Entity, value float64, key string, args ...string) {
		if !accused[e] {
			out = append(out, model.RuledOut{Class: class, Entity: e, Value: round(value), Key: key, Args: args})
		}
	}
	// Services and what they call that take as long as usual.
	for _, row := range f.Where {
		if f.Blame(row.Entity) > 0.1 || row.ExclusiveS == 0 {
			continue // to blame, or not reached any more
		}
		switch row.Entity.Kind() {
		case "service":
			add(model.ClassSelf, row.Entity, row.ExclusiveS, "time_usual", Name(row.Entity), Seconds(row.ExclusiveS), Seconds(row.UsualS))
		case "database", "remote":
			add(model.ClassDependency, row.Entity, row.ExclusiveS, "time_usual", Name(row.Entity), Seconds(row.ExclusiveS), Seconds(row.UsualS))
		}
	}
	for _, e := range f.networks() {
		now, usual := f.Edge(e.From, e.To, store.EdgeCall)
		entity := model.EdgeEntity(e.From, e.To)
		if f.Blame(entity) <= 0.1 && now.WaitP50 <= max(1.5*usual.WaitP50, 1e-3) {
			add(model.ClassNetwork, entity, now.WaitP50, "network_usual", Name(entity), Seconds(now.WaitP50), Seconds(usual.WaitP50))
		}
	}
	for _, r := range f.Resources {
		e := model.ServiceEntity(r.Service)
		if r.Kind == Pool {
			e = model.PoolEntity(r.Service)
		}
		if r.Strength < 0.1 && r.Level >= 0 {
			add(model.ClassResource, e, r.Level, string(r.Kind)+"_usual", r.Service, Percent(r.Level), Percent(max(0, r.LevelUsual)))
		}
	}
	// Changes: none at all, or not where the trouble is.
	if len(f.Changes) == 0 {
		add(model.ClassChange, "", 0, "no_change", Seconds(ChangeWindow.Seconds()))
	}
	for i := range f.Changes {
		if c := &f.Changes[i]; c.Service != "" && f.reach(c.Service) < 0.1 {
			add(model.ClassChange, c.Entity(), f.reach(c.Service), "change_elsewhere", string(c.Entity()), c.Service, Percent(f.reach(c.Service)))
		}
	}
	now, usual := f.entries(f.Service, f.Kind)
	if s, rateNow, rateUsual := f.surge(f.Service, now, usual); s == 0 && now > 0 {
		key := "rate_usual"
		if rateNow < 0.7*rateUsual {
			key = "rate_less"
		}
		add(model.ClassCaller, "", rateNow, key, f.Service, Rate(rateNow), Rate(rateUsual))
	}
	for _, e := range f.EdgesNow {
		if e.Kind != store.EdgeMessage {
			continue
		}
		_, before := f.Edge(e.From, e.To, e.Kind)
		if s, rateNow, rateUsual := f.surge(e.To, e.Count, before.Count); s == 0 {
			add(model.ClassEvent, model.ServiceEntity(e.From), rateNow, "messages_usual", e.From, e.To, Rate(rateNow), Rate(rateUsual))
		}
	}
	order := []model.Class{model.ClassSelf, model.ClassDependency, model.ClassNetwork, model.ClassResource, model.ClassChange, model.ClassCaller, model.ClassEvent}
	slices.SortStableFunc(out, func(a, b model.RuledOut) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Class), slices.Index(order, b.Class)), cmp.Compare(b.Value, a.Value), cmp.Compare(a.Entity, b.Entity))
	})
	return out
}

// networks are the calls between services that affected requests make, as far as the table of times knows them.
func (f *Facts) networks() (out []store.EdgeStat) {
	for _, e := range f.EdgesNow {
		if e.Kind == store.EdgeCall && f.Row(model.ServiceEntity(e.From)).Entity != "" && f.Row(model.ServiceEntity(e.To)).Entity != "" {
			out = append(out, e)
		}
	}
	return out
}

package explain

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// This file turns signs into what people are shown. A claim is a key and its arguments; package diagnose has the
// sentence of each key in each language. Arguments are entities, names and numbers with units, never words.

// compare is a claim with a number now and its usual.
func (f *Facts) compare(key, kind string, e model.Entity, now, usual float64, unit string, args ...string) *model.Evidence {
	link := SpansLink(f.Bad, EntityQuery(e))
	if kind == "edge" {
		link = ServicesLink(f.Bad)
	}
	return &model.Evidence{Kind: kind, Entity: e, Key: key, Args: args, Value: round(now), Usual: round(usual), Unit: unit, Link: link}
}

// placeEvidence is the entity's row of the table of times.
func (f *Facts) placeEvidence(e model.Entity) *model.Evidence {
	row := f.Row(e)
	if row.Entity == "" || row.ExclusiveS <= row.UsualS {
		return f.originEvidence(e)
	}
	ev := f.compare("exclusive", "trace", e, row.ExclusiveS, row.UsualS, "s", Name(e), Seconds(row.ExclusiveS), Seconds(row.UsualS))
	if row.BadTrace != "" {
		ev.Link = TraceLink(row.BadTrace)
	}
	return ev
}

// originEvidence is how many failures begin at the entity.
func (f *Facts) originEvidence(e model.Entity) *model.Evidence {
	for _, o := range f.Origins {
		if o.Entity == e && f.Failed > 0 {
			share := float64(o.Count) / float64(f.Failed)
			key := "origin"
			args := []string{Name(e), Percent(share), o.Operation}
			if o.Message != "" {
				key, args = "origin_message", append(args, short(o.Message))
			}
			return &model.Evidence{Kind: "trace", Entity: e, Key: key, Args: args, Value: round(share), Unit: "ratio", Link: TraceLink(o.Trace)}
		}
	}
	return nil
}

func (f *Facts) outageEvidence(e, target model.Entity) *model.Evidence {
	ev := f.originEvidence(e)
	if ev != nil && target != e {
		ev.Entity = target
	}
	if ev == nil {
		now, usual := f.failed(e)
		return f.compare("calls_fail", "edge", target, now, usual, "ratio", Name(target), Percent(now), Percent(usual))
	}
	return ev
}

func short(s string) string {
	r := []rune(s)
	if len(r) > 120 {
		return string(r[:119]) + "…"
	}
	return s
}

// Name is how a sentence calls an entity: services and keys by their bare name, edges with an arrow, the rest as they are
// written everywhere else.
func Name(e model.Entity) string {
	switch e.Kind() {
	case "service":
		return e.Name()
	case "edge":
		from, to := e.Ends()
		return from + "→" + to
	case "key":
		return e.Name()
	}
	return string(e)
}

func (f *Facts) holderEvidence(service string, h Holder) *model.Evidence {
	e := CallerEntity(h.Key, h.Value)
	return &model.Evidence{Kind: "attribute", Entity: e, Key: "holder_" + string(h.Measure),
		Args:  []string{string(e), Percent(h.Share), string(model.PoolEntity(service)), Clock(f.Onset), Percent(h.Usual), service},
		Value: h.Share, Usual: h.Usual, Unit: "ratio", Link: SpansLink(f.Bad, Field(h.Key, h.Value))}
}

// poolEvidence is the level of a pool, or what its log lines say.
func (f *Facts) poolEvidence(r Resource) *model.Evidence {
	for _, s := range r.Signs {
		if s.Role == "used" && s.Limit > 0 && s.Strength > 0 {
			return f.seriesEvidence(r, s)
		}
	}
	for _, s := range r.Signs {
		if s.Role != "logs" && s.Strength > 0 {
			return f.seriesEvidence(r, s)
		}
	}
	if _, t := PoolLogs(r.Service, f.Templates); t != nil {
		return f.templateEvidence(t)
	}
	return nil
}

func (f *Facts) seriesEvidence(r Resource, s SeriesSign) *model.Evidence {
	w := store.Window{From: f.Onset.Add(-10 * time.Minute), To: f.Bad.To}
	if w.From.Before(f.Normal.From) {
		w.From = f.Normal.From
	}
	e := model.ServiceEntity(r.Service)
	if r.Kind == Pool {
		e = model.PoolEntity(r.Service)
	}
	ev := &model.Evidence{Kind: "metric", Entity: e, Value: s.Now, Usual: s.Usual, Link: MetricLink(w, s.Metric, s.Labels)}
	number := Digits
	if r.Kind == Memory && s.Role != "collection" {
		number, ev.Unit = Size, "By"
	}
	switch {
	case s.Role == "logs":
		if _, t := PoolLogs(r.Service, f.Templates); t != nil {
			return f.templateEvidence(t)
		}
		return nil
	case s.Role == "used" && s.Limit > 0 && r.Kind == CPU:
		ev.Key, ev.Unit = "cpu", "ratio"
		ev.Value, ev.Usual = round(s.Now/s.Limit), round(s.Usual/s.Limit)
		ev.Args = []string{r.Service, Percent(ev.Value), Percent(ev.Usual)}
	case r.Kind == Disk:
		ev.Key, ev.Unit, ev.Args = "disk_used", "ratio", []string{r.Service, Percent(s.Now), Percent(s.Usual)}
	case s.Role == "used" && s.Limit > 0:
		ev.Key = string(r.Kind) + "_used"
		ev.Args = []string{r.Service, number(s.Now), number(s.Limit), number(s.Usual)}
	case s.Role == "used" || s.Role == "growth":
		ev.Key = string(r.Kind) + "_growth"
		ev.Args = []string{r.Service, number(s.Now), number(s.Usual)}
	default:
		ev.Key = string(r.Kind) + "_" + s.Role
		ev.Args = []string{r.Service, s.Metric, Digits(s.Now), Digits(s.Usual)}
	}
	return ev
}

func (f *Facts) templateEvidence(t *TemplateShift) *model.Evidence {
	sample := t.Sample
	if t.Reason != "" && !strings.Contains(sample, t.Reason) {
		sample += ": " + t.Reason
	}
	key, args := "log_more", []string{t.Service, short(sample), Digits(float64(t.Now)), Digits(float64(t.Usual))}
	switch {
	case t.Appeared():
		key, args = "log_new", []string{t.Service, short(sample), Digits(float64(t.Now)), Clock(t.First)}
	case t.Score < 0:
		key = "log_less"
	}
	return &model.Evidence{Kind: "log", Entity: model.ServiceEntity(t.Service), Key: key, Args: args,
		Value: float64(t.Now), Usual: float64(t.Usual), Unit: "lines",
		Link: LogsLink(f.Bad, Query(Field("service", t.Service), "template:"+templateText(t.Template)))}
}

func templateText(id uint64) string {
	s := strconv.FormatUint(id, 16)
	for len(s) < 16 {
		s = "0" + s
	}
	return s
}

func (f *Facts) attributeEvidence(a ValueShift) *model.Evidence {
	return &model.Evidence{Kind: "attribute", Entity: attributeEntity(a), Key: "attribute",
		Args:  []string{a.Key, a.Value, Percent(a.Bad), Percent(a.Rest)},
		Value: a.Bad, Usual: a.Rest, Unit: "ratio", Link: SpansLink(f.Bad, Field(a.Key, a.Value))}
}

func attributeEntity(a ValueShift) model.Entity {
	if slices.Contains(CallerKeys, a.Key) {
		return CallerEntity(a.Key, a.Value)
	}
	return ""
}

func (f *Facts) asUsual(key string, e model.Entity, now, usual float64) *model.Evidence {
	return f.compare(key, "edge", e, now, usual, "s", Name(e), Seconds(now), Seconds(usual))
}

func (f *Facts) rateEvidence(key string, e model.Entity, now, usual float64, service string) *model.Evidence {
	ev := f.compare(key, "edge", e, now, usual, "1/s", Name(e), Rate(now), Rate(usual), service)
	ev.Link = ServicesLink(f.Bad)
	return ev
}

func (f *Facts) floodEvidence(e store.EdgeStat, now, usual float64) *model.Evidence {
	return f.compare("flood", "edge", model.ServiceEntity(e.From), now, usual, "1/s", e.From, e.To, Rate(now), Rate(usual))
}

func (f *Facts) edgeEvidence(e model.Entity, now, usual store.EdgeStat) *model.Evidence {
	return f.compare("edge_wait", "edge", e, now.WaitP50, usual.WaitP50, "s", Name(e), Seconds(now.WaitP50), Seconds(usual.WaitP50))
}

func (f *Facts) lossEvidence(e model.Entity, now store.EdgeStat) *model.Evidence {
	if ev := f.originEvidence(e); ev != nil {
		return ev
	}
	return f.compare("edge_stalls", "edge", e, now.WaitMean, now.WaitP50, "s", Name(e), Seconds(now.WaitMean), Seconds(now.WaitP50))
}

// ChangeEvidence is when a change took effect, for or against it.
func (f *Facts) ChangeEvidence(c *NearChange) *model.Evidence {
	key := "change_before"
	if c.Before < 0 {
		key = "change_at"
	}
	summary := cmp.Or(c.Summary, c.Kind)
	return &model.Evidence{Kind: "change", Entity: c.Entity(), Key: key,
		Args:  []string{string(c.Entity()), Seconds(max(0, c.Before.Seconds())), Clock(c.At), summary},
		Value: round(c.Before.Seconds()), Unit: "s", Link: ChangesLink(store.Window{From: f.Onset.Add(-ChangeWindow), To: f.Bad.To})}
}

func (f *Facts) splitEvidence(c *NearChange) *model.Evidence {
	return &model.Evidence{Kind: "attribute", Entity: c.Entity(), Key: "version",
		Args:  []string{c.Service, c.Version, Percent(c.Affected), Percent(c.Others)},
		Value: c.Affected, Usual: c.Others, Unit: "ratio", Link: SpansLink(f.Bad, Query(Field("service", c.Service), Field("service.version", c.Version)))}
}

// Extra is evidence that belongs to no mechanism but that a person wants to see: the strongest log lines and attribute
// values around the place of the trouble.
func (f *Facts) Extra(limit int) (out []model.Evidence) {
	for _, t := range ByTemplate(f.Templates) {
		if len(out) == limit {
			break
		}
		out = append(out, *f.templateEvidence(&t))
	}
	for i := range f.Attributes {
		if i == 2 {
			break
		}
		out = append(out, *f.attributeEvidence(f.Attributes[i]))
	}
	return out
}

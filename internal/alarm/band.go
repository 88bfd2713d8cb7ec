package alarm

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	prom "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/model"
	"triage/internal/store"
	baseline "triage/internal/usual"
)

// maxBand bounds the points of a band, and with them the work: a longer range is judged by longer periods.
const maxBand = 1000

// Band is how an alarm's datapoints lay to what was usual, over a time range.
type Band struct {
	Alarm string `json:"alarm"`
	Unit  string `json:"unit,omitempty"`
	// Step is the time between points: the rule's period, or more over a long range.
	Step   Duration    `json:"step"`
	Points []BandPoint `json:"points"`
}

// BandPoint is one datapoint with its bounds. What is not known, or is no bound of the rule, is nil: of a rule that only
// compares, Usual and the side that it does not look at.
type BandPoint struct {
	At    time.Time `json:"at"`
	Value *float64  `json:"value,omitempty"`
	Usual *float64  `json:"usual,omitempty"`
	Lower *float64  `json:"lower,omitempty"`
	Upper *float64  `json:"upper,omitempty"`
}

// Band judges an alarm's datapoints from r.From to r.To again, as an evaluation then would have, with the hours of the week
// as they are known now. step is the least time between points, 0 for the rule's period. It waits for an evaluation that
// is going on. store.ErrNotFound if there is no such alarm, ErrInvalid if it has no datapoints at such times.
func (e *Evaluator) Band(ctx context.Context, tenant, id string, r store.Window, step time.Duration) (Band, error) {
	rule, season, err := e.contributor(ctx, tenant, id)
	if err != nil {
		return Band{}, err
	}
	period := time.Duration(rule.Period)
	if n := r.To.Sub(r.From) / maxBand; n > period || step > period {
		rule.Period = Duration((max(n, step) + period - 1) / period * period)
	}
	switch enlarged := time.Duration(rule.Period) != period; {
	case rule.Composite != "":
		return Band{}, fmt.Errorf("%w: %s is made of other alarms and has no datapoints", ErrInvalid, rule.Name)
	case enlarged && rule.Expr == "": // what is counted by period, or computed over periods, would be another number
		return Band{}, fmt.Errorf("%w: %s is judged by %s alone, so a band is over %s at most",
			ErrInvalid, rule.Name, Duration(period), Duration(maxBand*period))
	}
	b := Band{Alarm: id, Unit: rule.Unit, Step: rule.Period, Points: []BandPoint{}}

	w := newWatch(tenant, rule, nil)
	w.seasons = map[string]*baseline.Season{id: new(baseline.Season)}
	from := r.From.Truncate(time.Duration(rule.Period)).Add(e.opts.Delay)
	frames, err := w.fetchOne(ctx, sources{e.opts.Metrics, e.opts.Events}, id, from.Add(-w.history()), r.To)
	if err != nil {
		return Band{}, fmt.Errorf("band of %s: %w", id, err)
	}
	if !slices.ContainsFunc(frames, func(f frame) bool { return len(f.values) > 0 }) {
		return Band{}, fmt.Errorf("datapoints of alarm %s in that time: %w", id, store.ErrNotFound)
	}
	for _, f := range frames {
		*w.seasons[id] = season // which knows these datapoints already
		p := BandPoint{At: f.at}
		v, present := f.values[id]
		if present {
			p.Value = &v.value
		}
		w.bound(&p, id, v.samples)
		w.step(f, nil)
		if !f.at.Before(r.From) {
			b.Points = append(b.Points, p)
		}
	}
	return b, nil
}

// contributor is the rule of an alarm, and what is known of its season.
func (e *Evaluator) contributor(ctx context.Context, tenant, id string) (Rule, baseline.Season, error) {
	e.run.Lock()
	defer e.run.Unlock()
	t, err := e.tenant(ctx, tenant)
	if err != nil {
		return Rule{}, baseline.Season{}, err
	}
	for _, w := range t.watches {
		c := w.contributors[id]
		if c == nil {
			continue
		}
		if w.reported {
			return Rule{}, baseline.Season{}, fmt.Errorf("%w: %s is judged elsewhere, in a Prometheus rule file", ErrInvalid, id)
		}
		if c.usual.season == nil {
			return w.rule, baseline.Season{}, nil
		}
		return w.rule, *c.usual.season, nil
	}
	// An alarm of the past is gone with its series, but for what is stored of them and its rule.
	var r Rule
	for name, wanted := range e.wanted(t) {
		if wanted.err == nil && len(name) > len(r.Name) && strings.HasPrefix(id, name+"{") {
			r = wanted.rule
		}
	}
	if r.Name == "" {
		return r, baseline.Season{}, fmt.Errorf("alarm %s: %w", id, store.ErrNotFound)
	}
	return r, baseline.Season{}, nil
}

// bound sets the bounds of a point by what is known before it.
func (w *watch) bound(p *BandPoint, id string, samples float64) {
	u, cmp := w.rule.Usual, w.rule.Compare
	if u == nil {
		threshold := cmp.Threshold
		if cmp.Op == Above || cmp.Op == AtLeast {
			p.Upper = &threshold
		} else {
			p.Lower = &threshold
		}
		return
	}
	c := w.contributors[id]
	if c == nil || !w.ready(c) {
		return
	}
	l := c.usual.level(p.At)
	lower, upper := u.threshold(l, samples, false), u.threshold(l, samples, true)
	p.Usual, p.Lower, p.Upper = &l.usual, &lower, &upper
}

// fetchOne is fetch of a single contributor: over many periods the others would take much memory.
func (w *watch) fetchOne(ctx context.Context, src sources, id string, from, to time.Time) ([]frame, error) {
	if w.rule.Expr == "" {
		frames, err := w.fetch(ctx, src, from, to)
		for _, f := range frames {
			maps.DeleteFunc(f.values, func(other string, _ value) bool { return other != id })
		}
		return frames, err
	}
	period := time.Duration(w.rule.Period)
	frames := make([]frame, to.Sub(from)/period+1)
	for i := range frames {
		frames[i] = frame{at: from.Add(time.Duration(i) * period), values: map[string]value{}}
	}
	read := func(expr string, put func(v *value, labels map[string]string, x float64)) error {
		lines, err := src.metrics.QueryRange(ctx, w.tenant, expr, store.Window{From: from, To: frames[len(frames)-1].at}, period)
		for _, l := range lines {
			if alarmID(w.rule.Name, l.Labels) != id {
				continue
			}
			for i, x := range l.Values {
				n := int(l.Start.Add(time.Duration(i)*l.Step).Sub(from) / period)
				if n < 0 || n >= len(frames) || math.IsNaN(x) || math.IsInf(x, 0) {
					continue
				}
				v := frames[n].values[id]
				put(&v, l.Labels, x)
				if v.labels != nil {
					frames[n].values[id] = v
				}
			}
		}
		return err
	}
	if err := read(w.rule.Expr, func(v *value, labels map[string]string, x float64) { v.labels, v.value = labels, x }); err != nil {
		return nil, fmt.Errorf("expr: %w", err)
	}
	if w.rule.Samples != "" {
		if err := read(w.rule.Samples, func(v *value, _ map[string]string, n float64) { v.samples = n }); err != nil {
			return nil, fmt.Errorf("samples: %w", err)
		}
	}
	return frames, nil
}

// record gives the bounds of a period's datapoints as series, before the datapoints are learnt from.
func (w *watch) record(f frame) (out []model.Series) {
	name := w.rule.Usual.Record
	for _, id := range slices.Sorted(maps.Keys(f.values)) {
		p := BandPoint{At: f.at}
		w.bound(&p, id, f.values[id].samples)
		for _, s := range []struct {
			suffix string
			value  *float64
		}{{":usual", p.Usual}, {":lower", p.Lower}, {":upper", p.Upper}} {
			if s.value == nil { // it is not known yet
				continue
			}
			b := labels.NewBuilder(labels.EmptyLabels())
			for k, v := range f.values[id].labels {
				b.Set(promLabel(k), v)
			}
			b.Set(prom.MetricNameLabel, name+s.suffix)
			out = append(out, model.Series{Labels: b.Labels(), Type: "gauge", Samples: []model.Sample{{T: f.at.UnixMilli(), V: *s.value}}})
		}
	}
	return out
}

// promLabel is an attribute's name as a label has it.
func promLabel(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

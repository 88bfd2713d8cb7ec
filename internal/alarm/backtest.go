package alarm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"triage/internal/model"
	"triage/internal/store"
	baseline "triage/internal/usual"
)

const (
	// backtestChunk is how many periods are read at once, maxBacktest how many in all: 100,000 are a month of 30 s.
	backtestChunk = 5000
	maxBacktest   = 100_000
	// maxBacktestValues bounds the datapoints that are kept to try thresholds on.
	maxBacktestValues = 10_000_000
	// maxThresholds bounds the thresholds that are tried: a binary search among all values.
	maxThresholds = 40
	week          = 7 * 24 * time.Hour
)

// BacktestOptions say which rule is tried on which past.
type BacktestOptions struct {
	Tenant  string
	Rule    Rule
	Window  store.Window
	Metrics store.Metrics
	Events  Events
	// PerWeek, if not nil, asks for the threshold that gives at most so many pages a week.
	PerWeek *float64
	// Lines is how many alarms' datapoints are told, those with pages first.
	Lines int
}

// Page is one time that a rule would have called someone: an alarm from entering ALARM to leaving it.
type Page struct {
	Alarm  string            `json:"alarm"`
	Labels map[string]string `json:"labels,omitempty"`
	From   time.Time         `json:"from"`
	// To is the end of the window where the alarm did not end within it; Lasts tells that.
	To        time.Time `json:"to"`
	Lasts     bool      `json:"lasts,omitempty"`
	Seconds   float64   `json:"seconds"`
	Value     float64   `json:"value"`
	Threshold float64   `json:"threshold"`
}

// Backtest is what a rule would have done.
type Backtest struct {
	Rule    string    `json:"rule"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Periods int       `json:"periods"`
	// Contributors is how many label sets had a datapoint, Datapoints how many there were.
	Contributors int `json:"contributors"`
	Datapoints   int `json:"datapoints"`
	// Pages are in order of time.
	Pages   []Page  `json:"pages"`
	PerWeek float64 `json:"per_week"`
	// Proposal is the threshold that was asked for, nil if none was.
	Proposal *Proposal `json:"proposal,omitempty"`
	// Lines are the datapoints of the alarms that were asked for.
	Lines []BacktestLine `json:"lines,omitempty"`
}

// BacktestLine is what a backtest saw of one alarm: a value each Step from Start on, nil where there was none. Over many
// periods, a value is the one of its periods that is nearest to breaching.
type BacktestLine struct {
	Alarm  string     `json:"alarm"`
	Start  time.Time  `json:"start"`
	Step   Duration   `json:"step"`
	Values []*float64 `json:"values"`
}

// maxLinePoints bounds the values of a line.
const maxLinePoints = 500

// lines thins the datapoints of some alarms out, those with pages first.
func lines(r Rule, frames []frame, from time.Time, pages []Page, most int) (out []BacktestLine) {
	frames = slices.DeleteFunc(slices.Clone(frames), func(f frame) bool { return !f.at.After(from) })
	var ids []string
	add := func(id string) {
		if len(ids) < most && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, p := range pages {
		add(p.Alarm)
	}
	for _, f := range frames {
		for _, id := range slices.Sorted(maps.Keys(f.values)) {
			add(id)
		}
		if len(ids) == most {
			break
		}
	}
	below := r.Compare != nil && (r.Compare.Op == Below || r.Compare.Op == AtMost) || r.Usual != nil && r.Usual.Direction == Down
	every := (len(frames) + maxLinePoints - 1) / maxLinePoints
	for _, id := range ids {
		l := BacktestLine{Alarm: id, Start: frames[0].at, Step: r.Period * Duration(every)}
		for some := range slices.Chunk(frames, every) {
			var worst *float64
			for _, f := range some {
				if v, ok := f.values[id]; ok && (worst == nil || below == (v.value < *worst)) {
					worst = &v.value
				}
			}
			l.Values = append(l.Values, worst)
		}
		out = append(out, l)
	}
	return out
}

// Proposal is the least strict threshold that keeps to a number of pages a week, and how many it gives.
type Proposal struct {
	Threshold float64 `json:"threshold"`
	PerWeek   float64 `json:"per_week"`
}

// RunBacktest replays a rule over stored data, as it would have been evaluated. It stores nothing. A wrong rule or window is
// ErrInvalid.
func RunBacktest(ctx context.Context, o BacktestOptions) (Backtest, error) {
	r := o.Rule.WithDefaults()
	period := time.Duration(r.Period)
	invalid := func(format string, args ...any) (Backtest, error) {
		return Backtest{}, fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
	}
	if err := r.Validate(); err != nil {
		return invalid("%w", err)
	}
	from, to := o.Window.From.UTC().Truncate(period), o.Window.To.UTC().Truncate(period)
	n := int(to.Sub(from) / period)
	switch {
	case r.Composite != "":
		return invalid("composite: a rule that is made of others has no data of its own to be tried on")
	case n < 1:
		return invalid("from %s to %s is less than a period of %s", o.Window.From.Format(time.RFC3339), o.Window.To.Format(time.RFC3339), r.Period)
	case n > maxBacktest:
		return invalid("from %s to %s are %d periods of %s, at most %d are replayed", from.Format(time.RFC3339), to.Format(time.RFC3339), n, r.Period, maxBacktest)
	case o.PerWeek != nil && (r.Compare == nil || r.Compare.Band != ""):
		return invalid("compare: only a fixed threshold can be proposed")
	case o.PerWeek != nil && !(*o.PerWeek >= 0):
		return invalid("per week: %v is no number of pages", *o.PerWeek)
	}
	w := newWatch(o.Tenant, r, nil)
	begin := from.Add(-w.history()) // what it would have known when the window began
	frames, err := w.readPast(ctx, sources{o.Metrics, o.Events}, begin, to)
	if err != nil {
		return Backtest{}, err
	}
	w.learnSeasons(ctx, o.Metrics, begin)
	out := Backtest{Rule: r.Name, From: from, To: to, Periods: n}
	seen := map[string]bool{}
	for _, f := range frames {
		if f.at.After(from) {
			for id := range f.values {
				seen[id] = true
			}
			out.Datapoints += len(f.values)
		}
	}
	out.Contributors = len(seen)
	out.Pages = w.pages(r, frames, from, to)
	out.PerWeek = perWeek(len(out.Pages), to.Sub(from))
	out.Lines = lines(r, frames, from, out.Pages, o.Lines)
	if o.PerWeek != nil {
		out.Proposal, err = w.propose(ctx, frames, from, to, *o.PerWeek)
	}
	return out, err
}

func perWeek(n int, length time.Duration) float64 {
	return float64(n) * float64(week) / float64(length)
}

// readPast reads the frames of a long time, in chunks.
func (w *watch) readPast(ctx context.Context, src sources, from, to time.Time) (frames []frame, err error) {
	period := time.Duration(w.rule.Period)
	values := 0
	for from = from.Add(period); !from.After(to); from = from.Add(backtestChunk * period) {
		end := from.Add((backtestChunk - 1) * period)
		if end.After(to) {
			end = to
		}
		chunk, err := w.fetch(ctx, src, from, end)
		if err != nil {
			return nil, err
		}
		for _, f := range chunk {
			values += len(f.values)
		}
		if values > maxBacktestValues {
			return nil, fmt.Errorf("%w: it has more than %d datapoints in that time; choose a shorter one or fewer label sets", ErrInvalid, maxBacktestValues)
		}
		frames = append(frames, chunk...)
	}
	return frames, nil
}

// pages replays a rule, that of the watch but for its threshold, over frames. What happens up to from is not told.
func (w *watch) pages(r Rule, frames []frame, from, to time.Time) []Page {
	seasons := w.seasons
	w = newWatch(w.tenant, r, nil)
	w.seasons = make(map[string]*baseline.Season, len(seasons))
	for id, s := range seasons {
		own := *s // which goes on learning
		w.seasons[id] = &own
	}
	out := []Page{}
	open := map[string]int{} // the page that an alarm is on
	for _, f := range frames {
		for _, tr := range w.step(f, nil) {
			a := tr.Alarm
			if i, ok := open[a.ID]; ok && a.State != model.StateAlarm {
				out[i].To = a.Since
				delete(open, a.ID)
			}
			if a.State == model.StateAlarm && f.at.After(from) {
				open[a.ID] = len(out)
				out = append(out, Page{Alarm: a.ID, Labels: a.Labels, From: a.Since, Value: a.Value, Threshold: a.Threshold})
			}
		}
	}
	for i := range out {
		p := &out[i]
		if p.To.IsZero() {
			p.To, p.Lasts = to, true
		}
		p.Seconds = p.To.Sub(p.From).Seconds()
	}
	slices.SortStableFunc(out, func(a, b Page) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Alarm, b.Alarm)) })
	return out
}

// propose finds the threshold that is least strict among the values that there were and keeps to so many pages a week. It
// searches as if a stricter threshold never gave more pages, which holds but for alarms that flap around it.
func (w *watch) propose(ctx context.Context, frames []frame, from, to time.Time, wish float64) (*Proposal, error) {
	r := w.rule
	var values []float64
	for _, f := range frames {
		for _, v := range f.values {
			values = append(values, v.value)
		}
	}
	if len(values) == 0 {
		return nil, errors.New("there is no datapoint to learn a threshold from")
	}
	slices.Sort(values)
	values = slices.Compact(values)
	if r.Compare.Op == Below || r.Compare.Op == AtMost {
		slices.Reverse(values) // the strictest comes last for all
	}
	// With >= and <= even the outermost value breaches: one step further none does.
	last := values[len(values)-1]
	beyond := math.Nextafter(last, math.Inf(1))
	if r.Compare.Op == Below || r.Compare.Op == AtMost {
		beyond = math.Nextafter(last, math.Inf(-1))
	}
	values = append(values, beyond)
	count := func(threshold float64) float64 {
		c := *r.Compare
		c.Threshold = threshold
		tried := r
		tried.Compare = &c
		return perWeek(len(w.pages(tried, frames, from, to)), to.Sub(from))
	}
	low, high := 0, len(values)-1
	best := &Proposal{values[high], count(values[high])}
	for range maxThresholds {
		if low >= high {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		middle := (low + high) / 2
		if n := count(values[middle]); n <= wish {
			high, best = middle, &Proposal{values[middle], n}
		} else {
			low = middle + 1
		}
	}
	return best, nil
}

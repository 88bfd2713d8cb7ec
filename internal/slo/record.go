package slo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	prom "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// What a search finds is counted by minute, once, and kept as a metric: a budget over a month then asks for sums, and outlives
// the rows.
const (
	countName  = "triage_slo_events"
	markerName = "triage_slo_events_counted_until" // unix time, so that a restart goes on where it was
	minute     = time.Minute
	// countDelay is how long rows may take to arrive.
	countDelay = 30 * time.Second
	// countPast is how far back what was there before is counted, countChunk how much at once.
	countPast  = 24 * time.Hour
	countChunk = 6 * time.Hour
	// maxGroups bounds the rows of one answer: label sets times minutes.
	maxGroups = 100_000
	maxBy     = 10
)

// Events is what is asked of logs and spans.
type Events interface {
	SpanCounts(ctx context.Context, q store.CountQuery) ([]store.CountStat, error)
	LogCounts(ctx context.Context, q store.CountQuery) ([]store.CountStat, error)
}

// countable says why a search cannot be counted.
func countable(query string, by []string) error {
	where, err := search.Parse(query)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	if search.HasRelation(where) {
		return errors.New("query: relations between spans cannot be counted")
	}
	if len(by) > maxBy {
		return fmt.Errorf("by: %d attributes are more than %d", len(by), maxBy)
	}
	for i, b := range by {
		if b == "" || slices.Contains(by[:i], b) || slices.Contains([]string{"slo", "part", "query"}, b) {
			return fmt.Errorf("by: %q is empty, there twice, or a name that is taken", b)
		}
	}
	return nil
}

// counting is a search whose rows are counted for an SLO.
type counting struct {
	slo, part string
	*Metric
}

// countings are all of an SLO.
func (s SLO) countings() (out []counting) {
	if s.Spec.Indicator == nil || s.Spec.Indicator.Spec.RatioMetric == nil {
		return nil
	}
	r := s.Spec.Indicator.Spec.RatioMetric
	for _, c := range []counting{{part: "good", Metric: r.Good}, {part: "bad", Metric: r.Bad}, {part: "total", Metric: r.Total}} {
		if c.Metric != nil && c.kind() != SourcePrometheus {
			c.slo = s.Metadata.Name
			out = append(out, c)
		}
	}
	return out
}

// id tells a search from the one that stood there before it.
func (c counting) id() string {
	src := c.MetricSource
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%q", c.kind(), src.Spec.Query, src.Spec.By))
	return hex.EncodeToString(sum[:4])
}

// selector is PromQL for one of the series of a search.
func (c counting) selector(name string) string {
	return fmt.Sprintf("%s{slo=%q,part=%q,query=%q}", name, c.slo, c.part, c.id())
}

// over is PromQL for the rows found within a time.
func (c counting) over(window string) string {
	return fmt.Sprintf("sum without (slo, part, query) (sum_over_time(%s[%s]))", c.selector(countName), window)
}

// Run counts what searches find and records what is left of budgets, each minute until ctx ends.
func (m *Manager) Run(ctx context.Context, tenant string) error {
	for {
		now := time.Now()
		next := now.Add(-countDelay).Truncate(minute).Add(minute + countDelay)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(next.Sub(now)):
		}
		for _, err := range []error{m.Count(ctx, tenant, next), m.Record(ctx, tenant, next)} {
			if err != nil && ctx.Err() == nil {
				m.opts.Logger.Warn("service level objectives are not measured whole", "tenant", tenant, "error", err)
			}
		}
	}
}

// Count counts what searches found in the minutes that were over countDelay before at and were not counted yet.
func (m *Manager) Count(ctx context.Context, tenant string, at time.Time) error {
	if m.opts.Events == nil {
		return nil
	}
	list, err := m.List(ctx, tenant)
	if err != nil {
		return err
	}
	to := at.Add(-countDelay).Truncate(minute)
	var errs []error
	for _, s := range list {
		for _, c := range s.countings() {
			if err := m.count(ctx, tenant, c, to); err != nil {
				errs = append(errs, fmt.Errorf("%s of SLO %s: %w", c.part, c.slo, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) count(ctx context.Context, tenant string, c counting, to time.Time) error {
	from, err := m.countedUntil(ctx, tenant, c, to)
	if err != nil {
		return err
	}
	where, err := search.Parse(c.MetricSource.Spec.Query)
	if err != nil {
		return err // which was told when it was stored
	}
	began := from
	ask := m.opts.Events.LogCounts
	if c.kind() == SourceSpans {
		ask = m.opts.Events.SpanCounts
	}
	for from.Before(to) {
		end := from.Add(countChunk)
		if end.After(to) {
			end = to
		}
		by := c.MetricSource.Spec.By
		stats, err := ask(ctx, store.CountQuery{Tenant: tenant, Window: store.Window{From: from, To: end}, Where: where, By: by, Step: minute, Limit: maxGroups})
		if err != nil {
			return err
		}
		if len(stats) == maxGroups {
			return fmt.Errorf("by %v it finds more than %d groups in %s", by, maxGroups, promDuration(end.Sub(from)))
		}
		series := map[string]*model.Series{}
		for _, st := range stats {
			ls := c.labels(countName)
			for i, name := range by {
				ls.Set(strings.ToValidUTF8(labelName(name), ""), st.By[i])
			}
			built := ls.Labels()
			key := built.String()
			if series[key] == nil {
				series[key] = &model.Series{Labels: built, Type: "gauge"}
			}
			series[key].Samples = append(series[key].Samples, model.Sample{T: st.At.Add(minute).UnixMilli(), V: float64(st.Count)})
		}
		batch := []model.Series{{Labels: c.labels(markerName).Labels(), Type: "gauge", Samples: []model.Sample{{T: end.UnixMilli(), V: float64(end.Unix())}}}}
		for _, s := range series {
			slices.SortFunc(s.Samples, func(a, b model.Sample) int { return int(a.T - b.T) })
			batch = append(batch, *s)
		}
		rejected, err := m.opts.Metrics.Append(ctx, tenant, batch)
		if err != nil {
			return err
		}
		if rejected.Total() > 0 { // which would be so again
			m.opts.Logger.Warn("counts of a service level objective were not stored", "slo", c.slo, "part", c.part, "rejected", rejected)
		}
		from = end
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counted[tenant+"/"+c.selector(countName)] = to
	if to.Sub(began) > minute { // hours that were added up already may have changed
		maps.DeleteFunc(m.ledgers, func(name string, _ *ledger) bool { return strings.HasPrefix(name, tenant+"/"+c.slo+"/") })
	}
	return nil
}

func (c counting) labels(name string) *labels.Builder {
	return labels.NewBuilder(labels.FromStrings(prom.MetricNameLabel, name, "slo", c.slo, "part", c.part, "query", c.id()))
}

// labelName is an attribute's name as a label has it.
func labelName(attribute string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, attribute)
}

// countedUntil is where counting goes on: after what was counted last, but no further back than countPast.
func (m *Manager) countedUntil(ctx context.Context, tenant string, c counting, to time.Time) (time.Time, error) {
	oldest := to.Add(-countPast)
	m.mu.Lock()
	until, ok := m.counted[tenant+"/"+c.selector(countName)]
	m.mu.Unlock()
	if !ok {
		points, err := m.opts.Metrics.Query(ctx, tenant, fmt.Sprintf("max_over_time(%s[%s])", c.selector(markerName), promDuration(countPast)), to)
		if err != nil {
			return oldest, err
		}
		if len(points) > 0 {
			until = time.Unix(int64(points[0].Value), 0).UTC()
		}
	}
	if until.Before(oldest) {
		return oldest, nil
	}
	return until, nil
}

// budgetName is the metric of what is left of budgets: 1 is all of it, below 0 more than there was is used up.
const budgetName = "triage_slo_budget_remaining"

// Record stores what is left of each budget as a metric, with the labels of what is measured and slo, objective and service.
func (m *Manager) Record(ctx context.Context, tenant string, at time.Time) error {
	list, err := m.List(ctx, tenant)
	if err != nil {
		return err
	}
	var errs []error
	var batch []model.Series
	for _, s := range list {
		st, err := m.Status(ctx, tenant, s, at)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, o := range st.Objectives {
			for _, series := range o.Series {
				b := labels.NewBuilder(labels.FromMap(series.Labels))
				for name, value := range map[string]string{prom.MetricNameLabel: budgetName, "slo": st.Name, "objective": o.Name, "service": st.Service} {
					b.Set(name, value)
				}
				batch = append(batch, model.Series{Labels: b.Labels(), Type: "gauge", Samples: []model.Sample{{T: at.UnixMilli(), V: series.Remaining}}})
			}
		}
	}
	if len(batch) > 0 {
		_, err := m.opts.Metrics.Append(ctx, tenant, batch)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

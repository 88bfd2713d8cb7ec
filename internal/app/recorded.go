package app

import (
	"context"
	"fmt"
	"time"

	"triage/internal/derive"
	"triage/internal/model"
	"triage/internal/usual"
)

// LogTemplates gives each of a service's lines, read once in order, the ID of the template that it has after the last of
// them. It is 0 for a line without words.
func LogTemplates(ctx context.Context, service string, lines []string) ([]uint64, error) {
	aliases := savedAliases{}
	d := derive.New(derive.Options{Templates: aliases})
	resource := &model.Resource{Service: service}
	ids := make([]uint64, len(lines))
	for i, line := range lines {
		b := model.Batch{Logs: []model.LogRecord{{Time: int64(i) * int64(time.Second), Body: model.String(line), Resource: resource}}}
		d.Enrich(&b)
		ids[i] = b.Logs[0].Template
	}
	if err := d.Save(ctx); err != nil {
		return nil, fmt.Errorf("templates of %s: %w", service, err)
	}
	for i, id := range ids {
		for aliases[id] != 0 {
			id = aliases[id]
		}
		ids[i] = id
	}
	return ids, nil
}

// savedAliases is what of templates must be known to resolve them.
type savedAliases map[uint64]uint64

// SaveTemplates is part of derive.Templates.
func (a savedAliases) SaveTemplates(_ context.Context, _ string, ts []model.Template) error {
	for _, t := range ts {
		a[t.ID] = t.Alias
	}
	return nil
}

// Templates is part of derive.Templates.
func (a savedAliases) Templates(context.Context, string) ([]model.Template, error) { return nil, nil }

// Unusual scores each value of a series by what came before it, see usual.Series. Times and values are of one length.
func Unusual(times []time.Time, values []float64) []float64 {
	var s usual.Series
	scores := make([]float64, len(values))
	for i, v := range values {
		scores[i] = s.Observe(times[i], v)
	}
	return scores
}

package app

import (
	"context"

	"triage/internal/ingest"
	"triage/internal/model"
	"triage/internal/record"
)

// recorded is a Sink that offers what it accepted to those who record.
type recorded struct {
	ingest.Sink
	tap *record.Tap
}

func (r recorded) Accept(ctx context.Context, b *model.Batch) (ingest.Result, error) {
	res, err := r.Sink.Accept(ctx, b)
	if err == nil && !res.Duplicate {
		r.tap.Offer(b)
	}
	return res, err
}

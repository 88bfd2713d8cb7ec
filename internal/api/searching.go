package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"triage/internal/store"
)

const (
	ndjson = "application/x-ndjson"
	// progressEvery is how often a search that takes long says how far it is.
	progressEvery = 200 * time.Millisecond
)

// searched is the answer of a search: one JSON document, or for those who accept NDJSON lines of progress and that document
// as the last line.
type searched struct {
	ContentType string `header:"Content-Type"`
	Body        func(huma.Context)
}

// search answers a search that ask makes.
func (s *server) search(ctx context.Context, in *searchParams, ask func(context.Context, store.Query) (any, error)) (*searched, error) {
	q, err := in.query(s.Now())
	if err != nil {
		return nil, err
	}
	if !strings.Contains(in.Accept, ndjson) {
		v, err := ask(ctx, q)
		if err != nil {
			return nil, err
		}
		b, err := answer(v)
		if err != nil {
			return nil, err
		}
		return &searched{b.ContentType, func(h huma.Context) { _, _ = h.BodyWriter().Write(b.Body) }}, nil
	}
	return &searched{ndjson, func(h huma.Context) {
		h.SetHeader("Cache-Control", "no-store")
		out := progressWriter{to: h}
		v, err := ask(store.WithProgress(h.Context(), out.progress), q)
		switch {
		case err == nil:
			out.line(v)
		case h.Context().Err() == nil:
			var p *huma.ErrorModel
			if errors.As(problem(err), &p) {
				out.line(map[string]any{"error": p})
			}
		}
	}}, nil
}

// progressWriter writes lines of an answer.
type progressWriter struct {
	to huma.Context

	mu   sync.Mutex // guards what follows
	next time.Time
	last bool // the last line was written
}

func (w *progressWriter) progress(p store.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.next.IsZero() {
		w.next = now.Add(progressEvery)
	}
	if w.last || now.Before(w.next) {
		return
	}
	w.next = now.Add(progressEvery)
	w.write(map[string]any{"progress": map[string]int64{"done": p.Done, "total": p.Total}})
}

func (w *progressWriter) line(v any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = true
	w.write(v)
}

// write writes one line; mu is held. Whoever no longer reads ends the request's context.
func (w *progressWriter) write(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(map[string]any{"error": huma.Error500InternalServerError(err.Error())})
	}
	body := w.to.BodyWriter()
	_, _ = body.Write(append(b, '\n'))
	if f, ok := body.(http.Flusher); ok {
		f.Flush()
	}
}

package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/api"
	"triage/internal/model"
	"triage/internal/store"
)

// slowEvents takes a minute to search 100 rows, or fails half-way.
type slowEvents struct{ fakeEvents }

func (slowEvents) Spans(ctx context.Context, q store.Query) (store.Page[model.Span], error) {
	store.NoteProgress(ctx, 0, 100)
	for range 5 {
		time.Sleep(12 * time.Second)
		store.NoteProgress(ctx, 20, 0)
		if strings.Contains(q.Where.String(), "broken") {
			return store.Page[model.Span]{}, store.ErrOverloaded
		}
	}
	return store.Page[model.Span]{Rows: []model.Span{}}, nil
}

func TestSearchTellsHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, api.Options{Events: slowEvents{}, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
		for _, c := range []struct {
			query, accept, contentType, want string
		}{
			{"cart", "application/x-ndjson", "application/x-ndjson", `{"progress":{"done":20,"total":100}}
{"progress":{"done":40,"total":100}}
{"progress":{"done":60,"total":100}}
{"progress":{"done":80,"total":100}}
{"progress":{"done":100,"total":100}}
{"more":false,"partial":"","spans":[]}
`},
			{"broken", "application/x-ndjson", "application/x-ndjson", `{"progress":{"done":20,"total":100}}
{"error":{"title":"Too Many Requests","status":429,"detail":"overloaded"}}
`},
			{"cart", "application/json", "application/json", `{"more":false,"partial":"","spans":[]}
`},
		} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/api/v1/spans?q="+c.query, nil)
			r.Header.Set("Accept", c.accept)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if got := w.Header().Get("Content-Type"); w.Code != 200 || got != c.contentType {
				t.Errorf("%s as %s: status %d, content type %s", c.query, c.accept, w.Code, got)
			}
			if d := cmp.Diff(c.want, w.Body.String()); d != "" {
				t.Errorf("%s as %s (-want +got):\n%s", c.query, c.accept, d)
			}
		}
	})
}

package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"triage/internal/api"
	"triage/internal/model"
)

// FuzzChange holds that no body makes the API panic, that every refusal is a problem document, and that what is recorded
// can be told from others.
func FuzzChange(f *testing.F) {
	f.Add([]byte(`{"kind":"deployment","service":"cart","version":"2.1","at":"2026-03-04T05:06:07Z","attributes":{"a":"b"}}`))
	f.Add([]byte(`{"kind":"flag","key":"a","from":"off","to":"on","id":"x"}`))
	f.Add([]byte(`{"kind":`))
	f.Add([]byte(`null`))
	var got []model.Change
	h := newHandler(f, api.Options{
		Record: func(_ context.Context, _ string, c model.Change) error { got = append(got, c); return nil },
		Now:    func() time.Time { return now },
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		got = nil
		r := httptest.NewRequest(http.MethodPost, "http://localhost/api/v1/changes", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("answer %d is no JSON: %q", w.Code, w.Body)
		}
		switch w.Code {
		case http.StatusCreated:
			if len(got) != 1 || got[0].ID == "" || got[0].Kind == "" || got[0].At.IsZero() || got[0].Service == "" && got[0].Key == "" {
				t.Errorf("recorded %+v", got)
			}
		case http.StatusBadRequest, http.StatusUnprocessableEntity:
			if len(got) != 0 {
				t.Errorf("refused and recorded %+v", got)
			}
		default:
			t.Errorf("answer %d %s", w.Code, w.Body)
		}
	})
}

// FuzzParameters holds the same for what stands in a search's address.
func FuzzParameters(f *testing.F) {
	f.Add("service:cart", "-1", "2100-01-01T00:00:00Z", "10")
	f.Add(`"`, "NaN", "1e9", "-1")
	h := newHandler(f, api.Options{Events: fakeEvents{}, Now: func() time.Time { return now }})
	f.Fuzz(func(t *testing.T, q, from, to, limit string) {
		v := url.Values{"q": {q}, "from": {from}, "to": {to}, "limit": {limit}}
		r := httptest.NewRequest(http.MethodGet, "http://localhost/api/v1/spans?"+v.Encode(), nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusUnprocessableEntity:
			if !json.Valid(w.Body.Bytes()) {
				t.Errorf("answer %d is no JSON: %q", w.Code, w.Body)
			}
		default:
			t.Errorf("answer %d %s", w.Code, w.Body)
		}
	})
}

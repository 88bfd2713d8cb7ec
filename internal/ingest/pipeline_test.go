package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/ingest"
	"triage/internal/model"
	"triage/internal/store"
)

// stores records what reaches each store and derive, in order, and answers as told.
type stores struct {
	store.Events
	store.State

	calls  []string
	known  map[[32]byte]bool
	events func() error
	series func() (store.Rejected, error)
	change func() error
}

func (s *stores) Append(_ context.Context, b *model.Batch) (bool, error) {
	s.calls = append(s.calls, fmt.Sprintf("events %s %d+%d", b.Tenant, len(b.Spans), len(b.Logs)))
	if s.events != nil {
		if err := s.events(); err != nil {
			return false, err
		}
	}
	if b.ID != [32]byte{} && s.known[b.ID] {
		return false, nil
	}
	if s.known == nil {
		s.known = map[[32]byte]bool{}
	}
	s.known[b.ID] = true
	return true, nil
}

func (s *stores) AddChange(_ context.Context, _ string, c model.Change) error {
	s.calls = append(s.calls, "change "+c.ID)
	if s.change != nil {
		return s.change()
	}
	return nil
}

func (s *stores) Enrich(*model.Batch)  { s.calls = append(s.calls, "enrich") }
func (s *stores) Observe(*model.Batch) { s.calls = append(s.calls, "observe") }

// metricStore is apart because both stores have an Append.
type metricStore struct {
	store.Metrics
	s *stores
}

func (m metricStore) Append(_ context.Context, _ string, series []model.Series) (store.Rejected, error) {
	m.s.calls = append(m.s.calls, fmt.Sprintf("metrics %d", len(series)))
	if m.s.series != nil {
		return m.s.series()
	}
	return nil, nil
}

func newPipeline(s *stores, o ingest.Options) *ingest.Pipeline {
	o.Events, o.Metrics, o.State, o.Deriver = s, metricStore{s: s}, s, s
	return ingest.NewPipeline(o)
}

func mixed(id byte) *model.Batch {
	res := &model.Resource{Service: "cart"}
	b := &model.Batch{
		Source:  "test",
		Spans:   []model.Span{{Name: "GET /", Resource: res}},
		Logs:    []model.LogRecord{{Body: model.String("hello"), Resource: res}, {Resource: res}},
		Series:  []model.Series{{Labels: labels.FromStrings("__name__", "up"), Samples: []model.Sample{{T: 1, V: 1}, {T: 2, V: 1}}}},
		Changes: []model.Change{{ID: "c1"}},
	}
	if id != 0 {
		b.ID = [32]byte{id}
	}
	return b
}

func TestAcceptGoesThroughTheStoresInOrder(t *testing.T) {
	s := &stores{}
	p := newPipeline(s, ingest.Options{})
	if _, err := p.Accept(t.Context(), mixed(1)); err != nil {
		t.Fatal(err)
	}
	want := []string{"enrich", "events default 1+2", "observe", "metrics 1", "change c1"}
	if diff := cmp.Diff(want, s.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestMetricsAloneNeedNoEventStore(t *testing.T) {
	s := &stores{}
	p := newPipeline(s, ingest.Options{})
	b := mixed(1)
	b.Spans, b.Logs, b.Changes = nil, nil, nil
	for range 2 {
		if _, err := p.Accept(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"enrich", "observe", "metrics 1"}, s.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestRetryIsAcknowledgedAndStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stores{}
		p := newPipeline(s, ingest.Options{})
		for i := range 3 {
			res, err := p.Accept(t.Context(), mixed(1))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := res.Duplicate, i > 0; got != want {
				t.Errorf("try %d: duplicate %v, want %v", i, got, want)
			}
		}
		if got := strings.Count(strings.Join(s.calls, ","), "observe"); got != 1 {
			t.Errorf("observed %d times, want 1", got)
		}
		n := len(s.calls)
		time.Sleep(10*time.Minute - time.Nanosecond)
		p.Accept(t.Context(), mixed(1))
		if len(s.calls) != n {
			t.Errorf("just inside ten minutes the retry reached the stores: %v", s.calls[n:])
		}
		time.Sleep(10*time.Minute + time.Nanosecond)
		p.Accept(t.Context(), mixed(1))
		if len(s.calls) == n {
			t.Error("long after, the batch was still remembered")
		}
	})
}

func TestBatchWithoutIDIsNeverARetry(t *testing.T) {
	s := &stores{known: map[[32]byte]bool{}}
	p := newPipeline(s, ingest.Options{})
	for range 2 {
		if res, err := p.Accept(t.Context(), mixed(0)); err != nil || res.Duplicate {
			t.Fatalf("duplicate %v, err %v", res.Duplicate, err)
		}
	}
}

// A retry after half a batch was stored must complete it without deriving twice.
func TestRetryCompletesHalfABatch(t *testing.T) {
	s := &stores{}
	p := newPipeline(s, ingest.Options{})
	s.series = func() (store.Rejected, error) { return nil, store.ErrFull }
	if _, err := p.Accept(t.Context(), mixed(1)); !errors.Is(err, store.ErrFull) {
		t.Fatalf("err %v, want ErrFull", err)
	}
	s.series, s.calls = nil, nil
	if _, err := p.Accept(t.Context(), mixed(1)); err != nil {
		t.Fatal(err)
	}
	want := []string{"enrich", "events default 1+2", "metrics 1", "change c1"}
	if diff := cmp.Diff(want, s.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestErrorOfEventStoreStopsEverythingElse(t *testing.T) {
	s := &stores{events: func() error { return store.ErrFull }}
	p := newPipeline(s, ingest.Options{})
	if _, err := p.Accept(t.Context(), mixed(1)); !errors.Is(err, store.ErrFull) {
		t.Fatalf("err %v, want ErrFull", err)
	}
	if diff := cmp.Diff([]string{"enrich", "events default 1+2"}, s.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestOverloadIsRefusedAndPasses(t *testing.T) {
	s := &stores{}
	size := ingest.Size(mixed(1))
	p := newPipeline(s, ingest.Options{MaxInFlight: 2*size - 1})
	var inner error
	s.events = func() error {
		s.events = nil
		_, inner = p.Accept(t.Context(), mixed(2))
		return nil
	}
	if _, err := p.Accept(t.Context(), mixed(1)); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(inner, store.ErrOverloaded) {
		t.Fatalf("second batch: %v, want ErrOverloaded", inner)
	}
	if _, err := p.Accept(t.Context(), mixed(2)); err != nil {
		t.Fatalf("the same batch later: %v", err)
	}
	if got := p.Status().InFlightBytes; got != 0 {
		t.Errorf("%d bytes still in flight", got)
	}
}

func TestCountsAndStatus(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := &stores{series: func() (store.Rejected, error) { return store.Rejected{"too_old": 1}, nil }}
	p := newPipeline(s, ingest.Options{Registerer: reg})
	b := mixed(1)
	b.Rejected = []model.Rejection{{Signal: ingest.Spans, Reason: "no_id", Count: 3}}
	if _, err := p.Accept(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	p.Accept(t.Context(), mixed(1))
	s.events = func() error { return errors.New("disk on fire") }
	p.Accept(t.Context(), mixed(2))

	got := p.Status()
	want := map[string]ingest.SourceStatus{"test": {Signals: map[string]ingest.SignalStatus{
		"spans":   {Received: 4 + 1 + 1, Accepted: 1, Duplicate: 1, Rejected: map[string]int64{"no_id": 3, "error": 1}},
		"logs":    {Received: 6, Accepted: 2, Duplicate: 2, Rejected: map[string]int64{"error": 2}},
		"samples": {Received: 6, Accepted: 1, Duplicate: 2, Rejected: map[string]int64{"too_old": 1, "error": 2}},
		"changes": {Received: 3, Accepted: 1, Duplicate: 1, Rejected: map[string]int64{"error": 1}},
	}}}
	if diff := cmp.Diff(want, got.Sources, cmpopts.IgnoreFields(ingest.SourceStatus{}, "Last"), cmpopts.IgnoreFields(ingest.SignalStatus{}, "Lag")); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if got.Sources["test"].Last.IsZero() {
		t.Error("no last time")
	}
	wantText := `
# HELP triage_ingest_rejected_items_total Items not stored, by reason.
# TYPE triage_ingest_rejected_items_total counter
triage_ingest_rejected_items_total{reason="error",signal="changes",source="test"} 1
triage_ingest_rejected_items_total{reason="error",signal="logs",source="test"} 2
triage_ingest_rejected_items_total{reason="error",signal="samples",source="test"} 2
triage_ingest_rejected_items_total{reason="error",signal="spans",source="test"} 1
triage_ingest_rejected_items_total{reason="no_id",signal="spans",source="test"} 3
triage_ingest_rejected_items_total{reason="too_old",signal="samples",source="test"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(wantText), "triage_ingest_rejected_items_total"); err != nil {
		t.Error(err)
	}
}

// TestLag tells how far the clocks and queues of senders are off, in both directions.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline(&stores{}, ingest.Options{})
		now := time.Now()
		_, err := p.Accept(t.Context(), &model.Batch{Tenant: model.DefaultTenant, Source: "test",
			Spans:  []model.Span{{Start: now.Add(-time.Minute).UnixNano(), Duration: int64(30 * time.Second)}, {Start: now.Add(-time.Hour).UnixNano()}},
			Logs:   []model.LogRecord{{Time: now.Add(time.Hour).UnixNano()}},
			Series: []model.Series{{Samples: []model.Sample{{T: now.Add(-2 * time.Second).UnixMilli()}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for signal, want := range map[string]float64{ingest.Spans: 30, ingest.Logs: -3600, ingest.Samples: 2} {
			if got := p.Status().Sources["test"].Signals[signal].Lag; got == nil || *got != want {
				t.Errorf("lag of %s: %v, want %v", signal, got, want)
			}
		}
	})
}

func TestParseTenant(t *testing.T) {
	for in, want := range map[string]string{"": "default", "team-a": "team-a", "a.b_c!": "a.b_c!", "..": "!", ".": "!", "a/b": "!", "é": "!", "a\x00": "!", strings.Repeat("a", 151): "!"} {
		got, err := ingest.ParseTenant(in)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("ParseTenant(%q) = %q (%v), want %q", in, got, err, want)
		}
	}
}

// Each tenant takes memory, so those past the limit are refused, and the default tenant never is.
func TestTenantsAreBounded(t *testing.T) {
	p := newPipeline(&stores{}, ingest.Options{MaxTenants: 2})
	for i, c := range []struct {
		tenant string
		want   error
	}{{"a", nil}, {"b", nil}, {"c", store.ErrFull}, {"", nil}, {"a", nil}} {
		b := mixed(byte(i + 1))
		b.Tenant = c.tenant
		if _, err := p.Accept(t.Context(), b); !errors.Is(err, c.want) {
			t.Errorf("tenant %q: %v, want %v", c.tenant, err, c.want)
		}
	}
}

package diagnose_test

import (
	"context"
	"testing"
	"time"

	"triage/internal/diagnose"
	"triage/internal/model"
	"triage/internal/store"
	"triage/internal/store/events"
)

// TestEngine runs faults through the event store that the product runs on: its answers must lead to the same verdict as
// those of the scanning store of the other tests.
func TestEngine(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a database for each fault")
	}
	for _, s := range scenarios {
		if s.fault.Surge > 0 || s.fault.PoolSize > 0 {
			continue // many spans, nothing new
		}
		t.Run(s.name, func(t *testing.T) {
			ctx := context.Background()
			w := s.world(5)
			st, inc := w.Run()
			engine, err := events.Open(ctx, events.Options{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := engine.Close(); err != nil {
					t.Error(err)
				}
			}()
			b := &model.Batch{Tenant: model.DefaultTenant, Spans: st.Spans, Logs: st.Lines}
			if _, err := engine.Append(ctx, b); err != nil {
				t.Fatal(err)
			}
			seen(t, engine, w.At(), int64(len(st.Spans)))
			req := diagnose.Request{Incident: &inc}
			if len(inc.Alarms) == 0 {
				req = diagnose.Request{Service: "frontend", From: w.Onset(), To: w.At()}
			}
			began := time.Now()
			v, _, err := diagnose.New(diagnose.Options{Events: engine, Metrics: st, State: st}).Diagnose(ctx, req, w.At())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d spans, verdict after %s", len(st.Spans), time.Since(began).Round(time.Millisecond))
			if got := answer(v.Why); got != s.want {
				t.Errorf("verdict: %s, want %s\n%s", got, s.want, v.Text["en"])
			}
		})
	}
}

// seen waits until the engine's answers hold all spans, which it promises within a second.
func seen(t *testing.T, engine *events.Store, at time.Time, spans int64) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		h, err := engine.Health(context.Background(), model.DefaultTenant, store.Window{From: at.Add(-time.Hour), To: at.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if h.Spans == spans {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d spans seen", h.Spans, spans)
		}
	}
}

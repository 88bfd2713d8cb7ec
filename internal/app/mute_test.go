package app

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/record"
)

// A shop calls its cart twenty times a second. From the third minute on, for two minutes, something happens to the cart.
const (
	muteFrom, muteTo, muteEnd = 180, 300, 360
	callsEach                 = 20
)

// muted are the batches of one second, of which the cart's may be missing, or the calls themselves.
func muted(second int, at time.Time, calls, failing, heard bool) (out []*model.Batch) {
	shop, cart := &model.Resource{Service: "shop"}, &model.Resource{Service: "cart"}
	of := map[*model.Resource]*model.Batch{shop: {Tenant: model.DefaultTenant, Source: "otlp"}, cart: {Tenant: model.DefaultTenant, Source: "otlp"}}
	add := func(r *model.Resource, trace, id, parent uint64, name string, kind model.SpanKind, ms int, status model.StatusCode) {
		s := model.Span{Name: name, Kind: kind, Start: at.Add(time.Duration(ms-1000) * time.Millisecond).UnixNano(), Duration: int64(20 * time.Millisecond), Status: status, Resource: r, Scope: &model.Scope{}}
		binary.BigEndian.PutUint64(s.TraceID[8:], trace)
		binary.BigEndian.PutUint64(s.SpanID[:], id)
		binary.BigEndian.PutUint64(s.ParentID[:], parent)
		if kind == model.SpanClient {
			s.Attrs = model.Attrs{{Key: "server.address", Value: model.String("cart-host")}}
		}
		of[r].Spans = append(of[r].Spans, s)
	}
	for i := range callsEach {
		n := uint64(second*callsEach+i)*10 + 1
		add(shop, n, n+1, 0, "GET /shop", model.SpanServer, i*40, model.StatusUnset)
		if !calls {
			continue
		}
		status := model.StatusUnset
		if failing {
			status = model.StatusError
		}
		add(shop, n, n+2, n+1, "GET", model.SpanClient, i*40, status)
		if heard {
			add(cart, n, n+3, n+2, "GET /cart", model.SpanServer, i*40, model.StatusUnset)
		}
	}
	for _, r := range []*model.Resource{shop, cart} {
		if len(of[r].Spans) > 0 {
			out = append(out, of[r])
		}
	}
	return out
}

// Telemetry that is lost is told from traffic that is, and from a service that is down.
func TestAMuteService(t *testing.T) {
	for name, c := range map[string]struct {
		calls, failing bool
		want           string // the only incident
		within         time.Duration
	}{
		"its spans are lost":    {true, false, "source down: nothing has come from cart since ", 75 * time.Second},
		"nobody calls it":       {false, false, "GET /cart in cart: no traffic", 30 * time.Second},
		"it fails all who call": {true, true, "GET /cart in cart: no traffic", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			config := Default()
			config.Data = t.TempDir()
			p := &replay{ReplayOptions: ReplayOptions{Logger: testLogger(t)}}
			p.clock.Store(start.UnixNano())
			p.app = &app{Options: Options{Config: config, Logger: p.Logger}, now: p.now, replaying: true, failed: make(chan error, 1)}
			defer func() {
				if err := p.app.stop(); err != nil {
					t.Error(err)
				}
			}()
			if err := p.open(t.Context(), record.Header{Start: start, Host: "host"}); err != nil {
				t.Fatal(err)
			}
			p.aim(start)
			for second := range muteEnd {
				at := start.Add(time.Duration(second)*time.Second + 300*time.Millisecond)
				if err := p.advance(t.Context(), at); err != nil {
					t.Fatal(err)
				}
				ill := second >= muteFrom && second < muteTo
				for _, b := range muted(second, at, !ill || c.calls, ill && c.failing, !ill) {
					if _, err := p.app.pipeline.Accept(t.Context(), b); err != nil {
						t.Fatal(err)
					}
				}
			}
			list, err := p.app.state.Incidents(t.Context(), model.DefaultTenant, "", 10)
			if err != nil {
				t.Fatal(err)
			}
			var titles []string
			for _, inc := range list {
				titles = append(titles, fmt.Sprintf("%s %s", inc.Title, inc.OpenedAt.Sub(start)))
			}
			if len(list) != 1 || !strings.HasPrefix(list[0].Title, c.want) {
				t.Fatalf("incidents %q, want one: %s", titles, c.want)
			}
			inc := list[0]
			if after := inc.OpenedAt.Sub(start.Add(muteFrom * time.Second)); after < 0 || after > c.within {
				t.Errorf("it opened %s after the cart fell silent, want within %s", after, c.within)
			}
			if inc.Status != model.IncidentResolved || slices.ContainsFunc(inc.Alarms, func(a model.Alarm) bool { return a.State != model.StateOK }) {
				t.Errorf("at the end it is %s: %+v", inc.Status, inc.Alarms)
			}
		})
	}
}

package storetest

import (
	"fmt"
	"math"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"triage/internal/model"
	"triage/internal/store"
)

// ManyEvents runs the part of the contract of store.Events that speaks of a million spans and more, where answers may be
// near instead of exact. open returns an empty store that takes the few thousand spans of this suite for so many.
func ManyEvents(t *testing.T, open func(t *testing.T) store.Events) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, store.Events, []model.Span)
	}{
		{"operations", testManyOperations},
		{"attribute difference", testManyDifference},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			spans := crowd(24_000)
			const batch = 1000
			for from := 0; from < len(spans); from += batch {
				if _, err := s.Append(t.Context(), &model.Batch{Spans: spans[from : from+batch]}); err != nil {
					t.Fatal(err)
				}
			}
			c.run(t, s, spans)
		})
	}
}

// crowd makes spans of three services and six operations, ten a second, whose durations go over five powers of ten. One in
// forty fails; most of these are of one shard, which otherwise one in eight is of.
func crowd(n int) []model.Span {
	out := make([]model.Span, n)
	for i := range out {
		random := uint64(i+1) * 0x9e3779b97f4a7c15
		service := resource(fmt.Sprint("service-", i%3), str("host.name", fmt.Sprint("h", i%4)))
		s := model.Span{TraceID: traceID(i/4 + 1), SpanID: spanID(i + 1), Name: fmt.Sprint("operation-", random>>40%2), Kind: model.SpanServer,
			Start: ns(time.Duration(i) * 100 * time.Millisecond), Duration: int64(1000 * math.Pow(10, float64(random>>32%5000)/1000)), Resource: service}
		shard := random >> 50 % 8
		if random>>20%40 == 0 {
			s.Status = model.StatusError
			if random>>30%4 > 0 {
				shard = 3
			}
		}
		s.Attrs = model.Attrs{num("shard", int64(shard)), str("tenant", fmt.Sprint("t", random>>10%50)), str("request.id", fmt.Sprint("r", i))}
		out[i] = s
	}
	return out
}

// testManyOperations wants quantiles within 1 % of their value, and all else exact, of whole blocks and of parts.
func testManyOperations(t *testing.T, s store.Events, spans []model.Span) {
	failed := model.StatusError
	for _, c := range []struct {
		name string
		sel  store.Selection
		in   func(*model.Span) bool
	}{
		{"all", store.Selection{Window: store.Window{From: T0, To: T0.Add(time.Hour)}}, func(*model.Span) bool { return true }},
		{"from the middle of a second on", store.Selection{Window: store.Window{From: T0.Add(777 * time.Second), To: T0.Add(time.Hour)}},
			func(s *model.Span) bool { return s.Start >= ns(777*time.Second) }},
		{"one service", store.Selection{Service: "service-1"}, func(s *model.Span) bool { return s.Service() == "service-1" }},
		{"failed", store.Selection{Status: &failed}, func(s *model.Span) bool { return s.Status == failed }},
		{"of a shard", store.Selection{Attrs: []store.AttrMatch{{Key: "shard", Value: "3"}}}, func(s *model.Span) bool { return s.Attrs.Str("shard") == "3" }},
	} {
		got, err := s.Operations(t.Context(), c.sel, 100)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		want := operations(filter(spans, c.in))
		if len(got) != len(want) {
			t.Errorf("%s: %d operations, want %d", c.name, len(got), len(want))
			continue
		}
		for i, w := range want {
			for _, q := range []struct{ got, want *float64 }{{&got[i].P50, &w.P50}, {&got[i].P95, &w.P95}, {&got[i].P99, &w.P99}} {
				if math.Abs(*q.got-*q.want) > *q.want/100 {
					t.Errorf("%s: %s %s has a quantile of %g, want %g and 1 %%", c.name, w.Service, w.Operation, *q.got, *q.want)
				}
				*q.got = *q.want
			}
		}
		check(t, c.name, got, nil, want)
	}
}

// testManyDifference wants the bad spans counted exactly and the rest within the error that is told in nineteen of twenty
// cases, twice the same.
func testManyDifference(t *testing.T, s store.Events, spans []model.Span) {
	failed := model.StatusError
	a := filter(spans, func(s *model.Span) bool { return s.Status == failed })
	b := filter(spans, func(s *model.Span) bool { return s.Status != failed })
	var want store.Difference
	for _, key := range []string{"shard", "tenant"} {
		difference(&want, key, a, b, func(s *model.Span) []string {
			v, _ := s.Attrs.Get(key)
			return []string{v.String()}
		})
	}
	difference(&want, "host.name", a, b, func(s *model.Span) []string { return []string{s.Resource.Attrs.Str("host.name")} })
	finish(&want, a, b)
	q := store.DifferenceQuery{A: store.Selection{Status: &failed}, B: store.Selection{NotStatus: &failed}, Limit: 1000}
	got, err := s.AttributeDifference(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if got.A != want.A || got.B != want.B || math.Abs(got.SecondsA-want.SecondsA)+math.Abs(got.SecondsB-want.SecondsB) > 1e-6 {
		t.Errorf("totals %d, %d, %g, %g, want %d, %d, %g, %g", got.A, got.B, got.SecondsA, got.SecondsB, want.A, want.B, want.SecondsA, want.SecondsB)
	}
	if got.SampledB < 0 || got.SampledB >= got.B {
		t.Errorf("%d of %d spans of the rest were looked at, want some", got.SampledB, got.B)
	}
	type id struct{ key, value string }
	found := map[id]store.DifferenceValue{}
	for _, v := range got.Values {
		found[id{v.Key, v.Value}] = v
		if v.Key == "request.id" {
			t.Errorf("%s is told, whose values are all distinct", v.Key)
		}
	}
	compared, beyond := 0, 0
	for _, w := range want.Values {
		v, ok := found[id{w.Key, w.Value}]
		if !ok {
			if w.A > 0 {
				t.Errorf("%s=%s of %d bad spans is missing", w.Key, w.Value, w.A)
			}
			continue
		}
		compared++
		if v.A != w.A || math.Abs(v.SecondsA-w.SecondsA) > 1e-6 {
			t.Errorf("%s=%s has %d bad spans of %g s, want %d of %g s", w.Key, w.Value, v.A, v.SecondsA, w.A, w.SecondsA)
		}
		if got.SampledB == 0 && v.ErrorB != 0 {
			t.Errorf("%s=%s may be off by %g, though all were counted", w.Key, w.Value, v.ErrorB)
		}
		if math.Abs(float64(v.B-w.B)) > v.ErrorB+1 {
			beyond++
		}
	}
	if compared < 50 || beyond > compared/8 {
		t.Errorf("%d of %d values are further off than they say", beyond, compared)
	}
	if len(got.Values) == 0 || got.Values[0].Key != "shard" || got.Values[0].Value != "3" {
		t.Errorf("the largest difference is not that of shard 3: %+v", got.Values[:min(1, len(got.Values))])
	}
	again, err := s.AttributeDifference(t.Context(), q)
	if d := gocmp.Diff(got, again); err != nil || d != "" {
		t.Errorf("asked again: %v\n%s", err, d)
	}
}

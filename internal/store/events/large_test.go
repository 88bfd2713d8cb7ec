package events

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triage/internal/model"
	"triage/internal/store"
)

// TestTextsAcrossRowGroups writes a block of more than one row group, with texts that repeat and texts that never do, and
// merges it with others: every text must come back with its row.
func TestTextsAcrossRowGroups(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	ctx := t.Context()
	const n = rowGroupRows + 5000
	all := benchSpans(n, 0)
	for i := range all {
		if i%3 == 0 {
			all[i].Attrs = all[i].Attrs[:6] // no user.id
		}
		if i%1000 == 7 {
			all[i].StatusMessage = fmt.Sprintf("message %d", i)
		}
	}
	if _, err := s.Append(ctx, &model.Batch{Spans: all}); err != nil {
		t.Fatal(err)
	}
	if err := s.flushAll(ctx); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		users, requests := map[string]int64{}, 0
		for i := range all {
			if u := all[i].Attrs.Str("user.id"); u != "" {
				users[u]++
				requests++
			}
		}
		got, err := s.Values(ctx, store.Selection{}, "user.id", 2000)
		if err != nil {
			t.Fatal(err)
		}
		counted := map[string]int64{}
		for _, v := range got {
			counted[v.Value] = v.Count
		}
		if d := cmp.Diff(users, counted); d != "" {
			t.Errorf("%s: users differ:\n%.2000s", when, d)
		}
		if got, err = s.Values(ctx, store.Selection{}, "request.id", 2*n); err != nil || len(got) != requests {
			t.Errorf("%s: %d requests, want %d; error %v", when, len(got), requests, err)
		}
		for _, i := range []int{0, 1, 7, 4095, 4096, 50_007, rowGroupRows - 1, rowGroupRows, n - 1} {
			trace, err := s.Trace(ctx, "", all[i].TraceID)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, x := range trace {
				if x.SpanID != all[i].SpanID {
					continue
				}
				found = true
				if d := cmp.Diff(all[i].Attrs.Sorted(), x.Attrs.Sorted(), cmp.AllowUnexported(model.Value{})); d != "" || x.StatusMessage != all[i].StatusMessage {
					t.Errorf("%s: span %d came back with status message %q, attributes\n%s", when, i, x.StatusMessage, d)
				}
			}
			if !found {
				t.Errorf("%s: span %d is not in its trace", when, i)
			}
		}
	}
	check("flushed")
	more := benchSpans(2000, n) // whose users are numbers, so that the merged column is not exact
	for i := range more {
		more[i].Attrs = model.Attrs{{Key: "user.id", Value: model.Int(int64(i))}}
	}
	if _, err := s.Append(ctx, &model.Batch{Spans: more}); err != nil {
		t.Fatal(err)
	}
	if err := s.flushAll(ctx); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	blocks := append([]*block(nil), s.catalog.blocks[partition{model.DefaultTenant, spans}]...)
	s.mu.Unlock()
	s.maintaining.Lock()
	err := s.merge(ctx, blocks)
	s.maintaining.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Values(ctx, store.Selection{}, "user.id", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, v := range got {
		total += v.Count
	}
	want := int64(len(more))
	for i := range all {
		if all[i].Attrs.Str("user.id") != "" {
			want++
		}
	}
	if total != want {
		t.Errorf("merged: %d users, want %d", total, want)
	}
}

// TestDifferenceOfRowGroups compares bad spans with the rest by all spans, and by some row groups of the rest: the bad ones
// and both totals are the same, the others' counts within the error that is given, and the same question has the same answer.
func TestDifferenceOfRowGroups(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	ctx := t.Context()
	const n = 4 * rowGroupRows
	for from := 0; from < n; from += n / 2 {
		part := benchSpans(n/2, from)
		for i := range part {
			part[i].Attrs = part[i].Attrs[:7]
			if k := from + i; k%500 == 0 {
				part[i].Status = model.StatusError
				part[i].Attrs = part[i].Attrs.Set("user.id", model.String("user-7"))
			} else {
				part[i].Status = model.StatusUnset
			}
		}
		if _, err := s.Append(ctx, &model.Batch{Spans: part}); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(ctx); err != nil {
			t.Fatal(err)
		}
	}
	failed := model.StatusError
	ask := func() store.Difference {
		t.Helper()
		d, err := s.AttributeDifference(ctx, store.DifferenceQuery{A: store.Selection{Status: &failed}, B: store.Selection{NotStatus: &failed}, Limit: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	exact := ask()
	s.opts.sampleAbove, s.opts.sampleOf = 1, n/2
	got := ask()
	if exact.SampledB != 0 || got.SampledB < n/3 || got.SampledB > 2*n/3 {
		t.Errorf("%d and %d spans of %d were looked at, want all (0) and about half", exact.SampledB, got.SampledB, n)
	}
	if got.A != exact.A || got.B != exact.B || math.Abs(got.SecondsB-exact.SecondsB) > 1e-6*exact.SecondsB {
		t.Errorf("totals %d, %d, %g, want %d, %d, %g", got.A, got.B, got.SecondsB, exact.A, exact.B, exact.SecondsB)
	}
	if len(exact.Values) == 0 || got.Values[0].Key != "user.id" || got.Values[0].Value != "user-7" {
		t.Fatalf("the largest difference is %+v, want that of user-7", got.Values[:1])
	}
	type id struct{ key, value string }
	want := map[id]store.DifferenceValue{}
	for _, v := range exact.Values {
		want[id{v.Key, v.Value}] = v
	}
	beyond := 0
	for _, v := range got.Values {
		w := want[id{v.Key, v.Value}]
		if v.A != w.A {
			t.Errorf("%s=%s has %d bad spans, want %d", v.Key, v.Value, v.A, w.A)
		}
		if math.Abs(float64(v.B-w.B)) > v.ErrorB+1 {
			beyond++
		}
	}
	// One in twenty may be further off than its error says; that holds for values that do not depend on one another.
	if beyond > len(got.Values)/10 {
		t.Errorf("%d of %d values are further off than their error says", beyond, len(got.Values))
	}
	if d := cmp.Diff(got, ask()); d != "" {
		t.Errorf("asked again, the answer differs:\n%.2000s", d)
	}
}

// TestDifferenceSamplesTheRest compares a few bad spans with many good ones: the bad ones and both totals are exact, the
// others' shares are near, and the same question has the same answer.
func TestDifferenceSamplesTheRest(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	ctx := t.Context()
	all := benchSpans(100_000, 0)
	var bad, badUser3, user3, good int64
	for i := range all {
		k := uint64(i)
		all[i].TraceID = model.TraceIDFrom(k*0x9e3779b97f4a7c15, k*0xbf58476d1ce4e5b9+1)
		all[i].Status = model.StatusUnset
		group := fmt.Sprint(i % 10)
		if i%500 == 0 {
			all[i].Status = model.StatusError
			group = "3"
			bad++
			badUser3++
		} else {
			good++
			if i%10 == 3 {
				user3++
			}
		}
		all[i].Attrs = model.Attrs{{Key: "group", Value: model.String(group)}}
	}
	if _, err := s.Append(ctx, &model.Batch{Spans: all}); err != nil {
		t.Fatal(err)
	}
	if err := s.flushAll(ctx); err != nil {
		t.Fatal(err)
	}
	failed := model.StatusError
	q := store.DifferenceQuery{A: store.Selection{Status: &failed}, B: store.Selection{NotStatus: &failed}, Keys: []string{"group"}, FromTrace: true, Limit: 20}
	first, err := s.AttributeDifference(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if first.A != bad || first.B != good {
		t.Errorf("%d and %d spans, want %d and %d", first.A, first.B, bad, good)
	}
	found := false
	for _, v := range first.Values {
		if v.Key != "group" || v.Value != "3" {
			continue
		}
		found = true
		if v.A != badUser3 {
			t.Errorf("group 3 has %d bad spans, want %d", v.A, badUser3)
		}
		if want, got := float64(user3)/float64(good), float64(v.B)/float64(first.B); math.Abs(got-want) > 0.014 || v.B == user3 {
			t.Errorf("group 3 has a share of %.4f in the rest, want about %.4f and not all counted", got, want)
		}
	}
	if !found {
		t.Errorf("group 3 is missing in %+v", first.Values)
	}
	again, err := s.AttributeDifference(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, again); d != "" {
		t.Errorf("asked again, the answer differs:\n%s", d)
	}
}

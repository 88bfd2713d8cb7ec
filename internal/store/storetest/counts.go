package storetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

func testCounts(t *testing.T, s store.Events) {
	spans, logs := requests(60)
	fill(t, s, spans, logs)
	w := store.Window{From: T0.Add(5 * time.Second), To: T0.Add(47 * time.Second)}
	const step = 20 * time.Second

	group := map[string][]model.Span{}
	for _, x := range spans {
		at := time.Unix(0, x.Start)
		if w.Contains(at) && x.Name == "read cart" {
			key := fmt.Sprintf("%02d\x00%s\x00%s", int(at.Sub(w.From)/step), x.Resource.Service, x.Attrs.Str("shard"))
			group[key] = append(group[key], x)
		}
	}
	var want []store.CountStat
	for _, key := range slices.Sorted(maps.Keys(group)) {
		parts := strings.Split(key, "\x00")
		var n int
		fmt.Sscan(parts[0], &n)
		stat := store.CountStat{At: w.From.Add(time.Duration(n) * step), By: parts[1:], Count: int64(len(group[key]))}
		var durations []float64
		for _, x := range group[key] {
			durations = append(durations, seconds(x.Duration))
			if x.Status == model.StatusError {
				stat.Errors++
			}
		}
		stat.Mean, stat.Quantile = mean(durations), quantile(durations, 0.9)
		want = append(want, stat)
	}
	where, err := search.Parse(`operation:"read cart"`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.SpanCounts(t.Context(), store.CountQuery{Window: w, Where: where, By: []string{"service", "shard"}, Step: step, Quantile: 0.9, Limit: 100})
	check(t, "spans by service and shard", got, err, want)
	got, err = s.SpanCounts(t.Context(), store.CountQuery{Window: w, Where: where, By: []string{"service", "shard"}, Step: step, Quantile: 0.9, Limit: 1})
	check(t, "the first of them", got, err, want[:1])

	levels := map[string]int64{}
	for _, l := range logs {
		if w.Contains(time.Unix(0, l.Time)) {
			levels[strings.ToLower(l.Severity.String())]++
		}
	}
	want = nil
	for _, level := range slices.Sorted(maps.Keys(levels)) {
		want = append(want, store.CountStat{At: w.From, By: []string{level}, Count: levels[level]})
	}
	got, err = s.LogCounts(t.Context(), store.CountQuery{Window: w, Where: search.All{}, By: []string{"level"}, Step: time.Hour, Limit: 100})
	check(t, "logs by level", got, err, want)
	got, err = s.LogCounts(t.Context(), store.CountQuery{Window: w, Where: search.Match{Field: "body", Op: search.Word, Value: "nowhere"}, Step: time.Hour, Limit: 100})
	check(t, "logs that are not there", got, err, []store.CountStat{})

	related, err := search.Parse("child(service:a, service:b)")
	if err != nil {
		t.Fatal(err)
	}
	for what, q := range map[string]store.CountQuery{
		"no limit":  {Where: search.All{}, Step: time.Hour},
		"no step":   {Where: search.All{}, Limit: 1},
		"relations": {Where: related, Step: time.Hour, Limit: 1},
	} {
		if _, err := s.SpanCounts(t.Context(), q); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

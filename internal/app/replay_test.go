package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"triage/internal/diagnose/simtest"
	"triage/internal/model"
	"triage/internal/record"
)

// arrival is a batch and when it came.
type arrival struct {
	at    time.Time
	batch *model.Batch
}

// arrivals are what the services of a simulated world send: each its spans and lines, once a second, and the machine its
// memory every ten.
func arrivals(w simtest.World) []arrival {
	world, _ := w.Run()
	type key struct {
		service string
		second  int64
	}
	batches := map[key]*model.Batch{}
	batch := func(service string, ready int64) *model.Batch {
		k := key{service, ready/1e9 + 1}
		if batches[k] == nil {
			batches[k] = &model.Batch{Tenant: model.DefaultTenant, Source: "otlp"}
		}
		return batches[k]
	}
	for _, s := range world.Spans {
		b := batch(s.Service(), s.End())
		b.Spans = append(b.Spans, s)
	}
	for _, l := range world.Lines {
		b := batch(l.Service(), l.Time)
		l.Template = 0 // derive's to find
		b.Logs = append(b.Logs, l)
	}
	var out []arrival
	for k, b := range batches {
		// Each service's exporter has its own phase.
		out = append(out, arrival{time.Unix(k.second, int64(len(k.service))*37e6).UTC(), b})
	}
	for at := w.Start; at.Before(w.At()); at = at.Add(10 * time.Second) {
		out = append(out, arrival{at.Add(time.Millisecond), &model.Batch{Tenant: model.DefaultTenant, Source: "hostmetrics", Series: []model.Series{{
			Labels: labels.FromStrings("__name__", "system_memory_utilization_ratio", "host_name", "host-a"), Type: "gauge",
			Samples: []model.Sample{{T: at.UnixMilli(), V: 0.5}}}}}})
	}
	out = append(out, arrival{w.Start.Add(30 * time.Second), &model.Batch{Tenant: model.DefaultTenant, Source: "api",
		Changes: []model.Change{{ID: "c-1", At: w.Start.Add(30 * time.Second), Kind: "deployment", Service: "newsletter", Version: "9"}}}})
	slices.SortFunc(out, func(a, b arrival) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(len(a.batch.Spans), len(b.batch.Spans)))
	})
	return out
}

// live serves a world under a clock of its own and records it on the way. It returns what was concluded.
func live(t *testing.T, w simtest.World, dir string) []model.Verdict {
	t.Helper()
	config := Default()
	config.Data = t.TempDir()
	p := &replay{ReplayOptions: ReplayOptions{Logger: testLogger(t)}}
	p.clock.Store(w.Start.UnixNano())
	p.app = &app{Options: Options{Config: config, Logger: p.Logger}, now: p.now, replaying: true, failed: make(chan error, 1)}
	defer func() {
		if err := p.app.stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := p.open(t.Context(), record.Header{Start: w.Start, Host: "host-a"}); err != nil {
		t.Fatal(err)
	}
	tap := record.NewTap(record.TapOptions{Host: "host-a", Now: p.now})
	sub, err := tap.Subscribe("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	written := make(chan error, 1)
	go func() { _ = out.CloseWithError(cmp.Or(sub.Run(ctx, out, nil), io.EOF)) }()
	go func() { written <- save(in, dir) }()

	p.aim(w.Start)
	sink := recorded{p.app.pipeline, tap}
	for _, a := range arrivals(w) {
		if err := p.advance(t.Context(), a.at); err != nil {
			t.Fatal(err)
		}
		res, err := sink.Accept(t.Context(), a.batch)
		if err != nil || res.Rejected.Total() > 0 {
			t.Fatal(err, res)
		}
		if !p.derived && len(a.batch.Spans) > 0 {
			p.derived = true
			if err := p.collect(t.Context(), p.now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.advance(t.Context(), w.At()); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	return p.verdicts
}

// save writes a stream to a directory, as the command line does.
func save(in io.Reader, dir string) error {
	r, err := record.NewReader(in)
	if err != nil {
		return err
	}
	w, err := record.Create(dir)
	if err != nil {
		return err
	}
	if err := w.Begin(r.Header); err != nil {
		return err
	}
	for {
		f, err := r.Next()
		if err != nil {
			return err
		}
		if f.End != nil {
			return w.Close(f.End.At)
		}
		if err := w.WriteFrame(f); err != nil {
			return err
		}
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestReplay records a slowdown while it is being diagnosed, and replays it twice: the verdicts are the same to the last
// digit, and name what was injected.
func TestReplay(t *testing.T) {
	w := simtest.World{Start: time.Date(2026, 3, 1, 12, 0, 2, 0, time.UTC), Normal: 2 * time.Minute, Bad: 70 * time.Second, Rate: 6, Seed: 3,
		Fault: simtest.Fault{CartCode: 400 * time.Millisecond}}
	dir := filepath.Join(t.TempDir(), "recording")
	want := live(t, w, dir)
	if len(want) == 0 {
		t.Fatal("the live server gave no verdict")
	}
	if v := want[0]; v.Why == nil || v.Why.Entity != "service:cart" && v.Why.Entity != "operation:cart cart/Reserve" {
		t.Errorf("first verdict %s", text(t, v.Why))
	}
	t.Logf("%s at %s after %s", text(t, want[0].Why), want[0].At, want[0].At.Sub(w.Onset()))
	var size int64
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			size += info.Size()
		}
	}
	var first []ReplayEvent
	for run := range 2 {
		var events []ReplayEvent
		res, err := Replay(t.Context(), ReplayOptions{Path: dir, Logger: testLogger(t), On: func(e ReplayEvent) { events = append(events, e) }})
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(text(t, res.Verdicts), text(t, want)); diff != "" {
			t.Errorf("replay %d gives other verdicts than live:\n%s", run+1, diff)
		}
		if len(res.Damage) > 0 || len(res.Incidents) == 0 || res.Incidents[0].Verdict == nil || !res.To.Equal(w.At()) {
			t.Errorf("damage %v, %d incidents, to %s", res.Damage, len(res.Incidents), res.To)
		}
		if run == 0 {
			first = events
		} else if diff := gocmp.Diff(text(t, events), text(t, first)); diff != "" {
			t.Errorf("replays differ:\n%s", diff)
		}
		t.Logf("%d spans, %d logs in %d bytes; %s replayed in %s, %.0f times as fast", res.Items.Spans, res.Items.Logs, size,
			res.To.Sub(res.From), res.Took.Round(time.Millisecond), res.Speed())
	}
}

// TestReplayTorn replays what a crash left.
func TestReplayTorn(t *testing.T) {
	w := simtest.World{Start: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Normal: 20 * time.Second, Rate: 3, Seed: 1}
	dir := filepath.Join(t.TempDir(), "recording")
	live(t, w, dir)
	name := filepath.Join(dir, "000001.rec.zst")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, whole[:len(whole)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	res, err := Replay(t.Context(), ReplayOptions{Path: dir, Data: data, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Damage) != 1 || !res.Damage[0].Torn {
		t.Errorf("damage %v", res.Damage)
	}
	if _, err := os.Stat(filepath.Join(data, "events")); err != nil {
		t.Errorf("the stores are not kept: %v", err)
	}
	var usage UsageError
	if _, err := Replay(t.Context(), ReplayOptions{Path: dir, Data: data}); !errors.As(err, &usage) {
		t.Errorf("replay into a directory that is not empty: %v, want a UsageError", err)
	}
	if _, err := Replay(t.Context(), ReplayOptions{Path: filepath.Join(dir, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("replay of nothing: %v, want ErrNotExist", err)
	}
}

// BenchmarkReplay replays an incident among some 450 spans a second, with all revisions of its verdict.
func BenchmarkReplay(b *testing.B) {
	w := simtest.World{Start: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Normal: 3 * time.Minute, Bad: 2 * time.Minute, Rate: 30, Seed: 3,
		Fault: simtest.Fault{CartCode: 400 * time.Millisecond}}
	dir := filepath.Join(b.TempDir(), "recording")
	out, err := record.Create(dir)
	if err != nil {
		b.Fatal(err)
	}
	if err := out.Begin(record.Header{Start: w.Start, Host: "host-a"}); err != nil {
		b.Fatal(err)
	}
	for _, a := range arrivals(w) {
		if err := out.Write(a.at, a.batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := out.Close(w.At()); err != nil {
		b.Fatal(err)
	}
	rows := out.Counts().Spans + out.Counts().Logs
	for b.Loop() {
		res, err := Replay(b.Context(), ReplayOptions{Path: dir})
		if err != nil || len(res.Verdicts) == 0 {
			b.Fatal(err, len(res.Verdicts))
		}
		b.ReportMetric(res.Speed(), "x-real-time")
	}
	b.ReportMetric(float64(out.Bytes())/float64(rows), "B/row")
	b.ReportMetric(float64(rows), "rows")
}

package record

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"

	"triage/internal/model"
)

// frames reads a whole stream.
func frames(t *testing.T, in io.Reader) (batches []*model.Batch, at []int64, end *End) {
	t.Helper()
	r, err := NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	for {
		f, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if f.End != nil {
			return batches, at, f.End
		}
		b, err := f.Batch()
		if err != nil {
			t.Fatal(err)
		}
		batches, at = append(batches, b), append(at, f.At)
	}
}

func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := NewTap(TapOptions{Host: "host-a", Version: "0.1"})
		tap.Offer(sample(9)) // before anybody records
		ctx, cancel := context.WithCancel(t.Context())
		var all, blue bytes.Buffer
		done := make(chan error, 2)
		for tenant, out := range map[string]*bytes.Buffer{"": &all, "blue": &blue} {
			s, err := tap.Subscribe(tenant)
			if err != nil {
				t.Fatal(err)
			}
			go func() { done <- s.Run(ctx, out, nil) }()
		}
		begin := time.Now()
		for i := range 3 {
			time.Sleep(time.Second)
			b := sample(i)
			b.ID[0] = 1
			tap.Offer(b)
			b.Spans[0].Name = "changed after it was offered"
		}
		other := sample(3)
		other.Tenant = "blue"
		tap.Offer(other)
		tap.Offer(&model.Batch{Source: "otlp"}) // nothing in it
		synctest.Wait()
		time.Sleep(time.Second)
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		got, at, end := frames(t, &all)
		if diff := cmp.Diff(got, append(samples(0, 3), other), same); diff != "" {
			t.Error(diff)
		}
		s := begin.UnixNano()
		if diff := cmp.Diff(at, []int64{s + 1e9, s + 2e9, s + 3e9, s + 3e9}); diff != "" {
			t.Error(diff)
		}
		if end.Reason != "" || end.At.UnixNano() != s+4e9 {
			t.Errorf("end %v", end)
		}
		if got, _, _ := frames(t, &blue); len(got) != 1 || got[0].Tenant != "blue" {
			t.Errorf("one tenant's recording has %d batches", len(got))
		}
		if n := tap.active.Load(); n != 0 {
			t.Errorf("%d recordings are still made", n)
		}
	})
}

// blocked takes nothing until it is let go.
type blocked struct {
	bytes.Buffer
	gate chan struct{}
}

func (b *blocked) Write(p []byte) (int, error) { <-b.gate; return b.Buffer.Write(p) }

func TestSlowRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := NewTap(TapOptions{})
		s, err := tap.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		out := &blocked{gate: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- s.Run(t.Context(), out, nil) }()
		large := &model.Batch{Source: "otlp", Logs: []model.LogRecord{{Body: model.String(string(make([]byte, 10<<20))), Resource: &model.Resource{}}}}
		began := time.Now()
		for range 20 {
			tap.Offer(large)
		}
		if time.Now() != began {
			t.Error("accepting waited for a recorder")
		}
		if n := tap.active.Load(); n != 0 {
			t.Error("the slow recorder was not dropped")
		}
		close(out.gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got, _, end := frames(t, &out.Buffer); end.Reason != ReasonSlow || len(got) != 6 {
			t.Errorf("%d batches, end %v; want 6 and %q", len(got), end, ReasonSlow)
		}
	})
}

func TestTapLimitsAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := NewTap(TapOptions{})
		done := make(chan error)
		var out bytes.Buffer
		for i := range maxSubscriptions {
			s, err := tap.Subscribe("")
			if err != nil {
				t.Fatal(err)
			}
			w := io.Discard
			if i == 0 {
				w = &out
			}
			go func() { done <- s.Run(t.Context(), w, nil) }()
		}
		if _, err := tap.Subscribe(""); !errors.Is(err, ErrBusy) {
			t.Errorf("one more: %v, want ErrBusy", err)
		}
		tap.Close()
		for range maxSubscriptions {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if _, _, end := frames(t, &out); end.Reason != ReasonStopped {
			t.Errorf("end %v, want %q", end, ReasonStopped)
		}
		late, err := tap.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if err := late.Run(t.Context(), &out, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, end := frames(t, &out); end.Reason != ReasonStopped {
			t.Errorf("begun after the end: %v, want %q", end, ReasonStopped)
		}
	})
}

// sink is an appendable that refuses what is called "bad".
type sink struct{}

func (sink) AppenderV2(context.Context) storage.AppenderV2 { return sink{} }
func (sink) Commit() error                                 { return nil }
func (sink) Rollback() error                               { return nil }
func (sink) Append(_ storage.SeriesRef, ls labels.Labels, _, _ int64, _ float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, _ storage.AppendV2Options) (storage.SeriesRef, error) {
	if ls.Get("__name__") == "bad" {
		return 0, storage.ErrOutOfBounds
	}
	return 1, nil
}

func TestAppendable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := NewTap(TapOptions{})
		a := tap.Appendable(sink{}, "default", "scrape")
		if _, ok := a.AppenderV2(t.Context()).(sink); !ok {
			t.Error("while nobody records something stands between")
		}
		s, err := tap.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		put := func(end func(storage.AppenderV2) error) {
			app := a.AppenderV2(t.Context())
			opts := storage.AppendV2Options{Metadata: metadata.Metadata{Type: "counter", Unit: "seconds", Help: "h"},
				Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "a"), Value: 1, Ts: 5, HasTs: true}}}
			_, err := app.Append(0, labels.FromStrings("__name__", "good"), 3, 5, 7, nil, nil, opts)
			opts.Exemplars[0].Value = 9
			_, bad := app.Append(0, labels.FromStrings("__name__", "bad"), 0, 5, 7, nil, nil, storage.AppendV2Options{})
			if err != nil || !errors.Is(bad, storage.ErrOutOfBounds) {
				t.Error(err, bad)
			}
			if err := end(app); err != nil {
				t.Error(err)
			}
		}
		put(storage.AppenderV2.Rollback)
		put(storage.AppenderV2.Commit)
		tap.Close()
		var out bytes.Buffer
		if err := s.Run(t.Context(), &out, nil); err != nil {
			t.Fatal(err)
		}
		got, _, _ := frames(t, &out)
		want := []*model.Batch{{Tenant: "default", Source: "scrape", Series: []model.Series{{
			Labels: labels.FromStrings("__name__", "good"), Samples: []model.Sample{{T: 5, V: 7}}, Created: 3, Type: "counter", Unit: "seconds", Help: "h",
			Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "a"), Value: 1, Ts: 5, HasTs: true}},
		}}}}
		if diff := cmp.Diff(got, want, same); diff != "" {
			t.Error(diff)
		}
	})
}

package events

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"triage/internal/model"
	"triage/internal/store"
)

// TestBuckets compares the buckets of Go with those of SQL, and how far a bucket's middle lies from what it holds.
func TestBuckets(t *testing.T) {
	s := openTest(t, t.TempDir(), nil)
	defer s.Close()
	durations := []int64{math.MinInt64, -1, 0, 1, 127, 128, 129, 255, 256, math.MaxInt64, math.MaxInt64 - 1}
	for e := range 62 {
		for d := range int64(3) {
			durations = append(durations, 1<<e+d-1)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		durations = append(durations, int64(r.Uint64()>>(1+r.IntN(62))))
	}
	list := ""
	for i, d := range durations {
		if i > 0 {
			list += ","
		}
		list += fmt.Sprintf("(%d,%s::BIGINT)", i, literal(d))
	}
	err := s.engine.query(t.Context(), "SELECT i,"+bucketSQL+" FROM (VALUES "+list+") v(i,duration)", func(scan func(...any) error) error {
		var i, bucket int
		if err := scan(&i, &bucket); err != nil {
			return err
		}
		d := durations[i]
		if want := bucketOf(d); bucket != want || bucket >= maxBucket {
			t.Errorf("bucket of %d is %d in SQL, %d in Go", d, bucket, want)
		}
		if off := math.Abs(bucketMiddle(bucketOf(d)) - float64(max(0, d))); off > float64(max(0, d))/128 {
			t.Errorf("%d lies %g from the middle of its bucket", d, off)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSketchesComeBack(t *testing.T) {
	m := sketches{}
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 50 {
		x := m.of(sketchKey{fmt.Sprint("s", i%7), fmt.Sprint("op", i), model.SpanKind(i % 6), model.StatusCode(i % 3)})
		for range r.IntN(300) + 1 {
			d := int64(r.Uint64() >> (1 + r.IntN(62)))
			x.sum += float64(d)
			x.add(bucketOf(d), 1)
		}
	}
	content := m.encode()
	got := sketches{}
	if err := got.decode(content, func(sketchKey) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m, got, cmp.AllowUnexported(sketch{}, sketchKey{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("sketches differ:\n%s", d)
	}
	for n := 0; n < len(content); n += 1 + len(content)/100 { // cut off, they are fewer or not well formed
		part := sketches{}
		if err := part.decode(content[:n], func(sketchKey) bool { return true }); err == nil && len(part) >= len(m) {
			t.Errorf("the first %d bytes hold %d sketches", n, len(part))
		}
	}
}

func FuzzSketches(f *testing.F) {
	m := sketches{}
	m.of(sketchKey{"s", "op", 1, 2}).add(1000, 3)
	f.Add(m.encode())
	f.Add([]byte{sketchVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		got := sketches{}
		if got.decode(b, func(sketchKey) bool { return true }) != nil || len(got) == 0 {
			return
		}
		again := sketches{}
		if err := again.decode(got.encode(), func(sketchKey) bool { return true }); err != nil {
			t.Fatal(err)
		}
		for k, x := range got {
			if again[k] == nil || again[k].count() != x.count() {
				t.Fatalf("%v comes back as %v, not %v", k, again[k], x)
			}
		}
	})
}

// TestSketchesAnswer asks blocks with sketches, blocks without and the tail together, and compares with what the spans
// themselves say.
func TestSketchesAnswer(t *testing.T) {
	s := openTest(t, t.TempDir(), func(o *Options) { o.sketchRows = 1 })
	defer s.Close()
	ctx := t.Context()
	add := func(n, from int) {
		t.Helper()
		if _, err := s.Append(ctx, &model.Batch{Spans: benchSpans(n, from)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range []int{rowGroupRows + 5000, 3000, 2000} { // one with sketches, one small, and the tail
		add(n, i*1_000_000)
		if i < 2 {
			if err := s.flushAll(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	blocks := s.catalog.all()
	if blocks[0].layout.Sketches == nil && blocks[1].layout.Sketches == nil {
		t.Fatal("no block has sketches")
	}
	failed, unset := model.StatusError, model.StatusUnset
	cases := map[string]store.Selection{
		"all":          {},
		"service":      {Service: "service-3"},
		"operation":    {Operation: "GET /things/5"},
		"kinds":        {Kinds: []model.SpanKind{model.SpanServer, model.SpanProducer}},
		"status":       {Status: &failed},
		"not status":   {NotStatus: &unset},
		"bad":          {Bad: true},
		"good":         {Good: true},
		"a part":       {Window: store.Window{From: testTime.Add(time.Second)}},
		"by duration":  {MinDuration: 20 * time.Millisecond},
		"bad or slow":  {Bad: true, BadDuration: 30 * time.Millisecond},
		"by attribute": {Attrs: []store.AttrMatch{{Key: "user.id", Value: "user-7"}}},
		"nobody":       {Service: "nobody"},
	}
	check := func(when string) {
		t.Helper()
		for name, sel := range cases {
			got, err := s.Operations(ctx, sel, 10_000)
			if err != nil {
				t.Fatalf("%s, %s: %v", when, name, err)
			}
			s.mu.Lock()
			s.opts.sketchRows = math.MaxInt64
			s.mu.Unlock()
			want, err := s.Operations(ctx, sel, 10_000)
			s.mu.Lock()
			s.opts.sketchRows = 1
			s.mu.Unlock()
			if err != nil {
				t.Fatalf("%s, %s: %v", when, name, err)
			}
			if d := cmp.Diff(want, got, cmpopts.EquateApprox(0.01, 1e-9)); d != "" {
				t.Errorf("%s, %s: spans say (-), sketches say (+):\n%.2000s", when, name, d)
			}
			if len(want) == 0 && name != "nobody" {
				t.Errorf("%s, %s: nothing is selected", when, name)
			}
		}
	}
	check("as flushed")
	if err := s.flushAll(ctx); err != nil {
		t.Fatal(err)
	}
	s.maintaining.Lock()
	err := s.merge(ctx, s.catalog.all())
	s.maintaining.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if b := s.catalog.all(); len(b) != 1 || b[0].layout.Sketches == nil {
		t.Fatal("the merged block has no sketches")
	}
	check("merged")
	if known, _ := sketched(s.catalog.all(), &store.Selection{}); len(known) != 1 {
		t.Error("the merged block's sketches are not used")
	}
	s.catalog.all()[0].layout.Sketches.CRC++ // damaged sketches are not believed
	check("damaged")
}

// BenchmarkOperations sums up a million spans from sketches and from themselves.
func BenchmarkOperations(b *testing.B) {
	s := fillBench(b, benchRows())
	defer s.Close()
	ctx := context.Background()
	if err := s.mergeEverything(ctx); err != nil {
		b.Fatal(err)
	}
	for name, rows := range map[string]int64{"sketches": 1, "spans": math.MaxInt64} {
		s.opts.sketchRows = rows
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Operations(ctx, store.Selection{}, 100); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

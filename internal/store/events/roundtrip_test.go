package events

import (
	"context"
	"flag"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// anyText draws text of every sort: keys that differ by case, control characters, bytes that are not UTF-8.
func anyText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.SampledFrom([]string{"", "x", "http.request.method", "HTTP.request.method", "a.b", "Ünï", "결제 실패", "it's \"q\"",
		"\x00", "\xff\xfe", notUTF8, notUTF8 + "eA==", "line\nbreak"}), rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 6),
		func(b []byte) string { return string(b) }))
}

func anyValue() *rapid.Generator[model.Value] {
	return rapid.Custom(func(t *rapid.T) model.Value {
		switch rapid.IntRange(0, 7).Draw(t, "kind") {
		case 0:
			return model.Value{}
		case 1:
			return model.Bool(rapid.Bool().Draw(t, "bool"))
		case 2:
			return model.Int(rapid.Int64().Draw(t, "int"))
		case 3:
			return model.Double(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1),
				math.Copysign(0, -1), math.Float64frombits(0x7ff8000000000123)})).Draw(t, "double"))
		case 4:
			return model.Bytes([]byte(anyText().Draw(t, "bytes")))
		case 5:
			return model.List(`{"values":[{"intValue":"1"},{"stringValue":"x"}]}`)
		case 6:
			return model.Map(`{"values":[{"key":"k","value":{"doubleValue":1.5}}]}`)
		}
		return model.String(anyText().Draw(t, "text"))
	})
}

func anyAttrs() *rapid.Generator[model.Attrs] {
	return rapid.Custom(func(t *rapid.T) model.Attrs {
		var out model.Attrs
		for range rapid.IntRange(0, 5).Draw(t, "attributes") {
			out = out.Set(anyText().Draw(t, "key"), anyValue().Draw(t, "value"))
		}
		return out
	})
}

func anyTime() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Int64Range(1_700_000_000_000_000_000, 1_700_000_100_000_000_000), rapid.Int64(),
		rapid.SampledFrom([]int64{0, math.MinInt64, math.MaxInt64}))
}

type sourceOf struct {
	resource *model.Resource
	scope    *model.Scope
}

func anySource() *rapid.Generator[sourceOf] {
	return rapid.Custom(func(t *rapid.T) sourceOf {
		s := sourceOf{resource: &model.Resource{Service: anyText().Draw(t, "service"), SchemaURL: anyText().Draw(t, "schema"),
			Attrs: anyAttrs().Draw(t, "resource")}}
		if rapid.Bool().Draw(t, "scoped") {
			s.scope = &model.Scope{Name: anyText().Draw(t, "name"), Version: anyText().Draw(t, "version"),
				SchemaURL: anyText().Draw(t, "schema"), Attrs: anyAttrs().Draw(t, "scope")}
		}
		return s
	})
}

func anySpan(sources []sourceOf, n uint64) *rapid.Generator[model.Span] {
	return rapid.Custom(func(t *rapid.T) model.Span {
		src := rapid.SampledFrom(sources).Draw(t, "source")
		s := model.Span{TraceID: model.TraceIDFrom(rapid.Uint64Range(0, 2).Draw(t, "hi"), rapid.SampledFrom([]uint64{1, 2, math.MaxUint64}).Draw(t, "lo")),
			SpanID: model.SpanIDFrom(n), ParentID: model.SpanIDFrom(rapid.Uint64().Draw(t, "parent")),
			TraceState: anyText().Draw(t, "state"), Flags: rapid.Uint32().Draw(t, "flags"), Name: anyText().Draw(t, "name"),
			Kind: model.SpanKind(rapid.IntRange(0, 5).Draw(t, "kind")), Start: anyTime().Draw(t, "start"),
			Duration: rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration"), Status: model.StatusCode(rapid.IntRange(0, 2).Draw(t, "status")),
			StatusMessage: anyText().Draw(t, "message"), Attrs: anyAttrs().Draw(t, "own"),
			DroppedAttrs: rapid.Uint32().Draw(t, "da"), DroppedEvents: rapid.Uint32().Draw(t, "de"), DroppedLinks: rapid.Uint32().Draw(t, "dl"),
			Resource: src.resource, Scope: src.scope}
		for range rapid.IntRange(0, 2).Draw(t, "events") {
			s.Events = append(s.Events, model.SpanEvent{Time: rapid.Int64().Draw(t, "time"), Name: anyText().Draw(t, "name"),
				Attrs: anyAttrs().Draw(t, "event"), DroppedAttrs: rapid.Uint32().Draw(t, "dropped")})
		}
		for range rapid.IntRange(0, 2).Draw(t, "links") {
			s.Links = append(s.Links, model.Link{TraceID: model.TraceIDFrom(rapid.Uint64().Draw(t, "hi"), 1), SpanID: model.SpanIDFrom(rapid.Uint64().Draw(t, "id")),
				TraceState: anyText().Draw(t, "state"), Flags: rapid.Uint32().Draw(t, "flags"), Attrs: anyAttrs().Draw(t, "link"),
				DroppedAttrs: rapid.Uint32().Draw(t, "dropped")})
		}
		return s
	})
}

func anyLog(sources []sourceOf, n uint64) *rapid.Generator[model.LogRecord] {
	return rapid.Custom(func(t *rapid.T) model.LogRecord {
		src := rapid.SampledFrom(sources).Draw(t, "source")
		return model.LogRecord{Time: anyTime().Draw(t, "time"), Observed: rapid.Int64().Draw(t, "observed"),
			TraceID: model.TraceIDFrom(rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")), SpanID: model.SpanIDFrom(n),
			Flags: rapid.Uint32().Draw(t, "flags"), Severity: model.Severity(rapid.IntRange(0, 24).Draw(t, "severity")),
			SeverityText: anyText().Draw(t, "text"), EventName: anyText().Draw(t, "event"), Body: anyValue().Draw(t, "body"),
			Attrs: anyAttrs().Draw(t, "own"), DroppedAttrs: rapid.Uint32().Draw(t, "dropped"), Template: rapid.Uint64().Draw(t, "template"),
			Resource: src.resource, Scope: src.scope}
	})
}

// asGiven compares rows as the contract promises: all but the order of attributes.
var asGiven = cmp.Options{
	cmp.Comparer(func(a, b model.Value) bool { return a == b }),
	cmp.Comparer(func(a, b []model.SpanEvent) bool { return slices.EqualFunc(a, b, sameEvent) }),
	cmp.Comparer(func(a, b []model.Link) bool { return slices.EqualFunc(a, b, sameLink) }),
	cmp.Comparer(func(a, b model.Attrs) bool { return slices.Equal(a.Sorted(), b.Sorted()) }),
}

func sameEvent(a, b model.SpanEvent) bool {
	return a.Time == b.Time && a.Name == b.Name && slices.Equal(a.Attrs.Sorted(), b.Attrs.Sorted()) && a.DroppedAttrs == b.DroppedAttrs
}

func sameLink(a, b model.Link) bool {
	return slices.Equal(a.Attrs.Sorted(), b.Attrs.Sorted()) && a.TraceID == b.TraceID && a.SpanID == b.SpanID && a.TraceState == b.TraceState && a.Flags == b.Flags &&
		a.DroppedAttrs == b.DroppedAttrs
}

func byID(spans []model.Span) []model.Span {
	c := slices.Clone(spans)
	slices.SortFunc(c, func(a, b model.Span) int { return int(a.SpanID.Uint64()) - int(b.SpanID.Uint64()) })
	return c
}

func logsByID(logs []model.LogRecord) []model.LogRecord {
	c := slices.Clone(logs)
	slices.SortFunc(c, func(a, b model.LogRecord) int { return int(a.SpanID.Uint64()) - int(b.SpanID.Uint64()) })
	return c
}

// fewerChecks keeps a property that opens a database for each check from taking minutes, unless a number was asked for.
func fewerChecks(t *testing.T, n string) {
	f := flag.Lookup("rapid.checks")
	if f == nil || f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Value.Set(f.DefValue) })
}

func openTest(t testing.TB, dir string, change func(*Options)) *Store {
	t.Helper()
	o := Options{Dir: dir, MemoryLimit: 256 << 20}
	if change != nil {
		change(&o)
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flushAll makes blocks of everything.
func (s *Store) flushAll(ctx context.Context) error {
	p, err := s.wal.submit(nil)
	if err != nil {
		return err
	}
	if err := <-p.result; err != nil {
		return err
	}
	s.maintaining.Lock()
	defer s.maintaining.Unlock()
	return s.flushSealed(ctx)
}

// mergeEverything merges each partition's blocks into one.
func (s *Store) mergeEverything(ctx context.Context) error {
	s.maintaining.Lock()
	defer s.maintaining.Unlock()
	s.mu.Lock()
	var jobs [][]*block
	for _, bs := range s.catalog.blocks {
		if len(bs) > 1 {
			jobs = append(jobs, slices.Clone(bs))
		}
	}
	s.mu.Unlock()
	for _, j := range jobs {
		if err := s.merge(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

func TestEverythingComesBackAsGiven(t *testing.T) {
	fewerChecks(t, "15")
	ctx := context.Background()
	dirs := 0
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		sources := rapid.SliceOfN(anySource(), 1, 3).Draw(t, "sources")
		dirs++
		dir := fmt.Sprintf("%s/%d", base, dirs)
		s, err := Open(ctx, Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { s.Close() }()
		want := []model.Span{}
		wantLogs := []model.LogRecord{}
		next := uint64(1)
		check := func(when string) {
			page, err := s.Spans(ctx, store.Query{Where: search.All{}, Limit: 1000})
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if d := cmp.Diff(byID(page.Rows), want, asGiven); d != "" {
				t.Fatalf("%s: spans (-got +want):\n%s", when, d)
			}
			lines, err := s.Logs(ctx, store.Query{Where: search.All{}, Limit: 1000})
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if d := cmp.Diff(logsByID(lines.Rows), wantLogs, asGiven); d != "" {
				t.Fatalf("%s: logs (-got +want):\n%s", when, d)
			}
			for _, x := range want[:min(1, len(want))] {
				trace, err := s.Trace(ctx, "", x.TraceID)
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				var same []model.Span
				for _, y := range want {
					if y.TraceID == x.TraceID {
						same = append(same, y)
					}
				}
				if d := cmp.Diff(byID(trace), same, asGiven); d != "" {
					t.Fatalf("%s: trace (-got +want):\n%s", when, d)
				}
			}
		}
		for round := range rapid.IntRange(1, 3).Draw(t, "rounds") {
			b := &model.Batch{}
			for range rapid.IntRange(0, 4).Draw(t, "spans") {
				b.Spans = append(b.Spans, anySpan(sources, next).Draw(t, "span"))
				next++
			}
			for range rapid.IntRange(0, 4).Draw(t, "logs") {
				b.Logs = append(b.Logs, anyLog(sources, next).Draw(t, "log"))
				next++
			}
			if _, err := s.Append(ctx, b); err != nil {
				t.Fatal(err)
			}
			want, wantLogs = append(want, b.Spans...), append(wantLogs, b.Logs...)
			check(fmt.Sprintf("round %d in the tail", round))
			if rapid.Bool().Draw(t, "flush") {
				if err := s.flushAll(ctx); err != nil {
					t.Fatal(err)
				}
				check(fmt.Sprintf("round %d flushed", round))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(ctx, Options{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		check("opened again")
		if err := s.mergeEverything(ctx); err != nil {
			t.Fatal(err)
		}
		check("merged")
	})
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sources := rapid.SliceOfN(anySource(), 1, 3).Draw(t, "sources")
		b := &model.Batch{ID: [32]byte{1, 2, 3}}
		for i := range rapid.IntRange(0, 4).Draw(t, "spans") {
			b.Spans = append(b.Spans, anySpan(sources, uint64(i)).Draw(t, "span"))
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "logs") {
			b.Logs = append(b.Logs, anyLog(sources, uint64(i)).Draw(t, "log"))
		}
		rec, rows, err := decodeRecord(encodeRecord(b, "t", 42).payload)
		if err != nil {
			t.Fatal(err)
		}
		if rec.tenant != "t" || rec.id != b.ID || rec.at != 42 {
			t.Fatalf("header: %+v", rec)
		}
		if d := cmp.Diff(rows.spans, b.Spans, asGiven); d != "" && len(rows.spans)+len(b.Spans) > 0 {
			t.Fatal(d)
		}
		if d := cmp.Diff(rows.logs, b.Logs, asGiven); d != "" && len(rows.logs)+len(b.Logs) > 0 {
			t.Fatal(d)
		}
	})
}

var testTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

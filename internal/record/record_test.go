package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"triage/internal/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// same compares batches to the last bit.
var same = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b model.Value) bool { return a == b }),
	cmp.Comparer(func(a, b labels.Labels) bool { return labels.Equal(a, b) }),
	cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }),
}

var texts = rapid.OneOf(rapid.SampledFrom([]string{"", "GET /cart", "cart", "u-17", "\xff\x00"}), rapid.String())

func anyFloat() *rapid.Generator[float64] {
	return rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -3, 1e9, 1 << 53, math.Inf(1), math.NaN(),
		math.Float64frombits(value.StaleNaN)}))
}

func anyBool(t *rapid.T) bool { return rapid.Bool().Draw(t, "bool") }

func anyValue(t *rapid.T) model.Value {
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 1:
		return model.String(texts.Draw(t, "text"))
	case 2:
		return model.Bool(anyBool(t))
	case 3:
		return model.Int(rapid.Int64().Draw(t, "int"))
	case 4:
		return model.Double(anyFloat().Draw(t, "double"))
	case 5:
		return model.Bytes([]byte(texts.Draw(t, "bytes")))
	case 6:
		return model.List(texts.Draw(t, "list"))
	case 7:
		return model.Map(texts.Draw(t, "map"))
	}
	return model.Value{}
}

func anyAttrs(t *rapid.T) (a model.Attrs) {
	for range rapid.IntRange(0, 4).Draw(t, "attrs") {
		a = append(a, model.Attr{Key: texts.Draw(t, "key"), Value: anyValue(t)})
	}
	return a
}

func anyTrace(t *rapid.T) model.TraceID {
	return model.TraceIDFrom(rapid.Uint64Range(0, 2).Draw(t, "hi"), rapid.Uint64Range(0, 2).Draw(t, "lo"))
}
func anySpanID(t *rapid.T) model.SpanID {
	return model.SpanIDFrom(rapid.Uint64Range(0, 9).Draw(t, "span"))
}
func anyTime(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Int64(), rapid.Int64Range(1.7e18, 1.8e18)).Draw(t, "time")
}
func u32(t *rapid.T) uint32 { return rapid.Uint32().Draw(t, "u32") }

func anyLabels(t *rapid.T) labels.Labels {
	m := map[string]string{}
	for range rapid.IntRange(0, 4).Draw(t, "labels") {
		m[texts.Draw(t, "name")] = rapid.StringN(1, 8, 20).Draw(t, "value")
	}
	return labels.FromMap(m)
}

func anyHistogram(t *rapid.T) *histogram.Histogram {
	ints := rapid.SliceOfN(rapid.Int64(), 0, 4)
	return &histogram.Histogram{CounterResetHint: histogram.CounterResetHint(rapid.IntRange(0, 3).Draw(t, "hint")),
		Schema: rapid.Int32().Draw(t, "schema"), ZeroThreshold: anyFloat().Draw(t, "zt"), ZeroCount: rapid.Uint64().Draw(t, "zc"),
		Count: rapid.Uint64().Draw(t, "count"), Sum: anyFloat().Draw(t, "sum"),
		PositiveSpans:   []histogram.Span{{Offset: rapid.Int32().Draw(t, "offset"), Length: u32(t)}},
		PositiveBuckets: ints.Draw(t, "pb"), NegativeBuckets: ints.Draw(t, "nb"),
		CustomValues: rapid.SliceOfN(anyFloat(), 0, 3).Draw(t, "custom")}
}

func anyFloatHistogram(t *rapid.T) *histogram.FloatHistogram {
	floats := rapid.SliceOfN(anyFloat(), 0, 4)
	return &histogram.FloatHistogram{Schema: rapid.Int32().Draw(t, "schema"), ZeroThreshold: anyFloat().Draw(t, "zt"),
		ZeroCount: anyFloat().Draw(t, "zc"), Count: anyFloat().Draw(t, "count"), Sum: anyFloat().Draw(t, "sum"),
		NegativeSpans:   []histogram.Span{{Offset: rapid.Int32().Draw(t, "offset"), Length: u32(t)}},
		PositiveBuckets: floats.Draw(t, "pb"), NegativeBuckets: floats.Draw(t, "nb"), CustomValues: floats.Draw(t, "custom")}
}

func anyBatch(t *rapid.T) *model.Batch {
	b := &model.Batch{Tenant: texts.Draw(t, "tenant"), Source: texts.Draw(t, "source")}
	var resources []*model.Resource
	scopes := []*model.Scope{nil}
	for range 2 {
		resources = append(resources, &model.Resource{Service: texts.Draw(t, "service"), Attrs: anyAttrs(t), SchemaURL: texts.Draw(t, "url")})
		scopes = append(scopes, &model.Scope{Name: texts.Draw(t, "scope"), Version: texts.Draw(t, "version"), Attrs: anyAttrs(t), SchemaURL: texts.Draw(t, "url")})
	}
	resource := func() *model.Resource { return rapid.SampledFrom(resources).Draw(t, "resource") }
	scope := func() *model.Scope { return rapid.SampledFrom(scopes).Draw(t, "scope") }
	for range rapid.IntRange(0, 4).Draw(t, "spans") {
		s := model.Span{TraceID: anyTrace(t), SpanID: anySpanID(t), ParentID: anySpanID(t), TraceState: texts.Draw(t, "state"), Flags: u32(t),
			Name: texts.Draw(t, "name"), Kind: model.SpanKind(rapid.Uint8().Draw(t, "kind")), Start: anyTime(t), Duration: anyTime(t),
			Status: model.StatusCode(rapid.Uint8().Draw(t, "status")), StatusMessage: texts.Draw(t, "message"), Attrs: anyAttrs(t),
			DroppedAttrs: u32(t), DroppedEvents: u32(t), DroppedLinks: u32(t), Resource: resource(), Scope: scope()}
		for range rapid.IntRange(0, 2).Draw(t, "events") {
			s.Events = append(s.Events, model.SpanEvent{Time: anyTime(t), Name: texts.Draw(t, "event"), Attrs: anyAttrs(t), DroppedAttrs: u32(t)})
			s.Links = append(s.Links, model.Link{TraceID: anyTrace(t), SpanID: anySpanID(t), TraceState: texts.Draw(t, "state"), Flags: u32(t), Attrs: anyAttrs(t), DroppedAttrs: u32(t)})
		}
		b.Spans = append(b.Spans, s)
	}
	for range rapid.IntRange(0, 4).Draw(t, "logs") {
		b.Logs = append(b.Logs, model.LogRecord{Time: anyTime(t), Observed: anyTime(t), TraceID: anyTrace(t), SpanID: anySpanID(t), Flags: u32(t),
			Severity: model.Severity(rapid.Uint8().Draw(t, "severity")), SeverityText: texts.Draw(t, "level"), EventName: texts.Draw(t, "event"),
			Body: anyValue(t), Attrs: anyAttrs(t), DroppedAttrs: u32(t), Resource: resource(), Scope: scope()})
	}
	for range rapid.IntRange(0, 3).Draw(t, "series") {
		s := model.Series{Labels: anyLabels(t), Type: texts.Draw(t, "type"), Unit: texts.Draw(t, "unit"), Help: texts.Draw(t, "help"),
			Created: rapid.OneOf(rapid.Just(int64(0)), rapid.Int64()).Draw(t, "created")}
		for range rapid.IntRange(0, 2).Draw(t, "samples") {
			s.Samples = append(s.Samples, model.Sample{T: rapid.Int64().Draw(t, "t"), V: anyFloat().Draw(t, "v")})
			s.Histograms = append(s.Histograms, model.HistogramSample{T: rapid.Int64().Draw(t, "t"), Int: anyHistogram(t)},
				model.HistogramSample{T: rapid.Int64().Draw(t, "t"), Float: anyFloatHistogram(t)}, model.HistogramSample{})
			s.Exemplars = append(s.Exemplars, exemplar.Exemplar{Labels: anyLabels(t), Value: anyFloat().Draw(t, "v"), Ts: rapid.Int64().Draw(t, "t"), HasTs: anyBool(t)})
		}
		b.Series = append(b.Series, s)
	}
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		b.Changes = append(b.Changes, model.Change{ID: "c-1", At: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 7).UTC(), Kind: "flag",
			Key: "retries", Attrs: map[string]string{"team": "blue"}})
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []*model.Batch
		var stream bytes.Buffer
		stream.WriteString(magic)
		stream.Write(headerFrame(Header{Start: time.Unix(1, 2), Host: "host-a", Version: "1", Segment: 3}))
		at := anyTime(t)
		for range rapid.IntRange(0, 3).Draw(t, "batches") {
			b := anyBatch(t)
			rows, err := encodeBatch(b, at)
			if err != nil {
				t.Fatal(err)
			}
			stream.Write(batchFrame(at, b, rows))
			want = append(want, b)
		}
		stream.Write(endFrame(End{At: time.Unix(9, 0), Reason: "why"}))

		r, err := NewReader(&stream)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.Header, (Header{Start: time.Unix(1, 2).UTC(), Host: "host-a", Version: "1", Segment: 3}); got != want {
			t.Fatalf("header %v, want %v", got, want)
		}
		var got []*model.Batch
		for {
			f, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if f.End != nil {
				break
			}
			b, err := f.Batch()
			if err != nil {
				t.Fatal(err)
			}
			if f.At != at || f.Counts != countsOf(b) {
				t.Fatalf("frame says %d %v, want %d %v", f.At, f.Counts, at, countsOf(b))
			}
			got = append(got, b)
		}
		if diff := cmp.Diff(got, want, same); diff != "" {
			t.Fatal(diff)
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("after the end: %v", err)
		}
	})
}

// sample is a batch that has something of everything; the fixture in testdata holds the same. It must not change.
func sample(i int) *model.Batch {
	at := time.Date(2026, 3, 1, 12, 0, i, 0, time.UTC).UnixNano()
	res := &model.Resource{Service: "cart", SchemaURL: "https://opentelemetry.io/schemas/1.30.0", Attrs: model.Attrs{
		{Key: "service.name", Value: model.String("cart")}, {Key: "process.pid", Value: model.Int(42)}}}
	scope := &model.Scope{Name: "http", Version: "0.1"}
	trace := model.TraceIDFrom(7, uint64(i)+1)
	root, child := model.SpanIDFrom(uint64(2*i+1)), model.SpanIDFrom(uint64(2*i+2))
	return &model.Batch{
		Tenant: model.DefaultTenant, Source: "otlp",
		Spans: []model.Span{
			{TraceID: trace, SpanID: root, Name: "GET /cart", Kind: model.SpanServer, Start: at, Duration: 12e6, Flags: 257, Resource: res, Scope: scope,
				Attrs:  model.Attrs{{Key: "http.route", Value: model.String("/cart")}, {Key: "ratio", Value: model.Double(0.25)}, {Key: "cached", Value: model.Bool(true)}},
				Events: []model.SpanEvent{{Time: at + 5, Name: "exception", Attrs: model.Attrs{{Key: "exception.type", Value: model.String("E")}}}},
				Links:  []model.Link{{TraceID: model.TraceIDFrom(1, 1), SpanID: model.SpanIDFrom(99)}}},
			{TraceID: trace, SpanID: child, ParentID: root, Name: "SELECT", Kind: model.SpanClient, Start: at + 1e6, Duration: 9e6, Flags: 257, Resource: res,
				Scope: scope, Status: model.StatusError, StatusMessage: "timeout",
				Attrs: model.Attrs{{Key: "tags", Value: model.List(`{"values":[{"stringValue":"a"}]}`)}, {Key: "raw", Value: model.Bytes([]byte{0, 255})}}},
		},
		Logs: []model.LogRecord{{Time: at + 2e6, Observed: at + 3e6, TraceID: trace, SpanID: child, Severity: 17, SeverityText: "ERROR",
			Body: model.String("query timed out after 9 ms"), Resource: res}},
		Series: []model.Series{
			{Labels: labels.FromStrings("__name__", "up", "job", "cart"), Type: "gauge", Help: "1 if up", Samples: []model.Sample{{T: at / 1e6, V: 1}, {T: at/1e6 + 5000, V: 0.5}}},
			{Labels: labels.FromStrings("__name__", "d"), Type: "histogram", Unit: "seconds", Created: at/1e6 - 60000,
				Histograms: []model.HistogramSample{{T: at / 1e6, Int: &histogram.Histogram{Schema: 3, Count: 3, Sum: 1.5, ZeroThreshold: 1e-9,
					PositiveSpans: []histogram.Span{{Offset: 1, Length: 2}}, PositiveBuckets: []int64{1, 1}}}},
				Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "ab"), Value: 0.5, Ts: at / 1e6, HasTs: true}}},
		},
		Changes: []model.Change{{ID: fmt.Sprintf("c-%d", i), At: time.Unix(0, at).UTC(), Kind: "deployment", Service: "cart", Version: "2.1"}},
	}
}

func sampleAt(i int) time.Time { return time.Date(2026, 3, 1, 12, 0, i, 250e6, time.UTC) }

var sampleHeader = Header{Start: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Host: "host-a", Version: "0.1"}

func write(t *testing.T, dir string, size int64, n int) {
	t.Helper()
	w, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	w.size = size
	if err := w.Begin(sampleHeader); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.Write(sampleAt(i), sample(i)); err != nil {
			t.Fatal(err)
		}
		if n > 3 { // as a recorder does each second
			if err := w.zip.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(sampleAt(n)); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, path string) (batches []*model.Batch, at []time.Time, r *Recording) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for f, err := range r.Frames(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.Batch()
		if err != nil {
			t.Fatal(err)
		}
		batches, at = append(batches, b), append(at, time.Unix(0, f.At).UTC())
	}
	return batches, at, r
}

func samples(from, to int) (out []*model.Batch) {
	for i := from; i < to; i++ {
		out = append(out, sample(i))
	}
	return out
}

// TestOldVersions reads what earlier versions wrote. A fixture is made once and never again.
func TestOldVersions(t *testing.T) {
	dir := filepath.Join("testdata", "v1")
	if os.Getenv("TRIAGE_MAKE_FIXTURE") == dir {
		write(t, dir, segmentSize, 3)
	}
	got, at, r := readAll(t, dir)
	if diff := cmp.Diff(got, samples(0, 3), same); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(at, []time.Time{sampleAt(0), sampleAt(1), sampleAt(2)}); diff != "" {
		t.Error(diff)
	}
	if r.Header.Host != "host-a" || !r.End().Equal(sampleAt(3)) || len(r.Damage()) > 0 {
		t.Errorf("header %v, end %s, damage %v", r.Header, r.End(), r.Damage())
	}
}

func TestSegments(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 1, 20)
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(files) != 20 {
		t.Fatalf("%d segments, want 20 (%v)", len(files), err)
	}
	got, _, r := readAll(t, dir)
	if diff := cmp.Diff(got, samples(0, 20), same); diff != "" || len(r.Damage()) > 0 {
		t.Error(diff, r.Damage())
	}
	if one, _, _ := readAll(t, files[4]); len(one) != 1 {
		t.Errorf("one segment by itself has %d batches, want 1", len(one))
	}
	if _, err := Create(dir); !errors.Is(err, ErrExists) {
		t.Errorf("create over it: %v, want ErrExists", err)
	}
	if err := os.Remove(files[7]); err != nil {
		t.Fatal(err)
	}
	got, _, r = readAll(t, dir)
	if d := r.Damage(); len(got) != 19 || len(d) != 1 || d[0].File != "000008.rec.zst" {
		t.Errorf("without one segment: %d batches, damage %v", len(got), d)
	}
}

// TestTorn cuts a file anywhere, and turns bits over: what stands before is read, and the rest is said to be missing.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, math.MaxInt64, 12)
	name := filepath.Join(dir, "000001.rec.zst")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	plain, err := z.DecodeAll(whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string][]byte{"compressed": whole, "plain": plain} {
		most := 0
		for cut := 300; cut < len(content); cut += 1 + len(content)/25 {
			bad := bytes.Clone(content)
			bad[cut] ^= 0x10
			for change, bytes := range map[string][]byte{"cut": content[:cut], "bit": bad} {
				if err := os.WriteFile(name, bytes, 0o600); err != nil {
					t.Fatal(err)
				}
				r, err := Open(dir)
				if err != nil {
					continue // not even the header can be read
				}
				var got []*model.Batch
				for f, err := range r.Frames(context.Background()) {
					if err != nil {
						t.Fatal(err)
					}
					b, err := f.Batch()
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, b)
				}
				if diff := cmp.Diff(got, samples(0, len(got)), same); diff != "" {
					t.Fatalf("%s, %s at %d: %s", what, change, cut, diff)
				}
				d := r.Damage()
				if len(got) < 12 && len(d) != 1 || change == "cut" && (len(d) != 1 || !d[0].Torn) {
					t.Fatalf("%s, %s at %d: %d batches, damage %v", what, change, cut, len(got), d)
				}
				if change == "cut" {
					most = max(most, len(got))
				}
			}
		}
		if most < 11 {
			t.Errorf("%s: of a file that is torn near its end only %d batches of 12 are read", what, most)
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		content string
		want    error
	}{
		"empty":   {"", io.EOF},
		"text":    {"this is no recording at all", zstd.ErrMagicMismatch},
		"later":   {"TRIAGER\x02....", ErrVersion},
		"another": {"TRIAGEW\x01....", ErrFormat},
		"length":  {magic + "\xff\xff\xff\xff\xff\xff\xff", ErrFormat},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := Open(dir); !errors.Is(err, ErrFormat) {
		t.Errorf("directory without segments: %v, want ErrFormat", err)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v, want ErrNotExist", err)
	}
}

func FuzzReader(f *testing.F) {
	stream := append([]byte(magic), headerFrame(sampleHeader)...)
	f.Add(stream)
	for i := range 2 {
		rows, err := encodeBatch(sample(i), sampleAt(i).UnixNano())
		if err != nil {
			f.Fatal(err)
		}
		stream = append(stream, batchFrame(sampleAt(i).UnixNano(), sample(i), rows)...)
		f.Add(bytes.Clone(stream))
	}
	f.Add(append(stream, endFrame(End{At: sampleAt(2)})...))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := NewReader(bytes.NewReader(in))
		if err != nil {
			return
		}
		for {
			fr, err := r.Next()
			if err != nil || fr.End != nil {
				return
			}
			_, _ = fr.Batch()
		}
	})
}

// FuzzBatch skips the checksum: whatever decodes, decodes to the same after being encoded.
func FuzzBatch(f *testing.F) {
	for i := range 2 {
		rows, err := encodeBatch(sample(i), 1e18)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(rows)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := decodeBatch(string(in), 1e18)
		if err != nil {
			return
		}
		again, err := encodeBatch(b, 1e18)
		if err != nil {
			return // a change whose time JSON can't say
		}
		b2, err := decodeBatch(string(again), 1e18)
		if err != nil {
			t.Fatal(err)
		}
		third, err := encodeBatch(b2, 1e18)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, third) {
			t.Fatal("encodings differ")
		}
	})
}

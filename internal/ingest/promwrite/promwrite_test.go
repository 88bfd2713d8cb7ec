package promwrite_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	commonconfig "github.com/prometheus/common/config"
	commonmodel "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage/remote"

	"triage/internal/ingest"
	"triage/internal/ingest/promwrite"
	"triage/internal/model"
	"triage/internal/store"
)

// sink is an ingest.Sink made of a function; it keeps the last batch.
type sink struct {
	accept func(*model.Batch) (ingest.Result, error)
	last   *model.Batch
}

func (s *sink) Accept(_ context.Context, b *model.Batch) (ingest.Result, error) {
	s.last = b
	if s.accept == nil {
		return ingest.Result{}, nil
	}
	return s.accept(b)
}

func serve(t *testing.T, s *sink) *url.URL {
	t.Helper()
	srv := httptest.NewServer(promwrite.New(promwrite.Options{Sink: s, Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// client is Prometheus' own.
func client(t *testing.T, u *url.URL, message remoteapi.WriteMessageType) remote.WriteClient {
	t.Helper()
	c, err := remote.NewWriteClient("test", &remote.ClientConfig{
		URL: &commonconfig.URL{URL: u}, Timeout: commonmodel.Duration(10 * time.Second), WriteProtoMsg: message,
		Headers: map[string]string{ingest.TenantHeader: "acme"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var observed = &histogram.Histogram{
	Schema: 1, Count: 3, Sum: 5, ZeroThreshold: 0.001, ZeroCount: 1,
	PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []int64{1, 0},
}

func marshal(t testing.TB, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func requestV1() *prompb.WriteRequest {
	return &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{
			{
				Labels:    []prompb.Label{{Name: "__name__", Value: "hits_total"}, {Name: "job", Value: "cart"}},
				Samples:   []prompb.Sample{{Timestamp: 1000, Value: 1}, {Timestamp: 2000, Value: 2}},
				Exemplars: []prompb.Exemplar{{Labels: []prompb.Label{{Name: "trace_id", Value: "abc"}}, Value: 2, Timestamp: 2000}},
			},
			{
				Labels:     []prompb.Label{{Name: "__name__", Value: "latency_seconds"}, {Name: "job", Value: "cart"}},
				Histograms: []prompb.Histogram{prompb.FromIntHistogram(1000, observed)},
			},
		},
		Metadata: []prompb.MetricMetadata{{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "hits", Help: "Hits.", Unit: ""}},
	}
}

func requestV2() *writev2.Request {
	return &writev2.Request{
		Symbols: []string{"", "__name__", "hits_total", "job", "cart", "latency_seconds", "Hits.", "trace_id", "abc", "seconds"},
		Timeseries: []writev2.TimeSeries{
			{
				LabelsRefs: []uint32{1, 2, 3, 4},
				Samples:    []writev2.Sample{{Timestamp: 1000, Value: 1, StartTimestamp: 500}, {Timestamp: 2000, Value: 2, StartTimestamp: 500}},
				Exemplars:  []writev2.Exemplar{{LabelsRefs: []uint32{7, 8}, Value: 2, Timestamp: 2000}},
				Metadata:   writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER, HelpRef: 6},
			},
			{
				LabelsRefs: []uint32{1, 5, 3, 4},
				Histograms: []writev2.Histogram{writev2.FromIntHistogram(1000, observed)},
				Metadata:   writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_HISTOGRAM, UnitRef: 9},
			},
		},
	}
}

// text is a series as a person compares it.
func text(series []model.Series) (out []string) {
	for _, s := range series {
		var b strings.Builder
		b.WriteString(s.Labels.String())
		for _, smp := range s.Samples {
			b.WriteString(" " + time.UnixMilli(smp.T).UTC().Format("5s") + "=" + commonmodel.SampleValue(smp.V).String())
		}
		for _, smp := range s.Histograms {
			b.WriteString(" " + time.UnixMilli(smp.T).UTC().Format("5s") + "=" + smp.Int.String())
		}
		for _, e := range s.Exemplars {
			b.WriteString(" #" + e.Labels.String())
		}
		if s.Created != 0 {
			b.WriteString(" created")
		}
		out = append(out, strings.TrimSpace(b.String()+" "+s.Type+" "+s.Unit+" "+s.Help))
	}
	return out
}

func TestClients(t *testing.T) {
	for _, c := range []struct {
		name    string
		message remoteapi.WriteMessageType
		body    []byte
		stats   remote.WriteResponseStats
		want    []string
	}{
		{"1.0", remoteapi.WriteV1MessageType, marshal(t, requestV1()), remote.WriteResponseStats{}, []string{
			`{__name__="hits_total", job="cart"} 1s=1 2s=2 #{trace_id="abc"}`,
			`{__name__="latency_seconds", job="cart"} 1s=` + observed.String(),
			`{__name__="hits"} counter  Hits.`,
		}},
		{"2.0", remoteapi.WriteV2MessageType, marshal(t, requestV2()), remote.WriteResponseStats{Samples: 2, Histograms: 1, Exemplars: 1, Confirmed: true}, []string{
			`{__name__="hits_total", job="cart"} 1s=1 2s=2 #{trace_id="abc"} created counter  Hits.`,
			`{__name__="latency_seconds", job="cart"} 1s=` + observed.String() + ` histogram seconds`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sink{}
			stats, err := client(t, serve(t, s), c.message).Store(t.Context(), snappy.Encode(nil, c.body), 0)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(stats, c.stats); d != "" {
				t.Errorf("stats, got - want:\n%s", d)
			}
			if d := cmp.Diff(text(s.last.Series), c.want); d != "" {
				t.Errorf("series, got - want:\n%s", d)
			}
			if s.last.Tenant != "acme" || s.last.Source != "promwrite" || s.last.ID == ([32]byte{}) {
				t.Errorf("batch of tenant %q, source %q, ID %x", s.last.Tenant, s.last.Source, s.last.ID)
			}
		})
	}
}

// TestTrouble holds what senders are told, and whether their client tries again.
func TestTrouble(t *testing.T) {
	partly := func(*model.Batch) (ingest.Result, error) {
		return ingest.Result{Rejected: store.Rejected{"out_of_order": 1}}, nil
	}
	overloaded := func(*model.Batch) (ingest.Result, error) { return ingest.Result{}, store.ErrOverloaded }
	broken := requestV2()
	broken.Timeseries[0].LabelsRefs[1] = 99
	for _, c := range []struct {
		name    string
		message remoteapi.WriteMessageType
		body    []byte
		accept  func(*model.Batch) (ingest.Result, error)
		stats   remote.WriteResponseStats
		again   bool
		want    string
	}{
		{"partial 1.0", remoteapi.WriteV1MessageType, marshal(t, requestV1()), partly, remote.WriteResponseStats{}, false, "400 Bad Request: not all was stored: 1 samples: out of order"},
		{"partial 2.0", remoteapi.WriteV2MessageType, marshal(t, requestV2()), partly, remote.WriteResponseStats{Samples: 1, Histograms: 1, Exemplars: 1, Confirmed: true}, false, "400 Bad Request: not all was stored: 1 samples: out of order"},
		{"bad reference", remoteapi.WriteV2MessageType, marshal(t, broken), nil, remote.WriteResponseStats{Histograms: 1, Confirmed: true}, false, "400 Bad Request: not all was stored: timeseries[0]: labels refer to symbols that are not there"},
		{"overload", remoteapi.WriteV2MessageType, marshal(t, requestV2()), overloaded, remote.WriteResponseStats{Confirmed: true}, true, "503 Service Unavailable: overloaded"},
		{"no protobuf", remoteapi.WriteV1MessageType, []byte("hello"), nil, remote.WriteResponseStats{}, false, "400 Bad Request: decode prometheus.WriteRequest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sink{accept: c.accept}
			stats, err := client(t, serve(t, s), c.message).Store(t.Context(), snappy.Encode(nil, c.body), 0)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			var again remote.RecoverableError
			if errors.As(err, &again) != c.again {
				t.Errorf("the client tries again: %t, want %t", !c.again, c.again)
			}
			if d := cmp.Diff(stats, c.stats); d != "" {
				t.Errorf("stats, got - want:\n%s", d)
			}
		})
	}
}

func TestStatuses(t *testing.T) {
	body := snappy.Encode(nil, marshal(t, requestV1()))
	bomb := snappy.Encode(nil, make([]byte, 21<<20))
	for _, c := range []struct {
		name, method, contentType, encoding string
		body                                []byte
		want                                int
	}{
		{"no headers", "POST", "", "", body, 204},
		{"version 1.0 named", "POST", "application/x-protobuf; proto=prometheus.WriteRequest", "snappy", body, 204},
		{"empty", "POST", "application/x-protobuf", "snappy", snappy.Encode(nil, nil), 204},
		{"method", "GET", "application/x-protobuf", "snappy", body, 405},
		{"other message", "POST", "application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy", body, 415},
		{"JSON", "POST", "application/json", "snappy", body, 415},
		{"gzip", "POST", "application/x-protobuf", "gzip", body, 415},
		{"not snappy", "POST", "application/x-protobuf", "snappy", []byte("\xff\xff\xff\xff\xff\xff"), 400},
		{"too large", "POST", "application/x-protobuf", "snappy", bomb, 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "/api/v1/write", bytes.NewReader(c.body))
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			if c.encoding != "" {
				r.Header.Set("Content-Encoding", c.encoding)
			}
			w := httptest.NewRecorder()
			promwrite.New(promwrite.Options{Sink: &sink{}}).ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("status %d (%s), want %d", w.Code, w.Body, c.want)
			}
			if w.Code/100 == 2 && w.Body.Len() > 0 {
				t.Errorf("body %q with a success", w.Body)
			}
		})
	}
}

// FuzzWrite holds that no body makes the edge panic, and that what it hands on can be looked at.
func FuzzWrite(f *testing.F) {
	f.Add(marshal(f, requestV1()), false)
	f.Add(marshal(f, requestV2()), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, body []byte, v2 bool) {
		r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(snappy.Encode(nil, body)))
		r.Header.Set("Content-Encoding", "snappy")
		if v2 {
			r.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
		}
		w := httptest.NewRecorder()
		s := &sink{accept: func(b *model.Batch) (ingest.Result, error) {
			for i := range b.Series {
				_ = b.Series[i].Labels.Get(commonmodel.MetricNameLabel)
				_ = b.Series[i].Labels.Hash()
			}
			return ingest.Result{}, nil
		}}
		promwrite.New(promwrite.Options{Sink: s}).ServeHTTP(w, r)
		if w.Code != http.StatusNoContent && w.Code != http.StatusBadRequest {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	req := &prompb.WriteRequest{}
	for i := range 2000 {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: "http_requests_total"}, {Name: "instance", Value: "a"}, {Name: "job", Value: "cart"},
				{Name: "route", Value: "/items/" + string(rune('a'+i%26))},
			},
			Samples: []prompb.Sample{{Timestamp: int64(i), Value: 1}},
		})
	}
	body := snappy.Encode(nil, marshal(b, req))
	h := promwrite.New(promwrite.Options{Sink: &sink{}})
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusNoContent {
			b.Fatal(w.Body)
		}
	}
	b.ReportMetric(float64(b.N*2000)/b.Elapsed().Seconds(), "samples/s")
}

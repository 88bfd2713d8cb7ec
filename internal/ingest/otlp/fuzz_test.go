package otlp_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"testing"
	"unicode/utf8"

	"triage/internal/ingest"
	"triage/internal/ingest/otlp"
	"triage/internal/model"
)

// fuzz posts data and checks what holds for every request: an answer that OTLP knows, and a batch that stores can rely on.
func fuzz(f *testing.F, path, contentType string) {
	s := &sink{}
	// Few delta series, so that inputs also meet a full table.
	h := otlp.New(otlp.Options{Sink: s, MaxDeltaSeries: 3}).Handler()
	f.Fuzz(func(t *testing.T, data []byte) {
		s.accept = func(b *model.Batch) (ingest.Result, error) { checkBatch(t, b); return ingest.Result{}, nil }
		r := httptest.NewRequest("POST", path, bytes.NewReader(data))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		s.batches = nil
		if w.Code != 200 && w.Code != 400 {
			t.Errorf("answer %d", w.Code)
		}
		if contentType == jsonType && !json.Valid(w.Body.Bytes()) {
			t.Errorf("answer is no JSON: %q", w.Body)
		}
	})
}

func checkBatch(t *testing.T, b *model.Batch) {
	attrs := func(a model.Attrs) {
		seen := map[string]bool{}
		for _, x := range a {
			if seen[x.Key] || !utf8.ValidString(x.Key) {
				t.Errorf("key %q twice or no text", x.Key)
			}
			seen[x.Key] = true
			switch x.Value.Kind() {
			case model.KindString:
				if !utf8.ValidString(x.Value.Str()) {
					t.Errorf("%q is no text", x.Value.Str())
				}
			case model.KindList, model.KindMap:
				if !json.Valid([]byte(x.Value.Str())) {
					t.Errorf("%q is no JSON", x.Value.Str())
				}
			}
		}
	}
	for _, s := range b.Spans {
		if s.TraceID.IsZero() || s.SpanID.IsZero() || s.Duration < 0 || s.Start <= 0 || s.End() < s.Start || s.Resource == nil || s.Service() == "" {
			t.Errorf("span %+v", s)
		}
		attrs(s.Attrs)
		attrs(s.Resource.Attrs)
	}
	for _, l := range b.Logs {
		if l.Time <= 0 || l.Observed <= 0 || l.Severity > 24 || l.Resource == nil {
			t.Errorf("log %+v", l)
		}
		attrs(append(model.Attrs{{Key: "\x00body", Value: l.Body}}, l.Attrs...))
	}
	for _, s := range b.Series {
		if name, dup := s.Labels.HasDuplicateLabelNames(); dup || s.Labels.Get("__name__") == "" {
			t.Errorf("labels %s, duplicate %q", s.Labels, name)
		}
		if len(s.Samples)+len(s.Histograms) == 0 {
			t.Errorf("series %s without samples", s.Labels)
		}
		for i := 1; i < len(s.Samples); i++ {
			if s.Samples[i].T < s.Samples[i-1].T {
				t.Errorf("series %s out of order", s.Labels)
			}
		}
	}
}

const metricsJSON = `{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},"scopeMetrics":[{"metrics":[
{"name":"c","unit":"1","sum":{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"2","asInt":"1"}]}},
{"name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"2","count":"1","sum":1,"explicitBounds":[1],"bucketCounts":["1","0"],"exemplars":[{"asDouble":1}]}]}},
{"name":"e","exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"2","count":"1","scale":20,"positive":{"offset":3,"bucketCounts":["1"]}}]}},
{"name":"s","summary":{"dataPoints":[{"timeUnixNano":"2","quantileValues":[{"quantile":0.5,"value":1}]}]}}]}]}]}`

const logsJSON = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1","severityNumber":9,"body":{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{"doubleValue":1}]}}}]}},"attributes":[{"key":"a","value":{"bytesValue":"AA=="}}]}]}]}]}`

func FuzzTracesProto(f *testing.F) {
	f.Add(spansProto(f, 2, 1))
	f.Add(rawSpan(func(s []byte) []byte { return field(s, 9, field(nil, 1, []byte("k"))) }))
	fuzz(f, "/v1/traces", pbType)
}

func FuzzTracesJSON(f *testing.F) {
	f.Add([]byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[` + oneSpan + `]}]}]}`))
	fuzz(f, "/v1/traces", jsonType)
}

func FuzzLogsProto(f *testing.F) {
	f.Add(protoOf(f, "logs", logsJSON))
	fuzz(f, "/v1/logs", pbType)
}

func FuzzLogsJSON(f *testing.F) {
	f.Add([]byte(logsJSON))
	fuzz(f, "/v1/logs", jsonType)
}

func FuzzMetricsProto(f *testing.F) {
	f.Add(protoOf(f, "metrics", metricsJSON))
	fuzz(f, "/v1/metrics", pbType)
}

func FuzzMetricsJSON(f *testing.F) {
	f.Add([]byte(metricsJSON))
	fuzz(f, "/v1/metrics", jsonType)
}

package otlp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/value"

	"triage/internal/ingest/otlp"
	"triage/internal/model"
)

// sendMetrics posts the inside of a "metrics" list and returns the series, and how many points were rejected and why.
func sendMetrics(t testing.TB, h http.Handler, s *sink, metrics string) (series []model.Series, rejected, why string) {
	t.Helper()
	body := `{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},"scopeMetrics":[{"metrics":[` + metrics + `]}]}]}`
	return sendRaw(t, h, s, body)
}

func sendRaw(t testing.TB, h http.Handler, s *sink, body string) (series []model.Series, rejected, why string) {
	t.Helper()
	s.batches = nil
	r := httptest.NewRequest("POST", "/v1/metrics", bytes.NewReader([]byte(body)))
	r.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	var resp struct {
		PartialSuccess struct{ RejectedDataPoints, ErrorMessage string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &resp); err != nil {
		t.Fatal(err)
	}
	return s.all().Series, resp.PartialSuccess.RejectedDataPoints, resp.PartialSuccess.ErrorMessage
}

// show writes series one a line, without the labels that all have.
func show(series []model.Series) (lines []string) {
	for _, s := range series {
		var b strings.Builder
		l := strings.ReplaceAll(s.Labels.String(), `job="cart", `, "")
		l = strings.ReplaceAll(l, `, service_name="cart"`, "")
		fmt.Fprintf(&b, "%s created=%d", l, s.Created)
		for _, x := range s.Samples {
			if value.IsStaleNaN(x.V) {
				fmt.Fprintf(&b, " stale@%d", x.T)
				continue
			}
			fmt.Fprintf(&b, " %v@%d", x.V, x.T)
		}
		for _, x := range s.Histograms {
			if value.IsStaleNaN(x.Int.Sum) {
				fmt.Fprintf(&b, " stale@%d", x.T)
				continue
			}
			fmt.Fprintf(&b, " scale=%d %s@%d", x.Int.Schema, x.Int.String(), x.T)
		}
		for _, e := range s.Exemplars {
			fmt.Fprintf(&b, " # %s %v@%d", e.Labels, e.Value, e.Ts)
		}
		lines = append(lines, b.String())
	}
	slices.Sort(lines)
	return lines
}

func TestTranslation(t *testing.T) {
	for _, c := range []struct {
		name, metric string
		want         []string
		rejected     string
		why          string
	}{
		{
			name: "gauge", metric: `{"name":"jvm.memory.used","unit":"By","gauge":{"dataPoints":[{"timeUnixNano":"2000000000","asInt":"7","attributes":[{"key":"jvm.pool","value":{"stringValue":"heap"}}]},
				{"timeUnixNano":"1000000000","asDouble":6.5,"attributes":[{"key":"jvm.pool","value":{"stringValue":"heap"}}]}]}}`,
			want: []string{`{__name__="jvm_memory_used_bytes", jvm_pool="heap"} created=0 6.5@1000 7@2000`},
		},
		{
			name: "counter that began anew in between",
			metric: `{"name":"hits","sum":{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[
				{"startTimeUnixNano":"1000000000","timeUnixNano":"2000000000","asInt":"5"},
				{"startTimeUnixNano":"1000000000","timeUnixNano":"3000000000","asInt":"6"},
				{"startTimeUnixNano":"4000000000","timeUnixNano":"5000000000","asInt":"1"}]}}`,
			want: []string{`{__name__="hits_total"} created=1000 5@2000 6@3000`, `{__name__="hits_total"} created=4000 1@5000`},
		},
		{
			name: "up and down", metric: `{"name":"queue.length","sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"2000000000","asInt":"-5"}]}}`,
			want: []string{`{__name__="queue_length"} created=0 -5@2000`},
		},
		{
			name: "classic histogram with exemplars out of order",
			metric: `{"name":"d","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[{"startTimeUnixNano":"1000000000","timeUnixNano":"2000000000","count":"3","sum":7,
				"explicitBounds":[1,5],"bucketCounts":["1","1","1"],"exemplars":[
				{"timeUnixNano":"1500000000","asDouble":4,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"},
				{"timeUnixNano":"1600000000","asInt":"1"},{"timeUnixNano":"1600000000"}]}]}}`,
			want: []string{
				`{__name__="d_seconds_bucket", le="+Inf"} created=1000 3@2000`,
				`{__name__="d_seconds_bucket", le="1"} created=1000 1@2000 # {} 1@1600`,
				`{__name__="d_seconds_bucket", le="5"} created=1000 2@2000 # {span_id="eee19b7ec3c1b174", trace_id="5b8efff798038103d269b633813fc60c"} 4@1500`,
				`{__name__="d_seconds_count"} created=1000 3@2000`, `{__name__="d_seconds_sum"} created=1000 7@2000`,
			},
		},
		{
			name: "exponential histogram",
			metric: `{"name":"d","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"startTimeUnixNano":"1000000000","timeUnixNano":"2000000000","count":"6","sum":9,
				"scale":0,"zeroCount":"1","positive":{"offset":0,"bucketCounts":["2","0","3"]},"negative":{"offset":-1,"bucketCounts":[]}}]}}`,
			want: []string{`{__name__="d"} created=1000 scale=0 {count:6, sum:9, [-1e-128,1e-128]:1, (1,2]:2, (4,8]:3}@2000`},
		},
		{
			name: "exponential histogram finer than Prometheus knows, beginning with nothing",
			metric: `{"name":"d","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"2000000000","count":"7","sum":9,
				"scale":9,"positive":{"offset":0,"bucketCounts":["0","0","3","4"]}}]}}`,
			// Buckets 2 and 3 at scale 9 are bucket 1 at scale 8: (2^(1/256), 2^(2/256)].
			want: []string{`{__name__="d"} created=0 scale=8 {count:7, sum:9, (1.0027112750502025,1.0054299011128027]:7}@2000`},
		},
		{
			name: "summary",
			metric: `{"name":"s","unit":"ms","summary":{"dataPoints":[{"startTimeUnixNano":"1000000000","timeUnixNano":"2000000000","count":"4","sum":8,
				"quantileValues":[{"quantile":0.5,"value":2},{"quantile":0.99,"value":3}]}]}}`,
			want: []string{
				`{__name__="s_milliseconds", quantile="0.5"} created=1000 2@2000`, `{__name__="s_milliseconds", quantile="0.99"} created=1000 3@2000`,
				`{__name__="s_milliseconds_count"} created=1000 4@2000`, `{__name__="s_milliseconds_sum"} created=1000 8@2000`,
			},
		},
		{
			name: "no recorded value",
			metric: `{"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"2000000000","flags":1}]}},
				{"name":"e","exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"2000000000","flags":1}]}},
				{"name":"c","sum":{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"2000000000","flags":1}]}}`,
			want: []string{`{__name__="c_total"} created=0 stale@2000`, `{__name__="e"} created=0 stale@2000`, `{__name__="g"} created=0 stale@2000`},
		},
		{
			name: "bad points beside a good one",
			metric: `{"name":"g","gauge":{"dataPoints":[{"asInt":"1"},{"timeUnixNano":"2000000000"},{"timeUnixNano":"18000000000000000000","asInt":"1"},
				{"timeUnixNano":"2000000000","asInt":"1","attributes":[{"key":"","value":{"stringValue":"x"}}]},{"timeUnixNano":"2000000000","asInt":"1"}]}}`,
			want:     []string{`{__name__="g"} created=0 1@2000`},
			rejected: "4",
			why:      `in_the_future: 1, invalid_label: 1, no_time: 1, no_value: 1; first: resource_metrics[0].scope_metrics[0].metrics[0] "g": a point without a time`,
		},
		{
			name: "bad metrics",
			metric: `{"name":"","gauge":{"dataPoints":[{"timeUnixNano":"2000000000","asInt":"1"}]}},
				{"name":"t","sum":{"dataPoints":[{"timeUnixNano":"2000000000","asInt":"1"}]}},
				{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"2000000000","explicitBounds":[1],"bucketCounts":["1"]},
					{"timeUnixNano":"2000000000","explicitBounds":[2,1],"bucketCounts":["1","1","1"]}]}},
				{"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"2000000000","scale":-5},
					{"timeUnixNano":"2000000000","scale":1,"positive":{"offset":2147483647,"bucketCounts":["1"]}}]}},
				{"name":"empty","gauge":{}},{"name":"none"}`,
			rejected: "6",
			why: `invalid_histogram: 4, invalid_name: 1, no_temporality: 1; first: resource_metrics[0].scope_metrics[0].metrics[0] "": ` +
				`normalization for metric "" resulted in empty name`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sink{}
			series, rejected, why := sendMetrics(t, otlp.New(otlp.Options{Sink: s}).Handler(), s, c.metric)
			if diff := cmp.Diff(c.want, show(series)); diff != "" {
				t.Errorf("series (-want +got):\n%s", diff)
			}
			if rejected != c.rejected || why != c.why {
				t.Errorf("rejected %q %q, want %q %q", rejected, why, c.rejected, c.why)
			}
			for _, x := range series {
				for _, h := range x.Histograms {
					if !value.IsStaleNaN(h.Int.Sum) && h.Int.Validate() != nil {
						t.Errorf("%s: %v", x.Labels, h.Int.Validate())
					}
				}
			}
		})
	}
}

func TestResourceBecomesLabelsAndTargetInfo(t *testing.T) {
	s := &sink{}
	attr := func(k, v string) string { return fmt.Sprintf(`{"key":%q,"value":{"stringValue":%q}}`, k, v) }
	attrs := strings.Join([]string{
		attr("service.name", "cart"), attr("service.namespace", "web"), attr("service.instance.id", "i1"), attr("service.version", "1.2"),
		attr("host.name", "h"), attr("container.id", "c"), attr("k8s.pod.name", "p"), attr("k8s.namespace.name", "n"),
		attr("deployment.environment.name", "prod"), `{"key":"process.pid","value":{"intValue":"42"}}`, attr("os.type", "linux"),
		attr("process.command_line", strings.Repeat("x", 10_000)), attr("___", "no label"),
	}, ",")
	series, rejected, why := sendRaw(t, otlp.New(otlp.Options{Sink: s}).Handler(), s, `{"resourceMetrics":[{"resource":{"attributes":[`+attrs+
		`]},"scopeMetrics":[{"metrics":[{"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"1000000","asInt":"1"},{"timeUnixNano":"1000000000000000000","asInt":"1"}]}}]}]}]}`)
	if rejected != "" {
		t.Errorf("rejected %s: %s", rejected, why)
	}
	if len(series) != 2 {
		t.Fatalf("%d series", len(series))
	}
	want := `{__name__="g", container_id="c", deployment_environment_name="prod", host_name="h", instance="i1", job="web/cart", ` +
		`k8s_namespace_name="n", k8s_pod_name="p", process_pid="42", service_instance_id="i1", service_name="cart", service_namespace="web", service_version="1.2"}`
	if got := series[0].Labels.String(); got != want {
		t.Errorf("labels\n%s, want\n%s", got, want)
	}
	if got := series[1].Labels.Get("__name__") + " " + series[1].Labels.Get("os_type"); got != "target_info linux" {
		t.Errorf("info %q", got)
	}
	// The two points lie thirty years apart.
	if n := len(series[1].Samples); n > 1000 {
		t.Errorf("%d samples of target_info", n)
	}
}

func delta(kind, point string) string {
	return fmt.Sprintf(`{"name":"d",%q:{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[%s]}}`, kind, point)
}

func TestDeltasAreSummedUp(t *testing.T) {
	number := func(start, at int, v string) string {
		return fmt.Sprintf(`{"startTimeUnixNano":"%d000000000","timeUnixNano":"%d000000000",%s}`, start, at, v)
	}
	hist := func(start, at int, bounds, counts, count, sum string) string {
		return number(start, at, fmt.Sprintf(`"explicitBounds":[%s],"bucketCounts":[%s],"count":"%s","sum":%s,"min":1,"max":2`, bounds, counts, count, sum))
	}
	exp := func(start, at, scale, offset int, counts, count, sum string) string {
		return number(start, at, fmt.Sprintf(`"scale":%d,"zeroCount":"1","positive":{"offset":%d,"bucketCounts":[%s]},"negative":{"offset":%d,"bucketCounts":[%s]},"count":"%s","sum":%s`, scale, offset, counts, offset, counts, count, sum))
	}
	for _, c := range []struct {
		name, kind string
		points     []string
		want       string // of the last, without its name
		rejected   string // of the last
	}{
		{name: "counter", kind: "sum", points: []string{number(1, 2, `"asInt":"5"`), number(2, 3, `"asInt":"6"`)}, want: `} created=1000 11@3000`},
		{name: "counter of both kinds", kind: "sum", points: []string{number(1, 2, `"asInt":"5"`), number(2, 3, `"asDouble":0.5`)}, want: `} created=1000 5.5@3000`},
		{name: "several at once", kind: "sum", points: []string{number(1, 2, `"asInt":"5"`), number(2, 3, `"asInt":"6"`) + "," + number(3, 4, `"asInt":"1"`)}, want: `} created=1000 11@3000 12@4000`},
		{name: "lost on the way", kind: "sum", points: []string{number(1, 2, `"asInt":"5"`), number(60, 61, `"asInt":"6"`)}, want: `} created=1000 11@61000`},
		{name: "sent again", kind: "sum", points: []string{number(1, 2, `"asInt":"5"`), number(2, 3, `"asInt":"6"`), number(2, 3, `"asInt":"6"`)}, want: `} created=1000 11@3000`},
		{name: "older", kind: "sum", points: []string{number(2, 3, `"asInt":"5"`), number(1, 2, `"asInt":"6"`)}, rejected: "out_of_order"},
		{name: "negative", kind: "sum", points: []string{number(1, 2, `"asInt":"-5"`)}, rejected: "invalid_delta"},
		{name: "not a number", kind: "sum", points: []string{number(1, 2, `"asDouble":"NaN"`)}, rejected: "invalid_delta"},
		{name: "without a start", kind: "sum", points: []string{`{"timeUnixNano":"2000000000","asInt":"1"}`}, want: `} created=1999 1@2000`},
		{name: "histogram", kind: "histogram", points: []string{hist(1, 2, "1,5", `"1","0","2"`, "3", "9"), hist(2, 3, "1,5", `"0","4","1"`, "5", "3.5")},
			want: `_bucket, le="+Inf"} created=1000 8@3000
_bucket, le="1"} created=1000 1@3000
_bucket, le="5"} created=1000 5@3000
_count} created=1000 8@3000
_sum} created=1000 12.5@3000`},
		{name: "histogram of other bounds", kind: "histogram", points: []string{hist(1, 2, "1", `"1","0"`, "1", "9"), hist(2, 3, "2", `"0","4"`, "4", "3")},
			want: `_bucket, le="+Inf"} created=2000 4@3000
_bucket, le="2"} created=2000 0@3000
_count} created=2000 4@3000
_sum} created=2000 3@3000`},
		{name: "exponential", kind: "exponentialHistogram", points: []string{exp(1, 2, 0, 0, `"1","2"`, "7", "1"), exp(2, 3, 0, 1, `"4","0","1"`, "11", "2")},
			want: `} created=1000 scale=0 {count:18, sum:3, [-16,-8):1, [-4,-2):6, [-2,-1):1, [-1e-128,1e-128]:2, (1,2]:1, (2,4]:6, (8,16]:1}@3000`},
		{name: "exponential of other scales", kind: "exponentialHistogram", points: []string{exp(1, 2, 1, -2, `"1","2","3","4"`, "21", "1"), exp(2, 3, 0, -1, `"10","20"`, "61", "2")},
			// At scale 0: buckets -1 (1/2,1] of 1+2 and 0 (1,2] of 3+4, to which 10 and 20 come.
			want: `} created=1000 scale=0 {count:82, sum:3, [-2,-1):27, [-1,-0.5):13, [-1e-128,1e-128]:2, (0.5,1]:13, (1,2]:27}@3000`},
		{name: "exponential to coarser", kind: "exponentialHistogram", points: []string{exp(1, 2, 0, -1, `"10","20"`, "61", "2"), exp(2, 3, 1, -2, `"1","2","3","4"`, "21", "1")},
			want: `} created=1000 scale=0 {count:82, sum:3, [-2,-1):27, [-1,-0.5):13, [-1e-128,1e-128]:2, (0.5,1]:13, (1,2]:27}@3000`},
		{name: "exponential far apart", kind: "exponentialHistogram", points: []string{exp(1, 2, 3, -1000, `"1"`, "3", "1"), exp(2, 3, 3, 1000, `"2"`, "5", "1")},
			// 2,001 buckets at scale 3 are 251 at scale 0.
			want: `} created=1000 scale=0 {count:8, sum:2, [-8.507059173023462e+37,-4.253529586511731e+37):2, [-4.70197740328915e-38,-2.350988701644575e-38):1, [-1e-128,1e-128]:2, (2.350988701644575e-38,4.70197740328915e-38]:1, (4.253529586511731e+37,8.507059173023462e+37]:2}@3000`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sink{}
			h := otlp.New(otlp.Options{Sink: s}).Handler()
			var series []model.Series
			var why string
			for _, p := range c.points {
				series, _, why = sendMetrics(t, h, s, delta(c.kind, p))
			}
			var lines []string
			for _, l := range show(series) {
				l = strings.NewReplacer(`{__name__="d_total"`, "", `{__name__="d_bucket"`, "_bucket", `{__name__="d_count"`, "_count", `{__name__="d_sum"`, "_sum", `{__name__="d"`, "").Replace(l)
				lines = append(lines, l)
			}
			got := strings.Join(lines, "\n")
			if c.rejected != "" {
				if !strings.HasPrefix(why, c.rejected+": 1") || len(series) != 0 {
					t.Errorf("got %q (%s), want rejected as %s", got, why, c.rejected)
				}
				return
			}
			if why != "" {
				t.Errorf("rejected: %s", why)
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			for _, x := range series {
				for _, h := range x.Histograms {
					if err := h.Int.Validate(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

func TestDeltaSeriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		h := otlp.New(otlp.Options{Sink: s, MaxDeltaSeries: 1, DeltaIdle: time.Minute}).Handler()
		point := func(name string) string {
			now := time.Now().UnixNano()
			return fmt.Sprintf(`{"name":%q,"sum":{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[{"startTimeUnixNano":"%d","timeUnixNano":"%d","asInt":"1"}]}}`, name, now-1e9, now)
		}
		sent := func(name string) (v float64, why string) {
			series, _, why := sendMetrics(t, h, s, point(name))
			if len(series) == 0 {
				return math.NaN(), why
			}
			return series[0].Samples[0].V, why
		}
		if v, _ := sent("a"); v != 1 {
			t.Errorf("first: %v", v)
		}
		if _, why := sent("b"); !strings.HasPrefix(why, "too_many_deltas: 1") {
			t.Errorf("one too many: %q", why)
		}
		time.Sleep(time.Minute - time.Nanosecond)
		if v, _ := sent("a"); v != 2 {
			t.Errorf("just before it is idle: %v, want 2", v)
		}
		time.Sleep(time.Minute)
		if v, _ := sent("b"); v != 1 {
			t.Errorf("room again: %v, want 1", v)
		}
		time.Sleep(time.Minute)
		if v, _ := sent("a"); v != 1 {
			t.Errorf("started anew: %v, want 1", v)
		}
	})
}

// Tenants may have series of the same name.
func TestDeltasOfTenantsAreApart(t *testing.T) {
	s := &sink{}
	h := otlp.New(otlp.Options{Sink: s}).Handler()
	body := `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[` + delta("sum", `{"startTimeUnixNano":"1","timeUnixNano":"%d","asInt":"1"}`) + `]}]}]}`
	for i, tenant := range []string{"a", "b"} {
		r := httptest.NewRequest("POST", "/v1/metrics", strings.NewReader(fmt.Sprintf(body, 2+i)))
		r.Header.Set("Content-Type", jsonType)
		r.Header.Set("X-Scope-OrgID", tenant)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	for _, b := range s.batches {
		if v := b.Series[0].Samples[0].V; v != 1 {
			t.Errorf("tenant %s: %v, want 1", b.Tenant, v)
		}
	}
}

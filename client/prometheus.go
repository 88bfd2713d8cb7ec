package client

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Result is the answer to a PromQL query.
type Result struct {
	// Type is Prometheus' ("vector", "matrix", "scalar" or "string").
	Type string
	// Series has one entry a label set. A scalar or string is one without labels; a vector's have one point each.
	Series []Series
	// Text is the answer of type "string".
	Text            string
	Warnings, Infos []string
}

// Series is points of one label set in order of time. The metric's name is the label __name__.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is one value. A native histogram has its Sum as Value and is told by Histogram.
type Point struct {
	At        time.Time
	Value     float64
	Histogram *Histogram
}

// Histogram is a native histogram as the Prometheus API gives it.
type Histogram struct {
	Count, Sum float64
	Buckets    []Bucket
}

// Bucket is one bucket that is not empty.
type Bucket struct {
	// Boundaries is Prometheus' code of which ends are included: 0 the upper, 1 the lower, 2 none, 3 both.
	Boundaries          int
	Lower, Upper, Count float64
}

// Query evaluates PromQL at a time; the zero time is now.
func (c *Client) Query(ctx context.Context, promql string, at time.Time) (Result, error) {
	p := params{}.text("query", promql).time("time", at)
	return c.prometheus(ctx, "/prometheus/api/v1/query", url.Values(p))
}

// QueryRange evaluates PromQL from one time to another, both included, every step.
func (c *Client) QueryRange(ctx context.Context, promql string, from, to time.Time, step time.Duration) (Result, error) {
	p := params{}.text("query", promql).time("start", from).time("end", to).
		text("step", strconv.FormatFloat(step.Seconds(), 'f', -1, 64))
	return c.prometheus(ctx, "/prometheus/api/v1/query_range", url.Values(p))
}

// prometheus posts, because queries can be longer than a URL may be.
func (c *Client) prometheus(ctx context.Context, path string, form url.Values) (Result, error) {
	out, err := call[struct {
		Data struct {
			ResultType string          `json:"resultType"`
			Result     json.RawMessage `json:"result"`
		} `json:"data"`
		Warnings []string `json:"warnings"`
		Infos    []string `json:"infos"`
	}](ctx, c, request{method: http.MethodPost, path: path, form: form})
	if err != nil {
		return Result{}, err
	}
	r := Result{Type: out.Data.ResultType, Warnings: out.Warnings, Infos: out.Infos}
	if err := r.decode(out.Data.Result); err != nil {
		return Result{}, fmt.Errorf("read the %s that answers the query: %w", r.Type, err)
	}
	return r, nil
}

func (r *Result) decode(data json.RawMessage) error {
	switch r.Type {
	case "scalar":
		var p floatPoint
		if err := json.Unmarshal(data, &p); err != nil {
			return err
		}
		r.Series = []Series{{Labels: map[string]string{}, Points: []Point{Point(p)}}}
		return nil
	case "string":
		var pair [2]any
		if err := json.Unmarshal(data, &pair); err != nil {
			return err
		}
		r.Text, _ = pair[1].(string)
		return nil
	}
	var rows []struct {
		Metric     map[string]string `json:"metric"`
		Value      *floatPoint       `json:"value"`
		Values     []floatPoint      `json:"values"`
		Histogram  *histogramPoint   `json:"histogram"`
		Histograms []histogramPoint  `json:"histograms"`
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		return err
	}
	for _, row := range rows {
		s := Series{Labels: row.Metric}
		if row.Value != nil {
			s.Points = append(s.Points, Point(*row.Value))
		}
		for _, p := range row.Values {
			s.Points = append(s.Points, Point(p))
		}
		if row.Histogram != nil {
			s.Points = append(s.Points, Point(*row.Histogram))
		}
		for _, p := range row.Histograms {
			s.Points = append(s.Points, Point(p))
		}
		r.Series = append(r.Series, s)
	}
	return nil
}

// MarshalJSON gives the point as the Prometheus API does: seconds, and the value as text, because JSON has no NaN.
func (p Point) MarshalJSON() ([]byte, error) {
	return json.Marshal([2]any{json.Number(seconds(p.At)), strconv.FormatFloat(p.Value, 'g', -1, 64)})
}

// seconds writes milliseconds as a fraction, which is all the resolution there is.
func seconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1e3, 'f', -1, 64)
}

type floatPoint Point

func (p *floatPoint) UnmarshalJSON(b []byte) error {
	var at, value json.RawMessage
	if err := json.Unmarshal(b, &[]any{&at, &value}); err != nil {
		return err
	}
	t, err := pointTime(at)
	if err != nil {
		return err
	}
	p.At = t
	p.Value, err = quoted(value)
	return err
}

type histogramPoint Point

func (p *histogramPoint) UnmarshalJSON(b []byte) error {
	var at json.RawMessage
	var h struct {
		Count, Sum json.RawMessage
		Buckets    [][]json.RawMessage
	}
	err := json.Unmarshal(b, &[]any{&at, &h})
	if err != nil {
		return err
	}
	if p.At, err = pointTime(at); err != nil {
		return err
	}
	p.Histogram = &Histogram{}
	if p.Histogram.Count, err = quoted(h.Count); err != nil {
		return err
	}
	if p.Histogram.Sum, err = quoted(h.Sum); err != nil {
		return err
	}
	p.Value = p.Histogram.Sum
	for _, raw := range h.Buckets {
		if len(raw) != 4 {
			return fmt.Errorf("a bucket of %d parts, want 4", len(raw))
		}
		var bucket Bucket
		if err := json.Unmarshal(raw[0], &bucket.Boundaries); err != nil {
			return err
		}
		for i, f := range []*float64{&bucket.Lower, &bucket.Upper, &bucket.Count} {
			if *f, err = quoted(raw[i+1]); err != nil {
				return err
			}
		}
		p.Histogram.Buckets = append(p.Histogram.Buckets, bucket)
	}
	return nil
}

func pointTime(b json.RawMessage) (time.Time, error) {
	s, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %s: %w", b, err)
	}
	return time.UnixMilli(int64(math.Round(s * 1e3))).UTC(), nil
}

// quoted reads a number that stands in quotes.
func quoted(b json.RawMessage) (float64, error) {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return 0, err
	}
	return strconv.ParseFloat(s, 64)
}

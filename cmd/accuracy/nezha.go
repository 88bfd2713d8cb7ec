package main

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/spf13/cobra"

	"triage/internal/app"
	"triage/internal/model"
)

func nezha() *cobra.Command {
	var data, out string
	var history bool
	cmd := &cobra.Command{
		Use:   "nezha",
		Short: "Spans, logs and metrics of TrainTicket under faults (Yu et al., FSE 2023)",
		Long: `Spans, logs and metrics of TrainTicket under faults (Yu et al., FSE 2023).

Each folder below --data with a case.json is a case. With --history a verdict also knows what else was recorded that day
before the time it is about, with no word on how well it was then.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			p, err := create(out)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.close()) }()
			cases, err := nezhaCases(data)
			if err != nil {
				return err
			}
			for i := range cases {
				var earlier []nezhaCase
				if history {
					earlier = cases
				}
				line, err := cases[i].predict(cmd.Context(), earlier)
				if err != nil {
					return fmt.Errorf("case %s: %w", cases[i].ID, err)
				}
				if err := p.add(line); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "folder of cases")
	cmd.Flags().StringVar(&out, "out", "-", "file of predictions")
	cmd.Flags().BoolVar(&history, "history", false, "let verdicts know the earlier cases of the same day")
	_ = cmd.MarkFlagRequired("data")
	return cmd
}

// nezhaCase is a case.json and where it lies.
type nezhaCase struct {
	ID       string            `json:"case"`
	Abnormal [2]int64          `json:"abnormal_unix_ns"`
	Normal   [][2]int64        `json:"normal_unix_ns"`
	Files    map[string]string `json:"files"`
	dir, day string
}

type nezhaPrediction struct {
	Case   string       `json:"case"`
	Ranked []nezhaCause `json:"ranked"`
}

type nezhaCause struct {
	Service  string   `json:"service"`
	Resource string   `json:"resource"`
	Events   []string `json:"events,omitempty"`
}

func nezhaCases(data string) (out []nezhaCase, err error) {
	err = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "case.json" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c := nezhaCase{dir: filepath.Dir(path)}
		c.day = filepath.Dir(c.dir)
		if err := json.Unmarshal(text, &c); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	return out, nil
}

// predict feeds the case to fresh stores and writes down the verdict.
func (c *nezhaCase) predict(ctx context.Context, earlier []nezhaCase) (nezhaPrediction, error) {
	line := nezhaPrediction{Case: c.ID, Ranked: []nezhaCause{}}
	rows := newNezhaRows()
	end := c.Abnormal[1] + 1
	within := func(t, _ int64) bool { return c.Abnormal[0] <= t && t < end }
	if err := rows.both(c, "spans", "logs", within); err != nil {
		return line, err
	}
	q := app.Question{From: time.Unix(0, c.Abnormal[0]).UTC(), To: time.Unix(0, end).UTC()}
	for _, n := range c.Normal {
		q.Normal = append(q.Normal, app.Window{From: time.Unix(0, n[0]).UTC(), To: time.Unix(0, n[1]+1).UTC()})
	}
	normal := func(t, _ int64) bool {
		return slices.ContainsFunc(c.Normal, func(n [2]int64) bool { return n[0] <= t && t <= n[1] })
	}
	if err := rows.both(c, "spans_normal", "logs_normal", normal); err != nil {
		return line, err
	}
	before := func(t, end int64) bool { return max(t, end) < c.Abnormal[0] && !normal(t, end) }
	for i := range earlier {
		if earlier[i].day != c.day {
			continue
		}
		if err := rows.both(&earlier[i], "spans", "logs", before); err != nil {
			return line, err
		}
	}
	if len(earlier) > 0 && rows.first < c.Abnormal[0] {
		q.History = app.Window{From: time.Unix(0, rows.first).UTC(), To: q.From}
	}
	if f := c.Files["metrics"]; f != "" {
		if err := rows.file(filepath.Join(c.dir, f), nil, rows.metric); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return line, err
		}
	}
	store, err := app.NewCase(ctx)
	if err != nil {
		return line, err
	}
	err = rows.feed(ctx, store)
	var v model.Verdict
	if err == nil {
		v, err = store.Diagnose(ctx, q)
	}
	if err = errors.Join(err, store.Close()); err != nil {
		return line, err
	}
	for i, cause := range v.Candidates {
		r := nezhaCause{Service: cause.Entity.Name()}
		if _, to, ok := strings.Cut(r.Service, "->"); ok {
			r.Service = to
		}
		switch cause.Class {
		case model.ClassNetwork:
			r.Resource = "network"
		case model.ClassResource:
			r.Resource = "cpu"
		}
		if i == 0 && v.Why != nil {
			for _, e := range v.Evidence {
				r.Events = append(r.Events, e.Claim)
			}
		}
		line.Ranked = append(line.Ranked, r)
	}
	return line, nil
}

// nezhaRows collects what was recorded, as a collector would have sent it.
type nezhaRows struct {
	resources map[string]*model.Resource
	spans     map[[24]byte]int // by trace and span: a minute may be in the files of two cases
	batch     model.Batch
	logs      map[logKey]bool
	metrics   map[int64][]model.Series // by time, ms
	first     int64
}

type logKey struct {
	pod, text string
	at        int64
}

func newNezhaRows() *nezhaRows {
	return &nezhaRows{resources: map[string]*model.Resource{}, spans: map[[24]byte]int{}, logs: map[logKey]bool{}, metrics: map[int64][]model.Series{}, first: 1<<63 - 1}
}

// both reads a case's spans and logs of one kind; either may be absent.
func (r *nezhaRows) both(c *nezhaCase, spans, logs string, wanted func(start, end int64) bool) error {
	for _, part := range []struct {
		name string
		row  func(map[string]string, func(start, end int64) bool) error
	}{{c.Files[spans], r.span}, {c.Files[logs], r.log}} {
		if part.name == "" {
			continue
		}
		err := r.file(filepath.Join(c.dir, part.name), wanted, part.row)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// file reads a CSV file, compressed or not. wanted chooses rows by time; nil takes all.
func (r *nezhaRows) file(path string, wanted func(start, end int64) bool, row func(map[string]string, func(start, end int64) bool) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	c := csv.NewReader(in)
	c.FieldsPerRecord, c.LazyQuotes = -1, true
	head, err := c.Read()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for n := 2; ; n++ {
		fields, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		values := make(map[string]string, len(head))
		for i := range min(len(head), len(fields)) {
			values[head[i]] = fields[i]
		}
		if err := row(values, wanted); err != nil {
			return fmt.Errorf("%s: row %d: %w", path, n, err)
		}
	}
}

// resource names the service of a pod: its name without the last two parts, which Kubernetes appends.
func (r *nezhaRows) resource(pod string) *model.Resource {
	if res := r.resources[pod]; res != nil {
		return res
	}
	service := pod
	if parts := strings.Split(pod, "-"); len(parts) > 2 {
		service = strings.Join(parts[:len(parts)-2], "-")
	}
	res := &model.Resource{Service: service, Attrs: model.Attrs{
		{Key: "service.name", Value: model.String(service)}, {Key: "service.instance.id", Value: model.String(pod)}, {Key: "host.name", Value: model.String(pod)},
	}}
	r.resources[pod] = res
	return res
}

func (r *nezhaRows) span(row map[string]string, wanted func(start, end int64) bool) error {
	start, err := strconv.ParseInt(row["StartTimeUnixNano"], 10, 64)
	if err != nil {
		return err
	}
	end, err := strconv.ParseInt(row["EndTimeUnixNano"], 10, 64)
	if err != nil {
		return err
	}
	if !wanted(start, end) {
		return nil
	}
	s := model.Span{Name: row["OperationName"], Kind: model.SpanInternal, Start: start, Duration: max(0, end-start), Resource: r.resource(row["PodName"])}
	readID(s.TraceID[:], row["TraceID"])
	readID(s.SpanID[:], row["SpanID"])
	readID(s.ParentID[:], row["ParentID"]) // "root" is no ID
	var key [24]byte
	copy(key[:16], s.TraceID[:])
	copy(key[16:], s.SpanID[:])
	if _, ok := r.spans[key]; ok {
		return nil
	}
	r.spans[key] = len(r.batch.Spans)
	r.batch.Spans = append(r.batch.Spans, s)
	r.first = min(r.first, start)
	return nil
}

func readID(dst []byte, text string) {
	if b, err := hex.DecodeString(text); err == nil && len(b) == len(dst) {
		copy(dst, b)
	}
}

func (r *nezhaRows) log(row map[string]string, wanted func(start, end int64) bool) error {
	at, err := strconv.ParseInt(row["TimeUnixNano"], 10, 64)
	if err != nil {
		return err
	}
	if !wanted(at, at) {
		return nil
	}
	text := row["Log"]
	var line struct{ Log string } // as a container runtime wraps it
	if json.Unmarshal([]byte(text), &line) == nil && line.Log != "" {
		text = line.Log
	}
	text = strings.TrimRight(text, "\r\n")
	key := logKey{row["PodName"], text, at}
	if r.logs[key] {
		return nil
	}
	r.logs[key] = true
	l := model.LogRecord{Time: at, Observed: at, Body: model.String(text), Resource: r.resource(row["PodName"])}
	readID(l.TraceID[:], row["TraceID"])
	readID(l.SpanID[:], row["SpanID"])
	r.batch.Logs = append(r.batch.Logs, l)
	return nil
}

// metric takes the pod's processor: the part of its limit in use.
func (r *nezhaRows) metric(row map[string]string, _ func(start, end int64) bool) error {
	at, err := strconv.ParseInt(row["TimeStamp"], 10, 64)
	if err != nil {
		return err
	}
	v, err := strconv.ParseFloat(row["CpuUsageRate(%)"], 64)
	if err != nil {
		return nil // nothing was measured
	}
	pod := row["PodName"]
	r.metrics[at*1000] = append(r.metrics[at*1000], model.Series{
		Labels: labels.FromStrings("__name__", "k8s_pod_cpu_limit_utilization", "service_name", r.resource(pod).Service, "k8s_pod_name", pod),
		Type:   "gauge", Samples: []model.Sample{{T: at * 1000, V: v / 100}},
	})
	return nil
}

// feed sends everything in order of time. Kinds and statuses that the recording has no column for are set as the tracer
// that made it would have: work that came from another pod is a server's, or a consumer's where it is named so, and the
// span by which the framework answers with an error page marks a failure.
func (r *nezhaRows) feed(ctx context.Context, c *app.Case) error {
	spans := r.batch.Spans
	at := func(s *model.Span, id model.SpanID) *model.Span {
		var key [24]byte
		copy(key[:16], s.TraceID[:])
		copy(key[16:], id[:])
		if i, ok := r.spans[key]; ok {
			return &spans[i]
		}
		return nil
	}
	for i := range spans {
		s := &spans[i]
		p := at(s, s.ParentID)
		switch {
		case s.ParentID.IsZero():
			s.Kind = model.SpanServer
		case p != nil && p.Service() != s.Service():
			s.Kind, p.Kind = model.SpanServer, model.SpanClient
			if strings.HasSuffix(p.Name, " send") {
				s.Kind, p.Kind = model.SpanConsumer, model.SpanProducer
			}
		}
	}
	for i := range spans {
		s := &spans[i]
		if s.Name != "BasicErrorController.error" {
			continue
		}
		for p := s; p != nil && p.Service() == s.Service(); p = at(p, p.ParentID) {
			p.Status = model.StatusError
			if p.Kind.Entry() {
				break
			}
		}
	}
	slices.SortStableFunc(spans, func(a, b model.Span) int { return cmp.Compare(a.Start, b.Start) })
	slices.SortStableFunc(r.batch.Logs, func(a, b model.LogRecord) int { return cmp.Compare(a.Time, b.Time) })
	const chunk = 5000
	for part := range slices.Chunk(spans, chunk) {
		if err := c.Accept(ctx, &model.Batch{Source: "nezha", Spans: part}); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(r.batch.Logs, chunk) {
		if err := c.Accept(ctx, &model.Batch{Source: "nezha", Logs: part}); err != nil {
			return err
		}
	}
	for _, t := range slices.Sorted(maps.Keys(r.metrics)) {
		if err := c.Accept(ctx, &model.Batch{Source: "nezha", Series: r.metrics[t]}); err != nil {
			return err
		}
	}
	return nil
}

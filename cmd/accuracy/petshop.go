package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// petshopStep is the length of a period of the recordings.
const petshopStep = 5 * time.Minute

func petshop() *cobra.Command {
	var data, noissue, out string
	cmd := &cobra.Command{
		Use:   "petshop",
		Short: "Metrics and a call graph of the PetShop application (Hardt et al., CLeaR 2024)",
		Long: `Metrics and a call graph of the PetShop application (Hardt et al., CLeaR 2024).

Each folder below --data with an alarm.json is a case. Each folder of --noissue is the normal time of the scenario of that
name. The last line on the standard output is the share of normal windows on which no cause was named.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			p, err := create(out)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.close()) }()
			set := petshopSet{data: data, noissue: noissue}
			if err := set.cases(cmd.Context(), p); err != nil {
				return err
			}
			if noissue == "" {
				return nil
			}
			silent, all, err := set.silence(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "noissue_silent %.4f (%d/%d)\n", float64(silent)/float64(max(1, all)), silent, all)
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "folder of cases")
	cmd.Flags().StringVar(&noissue, "noissue", "", "folder of normal times, one a scenario")
	cmd.Flags().StringVar(&out, "out", "-", "file of predictions")
	_ = cmd.MarkFlagRequired("data")
	return cmd
}

type petshopSet struct{ data, noissue string }

// petshopAlarm is what alarm.json tells.
type petshopAlarm struct {
	Case   string `json:"case"`
	Target struct {
		Node      string `json:"node"`
		Metric    string `json:"metric"`
		Timestamp int64  `json:"timestamp"`
	} `json:"target"`
}

type petshopPrediction struct {
	Case   string   `json:"case"`
	Ranked []string `json:"ranked"`
}

func (s *petshopSet) cases(ctx context.Context, p *predictions) error {
	type found struct {
		dir   string
		alarm petshopAlarm
		rows  []period
	}
	var all []found
	err := filepath.WalkDir(s.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "alarm.json" {
			return err
		}
		f := found{dir: filepath.Dir(path)}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &f.alarm); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f.rows, err = readPeriods(filepath.Join(f.dir, "metrics.csv"))
		all = append(all, f)
		return err
	})
	if err != nil {
		return fmt.Errorf("read cases: %w", err)
	}
	for _, f := range all {
		scenario, _, _ := strings.Cut(f.alarm.Case, "/")
		normal, err := s.normal(scenario)
		if errors.Is(err, fs.ErrNotExist) {
			// Without a normal time the first two periods of every case of the scenario serve as such.
			normal, err = nil, nil
			for _, other := range all {
				if name, _, _ := strings.Cut(other.alarm.Case, "/"); name == scenario {
					normal = append(normal, other.rows[:min(2, len(other.rows))])
				}
			}
		}
		if err != nil {
			return err
		}
		g, err := readGraph(filepath.Join(filepath.Dir(f.dir), "graph.csv"))
		if err != nil {
			return err
		}
		c, err := load(ctx, append(slices.Clone(normal), f.rows), g)
		if err != nil {
			return fmt.Errorf("case %s: %w", f.alarm.Case, err)
		}
		v, err := ask(ctx, c, f.alarm, f.rows, normal)
		if err = errors.Join(err, c.Close()); err != nil {
			return fmt.Errorf("case %s: %w", f.alarm.Case, err)
		}
		line := petshopPrediction{Case: f.alarm.Case, Ranked: []string{}}
		if v.Why != nil {
			for _, cause := range v.Candidates {
				if name := cause.Entity.Name(); !slices.Contains(line.Ranked, name) {
					line.Ranked = append(line.Ranked, name)
				}
			}
		}
		if err := p.add(line); err != nil {
			return err
		}
	}
	return nil
}

func (s *petshopSet) normal(scenario string) ([][]period, error) {
	if s.noissue == "" {
		return nil, fs.ErrNotExist
	}
	rows, err := readPeriods(filepath.Join(s.noissue, scenario, "metrics.csv"))
	return [][]period{rows}, err
}

// silence asks about every five consecutive periods of normal time, as if an alarm had rung in the second.
func (s *petshopSet) silence(ctx context.Context) (silent, all int, err error) {
	scenarios, err := os.ReadDir(s.noissue)
	if err != nil {
		return 0, 0, fmt.Errorf("read normal times: %w", err)
	}
	for _, d := range scenarios {
		rows, err := readPeriods(filepath.Join(s.noissue, d.Name(), "metrics.csv"))
		if err != nil {
			return silent, all, err
		}
		g, err := s.anyGraph(d.Name())
		if err != nil {
			return silent, all, err
		}
		c, err := load(ctx, [][]period{rows}, g)
		if err != nil {
			return silent, all, fmt.Errorf("normal time %s: %w", d.Name(), err)
		}
		for i := range len(rows) - 4 {
			for _, metric := range []string{"latency", "availability"} {
				a := petshopAlarm{Case: d.Name()}
				a.Target.Node, a.Target.Metric = "PetSite", metric
				a.Target.Timestamp = rows[i+1].start.Add(petshopStep / 2).Unix()
				v, err := ask(ctx, c, a, rows[i:i+5], [][]period{rows})
				if err != nil {
					return silent, all, errors.Join(fmt.Errorf("normal time %s, %s at %d: %w", d.Name(), metric, a.Target.Timestamp, err), c.Close())
				}
				all++
				if v.Why == nil {
					silent++
				}
			}
		}
		if err := c.Close(); err != nil {
			return silent, all, err
		}
	}
	return silent, all, nil
}

// anyGraph is the call graph of a scenario: that of any of its cases.
func (s *petshopSet) anyGraph(scenario string) (map[[2]string]bool, error) {
	var path string
	err := filepath.WalkDir(s.data, func(p string, d fs.DirEntry, err error) error {
		if err == nil && path == "" && d.Name() == "graph.csv" && filepath.Base(filepath.Dir(p)) == scenario {
			path = p
		}
		return err
	})
	if err == nil && path == "" {
		err = fmt.Errorf("no graph.csv of scenario %s in %s", scenario, s.data)
	}
	if err != nil {
		return nil, err
	}
	return readGraph(path)
}

func ask(ctx context.Context, c *app.Case, a petshopAlarm, rows []period, normal [][]period) (model.Verdict, error) {
	at := time.Unix(a.Target.Timestamp, 0).UTC()
	signal := model.SignalDuration
	if a.Target.Metric == "availability" {
		signal = model.SignalErrors
	}
	q := app.Question{Step: petshopStep, To: rows[len(rows)-1].start.Add(petshopStep), Incident: &model.Incident{
		ID: a.Case, OpenedAt: at, Onset: at,
		Alarms: []model.Alarm{{ID: a.Case, Rule: a.Target.Metric, State: model.StateAlarm, Since: at, Onset: at, Signal: signal, Service: a.Target.Node}},
	}}
	for _, n := range normal {
		if len(n) > 0 {
			q.Normal = append(q.Normal, app.Window{From: n[0].start, To: n[len(n)-1].start.Add(petshopStep)})
		}
	}
	return c.Diagnose(ctx, q)
}

// period is one row: what each node did in five minutes.
type period struct {
	start time.Time
	nodes map[string]nodeRow
}

// nodeRow is one node's numbers; NaN-free: known says which were given.
type nodeRow struct {
	requests, latency, availability float64
	hasLatency, hasAvailability     bool
}

// readPeriods reads a metrics.csv: three rows of heads (node, metric, statistic), a row with the name of the time, then
// rows of numbers.
func readPeriods(path string) ([]period, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	var heads [][]string
	var out []period
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(heads) < 3 {
			heads = append(heads, row)
			continue
		}
		at, err := strconv.ParseFloat(row[0], 64)
		if err != nil {
			continue // the line that names the column of times
		}
		p := period{start: time.Unix(int64(at), 0).UTC(), nodes: map[string]nodeRow{}}
		for i := 1; i < len(row) && i < len(heads[0]) && i < len(heads[1]) && i < len(heads[2]); i++ {
			v, err := strconv.ParseFloat(row[i], 64)
			if err != nil || v != v {
				continue // nothing was measured
			}
			n := p.nodes[heads[0][i]]
			switch heads[1][i] + " " + heads[2][i] {
			case "requests Sum":
				n.requests = v
			case "latency Average":
				n.latency, n.hasLatency = v, true
			case "availability Average":
				n.availability, n.hasAvailability = v, true
			default:
				continue
			}
			p.nodes[heads[0][i]] = n
		}
		out = append(out, p)
	}
}

// readGraph reads an adjacency matrix in which a row calls a column.
func readGraph(path string) (map[[2]string]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read call graph: %w", err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := map[[2]string]bool{}
	for _, row := range rows[min(1, len(rows)):] {
		for i, cell := range row[1:] {
			if v, err := strconv.ParseFloat(cell, 64); err == nil && v != 0 {
				out[[2]string{row[0], rows[0][i+1]}] = true
			}
		}
	}
	return out, nil
}

// counters are what a sender of span metrics would have counted.
type counters struct{ good, failed, times, seconds float64 }

// load feeds stretches of periods and a call graph to a fresh case as counters, in order of time.
func load(ctx context.Context, stretches [][]period, graph map[[2]string]bool) (*app.Case, error) {
	c, err := app.NewCase(ctx)
	if err != nil {
		return nil, err
	}
	byTime := map[int64]period{}
	for _, rows := range stretches {
		for _, p := range rows {
			byTime[p.start.UnixMilli()] = p
		}
	}
	times := make([]int64, 0, len(byTime))
	for t := range byTime {
		times = append(times, t)
	}
	slices.Sort(times)
	step := petshopStep.Milliseconds()
	sums := map[string]counters{}
	for node := range nodesOf(stretches) {
		sums[node] = counters{}
	}
	for i, t := range times {
		if i == 0 || times[i-1]+step != t {
			// What the counters were at is known only where the period before was recorded too.
			if err := c.Accept(ctx, &model.Batch{Source: "petshop", Series: seriesAt(t, sums, graph)}); err != nil {
				return nil, errors.Join(err, c.Close())
			}
		}
		for node, n := range byTime[t].nodes {
			s := sums[node]
			if n.hasAvailability {
				failed := n.requests * (1 - n.availability/100)
				s.failed += failed
				s.good += n.requests - failed
			}
			if n.hasLatency {
				s.times += n.requests
				s.seconds += n.requests * n.latency
			}
			sums[node] = s
		}
		if err := c.Accept(ctx, &model.Batch{Source: "petshop", Series: seriesAt(t+step, sums, graph)}); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func nodesOf(stretches [][]period) map[string]bool {
	out := map[string]bool{}
	for _, rows := range stretches {
		for _, p := range rows {
			for n := range p.nodes {
				out[n] = true
			}
		}
	}
	return out
}

// seriesAt are the counters at a time, named as OpenTelemetry's span metrics and service graph name them.
func seriesAt(t int64, sums map[string]counters, graph map[[2]string]bool) (out []model.Series) {
	add := func(v float64, kv ...string) {
		out = append(out, model.Series{Labels: labels.FromStrings(kv...), Samples: []model.Sample{{T: t, V: v}}, Type: "counter"})
	}
	for node, s := range sums {
		for status, v := range map[string]float64{"STATUS_CODE_ERROR": s.failed, "STATUS_CODE_UNSET": s.good} {
			add(v, "__name__", "traces_span_metrics_calls_total", "service_name", node, "span_kind", "SPAN_KIND_SERVER", "status_code", status)
		}
		add(s.times, "__name__", "traces_span_metrics_duration_seconds_count", "service_name", node, "span_kind", "SPAN_KIND_SERVER")
		add(s.seconds, "__name__", "traces_span_metrics_duration_seconds_sum", "service_name", node, "span_kind", "SPAN_KIND_SERVER")
	}
	for e := range graph {
		kind := ""
		if strings.HasSuffix(e[1], "_remote") || strings.HasSuffix(e[1], "_client") {
			kind = "virtual_node"
		}
		add(1, "__name__", "traces_service_graph_request_total", "client", e[0], "server", e[1], "connection_type", kind)
	}
	return out
}

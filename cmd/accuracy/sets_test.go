package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// put writes a file and its folder; a name that ends in .gz is compressed.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		z := gzip.NewWriter(f)
		_, err = z.Write([]byte(text))
		if err == nil {
			err = z.Close()
		}
	} else {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run gives a subcommand's predictions, one a line, and what it printed.
func run[T any](t *testing.T, cmd *cobra.Command, args ...string) (lines []T, printed string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.jsonl")
	var told strings.Builder
	cmd.SetOut(&told)
	cmd.SetArgs(append(args, "--out", out))
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, v)
	}
	return lines, told.String()
}

// shopRows are a metrics.csv of a site that calls a cart that calls a table.
func shopRows(from int64, n int, slow func(node string, i int) float64) string {
	var b strings.Builder
	nodes := []string{"PetSite", "cart", "table"}
	for _, head := range []string{"microservice", "metric", "statistic"} {
		b.WriteString(head)
		for _, node := range nodes {
			for _, m := range [][2]string{{"latency", "Average"}, {"requests", "Sum"}, {"availability", "Average"}, {"latency", "p90"}} {
				b.WriteString("," + map[string]string{"microservice": node, "metric": m[0], "statistic": m[1]}[head])
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("unix_timestamp" + strings.Repeat(",", 12) + "\n")
	for i := range n {
		fmt.Fprintf(&b, "%d.0", from+int64(i)*300)
		for k, node := range nodes {
			latency := 0.02 * float64(3-k) * (1 + 0.02*math.Sin(float64(7*i+3*k))) // a wobble that is never twice the same
			fmt.Fprintf(&b, ",%f,600.0,100.0,9.9", latency+slow(node, i))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestPetshop(t *testing.T) {
	dir := t.TempDir()
	const normal, issue = 1_700_000_100, 1_690_000_200
	put(t, filepath.Join(dir, "normal", "low_traffic", "metrics.csv"), shopRows(normal, 20, func(string, int) float64 { return 0 }))
	put(t, filepath.Join(dir, "dev", "train", "low_traffic", "graph.csv"), ",PetSite,cart,table\nPetSite,0,1,0\ncart,0,0,1\ntable,0,0,0\n")
	slow := func(node string, i int) float64 {
		if node != "table" && (i == 2 || i == 3) {
			return 0.05
		}
		return 0
	}
	for _, name := range []string{"issue_0", "issue_1"} {
		put(t, filepath.Join(dir, "dev", "train", "low_traffic", name, "metrics.csv"), shopRows(issue, 5, slow))
		put(t, filepath.Join(dir, "dev", "train", "low_traffic", name, "alarm.json"),
			fmt.Sprintf(`{"case":"low_traffic/train/%s","target":{"node":"PetSite","metric":"latency","agg":"Average","timestamp":%d}}`, name, issue+500))
	}
	for _, noissue := range []string{filepath.Join(dir, "normal"), ""} {
		lines, printed := run[petshopPrediction](t, petshop(), "--data", filepath.Join(dir, "dev"), "--noissue", noissue)
		if len(lines) != 2 {
			t.Fatalf("%d predictions, want 2", len(lines))
		}
		for _, l := range lines {
			if len(l.Ranked) == 0 || l.Ranked[0] != "cart" {
				t.Errorf("%s: %v, want cart first", l.Case, l.Ranked)
			}
		}
		if want := "noissue_silent 1.0000 (32/32)\n"; noissue != "" && printed != want {
			t.Errorf("printed %q, want %q", printed, want)
		}
	}
}

// station is the telemetry of n requests: a gateway calls a service that logs twice and runs a query. broken requests end
// after the first line with another.
func station(from int64, n int, broken bool) (spans, logs string) {
	var s, l strings.Builder
	s.WriteString("TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n")
	l.WriteString("Timestamp,TimeUnixNano,Node,PodName,Container,TraceID,SpanID,Log\n")
	id := from / 1e9 * 100
	span := func(trace, parent, pod, name string, at, ms int64) string {
		id++
		own := fmt.Sprintf("%016x", id)
		fmt.Fprintf(&s, "%s,%s,%s,%s,%s,%d,%d,%d\n", trace, own, parent, pod, name, at, at+ms*1e6, ms*1000)
		return own
	}
	line := func(trace, span string, at int64, text string) {
		fmt.Fprintf(&l, `x,%d,n,ts-food-service-1-a,server,%s,%s,"{""log"":""%s\n"",""stream"":""stdout""}"`+"\n", at, trace, span, text)
	}
	for i := range int64(n) {
		at := from + i*1e9
		trace := fmt.Sprintf("%032x", at)
		root := span(trace, "root", "ts-gateway-service-1-a", "/*", at, 50)
		call := span(trace, root, "ts-gateway-service-1-a", "HTTP GET", at+1e6, 45)
		food := span(trace, call, "ts-food-service-1-a", "/api/foods", at+2e6, 40)
		line(trace, food, at+3e6, "17:00:00.1 INFO  f.s.FoodServiceImpl#240 got it")
		if broken {
			line(trace, food, at+4e6, "17:00:00.1 ERROR f.s.FoodServiceImpl#245 nothing there")
			continue
		}
		span(trace, food, "ts-food-service-1-a", "SELECT ts.food", at+4e6, 3)
		line(trace, food, at+8e6, "17:00:00.1 INFO  f.s.FoodServiceImpl#243 done")
	}
	return s.String(), l.String()
}

func TestNezha(t *testing.T) {
	dir := t.TempDir()
	const normal, first, second = int64(1_675_000_000e9), int64(1_675_003_600e9), int64(1_675_007_200e9)
	day := filepath.Join(dir, "2023-01-29")
	spans, logs := station(normal, 30, false)
	put(t, filepath.Join(day, "normal", "spans.csv.gz"), spans)
	put(t, filepath.Join(day, "normal", "logs.csv.gz"), logs)
	for name, at := range map[string]int64{"one": first, "two": second} {
		spans, logs := station(at, 20, true)
		put(t, filepath.Join(day, name, "spans.csv.gz"), spans)
		put(t, filepath.Join(day, name, "logs.csv.gz"), logs)
		put(t, filepath.Join(day, name, "case.json"), fmt.Sprintf(`{"case":%q,"abnormal_unix_ns":[%d,%d],"normal_unix_ns":[[%d,%d]],
			"files":{"spans":"spans.csv.gz","logs":"logs.csv.gz","spans_normal":"../normal/spans.csv.gz","logs_normal":"../normal/logs.csv.gz"}}`,
			name, at, at+20e9, normal, normal+30e9))
	}
	for _, args := range [][]string{{}, {"--history"}} {
		lines, _ := run[nezhaPrediction](t, nezha(), append(args, "--data", dir)...)
		if len(lines) != 2 {
			t.Fatalf("%v: %d predictions, want 2", args, len(lines))
		}
		for _, l := range lines {
			if len(l.Ranked) == 0 || l.Ranked[0].Service != "ts-food-service" || l.Ranked[0].Resource != "" {
				t.Fatalf("%v %s: %+v, want ts-food-service first", args, l.Case, l.Ranked)
			}
			if events := strings.Join(l.Ranked[0].Events, "\n"); !strings.Contains(events, "FoodServiceImpl#245") || !strings.Contains(events, "FoodServiceImpl#243") {
				t.Errorf("%v %s: the evidence names no place:\n%s", args, l.Case, events)
			}
		}
	}
}

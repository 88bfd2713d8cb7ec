package accuracy_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triage/bench/accuracy"
)

// write makes a file and its folder.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPetshop(t *testing.T) {
	dir := t.TempDir()
	for i, root := range []string{"cart", "pay"} {
		write(t, filepath.Join(dir, strconv.Itoa(i), "label.json"), fmt.Sprintf(
			`{"case":"low_traffic/train/issue_%d","target":{"metric":"latency"},"root_cause":{"node":%q}}`, i, root))
	}
	write(t, filepath.Join(dir, "2", "label.json"), `{"case":"temporal_traffic2/x","target":{"metric":"availability"},"root_cause":{"node":"db"}}`)
	predictions := `{"case":"low_traffic/train/issue_0","ranked":["cart","web"]}
{"case":"low_traffic/train/issue_1","ranked":["web",{"node":"pay"}]}
`
	var out strings.Builder
	got, err := accuracy.Petshop(&out, []string{dir}, strings.NewReader(predictions))
	if err != nil {
		t.Fatal(err)
	}
	want := accuracy.Figures{"cases": 3, "cases_without_answer": 1, "low/latency_top1": 0.5, "low/latency_top3": 1,
		"temporal/availability_top1": 0, "temporal/availability_top3": 0, "low+high_top1": 0.5, "low+high_top3": 1,
		"top1_recall": 1. / 3, "top3_recall": 2. / 3}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("figures, got - want +:\n%s", diff)
	}
	if !strings.HasSuffix(out.String(), "top1_recall 0.3333\n") {
		t.Errorf("the last line is not the headline:\n%s", &out)
	}
}

func TestNezha(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "label.json"), `{"case":"a","service":"food","pod":"food-1-x","fault_type":"return","inner":["F#240","F#243"],"inner_kind":"code"}`)
	write(t, filepath.Join(dir, "b", "label.json"), `{"case":"b","service":"seat","pod":"seat-1-x","fault_type":"cpu","inner":["CpuUsageRate(%)"],"inner_kind":"resource"}`)
	predictions := `{"case":"a","ranked":[{"service":"food-1-x","events":["line f#243 is new"]}]}
{"case":"b","ranked":[{"service":"web"},{"service":"web","resource":"cpu"},{"service":"seat","resource":"CPU"}]}
`
	got, err := accuracy.Nezha(&strings.Builder{}, []string{dir}, strings.NewReader(predictions))
	if err != nil {
		t.Fatal(err)
	}
	want := accuracy.Figures{"cases": 2, "cases_without_prediction": 0, "AS@1": 0.5, "AS@3": 1, "AS@5": 1, "AIS@1": 0.5, "AIS@3": 1,
		"AIS@5": 1, "AISstrict@1": 0, "AISstrict@3": 0.5}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("figures, got - want +:\n%s", diff)
	}
}

func TestLoghub(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "X", "X_2k.log_structured.csv"), "LineId,Content,EventId\n1,a,E1\n2,b,E1\n3,c,E2\n4,d,E3\n")
	predictions := `{"system":"X","line":1,"group":"g"}
{"system":"X","line":2,"group":"g"}
{"system":"X","line":3,"group":"h"}
{"system":"X","line":4,"group":"h"}
`
	got, err := accuracy.Loghub(&strings.Builder{}, dir, strings.NewReader(predictions))
	if err != nil {
		t.Fatal(err)
	}
	want := accuracy.Figures{"GA X": 0.5, "GA_mean": 0.5, "GA_least": 0.5, "pairwise_f1_mean": 2. / 3}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("figures, got - want +:\n%s", diff)
	}
}

// series writes a series of n rows, a minute apart, and a window from row a to row b; it returns the names of both files.
func series(t *testing.T, dir, name string, n int, windows ...[2]int) map[string][][2]string {
	t.Helper()
	at := func(i int) string { return fmt.Sprintf("2024-01-%02d %02d:%02d:00", 1+i/1440, i/60%24, i%60) }
	var b strings.Builder
	b.WriteString("timestamp,value\n")
	for i := range n {
		fmt.Fprintf(&b, "%s,%d\n", at(i), i)
	}
	write(t, filepath.Join(dir, name), b.String())
	out := map[string][][2]string{name: {}}
	for _, w := range windows {
		out[name] = append(out[name], [2]string{at(w[0]) + ".000000", at(w[1]) + ".000000"})
	}
	return out
}

func TestNAB(t *testing.T) {
	dir := t.TempDir()
	windows, err := json.Marshal(series(t, filepath.Join(dir, "data"), "a/b.csv", 200, [2]int{100, 119}))
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, filepath.Join(dir, "windows.json"), string(windows))
	score := func(alarms ...int) accuracy.Figures {
		scores := make([]float64, 200)
		for _, i := range alarms {
			scores[i] = 1
		}
		line, err := json.Marshal(map[string]any{"file": "a/b.csv", "scores": scores})
		if err != nil {
			t.Fatal(err)
		}
		f, err := accuracy.NAB(&strings.Builder{}, filepath.Join(dir, "data"), file, strings.NewReader(string(line)))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if got := score(100); math.Abs(got["nab_standard"]-100) > 0.1 || got["windows_detected"] != 1 || got["false_positive_rows"] != 0 {
		t.Errorf("an alarm at the window's first row: %v, want 100", got)
	}
	if early, late := score(100)["nab_standard"], score(118)["nab_standard"]; late >= early || late < 50 {
		t.Errorf("a late alarm is worth %v, an early one %v", late, early)
	}
	if got := score(100, 60)["nab_standard"]; math.Abs(got-(100-5.5)) > 0.1 {
		t.Errorf("with one false alarm: %v, want 94.5", got)
	}
	if got := score()["nab_standard"]; got != 0 {
		t.Errorf("silence is worth %v, want 0", got)
	}
	if got := score(10)["windows_detected"]; got != 0 {
		t.Errorf("an alarm while learning found %v windows, want none", got)
	}
}

// TestAgreement compares the scorers with those that the data come with, on predictions made by chance.
func TestAgreement(t *testing.T) {
	data := os.Getenv("ACCURACY_DATA")
	if data == "" {
		t.Skip("ACCURACY_DATA is not set: the original scorers and labels are not part of the project")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("the original scorers need python3:", err)
	}
	original := func(t *testing.T, script string, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), python, append([]string{filepath.Join(data, "score", script)}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	file := func(t *testing.T, lines []any) (string, string) {
		t.Helper()
		var b strings.Builder
		for _, l := range lines {
			text, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(append(text, '\n'))
		}
		return write(t, filepath.Join(t.TempDir(), "p.jsonl"), b.String()), b.String()
	}
	compare := func(t *testing.T, got, want string) {
		t.Helper()
		if diff := cmp.Diff(strings.Split(got, "\n"), strings.Split(want, "\n")); diff != "" {
			t.Errorf("ours - original +:\n%s", diff)
		}
	}
	found := func(t *testing.T, dir string) (out []map[string]any) {
		t.Helper()
		paths, err := filepath.Glob(filepath.Join(dir, "*", "*", "*", "label.json"))
		if err != nil {
			t.Fatal(err)
		}
		two, err := filepath.Glob(filepath.Join(dir, "*", "*", "label.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(paths, two...) {
			var v map[string]any
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
		return out
	}
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 7))
		t.Run(fmt.Sprintf("petshop/%d", seed), func(t *testing.T) {
			dir := filepath.Join(data, "petshop", "dev")
			var lines []any
			for _, l := range found(t, dir) {
				root := l["root_cause"].(map[string]any)["node"]
				ranked := []any{"PetSite", root, "x", map[string]any{"node": root}, "y"}[r.IntN(4):]
				if r.IntN(6) > 0 {
					lines = append(lines, map[string]any{"case": l["case"], "ranked": ranked})
				}
			}
			path, text := file(t, lines)
			var got strings.Builder
			if _, err := accuracy.Petshop(&got, []string{dir}, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			compare(t, got.String(), original(t, "petshop_score.py", "--cases", dir, path))
		})
		t.Run(fmt.Sprintf("nezha/%d", seed), func(t *testing.T) {
			dir := filepath.Join(data, "nezha-trainticket")
			var lines []any
			for _, l := range found(t, dir) {
				inner := l["inner"].([]any)
				right := map[string]any{"service": l["service"], "resource": []string{"", "cpu", "network"}[r.IntN(3)],
					"events": []any{"new", fmt.Sprint("line ", inner[r.IntN(len(inner))])}[:1+r.IntN(2)]}
				wrong := map[string]any{"service": "ts-x-service", "resource": "cpu"}
				ranked := []any{wrong, right, wrong, map[string]any{"service": l["pod"]}}
				r.Shuffle(len(ranked), func(i, j int) { ranked[i], ranked[j] = ranked[j], ranked[i] })
				if r.IntN(6) > 0 {
					lines = append(lines, map[string]any{"case": l["case"], "ranked": ranked[:r.IntN(5)]})
				}
			}
			path, text := file(t, lines)
			var got strings.Builder
			if _, err := accuracy.Nezha(&got, []string{dir}, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			compare(t, got.String(), original(t, "nezha_score.py", "--cases", dir, path))
		})
		t.Run(fmt.Sprintf("loghub/%d", seed), func(t *testing.T) {
			dir := filepath.Join(data, "loghub", "dev")
			systems, err := filepath.Glob(filepath.Join(dir, "*", "*_2k.log_structured.csv"))
			if err != nil || len(systems) == 0 {
				t.Fatal("no systems:", err)
			}
			var lines []any
			for _, path := range systems {
				name := strings.TrimSuffix(filepath.Base(path), "_2k.log_structured.csv")
				for i := range 2000 {
					if r.IntN(20) > 0 {
						lines = append(lines, map[string]any{"system": name, "line": i + 1, "group": strconv.Itoa(r.IntN(40))})
					}
				}
			}
			path, text := file(t, lines)
			var got strings.Builder
			if _, err := accuracy.Loghub(&got, dir, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			compare(t, got.String(), original(t, "loghub_score.py", "--truth", dir, path))
		})
		t.Run(fmt.Sprintf("nab/%d", seed), func(t *testing.T) {
			dir, windows := filepath.Join(data, "nab", "dev", "data"), filepath.Join(data, "nab", "dev", "combined_windows.json")
			files, err := filepath.Glob(filepath.Join(dir, "*", "*.csv"))
			if err != nil || len(files) == 0 {
				t.Fatal("no series:", err)
			}
			var lines []any
			for _, path := range files {
				name, err := filepath.Rel(dir, path)
				if err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				rows := slices.DeleteFunc(strings.Split(string(text), "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
				scores := make([]float64, len(rows)-1)
				for i := range scores {
					scores[i] = math.Round(math.Pow(r.Float64(), 30)*1000) / 1000
				}
				lines = append(lines, map[string]any{"file": name, "scores": scores})
			}
			path, text := file(t, lines)
			var got strings.Builder
			if _, err := accuracy.NAB(&got, dir, windows, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			compare(t, got.String(), original(t, "nab_score.py", "--data", dir, "--labels", windows, path))
		})
	}
}

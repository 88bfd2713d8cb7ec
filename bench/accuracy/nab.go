package accuracy

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// The weights of NAB's standard profile: of a window that is found, of a false alarm, of a window that is missed.
const (
	nabFound  = 1.0
	nabFalse  = 0.11
	nabMissed = 1.0
)

// nabPoint is one scored row: what an alarm there would be worth, and the window it lies in, "" if in none.
type nabPoint struct {
	score, worth float64
	window       string
}

// NAB scores anomaly scores as the Numenta Anomaly Benchmark v1.1 does, in its standard profile (Lavin and Ahmad, ICMLA
// 2015): one threshold for all files, the best one; of each labelled window the earliest alarm counts, by how early it is;
// false alarms cost by how far they are from the window before. 0 is silence, 100 perfect. Predictions are {"file",
// "scores"} a line; a file without one is all zeros.
func NAB(w io.Writer, dir, windowsFile string, predictions io.Reader) (Figures, error) {
	text, err := os.ReadFile(windowsFile)
	if err != nil {
		return nil, fmt.Errorf("read windows: %w", err)
	}
	var windows map[string][][2]string
	if err := json.Unmarshal(text, &windows); err != nil {
		return nil, fmt.Errorf("%s: %w", windowsFile, err)
	}
	type line struct {
		File   string    `json:"file"`
		Scores []float64 `json:"scores"`
	}
	scores := map[string][]float64{}
	if err := eachLine(predictions, func(l line) { scores[l.File] = l.Scores }); err != nil {
		return nil, err
	}
	var files []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(d.Name(), ".csv") {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if _, ok := windows[filepath.ToSlash(name)]; ok {
			files = append(files, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read series: %w", err)
	}
	slices.Sort(files)
	var points []nabPoint
	missing, labelled := 0, 0
	for _, name := range files {
		times, err := nabTimes(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		s, ok := scores[name]
		if !ok {
			s = make([]float64, len(times))
			missing++
		}
		if len(s) != len(times) {
			return nil, fmt.Errorf("%s: %d scores for %d rows", name, len(s), len(times))
		}
		swept, err := nabSweep(name, times, s, windows[name])
		if err != nil {
			return nil, err
		}
		points = append(points, swept...)
		labelled += len(windows[name])
	}
	null := 0.0
	reachable := map[string]bool{}
	for _, p := range points {
		if p.window != "" && !reachable[p.window] {
			reachable[p.window] = true
			null -= nabMissed
		}
	}
	threshold, raw, falseRows := nabBest(points)
	detected := map[string]bool{}
	for _, p := range points {
		if p.window != "" && p.score >= threshold {
			detected[p.window] = true
		}
	}
	r := newReport(w)
	r.put("files", float64(len(files)), 0, "")
	r.put("files_missing", float64(missing), 0, "")
	r.put("windows", float64(labelled), 0, "")
	r.put("windows_detected", float64(len(detected)), 0, "")
	r.put("false_positive_rows", float64(falseRows), 0, "")
	r.figures["threshold"] = threshold
	r.line(fmt.Sprintf("threshold %v", threshold))
	r.put("raw_score", raw, 4, "")
	r.put("nab_standard", 100*(raw-null)/(float64(labelled)*nabFound-null), 2, "")
	return r.figures, r.err
}

// nabTime is a time as both files and labels can be compared by.
func nabTime(t string) string {
	t = strings.TrimSpace(t)
	return strings.Replace(t[:min(len(t), 19)], "T", " ", 1)
}

func nabTimes(path string) (out []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, row := range rows[min(1, len(rows)):] {
		out = append(out, nabTime(row[0]))
	}
	return out, nil
}

// sigmoid is NAB's: 1 at the far left, 0 at 0, -1 at the far right.
func sigmoid(x float64) float64 {
	if x > 3 {
		return -1
	}
	return 2/(1+math.Exp(5*x)) - 1
}

// nabSweep says of each row after the time of learning what an alarm there would be worth.
func nabSweep(name string, times []string, scores []float64, windows [][2]string) (out []nabPoint, err error) {
	index := map[string]int{}
	for i, t := range times {
		if _, ok := index[t]; !ok {
			index[t] = i
		}
	}
	learning := min(math.Floor(0.15*float64(len(times))), 0.15*5000)
	left := windows
	var in bool
	var id, end string
	var last int
	var width float64
	previous, previousWidth := -1, 0.0
	for i, t := range times {
		if len(left) > 0 && t == nabTime(left[0][0]) {
			start, stop := nabTime(left[0][0]), nabTime(left[0][1])
			left = left[1:]
			stopAt, ok := index[stop]
			if !ok {
				return nil, fmt.Errorf("%s: window ends at %s, where there is no row", name, stop)
			}
			in, id, end, last, width = true, name+"|"+start, stop, stopAt, float64(stopAt-index[start]+1)
		}
		p := nabPoint{score: scores[i]}
		switch {
		case in:
			p.worth = sigmoid(-float64(last-i+1)/width) * nabFound / sigmoid(-1)
			p.window = id
		case previous < 0:
			p.worth = -nabFalse
		default:
			p.worth = sigmoid(math.Abs(float64(previous-i))/(previousWidth-1)) * nabFalse
		}
		if float64(i) >= learning {
			out = append(out, p)
		}
		if in && t == end {
			previous, previousWidth, in = i, width, false
		}
	}
	return out, nil
}

// nabBest finds the threshold with the best score.
func nabBest(points []nabPoint) (threshold, best float64, falseRows int) {
	sorted := slices.Clone(points)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].score > sorted[j].score })
	part := map[string]float64{}
	for _, p := range sorted {
		if p.window != "" {
			part[p.window] = -nabMissed
		}
	}
	total := 0.0
	for _, k := range slices.Sorted(maps.Keys(part)) {
		total += part[k]
	}
	threshold, best = math.Inf(1), total
	at, wrong := math.Inf(1), 0
	for _, p := range sorted {
		if p.score != at {
			if total > best {
				threshold, best, falseRows = at, total, wrong
			}
			at = p.score
		}
		if p.window == "" {
			total += p.worth
			wrong++
		} else if p.worth > part[p.window] {
			total += p.worth - part[p.window]
			part[p.window] = p.worth
		}
	}
	if total > best {
		threshold, best, falseRows = at, total, wrong
	}
	return threshold, best, falseRows
}

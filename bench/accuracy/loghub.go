package accuracy

import (
	"encoding/csv"
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
)

const loghubSuffix = "_2k.log_structured.csv"

// Loghub scores grouping accuracy as the LogPAI benchmark does (Zhu et al., ICSE-SEIP 2019): the share of lines whose group
// holds exactly the lines of their true template. A line without a prediction is a group of its own. Predictions are
// {"system", "line", "group"} a line. Besides the figures that are written, "GA_least" is that of the worst system.
func Loghub(w io.Writer, dir string, predictions io.Reader) (Figures, error) {
	truth := map[string]map[int]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(d.Name(), loghubSuffix) {
			return err
		}
		lines, err := loghubTruth(path)
		truth[strings.TrimSuffix(d.Name(), loghubSuffix)] = lines
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read templates: %w", err)
	}
	type line struct {
		System string `json:"system"`
		Line   int    `json:"line"`
		Group  any    `json:"group"`
	}
	groups := map[string]map[int]string{}
	err = eachLine(predictions, func(l line) {
		if groups[l.System] == nil {
			groups[l.System] = map[int]string{}
		}
		groups[l.System][l.Line] = fmt.Sprint(l.Group)
	})
	if err != nil {
		return nil, err
	}
	r := newReport(w)
	var accuracies, f1s []float64
	for _, system := range slices.Sorted(maps.Keys(truth)) {
		ga, f1, found, real := grouping(truth[system], groups[system])
		accuracies, f1s = append(accuracies, ga), append(f1s, f1)
		r.figures["GA "+system] = ga
		r.line(fmt.Sprintf("GA %s %.4f  groups %d true %d", system, ga, found, real))
	}
	mean := func(v []float64) (sum float64) {
		for _, x := range v {
			sum += x
		}
		return sum / float64(max(1, len(v)))
	}
	if len(accuracies) > 0 {
		r.figures["GA_least"] = slices.Min(accuracies)
	}
	r.put("pairwise_f1_mean", mean(f1s), 4, "")
	r.put("GA_mean", mean(accuracies), 4, "")
	return r.figures, r.err
}

func loghubTruth(path string) (map[int]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := csv.NewReader(f)
	c.FieldsPerRecord, c.LazyQuotes = -1, true
	head, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	number, event := slices.Index(head, "LineId"), slices.Index(head, "EventId")
	if number < 0 || event < 0 {
		return nil, fmt.Errorf("%s: no columns LineId and EventId", path)
	}
	out := map[int]string{}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(row) <= max(number, event) {
			continue
		}
		n, err := strconv.Atoi(row[number])
		if err != nil {
			return nil, fmt.Errorf("%s: LineId %q: %w", path, row[number], err)
		}
		out[n] = row[event]
	}
}

// grouping compares two partitions of the same lines.
func grouping(truth, groups map[int]string) (accuracy, f1 float64, found, real int) {
	group := func(i int) string {
		if g, ok := groups[i]; ok {
			return g
		}
		return "\x00" + strconv.Itoa(i)
	}
	sizes, trueSizes, both := map[string]int{}, map[string]int{}, map[[2]string]int{}
	for i, t := range truth {
		sizes[group(i)]++
		trueSizes[t]++
		both[[2]string{t, group(i)}]++
	}
	pairs := func(n int) float64 { return float64(n) * float64(n-1) / 2 }
	right := 0
	var shared, predicted, actual float64
	for k, n := range both {
		if n == sizes[k[1]] && n == trueSizes[k[0]] {
			right += n
		}
		shared += pairs(n)
	}
	for _, n := range sizes {
		predicted += pairs(n)
	}
	for _, n := range trueSizes {
		actual += pairs(n)
	}
	precision, recall := 1.0, 1.0
	if predicted > 0 {
		precision = shared / predicted
	}
	if actual > 0 {
		recall = shared / actual
	}
	if precision+recall > 0 {
		f1 = 2 * precision * recall / (precision + recall)
	}
	return float64(right) / float64(max(1, len(truth))), f1, len(sizes), len(trueSizes)
}

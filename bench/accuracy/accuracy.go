// Package accuracy scores predictions on recorded incidents against their labels. It reads what `accuracy` wrote and the
// labels that `accuracy` never sees, and knows nothing of how a prediction came about.
//
// Each scorer writes the figures of its set one a line, the headline last, and returns them by name. The data are not
// part of the project; their layout is that of the sets' publishers, cut into cases.
package accuracy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Figures are the results of a scorer by name.
type Figures map[string]float64

// report writes figures as lines and keeps them.
type report struct {
	w       io.Writer
	figures Figures
	err     error
}

func newReport(w io.Writer) *report { return &report{w: w, figures: Figures{}} }

// put writes "name value" with a number of decimals, and a remark.
func (r *report) put(name string, v float64, decimals int, remark string) {
	r.figures[name] = v
	r.line(fmt.Sprintf("%s %.*f%s", name, decimals, v, remark))
}

func (r *report) line(text string) {
	if _, err := fmt.Fprintln(r.w, text); err != nil && r.err == nil {
		r.err = err
	}
}

// eachLine decodes the JSON objects of a file of predictions, one a line.
func eachLine[T any](in io.Reader, take func(T)) error {
	s := bufio.NewScanner(in)
	s.Buffer(nil, 64<<20)
	for n := 1; s.Scan(); n++ {
		text := bytes.TrimSpace(s.Bytes())
		if len(text) == 0 {
			continue
		}
		var v T
		if err := json.Unmarshal(text, &v); err != nil {
			return fmt.Errorf("predictions, line %d: %w", n, err)
		}
		take(v)
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("predictions: %w", err)
	}
	return nil
}

// labels decodes every label.json below some folders.
func labels[T any](dirs []string, take func(T)) error {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "label.json" {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var v T
			if err := json.Unmarshal(text, &v); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			take(v)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read labels: %w", err)
		}
	}
	return nil
}

// share counts hits.
type share struct{ hits, all int }

func (s *share) add(hit bool) {
	s.all++
	if hit {
		s.hits++
	}
}

func (s share) value() float64 { return float64(s.hits) / float64(max(1, s.all)) }

// Command table runs bin/accuracy over recorded incidents, scores what it wrote, and prints one table of figures with the
// floor that each must hold. It fails when one does not.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"triage/bench/accuracy"
)

// row is a figure and the least it must be.
type row struct {
	set, figure string
	floor       float64
}

// rows hold the floors. They only move up.
var rows = []row{
	{"petshop", "top1_recall", 0.95},
	{"petshop", "top3_recall", 1},
	{"petshop", "noissue_silent", 0.95},
	{"nezha", "AS@1", 0.88},
	{"nezha --history", "AS@1", 0.97},
	{"nezha --history", "AIS@1", 0.90},
	{"nab", "nab_standard", 70},
	{"loghub", "GA_mean", 0.93},
	{"loghub", "GA_least", 0.75},
}

func main() {
	data := flag.String("data", "", "folder of recordings: petshop, nezha-trainticket, nab, loghub")
	program := flag.String("accuracy", "bin/accuracy", "the program to measure")
	flag.Parse()
	if *data == "" {
		fmt.Fprintln(os.Stderr, "say where the recordings lie: make accuracy ACCURACY_DATA=DIR")
		os.Exit(2)
	}
	ok, err := measure(os.Stdout, *program, *data)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// measure prints the table; ok tells that every figure holds its floor. A set that cannot be measured is an error, after
// the others were.
func measure(out io.Writer, program, data string) (ok bool, err error) {
	dir, err := os.MkdirTemp("", "accuracy-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	found := map[string]accuracy.Figures{}
	var errs []error
	for _, r := range rows {
		if _, done := found[r.set]; done {
			continue
		}
		found[r.set], err = run(program, data, filepath.Join(dir, "predictions.jsonl"), r.set)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.set, err))
		}
	}
	ok = true
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SET\tFIGURE\tVALUE\tFLOOR\t")
	for _, r := range rows {
		v, known := found[r.set][r.figure]
		value, verdict := fmt.Sprintf("%.4f", v), "ok"
		switch {
		case !known:
			value, verdict, ok = "–", "not measured", false
		case v < r.floor:
			verdict, ok = "BELOW", false
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%s\n", r.set, r.figure, value, r.floor, verdict)
	}
	return ok, errors.Join(append(errs, w.Flush())...)
}

// run makes the predictions of one set and scores them.
func run(program, data, predictions, set string) (accuracy.Figures, error) {
	name, option, _ := strings.Cut(set, " ")
	args := []string{name, "--out", predictions}
	if option != "" {
		args = append(args, option)
	}
	folder := map[string]string{
		"petshop": filepath.Join(data, "petshop", "dev"), "nezha": filepath.Join(data, "nezha-trainticket"),
		"nab": filepath.Join(data, "nab", "dev", "data"), "loghub": filepath.Join(data, "loghub", "dev"),
	}[name]
	args = append(args, "--data", folder)
	if name == "petshop" {
		args = append(args, "--noissue", filepath.Join(data, "petshop", "shared-noissue"))
	}
	var told bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &told, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	f, err := os.Open(predictions)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch name {
	case "petshop":
		figures, err := accuracy.Petshop(io.Discard, []string{folder}, f)
		if err != nil {
			return nil, err
		}
		lines := strings.Split(strings.TrimSpace(told.String()), "\n")
		var silent float64
		if _, err := fmt.Sscanf(lines[len(lines)-1], "noissue_silent %f", &silent); err != nil {
			return figures, fmt.Errorf("the last line %q tells no share of silence: %w", lines[len(lines)-1], err)
		}
		figures["noissue_silent"] = silent
		return figures, nil
	case "nezha":
		return accuracy.Nezha(io.Discard, []string{folder}, f)
	case "nab":
		return accuracy.NAB(io.Discard, folder, filepath.Join(data, "nab", "dev", "combined_windows.json"), f)
	default:
		return accuracy.Loghub(io.Discard, folder, f)
	}
}

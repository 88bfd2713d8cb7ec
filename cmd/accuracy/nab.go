package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"triage/internal/app"
)

// nab scores each value of a series by the values before it. Labels are not read.
func nab() *cobra.Command {
	var dir, out string
	cmd := &cobra.Command{
		Use:   "nab --data DIR --out FILE",
		Short: "Anomalies in metrics (Numenta Anomaly Benchmark, Lavin and Ahmad 2015)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			root := dir
			if info, err := os.Stat(filepath.Join(dir, "data")); err == nil && info.IsDir() {
				root = filepath.Join(dir, "data")
			}
			files, err := tables(root, ".csv")
			if err != nil {
				return err
			}
			p, err := create(out)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.close()) }()
			for _, file := range files {
				name, err := filepath.Rel(root, file)
				if err != nil {
					return err
				}
				times, values, err := readSeries(file)
				if err != nil {
					return err
				}
				if err := p.add(scored{File: filepath.ToSlash(name), Scores: app.Unusual(times, values)}); err != nil {
					return err
				}
				if err := cmd.Context().Err(); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "directory with category/name.csv, or with data/category/name.csv")
	cmd.Flags().StringVar(&out, "out", "-", "file for the predictions")
	_ = cmd.MarkFlagRequired("data")
	return cmd
}

// scored are the scores of a file, one for each row.
type scored struct {
	File   string    `json:"file"`
	Scores []float64 `json:"scores"`
}

func readSeries(file string) (times []time.Time, values []float64, err error) {
	rows, err := columns(file, "timestamp", "value")
	if err != nil {
		return nil, nil, err
	}
	for i, row := range rows {
		at, err := time.Parse("2006-01-02 15:04:05", strings.Replace(strings.TrimSpace(row[0]), "T", " ", 1))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: row %d: timestamp: %w", file, i+2, err)
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(row[1]), 64)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: row %d: value: %w", file, i+2, err)
		}
		times, values = append(times, at), append(values, v)
	}
	return times, values, nil
}

package main

import (
	"encoding/csv"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tables are the files below dir whose names end so, in order.
func tables(dir, end string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, end) {
			paths = append(paths, path)
		}
		return err
	})
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("%s: no file ends in %s", dir, end)
	}
	return paths, err
}

// columns reads the named columns of a CSV file, row by row.
func columns(path string, names ...string) (rows [][]string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.LazyQuotes, r.FieldsPerRecord = true, -1
	all, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: is empty", path)
	}
	var at []int
	for _, name := range names {
		i := slices.Index(all[0], name)
		if i < 0 {
			return nil, fmt.Errorf("%s: has no column %s", path, name)
		}
		at = append(at, i)
	}
	for n, row := range all[1:] {
		var out []string
		for _, i := range at {
			if i >= len(row) {
				return nil, fmt.Errorf("%s: row %d has %d columns, %s is missing", path, n+2, len(row), all[0][i])
			}
			out = append(out, row[i])
		}
		rows = append(rows, out)
	}
	return rows, nil
}

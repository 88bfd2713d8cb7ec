package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"triage/internal/app"
)

// loghub gives log lines their templates. Only the Content column is read, each system's in order and once.
func loghub() *cobra.Command {
	var dir, out string
	cmd := &cobra.Command{
		Use:   "loghub --data DIR --out FILE",
		Short: "Templates of log lines (Zhu et al., ICSE-SEIP 2019)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			files, err := tables(dir, "_structured.csv")
			if err != nil {
				return err
			}
			p, err := create(out)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.close()) }()
			for _, file := range files {
				system, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), "_structured.csv"), "_2k")
				rows, err := columns(file, "LineId", "Content")
				if err != nil {
					return err
				}
				lines := make([]string, len(rows))
				for i, row := range rows {
					lines[i] = row[1]
				}
				ids, err := app.LogTemplates(cmd.Context(), system, lines)
				if err != nil {
					return err
				}
				for i, row := range rows {
					line, err := strconv.Atoi(row[0])
					if err != nil {
						return fmt.Errorf("%s: row %d: LineId: %w", file, i+2, err)
					}
					if err := p.add(grouped{System: system, Line: line, Group: strconv.FormatUint(ids[i], 16)}); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "directory with SYSTEM_2k.log_structured.csv at any depth")
	cmd.Flags().StringVar(&out, "out", "-", "file for the predictions")
	_ = cmd.MarkFlagRequired("data")
	return cmd
}

// grouped is a line's prediction.
type grouped struct {
	System string `json:"system"`
	Line   int    `json:"line"`
	Group  string `json:"group"`
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/spf13/cobra"

	"triage/client"
)

// manifestFlags say which files are meant.
type manifestFlags struct {
	files []string
	prune bool
}

func (m *manifestFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&m.files, "file", "f", nil, `a file, a directory of .yml, .yaml and .json files, or "-" for the standard input; may be repeated`)
	cmd.Flags().BoolVar(&m.prune, "prune", false, "remove what earlier files declared and these don't")
}

// read reads the files; mistakes are of whoever typed the command.
func (m *manifestFlags) read(cmd *cobra.Command) (out []client.ManifestFile, err error) {
	if len(m.files) == 0 {
		return nil, errors.New("name files with -f")
	}
	for _, name := range m.files {
		names := []string{name}
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			if names, err = manifestsIn(name); err != nil {
				return nil, err
			}
		}
		for _, n := range names {
			var b []byte
			if n == "-" {
				b, err = io.ReadAll(cmd.InOrStdin())
			} else {
				b, err = os.ReadFile(n)
			}
			if err != nil {
				return nil, err
			}
			out = append(out, client.ManifestFile{Name: n, Text: string(b)})
		}
	}
	return out, nil
}

func manifestsIn(dir string) (out []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".yml", ".yaml", ".json"}, filepath.Ext(e.Name())) {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no .yml, .yaml or .json file", dir)
	}
	return out, nil
}

func applyCommand(o *options) *cobra.Command {
	var m manifestFlags
	var a actFlags
	var dry bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE...",
		Short: "Make alarms, objectives, silences, routes, dashboards and runbooks be what files declare",
		Long: `apply takes documents of the kinds Alarm, SLO (with SLI, AlertPolicy and AlertCondition), Silence, Routes, Dashboard and Runbook. Either
all of them are valid and are taken over together, as a new revision, or nothing changes and everything that is wrong is listed.

It needs the server's token: TRIAGE_TOKEN, or the file "token" in the data directory (TRIAGE_DATA).`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := m.read(cmd)
			if err != nil {
				return badUsage(cmd, err)
			}
			return o.run(func(ctx context.Context, e *env, _ []string) error {
				by, err := a.who()
				if err != nil {
					return err
				}
				result, err := e.client.Apply(ctx, client.ApplyRequest{Files: files, Prune: m.prune, DryRun: dry, By: by, Note: a.note})
				if err != nil {
					return wrongFiles(err)
				}
				if e.json {
					return e.printJSON(result)
				}
				return e.printApplied(result, dry)
			})(cmd, nil)
		},
	}
	m.flags(cmd)
	a.flags(cmd, true)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would change, and change nothing")
	return cmd
}

// wrongFiles marks what is wrong with the files as the mistake of whoever named them.
func wrongFiles(err error) error {
	var answer *client.Error
	if !errors.As(err, &answer) || answer.Status != 400 || len(answer.Problems) == 0 {
		return err
	}
	lines := []string{answer.Detail + ":"}
	for _, p := range answer.Problems {
		lines = append(lines, strings.TrimPrefix(p.Location+": ", ": ")+p.Message)
	}
	return &usageError{errors.New(strings.Join(lines, "\n"))}
}

func (e *env) printApplied(r client.ApplyResult, dry bool) error {
	n := map[string]int{}
	for _, c := range r.Changes {
		n[c.Action]++
		if c.Action == "same" {
			continue
		}
		if err := e.printf("%s\n", e.paint(actionStyle(c.Action), clean(c.Action+" "+c.Kind+" "+c.Name))); err != nil {
			return err
		}
	}
	tail := ""
	switch {
	case dry:
		tail = "; nothing was changed"
	case r.Revision != 0:
		tail = fmt.Sprintf("; revision %d", r.Revision)
	}
	return e.printf("%d to create, %d to update, %d to delete, %d the same%s\n", n["create"], n["update"], n["delete"], n["same"], tail)
}

func actionStyle(action string) style {
	switch action {
	case "create":
		return green
	case "delete":
		return red
	}
	return yellow
}

func diffCommand(o *options) *cobra.Command {
	var m manifestFlags
	cmd := &cobra.Command{
		Use:   "diff -f FILE...",
		Short: "Show what apply would change; ends with code 1 if anything would, and with 2 on any mistake",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := m.read(cmd)
			if err != nil {
				return badUsage(cmd, err)
			}
			err = o.run(func(ctx context.Context, e *env, _ []string) error {
				result, err := e.client.Apply(ctx, client.ApplyRequest{Files: files, Prune: m.prune, DryRun: true})
				if err != nil {
					return wrongFiles(err)
				}
				return e.printDiff(result)
			})(cmd, nil)
			if err != nil && !errors.Is(err, errDiffers) {
				return &usageError{err}
			}
			return err
		},
	}
	m.flags(cmd)
	return cmd
}

// errDiffers ends a diff that found something.
var errDiffers = errors.New("what is stored differs from the files")

func (e *env) printDiff(r client.ApplyResult) error {
	changes := slices.DeleteFunc(r.Changes, func(c client.ManifestChange) bool { return c.Action == "same" })
	if e.json {
		if err := e.printJSON(map[string]any{"changes": nonNil(changes)}); err != nil {
			return err
		}
	}
	for _, c := range changes {
		if e.json {
			break
		}
		name := c.Kind + " " + c.Name
		text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
			A: slices.Collect(strings.Lines(c.Before)), B: slices.Collect(strings.Lines(c.After)), FromFile: name + " (stored)", ToFile: name + " (files)", Context: 3,
		})
		if err != nil {
			return err
		}
		for line := range strings.Lines(text) {
			st := plain
			switch {
			case strings.HasPrefix(line, "+"):
				st = green
			case strings.HasPrefix(line, "-"):
				st = red
			}
			if line = strings.TrimRight(line, "\n"); line == "" {
				continue
			}
			if err := e.printf("%s\n", e.paint(st, clean(line))); err != nil {
				return err
			}
		}
	}
	if len(changes) > 0 {
		return errDiffers
	}
	return nil
}

func exportCommand(o *options) *cobra.Command {
	var kind, file string
	var revision int
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print what is declared as files that apply takes",
		Example: `  triage export -f triage.yml
  triage export --revision 3 | triage apply --prune -f -    # go back`,
		Args: args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			text, err := e.client.Export(ctx, kind, revision)
			if err != nil || file == "" {
				return e.printText(text, err)
			}
			// Routes hold secrets.
			return os.WriteFile(file, []byte(text), 0o600)
		}),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "write into this file")
	cmd.Flags().StringVar(&kind, "kind", "", "only Alarm, SLO, Silence, Routes, Dashboard or Runbook")
	cmd.Flags().IntVar(&revision, "revision", 0, "what this revision declared (what there is now without it)")
	return cmd
}

func revisionsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "revisions",
		Short: "List what was applied, newest first",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			list, err := e.client.Revisions(ctx)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"revisions": nonNil(list)})
			}
			t := e.newTable(">REVISION", "AT (UTC)", "BY", "NOTE", "CHANGES")
			for _, r := range list {
				var parts []string
				for _, c := range r.Changes {
					parts = append(parts, c.Action+" "+c.Kind+" "+c.Name)
				}
				t.add(r.Revision, clock(r.At), fallback(r.By, "-"), fallback(r.Note, "-"), strings.Join(parts, ", "))
			}
			return t.print("nothing was applied yet")
		}),
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoghub(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	write(t, filepath.Join(dir, "Cart", "Cart_2k.log_structured.csv"),
		"LineId,Level,Content\n1,INFO,\"took 5 ms, \"\"fast\"\"\"\n2,INFO,closed for user ann\n3,INFO,\"took 7 ms, \"\"fast\"\"\"\n"+
			"4,INFO,closed for user ben\n5,INFO,closed for user cat\n6,INFO,closed for user dan\n")
	cmd := loghub()
	cmd.SetArgs([]string{"--data", dir, "--out", out})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var groups []string
	for i, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		var g grouped
		if err := json.Unmarshal(line, &g); err != nil {
			t.Fatal(err)
		}
		if g.System != "Cart" || g.Line != i+1 {
			t.Errorf("got %+v for line %d", g, i+1)
		}
		groups = append(groups, g.Group)
	}
	// Lines that were read before their template became more general are of its group too.
	took, closed := groups[0], groups[1]
	if want := []string{took, closed, took, closed, closed, closed}; took == closed || !cmp.Equal(groups, want) {
		t.Errorf("groups %v", groups)
	}
}

func TestNAB(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	var text strings.Builder
	text.WriteString("timestamp,value\n")
	for i := range 300 {
		value := []string{"1.5", "2", "1"}[i%3]
		if i == 290 {
			value = "40"
		}
		text.WriteString("2030-01-0" + string(rune('1'+i/24%9)) + "T" + []string{"00", "06", "12", "18"}[i/6%4] + ":0" + string(rune('0'+i%6)) + ":00," + value + "\n")
	}
	write(t, filepath.Join(dir, "data", "real", "cpu.csv"), text.String())
	cmd := nab()
	cmd.SetArgs([]string{"--data", dir, "--out", out})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var s scored
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	if s.File != "real/cpu.csv" || len(s.Scores) != 300 {
		t.Errorf("%d scores of %s", len(s.Scores), s.File)
	}
	best := 0
	for i, x := range s.Scores {
		if x > s.Scores[best] {
			best = i
		}
	}
	if best != 290 {
		t.Errorf("row %d scores most, want 290", best)
	}
}

func TestBadTables(t *testing.T) {
	for name, text := range map[string]string{
		"has no column value":        "timestamp,values\n2030-01-01 00:00:00,1\n",
		"row 3: value":               "timestamp,value\n2030-01-01 00:00:00,1\n2030-01-01 00:05:00,x\n",
		"row 2: timestamp":           "timestamp,value\nyesterday,1\n",
		"row 2 has 1 columns, value": "timestamp,value\n2030-01-01 00:00:00\n",
		"is empty":                   "",
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "real", "cpu.csv"), text)
		cmd := nab()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs([]string{"--data", dir, "--out", filepath.Join(t.TempDir(), "out")})
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "cpu.csv") {
			t.Errorf("got %v, want it to say %q and the file", err, name)
		}
	}
}

package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A copy of a method here would measure the copy. What decides is reached through app alone.
func TestImportsAppAndModelOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-tags", "duckdb_arrow", "-f", `{{join .Imports "\n"}}`, "triage/cmd/accuracy").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	allowed := []string{"triage/internal/app", "triage/internal/model"}
	for _, path := range strings.Fields(string(out)) {
		if strings.HasPrefix(path, "triage/") && !slices.Contains(allowed, path) {
			t.Errorf("imports %s, want none of ours but %v", path, allowed)
		}
	}
}

package app_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// forbidden says which packages may not reach which, even through others, and why. A prefix ends in "/".
var forbidden = []struct{ from, to, why string }{
	{"triage/internal/model", "triage/", "model is what everything else speaks; it would drag the rest along everywhere"},
	{"triage/internal/search", "triage/", "search is a language, and knows no store that answers it"},
	{"triage/internal/store/", "triage/internal/ingest", "a store does not know how data comes in"},
	{"triage/internal/store/", "triage/internal/derive", "a store keeps what it is given; derived data is made at acceptance, once"},
	{"triage/internal/store", "triage/internal/alarm", "stores answer judges and never call them"},
	{"triage/internal/store/", "triage/internal/diagnose", "stores answer judges and never call them"},
	{"triage/internal/store/", "triage/internal/api", "stores know no edges"},
	{"triage/internal/ingest", "triage/internal/store/events", "ingest speaks to the contract, so that engines can be exchanged"},
	{"triage/internal/ingest", "triage/internal/store/state", "ingest speaks to the contract, so that engines can be exchanged"},
	{"triage/internal/ingest", "triage/internal/api", "edges do not know each other"},
	{"triage/internal/record", "triage/internal/ingest", "a recording is made of batches, whoever takes them; the command line reads it too"},
	{"triage/internal/record", "triage/internal/store", "a recording knows no store"},
	{"triage/internal/usual", "triage/", "what is usual is told by times and values alone"},
	{"triage/internal/derive", "triage/internal/store/", "derive hands on what it makes and asks no engine"},
	{"triage/internal/alarm", "triage/internal/api", "judges are asked by edges, and do not know them"},
	{"triage/internal/alarm", "triage/internal/store/", "judges ask the contract, so that engines can be exchanged"},
	{"triage/internal/runbook", "triage/internal/api", "actors are asked by edges, and do not know them"},
	{"triage/internal/runbook", "triage/internal/store/", "actors keep what they did by the contract, so that engines can be exchanged"},
	{"triage/internal/slo", "triage/internal/api", "judges are asked by edges, and do not know them"},
	{"triage/internal/slo", "triage/internal/store/", "judges ask the contract, so that engines can be exchanged"},
	{"triage/internal/dashboard", "triage/internal/store/", "dashboards are kept by the contract, so that engines can be exchanged"},
	{"triage/internal/dashboard", "triage/internal/api", "edges ask for dashboards, and are not known"},
	{"triage/internal/manifest", "triage/internal/api", "edges hand files over, and are not known"},
	{"triage/internal/manifest", "triage/internal/store/", "what is declared is kept by the contract, so that engines can be exchanged"},
	{"triage/internal/metricmath", "triage/", "metric math is a language, and knows nobody who has metrics"},
	{"triage/internal/blackbox", "triage/internal/store/", "checks hand on what they see, and know no store"},
	{"triage/internal/promrules", "triage/internal/store/", "rule files are evaluated over whatever holds the series"},
	{"triage/internal/notify", "triage/internal/store/", "those who tell keep their outbox by the contract, so that engines can be exchanged"},
	{"triage/internal/notify", "triage/internal/api", "edges ask who is told, and are not known to it"},
	{"triage/internal/notify", "triage/internal/diagnose", "a verdict is told as it was made"},
	{"triage/internal/incident", "triage/internal/store/", "judges ask the contract, so that engines can be exchanged"},
	{"triage/internal/incident", "triage/internal/diagnose", "an incident is a fact; what is concluded from it comes later"},
	{"triage/internal/locate", "triage/internal/store/", "judges ask the contract, so that engines can be exchanged"},
	{"triage/internal/locate", "triage/internal/explain", "where is answered before why"},
	{"triage/internal/explain", "triage/internal/store/", "judges ask the contract, so that engines can be exchanged"},
	{"triage/internal/diagnose", "triage/internal/store/", "judges ask the contract, so that engines can be exchanged"},
	{"triage/internal/diagnose", "triage/internal/api", "judges are asked by edges, and do not know them"},
	{"triage/internal/", "triage/demo", "the judge is blind: nothing of it knows the shop"},
	{"triage/internal/", "triage/client", "the client is for those outside"},
	{"triage/demo", "triage/internal/app", "the demo runs triage as a user does, as a process of its own"},
	{"triage/demo", "triage/internal/store", "the demo reads triage through its public API only"},
	{"triage/client", "triage/internal/store", "a client is small: it speaks HTTP and the model"},
}

// allowed are the exceptions, with their reasons.
var allowed = map[[2]string]string{
	{"triage/internal/cli", "triage/client"}: "the command line is a client like any other",
	{"triage/internal/store/storetest", "*"}: "the contract suites are test code",
}

func TestImportDirections(t *testing.T) {
	out, err := exec.Command("go", "list", "-tags", "duckdb_arrow", "-deps", "-json=ImportPath,Deps", "triage/...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	used := make([]bool, len(forbidden))
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Deps       []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(p.ImportPath, "triage/") {
			continue
		}
		for i, f := range forbidden {
			if !within(p.ImportPath, f.from) {
				continue
			}
			used[i] = true
			for _, dep := range p.Deps {
				if !within(dep, f.to) || within(dep, f.from) || excepted(p.ImportPath, dep) {
					continue
				}
				t.Errorf("%s reaches %s: %s", p.ImportPath, dep, f.why)
			}
		}
	}
	for i, f := range forbidden {
		if !used[i] {
			t.Errorf("rule %s -> %s speaks of packages that do not exist", f.from, f.to)
		}
	}
}

func within(path, place string) bool {
	if strings.HasSuffix(place, "/") {
		return strings.HasPrefix(path, place)
	}
	return path == place || strings.HasPrefix(path, place+"/")
}

func excepted(from, to string) bool {
	if _, ok := allowed[[2]string{from, "*"}]; ok {
		return true
	}
	_, ok := allowed[[2]string{from, to}]
	return ok
}

// Package exams holds recorded exams: what a triage received while something was broken on purpose, and what was. They
// are replayed through the product's own path, so that a judge that forgets what it once knew is found out.
//
// Each folder of testdata is a recording and a truth.json; both come from `triage demo --record`. floors.json says how
// good the first verdict of each was when it was last measured. Floors only move up.
package exams

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"triage/internal/app"
	"triage/internal/model"
)

// truth is what was broken, and when.
type truth struct {
	Scenario string    `json:"scenario"`
	At       time.Time `json:"at"`
	Truths   []struct {
		Class     model.Class     `json:"class"`
		Entity    model.Entity    `json:"entity"`
		Mechanism model.Mechanism `json:"mechanism"`
	} `json:"truths"`
}

func (t truth) is(c model.Cause) bool {
	for _, r := range t.Truths {
		if c.Class == r.Class && c.Entity == r.Entity && c.Mechanism == r.Mechanism {
			return true
		}
	}
	return false
}

// floor is what a replay must reach: the rank of the truth among the causes that the first verdict names, and the
// seconds from the injection to that verdict.
type floor struct {
	Rank    int     `json:"rank"`
	Seconds float64 `json:"seconds"`
}

func TestExams(t *testing.T) {
	if testing.Short() {
		t.Skip("replays a quarter of an hour of telemetry")
	}
	var floors map[string]floor
	read(t, filepath.Join("testdata", "floors.json"), &floors)
	dirs, err := filepath.Glob(filepath.Join("testdata", "*", "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) != len(floors) || len(dirs) == 0 {
		t.Errorf("%d recordings and %d floors, want as many of both", len(dirs), len(floors))
	}
	for _, path := range dirs {
		dir := filepath.Dir(path)
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			least, ok := floors[name]
			if !ok {
				t.Fatal("no floor")
			}
			var want truth
			read(t, path, &want)
			res, err := app.Replay(t.Context(), app.ReplayOptions{Path: dir})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Damage) > 0 {
				t.Errorf("the recording is damaged: %v", res.Damage)
			}
			got, first := judge(res.Verdicts, want)
			t.Logf("%s at %.0fx real time: rank %d after %.1f s: %s", want.Scenario, res.Speed(), got.Rank, got.Seconds, told(first))
			if got.Rank == 0 || got.Rank > least.Rank {
				t.Errorf("the truth has rank %d, and had %d; the verdict is %s, want %+v", got.Rank, least.Rank, told(first), want.Truths)
			}
			if got.Seconds > least.Seconds {
				t.Errorf("the first verdict came after %.1f s, and came after %.1f s", got.Seconds, least.Seconds)
			}
		})
	}
}

// judge finds the first verdict after the injection and ranks the truth in it, from 1; 0 is none.
func judge(verdicts []model.Verdict, want truth) (got floor, first *model.Verdict) {
	i := slices.IndexFunc(verdicts, func(v model.Verdict) bool { return !v.At.Before(want.At) })
	if i < 0 {
		return floor{}, nil
	}
	first = &verdicts[i]
	got.Seconds = first.At.Sub(want.At).Seconds()
	if first.Why != nil {
		got.Rank = 1 + slices.IndexFunc(first.Candidates, want.is)
	}
	return got, first
}

func told(v *model.Verdict) string {
	switch {
	case v == nil:
		return "none"
	case v.Why == nil:
		return "no cause"
	}
	return fmt.Sprintf("%s %s %s %.2f", v.Why.Class, v.Why.Entity, v.Why.Mechanism, v.Why.Confidence)
}

func read(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

package scenario

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/client"
	"triage/demo/load"
	"triage/internal/model"
)

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		if s.Name == "" || s.About == "" || s.Inject == nil || seen[s.Name] {
			t.Errorf("scenario %q is incomplete or there twice", s.Name)
		}
		seen[s.Name] = true
		if (s.Truth == nil) != (s.For > 0) {
			t.Errorf("scenario %s: either there is something to find, or it says how long to watch", s.Name)
		}
		if s.Truth != nil {
			if truth := s.Truth(4); truth.Class == "" || truth.Entity.Name() == "" || truth.Mechanism == "" {
				t.Errorf("scenario %s has the truth %+v", s.Name, truth)
			}
		}
	}
	if _, err := Find("nothing"); err == nil {
		t.Error("an unknown scenario was found")
	}
}

func TestTruthIsExact(t *testing.T) {
	truth := Truth{model.ClassSelf, "service:a", model.SlowCode}
	if truth.Is(nil) || truth.Is(&model.Cause{Class: model.ClassSelf, Entity: "service:b", Mechanism: model.SlowCode}) {
		t.Error("something else was taken for the truth")
	}
	if !truth.Is(&model.Cause{Class: model.ClassSelf, Entity: "service:a", Mechanism: model.SlowCode, Confidence: 0.1}) {
		t.Error("the truth was not recognised")
	}
}

// TestQuietTellsOfItsDeployment walks through the quiet period.
func TestQuietTellsOfItsDeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var did []string
		w := &World{
			Load: load.New(load.Config{Rate: 1}),
			Restart: func(_ context.Context, service, version string) error {
				did = append(did, "restart "+service+" "+version)
				return nil
			},
			Record: func(_ context.Context, c client.Change) error {
				did = append(did, "record "+string(c.Entity()))
				return nil
			},
			Say: func(string, ...any) {},
		}
		s := quiet()
		remove, err := s.Inject(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(s.For)
		if err := remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"restart payment 1.1.0", "record change:payment@1.1.0"}, did); d != "" {
			t.Error(d)
		}
	})
}

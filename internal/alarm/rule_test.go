package alarm_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"triage/internal/alarm"
	"triage/internal/model"
)

// Each file under testdata begins with what is to be said of it.
func TestBadRules(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(string(b)) {
			if said, ok := strings.CutPrefix(line, "# "); ok {
				want = append(want, strings.TrimSpace(said))
			}
		}
		var rules []alarm.Rule
		dec := yaml.NewDecoder(strings.NewReader(string(b)))
		dec.KnownFields(true)
		if err := dec.Decode(&rules); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		err = alarm.ValidateRules("alarm.rules", rules)
		if err == nil {
			t.Errorf("%s: nothing was found to be wrong", f)
			continue
		}
		if d := cmp.Diff(want, strings.Split(err.Error(), "\n")); d != "" {
			t.Errorf("%s (-want +got):\n%s", f, d)
		}
	}
}

func TestAutomaticRulesAreValid(t *testing.T) {
	if err := alarm.ValidateRules("alarm.automatic", alarm.Automatic()); err != nil {
		t.Error(err)
	}
}

func TestParseRule(t *testing.T) {
	got, err := alarm.ParseRule([]byte(`{"name":"slow","expr":"up","compare":{"op":"<","threshold":1},"period":"1m30s","evaluation_periods":3}`))
	if err != nil {
		t.Fatal(err)
	}
	want := alarm.Rule{
		Name: "slow", Signal: model.SignalMetric, Expr: "up", Compare: &alarm.Compare{Op: alarm.Below, Threshold: 1},
		Period: alarm.Duration(90 * time.Second), EvaluationPeriods: 3, DatapointsToAlarm: 3, TreatMissingData: alarm.TreatMissing,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, text := range []string{
		`{`, `{} {}`, `{"name":"slow","expr":"up","compare":{"op":"<","threshold":1},"perod":"1m"}`,
		`{"name":"slow","expr":"up","compare":{"op":"<","threshold":1},"period":"soon"}`, `{"name":"slow","expr":"up"}`,
	} {
		if _, err := alarm.ParseRule([]byte(text)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

// Rules are stored as JSON and written as YAML; mute windows mean the same in both.
func TestMuteWindowsAreKept(t *testing.T) {
	const text = `
name: x
expr: up
compare: {op: "<", threshold: 1}
suppressor: {alarm: y, wait: 1m, extension: 2m}
mute:
- {from: 2026-12-24T18:00:00Z, to: 2026-12-25T06:00:00Z}
- {weekdays: ["monday:friday", sunday], times: [{start_time: "22:00", end_time: "24:00"}], days_of_month: ["1:5", "-1"], months: ["january:march", may], years: ["2026:2027"], location: Asia/Seoul}
`
	var r alarm.Rule
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&r); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := alarm.ParseRule(b)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	zone := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
	if d := cmp.Diff(r.WithDefaults(), again, zone); d != "" {
		t.Errorf("%s reads otherwise (-first +again):\n%s", b, d)
	}
	if m := again.Mute[1]; len(m.Weekdays) != 2 || m.Location.String() != "Asia/Seoul" || m.Times[0].EndMinute != 24*60 {
		t.Errorf("%+v", m)
	}
}

func FuzzParseRule(f *testing.F) {
	for _, r := range alarm.Automatic() {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"name":"slow","expr":"up","compare":{"op":"<","threshold":1},"period":"1d12h"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := alarm.ParseRule(b)
		if err != nil {
			return
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		again, err := alarm.ParseRule(out)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if d := cmp.Diff(r, again); d != "" {
			t.Errorf("%s reads otherwise (-first +again):\n%s", out, d)
		}
	})
}

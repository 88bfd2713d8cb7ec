package app

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"triage/internal/alarm"
)

// The documentation's backtest, on the recording of the demo shop that it names, finds the pages that it shows.
func TestTheDocumentedBacktest(t *testing.T) {
	if testing.Short() {
		t.Skip("replays a minute and a half of telemetry")
	}
	text, err := os.ReadFile("../../docs/alarms.md")
	if err != nil {
		t.Fatal(err)
	}
	part := func(pattern string) []string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("the documentation has no %s", pattern)
		}
		return m[1:]
	}
	recording := part(`triage replay (\S+) --data look`)[0]
	window := part(`triage alarms backtest rule.yml --from (\S+) --to (\S+)\n`)
	var rule map[string]any
	if err := yaml.Unmarshal([]byte(part("with this `rule.yml`\n\n```yaml\n((?s:.*?))```")[0]), &rule); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "look")
	if _, err := Replay(t.Context(), ReplayOptions{Path: filepath.Join("../..", recording), Data: data, Logger: testLogger(t)}); err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(c *Config) { c.Data = data })
	body, err := json.Marshal(map[string]any{"rule": rule, "from": window[0], "to": window[1]})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.ask("POST", "/api/v1/alarms/backtest", string(body))
	var got alarm.Backtest
	if err := json.Unmarshal([]byte(answer), &got); status != 200 || err != nil {
		t.Fatalf("%d %s, %v", status, answer, err)
	}
	var pages []string
	for _, p := range got.Pages {
		pages = append(pages, p.From.UTC().Format(time.DateTime)+" "+p.Alarm)
	}
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^    (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  lasts .*?(requests fail\{.*\})$`).FindAllStringSubmatch(string(text), -1) {
		want = append(want, m[1]+" "+m[2])
	}
	if len(want) == 0 || strings.Join(pages, "\n") != strings.Join(want, "\n") {
		t.Errorf("pages\n%s\nwant\n%s", strings.Join(pages, "\n"), strings.Join(want, "\n"))
	}
	if first := fmt.Sprintf("%d datapoints of %d label sets", got.Datapoints, got.Contributors); !strings.Contains(string(text), first) {
		t.Errorf("%s, unlike the documentation's", first)
	}
}

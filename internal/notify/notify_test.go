package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/store"
	"triage/internal/store/state"
)

func openState(t testing.TB, path string) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func parse(t testing.TB, text string, sns ...notify.SNS) *notify.Config {
	t.Helper()
	c, err := notify.Parse([]byte(text), ".", "https://triage.example", sns, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// nobody is a receiver whose port is closed: what it is told stays in the outbox, where it can be looked at.
const nobody = `webhook_configs: [{url: "http://127.0.0.1:1/"}]`

func alarmOf(rule, service string, s model.AlarmState, since time.Time) model.Alarm {
	return model.Alarm{
		ID: rule + "{" + service + "}", Tenant: model.DefaultTenant, Rule: rule, Service: service, Labels: map[string]string{"service_name": service},
		State: s, Reason: "3 of 4", Since: since, Updated: since, Onset: since, Signal: model.SignalErrors,
	}
}

func incidentOf(opened time.Time, alarms ...model.Alarm) model.Incident {
	return model.Incident{
		ID: "INC-1", Tenant: model.DefaultTenant, Status: model.IncidentOpen, Title: "GET /cart in cart: 20 % of requests fail",
		OpenedAt: opened, UpdatedAt: opened, Onset: opened, Alarms: alarms,
	}
}

func verdictOf(at time.Time) *model.Verdict {
	return &model.Verdict{
		ID: "INC-1.1", Incident: "INC-1", Revision: 1, At: at,
		Why: &model.Cause{Class: model.ClassDependency, Entity: "database:stock", Mechanism: model.SlowQuery, Confidence: 0.913},
		Evidence: []model.Evidence{
			{Claim: "one", Link: "/api/v1/traces/1"}, {Claim: "two"}, {Claim: "three"}, {Claim: "four"},
		},
		Text: map[string]string{"en": "stock answers slowly"},
	}
}

// story runs a Manager in a bubble; step is called once each second until it returns false.
func story(t *testing.T, config string, suppressed func(string) string, step func(m *notify.Manager, s store.State, second int) bool) (out []string) {
	s := openState(t, filepath.Join(t.TempDir(), "state.db"))
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		m := notify.New(notify.Options{Config: parse(t, config), State: s, URL: "https://triage.example", Suppressed: func(_, alarm string) string {
			if suppressed == nil {
				return ""
			}
			return suppressed(alarm)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(time.Second / 2)
		for second := 0; step(m, s, second); second++ {
			time.Sleep(time.Second)
		}
		list, err := m.Messages(t.Context(), model.DefaultTenant, "")
		if err != nil {
			t.Error(err)
		}
		slices.Reverse(list)
		for _, msg := range list {
			out = append(out, fmt.Sprintf("%ds %s %s %d", int(msg.Created.Sub(begun).Seconds()), msg.Receiver, msg.Reason, len(msg.Alerts)))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return out
}

const plain = `
route: {receiver: ops, group_interval: 10s, repeat_interval: 60s}
receivers: [{name: ops, ` + nobody + `}]
`

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestTheFirstMessageWaitsForTheVerdict(t *testing.T) {
	for verdict, want := range map[int]string{2: "2s ops first 1", 3: "3s ops first 1", 30: "5s ops first 1"} {
		got := story(t, plain, nil, func(m *notify.Manager, s store.State, second int) bool {
			inc := incidentOf(time.Now(), alarmOf("errors", "cart", model.StateAlarm, time.Now()))
			if second == 0 {
				inc.OpenedAt = time.Now().Add(-time.Second / 2)
				if err := s.SaveIncidents(t.Context(), inc.Tenant, []model.Incident{inc}, nil); err != nil {
					t.Error(err)
				}
				m.Observe(inc)
			}
			if second == verdict-1 {
				inc.OpenedAt = time.Now().Add(-time.Duration(second)*time.Second - time.Second/2)
				inc.Verdict = verdictOf(time.Now())
				m.Observe(inc)
			}
			return second < 10
		})
		equal(t, fmt.Sprintf("verdict after %d s", verdict), got, []string{want})
	}
}

func TestNewRepeatedAndResolved(t *testing.T) {
	var opened time.Time
	got := story(t, plain, nil, func(m *notify.Manager, s store.State, second int) bool {
		if second == 0 {
			opened = time.Now().Add(-time.Second / 2)
		}
		inc := incidentOf(opened, alarmOf("errors", "cart", model.StateAlarm, opened))
		inc.Verdict = verdictOf(opened)
		if second >= 3 { // within the interval of the group
			inc.Alarms = append(inc.Alarms, alarmOf("duration", "cart", model.StateAlarm, opened))
		}
		if second >= 80 {
			inc.Status, inc.ResolvedAt = model.IncidentResolved, time.Now()
			for i := range inc.Alarms {
				inc.Alarms[i].State, inc.Alarms[i].Since = model.StateOK, time.Now()
			}
		}
		if second == 0 || second == 3 || second == 80 {
			if err := s.SaveIncidents(t.Context(), inc.Tenant, []model.Incident{inc}, nil); err != nil {
				t.Error(err)
			}
			m.Observe(inc)
		}
		return second < 85
	})
	equal(t, "messages", got, []string{"1s ops first 1", "11s ops new alarms 2", "71s ops repeat 2", "81s ops resolved 2"})
}

func TestRoutingSilencesAndInhibition(t *testing.T) {
	config := `
route:
  receiver: ops
  routes:
  - {receiver: cart team, matchers: ['service="cart"'], continue: true}
  - {receiver: by alarm, matchers: ['alertname=~"rate|cpu"'], group_by: [alertname]}
  - {receiver: night, matchers: ['service="night"'], active_time_intervals: [never]}
receivers: [{name: ops, NOBODY}, {name: cart team, NOBODY}, {name: by alarm, NOBODY}, {name: night, NOBODY}]
inhibit_rules: [{source_matchers: [alertname=errors], target_matchers: [alertname=duration], equal: [service]}]
time_intervals: [{name: never, time_intervals: [{years: ["1999"]}]}]
`
	got := story(t, strings.ReplaceAll(config, "NOBODY", nobody), func(alarm string) string {
		if alarm == "saturation{cart}" {
			return "muted"
		}
		return ""
	}, func(m *notify.Manager, s store.State, second int) bool {
		if second > 0 {
			return false
		}
		now := time.Now()
		if _, err := m.SaveSilence(t.Context(), model.DefaultTenant, notify.Silence{Matchers: []string{`service="quiet"`}, Ends: now.Add(time.Hour)}); err != nil {
			t.Error(err)
		}
		var alarms []model.Alarm
		for _, a := range []string{"errors cart", "duration cart", "duration stock", "rate stock", "cpu stock", "errors quiet", "errors night", "saturation cart"} {
			rule, service, _ := strings.Cut(a, " ")
			alarms = append(alarms, alarmOf(rule, service, model.StateAlarm, now))
		}
		inc := incidentOf(now, alarms...)
		inc.Verdict = verdictOf(now)
		if err := s.SaveIncidents(t.Context(), inc.Tenant, []model.Incident{inc}, nil); err != nil {
			t.Error(err)
		}
		m.Observe(inc)
		return true
	})
	slices.Sort(got)
	// errors of cart goes to its team and on to nobody else's route; duration of cart is inhibited; of stock it is not.
	equal(t, "messages", got, []string{"1s by alarm first 1", "1s by alarm first 1", "1s cart team first 1", "1s ops first 1"})
}

func TestSilences(t *testing.T) {
	s := openState(t, filepath.Join(t.TempDir(), "state.db"))
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	m := notify.New(notify.Options{State: s, Now: func() time.Time { return now }})
	for _, bad := range []notify.Silence{
		{Ends: now.Add(time.Hour)}, {Matchers: []string{"a"}, Ends: now.Add(time.Hour)}, {Matchers: []string{`a=~".*"`}, Ends: now.Add(time.Hour)},
		{Matchers: []string{"a=b"}}, {Matchers: []string{"a=b"}, Starts: now.Add(-2 * time.Hour), Ends: now.Add(-time.Hour)},
	} {
		if _, err := m.SaveSilence(t.Context(), "a", bad); !errors.Is(err, notify.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", bad, err)
		}
	}
	saved, err := m.SaveSilence(t.Context(), "a", notify.Silence{Matchers: []string{"a=b"}, Ends: now.Add(time.Hour), Comment: "x"})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if err := m.EndSilence(t.Context(), "a", saved.ID); err != nil {
		t.Fatal(err)
	}
	if err := m.EndSilence(t.Context(), "a", "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ending one that is not there: %v", err)
	}
	list, err := m.Silences(t.Context(), "a")
	if err != nil || len(list) != 1 || !list[0].Ends.Equal(now) || list[0].Comment != "x" {
		t.Errorf("%+v, %v", list, err)
	}
	now = now.Add(6 * 24 * time.Hour) // it has been over for long when the next one comes
	if _, err := m.SaveSilence(t.Context(), "a", notify.Silence{Matchers: []string{"a=b"}, Ends: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if list, err := m.Silences(t.Context(), "a"); err != nil || len(list) != 1 || list[0].ID == saved.ID {
		t.Errorf("%+v, %v", list, err)
	}
}

// What receivers get carries the cause, the top evidence and links.
func TestWhatReceiversGet(t *testing.T) {
	got := make(chan *http.Request, 10)
	bodies := make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r
		bodies <- string(b)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ok":true,"result":{"message_id":1,"chat":{"id":1}}}`) // Slack and Telegram want to see it
	}))
	defer srv.Close()
	config := parse(t, fmt.Sprintf(`
route: {receiver: all}
receivers:
- name: all
  slack_configs: [{api_url: "%[1]s/slack", channel: "#ops"}]
  webhook_configs: [{url: "%[1]s/hook"}]
  msteamsv2_configs: [{webhook_url: "%[1]s/teams"}]
  opsgenie_configs: [{api_url: "%[1]s/opsgenie/", api_key: key}]
  pagerduty_configs: [{url: "%[1]s/pagerduty", routing_key: key}]
  telegram_configs: [{api_url: "%[1]s/telegram", bot_token: "1:x", chat_id: 1, parse_mode: ""}]
`, srv.URL), notify.SNS{Receiver: "all", URL: srv.URL + "/sns", Topic: "arn:aws:sns:local:000000000000:ops"})
	s := openState(t, filepath.Join(t.TempDir(), "state.db"))
	m := notify.New(notify.Options{Config: config, State: s, URL: "https://triage.example"})
	now := time.Now().UTC()
	inc := incidentOf(now, alarmOf("errors", "cart", model.StateAlarm, now))
	inc.Verdict = verdictOf(now)
	if err := s.SaveIncidents(t.Context(), inc.Tenant, []model.Incident{inc}, nil); err != nil {
		t.Fatal(err)
	}
	m.Observe(inc)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	paths := map[string]bool{}
	for range 7 {
		r, body := <-got, <-bodies
		paths[strings.Split(r.URL.Path, "/")[1]] = true
		for _, want := range []string{"database:stock", "slow-query", "incidents/INC-1"} {
			if r.URL.Path != "/pagerduty" && !strings.Contains(body, want) {
				t.Errorf("%s lacks %q: %s", r.URL.Path, want, body)
			}
		}
		if r.URL.Path != "/pagerduty" && (!strings.Contains(body, "three") || strings.Contains(body, "four")) {
			t.Errorf("%s: want the first three claims: %s", r.URL.Path, body)
		}
		if r.URL.Path == "/sns" {
			var envelope struct{ Type, TopicArn, Message string }
			var message struct{ AlarmName, NewStateValue, OldStateValue, NewStateReason string }
			if err := errors.Join(json.Unmarshal([]byte(body), &envelope), json.Unmarshal([]byte(envelope.Message), &message)); err != nil {
				t.Errorf("%v in %s", err, body)
			}
			equal(t, "SNS", fmt.Sprint(envelope.Type, " ", envelope.TopicArn, " ", message),
				"Notification arn:aws:sns:local:000000000000:ops {errors ALARM OK 3 of 4}")
		}
	}
	if len(paths) != 7 {
		t.Errorf("told by %v", paths)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // answers are on their way back
		list, err := m.Messages(t.Context(), model.DefaultTenant, "INC-1")
		if err != nil || len(list) != 7 {
			t.Fatalf("%d messages, %v", len(list), err)
		}
		waiting := slices.DeleteFunc(list, func(msg notify.Message) bool { return !msg.Done.IsZero() && msg.Error == "" })
		if len(waiting) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not sent: %+v", waiting)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestReceiversAreTested(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer srv.Close()
	m := notify.New(notify.Options{Config: parse(t, fmt.Sprintf(`
route: {receiver: ops}
receivers: [{name: ops, webhook_configs: [{url: "%[1]s/ok"}, {url: "%[1]s/broken"}]}]
`, srv.URL))})
	got, err := m.Test(t.Context(), "ops")
	if err != nil || len(got) != 2 || got[0].Error != "" || !strings.Contains(got[1].Error, "403") {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := m.Test(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown receiver: %v", err)
	}
	equal(t, "receivers", m.Receivers(), []notify.Receiver{{Name: "ops", Integrations: []string{"webhook[0]", "webhook[1]"}}})
}

// Alertmanager's integration for Telegram panics over an answer without a chat.
func TestAnswersThatNobodyExpects(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"ok":true,"result":{}}`)
	}))
	defer srv.Close()
	m := notify.New(notify.Options{Config: parse(t, fmt.Sprintf(`
route: {receiver: ops}
receivers: [{name: ops, telegram_configs: [{api_url: "%s", bot_token: "1:x", chat_id: 1}]}]
`, srv.URL))})
	if got, err := m.Test(t.Context(), "ops"); err != nil || !strings.Contains(got[0].Error, "was not understood") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestBadConfigurations(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "no route provided in config",
		"route: {receiver: x}": `undefined receiver "x" used in route`,
		"route: {receivr: x}":  "field receivr not found",
		"route: {receiver: x}\nreceivers: [{name: x}]\ntemplates: ['testdata/[']": "templates testdata/[: ",
	} {
		if _, err := notify.Parse([]byte(text), ".", "https://triage.example", nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	good := "route: {receiver: x}\nreceivers: [{name: x}]"
	if _, err := notify.Parse([]byte(good), ".", "triage", nil, nil); err == nil {
		t.Error("a relative URL was taken")
	}
	for _, s := range []notify.SNS{{Receiver: "y", URL: "http://z"}, {Receiver: "x", URL: "z"}} {
		if _, err := notify.Parse([]byte(good), ".", "https://triage.example", []notify.SNS{s}, nil); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}

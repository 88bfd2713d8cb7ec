package incident_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"triage/internal/incident"
	"triage/internal/model"
	"triage/internal/store"
	"triage/internal/store/state"
)

var start = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// story is a Manager with a clock that the test moves, and the alarms' states as the evaluator would have stored them.
type story struct {
	t    *testing.T
	s    store.State
	m    *incident.Manager
	opts incident.Options
	at   time.Time
}

func begin(t *testing.T, opts incident.Options) *story {
	t.Helper()
	s, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if opts.State == nil {
		opts.State = s
	}
	return &story{t: t, s: s, m: incident.New(opts), opts: opts, at: start}
}

// restart forgets what is in memory.
func (y *story) restart() { y.m = incident.New(y.opts) }

// after moves the clock on.
func (y *story) after(d time.Duration) *story {
	y.at = y.at.Add(d)
	return y
}

func (y *story) alarm(signal model.Signal, service string, state model.AlarmState) model.Transition {
	a := model.Alarm{
		ID: string(signal) + "/" + service, Tenant: "a", Rule: string(signal), State: state, Since: y.at, Updated: y.at,
		Signal: signal, Service: service, Operation: "checkout", Value: 0.27, Usual: 0.1, Threshold: 0.2, Unit: "s",
	}
	if state == model.StateAlarm {
		a.Onset = y.at.Add(-15 * time.Second)
	}
	return model.Transition{From: model.StateOK, Alarm: a}
}

func (y *story) fires(services ...string) (out []model.Transition) {
	for _, s := range services {
		out = append(out, y.alarm(model.SignalDuration, s, model.StateAlarm))
	}
	return out
}

func (y *story) ends(services ...string) (out []model.Transition) {
	for _, s := range services {
		out = append(out, y.alarm(model.SignalDuration, s, model.StateOK))
	}
	return out
}

func (y *story) apply(transitions ...model.Transition) []model.Incident {
	y.t.Helper()
	for _, tr := range transitions {
		if err := y.s.SaveAlarms(y.t.Context(), "a", []model.Alarm{tr.Alarm}, nil); err != nil {
			y.t.Fatal(err)
		}
	}
	got, err := y.m.Apply(y.t.Context(), "a", transitions, y.at)
	if err != nil {
		y.t.Fatal(err)
	}
	for _, inc := range got {
		stored, err := y.s.Incident(y.t.Context(), "a", inc.ID)
		if err != nil {
			y.t.Fatal(err)
		}
		if d := cmp.Diff(stored, inc, cmpopts.EquateEmpty()); d != "" {
			y.t.Errorf("stored otherwise than returned (-stored +returned):\n%s", d)
		}
	}
	return got
}

// brief is an incident in a line.
func brief(incs []model.Incident) (out []string) {
	for _, inc := range incs {
		s := inc.ID + " " + string(inc.Status) + ":"
		for _, a := range inc.Alarms {
			s += " " + a.ID + "=" + string(a.State)
		}
		out = append(out, s)
	}
	return out
}

func (y *story) want(got []model.Incident, want ...string) {
	y.t.Helper()
	if d := cmp.Diff(want, brief(got)); d != "" {
		y.t.Errorf("at +%s (-want +got):\n%s", y.at.Sub(start), d)
	}
}

func TestAnIncidentFromItsFirstAlarmToItsEnd(t *testing.T) {
	y := begin(t, incident.Options{})
	y.want(y.apply())
	got := y.apply(y.fires("frontend")...)
	y.want(got, "INC-1 open: duration/frontend=ALARM")
	if inc := got[0]; inc.Title != "checkout in frontend: latency 2.7x its usual" || !inc.OpenedAt.Equal(start) ||
		!inc.Onset.Equal(start.Add(-15*time.Second)) || inc.Tenant != "a" {
		t.Errorf("opened as %+v", inc)
	}
	y.after(time.Minute)
	y.want(y.apply(y.fires("billing")...), "INC-1 open: duration/frontend=ALARM duration/billing=ALARM")
	y.want(y.after(time.Second).apply())
	y.want(y.apply(y.ends("frontend")...), "INC-1 open: duration/frontend=OK duration/billing=ALARM")
	y.after(time.Minute)
	got = y.apply(y.ends("billing")...)
	y.want(got, "INC-1 resolved: duration/frontend=OK duration/billing=OK")
	if inc := got[0]; !inc.ResolvedAt.Equal(y.at) || !inc.Alarms[0].Onset.Equal(start.Add(-15*time.Second)) {
		t.Errorf("resolved as %+v", inc)
	}
	y.want(y.after(time.Hour).apply())
}

func TestTheSameAlarmReopens(t *testing.T) {
	y := begin(t, incident.Options{})
	y.apply(y.fires("cart")...)
	y.after(time.Minute).apply(y.ends("cart")...)
	y.after(5 * time.Minute)
	got := y.apply(y.fires("cart")...)
	y.want(got, "INC-1 open: duration/cart=ALARM")
	if !got[0].ResolvedAt.IsZero() || !got[0].OpenedAt.Equal(start) || !got[0].ReopenedAt.Equal(y.at) {
		t.Errorf("opened again as %+v", got[0])
	}
	y.after(time.Minute).apply(y.ends("cart")...)
	y.after(time.Second)
	y.want(y.apply(y.fires("ledger")...), "INC-2 open: duration/ledger=ALARM") // another alarm is another trouble
	y.apply(y.ends("ledger")...)
	y.after(5 * time.Minute)
	y.want(y.apply(y.fires("cart")...), "INC-3 open: duration/cart=ALARM") // a second too late
}

// TestWhatBeginsAgainTakesInWhatIsNew holds that trouble which comes back with more alarms is one incident, whichever of them
// comes first.
func TestWhatBeginsAgainTakesInWhatIsNew(t *testing.T) {
	y := begin(t, incident.Options{})
	y.apply(y.fires("cart")...)
	y.after(time.Minute).apply(y.ends("cart")...)
	y.after(time.Minute)
	y.want(y.apply(append(y.fires("billing"), y.fires("cart")...)...), "INC-1 open: duration/cart=ALARM duration/billing=ALARM")
	y.after(time.Minute).apply(y.ends("billing", "cart")...)
	// What a resolved incident had joins the open one that it belongs to.
	y.after(6 * time.Minute).apply(y.fires("ledger")...)
	y.after(time.Minute).apply(y.ends("ledger")...)
	y.after(time.Minute).apply(y.fires("mail")...)
	y.want(y.apply(y.fires("ledger")...), "INC-3 open: duration/mail=ALARM duration/ledger=ALARM")
	y.want(y.after(time.Second).apply(y.ends("ledger")...), "INC-3 open: duration/mail=ALARM duration/ledger=OK")
}

// TestEpisode holds that an incident that was opened again is judged by what fires now.
func TestEpisode(t *testing.T) {
	y := begin(t, incident.Options{})
	ids := func(inc model.Incident) (time.Duration, string) {
		since, alarms := inc.Episode()
		var names []string
		for _, a := range alarms {
			names = append(names, a.Service+"="+string(a.State))
		}
		return since.Sub(start), strings.Join(names, " ")
	}
	check := func(got []model.Incident, wantSince time.Duration, want string) {
		t.Helper()
		if since, alarms := ids(got[0]); since != wantSince || alarms != want {
			t.Errorf("since %v: %s, want since %v: %s", since, alarms, wantSince, want)
		}
	}
	check(y.apply(y.fires("cart", "ledger")...), 0, "cart=ALARM ledger=ALARM")
	y.after(time.Minute)
	check(y.apply(y.ends("cart", "ledger")...), 0, "cart=OK ledger=OK")
	y.after(time.Minute)
	check(y.apply(y.fires("cart")...), 2*time.Minute, "cart=ALARM")
	y.after(time.Minute)
	check(y.apply(y.ends("cart")...), 2*time.Minute, "cart=OK")
}

func TestAlarmsLongAfterAreAnotherIncident(t *testing.T) {
	y := begin(t, incident.Options{Gap: time.Minute})
	y.apply(y.fires("cart")...)
	y.after(time.Minute)
	y.want(y.apply(y.fires("ledger")...), "INC-1 open: duration/cart=ALARM duration/ledger=ALARM")
	y.after(time.Minute + time.Nanosecond)
	y.want(y.apply(y.fires("catalog")...), "INC-2 open: duration/catalog=ALARM")
	y.after(time.Hour)
	y.want(y.apply(y.alarm(model.SignalErrors, "cart", model.StateAlarm)),
		"INC-1 open: duration/cart=ALARM duration/ledger=ALARM errors/cart=ALARM")
}

func TestServicesThatAreApart(t *testing.T) {
	y := begin(t, incident.Options{Gap: time.Minute, Apart: func(_, a, b string) bool { return a == "island" || b == "island" }})
	y.apply(y.fires("cart")...)
	y.want(y.apply(y.fires("island")...), "INC-2 open: duration/island=ALARM")
	y.want(y.apply(y.fires("ledger")...), "INC-1 open: duration/cart=ALARM duration/ledger=ALARM")
	// Nothing is known of an alarm without a service, and time decides.
	y.want(y.apply(y.alarm(model.SignalMetric, "", model.StateAlarm)),
		"INC-1 open: duration/cart=ALARM duration/ledger=ALARM metric/=ALARM")
	// What is connected is another trouble all the same when it comes much later.
	y.after(time.Hour)
	y.want(y.apply(y.fires("catalog")...), "INC-3 open: duration/catalog=ALARM")
}

func TestWithoutDataForAWhileIsOver(t *testing.T) {
	y := begin(t, incident.Options{Stale: time.Minute})
	y.apply(y.fires("cart")...)
	y.after(time.Second)
	y.want(y.apply(y.alarm(model.SignalDuration, "cart", model.StateInsufficient)), "INC-1 open: duration/cart=INSUFFICIENT_DATA")
	y.want(y.after(time.Minute - time.Nanosecond).apply())
	y.want(y.after(time.Nanosecond).apply(), "INC-1 resolved: duration/cart=INSUFFICIENT_DATA")
}

func TestOneBatchMayHoldAWholeStory(t *testing.T) {
	y := begin(t, incident.Options{})
	fires := y.fires("cart")
	ends := y.after(time.Minute).ends("cart")
	y.want(y.apply(ends[0], fires[0]), "INC-1 resolved: duration/cart=OK")
}

func TestRestartGoesOn(t *testing.T) {
	y := begin(t, incident.Options{})
	y.apply(y.fires("cart", "ledger")...)
	y.restart()
	y.want(y.after(time.Second).apply())
	y.want(y.apply(y.ends("cart")...), "INC-1 open: duration/cart=OK duration/ledger=ALARM")
	y.apply(y.ends("ledger")...)
	y.restart()
	y.after(time.Minute)
	y.want(y.apply(y.fires("cart")...), "INC-1 open: duration/ledger=OK duration/cart=ALARM") // by their latest onsets
}

// The alarms' store may be ahead of the incidents': the process died between the two.
func TestWhatWasLostOnTheWayIsFound(t *testing.T) {
	y := begin(t, incident.Options{})
	y.apply(y.fires("cart", "catalog")...)
	save := func(trs ...model.Transition) {
		for _, tr := range trs {
			if err := y.s.SaveAlarms(t.Context(), "a", []model.Alarm{tr.Alarm}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	y.after(time.Second)
	save(y.ends("cart")...)
	save(y.fires("ledger")...)
	if err := y.s.DeleteAlarms(t.Context(), "a", []string{"duration/catalog"}); err != nil {
		t.Fatal(err)
	}
	y.restart()
	y.want(y.apply(), "INC-1 open: duration/cart=OK duration/catalog=INSUFFICIENT_DATA duration/ledger=ALARM")
}

// failing is a state store whose disk fills up.
type failing struct {
	store.State
	full *bool
}

func (f failing) SaveIncidents(ctx context.Context, tenant string, list []model.Incident, entries []model.Entry) error {
	if *f.full {
		return store.ErrFull
	}
	return f.State.SaveIncidents(ctx, tenant, list, entries)
}

func TestWhatCouldNotBeStoredIsNotLost(t *testing.T) {
	full := true
	y := begin(t, incident.Options{})
	y.opts.State = failing{y.s, &full}
	y.restart()
	tr := y.fires("cart")[0]
	if err := y.s.SaveAlarms(t.Context(), "a", []model.Alarm{tr.Alarm}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := y.m.Apply(t.Context(), "a", []model.Transition{tr}, y.at); !errors.Is(err, store.ErrFull) {
		t.Errorf("apply on a full disk: %v, want ErrFull", err)
	}
	full = false
	y.want(y.after(time.Second).apply(), "INC-2 open: duration/cart=ALARM")
}

func TestTitles(t *testing.T) {
	for _, c := range []struct {
		want  string
		alarm model.Alarm
	}{
		{"pay in billing: 23 % of requests fail (usually 0.5 %)", model.Alarm{Signal: model.SignalErrors, Service: "billing", Operation: "pay", Value: 0.2345, Usual: 0.005, Unit: "ratio"}},
		{"billing: latency 27x its usual", model.Alarm{Signal: model.SignalDuration, Service: "billing", Value: 2.7, Usual: 0.1, Unit: "s"}},
		{"pay in billing: traffic 5.2x its usual", model.Alarm{Signal: model.SignalRate, Service: "billing", Operation: "pay", Value: 52, Usual: 10, Unit: "1/s"}},
		{"pay in billing: traffic down to 8 % of its usual", model.Alarm{Signal: model.SignalRate, Service: "billing", Operation: "pay", Value: 0.8, Usual: 10, Unit: "1/s"}},
		{"pay in billing: no traffic", model.Alarm{Signal: model.SignalRate, Service: "billing", Operation: "pay", Usual: 10, Unit: "1/s"}},
		{"disk: 93 % (threshold 90 %)", model.Alarm{Rule: "disk", Signal: model.SignalMetric, Value: 93, Threshold: 90, Unit: "%"}},
		{"queue in billing: 12345 (usually 17)", model.Alarm{Rule: "queue", Signal: model.SignalMetric, Service: "billing", Value: 12345, Usual: 17}},
		{"Down in cart: the probe failed", model.Alarm{Rule: "Down", Signal: model.SignalMetric, Service: "cart", Source: "prometheus", Value: 1, Reason: "the probe\nfailed"}},
		{"slow: 3 s (threshold 2 s)", model.Alarm{Rule: "slow", Signal: model.SignalDuration, Value: 3, Threshold: 2, Unit: "s"}},
	} {
		y := begin(t, incident.Options{})
		c.alarm.ID, c.alarm.State, c.alarm.Since, c.alarm.Onset = "x", model.StateAlarm, y.at, y.at
		if got := y.apply(model.Transition{Alarm: c.alarm})[0].Title; got != c.want {
			t.Errorf("title %q, want %q", got, c.want)
		}
	}
}

// Of alarms that fire at one instant, the one users feel most names the incident.
func TestTheMostImportantAlarmNames(t *testing.T) {
	y := begin(t, incident.Options{})
	rate, slow, slower := y.alarm(model.SignalRate, "cart", model.StateAlarm), y.fires("ledger")[0], y.fires("frontend")[0]
	slower.Alarm.Value = 1
	got := y.apply(rate, slow, slower)
	if want := "checkout in frontend: latency 10x its usual"; got[0].Title != want {
		t.Errorf("title %q, want %q", got[0].Title, want)
	}
}

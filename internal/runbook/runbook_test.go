//go:build unix

package runbook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"triage/internal/model"
	"triage/internal/runbook"
	"triage/internal/store"
	"triage/internal/store/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a Manager with its store; each change of a run comes out of runs.
type desk struct {
	t    *testing.T
	s    *state.Store
	m    *runbook.Manager
	runs chan runbook.Run
	now  atomic.Int64 // Unix seconds
	stop func()

	sentinels int
	systemctl string
}

func open(t *testing.T, runbooks ...string) *desk {
	t.Helper()
	return openWith(t, "echo", runbooks...)
}

// openWith is open with another program for restarts of units.
func openWith(t *testing.T, systemctl string, runbooks ...string) *desk {
	t.Helper()
	s, err := state.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, s: s, systemctl: systemctl}
	d.now.Store(1_900_000_000)
	sentinel := `{"name":"sentinel","when":{"alarm":{"rule":"sentinel"}},"dry_run":true,"do":{"command":["true"]}}`
	for _, text := range append(runbooks, sentinel) {
		b, err := runbook.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d.put(b)
	}
	d.start()
	t.Cleanup(func() {
		d.stop()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *desk) put(b runbook.Runbook) {
	d.t.Helper()
	body, err := json.Marshal(b)
	if err == nil {
		err = d.s.SaveDocuments(d.t.Context(), model.DefaultTenant, []store.Document{{Kind: runbook.DocumentKind, Name: b.Name, Body: body}})
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// start makes a Manager on what is stored, and runs it.
func (d *desk) start() {
	d.runs = make(chan runbook.Run, 100)
	runs := d.runs
	d.m = runbook.New(runbook.Options{
		State: d.s, Systemctl: d.systemctl, Secrets: func() []string { return []string{"from-the-file"} }, Changed: func(r runbook.Run) { runs <- r }, Now: func() time.Time { return time.Unix(d.now.Load(), 0).UTC() },
	})
	m := d.m
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	d.stop = func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
		done <- nil // it may be stopped twice
	}
}

// next is the next change of a run.
func (d *desk) next(want runbook.State) runbook.Run {
	d.t.Helper()
	select {
	case r := <-d.runs:
		if r.State != want && want != "" {
			d.t.Fatalf("a run is %s (%s), want %s", r.State, r.Error, want)
		}
		return r
	case <-time.After(20 * time.Second):
		d.t.Fatalf("nothing became %s", want)
	}
	return runbook.Run{}
}

// quiet tells that nothing else came of what was observed: the runbook that is there to be seen comes next, and it is
// decided last.
func (d *desk) quiet() {
	d.t.Helper()
	d.sentinels++
	d.m.Observe(model.Incident{
		ID: fmt.Sprintf("ZZZ-%d", d.sentinels), Tenant: model.DefaultTenant, Status: model.IncidentOpen,
		Alarms: []model.Alarm{{ID: "sentinel", Rule: "sentinel", State: model.StateAlarm}},
	})
	if r := d.next(runbook.Rehearsed); r.Runbook != "sentinel" {
		d.t.Errorf("%s was rehearsed all the same", r.Runbook)
	}
}

// restart stops and starts anew on what is stored.
func (d *desk) restart() {
	d.stop()
	d.start()
}

func (d *desk) after(s int) { d.now.Add(int64(s)) }

func (d *desk) incident(id string) model.Incident {
	at := time.Unix(d.now.Load(), 0).UTC()
	inc := model.Incident{
		ID: id, Tenant: model.DefaultTenant, Status: model.IncidentOpen, OpenedAt: at, Onset: at,
		Alarms:  []model.Alarm{{ID: "errors{cart}", Rule: "errors", Service: "cart", Labels: map[string]string{"zone": "eu-1"}, State: model.StateAlarm}},
		Verdict: &model.Verdict{ID: id + ".1", Incident: id, Revision: 1, At: at, Why: &model.Cause{Class: model.ClassResource, Mechanism: model.DiskFull, Entity: "service:cart", Confidence: 0.9}},
	}
	// The verdict comes first, as a manager that starts just now may find the incident before it is observed.
	if err := d.s.SaveVerdict(d.t.Context(), inc.Tenant, *inc.Verdict, nil); err != nil {
		d.t.Fatal(err)
	}
	if err := d.s.SaveIncidents(d.t.Context(), inc.Tenant, []model.Incident{inc}, nil); err != nil {
		d.t.Fatal(err)
	}
	return inc
}

func (d *desk) journal() (out []string) {
	list, err := d.s.Journal(d.t.Context(), model.DefaultTenant, "", store.Window{To: time.Unix(d.now.Load()+10, 0)}, 100)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range list {
		out = append(out, strings.TrimPrefix(e.By+" ", " ")+e.Text)
	}
	return out
}

// times counts how often a command wrote into a file.
func times(t *testing.T, file string) int {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

// writes is a runbook that writes a line into a file, and more of it.
func writes(file, more string) string {
	return fmt.Sprintf(`{"name":"write","when":{"alarm":{"rule":"errors"}},"do":{"command":["sh","-c","echo $TRIAGE_INCIDENT $TRIAGE_ENTITY >> %s; echo done"]}%s}`, file, more)
}

func TestARunFromAlarmToEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	d := open(t, writes(file, `,"approval":"none"`))
	inc := d.incident("INC-1")
	d.m.Observe(inc)
	d.next(runbook.Running)
	r := d.next(runbook.Succeeded)
	if r.Output != "done\n" || r.Why != "alarm errors{cart}" || r.Incident != "INC-1" {
		t.Errorf("run %+v", r)
	}
	if b, _ := os.ReadFile(file); string(b) != "INC-1 service:cart\n" {
		t.Errorf("it wrote %q", b)
	}
	// Once an episode, also after a restart, and whatever else is heard of the incident.
	d.m.Observe(inc)
	d.quiet()
	d.restart()
	d.m.Observe(inc)
	d.quiet()
	if n := times(t, file); n != 1 {
		t.Errorf("it ran %d times", n)
	}
	does := fmt.Sprintf(`sh -c "echo $TRIAGE_INCIDENT $TRIAGE_ENTITY >> %s; echo done"`, file)
	if diff := cmp.Diff([]string{"write running: " + does, "write succeeded: " + does, "sentinel rehearsed: true", "sentinel rehearsed: true"}, d.journal()); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
}

func TestApproval(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	d := open(t, writes(file, ""))
	d.m.Observe(d.incident("INC-1"))
	r := d.next(runbook.Waiting)
	d.quiet()
	if _, err := d.m.Approve(t.Context(), r.ID, ""); !errors.Is(err, runbook.ErrInvalid) {
		t.Errorf("approved by nobody: %v", err)
	}
	if got, err := d.m.Approve(t.Context(), r.ID, "ann"); err != nil || got.State != runbook.Running || got.By != "ann" {
		t.Errorf("approved: %+v, %v", got, err)
	}
	d.next(runbook.Running)
	d.next(runbook.Succeeded)
	for name, do := range map[string]func(context.Context, string, string) (runbook.Run, error){"approve": d.m.Approve, "refuse": d.m.Refuse, "undo": d.m.Undo} {
		if _, err := do(t.Context(), r.ID, "bob"); !errors.Is(err, runbook.ErrConflict) {
			t.Errorf("%s what is over: %v", name, err)
		}
		if _, err := do(t.Context(), "none", "bob"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s what is not there: %v", name, err)
		}
	}
	d.after(3600)
	d.m.Observe(d.incident("INC-2"))
	refused := d.next(runbook.Waiting)
	if _, err := d.m.Refuse(t.Context(), refused.ID, "bob"); err != nil {
		t.Error(err)
	}
	d.next(runbook.Refused)
	inc := d.incident("INC-3")
	d.m.Observe(inc)
	d.next(runbook.Waiting)
	inc.Status = model.IncidentResolved
	d.m.Observe(inc)
	d.next(runbook.Expired)
	if n := times(t, file); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

// What was approved is what was shown.
func TestARunbookThatChangedIsNotApproved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	d := open(t, writes(file, ""))
	d.m.Observe(d.incident("INC-1"))
	r := d.next(runbook.Waiting)
	b, err := runbook.Parse([]byte(strings.Replace(writes(file, ""), "echo done", "rm -r x", 1)))
	if err != nil {
		t.Fatal(err)
	}
	d.put(b)
	if err := d.m.Reload(t.Context(), model.DefaultTenant); err != nil {
		t.Fatal(err)
	}
	if _, err := d.m.Approve(t.Context(), r.ID, "ann"); !errors.Is(err, runbook.ErrConflict) {
		t.Errorf("approved: %v", err)
	}
}

func TestCoolDownLimitAndDryRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	d := open(t, writes(file, `,"approval":"none","cool_down":"10m","per_hour":2`),
		strings.Replace(writes(file, `,"dry_run":true,"approval":"none"`), `"write"`, `"rehearse"`, 1))
	run := func(id string, want ...runbook.State) (last runbook.Run) {
		t.Helper()
		d.m.Observe(d.incident(id))
		d.next(runbook.Rehearsed)
		for _, s := range want {
			last = d.next(s)
		}
		return last
	}
	run("INC-1", runbook.Running, runbook.Succeeded)
	d.after(599)
	if r := run("INC-2", runbook.Skipped); !strings.HasPrefix(r.Error, "it cools down until") {
		t.Errorf("skipped for %s", r.Error)
	}
	d.after(1)
	run("INC-3", runbook.Running, runbook.Succeeded)
	d.after(601)
	skipped := run("INC-4", runbook.Skipped)
	if skipped.Error != "it has run 2 times within an hour, which is its limit" {
		t.Errorf("skipped for %s", skipped.Error)
	}
	// Somebody may know better.
	if _, err := d.m.Approve(t.Context(), skipped.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	d.next(runbook.Running)
	d.next(runbook.Succeeded)
	d.after(3600)
	run("INC-5", runbook.Running, runbook.Succeeded)
	if n := times(t, file); n != 4 {
		t.Errorf("it ran %d times, want 4", n)
	}
}

// A program that hangs is ended with all its children, and not begun again.
func TestWhatHangsIsStopped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	d := open(t, fmt.Sprintf(`{"name":"hang","when":{"verdict":{"class":"resource","confidence":0.5}},"approval":"none",
		"do":{"command":["sh","-c","echo x >> %s; sleep 600 & sleep 600"],"timeout":"300ms"}}`, file))
	inc := d.incident("INC-1")
	d.m.Observe(inc)
	d.next(runbook.Running)
	if r := d.next(runbook.Stopped); r.Error != "it took too long and was stopped" {
		t.Errorf("stopped for %s", r.Error)
	}
	d.m.Observe(inc)
	d.quiet()
	if n := times(t, file); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

func TestWhatFails(t *testing.T) {
	d := open(t, `{"name":"fail","when":{"verdict":{"mechanism":"disk-full"}},"approval":"none","do":{"command":["sh","-c","echo no space >&2; exit 3"]}}`,
		`{"name":"gone","when":{"verdict":{"mechanism":"disk-full"}},"approval":"none","do":{"command":["/nowhere/at/all"]}}`)
	d.m.Observe(d.incident("INC-1"))
	got := map[string]runbook.Run{}
	for range 4 {
		r := <-d.runs
		got[r.Runbook+" "+string(r.State)] = r
	}
	if r := got["fail failed"]; r.Error != "exit status 3" || r.Output != "no space\n" {
		t.Errorf("fail: %+v", got)
	}
	if r := got["gone failed"]; !strings.Contains(r.Error, "no such file") {
		t.Errorf("gone: %+v", got)
	}
}

// Killed while something ran, triage says that it doesn't know, and does it no second time.
func TestWhatWasCutOffIsUnknown(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "out"), filepath.Join(dir, "go-on")
	d := open(t, fmt.Sprintf(`{"name":"slow","when":{"alarm":{"service":"cart"}},"approval":"none","undo":{"command":["true"]},
		"do":{"command":["sh","-c","echo x >> %s; while [ ! -e %s ]; do sleep 0.05; done"]}}`, file, pipe))
	inc := d.incident("INC-1")
	d.m.Observe(inc)
	r := d.next(runbook.Running)
	for deadline := time.Now().Add(20 * time.Second); times(t, file) == 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond) // it is another program
	}
	first := d.stop
	d.start() // as another process would, on what the first one has stored
	if got := d.next(runbook.Unknown); got.ID != r.ID || !strings.Contains(got.Error, "not repeated") {
		t.Errorf("run %+v", got)
	}
	d.m.Observe(inc)
	d.quiet()
	if err := os.WriteFile(pipe, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.m.Undo(t.Context(), r.ID, "ann"); err != nil {
		t.Errorf("what is unknown cannot be taken back: %v", err)
	}
	d.next(runbook.Running)
	d.next(runbook.Succeeded)
	first()
	if n := times(t, file); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

// Stopped in order, triage stops what runs.
func TestShutdownStopsWhatRuns(t *testing.T) {
	d := open(t, `{"name":"slow","when":{"alarm":{"service":"c*t"}},"approval":"none","do":{"command":["sleep","600"]}}`)
	d.m.Observe(d.incident("INC-1"))
	d.next(runbook.Running)
	d.stop()
	if r := d.next(runbook.Stopped); r.Error != "triage was stopped, and it with it" {
		t.Errorf("stopped for %s", r.Error)
	}
}

func TestUndo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	d := open(t, writes(file, fmt.Sprintf(`,"approval":"none","undo":{"command":["rm","%s"]}`, file)))
	d.m.Observe(d.incident("INC-1"))
	d.next(runbook.Running)
	r := d.next(runbook.Succeeded)
	list, err := d.m.Runs(t.Context(), "INC-1")
	if err != nil || len(list) != 1 || !list[0].CanUndo {
		t.Errorf("runs %+v, %v", list, err)
	}
	undo, err := d.m.Undo(t.Context(), r.ID, "ann")
	if err != nil || undo.Of != r.ID || undo.By != "ann" {
		t.Fatalf("undo %+v, %v", undo, err)
	}
	d.next(runbook.Running)
	d.next(runbook.Succeeded)
	if n := times(t, file); n != 0 {
		t.Error("it was not taken back")
	}
	for name, id := range map[string]string{"again": r.ID, "the undo": undo.ID} {
		if _, err := d.m.Undo(t.Context(), id, "ann"); !errors.Is(err, runbook.ErrConflict) {
			t.Errorf("undo %s: %v", name, err)
		}
	}
}

func TestWebhookAndUnit(t *testing.T) {
	hang := make(chan struct{})
	var body, key string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			b, _ := io.ReadAll(r.Body)
			body, key = string(b), r.Header.Get("Idempotency-Key")+" "+r.Header.Get("X-Key")
			io.WriteString(w, "thanks")
		case "/no":
			w.WriteHeader(http.StatusTeapot)
		case "/hang":
			<-hang
		}
	}))
	defer srv.Close()
	defer close(hang)
	hook := func(name, path string) string {
		return fmt.Sprintf(`{"name":%q,"when":{"alarm":{"labels":{"zone":"eu-*"}}},"approval":"none","do":{"timeout":"500ms","webhook":{"url":"%s%s","headers":{"X-Key":"k"}}}}`, name, srv.URL, path)
	}
	d := open(t, hook("ok", "/ok"), hook("no", "/no"), hook("hang", "/hang"),
		`{"name":"unit","when":{"alarm":{"labels":{"zone":"eu-1"}}},"approval":"none","do":{"restart_unit":"cart@1.service"}}`)
	d.m.Observe(d.incident("INC-1"))
	got := map[string]runbook.Run{}
	for len(got) < 4 {
		if r := <-d.runs; r.State != runbook.Running {
			got[r.Runbook] = r
		}
	}
	want := map[string]string{
		"ok": "succeeded||thanks", "no": "failed|it answered 418 I'm a teapot|", "hang": "stopped|it took too long and was stopped|",
		"unit": "succeeded||--no-ask-password restart -- cart@1.service\n", // by the program that stands for systemctl
	}
	have := map[string]string{}
	for name, r := range got {
		have[name] = string(r.State) + "|" + r.Error + "|" + r.Output
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if !strings.Contains(body, `"mechanism":"disk-full"`) || key != got["ok"].ID+" k" {
		t.Errorf("it was sent %s with %s", body, key)
	}
}

func TestWhatDoesNotMatch(t *testing.T) {
	do := `"approval":"none","do":{"command":["true"]}`
	d := open(t,
		`{"name":"rule","when":{"alarm":{"rule":"error"}},`+do+`}`, `{"name":"label","when":{"alarm":{"labels":{"zone":"us-*"}}},`+do+`}`,
		`{"name":"sure","when":{"verdict":{"confidence":0.95}},`+do+`}`, `{"name":"entity","when":{"verdict":{"entity":"service:*art?"}},`+do+`}`,
		`{"name":"both","when":{"alarm":{"rule":"errors"},"verdict":{"class":"network"}},`+do+`}`,
	)
	d.m.Observe(d.incident("INC-1"))
	suppressed := d.incident("INC-2")
	suppressed.Alarms[0].Suppressed, suppressed.Alarms[0].Rule = "muted", "error"
	d.m.Observe(suppressed)
	earlier := d.incident("INC-3") // the verdict is on the episode before
	earlier.ReopenedAt, earlier.Verdict.Why.Confidence = earlier.OpenedAt.Add(time.Hour), 1
	d.m.Observe(earlier)
	other := d.incident("INC-4")
	other.Tenant, other.Alarms[0].Rule = "other", "error"
	d.m.Observe(other)
	d.quiet()
}

func TestWhatIsWrong(t *testing.T) {
	good := `{"name":"a","when":{"alarm":{}},"do":{"command":["true"]}}`
	if _, err := runbook.Parse([]byte(good)); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"a"`, `""`, "name: has 0 bytes"},
		{`{"alarm":{}}`, `{}`, "when: neither alarm nor verdict"},
		{`{"alarm":{}}`, `{"verdict":{"class":"fate"}}`, `when.verdict.class: "fate"`},
		{`{"alarm":{}}`, `{"verdict":{"entity":"cart"}}`, `when.verdict.entity: "cart" is not kind:name`},
		{`{"alarm":{}}`, `{"verdict":{"confidence":2}}`, "when.verdict.confidence: 2"},
		{`{"command":["true"]}`, `{}`, "do: 0 of command, webhook and restart_unit"},
		{`["true"]`, `["true"],"restart_unit":"x"`, "do: 2 of command"},
		{`"command":["true"]`, `"restart_unit":"-x; rm"`, "do.restart_unit"},
		{`"command":["true"]`, `"webhook":{"url":"file:///etc"}`, "do.webhook.url"},
		{`["true"]`, `["true"],"timeout":"2h"`, "do.timeout: 2h is not between"},
		{`"do"`, `"approval":"maybe","do"`, `approval: "maybe"`},
		{`"do"`, `"undo":{},"do"`, "undo: 0 of"},
		{`"do"`, `"color":"red","do"`, `unknown field "color"`},
	} {
		if _, err := runbook.Parse([]byte(strings.Replace(good, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.new, err, c.want)
		}
	}
}

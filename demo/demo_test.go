package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"

	"triage/client"
	"triage/demo/exam"
	"triage/demo/load"
	"triage/demo/scenario"
	"triage/demo/shop"
	"triage/internal/model"
)

// TestMain lets this binary be a process of the shop, as the real one is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "demo" {
		ctx, cancel := context.WithCancel(context.Background())
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		go func() {
			<-stop
			cancel()
		}()
		cmd := Command()
		cmd.SetArgs(os.Args[2:])
		if err := cmd.ExecuteContext(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestResultJSON(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	four, nine := 4.5, 9.0
	broken := trial{name: "s", Case: scenario.Case{
		Truths: []scenario.Truth{{Class: "self", Entity: "service:x", Mechanism: "slow-code"}, {Class: "network"}}, Target: "x, 80 ms",
	}}
	const injected = `"target":"x, 80 ms","injected":{"class":"self","entity":"service:x","mechanism":"slow-code","at":"2026-03-01T12:00:00Z"},`
	verdict, err := json.Marshal(client.Verdict{ID: "v"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		in   outcome
		want string
	}{
		{"found", outcome{trial: broken, at: at, detected: &four, answered: &nine, verdict: &client.Verdict{ID: "v"}, correct: true},
			`{"scenario":"s",` + injected + `"detected_after_s":4.5,"verdict_after_s":9,"verdict":` + string(verdict) + `,"correct":true}`},
		{"not found", outcome{trial: broken, at: at},
			`{"scenario":"s",` + injected + `"detected_after_s":null,"verdict_after_s":null,"verdict":null,"correct":false}`},
		{"quiet", outcome{trial: trial{name: "quiet", Case: scenario.Case{For: 5 * time.Minute}}, during: exam.Quiet{Incidents: 2, Verdicts: 1}, correct: true},
			`{"scenario":"quiet","target":"","for_s":300,"false_incidents":2,"false_verdicts":1,"correct":true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := json.Marshal(newResult(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// fakeTriage answers without a network, so that it can be asked in a bubble of synctest.
type fakeTriage struct {
	mu        sync.Mutex // guards what follows
	alarms    []client.Alarm
	incidents []client.Incident
	revisions map[string][]client.Verdict // by incident
}

func (f *fakeTriage) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	var answer any
	id, verdicts := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/incidents/"), "/verdicts")
	switch {
	case r.URL.Path == "/api/v1/alarms":
		answer = client.AlarmList{Alarms: f.alarms}
	case r.URL.Path == "/api/v1/incidents":
		status := client.IncidentStatus(r.URL.Query().Get("status"))
		list := slices.DeleteFunc(slices.Clone(f.incidents), func(in client.Incident) bool { return status != "" && in.Status != status })
		answer = map[string]any{"incidents": list}
	case verdicts:
		answer = map[string]any{"verdicts": f.revisions[id]}
	default:
		return nil, fmt.Errorf("nobody asks for %s", r.URL)
	}
	rec := httptest.NewRecorder()
	if err := json.NewEncoder(rec).Encode(answer); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// change lets a test's story go on while triage is asked.
func (f *fakeTriage) change(by func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	by()
}

// newSession is a session with nothing behind it but a fake.
func newSession(f *fakeTriage, progress io.Writer) *session {
	return &session{
		began: time.Now(), quietSince: time.Now(), progress: progress, failed: func() error { return nil },
		client: client.New("http://triage", client.WithHTTPClient(&http.Client{Transport: f})),
		load:   load.New(load.Config{Rate: 1}), world: &scenario.World{},
	}
}

var (
	truthOfTest = scenario.Truth{Class: model.ClassSelf, Entity: "service:x", Mechanism: model.SlowCode}
	rightCause  = &model.Cause{Class: truthOfTest.Class, Entity: truthOfTest.Entity, Mechanism: truthOfTest.Mechanism}
	wrongCause  = &model.Cause{Class: model.ClassChange, Entity: "change:x", Mechanism: model.BadDeployment}
)

// TestJudge holds which verdict counts: the first revision, of whatever incident, that was made after the injection.
func TestJudge(t *testing.T) {
	at := time.Now().Truncate(time.Second)
	verdict := func(after time.Duration, why *model.Cause) client.Verdict {
		return client.Verdict{ID: fmt.Sprint("v", after), At: at.Add(after), Why: why}
	}
	type story struct {
		opened, reopened, alarm time.Duration // after the injection; 0 is never
		revisions               []client.Verdict
	}
	for _, c := range []struct {
		name    string
		stories []story
		want    string
		correct bool
	}{
		{"a later revision doesn't count",
			[]story{{opened: 5 * time.Second, revisions: []client.Verdict{verdict(6*time.Second, wrongCause), verdict(9*time.Second, rightCause)}}},
			"v6s", false},
		{"the earliest of two incidents counts",
			[]story{
				{opened: 8 * time.Second, revisions: []client.Verdict{verdict(9*time.Second, wrongCause)}},
				{opened: 5 * time.Second, revisions: []client.Verdict{verdict(6*time.Second, rightCause)}},
			}, "v6s", true},
		{"what was said before doesn't count",
			[]story{{opened: -9 * time.Second, reopened: 5 * time.Second,
				revisions: []client.Verdict{verdict(-5*time.Second, wrongCause), verdict(7*time.Second, rightCause), verdict(9*time.Second, wrongCause)}}},
			"v7s", true},
		{"an incident that went on is not about it",
			[]story{
				{opened: -9 * time.Second, revisions: []client.Verdict{verdict(-5*time.Second, wrongCause), verdict(3*time.Second, wrongCause)}},
				{opened: 6 * time.Second, revisions: []client.Verdict{verdict(7*time.Second, rightCause)}},
			}, "v7s", true},
		{"but it is once an alarm has joined it",
			[]story{{opened: -9 * time.Second, alarm: 4 * time.Second, revisions: []client.Verdict{verdict(5*time.Second, rightCause)}}}, "v5s", true},
		{"no cause is no answer",
			[]story{{opened: 5 * time.Second, revisions: []client.Verdict{verdict(6*time.Second, nil)}}}, "v6s", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeTriage{revisions: map[string][]client.Verdict{}}
			for i, s := range c.stories {
				in := client.Incident{ID: fmt.Sprint("INC-", i), OpenedAt: at.Add(s.opened), Verdict: &s.revisions[len(s.revisions)-1]}
				if s.reopened != 0 {
					in.ReopenedAt = at.Add(s.reopened)
				}
				if s.alarm != 0 {
					in.Alarms = []client.Alarm{{ID: "a", State: client.StateAlarm, Since: at.Add(s.alarm)}}
				}
				f.incidents, f.revisions[in.ID] = append(f.incidents, in), s.revisions
			}
			var progress bytes.Buffer
			o := outcome{trial: trial{Case: scenario.Case{Truths: []scenario.Truth{truthOfTest}}}, at: at}
			if err := newSession(f, &progress).judge(t.Context(), &o); err != nil {
				t.Fatal(err)
			}
			if o.verdict == nil || o.verdict.ID != c.want || o.correct != c.correct || o.detected == nil {
				t.Errorf("correct %v, verdict %+v; want %v, %s\n%s", o.correct, o.verdict, c.correct, c.want, progress.String())
			}
		})
	}
}

// TestRun walks through a trial: when things are done, and in which order.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTriage{revisions: map[string][]client.Verdict{}, alarms: []client.Alarm{{ID: "old"}}}
		s := newSession(f, io.Discard)
		began := time.Now()
		var did []string
		note := func(what string) { did = append(did, fmt.Sprintf("%s %.0f", what, time.Since(began).Seconds())) }
		undo := func(what string) func(context.Context) error {
			return func(context.Context) error { note(what); return nil }
		}
		// What happens by itself happens a moment before triage is asked.
		soon := func(d time.Duration, f func()) { time.AfterFunc(d-100*time.Millisecond, f) }
		s.quietSince = time.Time{} // of a trial before, whose alarm fires for 20 s more
		soon(20*time.Second, func() { f.change(func() { f.alarms = nil }) })
		// While nothing is wrong, an incident comes and goes.
		soon(40*time.Second, func() {
			f.change(func() {
				at := time.Now()
				f.incidents = []client.Incident{
					{ID: "INC-1", Status: client.IncidentOpen, OpenedAt: at, Verdict: &client.Verdict{At: at, Why: wrongCause}},
					// This one was opened again and blames nothing any more but what it did then.
					{ID: "INC-0", Status: client.IncidentResolved, ReopenedAt: at, Verdict: &client.Verdict{At: began, Why: wrongCause}},
				}
			})
		})
		soon(50*time.Second, func() { f.change(func() { f.incidents[0].Status = client.IncidentResolved }) })
		tr := trial{name: "x", rate: 1, wait: 10 * time.Second, Case: scenario.Case{
			Truths: []scenario.Truth{truthOfTest},
			Lead:   5 * time.Second,
			Prepare: func(context.Context, *scenario.World) (func(context.Context) error, error) {
				note("prepare")
				return undo("undo"), nil
			},
			Inject: func(context.Context, *scenario.World) (func(context.Context) error, error) {
				note("inject")
				time.Sleep(5 * time.Second)
				soon(15*time.Second, func() {
					f.change(func() {
						v := client.Verdict{At: time.Now(), Why: rightCause}
						f.incidents = append(f.incidents, client.Incident{ID: "INC-2", Status: client.IncidentOpen, OpenedAt: time.Now(), Verdict: &v})
						f.revisions["INC-2"] = []client.Verdict{v}
					})
				})
				return undo("remove"), nil
			},
		}}
		var got outcome
		if err := s.run(t.Context(), tr, func(o outcome) error { note("judged"); got = o; return nil }); err != nil {
			t.Fatal(err)
		}
		// Settled 10 s after the alarm, learned for 45 s, settled for 10 s again, waited 10 s, led in for 5 s, judged after 15 s.
		want := []string{"prepare 30", "inject 95", "judged 115", "remove 115", "undo 115"}
		if d := cmp.Diff(want, did); d != "" {
			t.Error(d)
		}
		if !got.settled || !got.correct || got.answered == nil || *got.answered != 15 {
			t.Errorf("settled %v, correct %v, answered after %s", got.settled, got.correct, seconds(got.answered))
		}
		if d := cmp.Diff(exam.Quiet{Seconds: 70, Incidents: 2, Verdicts: 1}, got.before); d != "" {
			t.Error(d)
		}
		if !s.quietSince.IsZero() {
			t.Error("after a fault all is said to be quiet, though nobody has looked")
		}
	})
}

func TestRunGoesOnInAWorldThatDoesNotCalmDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeTriage{alarms: []client.Alarm{{ID: "for ever"}}}
		var progress bytes.Buffer
		s := newSession(f, &progress)
		s.quietSince = time.Time{}
		began := time.Now()
		tr := trial{rate: 1, Case: scenario.Case{
			Truths: []scenario.Truth{truthOfTest},
			Inject: func(context.Context, *scenario.World) (func(context.Context) error, error) {
				return func(context.Context) error { return nil }, nil
			},
		}}
		var got outcome
		if err := s.run(t.Context(), tr, func(o outcome) error { got = o; return nil }); err != nil {
			t.Fatal(err)
		}
		if got.settled || got.verdict != nil || got.correct || got.before.Seconds != 0 {
			t.Errorf("outcome %+v", got)
		}
		if limit := 6 * time.Minute; time.Since(began) > limit {
			t.Errorf("it took %s, more than %s", time.Since(began), limit)
		}
		if !strings.Contains(progress.String(), "for ever") {
			t.Errorf("nothing is said of it:\n%s", progress.String())
		}
	})
}

func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name              string
		blamed, tolerated int // incidents are three, of which the first so many blame something
		correct           bool
	}{
		{"five minutes must be silent", 0, -1, false},
		{"an hour may have incidents", 0, 1, true},
		{"and one false verdict", 1, 1, true},
		{"but not two", 2, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeTriage{incidents: []client.Incident{{ID: "INC-0", OpenedAt: time.Now().Add(-time.Minute), Verdict: &client.Verdict{Why: wrongCause}}}}
				for i := range 3 {
					time.AfterFunc(time.Duration(i+1)*time.Minute, func() {
						f.change(func() {
							in := client.Incident{ID: fmt.Sprint("INC-", i+1), OpenedAt: time.Now(), Verdict: &client.Verdict{At: time.Now()}}
							if i < c.blamed {
								in.Verdict.Why = wrongCause
							}
							f.incidents = append(f.incidents, in)
						})
					})
				}
				o := outcome{trial: trial{Case: scenario.Case{For: 5 * time.Minute}, tolerated: c.tolerated}, at: time.Now()}
				if err := newSession(f, io.Discard).watch(t.Context(), &o); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(exam.Quiet{Seconds: 300, Incidents: 3, Verdicts: c.blamed}, o.during); d != "" {
					t.Error(d)
				}
				if o.correct != c.correct {
					t.Errorf("correct is %v", o.correct)
				}
			})
		})
	}
}

// TestStatus holds what the exit status says.
func TestStatus(t *testing.T) {
	outcomes := func(right, wrong int, silent bool) []outcome {
		var out []outcome
		for i := range right + wrong {
			out = append(out, outcome{trial: trial{Case: scenario.Case{Truths: []scenario.Truth{truthOfTest}}}, correct: i < right})
		}
		return append(out, outcome{trial: trial{Case: scenario.Case{For: time.Minute}}, correct: silent})
	}
	for _, c := range []struct {
		name     string
		all      bool
		outcomes []outcome
		ok       bool
	}{
		{"all of all", true, outcomes(11, 0, true), true},
		{"nine of eleven", true, outcomes(9, 2, true), true},
		{"eight of eleven", true, outcomes(8, 3, true), false},
		{"all, but not quiet", true, outcomes(11, 0, false), false},
		{"chosen ones, all right", false, outcomes(2, 0, true), true},
		{"chosen ones, one wrong", false, outcomes(8, 1, true), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := (Options{All: c.all}).status(c.outcomes); (err == nil) != c.ok {
				t.Errorf("status is %v", err)
			}
		})
	}
}

func TestAllPrintsASummary(t *testing.T) {
	six := 6.0
	outcomes := []outcome{
		{trial: trial{name: "one", Case: scenario.Case{Truths: []scenario.Truth{truthOfTest}}}, detected: &six, answered: &six,
			verdict: &client.Verdict{Why: rightCause}, correct: true, before: exam.Quiet{Seconds: 60, Incidents: 1}},
		{trial: trial{name: "two", Case: scenario.Case{Truths: []scenario.Truth{truthOfTest}}}},
		{trial: trial{name: "quiet", Case: scenario.Case{For: time.Minute}}, correct: true},
	}
	s := summarize(outcomes)
	s.TookS = 90
	var text, line bytes.Buffer
	if err := errors.Join((Options{}).printSummary(&text, outcomes, s), (Options{JSON: true}).printSummary(&line, outcomes, s)); err != nil {
		t.Fatal(err)
	}
	want := `
SCENARIO  ALARM  VERDICT         NAMED
one       6.0 s  6.0 s    right  class self, entity service:x, mechanism slow-code
two       -      -        wrong  no verdict
quiet     -      -        right  0 incidents in 1m0s

1 of 2 right. 1 incidents in 60 s between them. It took 1.5 minutes.
`
	if d := cmp.Diff(want, text.String()); d != "" {
		t.Error(d)
	}
	want = `{"summary":{"scenarios":2,"right":1,"silent":true,"passed":true,"between":{"seconds":60,"incidents":1,"verdicts":0},"took_s":90}}` + "\n"
	if d := cmp.Diff(want, line.String()); d != "" {
		t.Error(d)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--all --scenario quiet", "--scenario and --all"},
		{"--all --exam", "--all and --exam"},
		{"--quiet-for 1h --exam", "--quiet-for and --exam"},
		{"--runs 3", "--runs is for --exam"},
		{"--all --rename", "--rename is for --exam"},
		{"--out x", "--out is for --exam"},
		{"--exam --runs 0", "--runs 0"},
		{"--rate 0", "--rate 0"},
		{"--warmup -1s", "--warmup -1s"},
		{"--quiet-for -1h", "--quiet-for -1h"},
		{"--quiet-for 1h --record x", "--record"},
		{"--scenario nothing", `"nothing"`},
		{"own-bug", "--scenario"},
	} {
		t.Run(c.args, func(t *testing.T) {
			cmd := Command()
			cmd.SetArgs(strings.Fields(c.args))
			err := cmd.ExecuteContext(t.Context())
			if usage := (UsageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error is %v, want one of usage that says %s", err, c.says)
			}
		})
	}
}

func TestTrials(t *testing.T) {
	all, err := Options{All: true, Seed: 7, Record: "r"}.trials()
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		if last := i == len(all)-1; s.stay != last || len(s.Truths) == 0 != last {
			t.Errorf("%s is number %d of %d, stays: %v", s.name, i+1, len(all), s.stay)
		}
		if want := filepath.Join("r", fmt.Sprintf("%02d-%s-S7", i+1, s.name)); s.record != want {
			t.Errorf("%s is recorded to %s, want %s", s.name, s.record, want)
		}
	}
	quiet, err := Options{QuietFor: time.Hour}.trials()
	if err != nil || len(quiet) != 1 || quiet[0].For != time.Hour || quiet[0].tolerated != 1 || quiet[0].stay {
		t.Errorf("trials %+v, error %v", quiet, err)
	}
}

// TestFinishedExamIsPrintedAgain needs no triage and no shop for that.
func TestFinishedExamIsPrintedAgain(t *testing.T) {
	o := Options{Exam: true, Runs: 2, Seed: 7, Rate: 30, Data: t.TempDir(), JSON: true}
	l, err := o.ledger()
	if err != nil {
		t.Fatal(err)
	}
	for n := range o.Runs {
		if err := l.Add(exam.Run{Run: n + 1, Scenario: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var out, progress bytes.Buffer
	if err := Run(t.Context(), o, &out, &progress); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[1], `{"run":2,`) || !strings.HasPrefix(lines[2], `{"summary":{"exam":{"seed":7,"runs":2,`) {
		t.Errorf("printed was\n%s", out.String())
	}
	o.Runs = 3
	err = Run(t.Context(), o, &out, &progress)
	if usage := (UsageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "--runs 2") || !strings.Contains(err.Error(), "--out") {
		t.Errorf("error is %v, want what it was begun with and what to do", err)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	s := session{Options: Options{HTTP: "127.0.0.1:0", OTLPGRPC: l.Addr().String(), OTLPHTTP: "127.0.0.1:0"}}
	err = s.portsAreFree()
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "TRIAGE_LISTEN_OTLP_GRPC") {
		t.Errorf("%v, want the address and the way out", err)
	}
}

func TestStopEndsAProcessThatDoesNotListen(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell on this machine")
	}
	p, err := start("stubborn", t.TempDir(), exec.Command(sh, "-c", "trap '' TERM; while :; do sleep 1; done"), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.stop(syscall.SIGTERM, 50*time.Millisecond)
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		t.Errorf("it ended with %v", p.err)
	}
}

// spanCounter is a collector that counts spans by service and version.
type spanCounter struct {
	ptraceotlp.UnimplementedGRPCServer
	mu    sync.Mutex
	spans map[string]int
}

func (c *spanCounter) Export(_ context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.Traces().ResourceSpans().All() {
		service, _ := rs.Resource().Attributes().Get("service.name")
		version, _ := rs.Resource().Attributes().Get("service.version")
		for _, ss := range rs.ScopeSpans().All() {
			c.spans[service.AsString()+" "+version.AsString()] += ss.Spans().Len()
		}
	}
	return ptraceotlp.NewExportResponse(), nil
}

func (c *spanCounter) seen(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans[key] > 0
}

// TestFleet runs the real processes, replaces one under load, and looks for lost requests and lost processes.
func TestFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("starts nine processes and a database")
	}
	collector := &spanCounter{spans: map[string]int{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(srv, collector)
	go func() { _ = srv.Serve(l) }()
	defer srv.Stop()

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "triage-demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	f, err := newFleet(exe, dir, l.Addr().String(), 1, nil, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer f.stop()
	if err := f.start(t.Context()); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var customers sync.WaitGroup
	var sent, failed atomic.Int64
	for range 8 {
		customers.Go(func() {
			for ctx.Err() == nil {
				body := strings.NewReader(`{"lines":[{"sku":"KIT-1005","qty":1}],"card":"tok"}`)
				res, err := http.Post(f.address()+"/purchases", "application/json", body)
				sent.Add(1)
				if err != nil {
					failed.Add(1)
					continue
				}
				text, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					failed.Add(1)
					t.Logf("%s: %s", res.Status, text)
				}
			}
		})
	}
	waitFor(t, "requests", func() bool { return sent.Load() > 50 })
	old, err := f.member("payment")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.restart(t.Context(), "payment", shop.Options{Version: "9.9.9"}); err != nil {
		t.Fatal(err)
	}
	n := sent.Load()
	waitFor(t, "requests after the restart", func() bool { return sent.Load() > n+50 })
	cancel()
	customers.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), sent.Load())
	}
	if old.err != nil {
		t.Errorf("the old version ended with %v: %s", old.err, old.lastLines())
	}
	if err := f.failed(); err != nil {
		t.Error(err)
	}
	waitFor(t, "spans of both versions", func() bool { return collector.seen("payment 9.9.9") && collector.seen("payment 1.0.0") })
	members := f.members
	f.stop()
	for name, m := range members {
		if m.err != nil {
			t.Errorf("%s ended with %v: %s", name, m.err, m.lastLines())
		}
	}
}

// waitFor polls real processes, which have no clock of ours.
func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 20 s", what)
		}
	}
}

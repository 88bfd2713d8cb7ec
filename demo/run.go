package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"triage/client"
	"triage/demo/load"
	"triage/demo/scenario"
)

// How long things may take.
const (
	serveTimeout   = 30 * time.Second
	verdictTimeout = 120 * time.Second
	pollEvery      = 250 * time.Millisecond
)

// run is one scenario from start to end.
type run struct {
	Options
	scenario scenario.Scenario
	began    time.Time
	out      io.Writer
	progress io.Writer
	linger   bool // stay after the verdict until interrupted

	mu sync.Mutex // serializes lines of progress

	triage *proc
	fleet  *fleet
	load   *load.Generator
	client *client.Client
	world  *scenario.World
}

// say prints a line of progress with the time since the start.
func (r *run) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.progress, "%6.1f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// run tells whether the scenario was judged right. An error means that it could not be judged.
func (r *run) run(ctx context.Context) (correct bool, err error) {
	if err := r.portsAreFree(); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "triage-demo-")
	if err != nil {
		return false, fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() {
		if r.Keep {
			r.say("logs and data are kept in %s", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	// The database's server runs as another user, who must be able to pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return false, err
	}
	stop, err := r.start(ctx, dir)
	defer stop()
	if err != nil {
		return false, err
	}
	loading, stopLoad := context.WithCancel(ctx)
	var customers sync.WaitGroup
	customers.Go(func() { _ = r.load.Run(loading) }) // ends with loading, without an error
	defer customers.Wait()
	defer stopLoad()
	if err := r.learn(ctx); err != nil {
		return false, err
	}
	at := time.Now()
	remove, err := r.scenario.Inject(loading, r.world)
	if err != nil {
		return false, fmt.Errorf("inject: %w", err)
	}
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopLoad()
		_ = remove(undo) // the processes are about to be stopped
	}()
	var result Result
	if r.scenario.Truth == nil {
		result, err = r.watch(ctx, at)
	} else {
		result, err = r.judge(ctx, at)
	}
	if err != nil {
		return false, err
	}
	if r.linger {
		r.say("the shop goes on; press Ctrl-C to end it")
		<-ctx.Done()
	}
	return result.Correct, nil
}

// portsAreFree says which port is taken and how to move, before anything is started.
func (r *run) portsAreFree() error {
	var errs []error
	for _, p := range []struct{ address, flag string }{
		{r.HTTP, "listen-http"}, {r.OTLPGRPC, "listen-otlp-grpc"}, {r.OTLPHTTP, "listen-otlp-http"},
	} {
		l, err := net.Listen("tcp", p.address)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s is in use or not ours: %w; move with --%s HOST:PORT or %s", p.address, err, p.flag,
				"TRIAGE_"+strings.ToUpper(strings.ReplaceAll(p.flag, "-", "_"))))
			continue
		}
		_ = l.Close()
	}
	return errors.Join(errs...)
}

// start brings up triage and the shop at once. The function it returns stops what was started, also after an error.
func (r *run) start(ctx context.Context, dir string) (stop func(), err error) {
	stop = func() {
		if r.fleet != nil {
			r.fleet.stop()
		}
		if r.triage != nil {
			r.triage.stop(syscall.SIGTERM, 10*time.Second)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return stop, fmt.Errorf("find this program: %w", err)
	}
	data := r.Data
	if data == "" {
		data = filepath.Join(dir, "data")
	}
	serve := exec.Command(exe, "serve", "--data", data, "--listen-http", r.HTTP, "--listen-otlp-grpc", r.OTLPGRPC,
		"--listen-otlp-http", r.OTLPHTTP)
	serve.Env = withoutSettings(os.Environ())
	if r.triage, err = start("triage", dir, serve, nil); err != nil {
		return stop, err
	}
	r.client = client.New("http://" + r.HTTP)
	if r.fleet, err = newFleet(exe, dir, r.OTLPGRPC, r.Seed, r.say); err != nil {
		return stop, err
	}
	r.say("starting triage and the shop")
	var shopErr error
	var starting sync.WaitGroup
	starting.Go(func() { shopErr = r.fleet.start(ctx) })
	err = r.triage.wait(ctx, serveTimeout, r.client.Ready)
	if err == nil {
		r.say("triage is up: http://%s/", r.HTTP)
	}
	starting.Wait()
	if err := errors.Join(err, shopErr); err != nil {
		return stop, err
	}
	r.say("shop is up: %s", r.fleet.address())
	r.load = load.New(load.Config{URL: r.fleet.address(), Rate: r.Rate, Seed: r.Seed})
	r.world = &scenario.World{
		Seed: r.Seed, Load: r.load, Fault: r.fleet.fault, Restart: r.fleet.restart, Say: r.say,
		Record: func(ctx context.Context, c client.Change) error {
			_, err := r.client.RecordChange(ctx, c)
			return err
		},
	}
	return stop, nil
}

// withoutSettings drops triage's own settings, so that it runs with its defaults whatever the user's are.
func withoutSettings(environ []string) []string {
	var kept []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "TRIAGE_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// pause waits, unless ctx ends or one of the processes does.
func (r *run) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.triage.done:
		return fmt.Errorf("triage ended by itself (%w): %s", r.triage.err, r.triage.lastLines())
	case <-time.After(d):
		return r.fleet.failed()
	}
}

// learn lets normal traffic flow, so that triage knows what is usual.
func (r *run) learn(ctx context.Context) error {
	began := time.Now()
	for next := 10 * time.Second; ; next += 10 * time.Second {
		gone := time.Since(began)
		stats := r.load.Stats()
		r.say("learning what is usual %.0f/%.0f s (%d requests, %d failed)", gone.Seconds(), r.Warmup.Seconds(),
			stats.Sent, stats.Failed)
		if gone >= r.Warmup {
			return r.lookBack(ctx)
		}
		if err := r.pause(ctx, min(next, r.Warmup)-gone); err != nil {
			return err
		}
	}
}

// lookBack tells of incidents before anything was broken: whatever is found later may then have been found in them.
func (r *run) lookBack(ctx context.Context) error {
	incidents, err := r.client.Incidents(ctx, client.IncidentsQuery{})
	if err != nil {
		return fmt.Errorf("ask for incidents: %w", err)
	}
	for _, in := range incidents {
		r.say("an incident, although nothing is broken yet: %s", in.Title)
	}
	return nil
}

// judge waits for the first verdict after the injection and compares it with the truth.
func (r *run) judge(ctx context.Context, at time.Time) (Result, error) {
	truth := r.scenario.Truth(r.Seed)
	result := Result{Scenario: r.scenario.Name, Injected: &Injected{truth, at}}
	r.say("fault injected: %s", r.scenario.About)
	var text string
	for {
		incidents, err := r.client.Incidents(ctx, client.IncidentsQuery{})
		if err != nil && ctx.Err() == nil {
			r.say("triage does not answer: %v", err)
		}
		if result.DetectedAfterS == nil {
			if i := opened(incidents, at); i != nil {
				result.DetectedAfterS = after(at)
				r.say("ALARM after %.0f s: %s", *result.DetectedAfterS, i.Title)
			}
		}
		if v, ok := r.firstVerdict(ctx, incidents, at); ok {
			result.VerdictAfterS = after(at)
			result.Correct = truth.Is(v.Why)
			text = v.Text["en"]
			if result.Verdict, err = json.Marshal(v); err != nil {
				return result, fmt.Errorf("encode the verdict: %w", err)
			}
			r.say("verdict after %.0f s, which is %s", *result.VerdictAfterS, map[bool]string{true: "right", false: "wrong"}[result.Correct])
			break
		}
		if time.Since(at) > verdictTimeout {
			r.say("no verdict within %.0f s", verdictTimeout.Seconds())
			break
		}
		if err := r.pause(ctx, pollEvery); err != nil {
			return result, err
		}
	}
	if !result.Correct {
		r.say("injected were class %s, entity %s, mechanism %s", truth.Class, truth.Entity, truth.Mechanism)
	}
	return result, r.print(result, text)
}

// opened is the oldest incident that was opened after at.
func opened(incidents []client.Incident, at time.Time) *client.Incident {
	var first *client.Incident
	for i := range incidents {
		if in := &incidents[i]; !in.OpenedAt.Before(at) && (first == nil || in.OpenedAt.Before(first.OpenedAt)) {
			first = in
		}
	}
	return first
}

// firstVerdict is the earliest first revision, of any incident, that was made after at.
func (r *run) firstVerdict(ctx context.Context, incidents []client.Incident, at time.Time) (client.Verdict, bool) {
	var first client.Verdict
	found := false
	for _, in := range incidents {
		if in.Verdict == nil || in.Verdict.At.Before(at) {
			continue
		}
		v, err := r.client.Verdict(ctx, in.ID, 1)
		if err != nil || v.At.Before(at) {
			continue // made before anything broke, or gone: the next poll tells
		}
		if !found || v.At.Before(first.At) {
			first, found = v, true
		}
	}
	return first, found
}

// watch looks on for the whole quiet period, in which nothing may be found.
func (r *run) watch(ctx context.Context, at time.Time) (Result, error) {
	result := Result{Scenario: r.scenario.Name, ForS: int(r.scenario.For.Seconds()), Correct: true}
	r.say("watching for %.0f s: %s", r.scenario.For.Seconds(), r.scenario.About)
	told := map[string]bool{}
	for {
		incidents, err := r.client.Incidents(ctx, client.IncidentsQuery{})
		if err != nil && ctx.Err() == nil {
			return result, fmt.Errorf("ask for incidents: %w", err)
		}
		for _, in := range incidents {
			// An incident of the time before stays wrong: there was nothing to find in it either.
			blamed := in.Verdict != nil && in.Verdict.Why != nil
			if !told[in.ID] || blamed && !told[in.ID+" blamed"] {
				r.say("INCIDENT after %.0f s: %s", time.Since(at).Seconds(), in.Title)
				told[in.ID] = true
				if blamed {
					told[in.ID+" blamed"] = true
					r.say("blamed was %s %s, %s", in.Verdict.Why.Class, in.Verdict.Why.Entity, in.Verdict.Why.Mechanism)
				}
			}
			result.Correct = false
		}
		if time.Since(at) >= r.scenario.For {
			break
		}
		if err := r.pause(ctx, pollEvery); err != nil {
			return result, err
		}
	}
	stats := r.load.Stats()
	r.say("%d requests, %d failed", stats.Sent, stats.Failed)
	text := "Nothing was wrong, and no incident was opened."
	if !result.Correct {
		text = "Nothing was wrong, and yet an incident was opened."
	}
	return result, r.print(result, text)
}

// print writes the result for a program, or the verdict's text for a person.
func (r *run) print(result Result, text string) error {
	if r.JSON {
		return json.NewEncoder(r.out).Encode(result)
	}
	if text == "" {
		return nil
	}
	_, err := fmt.Fprintf(r.out, "\n%s\n", strings.TrimSpace(text))
	return err
}

// after is the time since at in seconds, to a tenth.
func after(at time.Time) *float64 {
	s := math.Round(time.Since(at).Seconds()*10) / 10
	return &s
}

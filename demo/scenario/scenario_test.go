package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/client"
	"triage/demo/load"
	"triage/demo/shop"
	"triage/internal/model"
	"triage/internal/proxy"
)

// draws are the standard draw and those of many seeds.
func draws(name func(string) string) map[string]*Draw {
	all := map[string]*Draw{"standard": Standard(name)}
	for seed := range uint64(50) {
		all[fmt.Sprintf("seed %d", seed)] = Seeded(seed, name)
	}
	return all
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		if s.Name == "" || s.About == "" || s.Draw == nil || seen[s.Name] {
			t.Fatalf("scenario %q is incomplete or there twice", s.Name)
		}
		seen[s.Name] = true
		for what, d := range draws(nil) {
			c := s.Draw(d)
			if c.Inject == nil || c.Target == "" {
				t.Errorf("scenario %s, %s: incomplete: %+v", s.Name, what, c)
			}
			if (len(c.Truths) == 0) != (c.For > 0) {
				t.Errorf("scenario %s, %s: either there is something to find, or it says how long to watch", s.Name, what)
			}
			for _, truth := range c.Truths {
				if truth.Class == "" || truth.Entity.Kind() == "" || truth.Entity.Name() == "" || truth.Mechanism == "" {
					t.Errorf("scenario %s, %s: truth %+v", s.Name, what, truth)
				}
			}
		}
	}
	if _, err := Find("nothing"); err == nil {
		t.Error("an unknown scenario was found")
	}
	if all := All(); all[len(all)-1].Name != "quiet" {
		t.Error("the quiet one, which takes minutes, is not the last")
	}
}

// TestSurveyHasEveryKind holds that a survey leaves out no class of causes, and ends quietly.
func TestSurveyHasEveryKind(t *testing.T) {
	kinds := map[model.Class]bool{}
	survey := Survey()
	for _, s := range survey {
		if _, err := Find(s.Name); err != nil || s.Confusing {
			t.Errorf("scenario %q is none of the plain ones", s.Name)
		}
		for _, truth := range s.Draw(Standard(nil)).Truths {
			kinds[truth.Class] = true
		}
	}
	for _, c := range []model.Class{model.ClassSelf, model.ClassDependency, model.ClassNetwork, model.ClassEvent, model.ClassCaller, model.ClassChange, model.ClassResource} {
		if !kinds[c] {
			t.Errorf("nothing of class %s", c)
		}
	}
	if survey[len(survey)-1].Name != "quiet" {
		t.Error("the survey does not end with the quiet")
	}
}

// TestDrawsFollowFromTheirSeed holds for the whole table: an exam is repeated by its seed.
func TestDrawsFollowFromTheirSeed(t *testing.T) {
	for _, s := range All() {
		targets := map[string]bool{}
		for seed := range uint64(50) {
			one, other := s.Draw(Seeded(seed, nil)), s.Draw(Seeded(seed, nil))
			if one.Target != other.Target || !slices.Equal(one.Truths, other.Truths) {
				t.Errorf("scenario %s, seed %d: %q and %q", s.Name, seed, one.Target, other.Target)
			}
			targets[one.Target] = true
		}
		if len(targets) < 5 && s.Name != "quiet" {
			t.Errorf("scenario %s drew %d targets of 50 seeds", s.Name, len(targets))
		}
	}
}

// TestTruthsAreRenamed holds that a truth says what telemetry says.
func TestTruthsAreRenamed(t *testing.T) {
	for _, s := range All() {
		for what, d := range draws(func(name string) string { return "new-" + name }) {
			for _, truth := range s.Draw(d).Truths {
				text := string(truth.Entity)
				for _, name := range append(shop.Services(), "acquirer.example", "supplier.example") {
					if text == "service:"+name || text == "remote:"+name || text == "change:"+name+"@"+badVersion {
						t.Errorf("scenario %s, %s: truth %s has a name that nobody knows", s.Name, what, text)
					}
				}
			}
		}
	}
}

func TestTruthIsExact(t *testing.T) {
	truth := Truth{model.ClassSelf, "service:a", model.SlowCode}
	if truth.Is(nil) || truth.Is(&model.Cause{Class: model.ClassSelf, Entity: "service:b", Mechanism: model.SlowCode}) {
		t.Error("something else was taken for the truth")
	}
	cause := &model.Cause{Class: model.ClassSelf, Entity: "service:a", Mechanism: model.SlowCode, Confidence: 0.1}
	if !truth.Is(cause) {
		t.Error("the truth was not recognised")
	}
	if c := (Case{Truths: []Truth{{model.ClassNetwork, "edge:a->b", model.NetworkDelay}, truth}}); !c.Right(cause) || c.Right(nil) {
		t.Error("either of two truths is right, and nothing is not")
	}
}

// shopLog is a world that notes what was done to it and has no shop.
type shopLog struct {
	did     []string
	faults  map[string]shop.Fault
	options map[string]shop.Options
	broken  string // the process whose faults cannot be switched
}

func (l *shopLog) world(p *proxy.Proxy) *World {
	l.faults, l.options = map[string]shop.Fault{}, map[string]shop.Options{}
	return &World{
		Load: load.New(load.Config{Rate: 1}),
		Fault: func(_ context.Context, process string, f shop.Fault) error {
			if process == l.broken {
				return errors.New("broken")
			}
			key := process + " " + f.Name + " " + f.Operation
			if l.faults[key] = f; f.Strength == 0 {
				delete(l.faults, key)
			}
			return nil
		},
		Set:  func(context.Context, string, string, string) error { return nil },
		Edge: func(string, string) (*proxy.Proxy, error) { return p, nil },
		Restart: func(_ context.Context, process string, o shop.Options) error {
			l.options[process] = o
			l.did = append(l.did, "restart "+process+" "+o.Version)
			return nil
		},
		SQL: func(context.Context, ...string) error { return nil },
		Record: func(_ context.Context, c client.Change) error {
			l.did = append(l.did, "record "+string(c.Entity()))
			return nil
		},
		Say: func(string, ...any) {},
	}
}

// TestQuietTellsOfItsDeployment walks through the quiet period.
func TestQuietTellsOfItsDeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l shopLog
		c := quiet().Draw(Standard(func(name string) string { return "new-" + name }))
		remove, err := c.Inject(t.Context(), l.world(nil))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(c.For)
		if err := remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"restart payment 1.1.0", "record change:new-payment@1.1.0"}, l.did); d != "" {
			t.Error(d)
		}
	})
}

// TestInnocentDeployLeads holds that the fault comes when the case says, and that both are taken back.
func TestInnocentDeployLeads(t *testing.T) {
	for seed := range uint64(20) {
		c := innocentDeploy().Draw(Seeded(seed, nil))
		if c.Truths[0].Class == model.ClassNetwork {
			continue // sockets stop the clock of synctest
		}
		synctest.Test(t, func(t *testing.T) {
			var l shopLog
			w := l.world(nil)
			began := time.Now()
			remove, err := c.Inject(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(began); d != c.Lead || len(l.faults) != 1 || len(l.did) != 2 {
				t.Errorf("after %s of %s: faults %v, did %v", d, c.Lead, l.faults, l.did)
			}
			if err := remove(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(l.faults) > 0 || len(l.did) != 4 {
				t.Errorf("left faults %v, did %v", l.faults, l.did)
			}
		})
	}
}

// TestConfusingOnesAreTakenBack injects and removes every confusing case.
func TestConfusingOnesAreTakenBack(t *testing.T) {
	p := loopback(t)
	for _, s := range All() {
		if !s.Confusing || s.Name == "innocent-deploy" {
			continue
		}
		for what, d := range draws(nil) {
			var l shopLog
			w := l.world(p)
			c := s.Draw(d)
			undo := func(context.Context) error { return nil }
			if c.Prepare != nil {
				var err error
				if undo, err = c.Prepare(t.Context(), w); err != nil {
					t.Fatal(err)
				}
				if len(l.options) == 0 {
					t.Errorf("%s, %s: nothing was prepared", s.Name, what)
				}
			}
			remove, err := c.Inject(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if len(l.faults) == 0 && c.Truths[0].Class != model.ClassNetwork {
				t.Errorf("%s, %s: nothing was broken", s.Name, what)
			}
			if err := errors.Join(remove(t.Context()), undo(t.Context())); err != nil {
				t.Fatal(err)
			}
			for process, o := range l.options {
				if d := cmp.Diff(shop.Options{}, o); d != "" {
					t.Errorf("%s, %s: %s runs with %s", s.Name, what, process, d)
				}
			}
			if len(l.faults) > 0 || !open(t, p) {
				t.Errorf("%s, %s: left faults %v", s.Name, what, l.faults)
			}
		}
	}
}

// TestHalfAnInjectionIsTakenBack breaks the second of two faults.
func TestHalfAnInjectionIsTakenBack(t *testing.T) {
	l := shopLog{broken: "b"}
	w := l.world(nil)
	f := shop.Fault{Name: "x", Strength: 1}
	if _, err := together(switchFault("a", f), switchFault("b", f))(t.Context(), w); err == nil || len(l.faults) > 0 {
		t.Errorf("error %v, faults %v; want one and none", err, l.faults)
	}
}

// TestConnectionLossIsFelt holds that connections break, and that they don't once it is over.
func TestConnectionLossIsFelt(t *testing.T) {
	p := loopback(t)
	var l shopLog
	remove, err := connectionLoss().Draw(Seeded(1, nil)).Inject(t.Context(), l.world(p))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := io.Copy(io.Discard, c); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("%v, want a reset", err)
	}
	if err := remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !open(t, p) {
		t.Error("it goes on")
	}
}

// loopback is a proxy to a server that answers every byte with itself.
func loopback(t *testing.T) *proxy.Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	p, err := proxy.Listen("a->b", "127.0.0.1:0", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(p.Close(), l.Close()) })
	return p
}

// open tells whether a proxy lets everything through within the least delay that a case has, at least once: another
// program may hold the processor for a moment.
func open(t *testing.T, p *proxy.Proxy) bool {
	t.Helper()
	return slices.ContainsFunc(make([]struct{}, 20), func(struct{}) bool {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(110 * time.Millisecond))
		if _, err := io.WriteString(c, "x"); err != nil {
			return false
		}
		_, err = io.ReadFull(c, make([]byte, 1))
		return err == nil
	})
}

package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"triage/demo/exam"
	"triage/demo/scenario"
	"triage/demo/shop"
)

// examine goes on with an exam, or begins it, and prints how it came out. A finished one is printed again.
func examine(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	ledger, err := o.ledger()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	for _, r := range ledger.Runs {
		if err := o.printRun(stdout, r); err != nil {
			return err
		}
	}
	if done := len(ledger.Runs); done < o.Runs {
		if done > 0 {
			fmt.Fprintf(stderr, "going on after run %d of %d\n", done, o.Runs)
		}
		if err := o.sit(ctx, ledger, stdout, stderr); err != nil {
			return err
		}
	}
	s := exam.Summarize(o.terms(), ledger.Runs)
	if o.JSON {
		return json.NewEncoder(stdout).Encode(map[string]exam.Summary{"summary": s})
	}
	return exam.Print(stdout, ledger.Runs, s)
}

func (o Options) terms() exam.Terms {
	return exam.Terms{Seed: o.Seed, Runs: o.Runs, Rename: o.Rename, Rate: o.Rate}
}

// ledger opens the file of finished runs.
func (o Options) ledger() (*exam.Ledger, error) {
	name := o.Out
	if name == "" {
		name = filepath.Join(o.Data, fmt.Sprintf("exam-%d.jsonl", o.Seed))
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the exam's file: %w", err)
	}
	l, err := exam.Open(name, o.terms())
	if errors.Is(err, exam.ErrOther) {
		return nil, usage("%w; go on with its own flags, name another file with --out, or remove it", err)
	}
	return l, err
}

// sit runs what is missing, in one session.
func (o Options) sit(ctx context.Context, ledger *exam.Ledger, stdout, stderr io.Writer) (err error) {
	var names map[string]string
	if o.Rename {
		names = shop.Rename(o.Seed)
	}
	s, err := open(ctx, o, names, stderr)
	if err != nil {
		return interrupted(ctx, "the exam", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	plan := exam.NewPlan(o.Seed, scenario.All())
	for n := len(ledger.Runs) + 1; n <= o.Runs; n++ {
		q := plan.Question(n)
		t := trial{
			name: q.Scenario.Name, about: q.Scenario.About, Case: q.Scenario.Draw(scenario.Seeded(q.Seed, s.name)),
			rate: q.Rate, wait: q.Wait, record: o.recording(n, q.Scenario.Name),
		}
		s.say("run %d of %d: %s, %.0f requests a second", n, o.Runs, t.name, o.Rate*t.rate)
		err := s.run(ctx, t, func(out outcome) error {
			r := newRun(n, q, o.Rate, out)
			if err := ledger.Add(r); err != nil {
				return err
			}
			return o.printRun(stdout, r)
		})
		if err != nil {
			return fmt.Errorf("%w; the same command goes on with run %d", interrupted(ctx, fmt.Sprintf("run %d (%s)", n, t.name), err),
				len(ledger.Runs)+1)
		}
	}
	return nil
}

// printRun writes a finished run for a program; people get tables in the end.
func (o Options) printRun(out io.Writer, r exam.Run) error {
	if !o.JSON {
		return nil
	}
	return json.NewEncoder(out).Encode(r)
}

// newRun is a finished run at a mean rate of the customers.
func newRun(number int, q exam.Question, rate float64, o outcome) exam.Run {
	return exam.Run{
		Run: number, Scenario: o.name, Confusing: q.Scenario.Confusing, Target: o.Target, Rate: exam.Tenth(rate * q.Rate),
		WaitS: exam.Tenth(q.Wait.Seconds()), At: o.at, Truths: o.Truths, DetectedAfterS: o.detected, VerdictAfterS: o.answered,
		Verdict: o.verdict, Right: exam.Mark(o.Truths, o.verdict), Settled: o.settled, Quiet: o.before,
	}
}

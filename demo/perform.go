package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"triage/client"
	"triage/demo/exam"
	"triage/demo/scenario"
)

// Result is what a scenario came to. It is printed by --json.
type Result struct {
	Scenario string    `json:"scenario"`
	Target   string    `json:"target"`
	Injected *Injected `json:"injected,omitempty"`
	// ForS is how long nothing was wrong, where nothing was broken. False is what was found then.
	ForS  int         `json:"for_s,omitempty"`
	False *exam.Quiet `json:"false,omitempty"`
	// Times are counted from the injection, and null for what didn't happen.
	DetectedAfterS *float64 `json:"detected_after_s,omitempty"`
	VerdictAfterS  *float64 `json:"verdict_after_s,omitempty"`
	// Verdict is the first that was made after the injection.
	Verdict *client.Verdict `json:"verdict,omitempty"`
	Correct bool            `json:"correct"`
}

// Injected is what was broken, and when. Where two things were, it is the first.
type Injected struct {
	scenario.Truth
	At time.Time `json:"at"`
}

// MarshalJSON writes all fields of a broken scenario, null where nothing was found, and those of a quiet one.
func (r Result) MarshalJSON() ([]byte, error) {
	if r.Injected == nil {
		found := exam.Quiet{}
		if r.False != nil {
			found = *r.False
		}
		return json.Marshal(struct {
			Scenario  string `json:"scenario"`
			Target    string `json:"target"`
			ForS      int    `json:"for_s"`
			Incidents int    `json:"false_incidents"`
			Verdicts  int    `json:"false_verdicts"`
			Correct   bool   `json:"correct"`
		}{r.Scenario, r.Target, r.ForS, found.Incidents, found.Verdicts, r.Correct})
	}
	return json.Marshal(struct {
		Scenario       string          `json:"scenario"`
		Target         string          `json:"target"`
		Injected       *Injected       `json:"injected"`
		DetectedAfterS *float64        `json:"detected_after_s"`
		VerdictAfterS  *float64        `json:"verdict_after_s"`
		Verdict        *client.Verdict `json:"verdict"`
		Correct        bool            `json:"correct"`
	}{r.Scenario, r.Target, r.Injected, r.DetectedAfterS, r.VerdictAfterS, r.Verdict, r.Correct})
}

func newResult(o outcome) Result {
	r := Result{Scenario: o.name, Target: o.Target, DetectedAfterS: o.detected, VerdictAfterS: o.answered, Verdict: o.verdict,
		Correct: o.correct}
	if len(o.Truths) == 0 {
		r.ForS, r.False = int(o.For.Seconds()), &o.during
	} else {
		r.Injected = &Injected{o.Truths[0], o.at}
	}
	return r
}

// Summary is the last line of --all --json.
type Summary struct {
	// Scenarios were broken, and Right of them judged right. Passed tells whether that is enough.
	Scenarios int `json:"scenarios"`
	Right     int `json:"right"`
	// Silent tells that nothing was found where nothing was wrong.
	Silent bool `json:"silent"`
	Passed bool `json:"passed"`
	// Between is the time between the scenarios, in which nothing was wrong.
	Between exam.Quiet `json:"between"`
	TookS   float64    `json:"took_s"`
}

// mayBeWrong is how many verdicts of --all may be.
const mayBeWrong = 2

// summarize says how --all came out.
func summarize(outcomes []outcome) Summary {
	s := Summary{Silent: true}
	for _, o := range outcomes {
		s.Between.Add(o.before)
		if len(o.Truths) == 0 {
			s.Silent = s.Silent && o.correct
			continue
		}
		s.Scenarios++
		if o.correct {
			s.Right++
		}
	}
	s.Passed = s.Silent && s.Right >= s.Scenarios-mayBeWrong
	return s
}

// perform runs trials in one session and prints what each came to.
func perform(ctx context.Context, o Options, trials []trial, stdout, stderr io.Writer) (err error) {
	s, err := open(ctx, o, nil, stderr)
	if err != nil {
		return interrupted(ctx, "the demo", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var outcomes []outcome
	for i, t := range trials {
		if len(trials) > 1 {
			s.say("%d of %d: %s", i+1, len(trials), t.name)
		}
		err := s.run(ctx, t, func(out outcome) error {
			outcomes = append(outcomes, out)
			if err := o.printOutcome(stdout, out); err != nil || !o.All || len(outcomes) < len(trials) {
				return err
			}
			sum := summarize(outcomes)
			sum.TookS = exam.Tenth(time.Since(s.began).Seconds())
			return o.printSummary(stdout, outcomes, sum)
		})
		if err != nil {
			return interrupted(ctx, "scenario "+t.name, err)
		}
	}
	return o.status(outcomes)
}

// interrupted says so where ctx has ended; other errors get what was being done.
func interrupted(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s was interrupted", what)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// status is the error that outcomes are for the caller.
func (o Options) status(outcomes []outcome) error {
	if s := summarize(outcomes); o.All {
		switch {
		case s.Passed:
			return nil
		case !s.Silent:
			return fmt.Errorf("%d of %d scenarios were judged right, and something was found in the quiet time", s.Right, s.Scenarios)
		}
		return fmt.Errorf("only %d of %d scenarios were judged right", s.Right, s.Scenarios)
	}
	wrong := 0
	for _, out := range outcomes {
		if !out.correct {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d scenarios were not judged right", wrong, len(outcomes))
	}
	return nil
}

// printOutcome writes a line for a program, or the verdict's text for a person, who with --all gets a table in the end.
func (o Options) printOutcome(w io.Writer, out outcome) error {
	if o.JSON {
		return json.NewEncoder(w).Encode(newResult(out))
	}
	var text string
	switch {
	case o.All:
	case len(out.Truths) > 0 && out.verdict != nil:
		text = out.verdict.Text["en"]
	case len(out.Truths) == 0:
		text = fmt.Sprintf("Nothing was wrong for %s, and %d incidents were opened; %d verdicts blamed something.", out.For,
			out.during.Incidents, out.during.Verdicts)
	}
	if text == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(text))
	return err
}

// printSummary writes how --all came out.
func (o Options) printSummary(out io.Writer, outcomes []outcome, s Summary) error {
	if o.JSON {
		return json.NewEncoder(out).Encode(map[string]Summary{"summary": s})
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\nSCENARIO\tALARM\tVERDICT\t\tNAMED")
	for _, o := range outcomes {
		named, right := "no verdict", "wrong"
		switch {
		case len(o.Truths) == 0:
			named = fmt.Sprintf("%d incidents in %s", o.during.Incidents, o.For)
		case o.verdict != nil:
			named = described(o.verdict.Why)
		}
		if o.correct {
			right = "right"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", o.name, seconds(o.detected), seconds(o.answered), right, named)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d of %d right. %d incidents in %.0f s between them. It took %.1f minutes.\n", s.Right, s.Scenarios,
		s.Between.Incidents, s.Between.Seconds, s.TookS/60)
	return err
}

func seconds(s *float64) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f s", *s)
}

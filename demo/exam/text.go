package exam

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes the runs and their summary as tables for people.
func Print(out io.Writer, runs []Run, s Summary) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := func(cells ...any) { fmt.Fprintln(w, strings.TrimRight(strings.Join(text(cells), "\t"), "\t ")) }
	row("RUN", "SCENARIO", "ALARM", "VERDICT", "CLASS", "ENTITY", "MECHANISM", "CONFIDENCE", "NAMED", "INJECTED")
	for _, r := range runs {
		confidence, named := "", "no verdict"
		if r.Verdict != nil {
			named = "no cause"
			if why := r.Verdict.Why; why != nil {
				confidence, named = fmt.Sprintf("%.2f", why.Confidence), cause(string(why.Class), string(why.Entity), string(why.Mechanism))
			}
		}
		var truths []string
		for _, t := range r.Truths {
			truths = append(truths, cause(string(t.Class), string(t.Entity), string(t.Mechanism)))
		}
		row(r.Run, r.Scenario, r.DetectedAfterS, r.VerdictAfterS, r.Right.Class, r.Right.Entity, r.Right.Mechanism,
			confidence, named, strings.Join(truths, " or "))
	}
	row()
	row("RIGHT", "RUNS", "CLASS", "ENTITY", "MECHANISM", "ALL", "VERDICT (median, p90)")
	score := func(name string, c Score, t Times) {
		row(name, c.Runs, c.Class, c.Entity, c.Mechanism, c.All, t)
	}
	for _, g := range s.Scenarios {
		score(g.Name, g.Score, g.Verdict)
	}
	for _, g := range s.Classes {
		score("class "+g.Name, g.Score, g.Verdict)
	}
	score("all", s.Score, s.Verdict)
	row()
	row("CONFIDENCE", "VERDICTS", "MEAN", "RIGHT")
	for _, b := range s.Reliability {
		row(fmt.Sprintf("%.1f to %.1f", b.From, b.To), b.N, fmt.Sprintf("%.2f", b.Confidence), fmt.Sprintf("%.2f", b.Right))
	}
	row("Brier score", fmt.Sprintf("%.3f", s.Brier))
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `
Right are first / among the first three. Seconds are counted from the injection.
Alarms after %s. %d of %d runs had no verdict, %d began while something was still alarmed.
In %.1f minutes in which nothing was wrong: %d incidents, %d verdicts that blamed something (%.2f an hour).
`, s.Alarm, s.Nothing, s.Runs, s.Unsettled, s.Quiet.Seconds/60, s.Quiet.Incidents, s.Quiet.Verdicts, s.FalsePerHour)
	return err
}

func cause(class, entity, mechanism string) string { return class + " " + entity + " " + mechanism }

func text(cells []any) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case *float64:
			out[i] = "-"
			if c != nil {
				out[i] = fmt.Sprintf("%.1f s", *c)
			}
		default:
			out[i] = fmt.Sprint(c)
		}
	}
	return out
}

func (p Place) String() string {
	switch {
	case p.First:
		return "right"
	case p.Three:
		return "among 3"
	}
	return "wrong"
}

func (c Count) String() string { return fmt.Sprintf("%d / %d", c.First, c.Three) }

func (t Times) String() string {
	if t.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s, %.1f s", t.Median, t.P90)
}

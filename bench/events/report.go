package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// figure is one measured figure. Seconds, if it is not zero, is a time; else Value is in Unit.
type figure struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds,omitempty"`
	Value   float64 `json:"value,omitempty"`
	Unit    string  `json:"unit,omitempty"`
	// Goal is the most that it may be, or the least if AtLeast is true; 0 is no goal.
	Goal    float64 `json:"goal,omitempty"`
	AtLeast bool    `json:"at_least,omitempty"`
	// CPUSeconds is the mean CPU time of a question, which other work on the machine disturbs less.
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
	Note       string  `json:"note,omitempty"`
}

func (f figure) met() bool {
	got := f.Value
	if f.Seconds > 0 {
		got = f.Seconds
	}
	return f.Goal == 0 || got <= f.Goal && !f.AtLeast || got >= f.Goal && f.AtLeast
}

// report is all that a run found.
type report struct {
	Facts   facts    `json:"facts"`
	Figures []figure `json:"figures"`
}

// figures are those of loading.
func (f facts) figures() []figure {
	raw, packed := float64(f.SpanBytes+f.LogBytes), float64(f.SpanCompressed+f.LogCompressed)
	return []figure{
		{Name: "ingest, spans alone", Value: f.SpansACPUSecond, Unit: "spans/CPU-s", Goal: 60_000, AtLeast: true, Note: "OTLP decoded, durable, derived, merged"},
		{Name: "ingest, spans and lines", Value: float64(f.Spans+f.Logs) / f.CPUSeconds, Unit: "rows/CPU-s", Note: fmt.Sprintf("%.0f s, %.0f CPU-s", f.Seconds, f.CPUSeconds)},
		{Name: "disk, of zstd -3 of the OTLP bytes", Value: float64(f.StoredBytes) / packed, Unit: "x", Goal: 0.9,
			Note: fmt.Sprintf("%.0f MB of %.0f MB, which zstd makes %.0f MB; %d blocks", float64(f.StoredBytes)/1e6, raw/1e6, packed/1e6, f.Blocks)},
		{Name: "write amplification", Value: (f.FlushedBytes + f.MergedBytes) / f.FlushedBytes, Unit: "x", Goal: 4,
			Note: fmt.Sprintf("blocks of %.0f MB flushed, %.0f MB merged", f.FlushedBytes/1e6, f.MergedBytes/1e6)},
	}
}

func (r report) print(to io.Writer) {
	fmt.Fprintf(to, "%d spans and %d log lines, seed %d\n\n", r.Facts.Spans, r.Facts.Logs, r.Facts.Seed)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEASURED\tCPU\tGOAL\t\tNOTE")
	for _, f := range r.Figures {
		show := func(v float64) string {
			if f.Seconds > 0 {
				return time.Duration(v * float64(time.Second)).Round(100 * time.Microsecond).String()
			}
			if v >= 1000 {
				return fmt.Sprintf("%.0f %s", v, f.Unit)
			}
			return fmt.Sprintf("%.2f %s", v, f.Unit)
		}
		goal, verdict := "", ""
		if f.Goal > 0 {
			goal, verdict = show(f.Goal), "missed"
			if f.met() {
				verdict = "met"
			}
		}
		got := f.Value
		if f.Seconds > 0 {
			got = f.Seconds
		}
		cpu := ""
		if f.CPUSeconds > 0 {
			cpu = show(f.CPUSeconds)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, show(got), cpu, goal, verdict, f.Note)
	}
	w.Flush()
}

// Command events measures the event store against its goals, on made-up spans and logs that it loads through the whole
// way from OTLP bytes to durable and derived:
//
//	go run -tags duckdb_arrow ./bench/events --size 5M
//
// A second process, itself, makes the telemetry, so that the CPU time of the first is the product's alone. What it makes
// is that of `triage load` (internal/cli/load), as skewed as real systems are: 12 services of 4 instances with 8 operations
// each, chosen by Zipf's law (exponent 1.4, so that the first makes up about half), 10,000 users (1.2), 16 forms of log
// lines (1.3); log-normal durations (sigma 0.8, medians from 0.3 to 3 ms); 1 % of the requests to a service fail; traces
// of 1 to 60 spans, with 15 attributes each besides nine of the resource; as many log lines as spans, written within
// them, with five attributes. On top of that it plants a few words (see plants), which searches then look for.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"

	"triage/internal/store/events"
)

// generate is the first argument of the process that makes telemetry.
const generate = "generate"

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case events.SQLChildCommand:
			exit(events.SQLChildMain(os.Stdin, os.Stdout))
		case generate:
			exit(generateMain(os.Args[2:]))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "events:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are what the command line says.
type options struct {
	size  int64
	dir   string
	json  bool
	seed  uint64
	times int
	// only says which questions are asked, profile where their CPU profile goes.
	only, profile string
}

func parse() (o options, err error) {
	size := flag.String("size", "5M", "spans, and as many log lines; K and M are thousands and millions")
	flag.StringVar(&o.dir, "dir", "", "where to keep the loaded store, and to find it again (default: a new directory in /var/tmp, removed at the end)")
	flag.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	flag.Uint64Var(&o.seed, "seed", 1, "what the telemetry is made from")
	flag.IntVar(&o.times, "times", 5, "how often each question is asked")
	flag.StringVar(&o.only, "only", "", "ask only questions whose name has this in it")
	flag.StringVar(&o.profile, "cpu-profile", "", "where to write a CPU profile of the questions")
	flag.Parse()
	o.size, err = count(*size)
	return o, err
}

// count reads 5M.
func count(text string) (int64, error) {
	unit := int64(1)
	digits := text
	switch {
	case strings.HasSuffix(text, "M"):
		unit, digits = 1_000_000, text[:len(text)-1]
	case strings.HasSuffix(text, "K"):
		unit, digits = 1000, text[:len(text)-1]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("size %q is not a number of spans such as 500K or 20M", text)
	}
	return n * unit, nil
}

func run(ctx context.Context) (err error) {
	o, err := parse()
	if err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("/var/tmp", "triage-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	f, err := loaded(ctx, o)
	if err != nil {
		return err
	}
	if o.profile != "" {
		file, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, file.Close())
		}()
	}
	figures, err := measure(ctx, filepath.Join(o.dir, "store"), f, o)
	if err != nil {
		return err
	}
	r := report{Facts: f, Figures: append(f.figures(), figures...)}
	if o.json {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	r.print(os.Stdout)
	return nil
}

// loaded loads the store, or finds it as an earlier run left it.
func loaded(ctx context.Context, o options) (f facts, err error) {
	name := filepath.Join(o.dir, "facts.json")
	text, err := os.ReadFile(name)
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &f); err != nil {
			return f, fmt.Errorf("read %s: %w", name, err)
		}
		if f.Size != o.size || f.Seed != o.seed {
			return f, fmt.Errorf("%s holds %d spans made from seed %d, not %d from %d", o.dir, f.Size, f.Seed, o.size, o.seed)
		}
		return f, nil
	case !errors.Is(err, os.ErrNotExist):
		return f, err
	}
	// Spans alone first: the goal for ingest speaks of them.
	const alone = 2_000_000
	spans, err := takeIn(ctx, filepath.Join(o.dir, "spans"), source{size: min(o.size, alone), seed: o.seed + 1})
	if err != nil {
		return f, err
	}
	if err := os.RemoveAll(filepath.Join(o.dir, "spans")); err != nil {
		return f, err
	}
	if f, err = takeIn(ctx, o.dir, source{size: o.size, seed: o.seed, logs: true}); err != nil {
		return f, err
	}
	f.SpansACPUSecond = float64(spans.Size) / spans.CPUSeconds
	if text, err = json.MarshalIndent(f, "", " "); err != nil {
		return f, err
	}
	return f, os.WriteFile(name, text, 0o640)
}

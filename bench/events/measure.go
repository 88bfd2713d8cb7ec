package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
	"triage/internal/store/events"
)

// questions asks a loaded store.
type questions struct {
	ctx   context.Context
	store *events.Store
	facts facts
	times int
	only  string
	out   []figure
}

// measure asks the store what the goals speak of.
func measure(ctx context.Context, dir string, f facts, o options) (out []figure, err error) {
	start := time.Now()
	s, err := events.Open(ctx, events.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	q := &questions{ctx: ctx, store: s, facts: f, times: o.times, only: o.only}
	opened := time.Since(start)
	// The first question of each signal compares the blocks with their checksums.
	if _, err := s.Health(ctx, "", store.Window{}); err != nil {
		return nil, err
	}
	q.out = append(q.out, figure{Name: "open the store", Seconds: opened.Seconds()},
		figure{Name: "first question, with all checksums", Seconds: (time.Since(start) - opened).Seconds()})
	for _, ask := range []func() error{q.traces, q.words, q.phrases, q.quantiles, q.difference, q.newest, q.cancellation} {
		if err := ask(); err != nil {
			return q.out, err
		}
	}
	return q.out, nil
}

// ask asks a question several times and notes the median.
func (q *questions) ask(name string, goal time.Duration, times int, fn func(i int) error) error {
	if !strings.Contains(name, q.only) {
		return nil
	}
	took := make([]time.Duration, times)
	cpu := cpuSeconds()
	for i := range took {
		start := time.Now()
		if err := fn(i); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	q.out = append(q.out, figure{Name: name, Seconds: took[len(took)/2].Seconds(), Goal: goal.Seconds(), CPUSeconds: (cpuSeconds() - cpu) / float64(times),
		Note: fmt.Sprintf("%d times, slowest %s", times, took[len(took)-1].Round(100*time.Microsecond))})
	return nil
}

func (q *questions) traces() error {
	ids := make([]model.TraceID, len(q.facts.Traces))
	for i, text := range q.facts.Traces {
		var err error
		if ids[i], err = model.ParseTraceID(text); err != nil {
			return err
		}
	}
	if len(ids) == 0 {
		return errors.New("no trace is known")
	}
	rand.New(rand.NewPCG(q.facts.Seed, 3)).Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	err := q.ask("trace by ID", 10*time.Millisecond, min(200, len(ids)), func(i int) error {
		spans, err := q.store.Trace(q.ctx, "", ids[i])
		if err == nil && len(spans) == 0 {
			err = errors.New("no span")
		}
		return err
	})
	if err != nil {
		return err
	}
	return q.ask("trace that is not there", 10*time.Millisecond, 50, func(i int) error {
		_, err := q.store.Trace(q.ctx, "", model.TraceIDFrom(uint64(i+1), 7))
		if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%w, want that it is not there", err)
		}
		return nil
	})
}

// lines searches log lines for words and wants so many.
func (q *questions) lines(text string, want int) error {
	page, err := q.store.Logs(q.ctx, store.Query{Where: search.Match{Op: search.Word, Value: text}, Limit: 100})
	if err == nil && (len(page.Rows) != want || page.Partial != "") {
		err = fmt.Errorf("%q is in %d lines, want %d; partial: %q", text, len(page.Rows), want, page.Partial)
	}
	return err
}

func (q *questions) words() error {
	batches := (q.facts.Size + batchSpans - 1) / batchSpans
	planted := map[int64]bool{batches / 10: true, batches / 2: true, batches * 9 / 10: true}
	if err := q.ask("rare word", 30*time.Millisecond, 4*q.times, func(int) error { return q.lines(plants.rare, len(planted)) }); err != nil {
		return err
	}
	// Another word each time: of one in a hundred row groups a filter cannot say that the word is not there.
	return q.ask("nothing found", 30*time.Millisecond, 10*q.times, func(i int) error { return q.lines(fmt.Sprintf("nowhere%d", 7919*i), 0) })
}

func (q *questions) phrases() error {
	page, err := q.store.Logs(q.ctx, store.Query{Where: search.Match{Op: search.Word, Value: plants.seldom}, Limit: 1000})
	if err != nil {
		return err
	}
	if err := q.ask("phrase, one word in few row groups", 300*time.Millisecond, 2*q.times, func(int) error {
		return q.lines(plants.often+" "+plants.seldom, len(page.Rows))
	}); err != nil {
		return err
	}
	return q.ask("phrase, both words everywhere", 5*time.Second, q.times, func(int) error { return q.lines("settings connection", 0) })
}

func (q *questions) quantiles() error {
	want := func(ops []store.OperationStat, err error) error {
		n := int64(0)
		for _, o := range ops {
			n += o.Count
		}
		if err == nil && n != q.facts.Spans {
			err = fmt.Errorf("%d spans, want %d", n, q.facts.Spans)
		}
		return err
	}
	if err := q.ask("p99 by service and operation, sketches", 300*time.Millisecond, 2*q.times, func(int) error {
		return want(q.store.Operations(q.ctx, store.Selection{}, 100_000))
	}); err != nil {
		return err
	}
	return q.ask("p99 by service and operation, scan", 2*time.Second, q.times, func(int) error {
		return want(q.store.Operations(q.ctx, store.Selection{MinDuration: 1}, 100_000)) // which no sketch can tell
	})
}

func (q *questions) difference() error {
	failed := model.StatusError
	return q.ask("attribute difference, 20 attributes", 2*time.Second, q.times, func(int) error {
		d, err := q.store.AttributeDifference(q.ctx, store.DifferenceQuery{A: store.Selection{Status: &failed}, B: store.Selection{NotStatus: &failed}, Limit: 1000})
		if err == nil && (d.A+d.B != q.facts.Spans || len(d.Values) == 0) {
			err = fmt.Errorf("%d and %d spans, want %d in all; %d values", d.A, d.B, q.facts.Spans, len(d.Values))
		}
		return err
	})
}

func (q *questions) newest() error {
	return q.ask("newest 100 of a service", 0, 2*q.times, func(int) error {
		page, err := q.store.Spans(q.ctx, store.Query{Where: search.Match{Field: "service", Value: "billing"}, Limit: 100})
		if err == nil && len(page.Rows) == 0 {
			err = errors.New("no span")
		}
		return err
	})
}

// cancellation measures how soon a question returns after its context ended.
func (q *questions) cancellation() error {
	const name = "cancellation, slowest"
	if !strings.Contains(name, q.only) {
		return nil
	}
	failed := model.StatusError
	random := rand.New(rand.NewPCG(q.facts.Seed, 4))
	var took []time.Duration
	for range 4 * q.times {
		for _, ask := range []func(context.Context) error{
			func(ctx context.Context) error {
				_, err := q.store.Logs(ctx, store.Query{Where: search.Match{Op: search.Regexp, Value: "(a|b|c)+d.*x[0-9]+y$"}, Limit: 1})
				return err
			},
			func(ctx context.Context) error {
				_, err := q.store.Operations(ctx, store.Selection{MinDuration: 1}, 1)
				return err
			},
			func(ctx context.Context) error {
				_, err := q.store.AttributeDifference(ctx, store.DifferenceQuery{A: store.Selection{Status: &failed}, B: store.Selection{NotStatus: &failed}, Limit: 1})
				return err
			},
		} {
			ctx, cancel := context.WithCancel(q.ctx)
			var cancelled time.Time
			timer := time.AfterFunc(time.Duration(5+random.IntN(200))*time.Millisecond, func() {
				cancelled = time.Now()
				cancel()
			})
			err := ask(ctx)
			ended := time.Now()
			if timer.Stop() {
				cancel()
				continue // it was faster
			}
			<-ctx.Done()
			if errors.Is(err, context.Canceled) {
				took = append(took, ended.Sub(cancelled))
			}
		}
	}
	if len(took) == 0 {
		return nil
	}
	slices.Sort(took)
	slowest := took[len(took)-1]
	q.out = append(q.out, figure{Name: name, Seconds: slowest.Seconds(), Goal: 0.1,
		Note: fmt.Sprintf("%d questions, median %s", len(took), took[len(took)/2].Round(100*time.Microsecond))})
	return nil
}

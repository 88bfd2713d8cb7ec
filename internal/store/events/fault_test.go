package events

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"triage/internal/search"
	"triage/internal/store"
)

// soakEnv asks for so many random sequences; there are few without it.
const soakEnv = "TRIAGE_SOAK"

// soaking is how often a test repeats something: more often where it was asked to take its time.
func soaking(usually, soak int) int {
	if os.Getenv(soakEnv) != "" {
		return soak
	}
	return usually
}

// TestRandomFaults runs random operations on a disk that fails, against a model of which batches were acknowledged.
func TestRandomFaults(t *testing.T) {
	rounds, first := 12, uint64(1)
	if text := os.Getenv(soakEnv); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		rounds, first = n, uint64(time.Now().UnixNano())
	}
	if text := os.Getenv(soakEnv + "_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		rounds, first = 1, n
	}
	for i := range rounds {
		seed := first + uint64(i)
		if !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { randomFaults(t, seed) }) {
			t.Fatalf("%s_SEED=%d repeats it", soakEnv, seed)
		}
	}
}

// batchState is what the model knows of a batch.
type batchState struct {
	acked, old bool
}

func randomFaults(t *testing.T, seed uint64) {
	ctx := context.Background()
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	disk := newFaultFS(dir, seed)
	sliceBytes := int64(1 + random.IntN(6000))
	retention := time.Duration(random.IntN(2)) * 24 * time.Hour
	open := func() *Store {
		return openTest(t, dir, func(o *Options) {
			o.FS, o.sliceBytes, o.Retention, o.Threads = disk, sliceBytes, retention, 1
		})
	}
	s := open()
	batches := map[int]*batchState{}
	retained, faults := false, false
	calm := func() {
		disk.mu.Lock()
		defer disk.mu.Unlock()
		disk.failEach, disk.slowEach, disk.full = 0, 0, false
	}
	reopen := func() {
		calm()
		disk.mu.Lock()
		cut := disk.off
		disk.cutIn = 0 // not while the store is opened
		disk.mu.Unlock()
		crash(t, s)
		if cut || random.IntN(2) == 0 {
			if err := disk.powerLoss(); err != nil {
				t.Fatal(err)
			}
		}
		s = open()
	}
	for step := range 40 {
		switch op := random.IntN(12); op {
		case 0, 1, 2, 3:
			n := len(batches)
			b, st := killBatch(n), &batchState{old: random.IntN(6) == 0}
			if st.old {
				for i := range b.Spans {
					b.Spans[i].Start -= int64(365 * 24 * time.Hour)
				}
				b.Logs[0].Time -= int64(365 * 24 * time.Hour)
			}
			batches[n] = st
			stored, err := s.Append(ctx, b)
			st.acked = err == nil
			if err == nil && !stored {
				t.Fatalf("step %d: batch %d was taken for a retry", step, n)
			}
		case 4, 5:
			_ = s.flushAll(ctx) // what fails is repeated
		case 6:
			_ = s.mergeEverything(ctx)
		case 7:
			s.maintaining.Lock()
			_ = s.retain()
			s.maintaining.Unlock()
			retained = retained || retention > 0
		case 8:
			_, _ = s.Spans(ctx, store.Query{Where: search.All{}, Limit: 10})
		case 9:
			disk.mu.Lock()
			switch random.IntN(4) {
			case 0:
				disk.failEach, faults = 1+random.IntN(20), true
			case 1:
				disk.full, faults = true, true
			case 2:
				disk.cutIn = 1 + random.IntN(30)
			case 3:
				disk.slowEach = 10
			}
			disk.mu.Unlock()
		case 10:
			reopen()
		case 11:
			disk.mu.Lock()
			off := disk.off
			disk.mu.Unlock()
			if off {
				reopen()
			}
			calm()
			checkModel(t, s, batches, retained, faults, step)
		}
	}
	reopen()
	checkModel(t, s, batches, retained, faults, -1)
	crash(t, s)
}

// checkModel compares the store with the model: what was acknowledged is there once, the rest whole or not at all.
func checkModel(t *testing.T, s *Store, batches map[int]*batchState, retained, faults bool, step int) {
	t.Helper()
	ctx := context.Background()
	spanRows, logRows := map[int]int{}, map[int]int{}
	page, err := s.Spans(ctx, store.Query{Where: search.All{}, Limit: 10_000})
	if errors.Is(err, errPower) {
		return // it went off during the question
	}
	if err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	if page.Partial != "" && !faults {
		t.Fatalf("step %d: partial: %s", step, page.Partial)
	}
	for _, x := range page.Rows {
		spanRows[(int(x.SpanID.Uint64())-1)/4]++
	}
	lines, err := s.Logs(ctx, store.Query{Where: search.All{}, Limit: 10_000})
	if errors.Is(err, errPower) {
		return
	}
	if err != nil {
		t.Fatalf("step %d: %v", step, err)
	}
	for _, x := range lines.Rows {
		logRows[(int(x.SpanID.Uint64())-1)/4]++
	}
	for n, b := range batches {
		gone := spanRows[n] == 0 && logRows[n] == 0
		whole := spanRows[n] == 3 && logRows[n] == 1
		dropped := retained && b.old && (spanRows[n] == 0 || spanRows[n] == 3) && logRows[n] <= 1
		if !whole && !dropped && (b.acked || !gone) {
			t.Fatalf("step %d: batch %d (acknowledged: %v) has %d of 3 spans, %d of 1 logs", step, n, b.acked, spanRows[n], logRows[n])
		}
	}
}

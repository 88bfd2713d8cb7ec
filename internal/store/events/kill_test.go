package events

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// childEnv makes the test binary a writer that is to be killed.
const childEnv = "TRIAGE_TEST_WRITER"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == SQLChildCommand {
		if err := SQLChildMain(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(childEnv); dir != "" {
		write := writeUntilKilled
		if os.Getenv(childEnv+"_PHASE") != "" {
			write = dieInPhase
		}
		if err := write(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// killBatch is the n-th batch of the writer: three spans and a log, whose IDs say which they are.
func killBatch(n int) *model.Batch {
	res := &model.Resource{Service: "frontend", Attrs: model.Attrs{{Key: "service.name", Value: model.String("frontend")}}}
	b := &model.Batch{ID: [32]byte{byte(n), byte(n >> 8), byte(n >> 16), 1}}
	at := testTime.Add(time.Duration(n) * time.Millisecond).UnixNano()
	for i := range 3 {
		b.Spans = append(b.Spans, model.Span{TraceID: model.TraceIDFrom(1, uint64(n)), SpanID: model.SpanIDFrom(uint64(n*4 + i + 1)), Name: "work",
			Start: at, Duration: int64(n), Resource: res, Attrs: model.Attrs{{Key: "n", Value: model.Int(int64(n))}}})
	}
	b.Logs = []model.LogRecord{{Time: at, TraceID: model.TraceIDFrom(1, uint64(n)), SpanID: model.SpanIDFrom(uint64(n*4 + 4)), Body: model.String("working"), Resource: res}}
	return b
}

// writeUntilKilled appends batches from several goroutines and prints the number of each that was acknowledged. Slices are
// small, so that flushing, merging and deleting segments go on all the time.
func writeUntilKilled(dir string) error {
	s, err := Open(context.Background(), Options{Dir: dir, sliceBytes: 6000, sliceAge: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	go s.Run(context.Background())
	first, err := strconv.Atoi(os.Getenv(childEnv + "_FROM"))
	if err != nil {
		return err
	}
	numbers, failed := make(chan int), make(chan error)
	for range 4 {
		go func() {
			for n := range numbers {
				if stored, err := s.Append(context.Background(), killBatch(n)); err != nil || !stored {
					failed <- fmt.Errorf("append %d: stored %v, %v", n, stored, err)
				}
				os.Stdout.WriteString(strconv.Itoa(n) + "\n") // one write, so that lines stay whole
			}
		}()
	}
	for n := first; ; n++ {
		select {
		case numbers <- n:
		case err := <-failed:
			return err
		}
	}
}

// TestKill kills a process in mid-load, again and again on the same directory, and looks for what it acknowledged.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	dir := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	acked := map[int]bool{}
	highest := 0
	for round := range soaking(6, 50) {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s_FROM=%d", childEnv, highest+100))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		want := len(acked) + 40 + 97*(round%6) + random.IntN(100) // so that each round dies at another point
		lines := bufio.NewReader(out)
		for killed := false; ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				break
			}
			n, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			acked[n], highest = true, max(highest, n)
			if len(acked) >= want && !killed {
				killed = true
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait() // it was killed
		if len(acked) < want {
			t.Fatalf("the writer ended by itself after %d batches", len(acked))
		}
		checkKilled(t, dir, acked, highest)
	}
}

// killFS kills the process at a call of those that change something, but for what is appended to the WAL meanwhile.
type killFS struct {
	osFS
	mu   sync.Mutex // guards left
	left int        // calls until then; 0 is never
}

func (k *killFS) call(name string) {
	if dir := filepath.Base(filepath.Dir(name)); dir == "wal" && strings.HasSuffix(name, segmentSuffix) || filepath.Base(name) == "wal" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left--; k.left == 0 {
		if p, err := os.FindProcess(os.Getpid()); err == nil {
			_ = p.Kill()
		}
		select {} // the signal arrives
	}
}

func (k *killFS) Create(name string) (File, error) {
	k.call(name)
	f, err := k.osFS.Create(name)
	return killFile{f, k, name}, err
}

func (k *killFS) Rename(from, to string) error { k.call(to); return k.osFS.Rename(from, to) }
func (k *killFS) Remove(name string) error     { k.call(""); return k.osFS.Remove(name) }
func (k *killFS) SyncDir(dir string) error     { k.call(dir); return k.osFS.SyncDir(dir) }

type killFile struct {
	File
	fs   *killFS
	name string
}

func (f killFile) Write(p []byte) (int, error) { f.fs.call(f.name); return f.File.Write(p) }
func (f killFile) Sync() error                 { f.fs.call(f.name); return f.File.Sync() }

// dieInPhase appends some batches, prints their numbers, and dies at a call of a flush, a merge or retention, while other
// goroutines append more.
func dieInPhase(dir string) error {
	first, err := strconv.Atoi(os.Getenv(childEnv + "_FROM"))
	if err != nil {
		return err
	}
	at, err := strconv.Atoi(os.Getenv(childEnv + "_AT"))
	if err != nil {
		return err
	}
	ctx, disk := context.Background(), &killFS{}
	s, err := Open(ctx, Options{Dir: dir, FS: disk, Retention: 24 * time.Hour})
	if err != nil {
		return err
	}
	add := func(n int, age time.Duration) error {
		b := killBatch(n)
		for i := range b.Spans {
			b.Spans[i].Start -= int64(age)
		}
		b.Logs[0].Time -= int64(age)
		if stored, err := s.Append(ctx, b); err != nil || !stored {
			return fmt.Errorf("append %d: stored %v, %v", n, stored, err)
		}
		if age == 0 {
			os.Stdout.WriteString(strconv.Itoa(n) + "\n")
		}
		return nil
	}
	phase := os.Getenv(childEnv + "_PHASE")
	for n := first; n < first+3; n++ {
		if phase == "retention" { // what it may drop is not promised
			if err := add(n+10, 48*time.Hour); err != nil {
				return err
			}
		}
		if err := s.flushAll(ctx); err != nil {
			return err
		}
		if err := add(n, 0); err != nil {
			return err
		}
	}
	if phase != "flush" {
		if err := s.flushAll(ctx); err != nil {
			return err
		}
	}
	disk.mu.Lock()
	disk.left = at
	disk.mu.Unlock()
	for worker := range 3 {
		go func() {
			for n := first + 100 + worker; n < first+4100; n += 3 { // so many that 50 rounds' rows can be read at once
				if add(n, 0) != nil {
					return
				}
			}
		}()
	}
	switch phase {
	case "flush":
		err = s.flushAll(ctx)
	case "merge":
		err = s.mergeEverything(ctx)
	case "retention":
		s.maintaining.Lock()
		err = s.retain()
	}
	return fmt.Errorf("%s ended before call %d: %v", phase, at, err)
}

// TestKillInPhases kills a process at calls of flushes, merges and retention, under load, on one directory each: with
// those of TestKill, a quarter of all kills in each.
func TestKillInPhases(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	for _, phase := range []string{"flush", "merge", "retention"} {
		t.Run(phase, func(t *testing.T) {
			dir := t.TempDir()
			acked, highest := map[int]bool{}, 0
			for round := range soaking(6, 50) {
				at := 1 + 2*(round%6) // and the next call in every other six rounds
				if round/6%2 == 1 {
					at++
				}
				at = min(at, 11)
				cmd := exec.Command(os.Args[0], "-test.run=^$")
				cmd.Env = append(os.Environ(), childEnv+"="+dir, childEnv+"_PHASE="+phase, fmt.Sprintf("%s_AT=%d", childEnv, at),
					fmt.Sprintf("%s_FROM=%d", childEnv, highest+1000))
				var complaint strings.Builder
				cmd.Stderr = &complaint
				out, err := cmd.Output()
				if err == nil || complaint.Len() > 0 {
					t.Fatalf("call %d: the process was not killed: %v, %s", at, err, complaint.String())
				}
				for line := range strings.Lines(string(out)) {
					n, err := strconv.Atoi(strings.TrimSpace(line))
					if err != nil {
						t.Fatal(err)
					}
					acked[n], highest = true, max(highest, n)
				}
				checkKilled(t, dir, acked, highest)
			}
			if least := 3 * soaking(6, 50); len(acked) < least {
				t.Errorf("%d batches were acknowledged, want %d and more", len(acked), least)
			}
		})
	}
}

func checkKilled(t *testing.T, dir string, acked map[int]bool, highest int) {
	t.Helper()
	ctx := context.Background()
	s := openTest(t, dir, nil)
	defer s.Close()
	page, err := s.Spans(ctx, store.Query{Where: search.All{}, Limit: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	if page.Partial != "" || page.More {
		t.Fatalf("after a kill rows are missing: %q, more %t", page.Partial, page.More)
	}
	seen := map[model.SpanID]int{}
	for _, x := range page.Rows {
		seen[x.SpanID]++
	}
	lines, err := s.Logs(ctx, store.Query{Where: search.All{}, Limit: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range lines.Rows {
		seen[x.SpanID]++
	}
	for n := range acked {
		for i := range 4 {
			if c := seen[model.SpanIDFrom(uint64(n*4+i+1))]; c != 1 {
				var there [4]int
				for j := range there {
					there[j] = seen[model.SpanIDFrom(uint64(n*4+j+1))]
				}
				t.Fatalf("row %d of acknowledged batch %d is there %d times, want once; all four: %v; the highest is %d", i, n, c, there, highest)
			}
		}
	}
	// What was never acknowledged may be there, but only whole and once.
	for id, c := range seen {
		n := (int(id.Uint64()) - 1) / 4
		if c != 1 {
			t.Fatalf("span %s of batch %d is there %d times", id, n, c)
		}
		for i := range 4 {
			if seen[model.SpanIDFrom(uint64(n*4+i+1))] != 1 {
				t.Fatalf("batch %d is there in part", n)
			}
		}
	}
	// A client that had no answer in time repeats the request; whatever was stored is not stored again.
	stored, err := s.Append(ctx, killBatch(highest))
	if err != nil || stored {
		t.Fatalf("retry of the last batch: stored %v, %v", stored, err)
	}
}

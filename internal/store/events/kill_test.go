package events

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
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
		if err := writeUntilKilled(dir); err != nil {
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
	acked := map[int]bool{}
	highest := 0
	for round := range 6 {
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
		want := len(acked) + 40 + 97*round // so that each round dies at another point
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

func checkKilled(t *testing.T, dir string, acked map[int]bool, highest int) {
	t.Helper()
	ctx := context.Background()
	s := openTest(t, dir, nil)
	defer s.Close()
	page, err := s.Spans(ctx, store.Query{Where: search.All{}, Limit: 1_000_000})
	if err != nil {
		t.Fatal(err)
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
				t.Fatalf("row %d of acknowledged batch %d is there %d times, want once", i, n, c)
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

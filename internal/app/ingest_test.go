package app

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"triage/internal/alarm"
	"triage/internal/cli/load"
	"triage/internal/ingest/otlp"
)

// BenchmarkIngest takes spans the whole way: OTLP in protobuf, decoded, written to the WAL, derived, acknowledged, and in the
// background flushed to blocks and merged. An operation is a span. Its time is that of the machine's processors, all of this
// process, because merges go on beside the senders; making the requests is part of no operation.
//
// TRIAGE_BENCH_SECONDS, if set, is for how long it runs whatever b.N is, with what is resident printed each minute.
func BenchmarkIngest(b *testing.B) {
	const perRequest, requests, senders = 500, 200, 4
	tuneGC()
	a := &app{Options: Options{Config: Default(), Logger: slog.New(slog.DiscardHandler)}, now: time.Now, failed: make(chan error, 1)}
	a.Config.Data = b.TempDir()
	a.sources = alarm.NewSources()
	defer a.stop()
	if err := a.openStores(b.Context()); err != nil {
		b.Fatal(err)
	}
	a.background("metrics upkeep", a.metrics.Run)
	a.background("events upkeep", a.events.Run)
	deriver, err := a.makePipeline("bench", newProcesses("bench"))
	if err != nil {
		b.Fatal(err)
	}
	a.background("derive", func(ctx context.Context) error { return deriver.Run(ctx, deriveEvery, a.writeDerived) })
	h := otlp.New(otlp.Options{Sink: a.pipeline}).Handler()

	made := time.Now()
	exports, err := load.Exports(1, requests, perRequest, made)
	if err != nil {
		b.Fatal(err)
	}
	stamps := make([]*restamper, len(exports))
	for i, data := range exports {
		stamps[i] = newRestamper(data)
	}
	b.ResetTimer()
	start, before := time.Now(), processorTime(b)
	seconds := benchSeconds()
	var next, spans atomic.Int64
	more := func() bool {
		if seconds > 0 {
			return time.Since(start) < seconds
		}
		return spans.Load() < int64(b.N)
	}
	done := make(chan struct{})
	var telling sync.WaitGroup
	if seconds > 0 {
		telling.Go(func() {
			for tick := time.Tick(time.Minute); ; {
				select {
				case <-tick:
					n := spans.Load()
					fmt.Printf("%s: %d spans, %.0f MB resident, %v a span\n", time.Since(start).Round(time.Second), n, resident(),
						(processorTime(b)-before)/time.Duration(n))
				case <-done:
					return
				}
			}
		})
	}
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for more() {
				i := next.Add(1) - 1
				data, n := stamps[i%requests].again(uint64(i/requests+1), time.Since(made))
				r := httptest.NewRequestWithContext(b.Context(), "POST", "/v1/traces", bytes.NewReader(data))
				r.Header.Set("Content-Type", "application/x-protobuf")
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				switch w.Code {
				case http.StatusOK:
					spans.Add(int64(n))
				case http.StatusTooManyRequests, http.StatusServiceUnavailable:
					time.Sleep(10 * time.Millisecond) // the sender's part: it tries again later
				default:
					b.Errorf("answer %d: %s", w.Code, w.Body)
					return
				}
			}
		})
	}
	wg.Wait()
	close(done)
	telling.Wait()
	if err := a.events.Maintain(b.Context()); err != nil { // what was accepted is flushed and merged before the time is taken
		b.Fatal(err)
	}
	used := processorTime(b) - before
	n := float64(spans.Load())
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(used)/n, "cpu-ns/op")
	b.ReportMetric(n/used.Seconds(), "spans/cpu-s")
	b.ReportMetric(n/time.Since(start).Seconds(), "spans/s")
	b.ReportMetric(resident(), "MB-resident")
	b.ReportMetric(counted(b, a, "triage_events_merged_rows_total")/n, "merged/span")
}

// counted is the value of a counter of the server.
func counted(b *testing.B, a *app, name string) float64 {
	families, err := a.registry.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	b.Fatalf("no counter %s", name)
	return 0
}

// benchSeconds is how long to run, 0 for as long as the benchmark wants.
func benchSeconds() time.Duration {
	var n int
	_, _ = fmt.Sscan(os.Getenv("TRIAGE_BENCH_SECONDS"), &n)
	return time.Duration(n) * time.Second
}

// processorTime is what this process has used of the machine's processors.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the process's memory, MB.
func resident() float64 {
	text, _ := os.ReadFile("/proc/self/statm")
	var all, rss float64
	_, _ = fmt.Sscan(string(text), &all, &rss)
	return rss * float64(os.Getpagesize()) / 1e6
}

// restamper makes a request a new one by writing other IDs and times into its bytes, which costs next to nothing.
type restamper struct {
	data       []byte
	ids, times []int
	spans      int
}

func newRestamper(data []byte) *restamper {
	s := &restamper{data: data}
	s.walk(data, 0, 0)
	return s
}

// walk notes where the IDs and times of spans stand; depth 0 is the request, 3 a span.
func (s *restamper) walk(data []byte, base, depth int) {
	for pos := 0; pos < len(data); {
		num, typ, n := protowire.ConsumeTag(data[pos:])
		pos += n
		n = protowire.ConsumeFieldValue(num, typ, data[pos:])
		value, at := data[pos:pos+n], base+pos
		pos += n
		if typ == protowire.BytesType {
			inner, _ := protowire.ConsumeBytes(value)
			at += len(value) - len(inner)
			value = inner
		}
		switch {
		case depth == 0 && num == 1, depth == 1 && num == 2, depth == 2 && num == 2:
			s.walk(value, at, depth+1)
		case depth != 3:
		case num == 1, num == 2, num == 4 && len(value) == 8:
			s.ids = append(s.ids, at+len(value)-8)
		case num == 7, num == 8:
			s.times = append(s.times, at)
		}
	}
	if depth == 3 {
		s.spans++
	}
}

// again is a copy of the request that was not sent before, with its times moved on.
func (s *restamper) again(round uint64, later time.Duration) (data []byte, spans int) {
	data = bytes.Clone(s.data)
	mask := round * 0x9e3779b97f4a7c15
	for _, at := range s.ids {
		binary.LittleEndian.PutUint64(data[at:], binary.LittleEndian.Uint64(data[at:])^mask)
	}
	for _, at := range s.times {
		binary.LittleEndian.PutUint64(data[at:], binary.LittleEndian.Uint64(data[at:])+uint64(later))
	}
	return data, s.spans
}

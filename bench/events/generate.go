package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"triage/internal/cli/load"
)

// source says what telemetry to make.
type source struct {
	size int64 // spans
	seed uint64
	logs bool // as many log lines, too
}

func (s source) args() []string {
	return []string{generate, fmt.Sprint("-size=", s.size), fmt.Sprint("-seed=", s.seed), fmt.Sprint("-logs=", s.logs)}
}

const (
	batchSpans = 1000
	// The telemetry is dated as if so many spans a second had come, and as many log lines.
	spansASecond = 5000
)

// began is when the telemetry begins.
var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// frame is one OTLP request on its way from the process that makes it.
type frame struct {
	kind byte // 's' for spans, 'l' for logs, 'e' for what is known at the end, as JSON
	at   time.Time
	data []byte
}

func writeFrame(w *bufio.Writer, f frame) error {
	var head [13]byte
	head[0] = f.kind
	binary.BigEndian.PutUint64(head[1:], uint64(f.at.UnixNano()))
	binary.BigEndian.PutUint32(head[9:], uint32(len(f.data)))
	_, _ = w.Write(head[:])
	_, err := w.Write(f.data)
	return err
}

func readFrame(r *bufio.Reader) (f frame, err error) {
	var head [13]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, err
	}
	f = frame{head[0], time.Unix(0, int64(binary.BigEndian.Uint64(head[1:]))), make([]byte, binary.BigEndian.Uint32(head[9:]))}
	_, err = io.ReadFull(r, f.data)
	return f, err
}

// made is what is known of the telemetry at its end.
type made struct {
	Spans, Logs                   int64
	SpanBytes, LogBytes           int64 // as OTLP
	SpanCompressed, LogCompressed int64 // of these, by zstd -3
	Traces                        []string
}

// plants are words that no form of log line has. The first comes three times, the second in each 500th line, the third
// only in some lines next to one another, right behind the second.
var plants = struct{ rare, often, seldom string }{"quokka4711", "amber", "lantern"}

// maxTraces is how many trace IDs are remembered.
const maxTraces = 400

// generateMain writes telemetry to standard output.
func generateMain(args []string) error {
	flags := flag.NewFlagSet(generate, flag.ContinueOnError)
	var s source
	flags.Int64Var(&s.size, "size", 0, "")
	flags.Uint64Var(&s.seed, "seed", 1, "")
	flags.BoolVar(&s.logs, "logs", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	var m made
	spanSum, err := newCompressedSize()
	if err != nil {
		return err
	}
	logSum, err := newCompressedSize()
	if err != nil {
		return err
	}
	maker := load.NewMaker(s.seed)
	batches := (s.size + batchSpans - 1) / batchSpans
	step := time.Second * batchSpans / spansASecond
	for i := range batches {
		from := began.Add(time.Duration(i) * step)
		n := int(min(batchSpans, s.size-m.Spans))
		traces, logs := maker.Requests(n, from, from.Add(step))
		if i%max(1, batches/maxTraces) == 0 && len(m.Traces) < maxTraces {
			m.Traces = append(m.Traces, traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).TraceID().String())
		}
		data, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(traces)
		if err != nil {
			return err
		}
		m.Spans += int64(n)
		m.SpanBytes += int64(len(data))
		if _, err := spanSum.Write(data); err != nil {
			return err
		}
		if err := writeFrame(out, frame{'s', from.Add(step), data}); err != nil {
			return err
		}
		if !s.logs {
			continue
		}
		plant(logs, m.Logs, i, batches)
		if data, err = (&plog.ProtoMarshaler{}).MarshalLogs(logs); err != nil {
			return err
		}
		m.Logs += int64(n)
		m.LogBytes += int64(len(data))
		if _, err := logSum.Write(data); err != nil {
			return err
		}
		if err := writeFrame(out, frame{'l', from.Add(step), data}); err != nil {
			return err
		}
	}
	if m.SpanCompressed, err = spanSum.close(); err != nil {
		return err
	}
	if m.LogCompressed, err = logSum.close(); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := writeFrame(out, frame{'e', began, text}); err != nil {
		return err
	}
	return out.Flush()
}

// plant adds words to lines of a batch: before it there were so many lines.
func plant(logs plog.Logs, before int64, batch, batches int64) {
	n := before
	for i := range logs.ResourceLogs().Len() {
		scopes := logs.ResourceLogs().At(i).ScopeLogs()
		for j := range scopes.Len() {
			records := scopes.At(j).LogRecords()
			for k := range records.Len() {
				body := records.At(k).Body()
				switch {
				case n == before && (batch == batches/10 || batch == batches/2 || batch == batches*9/10):
					add(body, "page "+plants.rare+" was skipped")
				case batch == batches*3/10 && n%100 == 1:
					add(body, plants.often+" "+plants.seldom+" lit")
				case n%500 == 2:
					add(body, "light is "+plants.often)
				}
				n++
			}
		}
	}
}

func add(body pcommon.Value, text string) { body.SetStr(body.Str() + "; " + text) }

// compressedSize counts what is left of a stream after zstd -3.
type compressedSize struct {
	*zstd.Encoder
	n countWriter
}

func newCompressedSize() (*compressedSize, error) {
	c := &compressedSize{}
	var err error
	c.Encoder, err = zstd.NewWriter(&c.n, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(3)), zstd.WithEncoderConcurrency(1))
	return c, err
}

func (c *compressedSize) close() (int64, error) {
	err := c.Encoder.Close()
	return int64(c.n), err
}

type countWriter int64

func (n *countWriter) Write(p []byte) (int, error) {
	*n += countWriter(len(p))
	return len(p), nil
}

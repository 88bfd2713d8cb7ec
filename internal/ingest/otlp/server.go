// Package otlp receives traces, metrics and logs in the OpenTelemetry protocol, over gRPC and HTTP, in protobuf and JSON.
//
//	bytes -> check (place of an error, depth) -> decode -> sieve (rows that can be stored) -> ingest.Sink -> answer
//	                                                          metrics: deltas summed up, Prometheus names
//
// It owns what the protocol's specification says of a receiver: answers in the request's encoding, partial success, which
// errors may be retried and when. An answer of success is sent only after the Sink has accepted. It refuses to listen: the
// caller gives Handler and GRPC to servers of its own. All of it is safe for concurrent use; it starts no goroutine.
package otlp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"triage/internal/ingest"
	"triage/internal/model"
)

// The defaults of Options.
const (
	DefaultMaxBody        = 20 << 20
	DefaultMaxGRPCMessage = 4 << 20
	DefaultMaxInFlight    = 256 << 20
	DefaultMaxDeltaSeries = 100_000
	DefaultDeltaIdle      = 10 * time.Minute
)

// Source is the Batch.Source of everything that comes by OTLP.
const Source = "otlp"

// Options wires a Server. Zero fields take the defaults above.
type Options struct {
	Sink ingest.Sink
	// MaxBody limits a request over HTTP in unpacked bytes, MaxGRPCMessage one over gRPC.
	MaxBody, MaxGRPCMessage int64
	// MaxInFlight caps what all requests being decoded take in memory, about; more is refused as overload.
	MaxInFlight int64
	// AllowedOrigins lists the web pages that may send from a browser, as "https://app.example.com", with "*" for any part
	// of a name ("https://*.example.com") or alone for all pages. Without any, requests that come from a page are refused:
	// listening on loopback does not keep a browser's pages out.
	AllowedOrigins []string
	// MaxDeltaSeries bounds the series of delta temporality that are summed up, DeltaIdle is when an unused one is forgotten.
	MaxDeltaSeries int
	DeltaIdle      time.Duration
	// Registerer may be nil.
	Registerer prometheus.Registerer
	// Logger may be nil.
	Logger *slog.Logger
}

// Server receives OTLP.
type Server struct {
	sink       ingest.Sink
	decoder    decoder
	translator *translator
	bodies     *ingest.BodyReader
	gate       *ingest.Gate
	maxCost    int64
	origins    origins
	maxMessage int
	log        *slog.Logger

	requests *prometheus.CounterVec
	refused  *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	repaired *prometheus.CounterVec
}

// New makes a Server.
func New(o Options) *Server {
	setDefault(&o.MaxBody, DefaultMaxBody)
	setDefault(&o.MaxGRPCMessage, DefaultMaxGRPCMessage)
	setDefault(&o.MaxInFlight, DefaultMaxInFlight)
	setDefault(&o.MaxDeltaSeries, DefaultMaxDeltaSeries)
	setDefault(&o.DeltaIdle, DefaultDeltaIdle)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	s := &Server{
		sink:       o.Sink,
		decoder:    wireDecoder{newPdataDecoder()},
		translator: newTranslator(newDeltas(o.MaxDeltaSeries, o.DeltaIdle, o.Registerer)),
		bodies:     &ingest.BodyReader{Max: o.MaxBody},
		maxCost:    maxDensity * max(o.MaxBody, o.MaxGRPCMessage),
		origins:    parseOrigins(o.AllowedOrigins),
		maxMessage: int(o.MaxGRPCMessage),
		log:        o.Logger,
		requests:   vec("triage_otlp_requests_total", "OTLP requests by how they were answered.", "transport", "signal", "code"),
		refused:    vec("triage_otlp_refused_requests_total", "OTLP requests of which nothing was stored, by reason.", "transport", "signal", "reason"),
		bytes:      vec("triage_otlp_received_bytes_total", "Unpacked bytes of OTLP requests.", "transport", "signal"),
		repaired:   vec("triage_otlp_repaired_total", "What was put right in items that were stored.", "signal", "reason"),
	}
	// The largest request that is taken must fit, or it would be told to try again for ever.
	s.gate = ingest.NewGate(max(o.MaxInFlight, s.maxCost))
	if o.Registerer != nil {
		o.Registerer.MustRegister(s.requests, s.refused, s.bytes, s.repaired,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "triage_otlp_in_flight_bytes", Help: "Bytes of requests being decoded and accepted.",
			}, func() float64 { return float64(s.gate.Held()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "triage_otlp_in_flight_limit_bytes", Help: "Bytes of requests above which more are refused as overload.",
			}, func() float64 { return float64(s.gate.Limit()) }),
		)
	}
	return s
}

func setDefault[T ~int | ~int64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// exportRequest is one request, unpacked.
type exportRequest struct {
	transport string // "http" or "grpc"
	signal    signal
	encoding  encoding
	tenant    string // as the sender wrote it
	data      []byte
}

// exportResult is what the answer to an accepted request says.
type exportResult struct {
	rejected int64
	message  string
}

// malformedError is a request that no repetition makes good.
type malformedError struct{ err error }

func (e *malformedError) Error() string { return e.err.Error() }
func (e *malformedError) Unwrap() error { return e.err }

// export decodes a request and has it accepted. The caller holds the gate for its bytes.
func (s *Server) export(ctx context.Context, r exportRequest) (out exportResult, err error) {
	defer func() {
		// What others send must not end the server, whatever bug of ours or a library's it finds; gRPC would let it.
		if p := recover(); p != nil {
			s.log.Error("BUG: request made the collector panic", "signal", r.signal.String(), "panic", p, "stack", string(debug.Stack()))
			out, err = exportResult{}, &malformedError{fmt.Errorf("take in %s %s: gave up: %v", r.encoding, r.signal, p)}
		}
	}()
	s.bytes.WithLabelValues(r.transport, r.signal.String()).Add(float64(len(r.data)))
	tenant, err := ingest.ParseTenant(r.tenant)
	if err != nil {
		return exportResult{}, &malformedError{fmt.Errorf("%s: %w", ingest.TenantHeader, err)}
	}
	cost, err := s.decoder.check(r.data, r.signal, r.encoding)
	if err != nil {
		return exportResult{}, &malformedError{err}
	}
	if cost > s.maxCost {
		return exportResult{}, fmt.Errorf("%w: its items take about %d bytes of memory, at most %d; send fewer at a time",
			ingest.ErrBodyTooLarge, cost, s.maxCost)
	}
	release, err := s.gate.Acquire(cost - int64(len(r.data)))
	if err != nil {
		return exportResult{}, err
	}
	defer release()
	batch := &model.Batch{Tenant: tenant, Source: Source, ID: batchID(tenant, r.signal, r.data)}
	sieve := newSieve(batch, r.signal, time.Now())
	if err := s.decode(ctx, r, sieve); err != nil {
		return exportResult{}, err
	}
	for reason, n := range sieve.rejected {
		batch.Rejected = append(batch.Rejected, model.Rejection{Signal: r.signal.items(), Reason: reason, Count: n})
	}
	if batch.Len() == 0 && len(batch.Rejected) == 0 {
		return exportResult{}, nil // OTLP: a request without data is good
	}

	sent := int64(len(batch.Spans) + len(batch.Logs) + sieve.points)
	res, err := s.sink.Accept(ctx, batch)
	if err != nil {
		return exportResult{}, err
	}
	for reason, n := range sieve.repaired {
		s.repaired.WithLabelValues(r.signal.String(), reason).Add(float64(n))
	}
	// One data point may have become several samples; no more points are reported than were sent.
	out = exportResult{rejected: int64(sieve.total()) + min(int64(res.Rejected.Total()), sent), message: sieve.message()}
	if n := res.Rejected.Total(); n > 0 {
		if out.message != "" {
			out.message += "; "
		}
		out.message += fmt.Sprintf("%d samples not stored: %s", n, reasons(res.Rejected))
	}
	out.message = clip(out.message)
	return out, nil
}

func (s *Server) decode(ctx context.Context, r exportRequest, into *sieve) error {
	var err error
	switch r.signal {
	case traces:
		err = s.decoder.traces(r.data, r.encoding, into)
	case logs:
		err = s.decoder.logs(r.data, r.encoding, into)
	case metrics:
		md, derr := s.decoder.metrics(r.data, r.encoding)
		if derr != nil {
			return &malformedError{derr}
		}
		return s.translator.translate(ctx, md, into)
	}
	if err != nil {
		return &malformedError{err}
	}
	return nil
}

// batchID is the same for the same bytes of the same tenant, whichever way they come.
func batchID(tenant string, sig signal, data []byte) (id [32]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00", tenant, sig)
	h.Write(data)
	h.Sum(id[:0])
	return id
}

// malformed tells whether an error is the sender's, for good.
func malformed(err error) bool {
	var m *malformedError
	return errors.As(err, &m)
}

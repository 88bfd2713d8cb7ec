// Package promwrite receives Prometheus remote write 1.0 and 2.0.
//
// It owns the wire format: content negotiation, snappy, the two messages, the statuses and the headers that tell a
// sender what was written. It refuses to judge samples, which is the store's business, except for references into
// nowhere. The handler is safe for concurrent use and starts no goroutine.
//
//	POST /api/v1/write
//	Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request
//	Content-Encoding: snappy
package promwrite

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"

	"triage/internal/ingest"
	"triage/internal/model"
	"triage/internal/store"
)

// DefaultMaxBody is the limit on a decompressed body where Options names none.
const DefaultMaxBody = 20 << 20

// DefaultMaxInFlight is the cap on memory in use where Options names none.
const DefaultMaxInFlight = 256 << 20

// maxDensity is how many times MaxBody a request may take in memory. Real ones take some five times their bytes; one of
// nothing but empty series takes two hundred times.
const maxDensity = 16

// readTimeout is how long a body may take.
const readTimeout = time.Minute

// source is what counters call this edge.
const source = "promwrite"

// The messages, as the parameter proto of the content type names them.
const (
	messageV1 = "prometheus.WriteRequest"
	messageV2 = "io.prometheus.write.v2.Request"
)

// Options wires a Handler.
type Options struct {
	Sink ingest.Sink
	// MaxBody limits the body in bytes, decompressed; 0 means DefaultMaxBody.
	MaxBody int64
	// MaxInFlight caps what all requests being decoded take in memory, about; more is refused as overload. 0 means
	// DefaultMaxInFlight.
	MaxInFlight int64
	// Registerer may be nil.
	Registerer prometheus.Registerer
	// Logger may be nil.
	Logger *slog.Logger
}

// Handler serves remote write at whatever path it is mounted on.
type Handler struct {
	sink     ingest.Sink
	maxBody  int64
	gate     *ingest.Gate
	requests *prometheus.CounterVec
	refused  *prometheus.CounterVec
	log      *slog.Logger
}

// New makes a Handler.
func New(o Options) *Handler {
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = DefaultMaxInFlight
	}
	h := &Handler{sink: o.Sink, maxBody: o.MaxBody, log: o.Logger}
	// The largest request that is taken must fit, or it would be told to try again for ever.
	h.gate = ingest.NewGate(max(o.MaxInFlight, (maxDensity+2)*o.MaxBody))
	h.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "triage_promwrite_refused_requests_total", Help: "Remote write requests of which nothing was stored, by reason.",
	}, []string{"reason"})
	h.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "triage_promwrite_requests_total", Help: "Remote write requests, by the status they were answered with.",
	}, []string{"status"})
	if o.Registerer != nil {
		o.Registerer.MustRegister(h.requests, h.refused)
	}
	return h
}

// refusal is an error with the status that tells the sender whose fault it is and whether to try again, and the reason
// that it is counted by.
type refusal struct {
	status int
	reason string
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(status int, reason, format string, args ...any) error {
	return &refusal{status, reason, fmt.Errorf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Not every ResponseWriter has a connection to set deadlines on, and then there is nothing to wait for either.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	wrote, err := h.write(r)
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if wrote != nil {
		// Senders of 2.0 take a success without these for a server that only knows 1.0.
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(wrote.samples))
		w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", strconv.Itoa(wrote.histograms))
		w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", strconv.Itoa(wrote.exemplars))
	}
	status := http.StatusNoContent
	if err != nil {
		var reason string
		if status, reason = statusOf(err); reason != partly {
			h.refused.WithLabelValues(reason).Inc()
		}
	}
	h.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	if err == nil {
		w.WriteHeader(status)
		return
	}
	switch {
	case status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case status >= http.StatusInternalServerError:
		h.log.Error("remote write request not stored", "err", err)
	}
	http.Error(w, clip(err.Error()), status)
}

// statusOf is the one place that picks a status. Senders try again after 5xx and give up after 4xx; not all of them try
// again after 429, so overload is 503.
func statusOf(err error) (status int, reason string) {
	var ref *refusal
	switch {
	case errors.As(err, &ref):
		return ref.status, ref.reason
	case errors.Is(err, store.ErrOverloaded):
		return http.StatusServiceUnavailable, "overloaded"
	case errors.Is(err, store.ErrFull):
		return http.StatusServiceUnavailable, "full"
	case errors.Is(err, store.ErrClosed):
		return http.StatusServiceUnavailable, "closed"
	}
	return http.StatusInternalServerError, "error"
}

// clip keeps answers to what fits a sender's log.
func clip(text string) string {
	const most = 1000
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// partly is the reason of requests that are refused in part; their samples are counted one by one.
const partly = "partly"

// written counts what was stored.
type written struct{ samples, histograms, exemplars int }

// write takes one request. written is nil for requests of version 1.0.
func (h *Handler) write(r *http.Request) (*written, error) {
	if r.Method != http.MethodPost {
		return nil, refuse(http.StatusMethodNotAllowed, "method", "remote write takes POST, not %s", r.Method)
	}
	message, err := messageOf(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "snappy") {
		return nil, refuse(http.StatusUnsupportedMediaType, "content_encoding", "content encoding %q is not taken, only snappy", enc)
	}
	// Until the body is understood nothing of it is written, and 2.0 wants that said too.
	var none *written
	if message == messageV2 {
		none = &written{}
	}
	tenant, err := ingest.ParseTenant(r.Header.Get(ingest.TenantHeader))
	if err != nil {
		return none, refuse(http.StatusBadRequest, "malformed", "%w", err)
	}
	// Memory is taken before it is used: by what is announced, then by what it will unpack to, then by what it will become.
	held, err := h.gate.Acquire(h.expected(r))
	if err != nil {
		return none, err
	}
	defer held()
	body, release, err := h.body(r)
	if err != nil {
		return none, err
	}
	defer release()
	batch := &model.Batch{Tenant: tenant, Source: source, ID: sha256.Sum256(body)}

	schema := requestV1
	if message == messageV2 {
		schema = requestV2
	}
	cost, err := schema.Check(body)
	if err != nil {
		return none, refuse(http.StatusBadRequest, "malformed", "decode %s: %w", message, err)
	}
	if most := maxDensity * h.maxBody; cost > most {
		return none, refuse(http.StatusRequestEntityTooLarge, "too_large",
			"the series take about %d bytes of memory, at most %d; send fewer at a time", cost, most)
	}
	more, err := h.gate.Acquire(cost - int64(len(body)))
	if err != nil {
		return none, err
	}
	defer more()
	var bad []string
	if message == messageV2 {
		bad, err = decodeV2(body, batch, maxDensity*h.maxBody)
	} else {
		bad, err = decodeV1(body, batch)
	}
	if errors.Is(err, ingest.ErrBodyTooLarge) {
		return none, refuse(http.StatusRequestEntityTooLarge, "too_large", "decode %s: %w", message, err)
	}
	if err != nil {
		return none, refuse(http.StatusBadRequest, "malformed", "decode %s: %w", message, err)
	}
	sent := tally(batch)
	if batch.Len() > 0 || len(batch.Rejected) > 0 {
		res, err := h.sink.Accept(r.Context(), batch)
		if err != nil {
			return none, err
		}
		for _, reason := range slices.Sorted(maps.Keys(res.Rejected)) {
			bad = append(bad, fmt.Sprintf("%d samples: %s", res.Rejected[reason], strings.ReplaceAll(reason, "_", " ")))
		}
		sent.subtract(res.Rejected.Total())
	}
	if message != messageV2 {
		none = nil
	} else {
		none = &sent
	}
	if len(bad) > 0 {
		return none, refuse(http.StatusBadRequest, partly, "not all was stored: %s", strings.Join(bad, "; "))
	}
	return none, nil
}

func messageOf(contentType string) (string, error) {
	if contentType == "" {
		return messageV1, nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/x-protobuf" {
		return "", refuse(http.StatusUnsupportedMediaType, "content_type", "content type %q is not taken, only application/x-protobuf", contentType)
	}
	switch proto := params["proto"]; proto {
	case "", messageV1:
		return messageV1, nil
	case messageV2:
		return messageV2, nil
	default:
		return "", refuse(http.StatusUnsupportedMediaType, "content_type", "message %q is not taken, only %s and %s", proto, messageV1, messageV2)
	}
}

// expected is how many bytes a body has at most, by what its sender says of it.
func (h *Handler) expected(r *http.Request) int64 {
	if r.ContentLength < 0 || r.ContentLength > h.maxBody {
		return h.maxBody
	}
	return r.ContentLength
}

// body reads and decompresses. The length that snappy names is checked before anything is allocated for it; the gate holds
// it until release is called.
func (h *Handler) body(r *http.Request) (body []byte, release func(), err error) {
	compressed, err := io.ReadAll(io.LimitReader(r.Body, h.maxBody+1))
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "malformed", "read body: %w", err)
	}
	if int64(len(compressed)) > h.maxBody {
		return nil, nil, refuse(http.StatusRequestEntityTooLarge, "too_large", "the body is larger than %d bytes", h.maxBody)
	}
	n, err := snappy.DecodedLen(compressed)
	if err != nil {
		return nil, nil, refuse(http.StatusBadRequest, "malformed", "decompress body: %w", err)
	}
	if int64(n) > h.maxBody {
		return nil, nil, refuse(http.StatusRequestEntityTooLarge, "too_large", "the body has %d bytes decompressed, more than %d", n, h.maxBody)
	}
	if release, err = h.gate.Acquire(int64(n)); err != nil {
		return nil, nil, err
	}
	if body, err = snappy.Decode(nil, compressed); err != nil {
		release()
		return nil, nil, refuse(http.StatusBadRequest, "malformed", "decompress body: %w", err)
	}
	return body, release, nil
}

func tally(b *model.Batch) (w written) {
	for i := range b.Series {
		w.samples += len(b.Series[i].Samples)
		w.histograms += len(b.Series[i].Histograms)
		w.exemplars += len(b.Series[i].Exemplars)
	}
	return w
}

// subtract takes rejected ones off. Where a request has both kinds, the store does not say which it rejected; floats are
// by far the likelier.
func (w *written) subtract(rejected int) {
	n := min(rejected, w.samples)
	w.samples -= n
	w.histograms = max(0, w.histograms-(rejected-n))
}

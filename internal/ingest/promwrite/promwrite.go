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

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"

	"triage/internal/ingest"
	"triage/internal/model"
	"triage/internal/store"
)

// DefaultMaxBody is the limit on a decompressed body where Options names none.
const DefaultMaxBody = 20 << 20

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
	// Registerer may be nil.
	Registerer prometheus.Registerer
	// Logger may be nil.
	Logger *slog.Logger
}

// Handler serves remote write at whatever path it is mounted on.
type Handler struct {
	sink     ingest.Sink
	maxBody  int64
	requests *prometheus.CounterVec
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
	h := &Handler{sink: o.Sink, maxBody: o.MaxBody, log: o.Logger}
	h.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "triage_promwrite_requests_total", Help: "Remote write requests, by the status they were answered with.",
	}, []string{"status"})
	if o.Registerer != nil {
		o.Registerer.MustRegister(h.requests)
	}
	return h
}

// refusal is an error with the status that tells the sender whose fault it is and whether to try again.
type refusal struct {
	status int
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Errorf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	wrote, err := h.write(r)
	if wrote != nil {
		// Senders of 2.0 take a success without these for a server that only knows 1.0.
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(wrote.samples))
		w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", strconv.Itoa(wrote.histograms))
		w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", strconv.Itoa(wrote.exemplars))
	}
	status := http.StatusNoContent
	if err != nil {
		status = statusOf(err)
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
	http.Error(w, err.Error(), status)
}

// statusOf is the one place that picks a status. Senders try again after 5xx and give up after 4xx; not all of them try
// again after 429, so overload is 503.
func statusOf(err error) int {
	var ref *refusal
	switch {
	case errors.As(err, &ref):
		return ref.status
	case errors.Is(err, store.ErrOverloaded), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrClosed):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// written counts what was stored.
type written struct{ samples, histograms, exemplars int }

// write takes one request. written is nil for requests of version 1.0.
func (h *Handler) write(r *http.Request) (*written, error) {
	if r.Method != http.MethodPost {
		return nil, refuse(http.StatusMethodNotAllowed, "remote write takes POST, not %s", r.Method)
	}
	message, err := messageOf(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "snappy") {
		return nil, refuse(http.StatusUnsupportedMediaType, "content encoding %q is not taken, only snappy", enc)
	}
	// Until the body is understood nothing of it is written, and 2.0 wants that said too.
	var none *written
	if message == messageV2 {
		none = &written{}
	}
	tenant, err := ingest.ParseTenant(r.Header.Get(ingest.TenantHeader))
	if err != nil {
		return none, refuse(http.StatusBadRequest, "%w", err)
	}
	body, err := h.body(r)
	if err != nil {
		return none, err
	}
	batch := &model.Batch{Tenant: tenant, Source: source, ID: sha256.Sum256(body)}

	var bad []string
	if message == messageV2 {
		bad, err = decodeV2(body, batch)
	} else {
		err = decodeV1(body, batch)
	}
	if err != nil {
		return none, refuse(http.StatusBadRequest, "decode %s: %w", message, err)
	}
	sent := tally(batch)
	if batch.Len() > 0 {
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
		return none, refuse(http.StatusBadRequest, "not all was stored: %s", strings.Join(bad, "; "))
	}
	return none, nil
}

func messageOf(contentType string) (string, error) {
	if contentType == "" {
		return messageV1, nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/x-protobuf" {
		return "", refuse(http.StatusUnsupportedMediaType, "content type %q is not taken, only application/x-protobuf", contentType)
	}
	switch proto := params["proto"]; proto {
	case "", messageV1:
		return messageV1, nil
	case messageV2:
		return messageV2, nil
	default:
		return "", refuse(http.StatusUnsupportedMediaType, "message %q is not taken, only %s and %s", proto, messageV1, messageV2)
	}
}

// body reads and decompresses. The length that snappy names is checked before anything is allocated for it.
func (h *Handler) body(r *http.Request) ([]byte, error) {
	compressed, err := io.ReadAll(io.LimitReader(r.Body, h.maxBody+1))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "read body: %w", err)
	}
	if int64(len(compressed)) > h.maxBody {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", h.maxBody)
	}
	n, err := snappy.DecodedLen(compressed)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "decompress body: %w", err)
	}
	if int64(n) > h.maxBody {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body has %d bytes decompressed, more than %d", n, h.maxBody)
	}
	body, err := snappy.Decode(nil, compressed)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "decompress body: %w", err)
	}
	return body, nil
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

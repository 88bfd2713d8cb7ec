package otlp

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"triage/internal/ingest"
)

var errContentType = errors.New("unsupported Content-Type")

// Handler serves /v1/traces, /v1/metrics and /v1/logs.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, sig := range []signal{traces, metrics, logs} {
		mux.Handle("/v1/"+sig.String(), s.origins.guard(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, sig) }))
	}
	return mux
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, sig signal) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST, OPTIONS")
		http.Error(w, "OTLP is sent by POST", http.StatusMethodNotAllowed)
		s.count("http", sig, strconv.Itoa(http.StatusMethodNotAllowed))
		s.refused.WithLabelValues("http", sig.String(), "method").Inc()
		return
	}
	enc, err := encodingOf(r)
	if err != nil {
		// There is no encoding to answer in.
		w.Header().Set("Accept-Post", protobuf.contentType()+", "+jsonText.contentType())
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
		s.count("http", sig, strconv.Itoa(http.StatusUnsupportedMediaType))
		s.refused.WithLabelValues("http", sig.String(), answerTo(err).reason).Inc()
		return
	}
	body, err := s.serveExport(w, r, sig, enc)
	code := http.StatusOK
	if err != nil {
		a := answerTo(err)
		code = a.http
		s.refused.WithLabelValues("http", sig.String(), a.reason).Inc()
		if a.retry > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(a.retry/time.Second)))
		}
		if errors.Is(err, ingest.ErrEncoding) {
			w.Header().Set("Accept-Encoding", ingest.AcceptEncoding)
		}
		body, err = marshalStatus(a.status(err).Proto(), enc)
		if err != nil {
			s.log.Error("write status", "err", err)
		}
	}
	w.Header().Set("Content-Type", enc.contentType())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	w.Write(body) // a sender that is gone will send again
	s.count("http", sig, strconv.Itoa(code))
}

// readTimeout is how long a body may take. Memory is taken for what it announces, so a sender that announces much and
// sends nothing must not hold it for long.
const readTimeout = time.Minute

func (s *Server) serveExport(w http.ResponseWriter, r *http.Request, sig signal, enc encoding) ([]byte, error) {
	// Memory is taken before reading, as far as the sender tells how much it will be; what unpacking adds is taken after.
	announced := max(r.ContentLength, 0)
	if announced > s.bodies.Max {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ingest.ErrBodyTooLarge, announced, s.bodies.Max)
	}
	release, err := s.gate.Acquire(announced)
	if err != nil {
		return nil, err
	}
	defer release()
	// Not every ResponseWriter has a connection to set deadlines on, and then there is nothing to wait for either.
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(readTimeout))
	data, err := s.bodies.Read(r)
	_ = conn.SetReadDeadline(time.Time{}) // else it would cut off a slow store's answer
	if err != nil {
		if errors.Is(err, ingest.ErrBodyTooLarge) || errors.Is(err, ingest.ErrEncoding) || r.Context().Err() != nil {
			return nil, err
		}
		return nil, &malformedError{fmt.Errorf("read body: %w", err)}
	}
	if more := int64(len(data)) - announced; more > 0 {
		releaseMore, err := s.gate.Acquire(more)
		if err != nil {
			return nil, err
		}
		defer releaseMore()
	}
	res, err := s.export(r.Context(), exportRequest{
		transport: "http", signal: sig, encoding: enc, tenant: r.Header.Get(ingest.TenantHeader), data: data,
	})
	if err != nil {
		return nil, err
	}
	return res.response(sig, enc)
}

func (s *Server) count(transport string, sig signal, code string) {
	s.requests.WithLabelValues(transport, sig.String(), code).Inc()
}

// encodingOf reads the Content-Type.
func encodingOf(r *http.Request) (encoding, error) {
	ct := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(ct)
	if err == nil {
		switch media {
		case "application/x-protobuf", "application/protobuf":
			return protobuf, nil
		case "application/json":
			return jsonText, nil
		}
	}
	return 0, fmt.Errorf("%w %q, want %s or %s", errContentType, ct, protobuf.contentType(), jsonText.contentType())
}

func marshalStatus(st proto.Message, enc encoding) ([]byte, error) {
	if enc == jsonText {
		return protojson.Marshal(st)
	}
	return proto.Marshal(st)
}

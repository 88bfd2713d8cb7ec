package otlp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"triage/internal/ingest"
	"triage/internal/store"
)

// answer is how an error is told to the sender, in both transports' words.
type answer struct {
	http int
	code codes.Code
	// retry is when the same request may be sent again; 0 says nothing of it.
	retry time.Duration
	// reason is the error for the counters.
	reason string
}

// answerTo is the one place that decides whose fault an error is and whether the same bytes would succeed later. OTLP
// clients give up on everything but 429, 502, 503, 504 and their gRPC counterparts, so whatever may pass must be one of
// these: an unknown error of a store costs a retry, not the data.
func answerTo(err error) answer {
	switch {
	case malformed(err):
		return answer{http.StatusBadRequest, codes.InvalidArgument, 0, "malformed"}
	case errors.Is(err, ingest.ErrBodyTooLarge):
		return answer{http.StatusRequestEntityTooLarge, codes.ResourceExhausted, 0, "too_large"}
	case errors.Is(err, ingest.ErrEncoding):
		return answer{http.StatusUnsupportedMediaType, codes.InvalidArgument, 0, "content_encoding"}
	case errors.Is(err, errContentType):
		return answer{http.StatusUnsupportedMediaType, codes.InvalidArgument, 0, "content_type"}
	case errors.Is(err, store.ErrOverloaded):
		return answer{http.StatusTooManyRequests, codes.ResourceExhausted, time.Second, "overloaded"}
	case errors.Is(err, store.ErrFull):
		return answer{http.StatusServiceUnavailable, codes.Unavailable, 30 * time.Second, "full"}
	case errors.Is(err, store.ErrClosed):
		return answer{http.StatusServiceUnavailable, codes.Unavailable, 5 * time.Second, "closed"}
	case errors.Is(err, context.DeadlineExceeded):
		return answer{http.StatusGatewayTimeout, codes.DeadlineExceeded, 0, "canceled"}
	case errors.Is(err, context.Canceled):
		return answer{http.StatusServiceUnavailable, codes.Canceled, 0, "canceled"}
	}
	return answer{http.StatusServiceUnavailable, codes.Unavailable, 5 * time.Second, "error"}
}

// status is the answer as a gRPC status, which OTLP over HTTP sends in the body.
func (a answer) status(err error) *status.Status {
	st := status.New(a.code, clip(err.Error()))
	if a.retry > 0 {
		if with, derr := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(a.retry)}); derr == nil {
			return with
		}
	}
	return st
}

// reasons lists counts by reason, in order.
func reasons(counts map[string]int) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s: %d", reason, counts[reason]))
	}
	return strings.Join(parts, ", ")
}

// maxMessage is the longest text of an answer. Clients log it, and gRPC sends it in a header, which may not be long.
const maxMessage = 1000

func clip(text string) string {
	if len(text) > maxMessage {
		text = text[:maxMessage] + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

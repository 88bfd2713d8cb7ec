package derive

import (
	"math"
	"strconv"
	"strings"

	"triage/internal/model"
)

// maxWeight bounds what one span may stand for, so that a sender's nonsense cannot drown everybody's counts.
const maxWeight = 1 << 24

// weight is how many spans one received span stands for, given how it was sampled: by OpenTelemetry's consistent
// probability sampling (tracestate ot=th:T is the rejection threshold, its predecessor ot=p:N is 2^-N), or by an attribute
// that counts (SampleRate, as Honeycomb's senders set it) or is a share (sampling.rate, sampling.probability).
func weight(s *model.Span) float64 {
	w := 1.0
	if s.TraceState != "" {
		w = stateWeight(s.TraceState)
	}
	for i := range s.Attrs {
		switch a := &s.Attrs[i]; a.Key {
		case "SampleRate", "sampling.rate", "sampling.probability":
			if r, ok := a.Value.Number(); ok && w == 1 && r > 0 {
				if w = r; r < 1 {
					w = 1 / r
				}
			}
		}
	}
	if !(w >= 1) { // NaN too
		return 1
	}
	return min(w, maxWeight)
}

// stateWeight reads the weight from a tracestate header; 1 if it has none.
func stateWeight(state string) float64 {
	for member := range strings.SplitSeq(state, ",") {
		ot, ok := strings.CutPrefix(strings.TrimSpace(member), "ot=")
		if !ok {
			continue
		}
		for field := range strings.SplitSeq(ot, ";") {
			key, value, _ := strings.Cut(field, ":")
			switch key {
			case "th":
				// Up to 14 hex digits of a 56-bit number; zeros at the end are left out.
				if len(value) == 0 || len(value) > 14 {
					return 1
				}
				th, err := strconv.ParseUint(value, 16, 64)
				if err != nil {
					return 1
				}
				th <<= 4 * (14 - len(value))
				return float64(1<<56) / float64(1<<56-th)
			case "p":
				// 63 means "never sampled", which a span that arrived cannot be.
				if n, err := strconv.ParseUint(value, 10, 8); err == nil && n < 63 {
					return math.Ldexp(1, int(n))
				}
			}
		}
	}
	return 1
}

package explain

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"triage/internal/store"
)

// ValueShift is an attribute value that is more frequent among the bad spans than among the rest.
type ValueShift struct {
	Key, Value  string
	Bad, Rest   float64 // its share of the bad spans, of the rest
	Count       int64   // bad spans that have it
	Probability float64 // of so large a difference by chance, corrected for all values looked at
	// Score orders values: how much of the badness having it would account for, 0 to 1.
	Score float64
}

// spared are attributes that differ because spans are bad, not the other way round.
var spared = map[string]bool{
	"error": true, "error.type": true, "error.message": true, "otel.status_code": true, "otel.status_description": true,
	"http.response.status_code": true, "http.status_code": true, "rpc.grpc.status_code": true,
	"rpc.response.status_code": true, "http.response.body.size": true, "status": true,
	"exception.type": true, "exception.message": true, "exception.stacktrace": true,
}

// ephemeral tells whether an attribute is the port that a system chose for the client's end of a connection (RFC 6335 has
// them from 49152 on, Linux from 32768): it tells connections apart, and which one is bad is chance.
func ephemeral(key, value string) bool {
	if !strings.HasSuffix(key, ".port") {
		return false
	}
	port, err := strconv.Atoi(value)
	return err == nil && port >= 32768
}

// Attributes finds values that set bad spans (A) apart from the rest (B). Values are tested one by one with an exact
// test that holds for small counts, corrected for the number of values looked at (Bonferroni: one false alarm a
// hundred verdicts). Identifiers unique to a request cannot pass: they occur once.
func Attributes(d store.Difference) []ValueShift {
	if d.A == 0 || d.B == 0 {
		return nil
	}
	var out []ValueShift
	for _, v := range d.Values {
		if spared[v.Key] || ephemeral(v.Key, v.Value) || v.A < 3 {
			continue
		}
		s := ValueShift{Key: v.Key, Value: v.Value, Count: v.A,
			Bad: float64(v.A) / float64(d.A), Rest: float64(v.B) / float64(d.B)}
		if s.Bad <= s.Rest {
			continue
		}
		s.Probability = min(1, surprise(v.A, d.A, v.B, d.B)*float64(len(d.Values)))
		if s.Probability > 0.01 {
			continue
		}
		// The share of bad spans that would be gone if those with the value were as bad as the others.
		s.Score = round((s.Bad - s.Rest) / max(1e-9, 1-s.Rest))
		s.Bad, s.Rest = round(s.Bad), round(s.Rest)
		if s.Score >= 0.1 {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b ValueShift) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(rank(a.Key), rank(b.Key)),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
	return out
}

// rank prefers the keys that name somebody who can be talked to.
func rank(key string) int {
	if i := slices.Index(CallerKeys, key); i >= 0 {
		return i
	}
	return len(CallerKeys)
}

func sorted(v []float64) []float64 {
	s := make([]float64, 0, len(v))
	for _, x := range v {
		if !math.IsNaN(x) {
			s = append(s, x)
		}
	}
	slices.Sort(s)
	return s
}

package otlp

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"triage/internal/model"
)

// Why rows are rejected.
const (
	noID        = "no_id"         // a span whose trace or span ID is missing or all zero
	noTime      = "no_time"       // nothing says when
	inTheFuture = "in_the_future" // more than maxAhead ahead of our clock
)

// What is put right in rows that are stored.
const (
	invalidUTF8  = "invalid_utf8"  // bytes replaced by U+FFFD
	endBeforeBeg = "negative_time" // a span that ended before it started, kept with duration 0
	noEventTime  = "no_event_time" // a span event without a time, kept at the span's start
	noStart      = "no_start"      // a span without a start, kept at its end
)

// maxAhead is how far ahead of our clock a row may lie: further than any zone is off, and near enough that one broken
// clock does not make retention, which counts back from the newest data, drop everything else.
const maxAhead = 24 * time.Hour

// sieve takes decoded rows into a batch and keeps out what cannot be stored. One sieve serves one request.
type sieve struct {
	batch *model.Batch
	sig   signal
	now   time.Time

	// points counts the data points that were taken in, which the batch no longer shows.
	points   int
	rejected map[string]int
	repaired map[string]int
	// first is the first rejection in words, for the answer to the sender.
	first string
}

func newSieve(b *model.Batch, sig signal, now time.Time) *sieve {
	return &sieve{batch: b, sig: sig, now: now, rejected: map[string]int{}, repaired: map[string]int{}}
}

// reject counts n rows that are left out. Where is called for the first only.
func (s *sieve) reject(reason string, n int, where func() string) {
	if n == 0 {
		return
	}
	if s.first == "" {
		s.first = where()
	}
	s.rejected[reason] += n
}

// total is how many rows were rejected.
func (s *sieve) total() (n int) {
	for _, c := range s.rejected {
		n += c
	}
	return n
}

// message sums up the rejections for the sender, "" if there are none.
func (s *sieve) message() string {
	if len(s.rejected) == 0 {
		return ""
	}
	return reasons(s.rejected) + "; first: " + s.first
}

// time reads a timestamp; ok is false if it lies further ahead than is believable.
func (s *sieve) time(t pcommon.Timestamp) (ns int64, ok bool) {
	return int64(t), t <= math.MaxInt64 && int64(t) <= s.now.Add(maxAhead).UnixNano()
}

// text replaces what is not UTF-8, because everything further on is told that text is.
func (s *sieve) text(t string) string {
	if utf8.ValidString(t) {
		return t
	}
	s.repaired[invalidUTF8]++
	return strings.ToValidUTF8(t, string(utf8.RuneError))
}

// resource makes the one Resource that all rows of an OTLP resource share.
func (s *sieve) resource(r pcommon.Resource, schemaURL string) *model.Resource {
	res := &model.Resource{Attrs: s.attrs(r.Attributes(), nil), SchemaURL: s.text(schemaURL)}
	res.Service = res.Attrs.Str("service.name")
	if res.Service == "" {
		res.Service = unknownService
	}
	return res
}

const unknownService = "unknown_service"

// scope makes the one Scope that all rows of an OTLP scope share, nil if it says nothing.
func (s *sieve) scope(c pcommon.InstrumentationScope, schemaURL string) *model.Scope {
	if c.Name() == "" && c.Version() == "" && c.Attributes().Len() == 0 && schemaURL == "" {
		return nil
	}
	return &model.Scope{
		Name: s.text(c.Name()), Version: s.text(c.Version()), Attrs: s.attrs(c.Attributes(), nil), SchemaURL: s.text(schemaURL),
	}
}

// attrs converts attributes into the free part of slab, which may be nil, and returns them with no capacity to spare.
// Where a key comes twice, the last value counts.
func (s *sieve) attrs(m pcommon.Map, slab *[]model.Attr) model.Attrs {
	n := m.Len()
	if n == 0 {
		return nil
	}
	var out model.Attrs
	if slab != nil && cap(*slab)-len(*slab) >= n {
		l := len(*slab)
		out = model.Attrs((*slab)[l : l : l+n])
		*slab = (*slab)[:l+n]
	} else {
		out = make(model.Attrs, 0, n)
	}
	var seen uint64 // one bit for each key's length and ends: most keys need no comparison to be known as new
	for k, v := range m.All() {
		k = s.text(k)
		bit := keyBit(k)
		if seen&bit != 0 {
			out = out.Set(k, s.value(v))
			continue
		}
		seen |= bit
		out = append(out, model.Attr{Key: k, Value: s.value(v)})
	}
	return out
}

func keyBit(k string) uint64 {
	if k == "" {
		return 1
	}
	h := uint(len(k))*31 + uint(k[len(k)-1])*7 + uint(k[len(k)/2])*13 + uint(k[0])
	return 1 << (h & 63)
}

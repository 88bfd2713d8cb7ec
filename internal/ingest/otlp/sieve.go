package otlp

import (
	"fmt"
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
	farEnd       = "far_end"       // a span that ends in the future, kept with duration 0
	tooLong      = "too_long"      // text cut to its limit
	tooMany      = "too_many"      // attributes, events or links past their limit, counted as dropped
)

// Limits of one row, so that the memory of a page of rows, and of the labels made of names, has a bound. Senders' own
// limits are far below them.
const (
	maxName  = 1 << 10   // names of all kinds, keys of attributes
	maxValue = 256 << 10 // values of attributes, bodies
	maxParts = 1024      // attributes, events, links
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
	// first is the first rejection in words, cut the place of the first loss within a stored row, for the answer to the
	// sender.
	first, cut string
	losses     int
	// at is the row being taken in: its resource, its scope in there, and the row in that; -1 is none.
	at [3]int
}

func newSieve(b *model.Batch, sig signal, now time.Time) *sieve {
	return &sieve{batch: b, sig: sig, now: now, rejected: map[string]int{}, repaired: map[string]int{}}
}

// reset forgets all rows, for another decoder to read the same request.
func (s *sieve) reset() {
	s.batch.Spans, s.batch.Logs = nil, nil
	*s = *newSieve(s.batch, s.sig, s.now)
}

// where is the way to the row being taken in.
func (s *sieve) where() string {
	names := [...][3]string{
		traces:  {"resource_spans", "scope_spans", "spans"},
		metrics: {"resource_metrics", "scope_metrics", "metrics"},
		logs:    {"resource_logs", "scope_logs", "log_records"},
	}[s.sig]
	var b strings.Builder
	for i, n := range s.at {
		if n < 0 {
			break
		}
		if i > 0 {
			b.WriteByte('.')
		}
		fmt.Fprintf(&b, "%s[%d]", names[i], n)
	}
	return b.String()
}

// lose counts n losses within a row that is stored.
func (s *sieve) lose(reason string, n int) {
	if s.cut == "" {
		s.cut = s.where() + ": " + strings.ReplaceAll(reason, "_", " ")
	}
	s.repaired[reason] += n
	s.losses += n
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

// message sums up for the sender what was left out, "" if nothing was.
func (s *sieve) message() string {
	var parts []string
	if len(s.rejected) > 0 {
		parts = append(parts, reasons(s.rejected)+"; first: "+s.first)
	}
	if s.losses > 0 {
		parts = append(parts, fmt.Sprintf("%d changed or cut in rows that were stored; first: %s", s.losses, s.cut))
	}
	return strings.Join(parts, "; ")
}

// time reads a timestamp; ok is false if it lies further ahead than is believable.
func (s *sieve) time(t pcommon.Timestamp) (ns int64, ok bool) {
	return int64(t), t <= math.MaxInt64 && int64(t) <= s.now.Add(maxAhead).UnixNano()
}

// name is text of at most maxName bytes, valid as UTF-8 because everything further on is told that text is.
func (s *sieve) name(t string) string { return s.text(t, maxName) }

// text replaces what is not UTF-8, and cuts what is too long.
func (s *sieve) text(t string, most int) string {
	if len(t) <= most && utf8.ValidString(t) {
		return t
	}
	if len(t) > most {
		s.lose(tooLong, 1)
		t = t[:most]
		t = strings.Clone(t[:lastRune(t)]) // a character cut in two is not the sender's mistake
	}
	if utf8.ValidString(t) {
		return t
	}
	s.lose(invalidUTF8, 1)
	return strings.ToValidUTF8(t, string(utf8.RuneError))
}

// lastRune is where the last character begins, or the end where it is whole.
func lastRune(t string) int {
	for i := len(t) - 1; i >= max(0, len(t)-utf8.UTFMax); i-- {
		if utf8.RuneStart(t[i]) {
			if utf8.FullRuneInString(t[i:]) {
				return len(t)
			}
			return i
		}
	}
	return len(t)
}

// resource makes the one Resource that all rows of an OTLP resource share.
func (s *sieve) resource(r pcommon.Resource, schemaURL string) *model.Resource {
	return s.newResource(s.attrs(r.Attributes(), nil), schemaURL)
}

func (s *sieve) newResource(attrs model.Attrs, schemaURL string) *model.Resource {
	res := &model.Resource{Attrs: attrs, SchemaURL: s.name(schemaURL)}
	res.Service = s.name(res.Attrs.Str("service.name"))
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
		Name: s.name(c.Name()), Version: s.name(c.Version()), Attrs: s.attrs(c.Attributes(), nil), SchemaURL: s.name(schemaURL),
	}
}

// attrs converts attributes into the free part of slab, which may be nil, and returns them with no capacity to spare.
// Where a key comes twice, the last value counts; past maxParts none does.
func (s *sieve) attrs(m pcommon.Map, slab *[]model.Attr) model.Attrs {
	n := min(m.Len(), maxParts)
	if n == 0 {
		return nil
	}
	if more := m.Len() - n; more > 0 {
		s.lose(tooMany, more)
	}
	var out model.Attrs
	if slab != nil && cap(*slab)-len(*slab) >= n {
		l := len(*slab)
		out = model.Attrs((*slab)[l : l : l+n])
		*slab = (*slab)[:l+n]
	} else {
		out = make(model.Attrs, 0, n)
	}
	set := attrSet{out: out}
	for k, v := range m.All() {
		if len(set.out) == n {
			break
		}
		set.add(s.name(k), s.value(v))
	}
	return set.out
}

// attrSet collects attributes. Where a key comes twice, the last value counts.
type attrSet struct {
	out   model.Attrs
	seen  uint64         // one bit for each key's length and ends: most keys need no comparison to be known as new
	index map[string]int // where a key is, once there are too many to look at each
}

func (a *attrSet) add(k string, v model.Value) {
	bit := keyBit(k)
	if a.index == nil && a.seen&bit == 0 {
		a.seen |= bit
		a.out = append(a.out, model.Attr{Key: k, Value: v})
		return
	}
	if a.index == nil && len(a.out) < manyAttrs {
		a.out = a.out.Set(k, v)
		return
	}
	if a.index == nil {
		a.index = make(map[string]int, cap(a.out))
		for i := range a.out {
			a.index[a.out[i].Key] = i
		}
	}
	if i, ok := a.index[k]; ok {
		a.out[i].Value = v
		return
	}
	a.index[k] = len(a.out)
	a.out = append(a.out, model.Attr{Key: k, Value: v})
}

// manyAttrs is from how many attributes on a map finds a key sooner than looking at each.
const manyAttrs = 48

func keyBit(k string) uint64 {
	if k == "" {
		return 1
	}
	h := uint(len(k))*31 + uint(k[len(k)-1])*7 + uint(k[len(k)/2])*13 + uint(k[0])
	return 1 << (h & 63)
}

package derive

import (
	"encoding/binary"
	"strconv"
	"strings"

	"triage/internal/model"
)

// link is the trace and perhaps the span that a log line belongs to.
type link struct {
	trace model.TraceID
	span  model.SpanID
}

// idKind says what the value under a key is.
type idKind uint8

const (
	noID idKind = iota
	traceKey
	tracePlain // "trace": may be anything, so only 32 digits or a known format count
	traceDatadog
	traceParent
	traceB3
	traceJaeger
	spanKey16
	spanDatadog
)

// keyKind knows the names under which senders write trace and span IDs. Prefixes such as mdc. and contextMap. are
// ignored; parent_trace_id and the like are other traces, so nothing that merely ends in trace_id counts.
func keyKind(key string) idKind {
	if len(key) < 2 || len(key) > 96 {
		return noID
	}
	switch key[len(key)-1] | 0x20 {
	case 'd', 't', '3', 'e', 'n':
	default:
		return noID
	}
	base := key
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		base = key[i+1:]
		switch {
		case strings.HasSuffix(key, "dd.trace_id"):
			return traceDatadog
		case strings.HasSuffix(key, "dd.span_id"):
			return spanDatadog
		case strings.EqualFold(base, "id"): // trace.id, span.id as in ECS
			base = key[strings.LastIndexByte(key[:i], '.')+1:]
		case key == "logging.googleapis.com/trace":
			return tracePlain
		}
	}
	base = strings.TrimPrefix(base, "com/") // logging.googleapis.com/spanId
	if len(base) > 20 {
		return noID
	}
	var buf [20]byte
	n := 0
	for i := range len(base) {
		switch c := base[i]; {
		case c == '_' || c == '-' || c == '.' || c == ' ':
		case c >= 'A' && c <= 'Z':
			buf[n] = c | 0x20
			n++
		default:
			buf[n] = c
			n++
		}
	}
	switch string(buf[:n]) {
	case "traceid", "xtraceid", "oteltraceid", "xb3traceid", "b3traceid", "xamzntraceid", "xraytraceid", "awsxraytraceid",
		"amzntraceid":
		return traceKey
	case "trace":
		return tracePlain
	case "traceparent":
		return traceParent
	case "b3":
		return traceB3
	case "ubertraceid":
		return traceJaeger
	case "spanid", "xspanid", "otelspanid", "xb3spanid", "b3spanid", "span":
		return spanKey16
	}
	return noID
}

// linkFromFields looks for a trace ID among attributes.
func linkFromFields(attrs model.Attrs) (link, bool) {
	var l link
	for i := range attrs {
		a := &attrs[i]
		kind := keyKind(a.Key)
		if kind == noID {
			continue
		}
		var got link
		switch value := a.Value.Str(); {
		case a.Value.Kind() == model.KindBytes && kind == traceKey && len(value) == 16:
			copy(got.trace[:], value)
		case a.Value.Kind() == model.KindBytes && kind == spanKey16 && len(value) == 8:
			copy(got.span[:], value)
		case a.Value.Kind() == model.KindInt && kind == traceDatadog:
			got.trace = model.TraceIDFrom(0, uint64(a.Value.Int()))
		case a.Value.Kind() == model.KindInt && kind == spanDatadog:
			got.span = model.SpanIDFrom(uint64(a.Value.Int()))
		case a.Value.Kind() == model.KindString:
			got = parseID(kind, value)
		}
		if l.trace.IsZero() {
			l.trace = got.trace
		}
		if l.span.IsZero() {
			l.span = got.span
		}
	}
	return l, !l.trace.IsZero()
}

// maxCandidates bounds how many times a word like "trace" is looked at in one text.
const maxCandidates = 16

// maxText bounds how much of a text is searched.
const maxText = 16 << 10

// linkFromText looks for a trace ID in text: under a key, or in a format that nothing else has. Digits alone prove
// nothing.
func linkFromText(text string) (link, bool) {
	if len(text) < 16 {
		return link{}, false
	}
	if len(text) > maxText {
		text = text[:maxText]
	}
	l := keyed(text, "race", false)
	if l.trace.IsZero() {
		l = keyed(text, "RACE", false)
	}
	if l.trace.IsZero() {
		l = keyed(text, "b3", false)
	}
	if l.trace.IsZero() {
		l = unkeyed(text)
	}
	if l.trace.IsZero() {
		return link{}, false
	}
	if l.span.IsZero() {
		l.span = keyed(text, "pan", true).span
	}
	if l.span.IsZero() {
		l.span = keyed(text, "PAN", true).span
	}
	return l, true
}

// keyed looks for keys that contain part, and for IDs after them.
func keyed(text, part string, span bool) link {
	for at, n := 0, 0; n < maxCandidates; n++ {
		i := strings.Index(text[at:], part)
		if i < 0 {
			break
		}
		i += at
		at = i + len(part)
		start, end := i, at
		for start > 0 && i-start < 40 && isKeyByte(text[start-1]) {
			start--
		}
		for end < len(text) && end-i < 40 && isKeyByte(text[end]) {
			end++
		}
		if rest := text[end:]; len(rest) > 3 && rest[0] == ' ' && strings.EqualFold(rest[1:3], "id") && !isKeyByte(rest[3]) {
			end += 3 // trace id: ...
		}
		kind := keyKind(text[start:end])
		if kind == noID || span != (kind == spanKey16 || kind == spanDatadog) {
			continue
		}
		value, ok := valueAfter(text[end:])
		if !ok {
			continue
		}
		if l := parseID(kind, value); !l.trace.IsZero() || span && !l.span.IsZero() {
			return l
		}
	}
	return link{}
}

func isKeyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == '/'
}

// valueAfter skips what stands between a key and its value: quotes (escaped ones too), = or : or =>, spaces.
func valueAfter(s string) (string, bool) {
	i, separators := 0, 0
	for ; i < len(s) && i < 12; i++ {
		switch s[i] {
		case '=', ':', '>', ' ':
			separators++
		case '"', '\'', '\\', '[', '(', '`':
		default:
			return s[i:], separators > 0
		}
	}
	return "", false
}

// unkeyed looks for the formats that need no key: traceparent, X-Ray, and the brackets that Spring's tracing writes,
// [name,trace,span] and [trace-span].
func unkeyed(text string) link {
	for at := 0; ; {
		i := strings.IndexByte(text[at:], '-')
		if i < 0 {
			break
		}
		i += at
		at = i + 1
		switch {
		case i >= 2 && text[i-1] == '0' && text[i-2] == '0' && boundary(text, i-2):
			if l, ok := parseTraceparent(text[i-2:]); ok {
				return l
			}
		case i >= 1 && text[i-1] == '1' && boundary(text, i-1):
			if l, ok := parseXRay(text[i-1:]); ok {
				return l
			}
		}
	}
	for at, n := 0, 0; n < maxCandidates; n++ {
		i := strings.IndexByte(text[at:], '[')
		if i < 0 {
			break
		}
		at += i + 1
		s := text[at:]
		sep := byte('-')
		if comma := strings.IndexByte(s[:min(len(s), 64)], ','); comma >= 0 {
			s, sep = s[comma+1:], ','
		}
		n1 := hexLen(s)
		if n1 != 32 && (n1 != 16 || sep == '-') || n1 >= len(s) || s[n1] != sep || hexLen(s[n1+1:]) != 16 {
			continue
		}
		if end := n1 + 17; end >= len(s) || s[end] != ']' && s[end] != ',' {
			continue
		}
		if t, err := model.ParseTraceID(s[:n1]); err == nil && !t.IsZero() {
			return link{t, spanOf(s[n1+1 : n1+17])}
		}
	}
	return link{}
}

// boundary tells whether a value may begin at i.
func boundary(text string, i int) bool {
	return i == 0 || !(isKeyByte(text[i-1]) || text[i-1] >= 0x80)
}

// hexLen is the length of the run of hex digits that s begins with, up to 33.
func hexLen(s string) int {
	n := 0
	for n < len(s) && n < 33 && isHex(s[n]) {
		n++
	}
	return n
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// ends tells whether an ID of n bytes ends there: no letter or digit follows.
func ends(s string, n int) bool {
	return n >= len(s) || !(s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z' || s[n] >= '0' && s[n] <= '9' || s[n] == '_')
}

func spanOf(s string) model.SpanID {
	id, err := model.ParseSpanID(s)
	if err != nil {
		return model.SpanID{}
	}
	return id
}

func traceOf(s string) model.TraceID {
	id, err := model.ParseTraceID(s)
	if err != nil {
		return model.TraceID{}
	}
	return id
}

// parseID reads the ID that s begins with, as its key makes one expect it; zero if there is none.
func parseID(kind idKind, s string) link {
	n := hexLen(s)
	switch kind {
	case spanKey16:
		if n == 16 && ends(s, n) {
			return link{span: spanOf(s[:n])}
		}
		return link{}
	case spanDatadog:
		if v, ok := decimal(s); ok {
			return link{span: model.SpanIDFrom(v)}
		}
		if n == 16 && ends(s, n) {
			return link{span: spanOf(s[:n])}
		}
		return link{}
	case traceDatadog:
		if v, ok := decimal(s); ok {
			return link{trace: model.TraceIDFrom(0, v)}
		}
	case traceParent:
		l, _ := parseTraceparent(s)
		return l
	case traceJaeger:
		l, _ := parseJaeger(s)
		return l
	}
	if l, ok := parseXRay(s); ok {
		return l
	}
	if l, ok := parseTraceparent(s); ok {
		return l
	}
	switch {
	case n == 32 || n == 16 && kind != tracePlain:
		if !ends(s, n) {
			return link{}
		}
		l := link{trace: traceOf(s[:n])}
		// b3: trace-span-sampled.
		if rest := s[n:]; len(rest) >= 17 && rest[0] == '-' && hexLen(rest[1:]) == 16 && ends(rest, 17) {
			l.span = spanOf(rest[1:17])
		} else if kind == traceB3 || n == 16 && len(rest) > 1 && rest[0] == '-' && isHex(rest[1]) {
			return link{} // b3=0, or the first part of something longer
		}
		return l
	case n == 8 && kind != traceB3 && len(s) >= 36 && isUUID(s[:36]) && ends(s, 36) && kind != tracePlain:
		return link{trace: traceOf(s[:36])}
	case strings.HasPrefix(s, "projects/"):
		// Google Cloud: projects/NAME/traces/ID.
		if _, id, ok := strings.Cut(s[:min(len(s), 160)], "/traces/"); ok && hexLen(id) == 32 && ends(id, 32) {
			return link{trace: traceOf(id[:32])}
		}
	}
	return link{}
}

func isUUID(s string) bool {
	for i := range len(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') || !dash && !isHex(s[i]) {
			return false
		}
	}
	return true
}

// decimal reads Datadog's IDs: 64 bits in decimal.
func decimal(s string) (uint64, bool) {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == 0 || n > 20 || !ends(s, n) {
		return 0, false
	}
	v, err := strconv.ParseUint(s[:n], 10, 64)
	return v, err == nil && v != 0
}

// parseTraceparent reads 00-TRACE-SPAN-FLAGS.
func parseTraceparent(s string) (link, bool) {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || !ends(s, 55) ||
		hexLen(s) != 2 || hexLen(s[3:]) != 32 || hexLen(s[36:]) != 16 || !isHex(s[53]) || !isHex(s[54]) {
		return link{}, false
	}
	l := link{traceOf(s[3:35]), spanOf(s[36:52])}
	return l, !l.trace.IsZero()
}

// parseXRay reads 1-SECONDS-REST, alone or as Root= of a header that may have Self= before it and Parent= after it.
func parseXRay(s string) (link, bool) {
	head := s[:min(len(s), 256)]
	if !strings.HasPrefix(head, "1-") {
		i := strings.Index(head, "Root=")
		if i < 0 || i > 0 && !strings.HasPrefix(head, "Self=") {
			return link{}, false
		}
		head = head[i+len("Root="):]
	}
	if len(head) < 35 || head[:2] != "1-" || head[10] != '-' || hexLen(head[2:]) != 8 || hexLen(head[11:]) != 24 || !ends(head, 35) {
		return link{}, false
	}
	l := link{trace: traceOf(head[:35])}
	if i := strings.Index(head[35:], "Parent="); i >= 0 && i <= 16 {
		if p := head[35+i+len("Parent="):]; hexLen(p) == 16 && ends(p, 16) {
			l.span = spanOf(p[:16])
		}
	}
	return l, !l.trace.IsZero()
}

// parseJaeger reads uber-trace-id: trace:span:parent:flags, each without its leading zeros.
func parseJaeger(s string) (link, bool) {
	s = strings.ReplaceAll(s[:min(len(s), 96)], "%3A", ":")
	n := hexLen(s)
	if n == 0 || n > 32 || n >= len(s) || s[n] != ':' {
		return link{}, false
	}
	m := hexLen(s[n+1:])
	if m == 0 || m > 16 || n+1+m >= len(s) || s[n+1+m] != ':' {
		return link{}, false
	}
	var l link
	high := max(0, n-16)
	hi, lo := uint64(0), uint64(0)
	if high > 0 {
		hi, _ = strconv.ParseUint(s[:high], 16, 64)
	}
	lo, _ = strconv.ParseUint(s[high:n], 16, 64)
	l.trace = model.TraceIDFrom(hi, lo)
	span, _ := strconv.ParseUint(s[n+1:n+1+m], 16, 64)
	binary.BigEndian.PutUint64(l.span[:], span)
	return l, !l.trace.IsZero()
}

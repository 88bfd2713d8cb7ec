package model

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"time"
)

// Exception is what one occurrence says of itself: OpenTelemetry's exception.type, .message and .stacktrace. At least
// one is not empty.
type Exception struct{ Type, Message, Stack string }

// ExceptionEvent is the name of span events that tell of an exception.
const ExceptionEvent = "exception"

// OpenTelemetry's attributes of an exception.
const (
	exceptionType    = "exception.type"
	exceptionMessage = "exception.message"
	exceptionStack   = "exception.stacktrace"
)

// EventException reads an exception out of a span event; false if it is another event or says nothing.
func EventException(e *SpanEvent) (Exception, bool) {
	if e.Name != ExceptionEvent {
		return Exception{}, false
	}
	x := Exception{e.Attrs.Str(exceptionType), e.Attrs.Str(exceptionMessage), e.Attrs.Str(exceptionStack)}
	return x, x != Exception{}
}

// LogExceptionKeys are the attributes by which a log record tells of an exception, at any severity, and
// LogErrorKeys those that count from severity ERROR on only, because at lower ones they say something else.
var (
	LogExceptionKeys = []string{exceptionType, exceptionMessage, exceptionStack}
	LogErrorKeys     = []string{"error.type", "error.message", "error", "err", "error.stack_trace", "error.stack"}
)

// LogException reads an exception out of a log record's attributes, which get gives as text.
func LogException(s Severity, get func(key string) string) (Exception, bool) {
	x := Exception{get(exceptionType), get(exceptionMessage), get(exceptionStack)}
	if s >= 17 {
		first := func(have string, keys ...string) string {
			for i := 0; have == "" && i < len(keys); i++ {
				have = get(keys[i])
			}
			return have
		}
		x.Type = first(x.Type, LogErrorKeys[0])
		x.Message = first(x.Message, LogErrorKeys[1:4]...)
		x.Stack = first(x.Stack, LogErrorKeys[4:]...)
	}
	return x, x != Exception{}
}

// ExceptionKey is the group that an exception belongs to.
type ExceptionKey struct {
	// ID is 16 hex digits, the same wherever and whenever the exception occurs.
	ID string
	// Type and Message are those of the root cause.
	Type, Message string
	// Template is the message's form: what varies is "<*>".
	Template string
	// Frames are what of the stack counts, innermost first; empty if the group is made by type and template.
	Frames []string
}

// maxFrames is how many frames make a group. More would part one bug by who called it, fewer join different ones.
const maxFrames = 5

// Group finds the group of an exception, by nothing but the exception itself: not its service, version or line numbers.
//
// The method is that of Google's Error Reporting (cloud.google.com/error-reporting/docs/grouping-errors): exception type and
// the five top-most frames, of the innermost of nested exceptions, without libraries' frames and repetitions; the message
// only where there is no stack. Sentry's order is the same: stack, then exception, then message (docs.sentry.io, "Issue
// Grouping").
//
//  1. Of chained exceptions the root cause counts: the last "Caused by" (Java) or "--->" (.NET), the first of a chain by
//     "direct cause" (Python) or "Next" (PHP).
//  2. Frames are reduced to functions, with the end of the file's path where the language does not name functions fully.
//     Line numbers, addresses, arguments, counters of lambdas and anonymous classes, generated names and hashes go.
//  3. The five innermost frames of the application count, of all frames if none is known to be the application's;
//     neighbours that are the same count once.
//  4. Without frames, type and message template make the group.
//
// A stack that cannot be read is no error: what can be read of it counts.
func (e Exception) Group() ExceptionKey {
	t := readStack(e.Stack)
	root, primary := t.root(), t.primary()
	k := ExceptionKey{Type: e.Type, Message: e.Message}
	if root != nil {
		if root != primary && root.header != "" {
			k.Type, k.Message = splitHeader(root.header)
		} else if k.Type == "" || k.Message == "" {
			typ, message := splitHeader(root.header)
			if k.Type == "" {
				k.Type = typ
			}
			if k.Message == "" {
				k.Message = message
			}
		}
		k.Frames = significant(root.frames)
	}
	k.Type = stripCounters(strings.TrimSpace(k.Type))
	k.Template = MessageTemplate(k.Message)
	h := sha256.New()
	_, _ = io.WriteString(h, k.Type)
	if len(k.Frames) == 0 {
		_, _ = io.WriteString(h, "\x00message\x00"+k.Template)
	}
	for _, f := range k.Frames {
		_, _ = io.WriteString(h, "\x00frame\x00"+f)
	}
	k.ID = hex.EncodeToString(h.Sum(nil)[:8])
	return k
}

// significant picks the frames that make a group.
func significant(frames []frame) []string {
	own := false
	for _, f := range frames {
		own = own || !f.library
	}
	var out []string
	for _, f := range frames {
		if own && f.library || len(out) > 0 && out[len(out)-1] == f.name {
			continue
		}
		if out = append(out, f.name); len(out) == maxFrames {
			break
		}
	}
	return out
}

// maxMessage is how much of a message its template has, in bytes.
const maxMessage = 512

// MessageTemplate is the form of a message's first line: words with digits or an @, and what stands in quotes, become
// "<*>". It needs no other message, so it is the same in every service.
func MessageTemplate(text string) string {
	text = strings.TrimSpace(text)
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = strings.TrimSpace(text[:i])
	}
	text = strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")
	var out strings.Builder
	last := byte(' ')
	put := func(s string) {
		if s != "" {
			out.WriteString(s)
			last = s[len(s)-1]
		}
	}
	for i := 0; i < len(text); {
		c := text[i]
		if c == '"' || c == '`' || c == '\'' {
			// An apostrophe within a word opens nothing.
			if end := strings.IndexByte(text[i+1:], c); end > 0 && !isWord(last) {
				put(text[i:i+1] + "<*>" + text[i:i+1])
				i += end + 2
				continue
			}
		}
		if isDelimiter(c) {
			put(text[i : i+1])
			i++
			continue
		}
		start, varies := i, false
		for ; i < len(text) && !isDelimiter(text[i]); i++ {
			varies = varies || text[i] >= '0' && text[i] <= '9' || text[i] == '@'
		}
		word := text[start:i]
		if varies || len(word) >= 8 && isHex(word) {
			word = "<*>"
		}
		put(word)
	}
	return out.String()
}

func isDelimiter(c byte) bool { return c <= ' ' || strings.IndexByte("=:,;()[]{}<>\"'`|#", c) >= 0 }

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80
}

func isHex(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F') }) < 0
}

// ExceptionGroup is exceptions of one type and stack, across services.
type ExceptionGroup struct {
	ID string `json:"id"`
	// Type and Message are the root cause's, the message of the newest occurrence; Template is the message's form.
	Type     string `json:"type"`
	Message  string `json:"message"`
	Template string `json:"template"`
	// Frames are what of the stack makes the group, innermost first.
	Frames []string `json:"frames"`
	// Count is occurrences in the range, Users distinct user.id among them (of the span or record itself).
	Count int64 `json:"count"`
	Users int64 `json:"users"`
	// Services, Versions and Operations are the most frequent in the range, most frequent first.
	Services   []ExceptionCount `json:"services"`
	Versions   []ExceptionCount `json:"versions"`
	Operations []ExceptionCount `json:"operations"`
	// First is the first occurrence of all that is stored, whatever range and filters were asked for, in FirstService of
	// FirstVersion. Last is the newest in the range.
	First        time.Time `json:"first_seen"`
	Last         time.Time `json:"last_seen"`
	FirstService string    `json:"first_service"`
	FirstVersion string    `json:"first_version"`
	// New tells that First lies within the range.
	New bool `json:"new"`
	// Samples are the newest occurrences, newest first.
	Samples []ExceptionSample `json:"samples"`
	// Stack is the newest occurrence's that has one, where only this group was asked for.
	Stack string `json:"stack,omitempty"`
	// Histogram counts occurrences in equal parts of the range.
	Histogram []int64 `json:"histogram"`
}

// ExceptionCount is how often something occurred. Service is empty where Name is one; Name is empty for a service
// without a version.
type ExceptionCount struct {
	Service string `json:"service,omitempty"`
	Name    string `json:"name"`
	Count   int64  `json:"count"`
}

// ExceptionSample points at one occurrence. Its IDs are zero for a log record without a trace.
type ExceptionSample struct {
	At      time.Time `json:"at"`
	Service string    `json:"service"`
	Version string    `json:"version,omitempty"`
	TraceID TraceID   `json:"trace_id,omitzero"`
	SpanID  SpanID    `json:"span_id,omitzero"`
	Message string    `json:"message"`
}

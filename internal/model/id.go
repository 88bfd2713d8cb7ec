package model

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// TraceID is a W3C trace ID; all zero means "none".
type TraceID [16]byte

// SpanID is a W3C span ID; all zero means "none".
type SpanID [8]byte

// IsZero tells whether there is no trace ID.
func (t TraceID) IsZero() bool { return t == TraceID{} }

// String is the ID as 32 lower-case hex digits, or "" for none.
func (t TraceID) String() string {
	if t.IsZero() {
		return ""
	}
	return hex.EncodeToString(t[:])
}

// MarshalText writes String.
func (t TraceID) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what ParseTraceID reads; empty text is the zero ID.
func (t *TraceID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*t = TraceID{}
		return nil
	}
	id, err := ParseTraceID(string(b))
	*t = id
	return err
}

// Hi and Lo are the halves of the ID, big-endian.
func (t TraceID) Hi() uint64 { return binary.BigEndian.Uint64(t[:8]) }
func (t TraceID) Lo() uint64 { return binary.BigEndian.Uint64(t[8:]) }

// TraceIDFrom joins the halves that Hi and Lo give.
func TraceIDFrom(hi, lo uint64) (t TraceID) {
	binary.BigEndian.PutUint64(t[:8], hi)
	binary.BigEndian.PutUint64(t[8:], lo)
	return t
}

// IsZero tells whether there is no span ID.
func (s SpanID) IsZero() bool { return s == SpanID{} }

// String is the ID as 16 lower-case hex digits, or "" for none.
func (s SpanID) String() string {
	if s.IsZero() {
		return ""
	}
	return hex.EncodeToString(s[:])
}

// MarshalText writes String.
func (s SpanID) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSpanID reads; empty text is the zero ID.
func (s *SpanID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*s = SpanID{}
		return nil
	}
	id, err := ParseSpanID(string(b))
	*s = id
	return err
}

// Uint64 is the ID as a big-endian number.
func (s SpanID) Uint64() uint64 { return binary.BigEndian.Uint64(s[:]) }

// SpanIDFrom is the inverse of Uint64.
func SpanIDFrom(v uint64) (s SpanID) {
	binary.BigEndian.PutUint64(s[:], v)
	return s
}

// ParseTraceID reads 32 hex digits, with or without the dashes of a UUID and the "1-" of AWS X-Ray. Sixteen digits
// are a 64-bit ID, whose upper half is zero.
func ParseTraceID(text string) (TraceID, error) {
	digits := make([]byte, 0, 32)
	s := text
	if len(s) == 35 && s[0] == '1' && s[1] == '-' {
		s = s[2:]
	}
	for i := range len(s) {
		if s[i] != '-' {
			digits = append(digits, s[i])
		}
	}
	var t TraceID
	var err error
	switch len(digits) {
	case 32:
		_, err = hex.Decode(t[:], digits)
	case 16:
		_, err = hex.Decode(t[8:], digits)
	default:
		err = fmt.Errorf("%d hex digits, want 32 or 16", len(digits))
	}
	if err != nil {
		return TraceID{}, fmt.Errorf("trace ID %q: %w", text, err)
	}
	return t, nil
}

// ParseSpanID reads 16 hex digits.
func ParseSpanID(text string) (SpanID, error) {
	var s SpanID
	if len(text) != 16 {
		return s, fmt.Errorf("span ID %q: %d hex digits, want 16", text, len(text))
	}
	if _, err := hex.Decode(s[:], []byte(text)); err != nil {
		return SpanID{}, fmt.Errorf("span ID %q: %w", text, err)
	}
	return s, nil
}

package search

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// units are what may follow a number, with their worth in seconds or bytes. kB is a thousand, KiB 1024; "m" is
// a minute, as in Go and PromQL.
var units = map[string]float64{
	"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800,
	"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50,
}

// Number reads a number that may carry a unit: a duration gives seconds (150ms is 0.15, 1m30s is 90), a size bytes (10kB
// is 10000, 1KiB is 1024), a bare number itself. Infinities, NaN and hexadecimal are no numbers here.
func Number(s string) (float64, bool) {
	rest, sign := s, 1.0
	switch {
	case strings.HasPrefix(rest, "-"):
		rest, sign = rest[1:], -1
	case strings.HasPrefix(rest, "+"):
		rest = rest[1:]
	}
	if f, ok := decimal(rest); ok {
		return sign * f, true
	}
	if rest == "" {
		return 0, false
	}
	var sum float64
	for parts := 0; rest != ""; parts++ {
		n := 0
		for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.') {
			n++
		}
		f, ok := decimal(rest[:n])
		if !ok {
			return 0, false
		}
		rest = rest[n:]
		n = strings.IndexAny(rest, "0123456789.")
		if n < 0 {
			n = len(rest)
		}
		worth, ok := units[rest[:n]]
		if !ok || parts > 0 && strings.HasSuffix(rest[:n], "B") { // 1m30s is a sum, 1kB5B nobody writes
			return 0, false
		}
		sum += f * worth
		rest = rest[n:]
	}
	return sign * sum, !math.IsInf(sum, 0)
}

// decimal reads digits with an optional fraction and exponent.
func decimal(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.eE+-") != "" || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// Nanoseconds is Number for a span's duration: whole nanoseconds, held within int64.
func Nanoseconds(s string) (int64, bool) {
	f, ok := Number(s)
	ns := math.Round(f * 1e9)
	switch {
	case ns >= math.MaxInt64:
		return math.MaxInt64, ok
	case ns <= math.MinInt64:
		return math.MinInt64, ok
	}
	return int64(ns), ok
}

// Time reads a time: RFC 3339, without its zone (UTC then), without its time of day, or Unix seconds.
func Time(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	if f, ok := decimal(s); ok && f < math.MaxInt64/1e9 {
		whole, part := math.Modf(f)
		return time.Unix(int64(whole), int64(part*1e9)).UTC(), true
	}
	return time.Time{}, false
}

// Severity reads a severity by name (trace, debug, info, warn, error, fatal, in any case) or OpenTelemetry's number, and
// gives the range of numbers it stands for: severity:error is 17 to 20, so severity:>error is more than 20 and
// severity:>=error at least 17.
func Severity(s string) (low, high uint8, ok bool) {
	switch strings.ToLower(s) {
	case "trace":
		return 1, 4, true
	case "debug":
		return 5, 8, true
	case "info", "information", "notice":
		return 9, 12, true
	case "warn", "warning":
		return 13, 16, true
	case "error", "err":
		return 17, 20, true
	case "fatal", "critical", "panic":
		return 21, 24, true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), uint8(n), err == nil && n <= 24
}

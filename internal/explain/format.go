package explain

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// Digits writes a number with three significant digits, and separators between thousands.
func Digits(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return "0"
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	s := strconv.FormatFloat(v, 'f', max(0, min(decimals, 9)), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	whole, fraction, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return sign + whole
}

// Seconds writes a duration in the unit people say.
func Seconds(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0 s"
	case a < 999.5e-9:
		return Digits(v*1e9) + " ns"
	case a < 999.5e-6:
		return Digits(v*1e6) + " µs"
	case a < 999.5e-3:
		return Digits(v*1e3) + " ms"
	case a < 600:
		return Digits(v) + " s"
	case a < 36000:
		return Digits(v/60) + " min"
	}
	return Digits(v/3600) + " h"
}

// Percent writes a share.
func Percent(v float64) string { return Digits(v*100) + " %" }

// Times writes a factor.
func Times(v float64) string { return Digits(v) + "x" }

// Rate writes events a second.
func Rate(v float64) string {
	switch {
	case v >= 999.5e3:
		return Digits(v/1e6) + " M/s"
	case v >= 9999.5:
		return Digits(v/1e3) + " k/s"
	}
	return Digits(v) + "/s"
}

// Size writes bytes.
func Size(v float64) string {
	for _, u := range []struct {
		name string
		size float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if v >= u.size {
			return Digits(v/u.size) + " " + u.name
		}
	}
	return Digits(v) + " B"
}

// Clock writes the time of day, in UTC.
func Clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// Links are paths of the HTTP API that give the numbers of a claim again.

// SpansLink searches spans.
func SpansLink(w store.Window, query string) string { return search("/api/v1/spans", w, query) }

// LogsLink searches log lines.
func LogsLink(w store.Window, query string) string { return search("/api/v1/logs", w, query) }

// TraceLink is one trace.
func TraceLink(id string) string { return "/api/v1/traces/" + id }

// ServicesLink is the table of operations and edges.
func ServicesLink(w store.Window) string { return "/api/v1/services?" + window(w).Encode() }

// ChangesLink lists changes.
func ChangesLink(w store.Window) string { return "/api/v1/changes?" + window(w).Encode() }

// MetricLink is a series over time.
func MetricLink(w store.Window, metric string, labels map[string]string) string {
	keys := make([]string, 0, len(labels))
	for k, v := range labels {
		keys = append(keys, strconv.Quote(k)+"="+strconv.Quote(v))
	}
	slices.Sort(keys)
	metric, _, _ = strings.Cut(metric, ":")
	// The quoted form of a selector takes any name, dotted ones too.
	selector := "{" + strings.Join(append([]string{strconv.Quote(metric)}, keys...), ",") + "}"
	v := url.Values{"query": {selector}, "start": {unix(w.From)}, "end": {unix(w.To)}, "step": {"5"}}
	return "/prometheus/api/v1/query_range?" + v.Encode()
}

func search(path string, w store.Window, query string) string {
	v := window(w)
	v.Set("q", query)
	return path + "?" + v.Encode()
}

func window(w store.Window) url.Values {
	return url.Values{"from": {w.From.UTC().Format(time.RFC3339)}, "to": {w.To.UTC().Format(time.RFC3339)}}
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// Field writes field:"value" of the search language.
func Field(field, value string) string {
	if value == "" {
		return ""
	}
	return field + ":" + `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

// Query joins the parts of a search that are not empty.
func Query(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}

// EntityQuery is a search for the spans in which an entity's time passes.
func EntityQuery(e model.Entity) string {
	switch name := e.Name(); e.Kind() {
	case "service":
		return Field("service", name)
	case "edge":
		from, _ := e.Ends()
		return Query(Field("service", from), "kind:client")
	case "database":
		return Field("db.namespace", name)
	case "queue":
		return Field("messaging.destination.name", name)
	case "remote":
		return Field("server.address", name)
	case "user":
		return Field("user.id", name)
	case "pool":
		return Field("service", name)
	}
	return ""
}

// Digits2 writes a number with two significant digits.
func Digits2(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return "0"
	}
	scale := math.Pow(10, 1-math.Floor(math.Log10(math.Abs(v))))
	return Digits(math.Round(v*scale) / scale)
}

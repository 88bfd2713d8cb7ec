package otlp

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"triage/internal/model"
)

// logs takes log records in.
func (s *sieve) logs(ld plog.Logs) {
	if n := ld.LogRecordCount(); n > 0 {
		s.batch.Logs = make([]model.LogRecord, 0, n)
	}
	for i, rl := range ld.ResourceLogs().All() {
		s.at = [3]int{i, -1, -1}
		res := s.resource(rl.Resource(), rl.SchemaUrl())
		for j, sl := range rl.ScopeLogs().All() {
			s.at = [3]int{i, j, -1}
			scope := s.scope(sl.Scope(), sl.SchemaUrl())
			n := 0
			for _, lr := range sl.LogRecords().All() {
				n += min(lr.Attributes().Len(), maxParts)
			}
			slab := make([]model.Attr, 0, n)
			for k, lr := range sl.LogRecords().All() {
				s.at[2] = k
				rec := model.LogRecord{Resource: res, Scope: scope}
				if s.log(&rec, lr, &slab) {
					s.batch.Logs = append(s.batch.Logs, rec)
				}
			}
		}
	}
}

// log converts one record and tells whether it can be stored.
func (s *sieve) log(out *model.LogRecord, lr plog.LogRecord, slab *[]model.Attr) bool {
	if !s.date(out, lr.Timestamp(), lr.ObservedTimestamp()) {
		return false
	}
	out.TraceID, out.SpanID = model.TraceID(lr.TraceID()), model.SpanID(lr.SpanID())
	out.Flags = uint32(lr.Flags())
	out.SeverityText = s.name(lr.SeverityText())
	out.Severity = severityFrom(int32(lr.SeverityNumber()), out.SeverityText)
	out.EventName = s.name(lr.EventName())
	out.Body = s.value(lr.Body())
	out.Attrs = s.attrs(lr.Attributes(), slab)
	out.DroppedAttrs = lr.DroppedAttributesCount() + past(lr.Attributes().Len())
	return true
}

// date sets when a record was written, and tells whether it can be stored. OpenTelemetry: who receives a record without an
// observed time sets it, and a record without a time happened when it was observed.
func (s *sieve) date(out *model.LogRecord, at, observed pcommon.Timestamp) bool {
	var ok bool
	if out.Observed, ok = s.time(observed); !ok || observed == 0 {
		out.Observed = s.now.UnixNano()
	}
	if out.Time, ok = s.time(at); !ok {
		s.reject(inTheFuture, 1, func() string { return s.where() + ": time " + at.String() })
		return false
	}
	if at == 0 {
		out.Time = out.Observed
	}
	return true
}

// severityFrom is a severity by its number, or by its name where that is none.
func severityFrom(n int32, text string) model.Severity {
	if n > 0 && n <= int32(plog.SeverityNumberFatal4) {
		return model.Severity(n)
	}
	return severityOf(text)
}

// severityOf reads the severity's usual names, for senders that give no number; 0 if it is none of them.
func severityOf(text string) model.Severity {
	switch strings.ToLower(text) {
	case "trace":
		return 1
	case "debug":
		return 5
	case "info", "information", "informational":
		return 9
	case "notice":
		return 10
	case "warn", "warning":
		return 13
	case "error", "err":
		return 17
	case "critical", "crit", "alert":
		return 18
	case "fatal", "panic", "emergency", "emerg":
		return 21
	}
	return 0
}

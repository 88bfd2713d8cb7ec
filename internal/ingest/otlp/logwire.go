package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/VictoriaMetrics/easyproto"

	"triage/internal/model"
)

// logs takes in the records of an export request. False means that pdata has to read it.
func (r *wireReader) logs(data []byte) bool {
	records := 0
	r.each(data, 1, func(_ int, rl []byte) {
		r.each(rl, 2, func(_ int, sl []byte) { records += r.count(sl, 2) })
	})
	if records > 0 {
		r.batch.Logs = make([]model.LogRecord, 0, records)
	}
	r.each(data, 1, func(i int, rl []byte) {
		r.at = [3]int{i, -1, -1}
		res := r.resource(rl)
		r.each(rl, 2, func(j int, sl []byte) {
			r.at = [3]int{i, j, -1}
			scope := r.scope(sl)
			r.each(sl, 2, func(k int, data []byte) {
				r.at[2] = k
				rec := model.LogRecord{Resource: res, Scope: scope}
				if r.log(&rec, data) {
					r.batch.Logs = append(r.batch.Logs, rec)
				}
			})
		})
	})
	return !r.rare
}

// log reads one record and tells whether it can be stored.
func (r *wireReader) log(out *model.LogRecord, data []byte) bool {
	var (
		f            easyproto.FieldContext
		at, observed pcommon.Timestamp
		severity     int32
		text, event  string
		body         anyValue
		attrs        int
	)
	for rest := data; r.next(&f, &rest); {
		switch f.FieldNum {
		case 1:
			at = pcommon.Timestamp(fixedOf(&f))
		case 2:
			severity = int32(varintOf(&f))
		case 3:
			text = textOf(&f)
		case 5:
			r.any(bytesOf(&f), &body)
		case 6:
			attrs++
		case 7:
			out.DroppedAttrs = uint32(varintOf(&f))
		case 8:
			out.Flags, _ = f.Fixed32()
		case 9:
			out.TraceID = model.TraceID{}
			copy(out.TraceID[:], bytesOf(&f))
		case 10:
			out.SpanID = model.SpanID{}
			copy(out.SpanID[:], bytesOf(&f))
		case 11:
			observed = pcommon.Timestamp(fixedOf(&f))
		case 12:
			event = textOf(&f)
		}
	}
	if !r.date(out, at, observed) {
		return false
	}
	out.SeverityText = r.name(text)
	out.Severity = severityFrom(severity, out.SeverityText)
	out.EventName = r.name(event)
	out.Body = r.value(&body)
	out.Attrs = r.attrs(data, 6, attrs)
	out.DroppedAttrs += past(attrs)
	return true
}

package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/VictoriaMetrics/easyproto"

	"triage/internal/model"
)

// traces takes in the spans of an export request. False means that pdata has to read it.
func (r *wireReader) traces(data []byte) bool {
	// The counts spare the spans' slice its growth.
	spans := 0
	r.each(data, 1, func(_ int, rs []byte) {
		r.each(rs, 2, func(_ int, ss []byte) { spans += r.count(ss, 2) })
	})
	if spans > 0 {
		r.batch.Spans = make([]model.Span, 0, spans)
	}
	r.each(data, 1, func(i int, rs []byte) {
		r.at = [3]int{i, -1, -1}
		res := r.resource(rs)
		r.each(rs, 2, func(j int, ss []byte) {
			r.at = [3]int{i, j, -1}
			scope := r.scope(ss)
			r.each(ss, 2, func(k int, data []byte) {
				r.at[2] = k
				span := model.Span{Resource: res, Scope: scope}
				if r.span(&span, data) {
					r.batch.Spans = append(r.batch.Spans, span)
				}
			})
		})
	})
	return !r.rare
}

// span reads one span and tells whether it can be stored.
func (r *wireReader) span(out *model.Span, data []byte) bool {
	var (
		f                        easyproto.FieldContext
		trace                    model.TraceID
		id, parent               model.SpanID
		start, end               pcommon.Timestamp
		state, name              string
		status                   []byte
		kind                     int32
		attrs, events, links     int
		statuses                 int
		lostA, lostE, lostL, bit uint32
	)
	for rest := data; r.next(&f, &rest); {
		switch f.FieldNum {
		case 1:
			trace = model.TraceID{}
			copy(trace[:], bytesOf(&f))
		case 2:
			id = model.SpanID{}
			copy(id[:], bytesOf(&f))
		case 3:
			state = textOf(&f)
		case 4:
			parent = model.SpanID{}
			copy(parent[:], bytesOf(&f))
		case 5:
			name = textOf(&f)
		case 6:
			kind = int32(varintOf(&f))
		case 7:
			start = pcommon.Timestamp(fixedOf(&f))
		case 8:
			end = pcommon.Timestamp(fixedOf(&f))
		case 9:
			attrs++
		case 10:
			lostA = uint32(varintOf(&f))
		case 11:
			events++
		case 12:
			lostE = uint32(varintOf(&f))
		case 13:
			links++
		case 14:
			lostL = uint32(varintOf(&f))
		case 15:
			status = bytesOf(&f)
			statuses++
		case 16:
			bit, _ = f.Fixed32()
		}
	}
	r.once(statuses)
	if !r.place(out, trace, id, start, end) {
		return false
	}
	out.ParentID = parent
	out.TraceState = r.name(state)
	out.Flags = bit
	out.Name = r.name(name)
	out.Kind = kindOf(kind)
	r.status(out, status)
	out.Attrs = r.attrs(data, 9, attrs)
	out.DroppedAttrs = lostA + past(attrs)
	out.DroppedEvents = lostE + past(events)
	out.DroppedLinks = lostL + past(links)
	if events > 0 {
		r.events(out, data, events)
	}
	if links > 0 {
		r.links(out, data, links)
	}
	return true
}

func (r *wireReader) status(out *model.Span, data []byte) {
	var f easyproto.FieldContext
	var message string
	var code int32
	for r.next(&f, &data) {
		switch f.FieldNum {
		case 2:
			message = textOf(&f)
		case 3:
			code = int32(varintOf(&f))
		}
	}
	out.Status = statusOf(code)
	out.StatusMessage = r.text(message, maxValue)
}

func (r *wireReader) events(out *model.Span, span []byte, n int) {
	out.Events = make([]model.SpanEvent, 0, min(n, maxParts))
	if more := past(n); more > 0 {
		r.lose(tooMany, int(more))
	}
	r.each(span, 11, func(i int, data []byte) {
		if i >= maxParts {
			return
		}
		var f easyproto.FieldContext
		var at pcommon.Timestamp
		var name string
		var attrs int
		var lost uint32
		for rest := data; r.next(&f, &rest); {
			switch f.FieldNum {
			case 1:
				at = pcommon.Timestamp(fixedOf(&f))
			case 2:
				name = textOf(&f)
			case 3:
				attrs++
			case 4:
				lost = uint32(varintOf(&f))
			}
		}
		out.Events = append(out.Events, model.SpanEvent{
			Time: r.eventTime(out, at), Name: r.name(name), Attrs: r.attrs(data, 3, attrs), DroppedAttrs: lost,
		})
	})
}

func (r *wireReader) links(out *model.Span, span []byte, n int) {
	out.Links = make([]model.Link, 0, min(n, maxParts))
	if more := past(n); more > 0 {
		r.lose(tooMany, int(more))
	}
	r.each(span, 13, func(i int, data []byte) {
		if i >= maxParts {
			return
		}
		var f easyproto.FieldContext
		var l model.Link
		var state string
		attrs := 0
		for rest := data; r.next(&f, &rest); {
			switch f.FieldNum {
			case 1:
				l.TraceID = model.TraceID{}
				copy(l.TraceID[:], bytesOf(&f))
			case 2:
				l.SpanID = model.SpanID{}
				copy(l.SpanID[:], bytesOf(&f))
			case 3:
				state = textOf(&f)
			case 4:
				attrs++
			case 5:
				l.DroppedAttrs = uint32(varintOf(&f))
			case 6:
				l.Flags, _ = f.Fixed32()
			}
		}
		l.TraceState = r.name(state)
		l.Attrs = r.attrs(data, 4, attrs)
		out.Links = append(out.Links, l)
	})
}

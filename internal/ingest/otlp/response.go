package otlp

import (
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// response writes the answer to an accepted request. Partial success is set only if something was left out, as OTLP asks.
func (r exportResult) response(sig signal, enc encoding) ([]byte, error) {
	var resp interface {
		MarshalProto() ([]byte, error)
		MarshalJSON() ([]byte, error)
	}
	partial := r.rejected > 0 || r.message != ""
	switch sig {
	case traces:
		t := ptraceotlp.NewExportResponse()
		if partial {
			t.PartialSuccess().SetRejectedSpans(r.rejected)
			t.PartialSuccess().SetErrorMessage(r.message)
		}
		resp = t
	case metrics:
		m := pmetricotlp.NewExportResponse()
		if partial {
			m.PartialSuccess().SetRejectedDataPoints(r.rejected)
			m.PartialSuccess().SetErrorMessage(r.message)
		}
		resp = m
	default:
		l := plogotlp.NewExportResponse()
		if partial {
			l.PartialSuccess().SetRejectedLogRecords(r.rejected)
			l.PartialSuccess().SetErrorMessage(r.message)
		}
		resp = l
	}
	if enc == jsonText {
		return resp.MarshalJSON()
	}
	return resp.MarshalProto()
}

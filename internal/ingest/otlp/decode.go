package otlp

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"triage/internal/ingest/wire"
)

// signal is which of OTLP's three services a request is for.
type signal uint8

const (
	traces signal = iota
	metrics
	logs
	numSignals
)

// String is the signal as paths and counters name it.
func (s signal) String() string { return [...]string{"traces", "metrics", "logs"}[s] }

// items is what the signal's rows are called in counters and messages.
func (s signal) items() string { return [...]string{"spans", "samples", "logs"}[s] }

// encoding is how a request is written.
type encoding uint8

const (
	protobuf encoding = iota
	jsonText
)

// String is the encoding as messages name it.
func (e encoding) String() string { return [...]string{"protobuf", "JSON"}[e] }

// contentType is the encoding's media type.
func (e encoding) contentType() string {
	return [...]string{"application/x-protobuf", "application/json"}[e]
}

// maxDensity is how many times a request's limit in bytes its rows may take in memory. Real requests take some five times
// their bytes; one of nothing but empty spans takes three hundred times.
const maxDensity = 16

// decoder turns request bytes into rows. Data has passed check. Bytes that
// are no such request are an error; rows that cannot be stored go to
// the sieve's counts. What it makes may share data's memory.
type decoder interface {
	// check finds what is wrong with the bytes, and where, and tells about how much memory decoding will take.
	check(data []byte, sig signal, enc encoding) (cost int64, err error)
	traces(data []byte, enc encoding, into *sieve) error
	logs(data []byte, enc encoding, into *sieve) error
	metrics(data []byte, enc encoding) (pmetric.Metrics, error)
}

// pdataDecoder decodes with the Collector's own data model.
type pdataDecoder struct {
	wire [numSignals]*wire.Message
}

func newPdataDecoder() *pdataDecoder { return &pdataDecoder{wire: newWireMessages()} }

// check looks for what is wrong before pdata does, because pdata says what, but not where, and knows no depth.
func (d *pdataDecoder) check(data []byte, sig signal, enc encoding) (cost int64, err error) {
	if enc == jsonText {
		cost, err = checkJSON(data)
	} else {
		cost, err = d.wire[sig].Check(data)
	}
	if err != nil {
		return cost, fmt.Errorf("decode %s %s: %w", enc, sig, err)
	}
	return cost, nil
}

// request is what the three requests of pdata have in common.
type request interface {
	UnmarshalProto(data []byte) error
	UnmarshalJSON(data []byte) error
}

func (d *pdataDecoder) unmarshal(r request, data []byte, sig signal, enc encoding) (err error) {
	defer func() {
		// A decoder of others, on bytes of others: whatever it stumbles over is the sender's error, not our end.
		if p := recover(); p != nil {
			err = fmt.Errorf("decode %s %s: decoder gave up: %v", enc, sig, p)
		}
	}()
	if enc == jsonText {
		err = r.UnmarshalJSON(data)
	} else {
		err = r.UnmarshalProto(data)
	}
	if err != nil {
		return fmt.Errorf("decode %s %s: %w", enc, sig, err)
	}
	return nil
}

func (d *pdataDecoder) traces(data []byte, enc encoding, into *sieve) error {
	r := ptraceotlp.NewExportRequest()
	if err := d.unmarshal(r, data, traces, enc); err != nil {
		return err
	}
	into.traces(r.Traces())
	return nil
}

func (d *pdataDecoder) logs(data []byte, enc encoding, into *sieve) error {
	r := plogotlp.NewExportRequest()
	if err := d.unmarshal(r, data, logs, enc); err != nil {
		return err
	}
	into.logs(r.Logs())
	return nil
}

func (d *pdataDecoder) metrics(data []byte, enc encoding) (pmetric.Metrics, error) {
	r := pmetricotlp.NewExportRequest()
	if err := d.unmarshal(r, data, metrics, enc); err != nil {
		return pmetric.Metrics{}, err
	}
	return r.Metrics(), nil
}

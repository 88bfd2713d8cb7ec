package otlp

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// maxDepth is how deep messages may nest, the request included. It is protobuf's own customary limit: decoders recurse,
// and a few megabytes of nested values would otherwise cost gigabytes of stack.
const maxDepth = 100

// wireMessage is what the checker knows of a protobuf message, fields by number.
type wireMessage struct {
	fields []wireField
}

// wireField is a known field; the zero wireField is an unknown one, which is skipped.
type wireField struct {
	name     string
	typ      protowire.Type
	packable bool // repeated number, which may also come as one run of bytes
	repeated bool
	msg      *wireMessage // for messages
	idLen    int          // for trace and span IDs
}

// newWireMessages learns the three requests from the published schema. TracesData and its siblings have the same layout
// as the requests.
func newWireMessages() (m [numSignals]*wireMessage) {
	known := map[protoreflect.FullName]*wireMessage{}
	m[traces] = learn((&tracepb.TracesData{}).ProtoReflect().Descriptor(), known)
	m[metrics] = learn((&metricspb.MetricsData{}).ProtoReflect().Descriptor(), known)
	m[logs] = learn((&logspb.LogsData{}).ProtoReflect().Descriptor(), known)
	return m
}

func learn(d protoreflect.MessageDescriptor, known map[protoreflect.FullName]*wireMessage) *wireMessage {
	if m, ok := known[d.FullName()]; ok {
		return m
	}
	m := &wireMessage{}
	known[d.FullName()] = m
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f := wireField{name: string(fd.Name()), repeated: fd.IsList()}
		switch fd.Kind() {
		case protoreflect.MessageKind:
			f.typ, f.msg = protowire.BytesType, learn(fd.Message(), known)
		case protoreflect.StringKind:
			f.typ = protowire.BytesType
		case protoreflect.BytesKind:
			f.typ = protowire.BytesType
			switch f.name {
			case "trace_id":
				f.idLen = 16
			case "span_id", "parent_span_id":
				f.idLen = 8
			}
		case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
			f.typ, f.packable = protowire.Fixed64Type, fd.IsList()
		case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
			f.typ, f.packable = protowire.Fixed32Type, fd.IsList()
		default:
			f.typ, f.packable = protowire.VarintType, fd.IsList()
		}
		n := int(fd.Number())
		for len(m.fields) <= n {
			m.fields = append(m.fields, wireField{})
		}
		m.fields[n] = f
	}
	return m
}

// wireError says what is wrong with a protobuf message, and where.
type wireError struct {
	path   []string // innermost first
	offset int
	err    error
}

func (e *wireError) Error() string {
	var b strings.Builder
	for i := len(e.path) - 1; i >= 0; i-- {
		b.WriteString(e.path[i])
		if i > 0 {
			b.WriteByte('.')
		}
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%v (byte %d)", e.err, e.offset)
	return b.String()
}

func (e *wireError) Unwrap() error { return e.err }

var (
	errTooDeep  = fmt.Errorf("nested deeper than %d messages", maxDepth)
	errCutShort = errors.New("ends too early")
)

// check walks a message and everything in it without building anything. It finds what would make a decoder fail, and
// knows the way to it.
func (m *wireMessage) check(data []byte, base, depth int) *wireError {
	if depth > maxDepth {
		return &wireError{offset: base, err: errTooDeep}
	}
	for pos := 0; pos < len(data); {
		start := pos
		num, typ := protowire.Number(data[pos]>>3), protowire.Type(data[pos]&7)
		if data[pos] < 0x80 && num > 0 {
			pos++ // nearly all tags and lengths are one byte, and this loop is a tenth of what decoding costs
		} else {
			var n int
			if num, typ, n = protowire.ConsumeTag(data[pos:]); n < 0 {
				return &wireError{offset: base + pos, err: wireParseError(n)}
			}
			pos += n
		}
		var f *wireField
		if int(num) < len(m.fields) {
			f = &m.fields[num]
		}
		if f == nil || f.name == "" {
			n := protowire.ConsumeFieldValue(num, typ, data[pos:])
			if n < 0 {
				return &wireError{offset: base + pos, err: wireParseError(n)}
			}
			pos += n
			continue
		}
		if typ != f.typ && !(f.packable && typ == protowire.BytesType) {
			return m.at(data, start, f, &wireError{offset: base + start, err: fmt.Errorf("wire type %d, want %d", typ, f.typ)})
		}
		if typ != protowire.BytesType {
			n := protowire.ConsumeFieldValue(num, typ, data[pos:])
			if n < 0 {
				return m.at(data, start, f, &wireError{offset: base + pos, err: wireParseError(n)})
			}
			pos += n
			continue
		}
		var value []byte
		if rest := data[pos:]; len(rest) > 0 && rest[0] < 0x80 && int(rest[0]) < len(rest) {
			value = rest[1 : 1+int(rest[0])]
			pos += 1 + len(value)
		} else {
			var n int
			if value, n = protowire.ConsumeBytes(rest); n < 0 {
				return m.at(data, start, f, &wireError{offset: base + pos, err: wireParseError(n)})
			}
			pos += n
		}
		if f.idLen > 0 && len(value) != 0 && len(value) != f.idLen {
			return m.at(data, start, f, &wireError{
				offset: base + pos - len(value), err: fmt.Errorf("%d bytes, want %d or none", len(value), f.idLen),
			})
		}
		if f.msg != nil {
			if err := f.msg.check(value, base+pos-len(value), depth+1); err != nil {
				return m.at(data, start, f, err)
			}
		}
	}
	return nil
}

// at adds one step to the way to an error. Which element of a list it is in is counted only now, so that good messages
// do not pay for it.
func (m *wireMessage) at(data []byte, start int, f *wireField, err *wireError) *wireError {
	if len(err.path) > maxPath {
		return err
	}
	step := f.name
	if f.repeated {
		i := 0
		for pos := 0; pos < start; {
			num, _, n := protowire.ConsumeField(data[pos:])
			if n < 0 {
				break
			}
			if int(num) < len(m.fields) && &m.fields[num] == f {
				i++
			}
			pos += n
		}
		step = fmt.Sprintf("%s[%d]", f.name, i)
	}
	err.path = append(err.path, step)
	return err
}

// maxPath keeps the way to an error in deep nesting readable: the innermost steps are the ones that help.
const maxPath = 12

func wireParseError(n int) error {
	err := protowire.ParseError(n)
	if strings.Contains(err.Error(), "unexpected EOF") {
		return errCutShort
	}
	return errors.New(strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0"))
}

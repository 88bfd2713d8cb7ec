// Package wire checks protobuf messages without decoding them: whether a decoder would take them, where they are broken if
// not, and about how much memory they take once decoded.
//
// Decoders say what is wrong and not where, recurse as deep as a message nests, and make a hundred times its size of a
// message that consists of empty parts. Edges look here first. A Message is built once and then safe for concurrent use.
package wire

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// MaxDepth is how deep messages may nest, the outermost included. It is protobuf's own customary limit: decoders recurse,
// and a few megabytes of nested values would otherwise cost gigabytes of stack.
const MaxDepth = 100

// Message is what the checker knows of a protobuf message.
type Message struct {
	// Fields are by number; the zero Field is an unknown one, which is skipped.
	Fields []Field
	// Cost is about what one takes in memory, in bytes, besides its strings and other messages.
	Cost int64
}

// Field is a field of a Message.
type Field struct {
	Name     string
	Type     protowire.Type
	Packable bool // repeated number, which may also come as one run of bytes
	Repeated bool
	Message  *Message // for messages
	IDLen    int      // the one length that bytes may have if they are not empty; 0 is any
	Cost     int64    // of each string or bytes besides its length, where there may be very many
}

// Learn makes a Message, and those in it, of a published schema. Cost says what one decoded message takes in
// memory, idLen what length a field of bytes must have, 0 if any.
func Learn(d protoreflect.MessageDescriptor, idLen func(protoreflect.FieldDescriptor) int, cost func(protoreflect.MessageDescriptor) int64) *Message {
	return learner{idLen, cost, map[protoreflect.FullName]*Message{}}.learn(d)
}

type learner struct {
	idLen func(protoreflect.FieldDescriptor) int
	cost  func(protoreflect.MessageDescriptor) int64
	known map[protoreflect.FullName]*Message
}

func (l learner) learn(d protoreflect.MessageDescriptor) *Message {
	if m, ok := l.known[d.FullName()]; ok {
		return m
	}
	m := &Message{Cost: l.cost(d)}
	l.known[d.FullName()] = m
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		f := Field{Name: string(fd.Name()), Repeated: fd.IsList()}
		switch fd.Kind() {
		case protoreflect.MessageKind:
			f.Type, f.Message = protowire.BytesType, l.learn(fd.Message())
		case protoreflect.StringKind:
			f.Type = protowire.BytesType
		case protoreflect.BytesKind:
			f.Type, f.IDLen = protowire.BytesType, l.idLen(fd)
		case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
			f.Type, f.Packable = protowire.Fixed64Type, fd.IsList()
		case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
			f.Type, f.Packable = protowire.Fixed32Type, fd.IsList()
		default:
			f.Type, f.Packable = protowire.VarintType, fd.IsList()
		}
		m.set(int(fd.Number()), f)
	}
	return m
}

func (m *Message) set(number int, f Field) {
	for len(m.Fields) <= number {
		m.Fields = append(m.Fields, Field{})
	}
	m.Fields[number] = f
}

// placed says what is wrong with a protobuf message, and where.
type placed struct {
	path   []string // innermost first
	offset int
	err    error
}

func (e *placed) Error() string {
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

func (e *placed) Unwrap() error { return e.err }

var (
	errTooDeep  = fmt.Errorf("nested deeper than %d messages", MaxDepth)
	errCutShort = errors.New("ends too early")
)

// Check walks a message and everything in it without building anything. The error is what would make a decoder fail, with
// the way to it; cost is about the bytes of memory that the decoded message takes.
func (m *Message) Check(data []byte) (cost int64, err error) {
	cost = int64(len(data))
	if err := m.check(data, 0, 1, &cost); err != nil {
		return cost, err
	}
	return cost, nil
}

func (m *Message) check(data []byte, base, depth int, cost *int64) *placed {
	*cost += m.Cost
	if depth > MaxDepth {
		return &placed{offset: base, err: errTooDeep}
	}
	for pos := 0; pos < len(data); {
		start := pos
		num, typ := protowire.Number(data[pos]>>3), protowire.Type(data[pos]&7)
		if data[pos] < 0x80 && num > 0 {
			pos++ // nearly all tags and lengths are one byte, and this loop is a tenth of what decoding costs
		} else {
			var n int
			if num, typ, n = protowire.ConsumeTag(data[pos:]); n < 0 {
				return &placed{offset: base + pos, err: parseError(n)}
			}
			pos += n
		}
		var f *Field
		if int(num) < len(m.Fields) {
			f = &m.Fields[num]
		}
		if f == nil || f.Name == "" {
			n := protowire.ConsumeFieldValue(num, typ, data[pos:])
			if n < 0 {
				return &placed{offset: base + pos, err: parseError(n)}
			}
			pos += n
			continue
		}
		if typ != f.Type && !(f.Packable && typ == protowire.BytesType) {
			return m.at(data, start, f, &placed{offset: base + start, err: fmt.Errorf("wire type %d, want %d", typ, f.Type)})
		}
		if typ != protowire.BytesType {
			n := protowire.ConsumeFieldValue(num, typ, data[pos:])
			if n < 0 {
				return m.at(data, start, f, &placed{offset: base + pos, err: parseError(n)})
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
				return m.at(data, start, f, &placed{offset: base + pos, err: parseError(n)})
			}
			pos += n
		}
		if f.IDLen > 0 && len(value) != 0 && len(value) != f.IDLen {
			return m.at(data, start, f, &placed{
				offset: base + pos - len(value), err: fmt.Errorf("%d bytes, want %d or none", len(value), f.IDLen),
			})
		}
		*cost += f.Cost
		if f.Packable && f.Type == protowire.VarintType {
			*cost += 8 * int64(len(value)) // numbers of a byte each become words
		}
		if f.Message != nil {
			if err := f.Message.check(value, base+pos-len(value), depth+1, cost); err != nil {
				return m.at(data, start, f, err)
			}
		}
	}
	return nil
}

// at adds one step to the way to an error. Which element of a list it is in is counted only now, so that good messages
// do not pay for it.
func (m *Message) at(data []byte, start int, f *Field, err *placed) *placed {
	if len(err.path) > maxPath {
		return err
	}
	step := f.Name
	if f.Repeated {
		i := 0
		for pos := 0; pos < start; {
			num, _, n := protowire.ConsumeField(data[pos:])
			if n < 0 {
				break
			}
			if int(num) < len(m.Fields) && &m.Fields[num] == f {
				i++
			}
			pos += n
		}
		step = fmt.Sprintf("%s[%d]", f.Name, i)
	}
	err.path = append(err.path, step)
	return err
}

// maxPath keeps the way to an error in deep nesting readable: the innermost steps are the ones that help.
const maxPath = 12

func parseError(n int) error {
	err := protowire.ParseError(n)
	if strings.Contains(err.Error(), "unexpected EOF") {
		return errCutShort
	}
	return errors.New(strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0"))
}

package record

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"triage/internal/model"
)

const (
	// magic begins every stream; its last byte is the version of the format.
	magic = "TRIAGER\x01"
	// maxFrame bounds what a length may promise. Requests are limited to some 20 MiB, and their encoding is smaller.
	maxFrame = 256 << 20
)

// kind is the first byte of a frame's payload.
type kind byte

const (
	kindHeader kind = 1
	kindBatch  kind = 2
	kindEnd    kind = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends a payload with its length and checksum.
func appendFrame(b, payload []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}

func headerFrame(h Header) []byte {
	e := encoder{b: []byte{byte(kindHeader)}}
	e.int(h.Start.UnixNano())
	e.string(h.Host)
	e.string(h.Version)
	e.uint(h.Segment)
	return appendFrame(nil, e.b)
}

func endFrame(end End) []byte {
	e := encoder{b: []byte{byte(kindEnd)}}
	e.int(end.At.UnixNano())
	e.string(end.Reason)
	return appendFrame(nil, e.b)
}

// batchFrame puts a batch's encoding behind what is known without decoding it.
func batchFrame(at int64, b *model.Batch, rows []byte) []byte {
	e := encoder{b: make([]byte, 0, len(rows)+64)}
	e.byte(byte(kindBatch))
	e.int(at)
	e.string(b.Tenant)
	e.string(b.Source)
	c := countsOf(b)
	for _, n := range []int64{c.Spans, c.Logs, c.Samples, c.Changes} {
		e.uint(uint64(n))
	}
	return appendFrame(make([]byte, 0, len(e.b)+len(rows)+16), append(e.b, rows...))
}

// Frame is a batch that was received, not decoded yet, or the end.
type Frame struct {
	// At is when it arrived, ns since the epoch.
	At             int64
	Tenant, Source string
	Counts         Counts
	// End is set in the last frame of a recording that was ended on purpose, and then there is nothing else.
	End *End

	base int64 // what times in rows are relative to
	rows string
	raw  []byte // as it was read, with its length and checksum
}

// Batch decodes the batch. Each call makes a new one, which is the caller's. It has no ID: it is never a retry.
func (f *Frame) Batch() (*model.Batch, error) {
	b, err := decodeBatch(f.rows, f.base)
	if err != nil {
		return nil, fmt.Errorf("decode batch received at %s: %w", time.Unix(0, f.At).UTC().Format(time.RFC3339Nano), err)
	}
	b.Tenant, b.Source = f.Tenant, f.Source
	return b, nil
}

// Reader reads one stream.
type Reader struct {
	// Header is what the stream says of itself.
	Header Header

	in   *bufio.Reader
	at   int64 // offset behind the last whole frame
	over bool
}

// NewReader reads a stream's header.
func NewReader(r io.Reader) (*Reader, error) {
	rd := &Reader{in: bufio.NewReaderSize(r, 64<<10)}
	begin := make([]byte, len(magic))
	if n, err := io.ReadFull(rd.in, begin); err != nil {
		if n == 0 {
			err = fmt.Errorf("there is nothing: %w", err)
		}
		return nil, fmt.Errorf("read the beginning of a recording: %w", err)
	}
	if string(begin[:len(magic)-1]) != magic[:len(magic)-1] {
		return nil, fmt.Errorf("%q is no beginning of one: %w", begin, ErrFormat)
	}
	if v := begin[len(magic)-1]; v != magic[len(magic)-1] {
		return nil, fmt.Errorf("format %d, known is %d: %w", v, magic[len(magic)-1], ErrVersion)
	}
	rd.at = int64(len(magic))
	payload, _, err := rd.frame()
	if err != nil {
		return nil, fmt.Errorf("read the header of a recording: %w", err)
	}
	d := decoder{s: string(payload)}
	if kind(d.byte()) != kindHeader {
		return nil, fmt.Errorf("it has no header: %w", ErrFormat)
	}
	rd.Header = Header{Start: time.Unix(0, d.int()).UTC(), Host: d.string(), Version: d.string(), Segment: d.uint()}
	return rd, d.err
}

// frame reads one frame and checks it.
func (r *Reader) frame() (payload, raw []byte, err error) {
	var buf bytes.Buffer
	length, shift := uint64(0), 0
	for {
		c, err := r.in.ReadByte()
		if err != nil {
			if buf.Len() > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, nil, err
		}
		buf.WriteByte(c)
		length |= uint64(c&0x7f) << shift
		if shift += 7; c < 0x80 {
			break
		}
		if shift > 35 {
			return nil, nil, fmt.Errorf("the length of a frame is malformed: %w", ErrFormat)
		}
	}
	if length == 0 || length > maxFrame {
		return nil, nil, fmt.Errorf("a frame of %d bytes: %w", length, ErrFormat)
	}
	head := buf.Len()
	// The buffer grows with what is there and not with what the length promises.
	if _, err := io.CopyN(&buf, r.in, int64(length)+4); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, nil, err
	}
	raw = buf.Bytes()
	payload = raw[head+4:]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(raw[head:]) {
		return nil, nil, fmt.Errorf("the checksum of a frame is wrong: %w", ErrFormat)
	}
	r.at += int64(len(raw))
	return payload, raw, nil
}

// Next reads the next frame. io.EOF comes after the End; io.ErrUnexpectedEOF where the stream stops without one.
func (r *Reader) Next() (*Frame, error) {
	if r.over {
		return nil, io.EOF
	}
	payload, raw, err := r.frame()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	d := decoder{s: string(payload)}
	f := &Frame{raw: raw}
	switch k := kind(d.byte()); k {
	case kindBatch:
		f.At = d.int()
		f.base = f.At
		f.Tenant, f.Source = d.string(), d.string()
		f.Counts = Counts{Batches: 1, Spans: int64(d.uint()), Logs: int64(d.uint()), Samples: int64(d.uint()), Changes: int64(d.uint())}
		f.rows = d.s
	case kindEnd:
		f.At = d.int()
		f.End = &End{At: time.Unix(0, f.At).UTC(), Reason: d.string()}
		r.over = true
	default:
		return nil, fmt.Errorf("a frame of kind %d: %w", k, ErrFormat)
	}
	return f, d.err
}

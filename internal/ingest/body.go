package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// What makes a body unreadable, apart from broken bytes.
var (
	// ErrBodyTooLarge means that the body is, or unpacks to, more than is allowed.
	ErrBodyTooLarge = errors.New("request body too large")
	// ErrEncoding means that the Content-Encoding is not one of AcceptEncoding.
	ErrEncoding = errors.New("unsupported Content-Encoding")
)

// AcceptEncoding names the encodings that a BodyReader unpacks, for the header of the same name.
const AcceptEncoding = "gzip, zstd, deflate"

// maxZstdWindow is what RFC 8878 asks every decoder to support; a larger one would let a few bytes claim much memory.
const maxZstdWindow = 8 << 20

// BodyReader reads request bodies, unpacking them. Its limit counts unpacked bytes, so that a bomb costs no more than an
// honest body of that size.
type BodyReader struct {
	// Max is in unpacked bytes.
	Max int64

	gzips, zstds sync.Pool
}

// Read returns the whole body, unpacked.
func (b *BodyReader) Read(r *http.Request) ([]byte, error) {
	switch enc := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); enc {
	case "", "identity":
		if r.ContentLength > b.Max {
			return nil, b.tooLarge()
		}
		return b.readAll(r.Body, r.ContentLength)
	case "gzip", "x-gzip":
		return b.gunzip(r.Body)
	case "zstd":
		return b.unzstd(r.Body)
	case "deflate":
		z, err := zlib.NewReader(r.Body)
		if err != nil {
			return nil, fmt.Errorf("unpack deflate: %w", err)
		}
		defer z.Close()
		return b.readAll(z, -1)
	default:
		return nil, fmt.Errorf("%w %q, want %s or none", ErrEncoding, enc, AcceptEncoding)
	}
}

func (b *BodyReader) gunzip(body io.Reader) ([]byte, error) {
	z, ok := b.gzips.Get().(*gzip.Reader)
	if !ok {
		z = new(gzip.Reader)
	}
	defer b.gzips.Put(z)
	if err := z.Reset(body); err != nil {
		return nil, fmt.Errorf("unpack gzip: %w", err)
	}
	data, err := b.readAll(z, -1)
	if err != nil {
		return nil, fmt.Errorf("unpack gzip: %w", err)
	}
	return data, nil
}

func (b *BodyReader) unzstd(body io.Reader) ([]byte, error) {
	z, ok := b.zstds.Get().(*zstd.Decoder)
	if !ok {
		var err error
		// Concurrency 1 decodes in the caller's goroutine, so that a pooled decoder leaves nothing running.
		z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, fmt.Errorf("make zstd decoder: %w", err)
		}
	}
	defer func() {
		if z.Reset(nil) == nil { // lets go of the body
			b.zstds.Put(z)
		}
	}()
	if err := z.Reset(body); err != nil {
		return nil, fmt.Errorf("unpack zstd: %w", err)
	}
	data, err := b.readAll(z, -1)
	if err != nil {
		return nil, fmt.Errorf("unpack zstd: %w", err)
	}
	return data, nil
}

// readAll reads up to Max bytes; size is how many are expected, negative if unknown.
func (b *BodyReader) readAll(r io.Reader, size int64) ([]byte, error) {
	const firstGuess = 64 << 10
	if size < 0 {
		size = firstGuess
	}
	// The announced size is the sender's word: no more than the limit, and one byte over to see the end in one read.
	data := make([]byte, 0, min(size, b.Max)+1)
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if int64(len(data)) > b.Max {
			return nil, b.tooLarge()
		}
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

func (b *BodyReader) tooLarge() error {
	return fmt.Errorf("%w: more than %d bytes unpacked", ErrBodyTooLarge, b.Max)
}

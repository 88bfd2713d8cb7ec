package ingest_test

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"triage/internal/ingest"
)

func pack(t testing.TB, enc string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch enc {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "deflate":
		w = zlib.NewWriter(&buf)
	case "zstd":
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return data
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestBodyReader(t *testing.T) {
	const limit = 1 << 20
	exact, over := bytes.Repeat([]byte("x"), limit), bytes.Repeat([]byte("x"), limit+1)
	b := &ingest.BodyReader{Max: limit}
	for _, enc := range []string{"", "identity", "gzip", "zstd", "deflate"} {
		for range 2 { // the second goes through a pooled decoder
			for name, body := range map[string][]byte{"empty": nil, "short": []byte("hello"), "exact": exact} {
				r := httptest.NewRequest("POST", "/", bytes.NewReader(pack(t, enc, body)))
				r.Header.Set("Content-Encoding", enc)
				got, err := b.Read(r)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s %s: %d bytes, %v; want %d", enc, name, len(got), err, len(body))
				}
			}
			r := httptest.NewRequest("POST", "/", bytes.NewReader(pack(t, enc, over)))
			r.Header.Set("Content-Encoding", enc)
			if _, err := b.Read(r); !errors.Is(err, ingest.ErrBodyTooLarge) {
				t.Errorf("%s: one byte over the limit: %v, want ErrBodyTooLarge", enc, err)
			}
			if enc == "gzip" || enc == "zstd" || enc == "deflate" {
				packed := pack(t, enc, exact)
				for name, bad := range map[string][]byte{"cut": packed[:len(packed)/2], "garbage": []byte("not packed at all")} {
					r := httptest.NewRequest("POST", "/", bytes.NewReader(bad))
					r.Header.Set("Content-Encoding", enc)
					if _, err := b.Read(r); err == nil {
						t.Errorf("%s %s: no error", enc, name)
					}
				}
			}
		}
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader("x"))
	r.Header.Set("Content-Encoding", "br")
	if _, err := b.Read(r); !errors.Is(err, ingest.ErrEncoding) {
		t.Errorf("br: %v, want ErrEncoding", err)
	}
}

func FuzzBodyReader(f *testing.F) {
	for _, enc := range []string{"", "gzip", "zstd", "deflate"} {
		f.Add(enc, pack(f, enc, []byte("hello hello hello")))
	}
	b := &ingest.BodyReader{Max: 1 << 16}
	f.Fuzz(func(t *testing.T, enc string, data []byte) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(data))
		r.Header["Content-Encoding"] = []string{enc}
		got, err := b.Read(r)
		if err == nil && int64(len(got)) > b.Max {
			t.Errorf("%d bytes, limit %d", len(got), b.Max)
		}
	})
}

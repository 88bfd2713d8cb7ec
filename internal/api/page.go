package api

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

// Marks in index.html that each answer replaces. Vite writes the second as the nonce of every element that may have one.
const (
	baseMark  = `<base href="./"`
	nonceMark = "CSP_NONCE"
)

// page serves the web page: index.html for every address that a browser may show, and the files it loads.
//
// The page works below any path prefix that a proxy takes away, and without being told: every address in it is relative
// to a base, and the base is as many steps up as the address asked for has steps down.
type page struct {
	files fs.FS
	index []byte

	mu     sync.Mutex
	packed map[string][]byte // guarded by mu: compressed assets, by name; there are as many as files
}

func newPage(files fs.FS) (*page, error) {
	p := &page{files: files, packed: map[string][]byte{}}
	var err error
	if p.index, err = fs.ReadFile(files, "index.html"); errors.Is(err, fs.ErrNotExist) {
		p.index, err = fs.ReadFile(files, "placeholder.html")
	}
	return p, err
}

// document answers any address that is nothing else. Programs that mistype a path of the API get 404, not a page.
func (p *page) document(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path != "/" && !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.NotFound(w, r)
		return
	}
	nonce := newNonce()
	up := strings.Repeat("../", strings.Count(r.URL.Path, "/")-1)
	body := bytes.Replace(p.index, []byte(baseMark), []byte(`<base href="./`+up+`"`), 1)
	body = bytes.ReplaceAll(body, []byte(nonceMark), []byte(nonce))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	// Styles that components make while running carry the nonce; scripts come from files alone.
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"+nonce+"'; img-src 'self' data:; "+
		"font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'")
	_, _ = w.Write(body)
}

func newNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, by its contract
	return base64.StdEncoding.EncodeToString(b[:])
}

// asset answers a file that the page loads. Its name holds a hash of its content, so it never changes.
func (p *page) asset(w http.ResponseWriter, r *http.Request) {
	name := "assets/" + r.PathValue("file")
	if !fs.ValidPath(name) {
		http.NotFound(w, r)
		return
	}
	body, err := fs.ReadFile(p.files, name)
	if err != nil {
		// An old page asks for files of an old build; no-store lets it find them again after a roll-back.
		w.Header().Set("Cache-Control", "no-store")
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		h.Set("Content-Type", t)
	}
	h.Add("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = p.pack(name, body)
	}
	_, _ = w.Write(body)
}

// pack compresses an asset once.
func (p *page) pack(name string, body []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, ok := p.packed[name]; ok {
		return b
	}
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
	_, _ = z.Write(body)                                    // a buffer takes everything
	_ = z.Close()
	p.packed[name] = out.Bytes()
	return out.Bytes()
}

package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"triage/internal/api"
)

// pageFiles is a page as Vite builds it.
var pageFiles = fstest.MapFS{
	"index.html":       {Data: []byte(`<head><base href="./" /><script src="./assets/a-1.js" nonce="CSP_NONCE"></script><meta property="csp-nonce" nonce="CSP_NONCE">`)},
	"assets/a-1.js":    {Data: []byte("console.log(1)")},
	"assets/a-2.css":   {Data: []byte("body{}")},
	"secret.txt":       {Data: []byte("not served")},
	"assets/deep/b.js": {Data: []byte("2")},
}

func newHandler(t testing.TB, o api.Options) http.Handler {
	t.Helper()
	o.Page = pageFiles
	h, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func fetch(t *testing.T, url string, header map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestPageFindsItsBaseAtAnyAddress(t *testing.T) {
	srv := newServer(t)
	for path, base := range map[string]string{
		"/": `<base href="./" />`, "/incidents": `<base href="./" />`, "/incidents/INC-1": `<base href="./../" />`, "/a/b/c?x=/y/": `<base href="./../../" />`,
	} {
		res, body := fetch(t, srv.URL+path, map[string]string{"Accept": "text/html,*/*"})
		if res.StatusCode != 200 || !strings.Contains(body, base) {
			t.Errorf("GET %s: %s without %s:\n%s", path, res.Status, base, body)
		}
		if got := res.Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("GET %s: Cache-Control %q, want no-cache", path, got)
		}
	}
}

func TestPageRunsOnlyItsOwnCode(t *testing.T) {
	srv := newServer(t)
	nonces := map[string]bool{}
	for range 2 {
		res, body := fetch(t, srv.URL, map[string]string{"Accept": "text/html"})
		policy := res.Header.Get("Content-Security-Policy")
		m := regexp.MustCompile(`'nonce-([^']{20,})'`).FindStringSubmatch(policy)
		if m == nil || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") {
			t.Fatalf("policy %q", policy)
		}
		if strings.Count(body, m[1]) != 2 || strings.Contains(body, "CSP_NONCE") {
			t.Errorf("the nonce %s is not the page's:\n%s", m[1], body)
		}
		nonces[m[1]] = true
	}
	if len(nonces) != 2 {
		t.Error("a nonce was used twice")
	}
	if res, _ := fetch(t, srv.URL+"/api/v1/incidents", nil); res.Header.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors 'none'" {
		t.Errorf("the API's policy is %q", res.Header.Get("Content-Security-Policy"))
	}
}

func TestAssets(t *testing.T) {
	srv := newServer(t)
	for _, c := range []struct {
		path, accept string
		status       int
		typ, cache   string
		body         string
	}{
		{"/assets/a-1.js", "", 200, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable", "console.log(1)"},
		{"/assets/a-2.css", "gzip", 200, "text/css; charset=utf-8", "public, max-age=31536000, immutable", "\x1f\x8b"},
		{"/assets/deep/b.js", "", 200, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable", "2"},
		{"/assets/gone-9.js", "", 404, "text/plain; charset=utf-8", "no-store", "404"},
		{"/assets/..%2fsecret.txt", "", 404, "text/plain; charset=utf-8", "", "404"},
		{"/secret.txt", "", 404, "text/plain; charset=utf-8", "", "404"},
		{"/api/v1/nothing", "", 404, "text/plain; charset=utf-8", "", "404"},
	} {
		t.Run(c.path, func(t *testing.T) {
			res, body := fetch(t, srv.URL+c.path, map[string]string{"Accept-Encoding": c.accept})
			if res.StatusCode != c.status || res.Header.Get("Content-Type") != c.typ || res.Header.Get("Cache-Control") != c.cache || !strings.HasPrefix(body, c.body) {
				t.Errorf("%s, type %q, cache %q, body %q; want %d, %q, %q, %q", res.Status, res.Header.Get("Content-Type"), res.Header.Get("Cache-Control"),
					body, c.status, c.typ, c.cache, c.body)
			}
		})
	}
}

func TestPlaceholderWhereNothingWasBuilt(t *testing.T) {
	h, err := api.New(api.Options{Page: fstest.MapFS{"placeholder.html": {Data: []byte("was not built")}}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	if res, body := fetch(t, srv.URL, map[string]string{"Accept": "text/html"}); res.StatusCode != 200 || body != "was not built" {
		t.Errorf("%s %q", res.Status, body)
	}
	if _, err := api.New(api.Options{Page: fstest.MapFS{}}); err == nil {
		t.Error("no page and no placeholder is no error")
	}
}

package otlp

import (
	"net/http"
	"net/url"
	"strings"
)

// origins says which web pages may send. Browsers add an Origin to every POST, so a request without one comes from no
// page, and a page whose name was made to resolve to this machine still has its own name there.
type origins struct {
	all      bool
	exact    map[string]bool
	patterns []string
}

func parseOrigins(allowed []string) origins {
	o := origins{exact: map[string]bool{}}
	for _, a := range allowed {
		a = strings.ToLower(strings.TrimSuffix(a, "/"))
		switch {
		case a == "*":
			o.all = true
		case strings.Contains(a, "*"):
			o.patterns = append(o.patterns, a)
		default:
			o.exact[a] = true
		}
	}
	return o
}

func (o origins) allows(origin string) bool {
	origin = strings.ToLower(origin)
	if o.all || o.exact[origin] {
		return true
	}
	// "null" and other words that are no origin match no pattern, whatever its stars.
	if u, err := url.Parse(origin); err != nil || u.Scheme == "" || u.Host == "" {
		return false
	}
	for _, p := range o.patterns {
		if matches(p, origin) {
			return true
		}
	}
	return false
}

// matches compares text with a pattern in which "*" stands for any text without a slash.
func matches(pattern, text string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, before)
	if !ok {
		return false
	}
	for i := 0; i <= len(rest); i++ {
		if matches(after, rest[i:]) {
			return true
		}
		if i < len(rest) && rest[i] == '/' {
			return false
		}
	}
	return false
}

// guard answers preflight requests, refuses pages that are not allowed, and lets the others read the answer.
func (o origins) guard(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
		if preflight {
			h.Add("Vary", "Access-Control-Request-Method")
			h.Add("Vary", "Access-Control-Request-Headers")
		}
		if origin == "" {
			if r.Method == http.MethodOptions {
				h.Set("Allow", "POST, OPTIONS")
				w.WriteHeader(http.StatusNoContent)
				return
			}
			next(w, r)
			return
		}
		if !o.allows(origin) {
			http.Error(w, "this page is not among the allowed origins", http.StatusForbidden)
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		if !preflight {
			h.Set("Access-Control-Expose-Headers", "Retry-After")
			next(w, r)
			return
		}
		h.Set("Access-Control-Allow-Methods", "POST")
		// Which headers an exporter adds is its configuration; none of them means more here than it says.
		if ask := r.Header.Get("Access-Control-Request-Headers"); ask != "" {
			h.Set("Access-Control-Allow-Headers", ask)
		}
		// Chromium asks before a page on a public address may reach a private one, which is what loopback is.
		if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
			h.Set("Access-Control-Allow-Private-Network", "true")
		}
		h.Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
	})
}

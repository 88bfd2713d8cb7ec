package api

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"triage/internal/ingest"
)

// Guard refuses requests to names that are not ours (DNS rebinding) and requests that a browser makes for another
// origin (cross-site request forgery). Programs send neither a foreign Host nor an Origin.
func Guard(allowedHosts []string, next http.Handler) http.Handler {
	return GuardHost(allowedHosts, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origin := r.Header.Get("Origin"); origin != "" && !sameOrigin(origin, r.Host) {
			refuse(w, "requests from the origin "+origin+" are not allowed")
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" && r.Method != http.MethodGet {
			refuse(w, "cross-site requests are not allowed")
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'") // the page sets its own
		next.ServeHTTP(w, r)
	}))
}

func refuse(w http.ResponseWriter, why string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write([]byte(`{"title":"Forbidden","status":403,"detail":` + quote(why) + "}\n"))
}

// GuardTenant refuses names of tenants that no edge would take: they become names of files.
func GuardTenant(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := ingest.ParseTenant(r.Header.Get(ingest.TenantHeader)); err != nil {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"title":"Bad Request","status":400,"detail":` + quote(ingest.TenantHeader+": "+err.Error()) + "}\n"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// GuardHost refuses requests to names that are not ours, and leaves origins to the handler's own rules.
func GuardHost(allowedHosts []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostAllowed(r.Host, allowedHosts) {
			refuse(w, "the Host "+r.Host+" is not allowed; add it to allowed_hosts")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostAllowed tells whether host (with or without a port) is loopback's or one of allowed.
func hostAllowed(host string, allowed []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if strings.EqualFold(name, "localhost") || strings.HasSuffix(strings.ToLower(name), ".localhost") {
		return true
	}
	if ip := net.ParseIP(name); ip != nil && ip.IsLoopback() {
		return true
	}
	return slices.ContainsFunc(allowed, func(a string) bool { return a == "*" || strings.EqualFold(a, name) })
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, host)
}

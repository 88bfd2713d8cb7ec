package ingest

import (
	"fmt"
	"strings"
	"sync"

	"triage/internal/model"
	"triage/internal/store"
)

// TenantHeader is the HTTP header, and in lower case the gRPC metadata key, that names the tenant; it is the one that
// Prometheus-compatible systems use.
const TenantHeader = "X-Scope-OrgID"

// maxTenant is the longest tenant name; it becomes part of file names.
const maxTenant = 150

// ParseTenant checks a tenant's name as it came from outside; an empty one is model.DefaultTenant. Only characters that
// are safe in a file name and a URL are allowed, because tenants become both.
func ParseTenant(name string) (string, error) {
	if name == "" {
		return model.DefaultTenant, nil
	}
	if len(name) > maxTenant {
		return "", fmt.Errorf("tenant of %d bytes, at most %d", len(name), maxTenant)
	}
	if name == "." || name == ".." {
		return "", fmt.Errorf("tenant %q is not a name", name)
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("!-_.*'()", r):
		default:
			return "", fmt.Errorf("tenant %q: %q is not allowed", name, r)
		}
	}
	return name, nil
}

// tenants are those that sent something.
type tenants struct {
	limit int
	mu    sync.RWMutex // guards names
	names map[string]bool
}

// admit lets the tenants through that came first, and the default tenant always.
func (t *tenants) admit(name string) error {
	t.mu.RLock()
	known := t.names[name]
	t.mu.RUnlock()
	if known || name == model.DefaultTenant {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.names[name] && len(t.names) >= t.limit {
		return fmt.Errorf("tenant %s: %d tenants have sent, which is the limit: %w", name, t.limit, store.ErrFull)
	}
	t.names[strings.Clone(name)] = true
	return nil
}

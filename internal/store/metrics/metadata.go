package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	metadataFile = "metadata.json"
	// Both bound what senders can make us keep for ever.
	maxFamilies = 20_000
	maxHelp     = 1024
)

// Metadata is what is known of a metric family. Type is Prometheus' word ("counter", "gauge", "histogram", ...).
type Metadata struct {
	Type string `json:"type,omitempty"`
	Unit string `json:"unit,omitempty"`
	Help string `json:"help,omitempty"`
}

// metadataSet is the metadata of one tenant. The TSDB writes metadata but does not answer for it.
type metadataSet struct {
	path string

	mu       sync.RWMutex // guards what follows
	families map[string]Metadata
	changed  bool
}

func openMetadata(path string) (*metadataSet, error) {
	m := &metadataSet{path: path, families: map[string]Metadata{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &m.families); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

// learn keeps the metadata of the family that a series of this name belongs to. Unknown parts keep what was known.
func (m *metadataSet) learn(name string, md Metadata) {
	if md == (Metadata{}) || name == "" {
		return
	}
	family := familyOf(name, md.Type)
	if len(md.Help) > maxHelp {
		md.Help = strings.ToValidUTF8(md.Help[:maxHelp], "")
	}
	if len(md.Unit) > maxHelp {
		md.Unit = strings.ToValidUTF8(md.Unit[:maxHelp], "")
	}
	m.mu.RLock()
	old, known := m.families[family]
	m.mu.RUnlock()
	if md.Type == "" || md.Type == "unknown" {
		md.Type = old.Type
	}
	if md.Unit == "" {
		md.Unit = old.Unit
	}
	if md.Help == "" {
		md.Help = old.Help
	}
	if md == old {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !known && len(m.families) >= maxFamilies {
		return
	}
	m.families[strings.Clone(family)] = Metadata{strings.Clone(md.Type), strings.Clone(md.Unit), strings.Clone(md.Help)}
	m.changed = true
}

// familyOf takes the suffixes off the names that a family of the type has its series under.
func familyOf(name, typ string) string {
	suffixes := []string{}
	switch typ {
	case "histogram", "gaugehistogram":
		suffixes = []string{"_bucket", "_sum", "_count"}
	case "summary":
		suffixes = []string{"_sum", "_count"}
	}
	for _, s := range suffixes {
		if base, ok := strings.CutSuffix(name, s); ok && base != "" {
			return base
		}
	}
	return name
}

func (m *metadataSet) all() map[string]Metadata {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return maps.Clone(m.families)
}

// save writes the file if something changed since it was written. It is not synced: what a power failure takes from it
// comes again with the next sample.
func (m *metadataSet) save() error {
	m.mu.Lock()
	if !m.changed {
		m.mu.Unlock()
		return nil
	}
	b, err := json.Marshal(m.families)
	m.changed = false
	m.mu.Unlock()
	if err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(m.path), metadataFile+".tmp")
	if err := os.WriteFile(tmp, b, 0o640); err != nil {
		return err
	}
	return os.Rename(tmp, m.path)
}

// Metadata is what is known of the tenant's metric families, by name.
func (s *Store) Metadata(tenant string) (map[string]Metadata, error) {
	t, release, err := s.use(tenant, false)
	if err != nil {
		return nil, err
	}
	defer release()
	if t == nil {
		return map[string]Metadata{}, nil
	}
	return t.meta.all(), nil
}

package events

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/parquet/file"
)

// block is one Parquet file, of committed rows or of the tail's. Everything but refs and dead is fixed once the block is
// in the catalog.
type block struct {
	ID     uint64 `json:"id"`
	Tenant string `json:"tenant"`
	Signal signal `json:"signal"`
	Size   int64  `json:"size"`
	CRC    uint32 `json:"crc32c"` // of the whole file
	// What is still known of a block that cannot be read; zero in older manifests.
	MinTime int64 `json:"min_time,omitempty"`
	MaxTime int64 `json:"max_time,omitempty"`
	Rows    int64 `json:"rows,omitempty"`
	// Meta is the CRC-32C of the footer's triage.block, by which blocks are passed over; 0 if it is not known yet.
	Meta uint32 `json:"meta_crc32c,omitempty"`

	path   string
	layout *layout
	refs   int  // queries that may read the file
	dead   bool // no longer in the catalog; removed with the last reference

	unchecked  bool  // the file must be compared with CRC before it is read; Store.mu guards it
	unreadable error // of a lost block: why its footer could not be read at start

	// seen is when the block's groups of exceptions were first seen in it; nil until a question asked.
	seen map[string]firstSeen
}

// MarshalText writes String.
func (s signal) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads String.
func (s *signal) UnmarshalText(b []byte) error {
	for _, v := range signals {
		if v.String() == string(b) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("signal %q is unknown", b)
}

// partition is what blocks never mix.
type partition struct {
	tenant string
	signal signal
}

// overlaps tells whether the block may have rows in [from, to].
func (b *block) overlaps(from, to int64) bool {
	return b.layout.MinTime <= to && b.layout.MaxTime >= from
}

// byTime orders blocks by their oldest row.
func byTime(a, b *block) int {
	return cmp.Or(cmp.Compare(a.layout.MinTime, b.layout.MinTime), cmp.Compare(a.ID, b.ID))
}

// catalog is all blocks in memory. Store.mu guards it.
type catalog struct {
	blocks map[partition][]*block // in order of time
	// lost are blocks that could not be read. They stay in the manifest, so that nothing removes their files.
	lost []*block
	// nextID is the next block's number, flushed the newest WAL segment whose rows are in blocks.
	nextID, flushed uint64

	filters filterCatalog // guards itself
	footers footers       // guards itself
}

func (c *catalog) all() []*block {
	var out []*block
	for _, bs := range c.blocks {
		out = append(out, bs...)
	}
	return out
}

func (c *catalog) add(bs ...*block) {
	for _, b := range bs {
		p := partition{b.Tenant, b.Signal}
		i, _ := slices.BinarySearchFunc(c.blocks[p], b, byTime)
		c.blocks[p] = slices.Insert(c.blocks[p], i, b)
	}
}

func (c *catalog) remove(gone ...*block) {
	for _, b := range gone {
		p := partition{b.Tenant, b.Signal}
		c.blocks[p] = slices.DeleteFunc(c.blocks[p], func(o *block) bool { return o == b })
	}
}

// manifestVersion is the version of the file that says which blocks count.
const manifestVersion = 1

// manifest is that file. Its first line is the checksum of the rest.
type manifest struct {
	Version int      `json:"version"`
	Flushed uint64   `json:"flushed"`
	NextID  uint64   `json:"next_id"`
	Blocks  []*block `json:"blocks"`
}

func manifestPath(dir string) string { return filepath.Join(dir, "MANIFEST") }

// manifestCopy ends the name of the manifest's copy, which is read if the manifest is damaged.
const manifestCopy = ".copy"

// writeManifest makes a set of blocks the one that counts.
func writeManifest(disk FS, dir string, m manifest) error {
	m.Version = manifestVersion
	slices.SortFunc(m.Blocks, func(a, b *block) int { return cmp.Compare(a.ID, b.ID) })
	body, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	out := fmt.Appendf(nil, "%08x\n%s\n", crc32.Checksum(body, castagnoli), body)
	// The copy first: whichever of the two is read after a crash, all files that it names are there.
	for _, path := range []string{manifestPath(dir) + manifestCopy, manifestPath(dir)} {
		if err := writeDurably(disk, path, out); err != nil {
			return diskError("write manifest", err)
		}
	}
	return nil
}

// readManifest reads what writeManifest wrote; a directory without one is empty. A damaged manifest is moved to
// quarantine and written again from its copy.
func readManifest(disk FS, dir string) (m manifest, err error) {
	path := manifestPath(dir)
	m, err = readManifestFile(disk, path)
	switch {
	case err == nil:
		// The copy may be newer by a write that did not finish.
		if c, cerr := readManifestFile(disk, path+manifestCopy); cerr != nil || !reflect.DeepEqual(c, m) {
			if errors.Is(cerr, errDamaged) {
				if err := moveDurably(disk, path+manifestCopy, filepath.Join(dir, "quarantine", filepath.Base(path)+manifestCopy)); err != nil {
					return m, err
				}
			}
			if err = writeManifest(disk, dir, m); err != nil {
				// Without one, a copy that is too old must not be read later.
				err = errors.Join(ignoreMissing(disk.Remove(path+manifestCopy)), disk.SyncDir(dir))
			}
		}
		return m, err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errDamaged):
		c, cerr := readManifestFile(disk, path+manifestCopy)
		if errors.Is(err, fs.ErrNotExist) && errors.Is(cerr, fs.ErrNotExist) {
			return manifest{NextID: 1}, nil
		}
		if cerr != nil {
			return m, errors.Join(err, cerr)
		}
		if errors.Is(err, errDamaged) {
			if err := moveDurably(disk, path, filepath.Join(dir, "quarantine", filepath.Base(path))); err != nil {
				return m, err
			}
		}
		return c, writeManifest(disk, dir, c)
	}
	return m, err
}

// readManifestFile reads the manifest or its copy.
func readManifestFile(disk FS, path string) (m manifest, err error) {
	text, err := disk.ReadFile(path)
	if err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	sum, body, _ := bytes.Cut(text, []byte("\n"))
	body = bytes.TrimSuffix(body, []byte("\n"))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(body, castagnoli) {
		return m, fmt.Errorf("read manifest %s: checksum: %w", path, errDamaged)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("read manifest %s: %w", path, err)
	}
	if m.Version != manifestVersion {
		return m, fmt.Errorf("read manifest %s: version %d, this program reads %d", path, m.Version, manifestVersion)
	}
	return m, nil
}

// tenantDir is a tenant's directory: its name where that is a harmless one, else its bytes in hex.
func tenantDir(tenant string) string {
	harmless := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' }
	if tenant != "" && len(tenant) <= 64 && !strings.HasPrefix(tenant, "x-") &&
		!strings.ContainsFunc(tenant, func(r rune) bool { return !harmless(r) }) {
		return tenant
	}
	return "x-" + hex.EncodeToString([]byte(tenant))
}

// maxTenant is the longest name of a tenant, so that its directory's name is one every file system takes.
const maxTenant = 100

func blockPath(dir string, b *block) string {
	return filepath.Join(dir, "blocks", tenantDir(b.Tenant), fmt.Sprintf("%s-%012d.parquet", b.Signal, b.ID))
}

// readLayout reads a block's metadata from its footer. want is its checksum, 0 if that is not known.
func readLayout(path string, want uint32) (*layout, error) {
	text, err := readFooter(path)
	if err != nil {
		return nil, err
	}
	if sum := crc32.Checksum([]byte(text), castagnoli); want != 0 && sum != want {
		return nil, fmt.Errorf("%s: %w", metadataKey, errDamaged)
	}
	return parseLayout(text)
}

// readFooter reads the text of a block's metadata. The bytes of a damaged footer may also make the Parquet library panic.
func readFooter(path string) (text string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read footer: %v", p)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r, err := file.NewParquetReader(f)
	if err != nil {
		return "", err
	}
	found := r.MetaData().KeyValueMetadata().FindValue(metadataKey)
	if found == nil {
		return "", fmt.Errorf("no %s in the footer", metadataKey)
	}
	return *found, nil
}

// loadCatalog reads the manifest and each block's footer, and removes files that no manifest names: what a crash left of
// a flush or a merge. report is told of each block that cannot be read.
func loadCatalog(disk FS, dir string, report func(*block, error)) (c *catalog, err error) {
	m, err := readManifest(disk, dir)
	if err != nil {
		return nil, err
	}
	c = &catalog{blocks: map[partition][]*block{}, nextID: m.NextID, flushed: m.Flushed}
	named := map[string]bool{}
	for _, b := range m.Blocks {
		b.path = blockPath(dir, b)
		named[b.path] = true
		if b.layout, err = readLayout(b.path, b.Meta); err != nil {
			b.unreadable = err
			c.lost = append(c.lost, b)
			report(b, err)
			continue
		}
		c.add(b)
	}
	return c, removeUnnamed(disk, filepath.Join(dir, "blocks"), named)
}

func removeUnnamed(disk FS, dir string, named map[string]bool) error {
	tenants, err := disk.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list blocks: %w", err)
	}
	for _, t := range tenants {
		files, err := disk.ReadDir(filepath.Join(dir, t.Name()))
		if err != nil {
			return fmt.Errorf("list blocks: %w", err)
		}
		for _, f := range files {
			path := filepath.Join(dir, t.Name(), f.Name())
			if named[path] {
				continue
			}
			if err := disk.Remove(path); err != nil {
				return fmt.Errorf("remove unfinished block: %w", err)
			}
		}
	}
	return nil
}

// snapshot is the blocks of one question: a set in which every row accepted before it is there once. It must be released.
type snapshot struct {
	store  *Store
	blocks []*block
	// partial says why rows may be missing.
	partial string
	full    bool // rows of the tail are missing
}

// release gives the blocks back.
func (s *snapshot) release() { s.store.unref(s.blocks) }

// ignoreMissing is for removals of what may be gone already.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

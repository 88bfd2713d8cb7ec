package dashboard

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"triage/internal/store"
)

// ErrConflict means that somebody else has changed a dashboard meanwhile.
var ErrConflict = errors.New("somebody has changed it meanwhile")

// keepVersions is how many versions of a dashboard are kept.
const keepVersions = 100

// Version is a dashboard as it was once.
type Version struct {
	// Version counts from 1; 0 is what triage brings along.
	Version int       `json:"version"`
	At      time.Time `json:"at,omitzero"`
	By      string    `json:"by,omitempty"`
	Note    string    `json:"note,omitempty"`
	// Dashboard is what it said then.
	Dashboard Dashboard `json:"dashboard"`
}

// Options wire a Keeper.
type Options struct {
	State store.State
	Now   func() time.Time
}

// Keeper keeps dashboards and their versions. It is safe for concurrent use.
type Keeper struct {
	opts Options
	mu   sync.Mutex // held from reading what is stored until it is replaced, and guards newest
	// newest is what is stored now, by tenant and name; a tenant that was not asked for yet is not in it.
	newest map[string]map[string]Version
}

// New makes a Keeper.
func New(opts Options) *Keeper { return &Keeper{opts: opts, newest: map[string]map[string]Version{}} }

//go:embed builtin/*.json
var builtinFiles embed.FS

// brought are the dashboards that triage brings along, by name. One that is stored under the same name stands in its place.
var brought = sync.OnceValue(func() map[string]Version {
	out := map[string]Version{}
	files, err := builtinFiles.ReadDir("builtin")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	for _, f := range files {
		b, err := builtinFiles.ReadFile("builtin/" + f.Name())
		if err != nil {
			panic("BUG: " + err.Error())
		}
		d, err := Parse(b)
		if err != nil {
			panic("BUG: " + f.Name() + ": " + err.Error())
		}
		out[d.Name] = Version{Dashboard: d}
	}
	return out
})

func versionKind(name string) string { return DocumentKind + "-version/" + name }
func versionName(n int) string       { return fmt.Sprintf("%09d", n) }

// List gives the newest version of each dashboard, in order of title.
func (k *Keeper) List(ctx context.Context, tenant string) ([]Version, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	stored, err := k.stored(ctx, tenant)
	if err != nil {
		return nil, err
	}
	out := slices.AppendSeq([]Version{}, maps.Values(stored))
	for name, v := range brought() {
		if _, ok := stored[name]; !ok {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b Version) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Dashboard.Title), strings.ToLower(b.Dashboard.Title)), cmp.Compare(a.Dashboard.Name, b.Dashboard.Name))
	})
	return out, nil
}

// Get gives a dashboard, as it is now or, if version is not 0, as it was then; store.ErrNotFound.
func (k *Keeper) Get(ctx context.Context, tenant, name string, version int) (Version, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if version == 0 {
		stored, err := k.stored(ctx, tenant)
		if err != nil {
			return Version{}, err
		}
		for _, known := range []map[string]Version{stored, brought()} {
			if v, ok := known[name]; ok {
				return v, nil
			}
		}
		return Version{}, fmt.Errorf("dashboard %s: %w", name, store.ErrNotFound)
	}
	versions, err := k.versions(ctx, tenant, name)
	if err != nil {
		return Version{}, err
	}
	if i := slices.IndexFunc(versions, func(v Version) bool { return v.Version == version }); i >= 0 {
		return versions[i], nil
	}
	return Version{}, fmt.Errorf("dashboard %s, version %d: %w", name, version, store.ErrNotFound)
}

// Versions lists what is known of a dashboard's past, newest first, also of one that was deleted; store.ErrNotFound if that is
// nothing.
func (k *Keeper) Versions(ctx context.Context, tenant, name string) ([]Version, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list, err := k.versions(ctx, tenant, name)
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	if v, ok := brought()[name]; ok {
		list = append(list, v)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("dashboard %s: %w", name, store.ErrNotFound)
	}
	return list, nil
}

// stored is what is stored of a tenant now, by name.
func (k *Keeper) stored(ctx context.Context, tenant string) (map[string]Version, error) {
	if known := k.newest[tenant]; known != nil {
		return known, nil
	}
	docs, err := k.opts.State.Documents(ctx, tenant, DocumentKind)
	if err != nil {
		return nil, err
	}
	out := map[string]Version{}
	for _, doc := range docs {
		versions, err := k.versions(ctx, tenant, doc.Name)
		if err != nil {
			return nil, err
		}
		if n := len(versions); n > 0 {
			out[doc.Name] = versions[n-1]
		}
	}
	k.newest[tenant] = out
	return out, nil
}

func (k *Keeper) versions(ctx context.Context, tenant, name string) ([]Version, error) {
	docs, err := k.opts.State.Documents(ctx, tenant, versionKind(name))
	if err != nil {
		return nil, err
	}
	out := make([]Version, len(docs))
	for i, d := range docs {
		if err := json.Unmarshal(d.Body, &out[i]); err != nil {
			return nil, fmt.Errorf("dashboard %s, version %s: %w", name, d.Name, err)
		}
	}
	return out, nil
}

// Edit says who saves a dashboard and why.
type Edit struct {
	By, Note string
	// Of is the version that was edited; the newest, if it is nil, whatever that is.
	Of *int
}

// Save stores a dashboard as a new version, in place of the one of its name. It fails with ErrConflict if what was edited is
// no longer the newest. What says the same as the newest makes no new version.
func (k *Keeper) Save(ctx context.Context, tenant string, d Dashboard, e Edit) (Version, error) {
	d = d.WithDefaults()
	if err := d.Validate(); err != nil {
		return Version{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	stored, err := k.stored(ctx, tenant)
	if err != nil {
		return Version{}, err
	}
	newest, there := stored[d.Name]
	if e.Of != nil && *e.Of != newest.Version {
		return Version{}, fmt.Errorf("dashboard %s has version %d, and version %d was edited: %w", d.Name, newest.Version, *e.Of, ErrConflict)
	}
	if there && same(newest.Dashboard, d) {
		return newest, nil
	}
	versions, err := k.versions(ctx, tenant, d.Name)
	if err != nil {
		return Version{}, err
	}
	body, err := json.Marshal(d)
	if err != nil {
		return Version{}, err
	}
	v, docs, err := k.next(versions, d, e)
	if err != nil {
		return Version{}, err
	}
	if err := k.opts.State.SaveDocuments(ctx, tenant, append(docs, store.Document{Kind: DocumentKind, Name: d.Name, Body: body})); err != nil {
		return Version{}, err
	}
	stored[d.Name] = v
	return v, nil
}

// next makes a version of what is newer than versions, and drops the oldest if there are too many.
func (k *Keeper) next(versions []Version, d Dashboard, e Edit) (Version, []store.Document, error) {
	v := Version{Version: 1, At: k.opts.Now().UTC(), By: e.By, Note: e.Note, Dashboard: d}
	if n := len(versions); n > 0 {
		v.Version = versions[n-1].Version + 1
	}
	b, err := json.Marshal(v)
	if err != nil {
		return v, nil, err
	}
	docs := []store.Document{{Kind: versionKind(d.Name), Name: versionName(v.Version), Body: b}}
	for i := 0; i <= len(versions)-keepVersions; i++ {
		docs = append(docs, store.Document{Kind: versionKind(d.Name), Name: versionName(versions[i].Version)})
	}
	return v, docs, nil
}

func same(a, b Dashboard) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// Delete removes a dashboard; store.ErrNotFound if there is none. Its versions remain, so that it can be had again.
func (k *Keeper) Delete(ctx context.Context, tenant, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	stored, err := k.stored(ctx, tenant)
	if err != nil {
		return err
	}
	_, there := stored[name]
	if _, own := brought()[name]; own && !there {
		return fmt.Errorf("%w: %s came with triage and cannot be deleted", ErrInvalid, name)
	}
	if !there {
		return fmt.Errorf("dashboard %s: %w", name, store.ErrNotFound)
	}
	if err := k.opts.State.SaveDocuments(ctx, tenant, []store.Document{{Kind: DocumentKind, Name: name}}); err != nil {
		return err
	}
	delete(stored, name)
	return nil
}

// Reload makes a version of each dashboard that was stored by others, as files that are applied are.
func (k *Keeper) Reload(ctx context.Context, tenant string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.newest, tenant)
	docs, err := k.opts.State.Documents(ctx, tenant, DocumentKind)
	if err != nil {
		return err
	}
	var add []store.Document
	for _, doc := range docs {
		var d Dashboard
		if err := json.Unmarshal(doc.Body, &d); err != nil {
			return fmt.Errorf("dashboard %s: %w", doc.Name, err)
		}
		versions, err := k.versions(ctx, tenant, doc.Name)
		if err != nil {
			return err
		}
		if n := len(versions); n > 0 && same(versions[n-1].Dashboard, d) {
			continue
		}
		_, more, err := k.next(versions, d, Edit{Note: "applied"})
		if err != nil {
			return err
		}
		add = append(add, more...)
	}
	if len(add) == 0 {
		return nil
	}
	return k.opts.State.SaveDocuments(ctx, tenant, add)
}

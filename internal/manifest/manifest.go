// Package manifest takes what users declare in files: alarms, service level objectives, silences, routes,
// dashboards and runbooks. It
// reads files strictly and says everything that is wrong at once, by file, line and path; it says what applying them would
// change; and it applies them, all or none, as a new revision. It owns the files' format and the revisions. What things
// mean is their owners' business, who keep them as documents in the state store and read them again when told.
//
//	files -> read, validate -> differ from what is stored? -> one transaction: documents, revision -> owners reload
//
// A Manager is safe for concurrent use.
package manifest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// Owner is whoever keeps a kind of things.
type Owner struct {
	// Check says what is wrong with things that would be stored together, by name, beyond what is wrong with each by itself.
	// It may be nil.
	Check func(ctx context.Context, tenant string, bodies map[string][]byte) (map[string]error, error)
	// Together says which things of the kind, by name, would not fit if all things there are were those that bodies gives, by the
	// kind of their documents. It may be nil.
	Together func(bodies func(document string) map[string][]byte) (map[string]error, error)
	// Reload makes the owner take over what is stored now. It may be nil.
	Reload func(ctx context.Context, tenant string) error
}

// Options wire a Manager.
type Options struct {
	State store.State
	// Owners are by kind.
	Owners map[string]Owner
}

// Manager applies manifests.
type Manager struct {
	opts Options
	mu   sync.Mutex // held from reading what is stored until it is replaced
}

// New makes a Manager.
func New(opts Options) *Manager { return &Manager{opts: opts} }

// Request is files to apply.
type Request struct {
	Files []File
	// Prune removes what earlier files declared and these don't.
	Prune bool
	// DryRun says what would change, and changes nothing.
	DryRun bool
	By     string
	Note   string
	At     time.Time
}

// Action is what becomes of a thing.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
	Same   Action = "same"
)

// Change is what becomes of one thing. Before and After are documents in YAML.
type Change struct {
	Action Action `json:"action"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Result is what applying changed, or would change. Revision is 0 where nothing was stored.
type Result struct {
	Changes  []Change `json:"changes"`
	Revision int      `json:"revision,omitempty"`
}

// Revision is what was declared once something had been applied.
type Revision struct {
	Revision int       `json:"revision"`
	At       time.Time `json:"at"`
	By       string    `json:"by,omitempty"`
	Note     string    `json:"note,omitempty"`
	// Changes have no Before and After here.
	Changes []Change `json:"changes"`
	// Resources is everything that files have declared and not removed since.
	Resources []stored `json:"resources,omitempty"`
}

type stored struct {
	Kind string          `json:"kind"`
	Name string          `json:"name"`
	Body json.RawMessage `json:"body"`
}

const (
	revisionKind = "revision"
	// keepRevisions is how many are kept.
	keepRevisions = 200
)

func revisionName(n int) string { return fmt.Sprintf("%09d", n) }

// Apply makes what is stored be what files declare, all of it or nothing. Problems is the error where files are wrong.
func (m *Manager) Apply(ctx context.Context, tenant string, r Request) (Result, error) {
	declared, problems := read(r.Files)
	m.mu.Lock()
	defer m.mu.Unlock()
	have, err := m.stored(ctx, tenant)
	if err != nil {
		return Result{}, err
	}
	more, err := m.check(ctx, tenant, declared)
	if err != nil {
		return Result{}, err
	}
	revisions, err := m.revisions(ctx, tenant)
	if err != nil {
		return Result{}, err
	}
	last := Revision{}
	if n := len(revisions); n > 0 {
		last = revisions[n-1]
	}
	if len(problems) == 0 { // what could not be read would be missed
		wrong, err := m.together(r.Files, declared, have, last, r.Prune)
		if err != nil {
			return Result{}, err
		}
		more = append(more, wrong...)
	}
	if problems = append(problems, more...); len(problems) > 0 {
		place := func(p Problem) int { return slices.IndexFunc(r.Files, func(f File) bool { return f.Name == p.File }) }
		slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Or(place(a)-place(b), a.Line-b.Line) })
		return Result{}, problems
	}
	p, err := plan(declared, have, last, r.Prune)
	if err != nil {
		return Result{}, err
	}
	if r.DryRun || len(p.docs) == 0 && sameThings(p.resources, last.Resources) {
		return Result{Changes: p.changes}, nil
	}
	next := Revision{Revision: last.Revision + 1, At: r.At.UTC(), By: r.By, Note: r.Note, Resources: p.resources}
	touched := map[string]bool{}
	for _, c := range p.changes {
		if c.Action != Same {
			next.Changes = append(next.Changes, Change{Action: c.Action, Kind: c.Kind, Name: c.Name})
			touched[c.Kind] = true
		}
	}
	b, err := json.Marshal(next)
	if err != nil {
		return Result{}, err
	}
	p.docs = append(p.docs, store.Document{Kind: revisionKind, Name: revisionName(next.Revision), Body: b})
	for i := 0; i <= len(revisions)-keepRevisions; i++ {
		p.docs = append(p.docs, store.Document{Kind: revisionKind, Name: revisionName(revisions[i].Revision)})
	}
	if err := m.opts.State.SaveDocuments(ctx, tenant, p.docs); err != nil {
		return Result{}, err
	}
	out := Result{Changes: p.changes, Revision: next.Revision}
	entry := model.Entry{ID: "revision/" + revisionName(next.Revision), At: next.At, Kind: model.EntryApplied, By: r.By, Text: summary(next), Ref: fmt.Sprint(next.Revision)}
	if err := m.opts.State.SaveIncidents(ctx, tenant, nil, []model.Entry{entry}); err != nil {
		return out, fmt.Errorf("revision %d holds, but could not be written into the journal: %w", next.Revision, err)
	}
	for _, k := range kinds {
		if reload := m.opts.Owners[k.name].Reload; touched[k.name] && reload != nil {
			if err := reload(ctx, tenant); err != nil {
				return out, fmt.Errorf("revision %d is stored, but kind %s could not be taken over: %w", next.Revision, k.name, err)
			}
		}
	}
	return out, nil
}

func summary(r Revision) string {
	var parts []string
	for _, c := range r.Changes {
		parts = append(parts, string(c.Action)+" "+c.Kind+" "+c.Name)
	}
	text := strings.Join(parts, ", ")
	if r.Note != "" {
		text = r.Note + ": " + text
	}
	const most = 1000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// stored reads all things there are, by kind and name.
func (m *Manager) stored(ctx context.Context, tenant string) (map[string]map[string][]byte, error) {
	out := map[string]map[string][]byte{}
	for _, k := range kinds {
		docs, err := m.opts.State.Documents(ctx, tenant, k.document)
		if err != nil {
			return nil, err
		}
		out[k.name] = map[string][]byte{}
		for _, d := range docs {
			out[k.name][d.Name] = d.Body
		}
	}
	return out, nil
}

// check asks the owners what is wrong with what was read.
func (m *Manager) check(ctx context.Context, tenant string, declared []*resource) (problems Problems, err error) {
	for _, k := range kinds {
		check := m.opts.Owners[k.name].Check
		bodies, by := map[string][]byte{}, map[string]*resource{}
		for _, r := range declared {
			if r.kind == k {
				bodies[r.name], by[r.name] = r.body, r
			}
		}
		if check == nil || len(bodies) == 0 {
			continue
		}
		wrong, err := check(ctx, tenant, bodies)
		if err != nil {
			return nil, err
		}
		for name, err := range wrong {
			for _, e := range flatten(err) {
				problems = append(problems, by[name].ownerProblem(e))
			}
		}
	}
	return problems, nil
}

// together asks the owners whether everything that there would be fits.
func (m *Manager) together(files []File, declared []*resource, have map[string]map[string][]byte, last Revision, prune bool) (problems Problems, err error) {
	after := map[string]map[string][]byte{} // by the kind of documents
	place := "stored"
	if len(files) > 0 {
		place = files[0].Name
	}
	by := map[string]*resource{}
	for _, k := range kinds {
		after[k.document] = maps.Clone(have[k.name])
		if prune {
			for _, old := range last.Resources {
				if old.Kind == k.name {
					delete(after[k.document], old.Name)
				}
			}
		}
	}
	for _, r := range declared {
		after[r.kind.document][r.name] = r.body
		by[r.title()] = r
	}
	for _, k := range kinds {
		together := m.opts.Owners[k.name].Together
		if together == nil {
			continue
		}
		wrong, err := together(func(document string) map[string][]byte { return after[document] })
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(wrong)) {
			title := k.name + " " + name
			for _, e := range flatten(wrong[name]) {
				if r := by[title]; r != nil {
					problems = append(problems, r.decodeProblem(e)...)
				} else { // it is stored, and what it needs is changed or removed
					problems = append(problems, Problem{File: place, Resource: title, Message: "it is stored, and would no longer do: " + e.Error()})
				}
			}
		}
	}
	return problems, nil
}

// planned is what is to be done.
type planned struct {
	changes   []Change
	docs      []store.Document
	resources []stored // what is declared from then on
}

func plan(declared []*resource, have map[string]map[string][]byte, last Revision, prune bool) (p planned, err error) {
	given := map[string]bool{}
	for _, r := range declared {
		given[r.title()] = true
	}
	for _, k := range kinds {
		for _, r := range declared {
			if r.kind != k {
				continue
			}
			c := Change{Action: Create, Kind: k.name, Name: r.name}
			if c.After, err = k.write(r.name, r.body); err != nil {
				return p, err
			}
			if was, ok := have[k.name][r.name]; ok {
				if c.Before, err = k.write(r.name, was); err != nil {
					return p, err
				}
				c.Action = Update
				if c.Before == c.After {
					c.Action = Same
				}
			}
			p.changes = append(p.changes, c)
			p.resources = append(p.resources, stored{k.name, r.name, r.body})
			if c.Action != Same {
				p.docs = append(p.docs, store.Document{Kind: k.document, Name: r.name, Body: r.body})
			}
		}
		for _, old := range last.Resources {
			body, there := have[k.name][old.Name]
			if old.Kind != k.name || given[old.Kind+" "+old.Name] || !there {
				continue
			}
			if !prune {
				p.resources = append(p.resources, stored{k.name, old.Name, body})
				continue
			}
			c := Change{Action: Delete, Kind: k.name, Name: old.Name}
			if c.Before, err = k.write(old.Name, body); err != nil {
				return p, err
			}
			p.changes = append(p.changes, c)
			p.docs = append(p.docs, store.Document{Kind: k.document, Name: old.Name})
		}
	}
	slices.SortFunc(p.resources, func(a, b stored) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return p, nil
}

// sameThings tells whether the same things are declared, whatever they say.
func sameThings(a, b []stored) bool {
	return slices.EqualFunc(a, b, func(x, y stored) bool { return x.Kind == y.Kind && x.Name == y.Name })
}

func (m *Manager) revisions(ctx context.Context, tenant string) ([]Revision, error) {
	docs, err := m.opts.State.Documents(ctx, tenant, revisionKind)
	if err != nil {
		return nil, err
	}
	out := []Revision{}
	for _, d := range docs {
		var r Revision
		if err := json.Unmarshal(d.Body, &r); err != nil {
			return nil, fmt.Errorf("revision %s: %w", d.Name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Revisions lists what was applied, newest first.
func (m *Manager) Revisions(ctx context.Context, tenant string) ([]Revision, error) {
	list, err := m.revisions(ctx, tenant)
	for i := range list {
		list[i].Resources = nil
	}
	slices.Reverse(list)
	return list, err
}

// Export writes things as documents that Apply takes: all there are, also those that no file declared, or what a revision
// declared. Kind restricts, if it is not empty.
func (m *Manager) Export(ctx context.Context, tenant, kindName string, revision int) (string, error) {
	if kindName != "" && !slices.ContainsFunc(kinds, func(k *kind) bool { return k.name == kindName }) {
		_, err := kindOf("", kindName)
		return "", Problems{{File: "kind", Message: err.Error()}}
	}
	have := map[string]map[string][]byte{}
	if revision == 0 {
		var err error
		if have, err = m.stored(ctx, tenant); err != nil {
			return "", err
		}
	} else {
		list, err := m.revisions(ctx, tenant)
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(list, func(r Revision) bool { return r.Revision == revision })
		if i < 0 {
			return "", fmt.Errorf("revision %d: %w", revision, store.ErrNotFound)
		}
		for _, r := range list[i].Resources {
			if have[r.Kind] == nil {
				have[r.Kind] = map[string][]byte{}
			}
			have[r.Kind][r.Name] = r.Body
		}
	}
	var docs []string
	for _, k := range kinds {
		if kindName != "" && k.name != kindName {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(have[k.name])) {
			text, err := k.write(name, have[k.name][name])
			if err != nil {
				return "", err
			}
			docs = append(docs, text)
		}
	}
	return strings.Join(docs, "---\n"), nil
}

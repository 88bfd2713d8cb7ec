// Package template finds the forms that log lines share: "pool exhausted after <*> ms for user <*>". It reads each line
// once and keeps a bounded number of forms for each service; what a template means is for others to say.
//
// A line is cut into words and what stands between them. Words that look like values (they hold a digit, say) are masked
// at once, so most lines are known by one look into a map:
//
//	line   conn 17 of alice closed        conn 18 of bob closed
//	form   conn <*> of alice closed       conn <*> of bob closed       two templates so far
//
// A word of letters becomes a wildcard late: only when K forms differ in nothing but that word. Then they become one
// form, conn <*> of <*> closed. Waiting keeps "cache hit" and "cache miss" apart, which a judge wants to count. K is
// smaller where a value was seen in the word's place, and larger for words that are one of few; see generalise.go.
//
// A template's ID is the hash of its service and of the form it had at first, so it is the same after a restart, on every
// node, and when the form becomes more general. Of templates that become one the smallest ID stays and the others become
// its aliases: an alias is always larger than what it stands for, so nodes that save to one place make no circles.
//
// A Miner is safe for concurrent use; each service has its own lock.
package template

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"triage/internal/model"

	"github.com/cespare/xxhash/v2"
)

// Options bound a Miner. Zero values take the defaults.
type Options struct {
	// MaxTemplates is how many templates a service keeps, aliases included (2,000). The least recently used quarter is
	// forgotten at the limit; the same lines get the same IDs again should they return.
	MaxTemplates int
	// MaxServices is how many services have templates (5,000); lines of further ones get none.
	MaxServices int
}

// Miner knows the templates of one tenant.
type Miner struct {
	opts  Options
	mu    sync.RWMutex // guards services (the map)
	by    map[string]*Service
	total atomic.Int64
}

// New makes a Miner that knows no templates.
func New(opts Options) *Miner {
	opts.MaxTemplates = cmp.Or(opts.MaxTemplates, 2000)
	opts.MaxServices = cmp.Or(opts.MaxServices, 5000)
	return &Miner{opts: opts, by: map[string]*Service{}}
}

// Len is the number of templates held in memory, aliases included.
func (m *Miner) Len() int { return int(m.total.Load()) }

// Service returns the templates of one service. It is nil, which gives no line a template, past MaxServices.
func (m *Miner) Service(name string) *Service {
	m.mu.RLock()
	s := m.by[name]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.by[name]; s != nil || len(m.by) >= m.opts.MaxServices {
		return s
	}
	name = strings.Clone(name)
	s = &Service{miner: m, name: name, seen: map[uint64]*form{}, leaves: map[uint64][]*form{},
		changed: map[uint64]model.Template{}, contexts: map[uint64]struct{}{}}
	m.by[name] = s
	return s
}

// Changed returns the templates that are new or changed since the last call, by service and ID. A merged one names the
// template it became in Alias, which never has an alias itself among what Changed returned last.
func (m *Miner) Changed() []model.Template {
	m.mu.RLock()
	services := make([]*Service, 0, len(m.by))
	for _, s := range m.by {
		services = append(services, s)
	}
	m.mu.RUnlock()
	var out []model.Template
	for _, s := range services {
		s.mu.Lock()
		for _, t := range s.changed {
			out = append(out, t)
		}
		clear(s.changed)
		s.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b model.Template) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Unsaved gives back what Changed returned and could not be saved. What changed again since stays.
func (m *Miner) Unsaved(ts []model.Template) {
	for _, t := range ts {
		s := m.Service(t.Service)
		if s == nil {
			continue
		}
		s.mu.Lock()
		if _, newer := s.changed[t.ID]; !newer {
			s.changed[t.ID] = t
		}
		s.mu.Unlock()
	}
}

// Load adds templates as Changed returned them, in any order; of a service with too many the newest.
func (m *Miner) Load(ts []model.Template) {
	ts = slices.Clone(ts)
	slices.SortFunc(ts, func(a, b model.Template) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), b.First.Compare(a.First), cmp.Compare(a.ID, b.ID))
	})
	for len(ts) > 0 {
		n := 1
		for n < len(ts) && ts[n].Service == ts[0].Service {
			n++
		}
		if s := m.Service(ts[0].Service); s != nil {
			s.load(ts[:min(n, m.opts.MaxTemplates)])
		}
		ts = ts[n:]
	}
}

// Service knows the templates of one service.
type Service struct {
	miner *Miner
	name  string

	mu sync.RWMutex // guards what follows
	// seen is a bounded memory of lines as masked; it only saves time.
	seen map[uint64]*form
	// leaves are the live forms by skeleton.
	leaves map[uint64][]*form
	count  int // forms and their aliases
	// contexts are the places in a statement where words are known to vary, see context. learned are those whose forms are
	// still to be looked at again.
	contexts map[uint64]struct{}
	learned  []uint64
	changed  map[uint64]model.Template
}

// maxSeen bounds Service.seen, which is emptied when full.
const maxSeen = 8192

// form is a live template.
type form struct {
	words  []fword
	delims []string // before each word, and after the last
	leaf   uint64
	t      model.Template
	// aliases are the templates that became this one.
	aliases []model.Template
	// into is the form that this one became, itself if it is live, nil if it was forgotten.
	into *form
	used atomic.Int64 // second of the newest line, for forgetting
}

type fword struct {
	id   uint64
	text string
}

// Assign returns the template of a line, 0 for a line without words. at is the time of the line.
func (s *Service) Assign(text string, at int64) uint64 {
	if s == nil {
		return 0
	}
	var sc scan
	sc.read(text, false)
	if sc.n == 0 {
		return 0
	}
	s.mu.RLock()
	f := s.seen[sc.form].live()
	if f != nil {
		id := f.t.ID
		f.touch(at)
		s.mu.RUnlock()
		return id
	}
	s.mu.RUnlock()
	return s.assign(&sc, at)
}

// live follows merges to the form that stands for f now, nil if there is none.
func (f *form) live() *form {
	for f != nil && f.into != f {
		f = f.into
	}
	return f
}

func (f *form) touch(at int64) {
	if sec := at / int64(time.Second); sec > f.used.Load() {
		f.used.Store(sec)
	}
}

// assign is Assign for a masked line that is not in seen.
func (s *Service) assign(sc *scan, at int64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.find(sc)
	if f == nil {
		f = newForm(sc, sc.skeleton)
		f.t.Service = s.name
		f.t.Text = f.String()
		f.t.First = time.Unix(0, at).UTC()
		f.t.ID = identity(s.name, f.t.Text)
		f.used.Store(at / int64(time.Second))
		f = s.add(f)
	}
	if len(s.seen) >= maxSeen {
		clear(s.seen)
	}
	s.seen[sc.form] = f
	f.touch(at)
	return f.t.ID
}

// identity hashes the first form of a template; 0 means "none", so it is not used.
func identity(service, text string) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(service)
	_, _ = d.WriteString("\x00")
	_, _ = d.WriteString(text)
	return max(d.Sum64(), 1)
}

// find returns the most specific form that the line has.
func (s *Service) find(sc *scan) *form {
	var best *form
	fewest := maxTokens + 1
next:
	for _, f := range s.leaves[sc.skeleton] {
		if len(f.words) != sc.n {
			continue
		}
		wilds := 0
		for i := range f.words {
			switch f.words[i].id {
			case sc.tok[i].id:
			case wild:
				wilds++
			default:
				continue next
			}
		}
		if wilds < fewest {
			best, fewest = f, wilds
		}
	}
	return best
}

// newForm copies a scanned line, masked.
func newForm(sc *scan, leaf uint64) *form {
	f := &form{leaf: leaf, words: make([]fword, sc.n), delims: make([]string, sc.n+1)}
	at := 0
	for i, t := range sc.tok[:sc.n] {
		f.delims[i] = squeeze(sc.text[at:t.start])
		f.words[i] = fword{id: t.id}
		if t.id != mask {
			f.words[i].text = strings.Clone(sc.text[t.start:t.end])
		}
		at = t.end
	}
	f.delims[sc.n] = squeeze(sc.text[at:])
	f.into = f
	return f
}

// squeeze writes runs of spaces as one and leaders as two dots, as scan counts them.
func squeeze(delim string) string {
	if delim == "" {
		return ""
	}
	if delim == " " {
		return " " // no part of a line, which may be part of a whole request
	}
	out := make([]byte, 0, len(delim))
	for i := range len(delim) {
		c := delim[i]
		if classes[c] == isSpace {
			if len(out) > 0 && out[len(out)-1] == ' ' {
				continue
			}
			c = ' '
		}
		if c == '.' && strings.HasSuffix(string(out), "..") {
			continue
		}
		out = append(out, c)
	}
	return string(out)
}

// String is the form with its wildcards.
func (f *form) String() string {
	var b strings.Builder
	for i, w := range f.words {
		b.WriteString(f.delims[i])
		if w.id <= wild {
			b.WriteString(wildcard)
		} else {
			b.WriteString(w.text)
		}
	}
	b.WriteString(f.delims[len(f.words)])
	return b.String()
}

// add makes a form live, generalises as far as it goes, and returns the form that then stands for it.
func (s *Service) add(f *form) *form {
	if s.count >= s.miner.opts.MaxTemplates {
		s.forget()
	}
	s.leaves[f.leaf] = append(s.leaves[f.leaf], f)
	s.grow(1)
	s.changed[f.t.ID] = f.t
	f = s.settle(f)
	s.revisit()
	return f.live()
}

func (s *Service) grow(n int) {
	s.count += n
	s.miner.total.Add(int64(n))
}

// merge replaces all forms that words cover, f among them, by one.
func (s *Service) merge(f *form, words []fword) *form {
	g := &form{leaf: f.leaf, words: words, delims: f.delims}
	g.into = g
	var covered []*form
	rest := s.leaves[f.leaf][:0]
	for _, x := range s.leaves[f.leaf] {
		if covers(words, x.words) {
			covered = append(covered, x)
		} else {
			rest = append(rest, x)
		}
	}
	clear(s.leaves[f.leaf][len(rest):])
	s.leaves[f.leaf] = append(rest, g)

	eldest := slices.MinFunc(covered, func(a, b *form) int { return cmp.Compare(a.t.ID, b.t.ID) })
	g.t = eldest.t
	g.t.Text = g.String()
	for _, x := range covered {
		x.into = g
		if x.t.First.Before(g.t.First) {
			g.t.First = x.t.First
		}
		g.used.Store(max(g.used.Load(), x.used.Load()))
		g.aliases = append(g.aliases, x.aliases...)
		if x != eldest {
			g.aliases = append(g.aliases, x.t)
		}
		x.aliases = nil
	}
	for i := range g.aliases {
		if a := &g.aliases[i]; a.Alias != g.t.ID {
			a.Alias = g.t.ID
			s.changed[a.ID] = *a
		}
	}
	s.changed[g.t.ID] = g.t
	return g
}

// covers tells whether every line of form x has the form of words.
func covers(words, x []fword) bool {
	if len(words) != len(x) {
		return false
	}
	for i := range words {
		if words[i].id != wild && words[i].id != x[i].id {
			return false
		}
	}
	return true
}

// forget drops the least recently used quarter.
func (s *Service) forget() {
	var all []*form
	for _, leaf := range s.leaves {
		all = append(all, leaf...)
	}
	slices.SortFunc(all, func(a, b *form) int {
		return cmp.Or(cmp.Compare(a.used.Load(), b.used.Load()), cmp.Compare(a.t.ID, b.t.ID))
	})
	keep := s.miner.opts.MaxTemplates * 3 / 4
	for _, f := range all {
		if s.count <= keep {
			break
		}
		f.into = nil
		s.grow(-1 - len(f.aliases))
		rest := slices.DeleteFunc(s.leaves[f.leaf], func(x *form) bool { return x == f })
		if s.leaves[f.leaf] = rest; len(rest) == 0 {
			delete(s.leaves, f.leaf)
		}
	}
	clear(s.seen)
}

// load adds saved templates of this service. A wildcard in a saved text may have been a number or any word; it is taken
// for any word, and a more specific form still wins.
func (s *Service) load(ts []model.Template) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live, same := map[uint64]*form{}, map[string]*form{}
	for _, leaf := range s.leaves {
		for _, f := range leaf {
			live[f.t.ID], same[f.t.Text] = f, f
		}
	}
	// Two nodes may have come to the same form by different words. The smaller ID comes first, and stays.
	ts = slices.SortedFunc(slices.Values(ts), func(a, b model.Template) int { return cmp.Compare(a.ID, b.ID) })
	var sc scan
	for i, t := range ts {
		if t.Alias != 0 || live[t.ID] != nil {
			continue
		}
		if f := same[t.Text]; f != nil && f.t.ID < t.ID {
			ts[i].Alias = f.t.ID
			s.changed[t.ID] = ts[i]
			continue
		}
		sc.read(t.Text, true)
		if sc.n == 0 {
			continue
		}
		f := newForm(&sc, sc.skeleton)
		for i := range f.words {
			if f.words[i].id == mask {
				f.words[i].id = wild
			}
		}
		f.t = t
		f.used.Store(t.First.Unix())
		live[t.ID], same[t.Text] = f, f
		s.leaves[f.leaf] = append(s.leaves[f.leaf], f)
		s.grow(1)
	}
	target := map[uint64]uint64{}
	for _, t := range ts {
		target[t.ID] = t.Alias
	}
	for _, t := range ts {
		to := t.Alias
		for target[to] != 0 && target[to] < to { // an alias is always larger than what it became
			to = target[to]
		}
		if f := live[to]; t.Alias != 0 && f != nil {
			t.Alias = to
			f.aliases = append(f.aliases, t)
			s.grow(1)
		}
	}
}

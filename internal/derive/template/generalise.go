package template

import (
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// This file decides when forms become one. A log statement is a constant text with parameters, and a line shows which
// words are which only by its looks and by what other lines have in their place:
//
//	value    in some line a number, a path or a qualified name stands there: the place is a parameter
//	learned  the same two words stand before a place that is known to vary: so does this one
//	keyed    key=word: a parameter that may be one of few, and that varies together with other such
//	key      word=value: written by who wrote the statement
//	word     any other: a parameter once K words were seen there

// distinct (K) is how many plain words a position shows before it becomes a wildcard.
const distinct = 4

// distinctFew is K where four are too few to be sure: for forms that would keep a single constant word, and for words that
// say what happens, in capitals (methods, states, levels) or as participles.
const distinctFew = 8

// alike is how many constant words two forms must share for each plain word in which they differ, if those are several:
// a user and a host that vary together are noticed so.
const alike = 3

// crowded is the share of MaxTemplates (one in so many) that forms with the same skeleton may take while they wait for
// each other. Past it the most similar two become one at once: then several positions vary together, and waiting would
// never end.
const crowded = 8

// settle generalises a form as far as it goes.
func (s *Service) settle(f *form) *form {
	for {
		words := s.generalise(f)
		if words == nil {
			return f
		}
		f = s.merge(f, words)
	}
}

// generalise returns the words of the more general form that f should become, nil if it should stay.
func (s *Service) generalise(f *form) []fword {
	leaf := s.leaves[f.leaf]
	var others [maxTokens]wordSet // at each position, the words of forms that are alike otherwise
	var nearest *form
	most := 0
	for _, g := range leaf {
		if g == f || len(g.words) != len(f.words) {
			continue
		}
		d := s.compare(f, g)
		if d.same > most && d.same >= bits.OnesCount64(d.values|d.words|d.keys) {
			nearest, most = g, d.same
		}
		if d.keys != 0 {
			continue
		}
		if d.words == 0 && d.same > 1 {
			return f.without(d.values)
		}
		if n := bits.OnesCount64(d.words &^ d.keyed); n > 1 && d.same < alike*n {
			continue
		}
		for at := d.words; at != 0; at &= at - 1 {
			i := bits.TrailingZeros64(at)
			others[i].add(g.words[i].id)
		}
	}
	constants := 0
	for _, w := range f.words {
		if w.id > wild {
			constants++
		}
	}
	for i := range f.words {
		if others[i].n == 0 || constants == 1 {
			continue
		}
		k := distinct
		if constants == 2 || others[i].loud && f.words[i].id&loud != 0 {
			k = distinctFew
		}
		if others[i].n+1 >= k {
			s.learn(f, i)
			return f.without(1 << i)
		}
	}
	if len(leaf) > s.miner.opts.MaxTemplates/crowded && nearest != nil {
		d := s.compare(f, nearest)
		return f.without(d.values | d.words | d.keys)
	}
	return nil
}

// without is the words of a form with wildcards at some of its positions.
func (f *form) without(positions uint64) []fword {
	general := slices.Clone(f.words)
	for at := positions; at != 0; at &= at - 1 {
		general[bits.TrailingZeros64(at)] = fword{id: wild}
	}
	return general
}

// difference is how two forms of one skeleton differ; positions are bits.
type difference struct {
	same   int    // constant words that they share
	values uint64 // where one has a value at least, or words are known to vary
	words  uint64 // where both have plain words
	keyed  uint64 // those of words that follow a key
	keys   uint64 // where both have keys
}

// compare tells how two forms differ.
func (s *Service) compare(f, g *form) (d difference) {
	for i := range f.words {
		a, b := f.words[i].id, g.words[i].id
		switch bit := uint64(1) << i; {
		case a == b:
			if a > wild {
				d.same++
			}
		case a <= wild || b <= wild:
			d.values |= bit
		case isKey(f.delims[i+1]):
			d.keys |= bit
		case (a|b)&name != 0 || s.learnt(f, i) && s.learnt(g, i):
			d.values |= bit
		default:
			d.words |= bit
			if hasKey(f.delims[i]) {
				d.keyed |= bit
			}
		}
	}
	return d
}

// isKey tells whether what stands before delim is a key, hasKey whether what stands after it is the value of one.
func isKey(delim string) bool  { return strings.HasPrefix(strings.TrimPrefix(delim, " "), "=") }
func hasKey(delim string) bool { return strings.HasSuffix(strings.TrimSuffix(delim, `"`), "=") }

// learn remembers the context of a position that has become a wildcard, within bounds.
func (s *Service) learn(f *form, i int) {
	c := f.context(i)
	if _, known := s.contexts[c]; c != 0 && !known && len(s.contexts) < s.miner.opts.MaxTemplates {
		s.contexts[c] = struct{}{}
		s.learned = append(s.learned, c)
	}
}

func (s *Service) learnt(f *form, i int) bool {
	if len(s.contexts) == 0 {
		return false
	}
	_, ok := s.contexts[f.context(i)]
	return ok
}

// context identifies the two words before a position, with what stands between them and it; 0 if there are none.
func (f *form) context(i int) uint64 {
	if i < 2 || f.words[i-1].id <= wild || f.words[i-2].id <= wild {
		return 0
	}
	h := uint64(fnvOffset)
	for _, j := range [...]int{i - 2, i - 1} {
		h = mix(h, f.words[j].id)
		for k := range len(f.delims[j+1]) {
			h = (h ^ uint64(f.delims[j+1][k])) * fnvPrime
		}
	}
	return h
}

// revisit looks again at the forms with words in contexts that were learned, which have waited for more of their kind.
func (s *Service) revisit() {
	for len(s.learned) > 0 {
		c := s.learned[0]
		s.learned = s.learned[1:]
		for _, leaf := range slices.Sorted(maps.Keys(s.leaves)) { // in order, so that the same lines give the same forms
			for _, g := range slices.Clone(s.leaves[leaf]) {
				if g.into == g && g.waits(c) {
					s.settle(g)
				}
			}
		}
	}
}

// waits tells whether a form has a constant word in a context.
func (f *form) waits(context uint64) bool {
	for i := 2; i < len(f.words); i++ {
		if f.words[i].id > wild && f.context(i) == context {
			return true
		}
	}
	return false
}

// wordSet is a small set of words.
type wordSet struct {
	n    int
	id   [distinctFew]uint64
	loud bool // all are
}

func (w *wordSet) add(id uint64) {
	w.loud = id&loud != 0 && (w.n == 0 || w.loud)
	if w.n < len(w.id) && !slices.Contains(w.id[:w.n], id) {
		w.id[w.n] = id
		w.n++
	}
}

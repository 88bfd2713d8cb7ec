package template

import "strings"

// What a line is read up to. The rest of a longer line counts as one variable part.
const (
	maxBytes  = 2048
	maxTokens = 64
)

// Word identities that no constant word has.
const (
	mask uint64 = 0 // a part which varies by its looks: a number, an address, a date
	wild uint64 = 1 // a position in a form where too many words were seen
)

// wildcard is how both are written.
const wildcard = "<*>"

// token is a word of a line, or several variable words with what stands between them.
type token struct {
	id         uint64
	start, end int
}

// scan is a line cut into tokens. It lives on the caller's stack.
type scan struct {
	text string
	n    int
	// form identifies the line once what varies is masked, skeleton what stands between its tokens.
	form, skeleton uint64
	tok            [maxTokens]token
}

// The classes of bytes, as bits so that a token's classes add up by OR.
const (
	isSpace = 1 << iota
	isDelim
	isHex // a-f, A-F
	isLetter
	isDigit
	isDot
	isSlash
	isSign // other bytes of a word
	inWord = isHex | isLetter | isDigit | isDot | isSlash | isSign
)

var classes = func() (t [256]uint8) {
	for c := range t {
		switch b := byte(c); {
		case b >= '0' && b <= '9':
			t[c] = isDigit
		case b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F':
			t[c] = isHex
		case b >= 'g' && b <= 'z' || b >= 'G' && b <= 'Z' || b >= 0x80:
			t[c] = isLetter
		case b <= ' ' || b == 0x7f:
			t[c] = isSpace
		case strings.IndexByte(`=:,;()[]{}<>"'|#`, b) >= 0:
			t[c] = isDelim
		case b == '.':
			t[c] = isDot
		case b == '/' || b == '\\':
			t[c] = isSlash
		default:
			t[c] = isSign
		}
	}
	return t
}()

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// mix adds a word's hash to a line's.
func mix(h, x uint64) uint64 {
	h = (h ^ x) * 0x9E3779B97F4A7C15
	return h ^ h>>29
}

// read cuts text into tokens. Neighbouring masked tokens become one, so that lists of numbers, dates and addresses are
// one variable part however long; the text of a form (exact) is read without that, since its wildcards may stand side by
// side.
func (s *scan) read(text string, exact bool) {
	text = firstLine(text)
	s.text, s.n, s.form, s.skeleton = text, 0, fnvOffset, fnvOffset
	delim, spaced := uint64(fnvOffset), false
	for i := 0; i < len(text); {
		c := text[i]
		class := classes[c]
		placeholder := c == '<' && strings.HasPrefix(text[i:], wildcard)
		if class&inWord == 0 && !placeholder {
			// A run of spaces counts as one: numbers are often padded.
			if class != isSpace {
				delim, spaced = (delim^uint64(c))*fnvPrime, false
			} else if !spaced {
				delim, spaced = (delim^' ')*fnvPrime, true
			}
			i++
			continue
		}
		start := i
		id := mask
		if placeholder {
			i += len(wildcard)
		} else {
			i, id = word(text, i)
		}
		if s.n == maxTokens-1 {
			i, id = len(text), mask
		}
		if id == mask && !exact {
			i = detail(text, i)
		}
		switch {
		case !exact && s.n > 0 && s.tok[s.n-1].id == mask && (id == mask || unit(text[start:i])):
			last := &s.tok[s.n-1]
			// A bracket that opened among the values also closes there: 10.0.0.7 (db7.internal.example).
			if i < len(text) && closes(text[last.start:i], text[i]) {
				i++
			}
			last.end = i
		default:
			s.tok[s.n] = token{id: id, start: start, end: i}
			s.n++
			s.form = mix(mix(s.form, delim), id)
			s.skeleton = mix(s.skeleton, delim)
		}
		delim, spaced = fnvOffset, false
	}
	s.form = mix(s.form, delim)
	s.skeleton = mix(mix(s.skeleton, delim), uint64(s.n))
}

// firstLine is what of a text is read: stack traces vary in what follows.
func firstLine(text string) string {
	start := 0
	for start < len(text) && classes[text[start]] == isSpace {
		start++
	}
	text = text[start:min(len(text), start+maxBytes)]
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	end := len(text)
	for end > 0 && classes[text[end-1]] == isSpace {
		end--
	}
	return text[:end]
}

// word reads the word at i and returns its end and identity.
func word(text string, i int) (int, uint64) {
	start, seen, hash := i, uint8(0), uint64(fnvOffset)
	for i < len(text) {
		c := text[i]
		class := classes[c]
		if class&inWord == 0 {
			if !joins(text, i, start, seen) {
				break
			}
			class = isSign
		}
		seen |= class
		hash = (hash ^ uint64(c)) * fnvPrime
		i++
	}
	if varies(text[start:i], seen) {
		return i, mask
	}
	if seen&isDot != 0 {
		switch dots := host(text[start:i]); {
		case dots >= 1 && i+1 < len(text) && text[i] == ':' && classes[text[i+1]] == isDigit:
			// db.internal:5432 and pool.go:12 are addresses.
			for i++; i < len(text) && classes[text[i]] == isDigit; i++ {
			}
			return i, mask
		case dots >= 2:
			return i, mask
		}
	}
	if hash <= wild {
		hash += 2
	}
	return i, hash
}

// joins tells whether a delimiter at i belongs to the word before it: within URLs and paths.
func joins(text string, i, start int, seen uint8) bool {
	if i+1 >= len(text) || classes[text[i+1]]&inWord == 0 {
		return false
	}
	switch text[i] {
	case ':':
		return i > start && (seen&isSlash != 0 || strings.HasPrefix(text[i+1:], "//"))
	case '=', '#':
		return seen&isSlash != 0
	}
	return false
}

// varies tells whether a word looks like a value.
func varies(w string, seen uint8) bool {
	if seen&isDigit != 0 {
		return true
	}
	switch {
	case seen == isHex:
		return len(w) >= 8 // ffffffff
	case len(w) == 3 && seen&^(isHex|isLetter) == 0:
		return dateWord(w)
	}
	return false
}

// dateWord knows the short names of days and months, of which too few occur in a day for their position to be noticed.
func dateWord(w string) bool {
	switch w {
	case "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun",
		"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec":
		return true
	}
	return false
}

// host counts the dots of a word that could be a host's name, which is in lower case; 0 if it could not.
func host(w string) (dots int) {
	last := byte('.')
	for i := range len(w) {
		c := w[i]
		switch {
		case c == '.':
			if last == '.' {
				return 0
			}
			dots++
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-':
		default:
			return 0
		}
		last = c
	}
	if last == '.' {
		dots-- // the full stop of a sentence
	}
	return dots
}

// unit tells whether a word is a unit that a program chooses by the size of the number before it.
func unit(w string) bool {
	switch w {
	case "B", "kB", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", "ns", "us", "µs", "ms", "s":
		return true
	}
	return false
}

// closes tells whether c is the bracket that ends what delim opened.
func closes(delim string, c byte) bool {
	for i := len(delim) - 1; i >= 0; i-- {
		switch delim[i] {
		case '(':
			return c == ')'
		case '[':
			return c == ']'
		case '{':
			return c == '}'
		case ')', ']', '}':
			return false
		}
	}
	return false
}

// detail extends a value that ends at i over empty brackets after it, where other lines have a detail.
func detail(text string, i int) int {
	j := i
	for j < len(text) && text[j] == ' ' {
		j++
	}
	if j+1 < len(text) && closes(text[j:j+1], text[j+1]) {
		return j + 2
	}
	return i
}

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

// name is the bit of a constant word's identity that says it looks like a parameter's value and not like a word of the
// statement: a path, an address, a qualified name. It is kept as long as it is the only one at its place.
const name uint64 = 2

// loud is the bit of a word that says what happens and is one of few: in capitals (a method, a state, a level), or a
// participle.
const loud uint64 = 1

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
	text, cut := firstLine(text)
	s.text, s.n, s.form, s.skeleton = text, 0, fnvOffset, fnvOffset
	delim, spaced := uint64(fnvOffset), false
	for i := 0; i < len(text); {
		c := text[i]
		class := classes[c]
		placeholder := c == '<' && strings.HasPrefix(text[i:], wildcard)
		if c == '.' {
			if end := leader(text, i); end > i {
				delim, spaced = (delim^'.')*fnvPrime, false
				i = end
				continue
			}
		}
		limit := class == isDelim && isLimit(text, i)
		if class&inWord == 0 && !placeholder && !limit {
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
		switch {
		case placeholder:
			i += len(wildcard)
		case limit:
			i, _ = word(text, i+1)
		default:
			i, id = word(text, i)
			i, id = value(text, start, i, id)
		}
		if cut && i == len(text) {
			id = mask // half a word
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

// firstLine is what of a text is read: stack traces vary in what follows. cut tells that the line goes on.
func firstLine(text string) (line string, cut bool) {
	start := 0
	for start < len(text) && classes[text[start]] == isSpace {
		start++
	}
	text, cut = text[start:min(len(text), start+maxBytes)], len(text) > start+maxBytes
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text, cut = text[:i], false
	}
	end := len(text)
	for end > 0 && classes[text[end-1]] == isSpace {
		end--
	}
	return text[:end], cut
}

// leader is the end of the dots that begin at i and lead from a name to its value, as in a table: size......17. It is i
// if there are none.
func leader(text string, i int) int {
	end := i
	for end < len(text) && text[end] == '.' {
		end++
	}
	if end-i < 2 || i == 0 || classes[text[i-1]] == isSpace || end == len(text) || classes[text[end]]&(isSpace|isSlash) != 0 {
		return i
	}
	return end
}

// groups is the end of an address of the link or of IPv6 at i, groups of hexadecimal digits between colons; i if there is
// none.
func groups(text string, i int) int {
	n, digits, size, j := 0, false, 0, i
	for ; j < len(text); j++ {
		c := classes[text[j]]
		if c&(isHex|isDigit) != 0 {
			if size++; size > 4 {
				return i
			}
			digits = digits || c == isDigit
			continue
		}
		if text[j] != ':' {
			if c&inWord != 0 && c != isDot {
				return i
			}
			break
		}
		if size == 0 && j > i && j > 1 && text[j-1] == ':' && text[j-2] == ':' {
			return i
		}
		n, size = n+1, 0
	}
	if n < 3 || !digits {
		return i
	}
	for text[j-1] == ':' {
		j--
	}
	return j
}

// isLimit tells whether a sign at i says that the number after it is a bound: <1 sec.
func isLimit(text string, i int) bool {
	if text[i] != '<' && text[i] != '>' || i+1 >= len(text) || classes[text[i+1]] != isDigit || i > 0 && classes[text[i-1]] != isSpace {
		return false
	}
	end, _ := word(text, i+1)
	return end == len(text) || text[end] != '>'
}

// value extends a word at start..end that begins the value of a key: key="two words", key=Type{a b}. What a logger calls
// the message is no value but the statement.
func value(text string, start, end int, id uint64) (int, uint64) {
	to, looks := end, uint64(0)
	switch {
	case start > 1 && text[start-1] == '"' && text[start-2] == '=':
		if n := strings.IndexByte(text[end:], '"'); n > 0 && !messageKey(text[:start-2]) {
			to += n
		}
	case start > 0 && text[start-1] == '=' && end < len(text) && strings.IndexByte("{([", text[end]) >= 0:
		to, looks = balanced(text, end), name
	}
	if to == end || id == mask {
		return to, id
	}
	hash := uint64(fnvOffset)
	for _, c := range []byte(text[start:to]) {
		if classes[c] == isDigit {
			return to, mask
		}
		hash = (hash ^ uint64(c)) * fnvPrime
	}
	return to, hash&^3 | 4 | looks
}

// balanced is the end of the bracket that opens at i, i if it stays open.
func balanced(text string, i int) int {
	depth := 0
	for j := i; j < len(text); j++ {
		switch text[j] {
		case '{', '(', '[':
			depth++
		case '}', ')', ']':
			if depth--; depth == 0 {
				return j + 1
			}
		}
	}
	return i
}

// messageKey tells whether a text ends in a key under which a structured line keeps what a person wrote.
func messageKey(text string) bool {
	for _, key := range []string{"msg", "message", "event", "error", "err", "reason"} {
		if n := len(text) - len(key); n >= 0 && text[n:] == key && (n == 0 || classes[text[n-1]]&inWord == 0) {
			return true
		}
	}
	return false
}

// word reads the word at i and returns its end and identity.
func word(text string, i int) (int, uint64) {
	if classes[text[i]]&(isHex|isDigit) != 0 {
		if end := groups(text, i); end > i {
			return end, mask
		}
	}
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
		if c == '.' && leader(text, i) > i {
			break
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
		case dots >= 2 && (i == len(text) || text[i] != '='): // a.b.c=d is a property
			return i, mask
		}
	}
	hash = hash&^3 | 4
	switch w := text[start:i]; {
	case isName(w, seen) && !(i < len(text) && text[i] == '='):
		hash |= name
	case isLoud(w) || isParticiple(w):
		hash |= loud
	}
	return i, hash
}

// isLoud tells whether a word is in capitals.
func isLoud(w string) bool {
	for i := range len(w) {
		if c := w[i]; c < 'A' || c > 'Z' && c != '_' {
			return false
		}
	}
	return len(w) > 1
}

// isParticiple tells whether a word looks like one: started, Stopping.
func isParticiple(w string) bool {
	return len(w) > 4 && (strings.HasSuffix(w, "ed") || strings.HasSuffix(w, "ing"))
}

// isName tells whether a word without digits is a path, an address or a qualified name. Names of exceptions and of
// constants (a.b.SCREEN_ON) say what happened.
func isName(w string, seen uint8) bool {
	if seen&(isDot|isSlash|isSign) == 0 || strings.HasSuffix(w, "Exception") || strings.HasSuffix(w, "Error") {
		return false
	}
	if seen&isSlash != 0 {
		return len(w) > 1
	}
	if strings.IndexByte(w, '@') >= 0 {
		return true
	}
	w = strings.Trim(w, ".")
	return strings.Count(w, ".") >= 2 && !isLoud(w[strings.LastIndexByte(w, '.')+1:])
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
	case "B", "kB", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", "byte", "bytes",
		"ns", "us", "µs", "ms", "s", "sec", "secs", "second", "seconds", "min", "mins", "minute", "minutes", "hour", "hours":
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

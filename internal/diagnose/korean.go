package diagnose

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// particle chooses of a pair ("을/를", "이/가", "은/는", "과/와", "으로/로") the one that fits the last sound of a word:
// the first after a final consonant, the second after a vowel. "으로/로" also takes the second after ㄹ.
func particle(w, pair string) string {
	closed, open, _ := strings.Cut(pair, "/")
	final := finalSound(w)
	if final == 0 || final == rieul && strings.HasPrefix(closed, "으") {
		return open
	}
	return closed
}

// rieul is ㄹ's number among the final consonants of a Hangul syllable; 0 is none.
const rieul = 8

// finalSound is the number of the final consonant with which a word ends when it is read aloud in Korean: Hangul by its
// code point, digits by their names (영 일 이 삼 ...), Latin letters by how an English word with that ending is
// usually written in Hangul. Only whether there is one, and whether it is ㄹ, is ever asked.
func finalSound(w string) int {
	w = strings.TrimRightFunc(w, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	r, size := utf8.DecodeLastRuneInString(w)
	const other = 1
	switch {
	case size == 0:
		return 0
	case r >= '가' && r <= '힣':
		return int(r-'가') % 28
	case r >= '0' && r <= '9':
		return [...]int{other, rieul, 0, other, 0, 0, other, rieul, rieul, 0}[r-'0']
	}
	before, _ := utf8.DecodeLastRuneInString(w[:len(w)-size])
	r, before = unicode.ToLower(r), unicode.ToLower(before)
	switch r {
	case 'l':
		return rieul // 컨트롤
	case 'm', 'n':
		return other // 시스템, 토큰
	case 'e':
		// A silent e leaves the sound before it: service is 서비스, but role 롤, name 네임, pipeline 파이프라인.
		switch before {
		case 'l':
			return rieul
		case 'm', 'n':
			return other
		}
		return 0
	case 'b', 'p', 't', 'k', 'c':
		// After a short vowel these close the syllable (트래픽, 봇); after a consonant they get a vowel (포인트).
		if strings.ContainsRune("aeiou", before) {
			return other
		}
		if r == 'k' && before == 'c' {
			return other // 스톡
		}
		return 0
	case 'g':
		if before == 'n' || strings.ContainsRune("aeiou", before) {
			return other // 빌링, 로그 is the exception nobody misses
		}
		return 0
	}
	return 0
}

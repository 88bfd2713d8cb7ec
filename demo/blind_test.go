package demo

import (
	"bytes"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// words finds the words of a text; a name is compared word by word from the place of its first.
var words = regexp.MustCompile(`[A-Za-z0-9_]+`)

// idioms are English phrases that happen to contain a service's name. They are passed over.
var idioms = strings.NewReplacer("out of order", "", "in order", "", "the order of", "", "in the order", "", "order by", "")

// finder finds names as whole words.
type finder map[string][]string // by their first word

func newFinder(names []string) finder {
	f := finder{}
	for _, n := range names {
		first := words.FindString(n)
		f[first] = append(f[first], n)
	}
	return f
}

// find is the first name that occurs in text with no letter, digit or underscore before or after it.
func (f finder) find(text string) (string, bool) {
	text = idioms.Replace(text)
	for _, at := range words.FindAllStringIndex(text, -1) {
		for _, name := range f[text[at[0]:at[1]]] {
			// A name may begin with a sign that is no part of a word.
			start := at[0] - strings.Index(name, words.FindString(name))
			if start < 0 || !strings.HasPrefix(text[start:], name) {
				continue
			}
			rest := words.FindStringIndex(text[start+len(name):])
			ends := words.FindAllString(name, -1)
			if strings.HasSuffix(name, ends[len(ends)-1]) && rest != nil && rest[0] == 0 {
				continue
			}
			return name, true
		}
	}
	return "", false
}

func TestFinder(t *testing.T) {
	f := newFinder([]string{"kiosk", "open kiosk", "GET /kiosks/{id}", "k-1"})
	for text, want := range map[string]string{
		"the kiosk":             "kiosk",
		"kiosks":                "",
		"Kiosk":                 "",
		"an open kiosk-door":    "open kiosk",
		"GET /kiosks/{id}x":     "GET /kiosks/{id}",
		"user k-1":              "k-1",
		"user k-12":             "",
		`{"service":"kiosk"}`:   "kiosk",
		"my_kiosk":              "",
		"GET /kiosks/{identity": "",
	} {
		if got, _ := f.find(text); got != want {
			t.Errorf("find(%q) = %q, want %q", text, got, want)
		}
	}
}

// own is a word that triage needs for what it does itself. As the name of one of the shop's services it tells a judge nothing.
const own = "notification"

// TestJudgeIsBlind holds that no name of the shop occurs in a string of the judge's code, or anywhere in its other
// files: a judge that knew the shop would prove nothing.
func TestJudgeIsBlind(t *testing.T) {
	f := newFinder(slices.DeleteFunc(Names(), func(n string) bool { return n == own }))
	root := filepath.Join("..", "internal")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if filepath.Ext(path) == ".parquet" {
			return nil // rows that a store was given once
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if filepath.Ext(path) == ".go" {
			searchGo(t, f, path, text)
			return nil
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if name, found := f.find(string(line)); found {
				t.Errorf("%s:%d names %q, which belongs to the shop", path, i+1, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// searchGo looks into a Go file's strings; comments and identifiers may say what they like.
func searchGo(t *testing.T, f finder, path string, text []byte) {
	t.Helper()
	fset := token.NewFileSet()
	var s scanner.Scanner
	s.Init(fset.AddFile(path, fset.Base(), len(text)), text, nil, 0)
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return
		}
		if tok != token.STRING {
			continue
		}
		value, err := strconv.Unquote(lit)
		if err != nil {
			t.Errorf("%s: string %s: %v", fset.Position(pos), lit, err)
			continue
		}
		if name, found := f.find(value); found {
			t.Errorf("%s: %s names %q, which belongs to the shop", fset.Position(pos), lit, name)
		}
	}
}

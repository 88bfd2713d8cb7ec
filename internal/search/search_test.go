package search_test

import (
	"errors"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	. "triage/internal/search"
)

func word(s string) Expr         { return Match{Op: Word, Value: s} }
func equal(field, s string) Expr { return Match{field, Equal, s} }

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want Expr
	}{
		{"", All{}},
		{"  ", All{}},
		{"*", All{}},
		{"*:*", All{}},
		{"timeout", word("timeout")},
		{`"pool exhausted"`, word("pool exhausted")},
		{"시간 초과", And{word("시간"), word("초과")}},
		{"service:cart", equal("service", "cart")},
		{`service:cart status:error duration:>2s "pool exhausted"`, And{equal("service", "cart"), equal("status", "error"),
			Match{"duration", Greater, "2s"}, word("pool exhausted")}},
		{"http.response.status_code:>=500", Match{"http.response.status_code", GreaterEqual, "500"}},
		{"a:<=1 b:<-2", And{Match{"a", LessEqual, "1"}, Match{"b", Less, "-2"}}},
		{`time:>="2026-03-01 12:00:00"`, Match{"time", GreaterEqual, "2026-03-01 12:00:00"}},
		{"time:>2026-03-01T12:00:00Z", Match{"time", Greater, "2026-03-01T12:00:00Z"}},
		{`field:"a phrase"`, equal("field", "a phrase")},
		{`field:""`, equal("field", "")},
		{"n:-5", equal("n", "-5")},

		// Names of fields.
		{"level:warn", equal("severity", "warn")},
		{"name:x", equal("operation", "x")},
		{"service.name:x trace_id:y", And{equal("service", "x"), equal("trace", "y")}},
		{`"name":x`, equal("name", "x")},
		{`my\ field:x`, equal("my field", "x")},
		{`"my field":(a OR "b c")`, Or{equal("my field", "a"), equal("my field", "b c")}},
		{"url:http://a.test/b", equal("url", "http://a.test/b")},

		// Running text is searched for words, unless one says otherwise.
		{"body:exhausted", Match{"body", Word, "exhausted"}},
		{`body:="the whole line"`, equal("body", "the whole line")},
		{`error.message:~"pool exhausted"`, Match{"error.message", Word, "pool exhausted"}},
		{"field:=a*", equal("field", "a*")},

		// Operators.
		{"a OR b c", Or{word("a"), And{word("b"), word("c")}}},
		{"a AND b OR c", Or{And{word("a"), word("b")}, word("c")}},
		{"a && b || c", Or{And{word("a"), word("b")}, word("c")}},
		{"(a OR b) c", And{Or{word("a"), word("b")}, word("c")}},
		{"NOT a b", And{Not{word("a")}, word("b")}},
		{"a NOT b", And{word("a"), Not{word("b")}}},
		{"!a -b +c", And{Not{word("a")}, Not{word("b")}, word("c")}},
		{"-(a OR b)", Not{Or{word("a"), word("b")}}},
		{"NOT NOT a", Not{Not{word("a")}}},
		{"a and b or not c", And{word("a"), word("and"), word("b"), word("or"), word("not"), word("c")}},
		{`"AND" \OR ANDROID`, And{word("AND"), word("OR"), word("ANDROID")}},
		{"service:(cart OR (catalog AND NOT ledger))", Or{equal("service", "cart"),
			And{equal("service", "catalog"), Not{equal("service", "ledger")}}}},
		{"code:(>=400 AND <500)", And{Match{"code", GreaterEqual, "400"}, Match{"code", Less, "500"}}},

		// Ranges.
		{"n:[1 TO 5]", And{Match{"n", GreaterEqual, "1"}, Match{"n", LessEqual, "5"}}},
		{"n:{1 TO 5}", And{Match{"n", Greater, "1"}, Match{"n", Less, "5"}}},
		{"n:[1 TO 5}", And{Match{"n", GreaterEqual, "1"}, Match{"n", Less, "5"}}},
		{"n:[ 1s TO * ]", Match{"n", GreaterEqual, "1s"}},
		{"n:{* TO 5}", Match{"n", Less, "5"}},
		{"n:[* TO *]", Match{Field: "n", Op: Exists}},
		{`time:["2026-03-01 12:00:00" TO 2026-03-01T13:00:00Z]`, And{Match{"time", GreaterEqual, "2026-03-01 12:00:00"},
			Match{"time", LessEqual, "2026-03-01T13:00:00Z"}}},

		// Wildcards, regular expressions, existence.
		{"foo*", Match{"", Prefix, "foo"}},
		{"f?o", Match{"", Glob, "f?o"}},
		{"*foo", Match{"", Glob, "*foo"}},
		{"foo**", Match{"", Prefix, "foo"}},
		{`a\*b*`, Match{"", Prefix, "a*b"}},
		{`a\*b`, word("a*b")},
		{`?\*`, Match{"", Glob, `?\*`}},
		{`a\\?`, Match{"", Glob, `a\\?`}},
		{"host.name:web-*", Match{"host.name", Prefix, "web-"}},
		{"/time[d]? out/", Match{"", Regexp, "time[d]? out"}},
		{`url.path:/^\/cart\/\d+$/`, Match{"url.path", Regexp, `^/cart/\d+$`}},
		{"user.id:*", Match{Field: "user.id", Op: Exists}},
		{"_exists_:user.id", Match{Field: "user.id", Op: Exists}},
		{"NOT _exists_:level", Not{Match{Field: "severity", Op: Exists}}},
		{`_exists_:"a b"`, Match{Field: "a b", Op: Exists}},

		// Relations.
		{"child(service:cart, status:error AND a\\,b)", Related{Child, equal("service", "cart"), And{equal("status", "error"), word("a,b")}}},
		{"parent(a b OR c,*)", Related{Parent, Or{And{word("a"), word("b")}, word("c")}, All{}}},
		{`NOT descendant(a, ancestor(n:[1 TO 5], /x,y/)) d,e`, And{Not{Related{Descendant, word("a"), Related{Ancestor,
			And{Match{"n", GreaterEqual, "1"}, Match{"n", LessEqual, "5"}}, Match{"", Regexp, "x,y"}}}}, word("d,e")}},
		{`sibling(k:(a OR "b,c"), k:*)`, Related{Sibling, Or{equal("k", "a"), equal("k", "b,c")}, Match{Field: "k", Op: Exists}}},
		{`child (a) \parent(b) children(d)`, And{word("child"), word("a"), word("parent"), word("b"), word("children"), word("d")}},
		{"child:(a) x:child(b)", And{equal("child", "a"), equal("x", "child"), word("b")}},

		// Signs that mean nothing where they stand.
		{"a-b c+d e!f g&h", And{word("a-b"), word("c+d"), word("e!f"), word("g&h")}},
		{"[error] <nil> ~/x", And{word("[error]"), word("<nil>"), word("~/x")}},
		{`"C:\temp \"x\" \\"`, word(`C:\temp "x" \`)},
		{"call(ctx)", And{word("call"), word("ctx")}},
	} {
		got, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.text, diff)
		}
		again, err := Parse(got.String())
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s prints as %s, which reads as %#v, %v", c.text, got, again, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a OR", "column 3: OR needs a term behind it"},
		{"a AND )", "column 3: AND needs a term behind it"},
		{"AND a", "column 1: AND needs a term on both sides"},
		{"a OR OR b", "column 6: OR needs a term on both sides"},
		{"(a", "column 1: this ( is never closed"},
		{"a b)", "column 4: this ) closes nothing"},
		{"()", "column 2: a term is missing here"},
		{"NOT", "column 1: NOT needs a term behind it"},
		{"a - b", `column 3: - excludes the term right behind it: write -term, or "-" to look for one`},
		{"시간 초과 (", "column 8: a term is missing here"},
		{`say "hello`, "column 5: this quote is never closed"},
		{`""`, "column 1: an empty phrase matches nothing"},
		{`"a"b`, `column 4: put a space between "a" and what follows`},
		{`a"b"`, "column 2: put a space between a and what follows"},
		{`"a b"~3`, "column 6: ~ behind a phrase (nearness, weight) is not known here"},
		{"likes~2", "column 1: ~ behind a word (likeness) is not known here"},
		{"error: timeout", "column 7: nothing stands behind the colon: write error:value, or put the text in quotes"},
		{":x", "column 1: a field needs a name before the colon"},
		{"http.*:x", "column 1: the name of a field takes no wildcards"},
		{"a:>", "column 4: > wants a value right behind it"},
		{"a:> 5", "column 4: > wants a value right behind it"},
		{"n:[1 5]", "column 3: a range is written [1 TO 5]"},
		{"n:[1 TO 5", "column 3: a range is written [1 TO 5]"},
		{"n:[5s TO 100ms]", "column 3: nothing lies between 5s and 100ms"},
		{"url.path:/cart/items", "column 10: what begins with / is a regular expression"},
		{"/cart", "column 1: this / is never closed: what begins with / is a regular expression"},
		{"/a(/", "column 1: error parsing regexp: missing closing )"},
		{`a\`, `column 2: a \ must stand before the character it escapes`},
		{`service:(a "b":c)`, "column 12: a field stands within the parentheses of another"},
		{"_exists_:a*", "column 1: _exists_: wants the name of one field"},
		{"child(a)", "column 1: child takes two searches, of which it returns the second: write child(service:a, service:b)"},
		{"x child(a, b, c)", "column 13: child takes two searches: remove this comma"},
		{"child(a,b,c)", "column 10: child takes two searches: remove this comma"},
		{"child(a, b", "column 6: this ( is never closed: write ) behind the second search of child"},
		{"child(a", "column 6: this ( is never closed"},
		{"child(, b)", "column 7: a term is missing here"},
		{"child(a, )", "column 10: a term is missing here"},
		{"child((a, b), c)", "column 9: this comma stands within parentheses of their own"},
		{"child(k:(a, b), c)", "column 11: this comma stands within parentheses of their own"},
		{strings.Repeat("child(", 100) + "a", "more than 64 parentheses"},
		{strings.Repeat("(", 100) + "a", "more than 64 parentheses"},
		{strings.Repeat("a ", MaxLength), "the search is longer than 16384 bytes"},
	} {
		e, err := Parse(c.text)
		var at *Error
		if !errors.As(err, &at) {
			t.Errorf("%.20s: got %v and error %v, want an *Error", c.text, e, err)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20s: error\n got %s\nwant %s", c.text, err, c.want)
		}
	}
}

// TestRoundTrip prints expressions of every form and reads them back.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawExpr(t, 3)
		got, err := Parse(want.String())
		if err != nil {
			t.Fatalf("%#v prints as %s: %v", want, want, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", want, diff)
		}
	})
}

func drawExpr(t *rapid.T, depth int) Expr {
	if depth > 0 {
		parts := func() (out []Expr) {
			for range rapid.IntRange(2, 3).Draw(t, "parts") {
				out = append(out, drawExpr(t, depth-1))
			}
			return out
		}
		switch rapid.IntRange(0, 6).Draw(t, "form") {
		case 4:
			return Related{Relation(rapid.IntRange(int(Child), int(Sibling)).Draw(t, "relation")), drawExpr(t, depth-1), drawExpr(t, depth-1)}
		case 0:
			return And(parts())
		case 1:
			return Or(parts())
		case 2:
			return Not{drawExpr(t, depth-1)}
		case 3:
			return All{}
		}
	}
	text := rapid.OneOf(rapid.StringN(1, -1, -1), rapid.StringMatching(`[a:*?"\\/ ~+\-!()\[\]{}=<>&|.,]{1,6}`),
		rapid.SampledFrom([]string{"AND", "OR", "NOT", "TO", "name", "_exists_", "body", "child", "a\xffb", "\xff"}))
	field := text.Draw(t, "field")
	value := text.Draw(t, "value")
	switch rapid.IntRange(0, 5).Draw(t, "op") {
	case 0:
		return Match{field, Op(rapid.IntRange(int(Greater), int(LessEqual)).Draw(t, "op")), value}
	case 1:
		return Match{Field: field, Op: Exists}
	case 2:
		return Match{drawOptional(t, field), Prefix, value}
	case 3:
		return Match{drawOptional(t, field), Glob, "?" + value0(value) + "?"}
	case 4:
		return Match{field, Equal, value}
	}
	return Match{drawOptional(t, field), Word, value}
}

func drawOptional(t *rapid.T, s string) string {
	if rapid.Bool().Draw(t, "no field") {
		return ""
	}
	return s
}

// value0 is a text as part of a glob.
func value0(s string) string { return strings.NewReplacer("*", `\*`, "?", `\?`, `\`, `\\`).Replace(s) }

func FuzzParse(f *testing.F) {
	for _, s := range []string{`service:cart -status:ok "pool \"x\"" (a OR b*) n:[1 TO 5} /x\/y/ _exists_:k`, "a:~b c:=d e:>2s", `"f g":(h i?j)`,
		`child(service:a, NOT parent(b OR c\,d,e*)) (f,g)`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			var at *Error
			if !errors.As(err, &at) || at.Pos < 1 || at.Pos > len(text)+1 {
				t.Fatalf("error %#v", err)
			}
			return
		}
		printed := e.String()
		if len(printed) > MaxLength || deep(e) > MaxDepth/2 {
			return
		}
		again, err := Parse(printed)
		if err != nil {
			t.Fatalf("%q prints as %q: %v", text, printed, err)
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("%q prints as %q, which reads as %#v instead of %#v", text, printed, again, e)
		}
	})
}

func deep(e Expr) int {
	n := 0
	var parts []Expr
	switch e := e.(type) {
	case And:
		parts = e
	case Or:
		parts = e
	case Not:
		parts = []Expr{e.Expr}
	case Related:
		parts = []Expr{e.Of, e.Want}
	}
	for _, p := range parts {
		n = max(n, deep(p))
	}
	return n + 1
}

func TestNumber(t *testing.T) {
	for s, want := range map[string]float64{
		"0": 0, "5": 5, "-5": -5, "+1.5": 1.5, "1e3": 1000, ".5": 0.5, "2s": 2, "150ms": 0.15, "1m30s": 90, "-1.5h": -5400,
		"3µs": 3e-6, "7ns": 7e-9, "1d": 86400, "10kB": 10000, "1KiB": 1024, "2.5GiB": 2.5 * (1 << 30), "9B": 9,
	} {
		if got, ok := Number(s); !ok || math.Abs(got-want) > 1e-12*math.Abs(want) {
			t.Errorf("Number(%q) = %v, %v; want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "-", "s", "2x", "1kB5B", "NaN", "inf", "0x10", "1_000", "2 s", "--1", "e5", "1e999"} {
		if got, ok := Number(s); ok {
			t.Errorf("Number(%q) = %v, want none", s, got)
		}
	}
	for s, want := range map[string]int64{"2s": 2e9, "2": 2e9, "150ms": 150e6, "1ns": 1, "1e30": math.MaxInt64, "-1e30": math.MinInt64} {
		if got, ok := Nanoseconds(s); !ok || got != want {
			t.Errorf("Nanoseconds(%q) = %v, %v; want %v", s, got, ok, want)
		}
	}
}

func TestTime(t *testing.T) {
	want := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, s := range []string{"2026-03-01T12:00:00Z", "2026-03-01T21:00:00+09:00", "2026-03-01 12:00:00", "2026-03-01T12:00", "1772366400"} {
		if got, ok := Time(s); !ok || !got.Equal(want) {
			t.Errorf("Time(%q) = %v, %v; want %v", s, got, ok, want)
		}
	}
	if _, ok := Time("yesterday"); ok {
		t.Error("yesterday is a time")
	}
}

func TestSeverity(t *testing.T) {
	for s, want := range map[string][2]uint8{"error": {17, 20}, "WARN": {13, 16}, "warning": {13, 16}, "9": {9, 9}, "0": {0, 0}} {
		if low, high, ok := Severity(s); !ok || low != want[0] || high != want[1] {
			t.Errorf("Severity(%q) = %d, %d, %v; want %v", s, low, high, ok, want)
		}
	}
	for _, s := range []string{"", "loud", "25", "-1"} {
		if _, _, ok := Severity(s); ok {
			t.Errorf("%q is a severity", s)
		}
	}
}

func TestGlobRegexp(t *testing.T) {
	for _, c := range []struct {
		glob, text string
		want       bool
	}{
		{"f?o*", "foobar", true}, {"f?o*", "fooo", true}, {"f?o", "fo", false}, {`a\*b`, "a*b", true}, {`a\*b`, "axb", false},
		{`a\\?`, `a\x`, true}, {"a.b", "axb", false}, {"[1]*", "[1]2", true}, {"시?초과", "시 초과", true},
	} {
		re := regexp.MustCompile("(?s)^" + GlobRegexp(c.glob) + "$")
		if got := re.MatchString(c.text); got != c.want {
			t.Errorf("%s as %s matches %s: %v", c.glob, re, c.text, got)
		}
	}
}

// TestTextRegexp looks for wildcards in running text.
func TestTextRegexp(t *testing.T) {
	for _, c := range []struct {
		text, in string
		want     bool
	}{
		{"timeou*", "a Timeout occurred", true}, {"timeou*", "notimeout", false}, {"timeou*", "time ou", false}, {"timeou*", "timeou", true},
		{"*out", "a timeout occurred", true}, {"*out", "timeouts", false}, {"t*t", "a timeout, then", true}, {"t*t", "time out", false},
		{"t*t", "timeouts", false}, {"t?me", "no time left", true}, {"t?me", "t me", false}, {"t?me", "times", false},
		{"tim?", "time", true}, {"tim?", "times", false}, {"?ime", "(time)", true}, {"?ime", "a ime", false},
		{"pool_*", "pool_size=4", true}, {"10.0.*", "from 10.0.3.4:80", true}, {"10.0.*", "110.0.3.4", false}, {"size*", "pool_size=4", true},
		{"결제*", "어제결제가 실패", true}, {"실?했", "결제가 실패했습니다", true}, {`a\**`, "is a*b", true}, {`a\**`, "ab", false},
		{"é*", "un ÉTÉ", true}, {"a*", "\u00a0a", true}, {"a*z", "a\u00a0z", false}, {"a*z", "a\nz", false},
	} {
		e, err := Parse(c.text)
		m, ok := e.(Match)
		if err != nil || !ok {
			t.Fatalf("%s: %#v, %v", c.text, e, err)
		}
		if got := regexp.MustCompile(TextRegexp(m)).MatchString(c.in); got != c.want {
			t.Errorf("%s as %s finds %q: %v", c.text, TextRegexp(m), c.in, got)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(`service:cart status:error duration:>2s "pool exhausted" NOT user.id:(a OR b*)`); err != nil {
			b.Fatal(err)
		}
	}
}

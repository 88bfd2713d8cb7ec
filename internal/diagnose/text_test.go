package diagnose

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"triage/internal/explain"
	"triage/internal/model"
)

func TestParticles(t *testing.T) {
	for _, c := range []struct{ word, pair, want string }{
		{"서버", "이/가", "가"}, {"풀", "이/가", "이"}, {"풀", "으로/로", "로"}, {"원인", "으로/로", "으로"}, {"서버", "으로/로", "로"},
		{"user:4711", "이/가", "이"}, {"user:4712", "이/가", "가"}, {"u-3", "을/를", "을"}, {"u-8", "으로/로", "로"}, {"0", "을/를", "을"},
		{"cart", "이/가", "가"}, {"catalog", "은/는", "은"}, {"billing", "을/를", "을"}, {"ledger", "을/를", "를"}, {"mail", "으로/로", "로"},
		{"pool:cart", "과/와", "와"}, {"service", "이/가", "가"}, {"web)", "이/가", "이"}, {"", "이/가", "가"}, {"!?", "을/를", "를"},
	} {
		if got := particle(c.word, c.pair); got != c.want {
			t.Errorf("%s + %s = %s, want %s", c.word, c.pair, got, c.want)
		}
	}
}

func TestFill(t *testing.T) {
	for _, c := range []struct{ pattern, want string }{
		{"{0} and {1}", "a and b"}, {"{1:을/를} {0}", "b를 a"}, {"{7}{x", "{x"}, {"none", "none"}, {"", ""},
	} {
		if got := fill(c.pattern, []string{"a", "b"}); got != c.want {
			t.Errorf("fill(%q) = %q, want %q", c.pattern, got, c.want)
		}
	}
}

// TestWords holds that everything a verdict may say stands in both languages with the same arguments, and that every
// key that package explain writes is known.
func TestWords(t *testing.T) {
	hangul := regexp.MustCompile(`\p{Hangul}`)
	argument := regexp.MustCompile(`\{(\d)`)
	count := func(s string) string {
		seen := map[string]bool{}
		for _, m := range argument.FindAllStringSubmatch(s, -1) {
			seen[m[1]] = true
		}
		var b strings.Builder
		for _, d := range "0123456789" {
			if seen[string(d)] {
				b.WriteRune(d)
			}
		}
		return b.String()
	}
	for key, p := range sentences {
		if p.en == "" || hangul.MatchString(p.en) || count(p.en) != count(p.ko) {
			t.Errorf("%s: %q and %q don't match", key, p.en, p.ko)
		}
	}
	for key, p := range labels {
		if p.en == "" || !hangul.MatchString(p.ko) || count(p.en) != count(p.ko) {
			t.Errorf("%s: %q and %q don't match", key, p.en, p.ko)
		}
	}
	for _, m := range explain.Catalogue() {
		if p := headlines[m.Name]; p.en == "" || !hangul.MatchString(p.ko) {
			t.Errorf("no headline for %s", m.Name)
		}
	}
	keys := regexp.MustCompile(`(?:Key = |Key: |key := |key, args := |key = |key, args = |compare\(|asUsual\(|rateEvidence\(|, round\(\w+\), |(?:Blame|ExclusiveS|WaitP50|rateNow|reach\(c\.Service\)|, 0), )"([a-z_]+)"`)
	files, err := filepath.Glob("../explain/*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "format.go") {
			continue
		}
		for _, m := range keys.FindAllStringSubmatch(string(b), -1) {
			if m[1] == "s" || m[1] == "holder_" {
				continue // a unit, and the first half of a key
			}
			n++
			if _, ok := sentences[m[1]]; !ok {
				t.Errorf("%s writes %q, which has no sentence", file, m[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d keys found: the expression is out of date", n)
	}
	for _, kind := range []explain.ResourceKind{explain.Pool, explain.CPU, explain.Memory, explain.Descriptors, explain.Disk} {
		if _, ok := sentences[string(kind)+"_usual"]; !ok {
			t.Errorf("no sentence rules out %s", kind)
		}
	}
	for _, m := range []explain.Measure{explain.HeldSeconds, explain.DatabaseSeconds, explain.BusySeconds} {
		if _, ok := sentences["holder_"+string(m)]; !ok {
			t.Errorf("no sentence for a holder by %s", m)
		}
	}
}

// TestStorySaysWhatTheTextSays holds the sentences that the page lays out against the text that the command line prints.
func TestStorySaysWhatTheTextSays(t *testing.T) {
	v := model.Verdict{What: model.What{Service: "cart", Operation: "GET /cart", Signal: model.SignalDuration, Value: 2, Usual: 0.5, Unit: "s"},
		Why:          &model.Cause{Class: model.ClassSelf, Entity: "service:cart", Mechanism: model.SlowCode, Confidence: 0.9},
		Candidates:   []model.Cause{{Mechanism: model.SlowCode, Entity: "service:cart"}, {Mechanism: model.DependencyDown, Entity: "remote:bank"}},
		Evidence:     []model.Evidence{{Key: "exclusive", Args: []string{"cart", "2 s", "0.5 s"}}},
		RuledOut:     []model.RuledOut{{Key: "time_usual", Args: []string{"shop", "1 ms", "1 ms"}}},
		FirstFailure: &model.Failure{Entity: "service:cart", Operation: "GET /cart", Symptom: "duration 0.5 s → 2 s"}}
	for _, lang := range []string{"en", "ko"} {
		s, text := Tell(v, lang), Text(v, lang)
		for _, part := range []string{s.Subject, s.Headline, s.Evidence[0], s.RuledOut[0], s.First, s.Candidates[0]} {
			if part == "" || !strings.Contains(text, part) {
				t.Errorf("%s: %q is not in\n%s", lang, part, text)
			}
		}
		if s.Candidates[1] == s.Candidates[0] {
			t.Errorf("%s: two candidates are told alike: %q", lang, s.Candidates[0])
		}
	}
}

func TestBar(t *testing.T) {
	for share, want := range map[float64]string{0: "", 0.001: "▏", 0.5: strings.Repeat("█", 12), 1: strings.Repeat("█", 24), 1.0 / 48: "▌"} {
		if got := bar(share); got != want {
			t.Errorf("bar(%v) = %q, want %q", share, got, want)
		}
	}
}

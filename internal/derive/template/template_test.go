package template

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"triage/internal/model"
)

// resolve gives each line the text of the template it has after the last one.
func resolve(m *Miner, service string, lines ...string) []string {
	s := m.Service(service)
	var ids []uint64
	for i, l := range lines {
		ids = append(ids, s.Assign(l, int64(i)*int64(time.Second)))
	}
	by := map[uint64]model.Template{}
	for _, t := range m.Changed() {
		by[t.ID] = t
	}
	var out []string
	for _, id := range ids {
		t := by[id]
		if t.Alias != 0 {
			t = by[t.Alias]
		}
		out = append(out, t.Text)
	}
	return out
}

func TestForms(t *testing.T) {
	tests := []struct{ line, want string }{
		{"took 15 ms", "took <*>"},
		{"took 1.5s", "took <*>"},
		{"user=7 id=1b4e28ba-2fa1-11d2-883f-0016d3cca427 ok", "user=<*> id=<*> ok"},
		{"from 10.1.2.3:4711 (db.eu.example) at Sat Mar 1 12:00:00 2026", "from <*> at <*>"},
		{"from 10.1.2.3:4711 () at  3", "from <*> at <*>"},
		{"mask=ffffffff", "mask=<*>"},
		{"GET /v1/things/17?x=a:b done", "GET <*> done"},
		{"GET /health done", "GET /health done"},
		{"open http://cart/x=y: refused", "open http://cart/x=y: refused"},
		{"list [1, 2, 3, 4]", "list [<*>]"},
		{"dial cart.internal:80: refused", "dial <*>: refused"},
		{"wrote 10 KB (1.2 MB) in all", "wrote <*> in all"},
		{"padded:      5 of    7", "padded: <*> of <*>"},
		{"sent 2048 bytes (2 KB) in <1 sec", "sent <*> in <*>"},
		{"wait > 5 and <17> or a<5", "wait > <*> and <<*>> or a<<*>"},
		{"size.........17 of table......small", "size..<*> of table..small"},
		{"ask ff:ee:0a:bb:cc:dd, fe80::1 or a:b:c:d", "ask <*> or a:b:c:d"},
		{`acquired tag="slow lock" owner=Source{a b} by=[x, y z] msg="none left"`, `acquired tag="slow lock" owner=Source{a b} by=[x, y z] msg="none left"`},
		{`acquired tag="lock 7" owner=Source{7 b}`, `acquired tag="<*>" owner=<*>`},
		{"set cart.pool.size=large of cart.pool.size", "set cart.pool.size=large of <*>"},
		{"panic: no\n\tat main.go:5\n", "panic: no"},
		{"  cache miss.  ", "cache miss."},
		{"사용자 17 로그인", "사용자 <*> 로그인"},
		{"...", "..."},
		{"ids " + strings.Repeat("x", 2040) + " seventeen", "ids " + strings.Repeat("x", 2040) + " <*>"},
		{"()", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := resolve(New(Options{}), "cart", tt.line)[0]; got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestGeneralisesLate(t *testing.T) {
	var lines, want []string
	for _, u := range []string{"ann", "ben", "cat", "dan", "eve", "ann"} {
		lines = append(lines, "conn 17 of "+u+" closed")
		want = append(want, "conn <*> of <*> closed")
	}
	for _, r := range []string{"hit", "miss", "hit", "error"} {
		lines = append(lines, "cache lookup of page: "+r)
		want = append(want, "cache lookup of page: "+r)
	}
	if got := resolve(New(Options{}), "cart", lines...); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := resolve(New(Options{}), "cart", lines[:3]...); got[0] == got[1] {
		t.Errorf("three words make %q already", got[0])
	}
}

func TestGeneralisesByLooks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"where a number stood", []string{"bound to port 80 at last", "bound to port http at last"},
			[]string{"bound to port <*> at last", "bound to port <*> at last"}},
		{"paths", []string{"could not read /etc/cart", "could not read /etc/ledger"},
			[]string{"could not read <*>", "could not read <*>"}},
		{"exceptions say what happened", []string{"call failed: java.net.BindException", "call failed: java.net.ConnectException"},
			[]string{"call failed: java.net.BindException", "call failed: java.net.ConnectException"}},
		{"constants too", []string{"got intent app.screen.SCREEN_ON", "got intent app.screen.SCREEN_OFF"},
			[]string{"got intent app.screen.SCREEN_ON", "got intent app.screen.SCREEN_OFF"}},
		{"methods are few", []string{"got a GET for it", "got a PUT for it", "got a POST for it", "got a HEAD for it"},
			[]string{"got a GET for it", "got a PUT for it", "got a POST for it", "got a HEAD for it"}},
		{"participles are few", []string{"shop 1 has started now", "shop 2 has paused now", "shop 2 has resumed now", "shop 2 has stopped now"},
			[]string{"shop <*> has started now", "shop <*> has paused now", "shop <*> has resumed now", "shop <*> has stopped now"}},
		{"values of keys vary together", []string{
			"done user=ann role=admin now", "done user=ben role=guest now", "done user=cat role=owner now", "done user=dan role=other now",
		}, slices.Repeat([]string{"done user=<*> role=<*> now"}, 4)},
		{"keys are written", []string{"set Alpha=on now", "set Beta=on now", "set Gamma=on now", "set Delta=on now", "set Eps=on now"},
			[]string{"set Alpha=on now", "set Beta=on now", "set Gamma=on now", "set Delta=on now", "set Eps=on now"}},
		{"the same words stand before", []string{
			"opened for user ann by root", "opened for user ben by root",
			"closed for user ann", "closed for user ben", "closed for user cat", "closed for user dan",
		}, append(slices.Repeat([]string{"opened for user <*> by root"}, 2), slices.Repeat([]string{"closed for user <*>"}, 4)...)},
	} {
		got := resolve(New(Options{}), "cart", tt.lines...)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestVariesTogether(t *testing.T) {
	var lines []string
	for _, u := range []string{"ann", "ben", "cat", "dan"} {
		lines = append(lines, fmt.Sprintf("the session of user %s of tenant %s-corp was closed by its owner", u, strings.ToUpper(u)))
	}
	got := resolve(New(Options{}), "cart", lines...)
	if want := "the session of user <*> of tenant <*> was closed by its owner"; got[0] != want || got[3] != want {
		t.Errorf("got %q", got)
	}
}

func TestIdentity(t *testing.T) {
	a, b := New(Options{}), New(Options{})
	lines := []string{"conn of ann closed", "conn of ben closed", "conn of cat closed", "conn of dan closed", "conn of eve closed"}
	var ids []uint64
	for _, l := range lines {
		ids = append(ids, a.Service("cart").Assign(l, 0))
	}
	if got := b.Service("cart").Assign(lines[1], 0); got != ids[1] {
		t.Errorf("the first form of another node has %x, want %x", got, ids[1])
	}
	if got := b.Service("ledger").Assign(lines[1], 0); got == ids[1] {
		t.Error("two services share an ID")
	}
	// Another node sees other words first, and comes to the same form under another ID. Who loads both knows one.
	for _, w := range []string{"flo", "gus", "hal"} {
		b.Service("cart").Assign("conn of "+w+" closed", 0)
	}
	saved := append(a.Changed(), b.Changed()...)
	c := New(Options{})
	c.Load(saved)
	x, y := a.Service("cart").Assign(lines[0], 0), b.Service("cart").Assign(lines[0], 0)
	if got := c.Service("cart").Assign(lines[0], 0); got != min(x, y) || x == y {
		t.Errorf("nodes have %x and %x, who loads both has %x", x, y, got)
	}
	saved = append(saved, c.Changed()...)
	for _, tm := range saved {
		if tm.Alias != 0 && tm.Alias >= tm.ID {
			t.Errorf("alias %x of larger %x", tm.ID, tm.Alias)
		}
	}
}

func TestLoad(t *testing.T) {
	a := New(Options{})
	var lines []string
	for i := range 60 {
		w := fmt.Sprintf("%c%c", 'a'+i%26, 'a'+i/26)
		lines = append(lines, "user "+w+" of shop left after 5 s", "step "+w[1:]+" begins", "rate limit of "+w+": "+w)
	}
	for i, l := range lines {
		a.Service("cart").Assign(l, int64(i))
	}
	saved := a.Changed()
	if again := a.Changed(); len(again) != 0 {
		t.Errorf("%d templates changed without lines", len(again))
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(saved), func(i, j int) { saved[i], saved[j] = saved[j], saved[i] })
	b := New(Options{})
	b.Load(saved)
	if b.Len() != a.Len() {
		t.Errorf("%d templates after a restart, %d before", b.Len(), a.Len())
	}
	for _, l := range lines {
		if x, y := a.Service("cart").Assign(l, 0), b.Service("cart").Assign(l, 0); x != y {
			t.Errorf("%q: %x before a restart, %x after", l, x, y)
		}
	}
	if c := b.Changed(); len(c) != 0 {
		t.Errorf("a restart made templates: %v", c)
	}
	a.Unsaved(saved)
	if got := a.Changed(); len(got) != len(saved) {
		t.Errorf("%d templates given back, %d left", len(saved), len(got))
	}
}

// randomWords makes lines in which several positions vary over many words, which only crowding can end.
func randomWords(rng *rand.Rand) string {
	word := func() string {
		b := make([]byte, 6)
		for i := range b {
			b[i] = byte('g' + rng.IntN(20))
		}
		return string(b)
	}
	return "moved " + word() + " from " + word() + " to " + word()
}

func TestBounded(t *testing.T) {
	m := New(Options{MaxTemplates: 400, MaxServices: 2})
	rng := rand.New(rand.NewPCG(3, 4))
	s := m.Service("cart")
	for i := range 5000 {
		s.Assign(randomWords(rng), int64(i)*int64(time.Second))
		s.Assign(strings.Repeat("x ", i%60)+"end"+strings.Repeat("!", i%300), int64(i)*int64(time.Second))
		if m.Len() > 400 {
			t.Fatalf("%d templates after %d lines", m.Len(), i)
		}
	}
	if got := resolve(m, "cart", randomWords(rng)); got[0] != "" && strings.Count(got[0], wildcard) < 2 {
		t.Errorf("crowded lines still have templates of their own: %q", got)
	}
	m.Service("ledger")
	if got := m.Service("third").Assign("line", 0); got != 0 {
		t.Errorf("a service too many got template %x", got)
	}
}

func TestConcurrent(t *testing.T) {
	m := New(Options{MaxTemplates: 100})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for i := range 500 {
				if m.Service(fmt.Sprintf("s%d", i%3)).Assign(randomWords(rng), int64(i)) == 0 {
					t.Error("no template")
				}
				if i%100 == 0 {
					m.Unsaved(m.Changed())
				}
			}
		})
	}
	wg.Wait()
}

// FuzzAssign checks that a line keeps its template when it comes again, and that the text of a form reads back to it.
func FuzzAssign(f *testing.F) {
	for _, s := range []string{"conn 17 of ann closed", "a=<*> b", "x (1) [] y: 2/3 KB", "http://a/b=c#d 0", "\xff\xfe 1", "<*><*> <*>"} {
		f.Add(s, "other "+s)
	}
	f.Fuzz(func(t *testing.T, x, y string) {
		m := New(Options{})
		s := m.Service("cart")
		first := s.Assign(x, 0)
		s.Assign(y, 0)
		if again := s.Assign(x, 0); again != first {
			t.Fatalf("%q: %x, then %x", x, first, again)
		}
		var a, b scan
		a.read(x, false)
		if a.n == 0 {
			return
		}
		form := newForm(&a, a.skeleton)
		b.read(form.String(), true)
		if again := newForm(&b, b.skeleton); a.n < maxTokens && len(form.String()) < maxBytes && (again.String() != form.String() || b.skeleton != a.skeleton) {
			t.Fatalf("%q: form %q reads back as %q", x, form, again)
		}
	})
}

// processorTime is what this process has used of it, which other load on the machine does not change.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkAssign(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 6))
	var lines []string
	users := []string{"ann", "ben", "cat", "dan", "eve", "flo", "gus", "hal"}
	for i := range 10000 {
		switch u := users[rng.IntN(len(users))]; i % 5 {
		case 0:
			lines = append(lines, fmt.Sprintf("request GET /v1/things/%d handled in %d ms with status 200 from 10.1.2.%d:4711", i, i%90, i%250))
		case 1:
			lines = append(lines, fmt.Sprintf("session of user %s opened by the gateway, %d now open", u, i%40))
		case 2:
			lines = append(lines, fmt.Sprintf("level=info msg=\"rows read\" table=things rows=%d took=%dms conn=%x", i, i%30, rng.Uint32()))
		case 3:
			lines = append(lines, "cache lookup of page front: hit")
		case 4:
			lines = append(lines, fmt.Sprintf("acquired connection %d from the pool of %d after %.3f ms, %d are waiting for one", i, i%60, rng.Float64(), i%4))
		}
	}
	bytes := 0
	for _, l := range lines {
		bytes += len(l)
	}
	s := New(Options{}).Service("cart")
	b.SetBytes(int64(bytes / len(lines)))
	b.ReportAllocs()
	i, before := 0, processorTime(b)
	for b.Loop() {
		s.Assign(lines[i%len(lines)], 0)
		i++
	}
	b.ReportMetric(float64(b.N)/(processorTime(b)-before).Seconds(), "lines/s/core")
}

// BenchmarkAssignUnknown is the worst case: no line is like one before.
func BenchmarkAssignUnknown(b *testing.B) {
	rng := rand.New(rand.NewPCG(7, 8))
	lines := make([]string, 100_000)
	for i := range lines {
		lines[i] = randomWords(rng)
	}
	s := New(Options{}).Service("cart")
	b.ReportAllocs()
	i, before := 0, processorTime(b)
	for b.Loop() {
		s.Assign(lines[i%len(lines)], 0)
		i++
	}
	b.ReportMetric(float64(b.N)/(processorTime(b)-before).Seconds(), "lines/s/core")
}

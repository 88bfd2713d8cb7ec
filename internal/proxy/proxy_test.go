package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is an upstream that sends back what it gets. It stops with the test.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c) // until the caller has said all
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

func open(t *testing.T, upstream string) *Proxy {
	t.Helper()
	p, err := Listen("a->b", "127.0.0.1:0", upstream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask sends a text and waits at most a second for its echo.
func ask(c net.Conn, text string) (time.Duration, error) {
	began := time.Now()
	if _, err := io.WriteString(c, text); err != nil {
		return 0, err
	}
	return listen(c, text, began)
}

// askNew asks over a new connection, which may be broken before it is made.
func askNew(p *Proxy) error {
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_, err = ask(c, "x")
	return err
}

func listen(c net.Conn, text string, began time.Time) (time.Duration, error) {
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return 0, err
	}
	if string(got) != text {
		return 0, errors.New("the echo is " + string(got))
	}
	return time.Since(began), nil
}

func TestUndisturbed(t *testing.T) {
	p := open(t, echo(t))
	c := dial(t, p)
	text := strings.Repeat("0123456789abcdef", 1<<16) // larger than all buffers together
	var sending sync.WaitGroup
	sending.Go(func() {
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite() // which must arrive behind the text, and not end the answer
	})
	got, err := io.ReadAll(c)
	sending.Wait()
	if err != nil || !bytes.Equal(got, []byte(text)) {
		t.Fatalf("%d bytes came back, %v; want the %d that were sent", len(got), err, len(text))
	}
}

func TestDelay(t *testing.T) {
	const delay, jitter = 40 * time.Millisecond, 10 * time.Millisecond
	for _, test := range []struct {
		name  string
		fault Fault
		least time.Duration
	}{
		{"both ways", Fault{Delay: delay}, 2 * delay},
		{"requests", Fault{Delay: delay, Way: Request}, delay},
		{"answers", Fault{Delay: delay, Way: Answer}, delay},
		{"with jitter", Fault{Delay: delay, Jitter: jitter}, 2 * (delay - jitter)},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := open(t, echo(t))
			already := dial(t, p)
			if _, err := ask(already, "before"); err != nil {
				t.Fatal(err)
			}
			remove, err := p.Apply(test.fault)
			if err != nil {
				t.Fatal(err)
			}
			for what, c := range map[string]net.Conn{"open": already, "new": dial(t, p)} {
				took, err := ask(c, "while")
				if err != nil || took < test.least {
					t.Errorf("%s connection: %s, %v; want at least %s", what, took, err, test.least)
				}
			}
			if err := remove(); err != nil {
				t.Fatal(err)
			}
			// The best of some: another program may hold the processor for a moment.
			best := time.Hour
			for range 20 {
				took, err := ask(already, "after")
				if err != nil {
					t.Fatal(err)
				}
				best = min(best, took)
			}
			if best >= test.least {
				t.Errorf("%s after the fault was removed", best)
			}
		})
	}
}

func TestDelaysAddUp(t *testing.T) {
	p := open(t, echo(t))
	c := dial(t, p)
	for range 2 {
		if _, err := p.Apply(Fault{Delay: 30 * time.Millisecond, Way: Request}); err != nil {
			t.Fatal(err)
		}
	}
	if took, err := ask(c, "x"); err != nil || took < 60*time.Millisecond {
		t.Errorf("%s, %v; want at least 60 ms", took, err)
	}
}

func TestBandwidth(t *testing.T) {
	p := open(t, echo(t))
	c := dial(t, p)
	if _, err := p.Apply(Fault{Bandwidth: 100_000, Way: Answer}); err != nil {
		t.Fatal(err)
	}
	if took, err := ask(c, strings.Repeat("x", 10_000)); err != nil || took < 90*time.Millisecond {
		t.Errorf("10 kB at 100 kB/s took %s, %v", took, err)
	}
}

func TestStall(t *testing.T) {
	for _, way := range []Way{Both, Request, Answer} {
		p := open(t, echo(t))
		c := dial(t, p)
		if _, err := ask(c, "before"); err != nil {
			t.Fatal(err)
		}
		remove, err := p.Apply(Fault{Stall: true, Way: way})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "while"); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("way %d: %d bytes, %v; want silence", way, n, err)
		}
		if err := errors.Join(remove(), remove()); err != nil {
			t.Fatal(err)
		}
		if _, err := listen(c, "while", time.Now()); err != nil {
			t.Errorf("way %d: what was held back did not arrive: %v", way, err)
		}
	}
}

func TestReset(t *testing.T) {
	p := open(t, echo(t))
	already := dial(t, p)
	if _, err := ask(already, "before"); err != nil {
		t.Fatal(err)
	}
	remove, err := p.Apply(Fault{Reset: time.Millisecond, Stall: true})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]net.Conn{"open": already, "new": dial(t, p)} {
		if _, err := ask(c, "while"); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s connection: %v, want a reset", what, err)
		}
	}
	idle := dial(t, p)
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(idle, "after"); err != nil {
		t.Errorf("a connection that carried nothing meanwhile: %v", err)
	}
}

func TestRefuse(t *testing.T) {
	p := open(t, echo(t))
	already := dial(t, p)
	if _, err := ask(already, "before"); err != nil {
		t.Fatal(err)
	}
	remove, err := p.Apply(Fault{Refuse: true})
	if err != nil {
		t.Fatal(err)
	}
	_, errOpen := ask(already, "while")
	for what, err := range map[string]error{"open": errOpen, "new": askNew(p)} {
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("%s connection: %v, want a reset", what, err)
		}
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(dial(t, p), "after"); err != nil {
		t.Error(err)
	}
}

func TestShare(t *testing.T) {
	p := open(t, echo(t))
	const n = 60
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = dial(t, p)
		if _, err := ask(conns[i], "before"); err != nil {
			t.Fatal(err)
		}
	}
	remove, err := p.Apply(Fault{Refuse: true, Share: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = remove() }()
	hit := 0
	for _, c := range conns {
		if _, err := ask(c, "while"); err != nil {
			hit++
		}
	}
	// Fewer than 10 or more than 50 of 60 come in less than one of a million runs.
	if hit < 10 || hit > 50 {
		t.Errorf("%d of %d connections were hit, want about half", hit, n)
	}
}

// TestNobodyUpstream holds that a caller notices.
func TestNobodyUpstream(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upstream := l.Addr().String()
	_ = l.Close()
	p := open(t, upstream)
	if err := askNew(p); err == nil {
		t.Error("an answer from nobody")
	}
}

func TestClose(t *testing.T) {
	p := open(t, echo(t))
	c := dial(t, p)
	if _, err := p.Apply(Fault{Delay: time.Hour, Bandwidth: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	if _, err := p.Apply(Fault{Stall: true}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed proxy was disturbed: %v", err)
	}
}

// TestManyFaultsAtOnce is for the race detector.
func TestManyFaultsAtOnce(t *testing.T) {
	p := open(t, echo(t))
	var busy sync.WaitGroup
	for range 4 {
		c := dial(t, p)
		busy.Go(func() {
			for range 50 {
				if _, err := ask(c, "x"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, f := range []Fault{{Delay: time.Millisecond}, {Bandwidth: 1 << 20}, {Stall: true}, {Delay: time.Millisecond, Way: Answer}} {
		busy.Go(func() {
			for range 20 {
				remove, err := p.Apply(f)
				if err != nil {
					t.Error(err)
					return
				}
				if err := remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	busy.Wait()
}

func TestBadFaults(t *testing.T) {
	p := open(t, echo(t))
	for want, f := range map[string]Fault{
		"nothing to disturb":       {},
		"delay -1ns":               {Delay: -1},
		"the jitter exceed":        {Delay: 1, Jitter: 2},
		"bandwidth -1":             {Bandwidth: -1},
		"way 3":                    {Stall: true, Way: 3},
		"reset after -1ns":         {Reset: -1},
		"share 1.5: not in [0, 1]": {Stall: true, Share: 1.5},
	} {
		if _, err := p.Apply(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", f, err, want)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	p, err := Listen("a->b", "127.0.0.1:0", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	for name, address := range map[string]string{"direct": l.Addr().String(), "proxied": p.Addr()} {
		b.Run(name, func(b *testing.B) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			for b.Loop() {
				if _, err := ask(c, "ping"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

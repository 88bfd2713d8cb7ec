package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"triage/client"
	"triage/internal/search"
)

// options are the flags that every command has.
type options struct {
	server  string
	json    bool
	lang    language
	noColor bool
	// now is the clock, time.Now unless a test says otherwise.
	now func() time.Time
}

// env is what a command runs with.
type env struct {
	client *client.Client
	out    io.Writer
	screen io.Writer // where progress is shown: standard error if it is a terminal, else nil
	json   bool
	lang   string
	colour bool
	width  int // columns of the terminal
	now    time.Time
}

const defaultWidth = 100

func (o *options) env(cmd *cobra.Command) *env {
	var opts []client.Option
	if token := token(o.server); token != "" {
		opts = append(opts, client.WithHeader("Authorization", "Bearer "+token))
	}
	e := &env{client: client.New(o.server, opts...), out: cmd.OutOrStdout(), json: o.json, lang: o.lang.String(), width: defaultWidth, now: time.Now()}
	if o.now != nil {
		e.now = o.now()
	}
	if f, ok := e.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		e.colour = !o.noColor && os.Getenv("TERM") != "dumb"
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			e.width = w
		}
	}
	if f, ok := cmd.ErrOrStderr().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		e.screen = f
	}
	if w, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && w > 0 {
		e.width = w
	}
	return e
}

// token is what to send to a server: TRIAGE_TOKEN, or what the data directory of one on this machine holds.
func token(server string) string {
	if t := os.Getenv("TRIAGE_TOKEN"); t != "" {
		return t
	}
	u, err := url.Parse(client.New(server).URL())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return ""
	}
	b, _ := os.ReadFile(filepath.Join(fallback(os.Getenv("TRIAGE_DATA"), "triage-data"), "token")) // the server says what it lacks
	return strings.TrimSpace(string(b))
}

// run makes a command's function of one that asks a server.
func (o *options) run(f func(ctx context.Context, e *env, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		e := o.env(cmd)
		err := e.explain(f(cmd.Context(), e, args))
		if err != nil && cmd.Context().Err() != nil {
			return errors.New("interrupted")
		}
		if usage := (*usageError)(nil); errors.As(err, &usage) {
			return badUsage(cmd, usage.err)
		}
		return err
	}
}

// printJSON prints one indented document.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printLine prints one document on one line.
func (e *env) printLine(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (e *env) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(e.out, format, args...)
	return err
}

// language is the flag --lang.
type language string

func (l *language) String() string { return fallback(string(*l), "en") }
func (l *language) Type() string   { return "language" }
func (l *language) Set(s string) error {
	if s != "en" && s != "ko" {
		return errors.New(`want "en" or "ko"`)
	}
	*l = language(s)
	return nil
}

// moment is a flag that takes a time; what is relative counts from when the command runs.
type moment string

func (m *moment) String() string { return string(*m) }
func (m *moment) Type() string   { return "time" }
func (m *moment) Set(s string) error {
	if _, ok := parseMoment(s, time.Now()); !ok {
		return errors.New(`want RFC 3339, Unix seconds, "now" or how long ago as in "-15m"`)
	}
	*m = moment(s)
	return nil
}

// at is the time meant; the zero time where the flag was not given.
func (m moment) at(now time.Time) time.Time {
	if m == "" {
		return time.Time{}
	}
	t, _ := parseMoment(string(m), now) // Set has checked it
	return t
}

func parseMoment(s string, now time.Time) (time.Time, bool) {
	rest, relative := strings.CutPrefix(s, "now")
	if relative && rest == "" {
		return now.UTC(), true
	}
	if relative || strings.HasPrefix(s, "-") {
		ago, ok := search.Nanoseconds(rest)
		unit := strings.TrimLeft(rest, "+-0123456789.")
		return now.Add(time.Duration(ago)).UTC(), ok && unit != "" && rest[0] == '-' && !strings.HasSuffix(unit, "B")
	}
	return search.Time(s)
}

// window adds --from and --to to a command.
type window struct{ from, to moment }

func (w *window) flags(cmd *cobra.Command, from string) {
	cmd.Flags().Var(&w.from, "from", `begin: RFC 3339, Unix seconds, or how long ago as in "-15m"`+from)
	cmd.Flags().Var(&w.to, "to", `end, likewise (now without it)`)
}

func (w *window) times(now time.Time) (from, to time.Time) { return w.from.at(now), w.to.at(now) }

package notify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/store/state"
)

// childEnv names the directory that a child process works in.
const childEnv = "TRIAGE_NOTIFY_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Fprintln(os.Stderr, child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child tells receivers of the incidents in a state store until it is killed.
func child(dir string) error {
	ctx := context.Background()
	s, err := state.Open(ctx, filepath.Join(dir, "state.db"))
	if err != nil {
		return err
	}
	c, err := notify.ParseFile(filepath.Join(dir, "alertmanager.yml"), "https://triage.example", nil, nil)
	if err != nil {
		return err
	}
	return notify.New(notify.Options{Config: c, State: s, URL: "https://triage.example"}).Run(ctx)
}

func startChild(t *testing.T, dir string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // SIGKILL; it may be gone already
		_ = cmd.Wait()
	})
}

// told is a message as a receiver got it.
type told struct{ status, id string }

// mailbox is a real SMTP server.
type mailbox struct{ got chan told }

func (b mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return session(b), nil }

type session mailbox

func (session) Reset()                               {}
func (session) Logout() error                        { return nil }
func (session) Mail(string, *smtp.MailOptions) error { return nil }
func (session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m := told{}
	for line := range strings.Lines(string(b)) {
		if id, ok := strings.CutPrefix(line, "Message-Id: <"); ok {
			m.id, _, _ = strings.Cut(id, "@")
		}
		if subject, ok := strings.CutPrefix(line, "Subject: "); ok {
			m.status = "firing"
			if strings.Contains(subject, "RESOLVED") {
				m.status = "resolved"
			}
		}
	}
	s.got <- m
	return nil
}

func serveMail(t *testing.T, addr string, got chan told) (stop func()) {
	t.Helper()
	srv := smtp.NewServer(mailbox{got})
	srv.Domain, srv.AllowInsecureAuth = "localhost", true
	l := listen(t, addr)
	go func() { _ = srv.Serve(l) }() // ends with Close
	return func() { _ = srv.Close() }
}

func serveHook(t *testing.T, addr string, got chan told) (stop func()) {
	t.Helper()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Status            string            `json:"status"`
			CommonAnnotations map[string]string `json:"commonAnnotations"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		got <- told{body.Status, body.CommonAnnotations["message_id"]}
	})}
	l := listen(t, addr)
	go func() { _ = srv.Serve(l) }()
	return func() { _ = srv.Close() }
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	defer l.Close()
	return l.Addr().String()
}

// Both sides die in between, at the worst of times, and every message comes all the same: with the ID that it was given
// when it was first decided on.
func TestBothSidesAreKilled(t *testing.T) {
	dir := t.TempDir()
	mailAddr, hookAddr := freeAddress(t), freeAddress(t)
	config := fmt.Sprintf(`
global: {smtp_smarthost: "%s", smtp_from: triage@localhost, smtp_require_tls: false}
route: {receiver: ops}
receivers:
- name: ops
  email_configs: [{to: ops@localhost, send_resolved: true}]
  webhook_configs: [{url: "http://%s/"}]
`, mailAddr, hookAddr)
	if err := os.WriteFile(filepath.Join(dir, "alertmanager.yml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	s := openState(t, filepath.Join(dir, "state.db"))
	now := time.Now().UTC()
	inc := incidentOf(now, alarmOf("errors", "cart", model.StateAlarm, now))
	save := func() {
		t.Helper()
		if err := s.SaveIncidents(t.Context(), inc.Tenant, []model.Incident{inc}, nil); err != nil {
			t.Fatal(err)
		}
	}
	save()
	v := *verdictOf(now)
	if err := s.SaveVerdict(t.Context(), model.DefaultTenant, v, nil); err != nil {
		t.Fatal(err)
	}
	pending := func(n int) map[string]string { // message IDs by integration, once there are so many
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for {
			docs, err := s.Documents(t.Context(), model.DefaultTenant, "notify.message")
			if err != nil {
				t.Fatal(err)
			}
			out := map[string]string{}
			for _, d := range docs {
				var m notify.Message
				if err := json.Unmarshal(d.Body, &m); err != nil {
					t.Fatal(err)
				}
				out[m.Integration] = m.ID
			}
			if len(docs) == n {
				return out
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d messages wait, want %d", len(docs), n)
			}
			time.Sleep(20 * time.Millisecond) // another process writes them
		}
	}
	mails, hooks := make(chan told, 100), make(chan told, 100)
	receive := func(ch chan told, want told) {
		t.Helper()
		select {
		case got := <-ch:
			if got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%v never came", want)
		}
	}

	// Nobody receives; the process decides and is killed.
	kill := startChild(t, dir)
	defer func() { kill() }()
	ids := pending(2)
	kill()
	// Both come back, and get what was decided before.
	stopMail, stopHook := serveMail(t, mailAddr, mails), serveHook(t, hookAddr, hooks)
	kill = startChild(t, dir)
	receive(mails, told{"firing", ids["email[0]"]})
	receive(hooks, told{"firing", ids["webhook[0]"]})
	pending(0)
	// The receivers die; the incident ends while the process is dead; then it decides, and dies again.
	kill()
	stopMail()
	stopHook()
	inc.Status, inc.ResolvedAt = model.IncidentResolved, time.Now()
	inc.Alarms[0].State, inc.Alarms[0].Since = model.StateOK, time.Now()
	save()
	kill = startChild(t, dir)
	ids = pending(2)
	// One comes back while the process lives, the other when it is dead.
	defer serveMail(t, mailAddr, mails)()
	receive(mails, told{"resolved", ids["email[0]"]})
	pending(1)
	kill()
	defer serveHook(t, hookAddr, hooks)()
	kill = startChild(t, dir)
	receive(hooks, told{"resolved", ids["webhook[0]"]})
	pending(0)
	kill()
	if len(mails)+len(hooks) > 0 {
		t.Errorf("%d mails and %d hooks came more than once", len(mails), len(hooks))
	}
}

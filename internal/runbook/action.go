package runbook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"triage/internal/model"
)

const (
	// maxOutput is how much of what an action says is kept, from its end.
	maxOutput = 8 << 10
	// killWait is how long after it was stopped a program may hold its output open.
	killWait = 2 * time.Second
)

// result is what came of an action.
type result struct {
	output string
	err    error
}

// redacted is a result without secrets, of which the output is cut to what is kept.
func (r result) redacted(secrets []string) (output, problem string) {
	output = redact(r.output, secrets)
	if n := len(output) - maxOutput; n > 0 {
		output = strings.ToValidUTF8(output[n:], "\ufffd")
	}
	if r.err != nil {
		problem = redact(r.err.Error(), secrets)
	}
	return output, problem
}

// perform does what an action says, until ctx ends.
func (a Action) perform(ctx context.Context, systemctl string, r Run, inc *model.Incident) result {
	switch {
	case a.Webhook != nil:
		return a.Webhook.post(ctx, r, inc)
	case a.RestartUnit != "":
		return command(ctx, []string{systemctl, "--no-ask-password", "restart", "--", a.RestartUnit}, nil)
	}
	return command(ctx, a.Command, about(r, inc))
}

// about is what a program learns of what it is run for.
func about(r Run, inc *model.Incident) []string {
	env := []string{"TRIAGE_RUN=" + r.ID, "TRIAGE_RUNBOOK=" + r.Runbook, "TRIAGE_INCIDENT=" + r.Incident}
	if inc == nil {
		return env
	}
	if len(inc.Alarms) > 0 {
		env = append(env, "TRIAGE_SERVICE="+inc.Alarms[0].Service)
	}
	if v := inc.Verdict; v != nil && v.Why != nil {
		env = append(env, "TRIAGE_CLASS="+string(v.Why.Class), "TRIAGE_MECHANISM="+string(v.Why.Mechanism), "TRIAGE_ENTITY="+string(v.Why.Entity))
	}
	return env
}

// command runs a program in a group of its own, and ends the whole group when ctx ends.
func command(ctx context.Context, argv, env []string) result {
	var out tail
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env, cmd.WaitDelay = &out, &out, append(os.Environ(), env...), killWait
	ownGroup(cmd)
	err := cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return result{out.String(), err}
}

// post tells a webhook. What it answers but 2xx is a failure.
func (w *Webhook) post(ctx context.Context, r Run, inc *model.Incident) result {
	body, err := json.Marshal(map[string]any{"run": r, "incident": inc})
	if err != nil {
		return result{"", err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return result{"", err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", r.ID)
	for k, v := range w.Headers {
		req.Header.Set(k, v)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return result{"", err}
	}
	defer res.Body.Close()
	var out tail
	_, err = io.Copy(&out, io.LimitReader(res.Body, 1<<20))
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case res.StatusCode/100 != 2:
		err = fmt.Errorf("it answered %s", res.Status)
	}
	return result{out.String(), err}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex // guards buf: a program's two outputs are one
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - maxOutput - mostSecret; n > 0 { // a secret that begins before the end is still known for one
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.buf), "\ufffd")
}

var (
	errTimeout  = errors.New("it took too long and was stopped")
	errShutdown = errors.New("triage was stopped, and it with it")
)

package runbook_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"triage/internal/runbook"
)

const serviceUnit = `[Service]
ExecStart=/bin/sh -c "echo begun >> %s; exec sleep 1000"
`

// hangingUnit never says that it is ready.
const hangingUnit = `[Service]
Type=notify
TimeoutStartSec=infinity
ExecStart=/bin/sleep 1000
`

// systemd starts a real one, a user's instance with a /run/systemd of its own, where nothing of this machine is touched. It gives a
// program that stands for systemctl and speaks with it.
func systemd(t *testing.T, units map[string]string) (systemctl string) {
	t.Helper()
	const manager = "/lib/systemd/systemd"
	for _, program := range []string{manager, "unshare", "systemctl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no systemd to try it on: %v", err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("mounts of its own need root")
	}
	dir, err := os.MkdirTemp("", "sd") // a short name: sockets stand in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, text := range units {
		write("conf/systemd/user/"+name, text, 0o600)
	}
	// It refuses to be a user's where the machine was not booted with systemd, and asks a directory for that.
	boot := write("boot", `set -e
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/system
exec `+manager+` --user --unit=basic.target
`, 0o700)
	var log bytes.Buffer
	cmd := exec.Command("unshare", "--mount", "sh", boot)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "conf"), "SYSTEMD_LOG_TARGET=console")
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &log, &log, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it stops its units first
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			t.Errorf("systemd did not end: %s", &log)
		}
	})
	systemctl = write("systemctl", fmt.Sprintf("#!/bin/sh\nXDG_RUNTIME_DIR=%s exec systemctl --user \"$@\"\n", dir), 0o700)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) { // it is another program
		if err := exec.Command(systemctl, "is-active", "basic.target").Run(); err == nil {
			return systemctl
		}
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("systemd does not run here: %v: %s", err, &log)
		default:
		}
		if time.Now().After(deadline) {
			t.Skipf("systemd does not come up here: %s", &log)
		}
	}
}

// A unit is restarted by a real systemd; one that is not there, or that never comes up, is told.
func TestRestartOfAUnit(t *testing.T) {
	begun := filepath.Join(t.TempDir(), "begun")
	systemctl := systemd(t, map[string]string{"cart@.service": fmt.Sprintf(serviceUnit, begun), "stuck.service": hangingUnit})
	of := func(rule, unit string) string {
		return fmt.Sprintf(`{"name":%q,"when":{"alarm":{"rule":"errors"}},"do":{"restart_unit":%q,"timeout":"3s"},"approval":"none"}`, rule, unit)
	}
	pid := func() string {
		out, err := exec.Command(systemctl, "show", "--value", "--property=MainPID", "cart@1.service").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	if out, err := exec.Command(systemctl, "start", "cart@1.service").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before := pid()
	d := openWith(t, systemctl, of("cart", "cart@1.service"), of("gone", "nothing.service"), of("stuck", "stuck.service"))
	d.m.Observe(d.incident("INC-1"))
	got := map[string]runbook.Run{}
	for len(got) < 3 {
		if r := d.next(""); r.State != runbook.Running {
			got[r.Runbook] = r
		}
	}
	if r := got["cart"]; r.State != runbook.Succeeded || r.Does != "systemctl restart cart@1.service" {
		t.Errorf("restart of cart: %+v", r)
	}
	if after := pid(); after == before || after == "0" || times(t, begun) != 2 {
		t.Errorf("cart's process was %s and is %s, begun %d times", before, after, times(t, begun))
	}
	if r := got["gone"]; r.State != runbook.Failed || r.Error != "exit status 5" || !strings.Contains(r.Output, "Unit nothing.service not found.") {
		t.Errorf("restart of nothing: %+v", r)
	}
	if r := got["stuck"]; r.State != runbook.Stopped || r.Error != "it took too long and was stopped" {
		t.Errorf("restart of what never comes up: %+v", r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, systemctl, "stop", "--no-block", "stuck.service").CombinedOutput(); err != nil {
		t.Errorf("systemd answers no more: %v: %s", err, out)
	}
}

//go:build unix

package demo

import (
	"os"
	"syscall"
)

// inheritsListeners tells whether a listener can be handed to a child, so that two versions of a service can accept
// on one port.
const inheritsListeners = true

func ownGroup(a *syscall.SysProcAttr) *syscall.SysProcAttr {
	if a == nil {
		a = &syscall.SysProcAttr{}
	}
	a.Setpgid = true
	dieWithParent(a)
	return a
}

func signalProcess(p *os.Process, sig syscall.Signal) { _ = p.Signal(sig) } // it may be gone already

func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) } // likewise

// as runs a command as another user.
func as(uid, gid int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

package demo

import "syscall"

// dieWithParent makes the kernel kill the process when this one is gone, however it went.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

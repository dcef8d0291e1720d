package cluster

import "syscall"

// withParent has the kernel kill the server when the tester dies.
func withParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

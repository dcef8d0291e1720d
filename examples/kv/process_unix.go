//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// detach puts a member into a process group of its own, so that Ctrl-C reaches
// only the one who started it, and that one decides.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func pauseProcess(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

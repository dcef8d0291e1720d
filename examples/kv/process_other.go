//go:build !unix

package main

import (
	"errors"
	"os"
	"os/exec"
)

func detach(*exec.Cmd) {}

var errNoSignals = errors.New("this system cannot pause a process")

func pauseProcess(*os.Process) error  { return errNoSignals }
func resumeProcess(*os.Process) error { return errNoSignals }

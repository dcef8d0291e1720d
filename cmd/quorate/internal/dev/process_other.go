//go:build !unix

package dev

import (
	"errors"
	"os"
	"os/exec"
)

func detach(*exec.Cmd) {}

var errNoPause = errors.New("processes cannot be paused on this system")

func pauseProcess(*os.Process) error  { return errNoPause }
func resumeProcess(*os.Process) error { return errNoPause }

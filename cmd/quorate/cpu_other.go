//go:build !unix

package main

import "time"

// cpuTime is not to be had here: zero.
func cpuTime() time.Duration { return 0 }

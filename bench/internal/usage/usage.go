// Package usage measures what this whole process has used.
package usage

import (
	"runtime"
	"time"
)

// Usage is what the process has used since it began.
type Usage struct {
	// CPU is user and system time of all threads; zero where the platform does
	// not tell.
	CPU time.Duration
	// Switches are voluntary context switches: a thread had nothing to do, or
	// waited.
	Switches uint64
	// Allocs are allocations on the heap, AllocBytes their size.
	Allocs, AllocBytes uint64
	// GCs are collections.
	GCs uint64
}

// Now gives the usage up to now. It stops the program for some microseconds.
func Now() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := Usage{Allocs: m.Mallocs, AllocBytes: m.TotalAlloc, GCs: uint64(m.NumGC)}
	u.CPU, u.Switches = resources()
	return u
}

// Sub gives what came after before.
func (u Usage) Sub(before Usage) Usage {
	return Usage{
		CPU: u.CPU - before.CPU, Switches: u.Switches - before.Switches, Allocs: u.Allocs - before.Allocs,
		AllocBytes: u.AllocBytes - before.AllocBytes, GCs: u.GCs - before.GCs,
	}
}

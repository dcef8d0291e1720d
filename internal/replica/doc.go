// Package replica is one group's replica as a deterministic step machine: it
// drives the protocol core, keeps the newest part of the log as bytes, holds
// what must wait for the disk, hands committed entries to the state machine and
// answers proposals and reads.
//
// It starts no goroutine, reads no clock and draws no random number: equal
// inputs in equal order give equal outputs. Package node carries its outputs out
// concurrently, package sim inline; neither decides anything that stands here.
package replica

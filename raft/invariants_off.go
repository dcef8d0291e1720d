//go:build !invariants

package raft

const costlyInvariants = false

package raft

// Reason says why a replica did what it did. Zero is no reason.
type Reason uint8

// EventKind says what happened.
type EventKind uint8

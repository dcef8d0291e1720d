// Package node is the library's door: it hosts groups on one machine. A node has
// one write-ahead log, one transport and a few workers, which all its groups
// share; a group is a replicated state machine.
package node

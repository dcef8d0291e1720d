// Package cluster runs real servers on loopback: Quorate's and etcd's processes,
// started with the same flags, so that one test or benchmark drives either.
//
// It decides ports, directories, certificates and when a cluster is ready; it can
// kill, pause, resume and restart each process, and keeps what each wrote to its
// standard error. It refuses to know what the servers answer.
package cluster

// Package etcd serves etcd's v3 API over gRPC. It decides what etcd's gRPC layer
// decides: which requests are refused before they reach the log, how answers and
// refusals look, and how streams live and end. All else is keyspace's and the
// store's.
//
// The protocol comes from go.etcd.io/etcd/api/v3 and is never copied: the same
// messages registered twice in one process panic.
package etcd

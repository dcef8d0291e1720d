// Package server is one member of a cluster as a process runs it: it opens the
// data directory, joins the group, serves clients on its ports and stops in
// order. It decides in what order things start and end, and leaves what a request
// means to keyspace and what it looks like to etcd.
package server

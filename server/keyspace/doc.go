// Package keyspace is the only way from a request to a key. It decides who may
// do what ([Authorizer], asked before anything is looked at or proposed), how
// long a request may take, when a write is tried again at another leader, and
// which local state may answer a read. It keeps leases alive and ends them.
//
// It refuses to know protocols: gRPC, JSON and tools all come through here, in
// the store's own types.
package keyspace

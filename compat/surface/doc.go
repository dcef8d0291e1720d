// Package surface is what of etcd's API Quorate serves: each RPC, each option of
// its request and each path of HTTP, as supported, Unimplemented or different.
//
// The tables are what its tests run through against a real process and what
// docs/etcd-compatibility.md is written from, so the document cannot claim what
// is not tested. RPCs and options come from etcd's own descriptors: a new one in
// a new version of etcd has no row, which is a failure.
package surface

//go:generate go run ./write ../../docs/etcd-compatibility.md

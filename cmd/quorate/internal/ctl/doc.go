// Package ctl is the commands that speak to a server as etcd's clients do: keys,
// leases, watches and what an operator asks, with etcdctl's flags and outputs.
package ctl

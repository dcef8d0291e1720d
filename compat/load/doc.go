// Package load drives real processes through stock clients while they are killed
// and paused, and judges all that the clients saw: a linearizable history, watches
// that tell every revision once, leases that end neither early nor late, replicas
// that end equal.
package load

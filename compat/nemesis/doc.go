// Package nemesis puts a cluster of real servers through faults of every kind while
// [load] works on it, in rounds, and judges each round.
//
// A round has keys of its own, a script of faults or a random mix drawn from the
// seed, and ends with the faults: links are whole again, every process runs, writes
// succeed, leases run out. Then everything that clients saw is judged, the replicas
// are compared, and the next round begins on the same cluster.
package nemesis

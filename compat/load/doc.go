// Package load puts a cluster under the load of stock clients and judges all that
// they saw: while servers are killed, paused and cut off, and afterwards.
//
// Clients do what people build on: registers with compare-and-swap, lists that
// grow, sets, locks with a fence, leases that are kept alive and abandoned, watches
// of everything and of a part. Every change is told by watches with its revision,
// so the log of changes is known, and each answer is held against it:
//
//   - a write that was acknowledged stands in the log, whole, at its revision; one
//     that was refused stands nowhere; one without an answer stands there once or
//     not at all, and not before it was asked for;
//   - a read saw exactly the state of its revision;
//   - no answer is older than one that came before it was asked for;
//   - registers and lists are linearizable, without regard to revisions;
//   - a watch told every change once, in order, a revision as a whole, with the
//     values before, and did not announce a revision before it;
//   - who writes under a lock holds it in the log, in the order of their fences;
//   - a lease ends neither early nor late;
//   - in no term do two members lead, and in the end all replicas are equal.
package load

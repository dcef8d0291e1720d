// Package check judges histories and states: whether a group of replicas keeps
// the properties of Figure 3 of the Raft paper and more, over all that has
// happened, and whether what clients saw is linearizable.
//
// A [Group] is told what each replica of a group does: what it asks to be
// written, what of it has become durable, what it sends, commits and applies. It
// remembers all of it, never gives any of it back to the protocol, and says after
// every observation whether a property was broken ([Group.Err]). It decides what
// is right; it runs no replica and repairs nothing.
//
// [Model.Linearizable] judges what clients saw; [Linearizable] does so for
// registers.
package check

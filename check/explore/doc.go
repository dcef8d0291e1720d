// Package explore visits every state that a small group of replicas can reach
// within stated bounds, and judges each of them. What it runs is raft.Raft itself,
// with the least runtime around it, not a model.
//
// A [Scope] names a group and bounds; [Explore] visits its states level by level,
// so that a violation comes with a shortest way to it, which [Replay] lets happen
// again and tells as a story. What a scope does not bound may happen: messages in
// any order, late, lost, repeated; timers at any moment; writes durable late, alone
// or together; crashes that lose any of what was not durable.
//
// # Why it is fast
//
// raft.Raft is a function of its state and input, and its state says nothing of
// absolute time. So every event in every state of a replica is run once, by the
// real code, judged by what can be judged there, and remembered; the states of the
// group are combinations of few states of replicas and messages, by number.
// [Options].NoMemory runs everything anew and compares.
//
// # What is not explored twice
//
// States that differ only in the names of members that may be exchanged count as
// one: nothing in raft asks more of an id than whether it is equal to another. In a
// network that repeats everything, an answer that its receiver will ignore for ever,
// since the term on its disk is newer, is dropped; scopes with a bounded network show
// that it is ignored. A crashed replica starts again at once, for one that is down
// is as silent as one that is not scheduled; what is committed is applied at once;
// a message that waits for a write that the same message waits for already is not
// kept twice. Where the number of messages in flight is bounded, what is to be lost
// is lost when it is sent.
//
// # What could go wrong
//
// Visited states are kept as fingerprints of 64 bits. Of n states, some state is
// taken for another with a probability below 2n²/2⁶⁴, as with 30 million states
// 0.01 %; it would be passed over, with what follows only from it. (By chance two
// random numbers are equal with 2⁻⁶⁴; the least of six, with which symmetric states
// are told, makes it 3.3 times that.)
package explore

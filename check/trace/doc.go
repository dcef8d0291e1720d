// Package trace judges what replicas say that they did: it reads traces of any
// number of nodes, puts their events into an order in which each has its cause
// before it, and says whether that order is one of Raft.
//
// It knows the rules on its own and shares no code with the protocol: it has its
// own picture of each replica (term, vote, log, what of it is durable, what is
// committed and applied), which it carries forward by the events alone, and its
// own picture of the group (who led which term with which log, what is committed).
// Where an event does not fit, it names the rule and the event. The events of a
// trace and the rules are in docs/trace-format.md.
//
// The causes that it waits for stay true once they are (a vote that was given, an
// entry that a leader appended, a write that became durable), so the first order
// that it finds is as good as any: clocks are not needed, and not looked at.
package trace

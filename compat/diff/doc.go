// Package diff gives the same operations to two servers that speak etcd's v3 API
// and compares all that comes back: answers, codes and texts of refusals, events,
// their order and what they say of the value before.
//
// It decides what to send ([Generate], from a seed, valid and invalid), what may
// differ (ids that the server chose, terms, the clocks of leases, where a stream
// is cut into messages) and when a stream has delivered all it owes. A sequence
// that divides the two is shrunk and printed as a Go program's calls. It refuses
// to know which of the two is right.
//
// One goroutine drives both; the operations follow one another, so that a
// revision means the same on either side.
package diff

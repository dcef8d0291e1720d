// Package sim runs whole nodes on a virtual clock, network and disk, from one
// seed: the deterministic parts that package node runs concurrently (replicas,
// write-ahead log, snapshots, state machines) stepped inline, one event at a time.
// Machines lose power and keep any part of what was not synced, processes are
// killed and paused, links are cut one way, messages lost, repeated, reordered
// and delayed, disks slow, stalling, failing and full; clients work meanwhile.
// After every event package check judges all that has happened.
//
// The same seed gives the same run, event by event, on every machine: nothing
// here starts a goroutine, reads a clock or lets the order of a map show. So a
// failure is a number: [Config.Seed].
//
//	result := sim.Run(sim.Config{Seed: 42})
//	if result.Err != nil {
//		log.Fatal(result.Err, result.Replay())
//	}
//
// A state machine of one's own is run by setting [Config.Subject].
//
// The package decides when things happen and what fails. It decides nothing that
// the protocol, the log or the snapshots decide, and simulates no transport: it
// carries messages itself, through the real encoding.
package sim

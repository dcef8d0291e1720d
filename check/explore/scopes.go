package explore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/raft"
)

// scopes are the named ones, each made to bring out one part of the protocol.
// Those that are quick are for every change; all of them are for a long run.
var scopes = []Scope{
	{
		Name: "election", About: "votes that a crash takes before they are durable, answers that come late",
		Voters: 3, Terms: 2, Elections: 2, Crashes: 1, InFlight: 2, Quick: true,
	},
	{
		Name: "again", About: "a candidate that crashes and asks again, with a log that the crash made shorter",
		Voters: 3, Terms: 2, Elections: 3, Crashes: 1, InFlight: 2, Quick: true,
	},
	{
		Name: "late", About: "answers of a leadership that arrive in a later one of the same replica",
		Voters: 3, Terms: 3, Elections: 3, InFlight: 2, SyncWrites: true, Quick: true,
	},
	{
		Name: "redelivery", About: "entries that arrive again when later ones were acknowledged",
		Voters: 3, Terms: 2, Elections: 2, Proposals: 1, InFlight: 2, Duplicates: 1, SyncWrites: true, Quick: true,
	},
	{
		Name: "network", About: "one election after another in a network that repeats whatever was ever sent",
		Voters: 3, Terms: 2, Elections: 2, Heartbeats: 1, SyncWrites: true, Quick: true,
	},
	{
		Name: "lossy", About: "logs that diverge and are made equal, over three terms with two proposals, one message at a time",
		Voters: 3, Terms: 3, Elections: 3, Proposals: 2, InFlight: 1, SyncWrites: true, Quick: true,
	},
	{
		Name: "figure8", About: "an entry of an older term on a majority, and then overwritten: four elections, one entry a message",
		Voters: 3, Terms: 4, Elections: 4, InFlight: 2, SyncWrites: true, OneEntryPerMessage: true, Quick: true,
	},
	{
		Name: "persist", About: "entries that are acknowledged, overwritten and lost before they are durable",
		Voters: 3, Terms: 2, Elections: 2, Proposals: 1, Crashes: 1, InFlight: 1, Quick: true,
	},
	{
		Name: "overwritten", About: "the same entry written, overwritten and written again before any of it is durable",
		Voters: 3, Terms: 3, Elections: 3, InFlight: 1, Duplicates: 1, Quick: true,
	},
	{
		Name: "pipeline", About: "entries sent ahead of the answers to those before, and lost on the way to a slow disk",
		Voters: 3, Terms: 1, Elections: 1, Heartbeats: 2, Proposals: 2, InFlight: 1, Quick: true,
	},
	{
		Name: "snapshot", About: "a log that is compacted, and followers that need what is gone",
		Voters: 3, Terms: 2, Elections: 2, Proposals: 1, Snapshots: 1, InFlight: 2, SyncWrites: true, Quick: true,
	},
	{
		Name: "install", About: "a snapshot that is installed on a slow disk",
		Voters: 3, Terms: 2, Elections: 2, Heartbeats: 1, Proposals: 1, Snapshots: 1, InFlight: 1, Quick: true,
	},
	{
		Name: "read", About: "reads at leaders and followers, confirmed by rounds, while leadership moves",
		Voters: 3, Terms: 2, Elections: 2, Reads: 2, InFlight: 2, SyncWrites: true, Quick: true,
	},
	{
		Name: "prevote", About: "polls before elections, and votes withheld while a leader is alive",
		Voters: 3, Terms: 2, Elections: 3, InFlight: 2, SyncWrites: true, PreVote: true, Stickiness: true, Quick: true,
	},
	{
		Name: "contact", About: "a leader that steps down because no majority answers",
		Voters: 3, Terms: 2, Elections: 2, Heartbeats: 1, Contacts: 2, InFlight: 2, SyncWrites: true, CheckQuorum: true, Quick: true,
	},
	{
		Name: "learner", About: "learners and strangers that answer, and count nowhere",
		Voters: 2, Learners: 1, Terms: 2, Elections: 3, Proposals: 1, InFlight: 2, SyncWrites: true, Quick: true,
	},
	{
		Name: "joint", About: "a joint configuration: two majorities for every decision",
		Voters: 3, Learners: 2, Outgoing: []raft.NodeID{1, 4, 5}, Terms: 2, Elections: 2, InFlight: 2, SyncWrites: true, Quick: true,
	},
	{
		Name: "four", About: "an even number of voters",
		Voters: 4, Terms: 3, Elections: 3, InFlight: 2, SyncWrites: true, Quick: true,
	},
	{
		Name: "five", About: "five voters: two of them, or one of them twice, are no majority",
		Voters: 5, Terms: 2, Elections: 2, InFlight: 2, Duplicates: 1, SyncWrites: true, Quick: true,
	},
	{
		Name: "crash", About: "slow disks and a crash under replication",
		Voters: 3, Terms: 2, Elections: 2, Proposals: 1, Crashes: 1, InFlight: 2,
	},
	{
		Name: "crash3", About: "slow disks and a crash over three terms, one message at a time",
		Voters: 3, Terms: 3, Elections: 3, Proposals: 1, Crashes: 1, InFlight: 1, Duplicates: 1,
	},
	{
		Name: "snapshot3", About: "snapshots, slow disks and a crash over three terms, one message at a time",
		Voters: 3, Terms: 3, Elections: 3, Proposals: 1, Snapshots: 1, Crashes: 1, InFlight: 1,
	},
	{
		Name: "read3", About: "a read over three terms",
		Voters: 3, Terms: 3, Elections: 3, Reads: 1, InFlight: 2, SyncWrites: true,
	},
	{
		Name: "replication", About: "logs that diverge and are made equal, over three terms with two proposals",
		Voters: 3, Terms: 3, Elections: 3, Proposals: 2, InFlight: 2, SyncWrites: true,
	},
	{
		Name: "liveness", About: "polls, withheld votes and contact to a majority together, as they are by default",
		Voters: 3, Terms: 3, Elections: 3, Heartbeats: 1, Contacts: 1, InFlight: 2, SyncWrites: true,
		PreVote: true, CheckQuorum: true, Stickiness: true,
	},
	{
		Name: "network3", About: "three terms in a network that repeats whatever was ever sent",
		Voters: 3, Terms: 3, Elections: 3, SyncWrites: true,
	},
	{
		Name: "defaults", About: "polls, withheld votes and contact to a majority on slow disks, and a crash",
		Voters: 3, Terms: 2, Elections: 3, Contacts: 1, Crashes: 1, InFlight: 2,
		PreVote: true, CheckQuorum: true, Stickiness: true,
	},
}

// clientScopes are those for Options.Clients, in which something is answered before
// it is endangered.
var clientScopes = []Scope{
	{
		Name: "answered", About: "a candidate that crashes and asks again, when something was answered",
		Voters: 3, Terms: 2, Elections: 3, Proposals: 1, Crashes: 1, InFlight: 2,
	},
	{
		Name: "ahead", About: "entries sent ahead of the answers to those before, and a crash of who was slow",
		Voters: 3, Terms: 2, Elections: 2, Heartbeats: 1, Proposals: 2, Crashes: 1, InFlight: 1,
	},
}

// ClientScopes gives the named scopes that are made for Options.Clients.
func ClientScopes() []Scope { return slices.Clone(clientScopes) }

// Scopes gives the named scopes; with quick only those for every change.
func Scopes(quick bool) []Scope {
	var out []Scope
	for _, s := range scopes {
		if s.Quick || !quick {
			out = append(out, s)
		}
	}
	return out
}

// Named gives the scope of that name.
func Named(name string) (Scope, error) {
	var names []string
	for _, s := range slices.Concat(scopes, clientScopes) {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scope{}, fmt.Errorf("explore: no scope %q; there are %s", name, strings.Join(names, ", "))
}

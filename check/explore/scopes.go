package explore

import (
	"fmt"
	"slices"
	"strings"
)

// scopes are the named ones, each made to bring out one part of the protocol.
// Those that are quick are for every change; all of them are for a long run.
var scopes = []Scope{
	{
		Name: "election", About: "votes that are lost with a crash before they are durable, answers that come late",
		Voters: 3, Terms: 2, Elections: 2, Crashes: 1, InFlight: 2, Quick: true,
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
		Name: "replication", About: "logs that diverge and are made equal, over three terms with two proposals",
		Voters: 3, Terms: 3, Elections: 3, Proposals: 2, InFlight: 2, SyncWrites: true,
	},
}

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
	i := slices.IndexFunc(scopes, func(s Scope) bool { return s.Name == name })
	if i < 0 {
		var names []string
		for _, s := range scopes {
			names = append(names, s.Name)
		}
		return Scope{}, fmt.Errorf("explore: no scope %q; there are %s", name, strings.Join(names, ", "))
	}
	return scopes[i], nil
}

// Command seeds runs seeds of the simulator, or scopes of the model check, one
// after the other, until one fails, and tells in a line of JSON which. It is built
// with a planted bug in it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/quorate/quorate/check"
	"github.com/quorate/quorate/check/explore"
	"github.com/quorate/quorate/check/trace"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/raft/tracelog"
	"github.com/quorate/quorate/sim"
	"github.com/quorate/quorate/sim/storesim"
)

func main() {
	seeds := flag.Uint64("seeds", 100, "how many at most")
	judge := flag.String("judge", "sim", "who judges: sim, trace, clients or explore")
	machine := flag.String("machine", "", "what is replicated: store, or registers if it is empty; with sim or clients")
	scopes := flag.String("scopes", "", "explore these instead of seeds, by name, with commas between; with explore or clients")
	flag.Parse()
	debug.SetGCPercent(400)
	var report struct {
		Seeds  uint64 `json:"seeds"`
		States uint64 `json:"states"`
		Failed uint64 `json:"failed"`
		Error  string `json:"error"`
	}
	if *scopes != "" {
		*seeds = 0
		states, err := explored(strings.Split(*scopes, ","), *judge == "clients")
		if report.States = states; err != nil {
			report.Error = err.Error()
		}
	}
	for seed := uint64(1); seed <= *seeds && report.Error == ""; seed++ {
		report.Seeds++
		if err := run(seed, *judge, *machine); err != nil {
			report.Failed, report.Error = seed, err.Error()
		}
	}
	line, err := json.Marshal(report)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
	if report.Error != "" {
		os.Exit(1)
	}
}

func run(seed uint64, judge, machine string) error {
	switch at := [2]string{judge, machine}; at {
	case [2]string{"sim", ""}:
		return sim.Run(sim.Config{Seed: seed}).Err
	case [2]string{"sim", "store"}:
		return sim.Run(storesim.Config(seed, nil)).Err
	case [2]string{"clients", ""}:
		return sim.Run(sim.Config{Seed: seed, ClientsOnly: true}).Err
	case [2]string{"clients", "store"}:
		return sim.Run(storesim.ClientsOnly(seed)).Err
	case [2]string{"trace", ""}:
		return traced(seed)
	}
	return fmt.Errorf("nobody is called %q of %q", judge, machine)
}

// statesMax ends the exploration of a scope that a planted bug makes much larger.
// Until what was answered is in danger takes more.
const (
	statesMax        = 8_000_000
	statesMaxClients = 24_000_000
)

// explored explores scopes until one is broken, or until a client sees it.
func explored(scopes []string, clients bool) (states uint64, err error) {
	options := explore.Options{MaxStates: statesMax, Clients: clients}
	if clients {
		options.MaxStates = statesMaxClients
	}
	for _, name := range scopes {
		scope, err := explore.Named(name)
		if err != nil {
			return states, err
		}
		r, err := explore.Explore(context.Background(), scope, options)
		states += r.States
		switch {
		case errors.Is(err, explore.ErrTooManyStates):
			continue // that is no violation
		case err != nil:
			return states, err
		case r.Violation != nil && clients && r.Violation.Property != check.Linearizability:
			continue // no client has seen it
		case r.Violation != nil:
			return states, fmt.Errorf("scope %s: %w", name, r.Violation)
		}
	}
	return states, nil
}

// traced judges a run by its trace alone.
func traced(seed uint64) error {
	var file bytes.Buffer
	w := tracelog.NewWriter(&file)
	sim.Run(sim.Config{Seed: seed, ClientsOnly: true, Events: func(at time.Duration, node raft.NodeID, boot int, group raft.GroupID, e *raft.Event) {
		w.Add(tracelog.Record{Node: node, Boot: uint64(boot), Time: int64(at), Group: group, Event: *e})
	}})
	if err := w.Close(); err != nil {
		return err
	}
	records, complete, err := trace.Read(&file)
	if err != nil {
		return err
	}
	if v := trace.Verify(records, complete); v.Violation != nil {
		return v.Violation
	}
	return nil
}

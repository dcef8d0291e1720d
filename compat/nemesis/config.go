package nemesis

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quorate/quorate/compat/load"
)

// Config is a run. Zero fields mean the defaults.
type Config struct {
	Nodes    int           // 3
	Duration time.Duration // 5m; the round that is under way then is finished
	Round    time.Duration // 45s of faults in each round
	// Seed decides faults and what clients do; when things happen is the machine's.
	Seed uint64
	// Only, if not empty, are the faults of a random mix; else all. Script, if not
	// empty, is the script of every round.
	Only   []string
	Script string
	// Dir is where data and logs go; it must exist.
	Dir string
	// Recovery is how soon after the last fault writes must succeed, and every member
	// answer (1m). It is no promise of speed, only of an end.
	Recovery time.Duration
	// Relay has the members' connections relayed over loopback although there are
	// namespaces.
	Relay bool
	Load  load.Config
	// Out is told how it goes, and After after each round what it came to.
	Out   io.Writer
	After func(*Result)
}

func (c Config) withDefaults() Config {
	if c.Nodes == 0 {
		c.Nodes = 3
	}
	if c.Duration == 0 {
		c.Duration = 5 * time.Minute
	}
	if c.Round == 0 {
		c.Round = 45 * time.Second
	}
	if c.Recovery == 0 {
		c.Recovery = time.Minute
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	return c
}

// Validate reports everything wrong with c.
func (c Config) Validate() error {
	var errs []error
	if c.Nodes != 1 && c.Nodes != 3 && c.Nodes != 5 && c.Nodes != 7 && c.Nodes != 0 {
		errs = append(errs, fmt.Errorf("%d nodes: 1, 3, 5 or 7", c.Nodes))
	}
	for _, name := range c.Only {
		if kinds[name] == nil {
			errs = append(errs, fmt.Errorf("there is no fault %q; there are %q", name, Kinds()))
		}
	}
	if c.Script != "" && scripts[c.Script] == nil {
		errs = append(errs, fmt.Errorf("there is no script %q; there are %q", c.Script, Scripts()))
	}
	return errors.Join(errs...)
}

const (
	heartbeat = 100 * time.Millisecond
	election  = time.Second
	// lateness is what a lease may outlive its end by, beside the time in which
	// nobody could write.
	lateness = election + time.Second
	// diskBytes is the size of each member's file system, where it can be bounded,
	// and reserveBytes what the server keeps free of it.
	diskBytes    = 1 << 30
	reserveBytes = 64 << 20
)

package node

import (
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/rsm"
	"github.com/quorate/quorate/transport/mem"
)

// TM-02, EL-12: a heartbeat that is not well below the election timeout is
// refused; everything that is wrong is said at once.
func TestConfigIsValidated(t *testing.T) {
	good := Config{ID: 1, Cluster: "c", Dir: "d", Transport: mem.NewNetwork().Transport(1)}.WithDefaults()
	if err := good.Validate(); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	if good.ElectionTimeout != time.Second || good.HeartbeatInterval != 100*time.Millisecond {
		t.Errorf("defaults are %v and %v", good.ElectionTimeout, good.HeartbeatInterval)
	}
	for want, change := range map[string]func(*Config){
		"ID is required":               func(c *Config) { c.ID = 0 },
		"Cluster is required":          func(c *Config) { c.Cluster = "" },
		"Dir is required":              func(c *Config) { c.Dir = "" },
		"Transport is required":        func(c *Config) { c.Transport = nil },
		"at least twice":               func(c *Config) { c.HeartbeatInterval = c.ElectionTimeout/2 + 1 },
		"HeartbeatInterval (-1ns)":     func(c *Config) { c.HeartbeatInterval = -1 },
		"MaxEntryBytes (13631488)":     func(c *Config) { c.MaxEntryBytes = 13 << 20 },
		"MaxPendingBytes (1) must be":  func(c *Config) { c.MaxPendingBytes = 1 },
		"SegmentSizeBytes (-1) must":   func(c *Config) { c.SegmentSizeBytes = -1 },
		"MaxBatchBytes (-1) must":      func(c *Config) { c.MaxBatchBytes = -1 },
		"Cluster is required: any nam": func(c *Config) { c.Cluster, c.Dir = "", "" },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	all := Config{}.Validate()
	if all == nil || strings.Count(all.Error(), "\n") < 3 {
		t.Errorf("an empty configuration is refused with %v", all)
	}
}

func TestGroupConfigIsValidated(t *testing.T) {
	var none rsm.StateMachine
	for want, c := range map[string]GroupConfig{
		"GroupConfig.ID":       {StateMachine: &register{}},
		"StateMachine is":      {ID: 1, StateMachine: none},
		"nobody":               {ID: 1, StateMachine: &register{}, Voters: []raft.NodeID{1, 0}},
		"must not be negative": {ID: 1, StateMachine: &register{}, TailBytes: -1},
	} {
		if err := c.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// EL-05, EL-11: each election timeout is drawn anew from [T, 1.5T), and two nodes do
// not draw alike; TM-03, TM-06: the range is the configured one and stays so.
func TestElectionTimeoutsAreDrawn(t *testing.T) {
	const timeout = time.Second
	nodes := [2]*Node{}
	for i := range nodes {
		nodes[i] = &Node{cfg: Config{ElectionTimeout: timeout, HeartbeatInterval: timeout / 10}}
	}
	least, most, equal := 2*timeout, time.Duration(0), 0
	for range 2000 {
		a, b := nodes[0].duration(raft.ElectionTimer), nodes[1].duration(raft.ElectionTimer)
		if a < timeout || a >= timeout*3/2 {
			t.Fatalf("drew %v", a)
		}
		least, most = min(least, a), max(most, a)
		if a == b {
			equal++
		}
	}
	if least > timeout+timeout/20 || most < timeout*3/2-timeout/20 || equal > 1 {
		t.Errorf("2000 draws lie in [%v, %v], %d of them equal on both nodes", least, most, equal)
	}
	if got := nodes[0].duration(raft.StickinessTimer); got != timeout {
		t.Errorf("votes are withheld for %v", got)
	}
	if got := nodes[0].duration(raft.HeartbeatTimer); got != timeout/10 {
		t.Errorf("heartbeats every %v", got)
	}
}

package node

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/vfs"
)

// PS-04, PS-09: an identity whose name was never synced, because a sync failed or
// the process was killed before it, is made durable before anything is built on
// it: no power loss takes it from under the log.
func TestIdentityIsDurableBeforeTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		for _, dir := range []string{"data/wal", "data/snapshots"} { // as an earlier attempt left them
			if err := c.disks[1].MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		c.disks[1].SetHook(func(op vfs.Op) vfs.Fault {
			if op.Kind == vfs.OpSyncDir && op.Name == "data" {
				return vfs.Fault{Err: errors.New("input/output error")}
			}
			return vfs.Fault{}
		})
		if n, err := c.open(1); err == nil {
			n.Close()
			t.Fatal("opened though the identity's name could not be synced")
		}
		c.disks[1].SetHook(nil)
		c.start(1)
		c.propose("a", 1)
		incarnation := c.nodes[1].Incarnation()
		crashed := c.disks[1].CrashClone(vfs.CrashOptions{})
		c.stop(1)
		c.disks[1] = crashed
		c.start(1)
		defer c.stopAll()
		if got := c.nodes[1].Incarnation(); got != incarnation {
			t.Fatalf("incarnation %x after the power loss, %x before", got, incarnation)
		}
		if got := c.read(1); got != "a" {
			t.Fatalf("reads %q", got)
		}
	})
}

// Any damage to the identity file is told from an identity.
func TestDamagedIdentityIsRefused(t *testing.T) {
	good := encodeIdentity(transport.Identity{Cluster: clusterID("c"), Node: 3, Incarnation: 77})
	id, err := decodeIdentity(good)
	if err != nil || id.Node != raft.NodeID(3) || id.Incarnation != 77 || id.Cluster != clusterID("c") {
		t.Fatalf("%+v, %v", id, err)
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x10
		if _, err := decodeIdentity(bad); err == nil {
			t.Errorf("byte %d flipped: taken for %x", i, bad)
		}
	}
	for n := range good {
		if _, err := decodeIdentity(good[:n]); err == nil {
			t.Errorf("%d bytes are taken for an identity", n)
		}
	}
}

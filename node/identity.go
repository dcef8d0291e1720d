package node

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
	"github.com/quorate/quorate/vfs"
)

// The identity file says whose a data directory is. It is written once, when the
// directory is made (PS-09, PS-10).
//
//	 0        8      10          16            32     40            48     52
//	+--------+------+-----------+-------------+------+-------------+------+
//	| magic  | vers | zero      | cluster     | node | incarnation | crc  |
//	+--------+------+-----------+-------------+------+-------------+------+
//
// Little-endian; the CRC-32C is of all the bytes before it.
const (
	identityName    = "identity"
	identityMagic   = "QRTNODE\n"
	identityVersion = 1
	identitySize    = 52
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// clusterID makes a cluster's id from its name.
func clusterID(name string) transport.ClusterID {
	sum := sha256.Sum256([]byte("quorate cluster\x00" + name))
	return transport.ClusterID(sum[:16])
}

func encodeIdentity(id transport.Identity) []byte {
	b := make([]byte, identitySize)
	copy(b, identityMagic)
	binary.LittleEndian.PutUint16(b[8:], identityVersion)
	copy(b[16:], id.Cluster[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(id.Node))
	binary.LittleEndian.PutUint64(b[40:], uint64(id.Incarnation))
	binary.LittleEndian.PutUint32(b[48:], crc32.Checksum(b[:48], castagnoli))
	return b
}

func decodeIdentity(b []byte) (transport.Identity, error) {
	var id transport.Identity
	switch {
	case len(b) != identitySize:
		return id, fmt.Errorf("identity file has %d bytes, not %d", len(b), identitySize)
	case string(b[:8]) != identityMagic:
		return id, errors.New("identity file does not begin as one")
	case binary.LittleEndian.Uint16(b[8:]) != identityVersion:
		return id, fmt.Errorf("identity file has version %d; this program knows version %d", binary.LittleEndian.Uint16(b[8:]), identityVersion)
	case crc32.Checksum(b[:48], castagnoli) != binary.LittleEndian.Uint32(b[48:]):
		return id, errors.New("identity file is damaged: its checksum does not match")
	}
	copy(id.Cluster[:], b[16:])
	id.Node = raft.NodeID(binary.LittleEndian.Uint64(b[32:]))
	id.Incarnation = raft.Incarnation(binary.LittleEndian.Uint64(b[40:]))
	return id, nil
}

// openIdentity reads whose directory this is, or makes it this node's if it is
// new.
func openIdentity(disk vfs.FS, dir string, cluster transport.ClusterID, node raft.NodeID) (transport.Identity, error) {
	name := path.Join(dir, identityName)
	data, err := readFile(disk, name, identitySize+1)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return createIdentity(disk, dir, cluster, node)
	case err != nil:
		return transport.Identity{}, fmt.Errorf("node: read identity: %w", err)
	}
	// The names may be in the system's cache only: a process that was killed, or a
	// sync that failed, may have left them there. What is written from here on
	// must not outlive them.
	if err := syncNames(disk, dir); err != nil {
		return transport.Identity{}, fmt.Errorf("node: sync data directory: %w", err)
	}
	id, err := decodeIdentity(data)
	switch {
	case err != nil:
		return id, fmt.Errorf("node: %s: %w", name, err)
	case id.Cluster != cluster:
		return id, fmt.Errorf("node: data directory %s belongs to another cluster: check the cluster's name and the directory", dir)
	case id.Node != node:
		return id, fmt.Errorf("node: data directory %s belongs to node %d, not to node %d: give each node a directory of its own", dir, id.Node, node)
	}
	return id, nil
}

func createIdentity(disk vfs.FS, dir string, cluster transport.ClusterID, node raft.NodeID) (transport.Identity, error) {
	id := transport.Identity{Cluster: cluster, Node: node}
	// A log without an identity means that the file was lost: to make a new one
	// would bring a forgetful replica back under its old id (PS-09).
	if names, err := disk.List(path.Join(dir, "wal")); err == nil && len(names) > 0 {
		return id, fmt.Errorf("node: data directory %s holds a log but no identity file: restore the directory whole, or remove it and join under a new node id", dir)
	}
	for id.Incarnation == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return id, fmt.Errorf("node: draw an incarnation: %w", err)
		}
		id.Incarnation = raft.Incarnation(binary.LittleEndian.Uint64(b[:]))
	}
	temp := path.Join(dir, identityName+".new")
	if err := disk.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return id, fmt.Errorf("node: write identity: %w", err)
	}
	if err := writeFile(disk, temp, encodeIdentity(id)); err != nil {
		return id, fmt.Errorf("node: write identity: %w", err)
	}
	if err := errors.Join(disk.Rename(temp, path.Join(dir, identityName)), disk.SyncDir(dir)); err != nil {
		return id, fmt.Errorf("node: write identity: %w", err)
	}
	return id, nil
}

// syncNames makes the entries of a directory durable, and its own, as far as the
// parent may be opened.
func syncNames(disk vfs.FS, dir string) error {
	if err := disk.SyncDir(path.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return disk.SyncDir(dir)
}

// readFile reads a file of at most maxBytes.
func readFile(disk vfs.FS, name string, maxBytes int64) ([]byte, error) {
	f, err := disk.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(size, maxBytes))
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, err
	}
	return data, nil
}

// writeFile makes a file and its contents durable.
func writeFile(disk vfs.FS, name string, data []byte) error {
	f, err := disk.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

package entry

import (
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/raft"
)

// An encoded description of a snapshot, integers little-endian:
//
//	 0      1      4          8       16     24          32       40
//	+------+------+----------+-------+------+-----------+--------+------+-----
//	| vers | zero | checksum | index | term | newest    | config | term | configuration ...
//	+------+------+----------+-------+------+ timestamp | index  |      |
//	                                        +-----------+--------+------+
//	                                                                    48
//
// The configuration is as above, and nothing follows it.
const (
	snapshotVersion = 1
	snapshotHeader  = 48
)

// AppendSnapshotMeta appends the encoded description of a snapshot to dst. It is
// an error, and dst is unchanged, if its configuration cannot be encoded.
func AppendSnapshotMeta(dst []byte, m *raft.SnapshotMeta) ([]byte, error) {
	start := len(dst)
	dst = append(dst, snapshotVersion, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, m.Checksum)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.ID.Index))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.ID.Term))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.MaxTimestamp))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Configuration.ID.Index))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Configuration.ID.Term))
	dst, err := AppendConfiguration(dst, &m.Configuration.Configuration)
	if err != nil {
		return dst[:start], err
	}
	return dst, nil
}

// DecodeSnapshotMeta reads a description that fills b. What decodes encodes back
// to the same bytes.
func DecodeSnapshotMeta(b []byte) (raft.SnapshotMeta, error) {
	var m raft.SnapshotMeta
	switch {
	case len(b) < snapshotHeader:
		return m, fmt.Errorf("%w: %d bytes of a snapshot's description", ErrShort, len(b))
	case b[0] != snapshotVersion:
		return m, fmt.Errorf("%w: snapshot description %d", ErrUnknownVersion, b[0])
	case b[1]|b[2]|b[3] != 0:
		return m, fmt.Errorf("%w: snapshot description has reserved bytes set", ErrCorrupt)
	}
	number := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	c, err := DecodeConfiguration(b[snapshotHeader:])
	if err != nil {
		return m, err
	}
	return raft.SnapshotMeta{
		ID:           raft.EntryID{Index: raft.Index(number(8)), Term: raft.Term(number(16))},
		MaxTimestamp: int64(number(24)),
		Configuration: raft.ConfigurationEntry{
			ID:            raft.EntryID{Index: raft.Index(number(32)), Term: raft.Term(number(40))},
			Configuration: c,
		},
		Checksum: binary.LittleEndian.Uint32(b[4:]),
	}, nil
}

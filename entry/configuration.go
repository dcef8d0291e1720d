package entry

import (
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/raft"
)

// An encoded configuration, integers little-endian:
//
//	 0      1      2        4          6      8
//	+------+------+--------+----------+------+-------------+--------------+
//	| vers | flags| members| outgoing | zero | members ... | outgoing ... |
//	+------+------+--------+----------+------+-------------+--------------+
//
// flags: bit 0 is AutoLeave. An outgoing voter is its id, 8 bytes. A member:
//
//	 0            8                16     17      18
//	+------------+----------------+------+-------+--------------------------+
//	| id         | incarnation    | role | addrs | per address: u16 n, n B. |
//	+------------+----------------+------+-------+--------------------------+
//
// Both lists are in ascending order of ids, and nothing follows them: a
// configuration has one encoding.
const (
	configurationVersion = 1
	configurationHeader  = 8
	memberHeader         = 18
	flagAutoLeave        = 1

	// MaxMembers bounds the members, and the outgoing voters, of an encoded
	// configuration; MaxAddresses a member's addresses; MaxAddress the bytes of
	// one address.
	MaxMembers   = 1024
	MaxAddresses = 16
	MaxAddress   = 256
)

// AppendConfiguration appends the encoded configuration to dst. It is an error,
// and dst is unchanged, if c is above a bound, has a list out of order, a
// member without an id, an empty address or a role that has no name.
func AppendConfiguration(dst []byte, c *raft.Configuration) ([]byte, error) {
	if err := checkConfiguration(c); err != nil {
		return dst, fmt.Errorf("entry: configuration: %w", err)
	}
	var flags byte
	if c.AutoLeave {
		flags |= flagAutoLeave
	}
	dst = append(dst, configurationVersion, flags)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(c.Members)))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(c.Outgoing)))
	dst = append(dst, 0, 0)
	for _, m := range c.Members {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(m.ID))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(m.Incarnation))
		dst = append(dst, byte(m.Role), byte(len(m.Addresses)))
		for _, a := range m.Addresses {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(len(a)))
			dst = append(dst, a...)
		}
	}
	for _, id := range c.Outgoing {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(id))
	}
	return dst, nil
}

func checkConfiguration(c *raft.Configuration) error {
	if len(c.Members) > MaxMembers || len(c.Outgoing) > MaxMembers {
		return fmt.Errorf("%d members and %d outgoing voters, at most %d of each", len(c.Members), len(c.Outgoing), MaxMembers)
	}
	var last raft.NodeID
	for _, m := range c.Members {
		if m.ID <= last {
			return fmt.Errorf("member %d after %d: ids must ascend from 1", m.ID, last)
		}
		last = m.ID
		if !knownRole(m.Role) {
			return fmt.Errorf("member %d has role %d", m.ID, m.Role)
		}
		if len(m.Addresses) > MaxAddresses {
			return fmt.Errorf("member %d has %d addresses, at most %d", m.ID, len(m.Addresses), MaxAddresses)
		}
		for _, a := range m.Addresses {
			if len(a) == 0 || len(a) > MaxAddress {
				return fmt.Errorf("member %d has an address of %d bytes, want 1 to %d", m.ID, len(a), MaxAddress)
			}
		}
	}
	last = 0
	for _, id := range c.Outgoing {
		if id <= last {
			return fmt.Errorf("outgoing voter %d after %d: ids must ascend from 1", id, last)
		}
		last = id
	}
	return nil
}

func knownRole(r raft.Role) bool { return r >= raft.Voter && r <= raft.Witness }

// DecodeConfiguration reads what AppendConfiguration encoded; b must hold
// nothing else. What it accepts encodes back to the same bytes. The result does
// not alias b.
func DecodeConfiguration(b []byte) (raft.Configuration, error) {
	var c raft.Configuration
	if len(b) < configurationHeader {
		return c, fmt.Errorf("configuration: %w: %d bytes", ErrShort, len(b))
	}
	if b[0] != configurationVersion {
		return c, fmt.Errorf("configuration: %w: %d", ErrUnknownVersion, b[0])
	}
	if b[1]&^flagAutoLeave != 0 || b[6] != 0 || b[7] != 0 {
		return c, fmt.Errorf("configuration: %w: flags %02x, reserved %02x%02x", ErrUnknownVersion, b[1], b[6], b[7])
	}
	c.AutoLeave = b[1]&flagAutoLeave != 0
	members := int(binary.LittleEndian.Uint16(b[2:]))
	outgoing := int(binary.LittleEndian.Uint16(b[4:]))
	b = b[configurationHeader:]
	// Both counts are bounded by the bytes that are there before anything is
	// allocated for them.
	if members > MaxMembers || outgoing > MaxMembers {
		return raft.Configuration{}, fmt.Errorf("configuration: %w: %d members, %d outgoing", ErrCorrupt, members, outgoing)
	}
	if len(b) < members*memberHeader+outgoing*8 {
		return raft.Configuration{}, fmt.Errorf("configuration: %w: %d bytes for %d members, %d outgoing", ErrShort, len(b), members, outgoing)
	}
	if members > 0 {
		c.Members = make([]raft.Member, 0, members)
	}
	for range members {
		m, n, err := decodeMember(b)
		if err != nil {
			return raft.Configuration{}, err
		}
		c.Members = append(c.Members, m)
		b = b[n:]
	}
	if len(b) != outgoing*8 {
		return raft.Configuration{}, fmt.Errorf("configuration: %w: %d bytes for %d outgoing", ErrCorrupt, len(b), outgoing)
	}
	if outgoing > 0 {
		c.Outgoing = make([]raft.NodeID, 0, outgoing)
	}
	for range outgoing {
		c.Outgoing = append(c.Outgoing, raft.NodeID(binary.LittleEndian.Uint64(b)))
		b = b[8:]
	}
	if err := checkConfiguration(&c); err != nil {
		return raft.Configuration{}, fmt.Errorf("configuration: %w: %v", ErrCorrupt, err)
	}
	return c, nil
}

func decodeMember(b []byte) (raft.Member, int, error) {
	if len(b) < memberHeader {
		return raft.Member{}, 0, fmt.Errorf("configuration: %w: %d bytes of a member", ErrShort, len(b))
	}
	m := raft.Member{
		ID:          raft.NodeID(binary.LittleEndian.Uint64(b)),
		Incarnation: raft.Incarnation(binary.LittleEndian.Uint64(b[8:])),
		Role:        raft.Role(b[16]),
	}
	addresses := int(b[17])
	if addresses > MaxAddresses {
		return raft.Member{}, 0, fmt.Errorf("configuration: %w: %d addresses", ErrCorrupt, addresses)
	}
	n := memberHeader
	if addresses > 0 {
		m.Addresses = make([]string, 0, addresses)
	}
	for range addresses {
		if len(b) < n+2 {
			return raft.Member{}, 0, fmt.Errorf("configuration: %w: in an address", ErrShort)
		}
		size := int(binary.LittleEndian.Uint16(b[n:]))
		n += 2
		if size > MaxAddress {
			return raft.Member{}, 0, fmt.Errorf("configuration: %w: address of %d bytes", ErrCorrupt, size)
		}
		if len(b) < n+size {
			return raft.Member{}, 0, fmt.Errorf("configuration: %w: in an address", ErrShort)
		}
		m.Addresses = append(m.Addresses, string(b[n:n+size]))
		n += size
	}
	return m, n, nil
}

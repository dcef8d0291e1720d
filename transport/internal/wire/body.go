package wire

import (
	"fmt"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// An envelope is
//
//	kind u8 | group u64 | fields of the kind, in the order of appendBody
//
// where an entry id is term u64 | index u64 and a truth value is one byte, 0 or 1.
// Senders and receivers are not named: the handshake did.
const (
	kindPreVote uint8 = 1 + iota
	kindPreVoteResponse
	kindRequestVote
	kindRequestVoteResponse
	kindAppendEntries
	kindAppendEntriesResponse
	kindInstallSnapshot
	kindInstallSnapshotResponse
	kindTimeoutNow
	kindReadIndexRequest
	kindReadIndexResponse
	kindBootstrap
	kindForward
)

// envelopeMin is the size of the smallest envelope, a Forward without bytes.
const envelopeMin = 1 + 8 + 4

func appendID(b []byte, id raft.EntryID) []byte {
	b = le.AppendUint64(b, uint64(id.Term))
	return le.AppendUint64(b, uint64(id.Index))
}

func (c *cursor) id() raft.EntryID {
	return raft.EntryID{Term: raft.Term(c.u64()), Index: raft.Index(c.u64())}
}

// appendBody appends kind, group and fields; of an AppendEntries all but the
// entries' bytes, which follow it.
func appendBody(b []byte, e *transport.Envelope, entriesBytes int) ([]byte, error) {
	kind := func(k uint8) []byte { return le.AppendUint64(append(b, k), uint64(e.Group)) }
	if e.Bootstrap != nil {
		b = kind(kindBootstrap)
		b = le.AppendUint64(b, uint64(e.Bootstrap.Incarnation))
		b = le.AppendUint64(b, uint64(e.Bootstrap.Seen))
		b = appendBool(b, e.Bootstrap.Empty)
		return appendConfigurationEntry(b, &e.Bootstrap.Configuration)
	}
	if e.Forward != nil {
		b = le.AppendUint32(kind(kindForward), uint32(len(e.Forward)))
		return append(b, e.Forward...), nil
	}
	switch m := e.Message.Body.(type) {
	case *raft.PreVote:
		b = le.AppendUint64(kind(kindPreVote), uint64(m.Term))
		b = appendID(b, m.LastLog)
	case *raft.PreVoteResponse:
		b = le.AppendUint64(kind(kindPreVoteResponse), uint64(m.Term))
		b = appendBool(b, m.Granted)
	case *raft.RequestVote:
		b = le.AppendUint64(kind(kindRequestVote), uint64(m.Term))
		b = appendID(b, m.LastLog)
		b = appendBool(b, m.Transfer)
	case *raft.RequestVoteResponse:
		b = le.AppendUint64(kind(kindRequestVoteResponse), uint64(m.Term))
		b = appendBool(b, m.Granted)
		b = appendID(b, m.LastLog)
	case *raft.AppendEntries:
		b = le.AppendUint64(kind(kindAppendEntries), uint64(m.Term))
		b = appendID(b, m.Prev)
		b = le.AppendUint64(b, uint64(m.Last))
		b = le.AppendUint64(b, uint64(m.Commit))
		b = le.AppendUint64(b, m.Round)
		b = le.AppendUint32(b, uint32(len(m.Runs)))
		b = le.AppendUint32(b, uint32(entriesBytes))
		for _, r := range m.Runs {
			b = le.AppendUint64(b, uint64(r.First))
			b = le.AppendUint64(b, uint64(r.Term))
		}
	case *raft.AppendEntriesResponse:
		b = le.AppendUint64(kind(kindAppendEntriesResponse), uint64(m.Term))
		b = appendBool(b, m.Success)
		b = le.AppendUint64(b, uint64(m.Match))
		b = le.AppendUint64(b, m.Round)
		b = le.AppendUint64(b, uint64(m.Prev))
		b = appendID(b, m.Hint)
	case *raft.InstallSnapshot:
		b = le.AppendUint64(kind(kindInstallSnapshot), uint64(m.Term))
		b = le.AppendUint64(b, m.Round)
		return appendMeta(b, &m.Snapshot)
	case *raft.InstallSnapshotResponse:
		b = le.AppendUint64(kind(kindInstallSnapshotResponse), uint64(m.Term))
		b = le.AppendUint64(b, uint64(m.Match))
		b = le.AppendUint64(b, m.Round)
	case *raft.TimeoutNow:
		b = le.AppendUint64(kind(kindTimeoutNow), uint64(m.Term))
	case *raft.ReadIndexRequest:
		b = le.AppendUint64(kind(kindReadIndexRequest), uint64(m.Term))
		b = le.AppendUint64(b, uint64(m.Read))
	case *raft.ReadIndexResponse:
		b = le.AppendUint64(kind(kindReadIndexResponse), uint64(m.Term))
		b = le.AppendUint64(b, uint64(m.Read))
		b = le.AppendUint64(b, uint64(m.Index))
	default:
		return b, fmt.Errorf("transport: cannot encode a message of type %T", m)
	}
	return b, nil
}

// A configuration entry is
//
//	id | length u32 | the configuration, as package entry encodes it
func appendConfigurationEntry(b []byte, c *raft.ConfigurationEntry) ([]byte, error) {
	b = appendID(b, c.ID)
	at := len(b)
	b, err := entry.AppendConfiguration(le.AppendUint32(b, 0), &c.Configuration)
	le.PutUint32(b[at:], uint32(len(b)-at-4))
	return b, err
}

func (c *cursor) configurationEntry() (e raft.ConfigurationEntry) {
	e.ID = c.id()
	n := c.u32()
	if uint64(n) > uint64(len(c.b)) {
		c.fail("a configuration of %d bytes is announced, %d bytes are there", n, len(c.b))
	}
	b := c.take(int(n))
	if c.err != nil {
		return e
	}
	var err error
	if e.Configuration, err = entry.DecodeConfiguration(b); err != nil {
		c.fail("%w", err)
	}
	return e
}

// A snapshot's meta is its length, u32, and what package entry makes of it.
func appendMeta(b []byte, m *raft.SnapshotMeta) ([]byte, error) {
	start := len(b)
	b, err := entry.AppendSnapshotMeta(le.AppendUint32(b, 0), m)
	le.PutUint32(b[start:], uint32(len(b)-start-4))
	return b, err
}

func (c *cursor) meta() (m raft.SnapshotMeta) {
	n := c.u32()
	if uint64(n) > uint64(len(c.b)) {
		c.fail("a snapshot's meta of %d bytes is announced, %d bytes are there", n, len(c.b))
	}
	b := c.take(int(n))
	if c.err != nil {
		return m
	}
	var err error
	if m, err = entry.DecodeSnapshotMeta(b); err != nil {
		c.fail("%w", err)
	}
	return m
}

package wal

import (
	"bytes"
	"errors"
	"testing"

	"github.com/quorate/quorate/entry"
	"github.com/quorate/quorate/raft"
)

func sampleHeader() segmentHeader {
	return segmentHeader{
		Sequence: 7, Identity: testIdentity, Size: 64 << 10, DataStart: recycledDataStart(64 << 10),
		FirstBatch: 5, Oldest: 3, TableSum: 0x1234,
	}
}

func resumSegment(b []byte) []byte {
	le.PutUint32(b[508:], checksum(b[:508]))
	return b
}

func TestSegmentHeader(t *testing.T) {
	want := sampleHeader()
	good := want.encode()
	if h, err := decodeSegmentHeader(good); err != nil || h != want {
		t.Fatalf("got %+v, %v", h, err)
	}
	for _, tt := range []struct {
		name   string
		change func(b []byte) []byte
		want   error
	}{
		{"short", func(b []byte) []byte { return b[:511] }, ErrCorrupt},
		{"magic", func(b []byte) []byte { b[0]++; return resumSegment(b) }, ErrCorrupt},
		{"version", func(b []byte) []byte { b[4]++; return resumSegment(b) }, ErrUnknownVersion},
		{"version changed by rot", func(b []byte) []byte { b[4]++; return b }, ErrCorrupt},
		{"flags", func(b []byte) []byte { b[60] = 2; return resumSegment(b) }, ErrUnknownVersion},
		{"size zero", func(b []byte) []byte { le.PutUint64(b[48:], 0); return resumSegment(b) }, ErrCorrupt},
		{"size above the bound", func(b []byte) []byte { le.PutUint64(b[48:], segmentSizeMax+sectorSize); return resumSegment(b) }, ErrCorrupt},
		{"size not of sectors", func(b []byte) []byte { le.PutUint64(b[48:], 64<<10+1); return resumSegment(b) }, ErrCorrupt},
		{"data start", func(b []byte) []byte { b[56]++; return resumSegment(b) }, ErrCorrupt},
		{"data start of a fresh one", func(b []byte) []byte { b[60] = flagFresh; return resumSegment(b) }, ErrCorrupt},
		{"checksum", func(b []byte) []byte { b[508]++; return b }, ErrCorrupt},
	} {
		if _, err := decodeSegmentHeader(tt.change(bytes.Clone(good))); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func sampleBatchHeader() batchHeader {
	return batchHeader{
		Sequence: 7, Number: 9, Durable: 8, Oldest: 3, DataAt: 20, DataLen: 2, IDTop: 100, IDLen: 1,
		Prev: 11, Body: 12, Records: 1, Bytes: 600,
	}
}

func TestBatchHeader(t *testing.T) {
	want := sampleBatchHeader()
	good := make([]byte, batchHeaderSize)
	want.encode(good)
	if h, err := decodeBatchHeader(good); err != nil || h != want {
		t.Fatalf("got %+v, %v", h, err)
	}
	for _, tt := range []struct {
		name   string
		change func(h *batchHeader)
	}{
		{"more sectors than bytes", func(h *batchHeader) { h.DataLen++ }},
		{"no identity", func(h *batchHeader) { h.IDLen = 0 }},
		{"identity below zero", func(h *batchHeader) { h.IDLen = 101 }},
		{"number zero", func(h *batchHeader) { h.Number, h.Durable = 0, 0 }},
		{"durable before it was written", func(h *batchHeader) { h.Durable = 9 }},
	} {
		h := want
		tt.change(&h)
		b := make([]byte, batchHeaderSize)
		h.encode(b)
		if _, err := decodeBatchHeader(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for at := range good {
		b := bytes.Clone(good)
		b[at] ^= 4
		if _, err := decodeBatchHeader(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
	magic := bytes.Clone(good)
	magic[4]++
	le.PutUint32(magic, checksum(magic[4:]))
	if _, err := decodeBatchHeader(magic); !errors.Is(err, ErrCorrupt) {
		t.Errorf("magic: %v", err)
	}
	if _, err := decodeBatchHeader(good[:71]); !errors.Is(err, ErrCorrupt) {
		t.Errorf("short: %v", err)
	}
}

func TestIdentitySector(t *testing.T) {
	want := idSector{Sequence: 7, Number: 9, Durable: 8, DataAt: 20, DataLen: 2, At: 99, Part: 1, Parts: 2, Stream: []byte("stream")}
	good := make([]byte, sectorSize)
	want.encode(good)
	got, err := decodeIDSector(good)
	if err != nil || !bytes.HasPrefix(got.Stream, want.Stream) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for at := range good {
		b := bytes.Clone(good)
		b[at] ^= 4
		if _, err := decodeIDSector(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
	for name, change := range map[string]func(s *idSector){
		"part behind the last": func(s *idSector) { s.Part = 2 },
		"no data":              func(s *idSector) { s.DataLen = 0 },
		"number zero":          func(s *idSector) { s.Number, s.Durable = 0, 0 },
		"durable too new":      func(s *idSector) { s.Durable = 9 },
	} {
		s := want
		change(&s)
		b := make([]byte, sectorSize)
		s.encode(b)
		if _, err := decodeIDSector(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := decodeIDSector(good[:511]); !errors.Is(err, ErrCorrupt) {
		t.Errorf("short: %v", err)
	}
}

// sampleRecords are an update with a snapshot, a configuration and two terms, and
// a copy without entries.
func sampleRecords(t testing.TB) []record {
	t.Helper()
	s := newScript(1)
	meta, err := entry.AppendSnapshotMeta(nil, &raft.SnapshotMeta{ID: raft.EntryID{Term: 2, Index: 4}, Configuration: raft.ConfigurationEntry{Configuration: s.configuration()}})
	if err != nil {
		t.Fatal(err)
	}
	c := s.configuration()
	payload, err := entry.AppendConfiguration(nil, &c)
	if err != nil {
		t.Fatal(err)
	}
	b, sum := (&entry.Entry{Term: 2, Index: 5, Kind: entry.Command, Payload: []byte("x")}).AppendTo(nil)
	b, sum = (&entry.Entry{Term: 3, Index: 6, Kind: entry.Configuration, Prev: sum, Payload: payload}).AppendTo(b)
	records := []record{
		{
			group: 8, kind: kindUpdate, first: 5, last: 6, meta: meta, entries: [][]byte{b},
			head: head{
				hard: raft.HardState{CurrentTerm: 3, VotedFor: 1}, generation: 6, first: 5, last: 6,
				prevTerm: 2, lastSum: sum, snapshot: raft.EntryID{Term: 2, Index: 4},
			},
		},
		{group: 9, kind: kindCopy, flags: flagAccepted, head: head{first: 1}},
	}
	if err := records[0].indexEntries(); err != nil {
		t.Fatal(err)
	}
	return records
}

// sampleBatch encodes sampleRecords.
func sampleBatch(t testing.TB) (h batchHeader, data, stream []byte) {
	t.Helper()
	records := sampleRecords(t)
	w := &WAL{}
	bytes := 0
	for i := range records {
		records[i].entriesAt = batchHeaderSize + bytes + recordHeaderSize + len(records[i].meta)
		bytes += records[i].size()
	}
	h = batchHeader{Sequence: 7, Number: 9, Durable: 8, Oldest: 3, DataAt: 20, IDTop: 100, Records: 2, Bytes: uint32(bytes)}
	h.DataLen = uint32(dataSectors(uint64(bytes)))
	h.IDLen = uint32(idSectors(identityStreamSize(uint64(h.DataLen), records)))
	w.encode(&h, records)
	return h, w.data, w.stream
}

func TestRecords(t *testing.T) {
	h, data, stream := sampleBatch(t)
	records, err := decodeData(&h, data)
	if err != nil {
		t.Fatal(err)
	}
	var prints []fingerprint
	for off := 0; off < len(data); off += sectorSize {
		prints = append(prints, fingerprintOf(data[off:off+sectorSize]))
	}
	if again := appendIdentityStream(nil, &h, prints, records); !bytes.Equal(again, stream) {
		t.Fatal("the data gives another identity than was written with it")
	}
	id, err := decodeIdentityStream(stream, h.DataLen)
	if err != nil {
		t.Fatal(err)
	}
	if again := appendIdentityStream(nil, &h, id.prints, id.records); !bytes.Equal(again, stream) {
		t.Fatal("the identity decodes to something else")
	}
	for n := range stream {
		if _, err := decodeIdentityStream(stream[:n], h.DataLen); err == nil {
			t.Fatalf("%d of %d bytes of an identity were accepted", n, len(stream))
		}
	}
	kind := bytes.Clone(data)
	kind[batchHeaderSize+12] = 9
	if _, err := decodeData(&h, kind); !errors.Is(err, ErrUnknownVersion) {
		t.Errorf("unknown kind of record: %v", err)
	}
	length := bytes.Clone(data)
	length[batchHeaderSize+8]++
	if _, err := decodeData(&h, length); !errors.Is(err, ErrCorrupt) {
		t.Errorf("record length: %v", err)
	}
}

func ours(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnknownVersion) }

func FuzzSegmentHeader(f *testing.F) {
	h := sampleHeader()
	f.Add(h.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= sectorSize {
			resumSegment(b)
		}
		h, err := decodeSegmentHeader(b)
		if err != nil {
			if !ours(err) {
				t.Fatalf("not one of our errors: %v", err)
			}
			return
		}
		again := h.encode()
		clear(b[84:508]) // not used by this version
		if resumSegment(b); !bytes.Equal(again, b[:sectorSize]) {
			t.Fatalf("%x decodes to %+v", b, h)
		}
	})
}

func FuzzBatch(f *testing.F) {
	h, data, _ := sampleBatch(f)
	f.Add(data[batchHeaderSize:batchHeaderSize+int(h.Bytes)], uint32(2))
	f.Fuzz(func(t *testing.T, body []byte, records uint32) {
		h := sampleBatchHeader()
		h.Bytes, h.Records = uint32(len(body)), records
		h.DataLen = uint32(dataSectors(uint64(len(body))))
		data := make([]byte, int(h.DataLen)*sectorSize)
		copy(data[batchHeaderSize:], body)
		prints := sealData(&h, data, nil)
		got, err := decodeData(&h, data)
		if err != nil {
			if !ours(err) {
				t.Fatalf("not one of our errors: %v", err)
			}
			return
		}
		var again []byte
		for i := range got {
			again = got[i].appendData(again)
		}
		if !bytes.Equal(again, body) {
			t.Fatalf("%x encodes back to %x", body, again)
		}
		// Whatever data is accepted has an identity that is accepted.
		stream := appendIdentityStream(nil, &h, prints, got)
		if _, err := decodeIdentityStream(stream, h.DataLen); err != nil {
			t.Fatalf("identity of accepted data: %v", err)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	h, _, stream := sampleBatch(f)
	f.Add(stream, h.DataLen)
	f.Fuzz(func(t *testing.T, b []byte, dataLen uint32) {
		s, err := decodeIdentityStream(b, dataLen)
		if err != nil {
			if !ours(err) {
				t.Fatalf("not one of our errors: %v", err)
			}
			return
		}
		h := batchHeader{Oldest: s.oldest, Prev: s.prev, Body: s.body, Records: uint32(len(s.records))}
		again := appendIdentityStream(nil, &h, s.prints, s.records)
		if size := idStreamHeader + int(le.Uint32(b[20:])); !bytes.Equal(again, b[:size]) {
			t.Fatalf("%x encodes back to %x", b[:size], again)
		}
	})
}

func FuzzIdentitySector(f *testing.F) {
	b := make([]byte, sectorSize)
	(&idSector{Sequence: 7, Number: 9, Durable: 8, DataAt: 20, DataLen: 2, At: 99, Part: 1, Parts: 2}).encode(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= sectorSize {
			b = b[:sectorSize]
			le.PutUint32(b[508:], checksum(b[4:idSectorHeader]))
			le.PutUint32(b, checksum(b[4:]))
		}
		s, err := decodeIDSector(b)
		if err != nil {
			if !ours(err) {
				t.Fatalf("not one of our errors: %v", err)
			}
			return
		}
		again := make([]byte, sectorSize)
		if s.encode(again); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %+v", b, s)
		}
	})
}

// FuzzScan puts any bytes into a segment: its scan gives batches or an error of
// ours, and never panics.
func FuzzScan(f *testing.F) {
	_, data, _ := sampleBatch(f)
	f.Add(data, uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		s := &scanner{buf: make([]byte, 8<<10), fresh: true, mended: map[uint32]bool{}, seg: &segment{header: segmentHeader{Sequence: 7, Size: 8 << 10, DataStart: 1, Fresh: true}}}
		copy(s.buf[min(int(at), len(s.buf)):], b)
		if _, _, err := s.scan(0); err != nil && !ours(err) {
			t.Fatalf("not one of our errors: %v", err)
		}
	})
}

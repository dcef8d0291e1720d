package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the files in testdata")

var (
	sampleID            = raft.EntryID{Term: 0x0102030405060708, Index: 0x1112131415161718}
	sampleConfiguration = raft.ConfigurationEntry{
		ID: raft.EntryID{Term: 2, Index: 3},
		Configuration: raft.Configuration{
			Members: []raft.Member{
				{ID: 1, Incarnation: 0x21, Role: raft.Voter, Addresses: []string{"a:1", "b:2"}},
				{ID: 2, Incarnation: 0x22, Role: raft.Learner},
			},
			Outgoing:  []raft.NodeID{1, 7},
			AutoLeave: true,
		},
	}
	sampleMeta     = raft.SnapshotMeta{ID: sampleID, Configuration: sampleConfiguration, MaxTimestamp: -1}
	sampleIdentity = transport.Identity{Cluster: transport.ClusterID{1, 2, 3, 15: 16}, Node: 5, Incarnation: 0x55}
)

// samples has one envelope of each kind, by name.
func samples() []struct {
	name string
	e    transport.Envelope
} {
	body := func(b raft.Body) transport.Envelope {
		return transport.Envelope{Group: 9, Message: raft.Message{From: 1, To: 2, Body: b}}
	}
	appendEntries := body(&raft.AppendEntries{
		Term: 5, Prev: sampleID, Last: sampleID.Index + 4, Commit: 9, Round: 10,
		Runs: []raft.TermRun{{First: sampleID.Index + 1, Term: 5}, {First: sampleID.Index + 3, Term: 6}},
	})
	appendEntries.Entries = [][]byte{[]byte("entries' bytes")}
	bootstrap := func(b transport.Bootstrap) transport.Envelope {
		return transport.Envelope{Group: 9, Message: raft.Message{From: 1, To: 2}, Bootstrap: &b}
	}
	return []struct {
		name string
		e    transport.Envelope
	}{
		{"pre-vote", body(&raft.PreVote{Term: 1, LastLog: sampleID})},
		{"pre-vote response", body(&raft.PreVoteResponse{Term: 2, Granted: true})},
		{"request vote", body(&raft.RequestVote{Term: 3, LastLog: sampleID, Transfer: true})},
		{"request vote response", body(&raft.RequestVoteResponse{Term: 4, LastLog: sampleID})},
		{"append entries", appendEntries},
		{"heartbeat", body(&raft.AppendEntries{Term: 5, Prev: sampleID, Last: sampleID.Index, Round: 11})},
		{"append entries response", body(&raft.AppendEntriesResponse{Term: 6, Success: true, Match: 7, Round: 8, Prev: 9, Hint: sampleID})},
		{"install snapshot", body(&raft.InstallSnapshot{Term: 7, Round: 8, Snapshot: sampleMeta})},
		{"install snapshot response", body(&raft.InstallSnapshotResponse{Term: 8, Match: 9, Round: 10})},
		{"timeout now", body(&raft.TimeoutNow{Term: 9})},
		{"read index request", body(&raft.ReadIndexRequest{Term: 10, Read: 11})},
		{"read index response", body(&raft.ReadIndexResponse{Term: 11, Read: 12, Index: 13})},
		{"bootstrap, empty", bootstrap(transport.Bootstrap{Incarnation: 1, Seen: 2, Empty: true})},
		{"bootstrap", bootstrap(transport.Bootstrap{Incarnation: 3, Configuration: sampleConfiguration})},
		{"forward", transport.Envelope{Group: 9, Message: raft.Message{From: 1, To: 2}, Forward: []byte("set x")}},
	}
}

// frameOf is the frame that carries envelopes.
func frameOf(t testing.TB, referenceFrom int, envelopes ...transport.Envelope) []byte {
	t.Helper()
	var b Batch
	b.Reset()
	for i := range envelopes {
		added, err := b.Append(&envelopes[i], 1<<30, referenceFrom)
		if !added || err != nil {
			t.Fatalf("Append of %+v: %v, %v", envelopes[i], added, err)
		}
	}
	b.Seal()
	frame := bytes.Join(b.Buffers(nil), nil)
	if len(frame) != b.Size() {
		t.Fatalf("frame of %d bytes, Size %d", len(frame), b.Size())
	}
	return frame
}

// goldenFrames are frames of each type, by name.
func goldenFrames(t testing.TB) (names []string, frames [][]byte) {
	add := func(name string, frame []byte) {
		names, frames = append(names, name), append(frames, frame)
	}
	add("hello", (&HelloFrame{
		From: sampleIdentity, To: 6, Nonce: Nonce{7, 15: 8}, FrameMax: 0x01000000, Kind: SnapshotConnection,
	}).Frame())
	add("welcome", (&WelcomeFrame{From: sampleIdentity, Nonce: Nonce{7, 15: 8}, FrameMax: 0x01000000}).Frame())
	add("refusal", RefusalFrame("go away"))
	var all []transport.Envelope
	for _, s := range samples() {
		add("messages: "+s.name, frameOf(t, 1, s.e))
		all = append(all, s.e)
	}
	add("messages: all of them", frameOf(t, 1, all...))
	offer, err := OfferFrame(&transport.SnapshotOffer{Group: 1, Term: 2, Round: 3, Size: 4, ID: 5, Meta: sampleMeta})
	if err != nil {
		t.Fatal(err)
	}
	add("snapshot offer", offer)
	add("snapshot resume", NumberFrame(SnapshotResume, 77))
	chunk := append(make([]byte, HeaderSize), "content"...)
	Seal(chunk, SnapshotChunk)
	add("snapshot chunk", chunk)
	add("snapshot end", NumberFrame(SnapshotEnd, 88))
	add("snapshot working", EmptyFrame(SnapshotWorking))
	add("snapshot installed", EmptyFrame(SnapshotInstalled))
	return names, frames
}

// TestGolden holds the format to what was written down: nodes of different versions
// talk to each other.
func TestGolden(t *testing.T) {
	var text strings.Builder
	names, frames := goldenFrames(t)
	for i, name := range names {
		fmt.Fprintf(&text, "%s\n", name)
		for rest := frames[i]; len(rest) > 0; {
			n := min(32, len(rest))
			fmt.Fprintf(&text, "\t%s\n", hex.EncodeToString(rest[:n]))
			rest = rest[n:]
		}
	}
	file := filepath.Join("testdata", "frames.v1")
	if *rewrite {
		if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("the frames differ from %s:\n%s", file, text.String())
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	var sent []transport.Envelope
	for _, s := range samples() {
		sent = append(sent, s.e)
	}
	for _, share := range []bool{false, true} {
		frame := frameOf(t, 4, sent...)
		payload := frame[HeaderSize:]
		d := Decoder{From: 1, To: 2}
		got, err := d.Decode(nil, payload, share)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, sent) {
			t.Errorf("share %v:\n got %+v\nwant %+v", share, got, sent)
		}
		for i := range payload {
			payload[i] = 0xff
		}
		if same := string(got[4].Entries[0]) == string(sent[4].Entries[0]); same == share {
			t.Errorf("share %v: entries follow the payload: %v", share, !same)
		}
		forwards := 0
		for i := range got {
			if len(sent[i].Forward) == 0 {
				continue
			}
			forwards++
			if same := string(got[i].Forward) == string(sent[i].Forward); same == share {
				t.Errorf("share %v: forwarded bytes follow the payload: %v", share, !same)
			}
		}
		if forwards == 0 {
			t.Error("no sample is forwarded")
		}
	}
}

// TestBatchPieces: however entries are cut and wherever they are kept, the frame is
// the same.
func TestBatchPieces(t *testing.T) {
	whole := []byte("the bytes of several entries, end to end")
	body := &raft.AppendEntries{Term: 1, Last: 3}
	envelope := func(pieces ...[]byte) transport.Envelope {
		return transport.Envelope{Group: 1, Message: raft.Message{Body: body}, Entries: pieces}
	}
	after := transport.Envelope{Message: raft.Message{Body: &raft.TimeoutNow{}}}
	want := frameOf(t, 1000, envelope(whole), after)
	for _, referenceFrom := range []int{0, 1, 5, 10, 1000} {
		for _, e := range []transport.Envelope{
			envelope(whole), envelope(whole[:3], whole[3:]), envelope(nil, whole[:20], nil, whole[20:29], whole[29:], nil),
		} {
			if got := frameOf(t, referenceFrom, e, after); !bytes.Equal(got, want) {
				t.Errorf("%d pieces, by reference from %d: the frame differs", len(e.Entries), referenceFrom)
			}
		}
	}
}

func TestBatchRefuses(t *testing.T) {
	var b Batch
	b.Reset()
	heartbeat := transport.Envelope{Message: raft.Message{Body: &raft.AppendEntries{}}}
	if added, err := b.Append(&heartbeat, 1000, 0); !added || err != nil {
		t.Fatalf("%v, %v", added, err)
	}
	size := b.Size()
	for _, c := range []struct {
		name  string
		e     transport.Envelope
		fails bool
	}{
		{"nothing in it", transport.Envelope{}, true},
		{"entries beside another message", transport.Envelope{
			Message: raft.Message{Body: &raft.TimeoutNow{}}, Entries: [][]byte{{1}},
		}, true},
		{"configuration out of bounds", transport.Envelope{Bootstrap: &transport.Bootstrap{
			Configuration: raft.ConfigurationEntry{Configuration: raft.Configuration{Members: []raft.Member{{ID: 0}}}},
		}}, true},
		{"too long by its entries", transport.Envelope{
			Message: raft.Message{Body: &raft.AppendEntries{}}, Entries: [][]byte{make([]byte, 2000)},
		}, false},
		{"too long by its runs", transport.Envelope{
			Message: raft.Message{Body: &raft.AppendEntries{Runs: make([]raft.TermRun, 100)}},
		}, false},
	} {
		added, err := b.Append(&c.e, 1000, 1)
		if added || (err != nil) != c.fails {
			t.Errorf("%s: added %v, error %v", c.name, added, err)
		}
		if b.Size() != size || b.Len() != 1 {
			t.Errorf("%s: the batch changed", c.name)
		}
	}
	b.Seal()
	if got, want := bytes.Join(b.Buffers(nil), nil), frameOf(t, 1, heartbeat); !bytes.Equal(got, want) {
		t.Error("the frame differs after what was refused")
	}
}

// TestHeader has one row for each reason to refuse a frame.
func TestHeader(t *testing.T) {
	good := NumberFrame(SnapshotEnd, 1)
	change := func(at int, to ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], to)
		return b
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  error
		text  string
	}{
		{"nothing wrong", good, nil, ""},
		{"magic", change(3, 'X'), ErrCorrupt, "magic"},
		{"TLS to a node without", change(0, 0x16, 3, 1), ErrCorrupt, "the peer speaks TLS"},
		{"TLS alert", change(0, 0x15, 3, 1), ErrCorrupt, "TLS alert"},
		{"version", change(4, 2), ErrVersion, "2 in a frame of snapshot end, this node speaks 1"},
		{"no type", change(5, 0), ErrCorrupt, "unknown type 0"},
		{"unknown type", change(5, types), ErrCorrupt, fmt.Sprintf("unknown type %d", types)},
		{"reserved", change(6, 1), ErrCorrupt, "reserved"},
		{"length above the bound", change(8, 101), ErrCorrupt, "101 bytes, at most 100"},
		{"largest length", change(8, 255, 255, 255, 255), ErrCorrupt, "4294967295 bytes"},
		{"checksum", change(12, 1), ErrCorrupt, "checksum"},
		{"payload", change(HeaderSize, 2), ErrCorrupt, "checksum"},
		{"type changed", change(5, byte(SnapshotResume)), ErrCorrupt, "checksum"},
		{"ends in the header", good[:10], io.ErrUnexpectedEOF, ""},
		{"ends in the payload", good[:20], io.ErrUnexpectedEOF, ""},
		{"empty", nil, io.EOF, ""},
	} {
		_, _, err := ReadFrame(bytes.NewReader(c.frame), 100, nil)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %v with %q", c.name, err, c.want, c.text)
		}
	}
	// A refusal is understood in whatever version it comes.
	refusal := RefusalFrame("why")
	refusal[4] = 9
	if _, err := ParseHeader(refusal, 100); err != nil {
		t.Errorf("refusal of another version: %v", err)
	}
}

// greedy records how much is asked of it.
type greedy struct {
	r       io.Reader
	largest int
}

func (g *greedy) Read(p []byte) (int, error) {
	g.largest = max(g.largest, len(p))
	return g.r.Read(p)
}

// TestLengthAlone: a length that no bytes follow allocates a step, not what it
// announces.
func TestLengthAlone(t *testing.T) {
	for _, arrived := range []int{0, 1000, growStep, 3 * growStep} {
		g := &greedy{r: bytes.NewReader(make([]byte, arrived))}
		if _, err := ReadPayload(g, nil, 1<<30); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes arrived: %v", arrived, err)
		}
		if limit := 2*arrived + growStep; g.largest > limit {
			t.Errorf("%d bytes arrived, %d were made room for at once, want at most %d", arrived, g.largest, limit)
		}
	}
	want := bytes.Repeat([]byte("abcdefg"), 300_000)
	got, err := ReadPayload(bytes.NewReader(want[100:]), want[:100], len(want))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestRefusal(t *testing.T) {
	for reason, want := range map[string]string{
		"":                                     "no reason given",
		"plain":                                "plain",
		"a\nline\x1b[2J":                       "a?line?[2J",
		strings.Repeat("x", 2*ReasonMax):       strings.Repeat("x", ReasonMax),
		strings.Repeat("x", ReasonMax-1) + "ä": strings.Repeat("x", ReasonMax-1),
	} {
		if got := DecodeRefusal(RefusalFrame(reason)[HeaderSize:]); got != want {
			t.Errorf("%q: %q, want %q", reason, got, want)
		}
	}
}

// FuzzMessages: any payload gives envelopes that encode back to it, or an error.
func FuzzMessages(f *testing.F) {
	_, frames := goldenFrames(f)
	for _, frame := range frames {
		f.Add(frame[HeaderSize:])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		d := Decoder{From: 1, To: 2}
		shared, err := d.Decode(nil, payload, true)
		copied, err2 := d.Decode(nil, payload, false)
		if (err == nil) != (err2 == nil) || !reflect.DeepEqual(shared, copied) {
			t.Fatalf("shared %+v, %v; copied %+v, %v", shared, err, copied, err2)
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || len(shared) > 0 {
				t.Fatalf("%d envelopes and %v, want none and ErrCorrupt", len(shared), err)
			}
			return
		}
		if got := frameOf(t, 10, shared...)[HeaderSize:]; !bytes.Equal(got, payload) {
			t.Fatalf("encoded back to %x", got)
		}
	})
}

// FuzzHandshake: the same for the small frames.
func FuzzHandshake(f *testing.F) {
	_, frames := goldenFrames(f)
	for _, frame := range frames {
		f.Add(frame[HeaderSize:])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		check := func(name string, frame []byte, err error) {
			if err == nil && !bytes.Equal(frame[HeaderSize:], payload) {
				t.Fatalf("%s encoded back to %x", name, frame[HeaderSize:])
			}
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s: %v", name, err)
			}
		}
		hello, err := DecodeHello(payload)
		check("hello", hello.Frame(), err)
		welcome, err := DecodeWelcome(payload)
		check("welcome", welcome.Frame(), err)
		number, err := DecodeNumber(payload)
		check("number", NumberFrame(SnapshotEnd, number), err)
		offer, err := DecodeOffer(payload, 3)
		if err == nil {
			var frame []byte
			if frame, err = OfferFrame(&offer); err != nil {
				t.Fatalf("offer that was decoded: %v", err)
			}
			check("offer", frame, nil)
		} else {
			check("offer", nil, err)
		}
		reason := DecodeRefusal(payload)
		if len(reason) > 3*ReasonMax || strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("reason %q", reason)
		}
	})
}

// FuzzFrame: any bytes give frames that are the bytes, or an error.
func FuzzFrame(f *testing.F) {
	_, frames := goldenFrames(f)
	for _, frame := range frames {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		read := 0
		for {
			typ, payload, err := ReadFrame(r, 1<<20, make([]byte, 16))
			if err != nil {
				return
			}
			again := append(make([]byte, HeaderSize), payload...)
			Seal(again, typ)
			end := read + len(again)
			// Only a refusal may be of another version.
			if got := stream[read:end]; !bytes.Equal(got, again) && (typ != Refusal || got[4] == Version) {
				t.Fatalf("frame at %d encoded back to %x", read, again)
			}
			read = end
		}
	})
}

package transporttest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// samples has one message of each type, each field set.
func samples() []transport.Envelope {
	configuration := raft.ConfigurationEntry{
		ID: raft.EntryID{Term: 2, Index: 3},
		Configuration: raft.Configuration{
			Members: []raft.Member{
				{ID: 1, Incarnation: 11, Role: raft.Voter, Addresses: []string{"a:1", "b:2"}},
				{ID: 2, Incarnation: 12, Role: raft.Learner},
			},
			Outgoing:  []raft.NodeID{1, 7},
			AutoLeave: true,
		},
	}
	id := raft.EntryID{Term: 5, Index: 1<<63 + 6}
	bodies := []raft.Body{
		&raft.PreVote{Term: 1, LastLog: id},
		&raft.PreVoteResponse{Term: 2, Granted: true},
		&raft.RequestVote{Term: 3, LastLog: id, Transfer: true},
		&raft.RequestVoteResponse{Term: 4, Granted: true, LastLog: id},
		&raft.AppendEntries{
			Term: 5, Prev: id, Last: id.Index + 4, Commit: 9, Round: 10,
			Runs: []raft.TermRun{{First: id.Index + 1, Term: 5}, {First: id.Index + 3, Term: 6}},
		},
		&raft.AppendEntries{Term: 5},
		&raft.AppendEntriesResponse{Term: 6, Success: true, Match: 7, Round: 8, Prev: 9, Hint: id},
		&raft.InstallSnapshot{
			Term: 7, Round: 8,
			Snapshot: raft.SnapshotMeta{ID: id, Configuration: configuration, MaxTimestamp: -1},
		},
		&raft.InstallSnapshotResponse{Term: 8, Match: 9, Round: 10},
		&raft.TimeoutNow{Term: 9},
		&raft.ReadIndexRequest{Term: 10, Read: 11},
		&raft.ReadIndexResponse{Term: 11, Read: 12, Index: 13},
	}
	var all []transport.Envelope
	for i, b := range bodies {
		e := transport.Envelope{Group: raft.GroupID(i + 1), Message: raft.Message{Body: b}}
		if m, ok := b.(*raft.AppendEntries); ok && len(m.Runs) > 0 {
			e.Entries = [][]byte{[]byte("entries")}
		}
		all = append(all, e)
	}
	return append(
		all,
		transport.Envelope{Group: 1, Bootstrap: &transport.Bootstrap{Incarnation: 1, Seen: 2, Empty: true}},
		transport.Envelope{Group: 2, Bootstrap: &transport.Bootstrap{Incarnation: 3, Configuration: configuration}},
	)
}

func testMessages(b *bench) {
	from, to := b.pair(Options{})
	sent := samples()
	if taken := from.Send(2, sent); taken != len(sent) {
		b.Fatalf("Send took %d messages of %d", taken, len(sent))
	}
	// What is the receiver's to set does not travel.
	from.must(2, transport.Envelope{Group: 1, Message: raft.Message{
		From: 8, To: 9,
		Body: &raft.AppendEntries{Term: 1, Configurations: []raft.ConfigurationEntry{{}}},
	}})
	from.must(2, transport.Envelope{Group: 1, Message: raft.Message{Body: &raft.InstallSnapshot{Term: 1, Done: true}}})
	sent = append(
		sent,
		transport.Envelope{Group: 1, Message: raft.Message{Body: &raft.AppendEntries{Term: 1}}},
		transport.Envelope{Group: 1, Message: raft.Message{Body: &raft.InstallSnapshot{Term: 1}}},
	)
	for i, got := range to.awaitReceived(len(sent)) {
		want := sent[i]
		want.Message.From, want.Message.To = 1, 2
		if !reflect.DeepEqual(got, want) {
			b.Errorf("message %d:\n got %+v %+v\nwant %+v %+v", i, got, got.Message.Body, want, want.Message.Body)
		}
	}
}

func testOrder(b *bench) {
	from, to := b.pair(Options{})
	const groups, each = 5, 120
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	// size gives lengths around every bound that an implementation may have.
	size := func() int {
		switch random.IntN(10) {
		case 0:
			return random.IntN(len(content))
		case 1, 2, 3:
			return random.IntN(100 << 10)
		case 4, 5:
			return 0
		}
		return random.IntN(300)
	}
	type key struct {
		group  raft.GroupID
		number int
	}
	want := make(map[key][]byte)
	// Taken is what is in flight: the sender waits before it exceeds the queue.
	sent, inFlight := 0, 0
	for i := range each {
		for g := raft.GroupID(1); g <= groups; g++ {
			start := random.IntN(len(content))
			whole := content[start:min(len(content), start+size())]
			var pieces [][]byte
			for rest := whole; len(rest) > 0; {
				n := min(len(rest), 1+size())
				pieces = append(pieces, rest[:n])
				rest = rest[n:]
			}
			want[key{g, i}] = whole
			if inFlight += len(whole); inFlight > 24<<20 {
				to.awaitReceived(sent)
				inFlight = 0
			}
			from.must(2, appendEntries(g, i, pieces...))
			sent++
		}
	}
	next := make(map[raft.GroupID]int)
	for _, e := range to.awaitReceived(sent) {
		n := number(&e)
		if n != next[e.Group] {
			b.Fatalf("group %d: message %d arrived, want %d", e.Group, n, next[e.Group])
		}
		next[e.Group]++
		if len(e.Entries) > 1 {
			b.Fatalf("group %d, message %d: entries in %d pieces", e.Group, n, len(e.Entries))
		}
		if !bytes.Equal(bytes.Join(e.Entries, nil), want[key{e.Group, n}]) {
			b.Fatalf("group %d, message %d: entries differ", e.Group, n)
		}
	}
	if s := from.Stats(2); s.Sent != uint64(sent) || s.Dropped != 0 || s.Lost != 0 {
		b.Errorf("stats %+v, want %d sent, none dropped or lost", s, sent)
	}
}

func testOwnership(b *bench) {
	from, to := b.pair(Options{})
	to.update(func() {
		to.deliver = func(envelopes []transport.Envelope) {
			for _, e := range envelopes {
				for _, p := range e.Entries {
					for i := range p {
						p[i]++
					}
				}
			}
		}
	})
	first, second := bytes.Repeat([]byte{'a'}, 1000), bytes.Repeat([]byte{'b'}, 10_000)
	for i := range 50 {
		from.must(2, appendEntries(1, i, first, second))
	}
	received := to.awaitReceived(50)
	if first[0] != 'a' || second[0] != 'b' {
		b.Error("what the receiver wrote into its entries appeared at the sender")
	}
	want := append(bytes.Repeat([]byte{'b'}, 1000), bytes.Repeat([]byte{'c'}, 10_000)...)
	for i, e := range received {
		if !bytes.Equal(e.Entries[0], want) {
			b.Fatalf("message %d: entries changed after Deliver", i)
		}
	}
}

func testBoundedQueue(b *bench) {
	const limit = 64
	from, to := b.pair(Options{QueueMessages: limit})
	to.shut()
	entry := make([]byte, 64<<10)
	// What the network itself holds is bounded, too, but not by the queue.
	taken := 0
	for from.Send(2, []transport.Envelope{appendEntries(1, taken, entry)}) == 1 {
		if taken++; taken > 10_000 {
			b.Fatal("10,000 messages taken, and none is received")
		}
	}
	if s := from.Stats(2); s.Dropped != 1 {
		b.Fatalf("stats %+v, want 1 dropped", s)
	}
	// Room is kept for messages without entries, even beside those with.
	if n := from.Send(2, []transport.Envelope{appendEntries(1, -1, entry), heartbeat(2, 0), appendEntries(1, -1)}); n < 1 {
		b.Fatalf("took %d messages, want the one without entries at least", n)
	} else {
		taken += n
	}
	smalls := 1
	for from.Send(2, []transport.Envelope{heartbeat(2, smalls)}) == 1 {
		taken++
		if smalls++; smalls > 1_000_000 {
			b.Fatal("1,000,000 messages taken, and none is received")
		}
	}
	s := from.Stats(2)
	if s.Queued < limit || s.Queued > 2*limit {
		b.Errorf("%d messages are queued, want %d and a few", s.Queued, limit)
	}
	if s.Dropped < 2 {
		b.Errorf("stats %+v, want at least 2 dropped", s)
	}
	to.open()
	next := make(map[raft.GroupID]int)
	for _, e := range to.awaitReceived(taken) {
		if e.Group == 1 && number(&e) < 0 {
			continue // one that was sent for the room that is kept; another may have found room, too
		}
		if number(&e) != next[e.Group] {
			b.Fatalf("group %d: message %d arrived, want %d", e.Group, number(&e), next[e.Group])
		}
		next[e.Group]++
	}
	from.must(2, heartbeat(3, 0))
	if got := len(to.awaitReceived(taken + 1)); got != taken+1 {
		b.Errorf("received %d messages, %d were taken", got, taken+1)
	}
}

func testUnknownPeer(b *bench) {
	n := b.node(1, Options{})
	if taken := n.Send(2, []transport.Envelope{heartbeat(1, 1)}); taken != 0 {
		b.Errorf("Send to an unknown node took %d messages", taken)
	}
	if n.Address() == "" {
		b.Error("no address")
	}
	if err := n.Start(n.self, n); err == nil {
		b.Error("started twice")
	}
}

func testCallsFromHandler(b *bench) {
	const rounds = 500
	one, two := b.node(1, Options{}), b.node(2, Options{})
	for _, n := range []*node{one, two} {
		n.update(func() {
			n.deliver = func(envelopes []transport.Envelope) {
				for _, e := range envelopes {
					if i := number(&e); i < rounds {
						n.Send(e.Message.From, []transport.Envelope{heartbeat(e.Group, i+1)})
					}
				}
			}
		})
	}
	two.update(func() {
		two.up = func(peer raft.NodeID) { two.Send(peer, []transport.Envelope{heartbeat(1, 1)}) }
	})
	one.SetPeer(2, two.Address())
	one.awaitUp(1)
	two.SetPeer(1, one.Address())
	one.await("last round", func() bool {
		return len(one.received) > 0 && number(&one.received[len(one.received)-1]) >= rounds-1
	})
}

func testCloseWithTraffic(b *bench) {
	one, two := b.node(1, Options{QueueMessages: 200}), b.node(2, Options{QueueMessages: 200})
	one.SetPeer(2, two.Address())
	two.SetPeer(1, one.Address())
	one.awaitUp(1)
	two.awaitUp(1)
	stop := make(chan struct{})
	done := make(chan string, 2)
	for _, n := range []*node{one, two} {
		go func() {
			entry := make([]byte, 20_000)
			for i := 0; ; i++ {
				select {
				case <-stop:
					done <- ""
					return
				default:
				}
				if n.Send(3-n.self.Node, []transport.Envelope{heartbeat(1, i), appendEntries(2, i, entry)}) < 2 {
					// Full, or closed: wait for something to happen rather than spin.
					n.mu.Lock()
					changed := n.changed
					n.mu.Unlock()
					select {
					case <-changed:
					case <-stop:
					}
				}
			}
		}()
	}
	one.awaitReceived(100)
	two.awaitReceived(100)
	if err := two.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
	two.mu.Lock()
	received := len(two.received)
	two.mu.Unlock()
	one.awaitDown("end of the connection", func(error) bool { return true })
	if err := one.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
	close(stop)
	for range 2 {
		if text := <-done; text != "" {
			b.Error(text)
		}
	}
	two.mu.Lock()
	defer two.mu.Unlock()
	if len(two.received) != received {
		b.Errorf("%d messages were delivered after Close", len(two.received)-received)
	}
}

func testAfterClose(b *bench) {
	from, to := b.pair(Options{})
	fresh := b.make(3, Options{})
	for _, n := range []Transport{from, from, fresh} {
		if err := n.Close(); err != nil {
			b.Errorf("Close: %v", err)
		}
	}
	if n := from.Send(2, []transport.Envelope{heartbeat(1, 1)}); n != 0 {
		b.Errorf("Send after Close took %d messages", n)
	}
	from.SetPeer(2, to.Address())
	from.SetPeer(4, to.Address())
	for name, err := range map[string]error{
		"SendSnapshot after Close": from.SendSnapshot(b.Context(), 2, transport.SnapshotOffer{}, nil),
		"Start after Close":        fresh.Start(transport.Identity{Cluster: cluster, Node: 3}, from),
	} {
		if fmt.Sprint(err) != transport.ErrClosed.Error() {
			b.Errorf("%s: %v, want %v", name, err, transport.ErrClosed)
		}
	}
}

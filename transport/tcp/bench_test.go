package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport"
)

// benchHandler calls deliver and says when it is connected.
type benchHandler struct {
	deliver func([]transport.Envelope)
	up      chan struct{}
}

func (h *benchHandler) Deliver(e []transport.Envelope)    { h.deliver(e) }
func (h *benchHandler) Admit(transport.Identity) error    { return nil }
func (h *benchHandler) PeerUp(raft.NodeID)                { h.up <- struct{}{} }
func (h *benchHandler) PeerDown(_ raft.NodeID, err error) {}
func (h *benchHandler) ReceiveSnapshot(context.Context, transport.SnapshotOffer) (transport.SnapshotSink, error) {
	return nil, errors.New("none here")
}

// benchPair makes two nodes that are connected both ways.
func benchPair(b *testing.B, c Config, one, two func([]transport.Envelope)) (t1, t2 *Transport) {
	b.Helper()
	var all []*Transport
	var handlers []*benchHandler
	for i, deliver := range []func([]transport.Envelope){one, two} {
		c.Listen, c.Logger = "127.0.0.1:0", quiet
		t, err := New(c)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = t.Close() })
		h := &benchHandler{deliver: deliver, up: make(chan struct{}, 4)}
		if err := t.Start(transport.Identity{Node: raft.NodeID(i + 1), Incarnation: 1}, h); err != nil {
			b.Fatal(err)
		}
		all, handlers = append(all, t), append(handlers, h)
	}
	all[0].SetPeer(2, all[1].Address())
	all[1].SetPeer(1, all[0].Address())
	<-handlers[0].up
	<-handlers[1].up
	return all[0], all[1]
}

var writers = []struct {
	name     string
	noInline bool
}{{"inline", false}, {"goroutine", true}}

// BenchmarkStream sends messages with entries of 128 bytes one way, as fast as they
// arrive, with at most a window of them on their way.
func BenchmarkStream(b *testing.B) {
	for _, w := range writers {
		for _, batch := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("payload=128/batch=%d/writer=%s", batch, w.name), func(b *testing.B) {
				const window = 8192
				tokens := make(chan int, window)
				from, _ := benchPair(b, Config{noInline: w.noInline}, nil, func(e []transport.Envelope) { tokens <- len(e) })
				payload := make([]byte, 128)
				envelopes := make([]transport.Envelope, batch)
				for i := range envelopes {
					envelopes[i] = transport.Envelope{
						Group:   1,
						Message: raft.Message{Body: &raft.AppendEntries{Term: 1, Last: 1, Runs: []raft.TermRun{{First: 1, Term: 1}}}},
						Entries: [][]byte{payload},
					}
				}
				b.ReportAllocs()
				b.SetBytes(128)
				b.ResetTimer()
				inFlight, sent := 0, 0
				for sent < b.N {
					for inFlight+batch > window {
						inFlight -= <-tokens
					}
					n := min(batch, b.N-sent)
					if taken := from.Send(2, envelopes[:n]); taken != n {
						b.Fatalf("took %d of %d", taken, n)
					}
					sent += n
					inFlight += n
				}
				for inFlight > 0 {
					inFlight -= <-tokens
				}
			})
		}
	}
}

// report gives quantiles of round trips.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	at := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1000 }
	b.ReportMetric(at(0.5), "p50-us")
	b.ReportMetric(at(0.99), "p99-us")
}

// BenchmarkRoundTrip sends a message with an entry of 128 bytes there and an answer
// back, one at a time.
func BenchmarkRoundTrip(b *testing.B) {
	for _, w := range writers {
		b.Run("payload=128/writer="+w.name, func(b *testing.B) {
			back := make(chan struct{}, 1)
			answer := []transport.Envelope{{Group: 1, Message: raft.Message{Body: &raft.AppendEntriesResponse{Term: 1, Success: true}}}}
			var two *Transport
			one, two := benchPair(
				b, Config{noInline: w.noInline},
				func([]transport.Envelope) { back <- struct{}{} },
				func([]transport.Envelope) { two.Send(1, answer) },
			)
			ask := []transport.Envelope{{
				Group:   1,
				Message: raft.Message{Body: &raft.AppendEntries{Term: 1, Last: 1, Runs: []raft.TermRun{{First: 1, Term: 1}}}},
				Entries: [][]byte{make([]byte, 128)},
			}}
			took := make([]time.Duration, 0, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				begin := time.Now()
				one.Send(2, ask)
				<-back
				took = append(took, time.Since(begin))
			}
			report(b, took)
		})
	}
}

// BenchmarkRoundTripRaw is the floor of BenchmarkRoundTrip: the same bytes over two
// bare connections, one each way, with a goroutine that answers and one that reads
// the answers.
func BenchmarkRoundTripRaw(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	pair := func() (dialled, accepted net.Conn) {
		dialled, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		accepted, err = listener.Accept()
		if err != nil {
			b.Fatal(err)
		}
		return dialled, accepted
	}
	thereOut, thereIn := pair()
	backOut, backIn := pair()
	const there, answer = 233, 80 // the frames' sizes in BenchmarkRoundTrip
	back, ended := make(chan struct{}, 1), make(chan struct{}, 2)
	go func() {
		defer func() { ended <- struct{}{} }()
		buf := make([]byte, there)
		for {
			if _, err := io.ReadFull(thereIn, buf); err != nil {
				return
			}
			if _, err := backOut.Write(buf[:answer]); err != nil {
				return
			}
		}
	}()
	go func() {
		defer func() { ended <- struct{}{} }()
		buf := make([]byte, answer)
		for {
			if _, err := io.ReadFull(backIn, buf); err != nil {
				return
			}
			back <- struct{}{}
		}
	}()
	frame := make([]byte, there)
	took := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		begin := time.Now()
		if _, err := thereOut.Write(frame); err != nil {
			b.Fatal(err)
		}
		<-back
		took = append(took, time.Since(begin))
	}
	b.StopTimer()
	report(b, took)
	for _, c := range []net.Conn{thereOut, thereIn, backOut, backIn} {
		_ = c.Close()
	}
	<-ended
	<-ended
}

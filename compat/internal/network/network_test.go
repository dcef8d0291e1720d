package network

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestLink: what becomes of a packet.
func TestLink(t *testing.T) {
	now := time.Unix(1000, 0)
	decide := func(l Link, sizes ...int) (waits []time.Duration, lost int) {
		var carried, gone atomic.Int64
		q := newQueue(1, &carried, &gone, nil)
		q.set(l)
		for _, size := range sizes {
			leaves, isLost := q.decide(size, now)
			switch {
			case isLost:
				lost++
			case leaves.IsZero():
				waits = append(waits, 0)
			default:
				waits = append(waits, leaves.Sub(now))
			}
		}
		return waits, lost
	}
	many := make([]int, 1000)
	if waits, lost := decide(Link{}, 1, 2); lost != 0 || len(waits) != 2 || waits[0]+waits[1] != 0 {
		t.Errorf("a link without fault: %v, %d lost", waits, lost)
	}
	if _, lost := decide(Link{Cut: true}, many...); lost != len(many) {
		t.Errorf("%d of %d are lost on a link that is cut", lost, len(many))
	}
	if _, lost := decide(Link{Loss: 0.25}, many...); lost < 150 || lost > 350 {
		t.Errorf("%d of 1000 are lost where a quarter is to be", lost)
	}
	waits, _ := decide(Link{Delay: time.Second, Jitter: time.Second}, many...)
	for i, w := range waits {
		if w < time.Second || w > 2*time.Second || i > 0 && w < waits[i-1] {
			t.Fatalf("packet %d waits %v, the one before %v", i, w, waits[max(i-1, 0)])
		}
	}
	waits, lost := decide(Link{BytesPerSecond: 1000}, 500, 500, 1000, 1000, 1000)
	if lost != 1 || len(waits) != 4 || waits[3] != 3*time.Second {
		t.Errorf("through a narrow link: %v, %d lost", waits, lost)
	}
}

// TestRelay: a cut link is silent in its direction, also for new connections, and
// what was held comes when it is whole again.
func TestRelay(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until the peer has had enough
			}()
		}
	}()
	r, err := NewRelay(2, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, port, _ := net.SplitHostPort(echo.Addr().String())
	address, err := r.Peer(0, 1, port)
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (net.Conn, *bufio.Reader) {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c, bufio.NewReader(c)
	}
	say := func(c net.Conn, text string) {
		t.Helper()
		if _, err := io.WriteString(c, text+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(c net.Conn, b *bufio.Reader, want string, within time.Duration) {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		got, err := b.ReadString('\n')
		if want == "" && !errors.Is(err, os.ErrDeadlineExceeded) || want != "" && strings.TrimSpace(got) != want {
			t.Errorf("heard %q, %v, want %q", got, err, want)
		}
	}
	c, b := dial()
	say(c, "whole")
	hear(c, b, "whole", time.Minute)
	for _, way := range [][2]int{{0, 1}, {1, 0}} {
		r.Set(way[0], way[1], Link{Cut: true})
		say(c, "cut")
		hear(c, b, "", 50*time.Millisecond)
		fresh, freshReader := dial()
		say(fresh, "fresh")
		hear(fresh, freshReader, "", 50*time.Millisecond)
		r.Heal()
		hear(c, b, "cut", time.Minute)
		hear(fresh, freshReader, "fresh", time.Minute)
	}
	if carried, lost := r.Packets(); carried == 0 || lost == 0 {
		t.Errorf("%d carried, %d lost", carried, lost)
	}
}

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
)

const (
	// A frame is the payload's length, who sent it, both 4 bytes, and the payload.
	frameHeader = 8
	frameBuffer = 256 << 10
)

// frames is a connection that many clients share: what they send while a write is
// under way goes out with the next one.
type frames struct {
	conn    net.Conn
	payload []byte
	answers []chan error

	mu      sync.Mutex
	pending []byte
	wake    chan struct{} // capacity 1
	failed  error

	served <-chan struct{}
	ended  sync.WaitGroup
}

// frames connects clients to a server that answers each frame with itself.
func (e *echo) frames(clients, payload int) (*frames, error) {
	conn, served, err := dialSelf(serveFrames)
	if err != nil {
		return nil, fmt.Errorf("framed echo: %w", err)
	}
	f := &frames{
		conn: conn, payload: make([]byte, payload), answers: make([]chan error, clients),
		wake: make(chan struct{}, 1), served: served,
	}
	for i := range f.answers {
		f.answers[i] = make(chan error, 1)
	}
	f.ended.Go(f.write)
	f.ended.Go(f.read)
	return f, nil
}

// serveFrames answers every frame that it reads, all that came with one read by
// one write.
func serveFrames(conn net.Conn) {
	var out []byte
	readFrames(conn, func(frame []byte) { out = append(out, frame...) }, func() error {
		_, err := conn.Write(out)
		out = out[:0]
		return err
	})
}

// readFrames calls each for every frame, and after for every read.
func readFrames(conn net.Conn, each func(frame []byte), after func() error) error {
	buf := make([]byte, frameBuffer)
	have := 0
	for {
		n, err := conn.Read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		rest := buf[:have]
		for len(rest) >= frameHeader {
			size := frameHeader + int(binary.LittleEndian.Uint32(rest))
			if size > len(buf) {
				return fmt.Errorf("frame of %d bytes", size)
			}
			if len(rest) < size {
				break
			}
			each(rest[:size])
			rest = rest[size:]
		}
		have = copy(buf, rest)
		if err := after(); err != nil {
			return err
		}
	}
}

// call sends a client's frame and waits for the answer.
func (f *frames) call(client int) error {
	f.mu.Lock()
	if f.failed != nil {
		f.mu.Unlock()
		return f.failed
	}
	f.pending = binary.LittleEndian.AppendUint32(f.pending, uint32(len(f.payload)))
	f.pending = binary.LittleEndian.AppendUint32(f.pending, uint32(client))
	f.pending = append(f.pending, f.payload...)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return <-f.answers[client]
}

func (f *frames) write() {
	var out []byte
	for range f.wake {
		f.mu.Lock()
		out, f.pending = f.pending, out[:0]
		f.mu.Unlock()
		if len(out) == 0 {
			continue
		}
		if _, err := f.conn.Write(out); err != nil {
			return // read fails too
		}
	}
}

func (f *frames) read() {
	err := readFrames(f.conn, func(frame []byte) {
		if client := binary.LittleEndian.Uint32(frame[4:]); int(client) < len(f.answers) {
			f.answers[client] <- nil
		}
	}, func() error { return nil })
	f.mu.Lock()
	f.failed = err
	f.mu.Unlock()
	for _, a := range f.answers {
		select {
		case a <- err:
		default:
		}
	}
}

// Close ends the connection; nobody calls any more.
func (f *frames) Close() error {
	close(f.wake)
	err := f.conn.Close()
	f.ended.Wait()
	<-f.served
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

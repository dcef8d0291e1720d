package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/quorate/quorate/vfs"
)

// Names of the floors.
const (
	oneSync     = "fdatasync, 1 file"
	twoPlaces   = "fdatasync, 1 file, written in 2 places"
	threeSyncs  = "fdatasync, 3 files at once"
	secondOf3   = "second fastest of 3 fdatasyncs begun at once"
	roundTrip   = "loopback round trip"
	framedEcho  = "framed TCP echo"
	concurrent  = 3
	sectorSize  = 512
	floorSize   = 16 << 20
	floorSecond = 1 // index of the second fastest
)

// newFloors makes the measures of the machine.
func newFloors(dir string, o *options) (all []measure, closeAll func() error, err error) {
	var closers []io.Closer
	closeAll = func() error {
		var errs []error
		for _, c := range slices.Backward(closers) {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	var files [concurrent]*syncFile
	for i := range files {
		if files[i], err = newSyncFile(path.Join(dir, "floor-"+strconv.Itoa(i))); err != nil {
			return nil, nil, err
		}
		closers = append(closers, files[i])
	}
	race := startSyncRace(files[:])
	closers = append(closers, race)
	e, err := startEcho()
	if err != nil {
		return nil, nil, err
	}
	closers = append(closers, e)

	all = []measure{
		{name: oneSync, clients: 1, operate: func(context.Context, int) (time.Time, error) {
			err := files[0].writeAndSync(1)
			return time.Now(), err
		}},
		{name: twoPlaces, clients: 1, operate: func(context.Context, int) (time.Time, error) {
			err := files[0].writeAndSync(2)
			return time.Now(), err
		}},
		{name: threeSyncs, clients: concurrent, operate: func(_ context.Context, i int) (time.Time, error) {
			err := files[i].writeAndSync(1)
			return time.Now(), err
		}},
		{name: secondOf3, clients: 1, operate: race.run},
	}
	trip := make([]byte, o.payload)
	all = append(all, measure{name: roundTrip, clients: 1, operate: func(context.Context, int) (time.Time, error) {
		err := e.roundTrip(trip)
		return time.Now(), err
	}})
	for _, n := range o.clients {
		f, err := e.frames(n, o.payload)
		if err != nil {
			return nil, nil, err
		}
		closers = append(closers, f)
		all = append(all, measure{name: framedEcho, clients: n, operate: func(_ context.Context, i int) (time.Time, error) {
			err := f.call(i)
			return time.Now(), err
		}})
	}
	return all, closeAll, nil
}

// syncFile is a preallocated file that is overwritten sector by sector, as a log
// is, from both ends.
type syncFile struct {
	file   vfs.File
	sector [sectorSize]byte
	next   int64
}

func newSyncFile(name string) (*syncFile, error) {
	f, err := vfs.OS().Create(name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Preallocate(floorSize), f.Sync()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &syncFile{file: f}, nil
}

func (s *syncFile) writeAndSync(places int) error {
	s.sector[0]++
	if _, err := s.file.WriteAt(s.sector[:], s.next); err != nil {
		return err
	}
	if places > 1 {
		if _, err := s.file.WriteAt(s.sector[:], floorSize-sectorSize-s.next); err != nil {
			return err
		}
	}
	s.next = (s.next + sectorSize) % (floorSize / 2)
	return s.file.SyncData()
}

func (s *syncFile) Close() error { return s.file.Close() }

// syncRace has several files synced at the same time.
type syncRace struct {
	begin []chan struct{}
	ended chan syncEnd
	times []time.Time
}

type syncEnd struct {
	at  time.Time
	err error
}

func startSyncRace(files []*syncFile) *syncRace {
	r := &syncRace{ended: make(chan syncEnd, len(files))}
	for _, f := range files {
		begin := make(chan struct{}, 1)
		r.begin = append(r.begin, begin)
		go func() {
			for range begin {
				err := f.writeAndSync(1)
				r.ended <- syncEnd{time.Now(), err}
			}
			r.ended <- syncEnd{}
		}()
	}
	return r
}

// run is one race; its end is that of the second fastest, but it waits for all.
func (r *syncRace) run(context.Context, int) (time.Time, error) {
	for _, begin := range r.begin {
		begin <- struct{}{}
	}
	r.times = r.times[:0]
	var failed error
	for range r.begin {
		end := <-r.ended
		r.times = append(r.times, end.at)
		failed = errors.Join(failed, end.err)
	}
	slices.SortFunc(r.times, time.Time.Compare)
	return r.times[floorSecond], failed
}

func (r *syncRace) Close() error {
	for _, begin := range r.begin {
		close(begin)
	}
	for range r.begin {
		<-r.ended
	}
	return nil
}

// listen accepts connections on loopback and serves each until it ends.
func dialSelf(serve func(net.Conn)) (client net.Conn, done <-chan struct{}, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	server, err := l.Accept()
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer server.Close()
		serve(server)
	}()
	return client, ended, nil
}

// echo sends back what it is sent.
type echo struct {
	conn net.Conn
	done <-chan struct{}
	got  []byte
}

func startEcho() (*echo, error) {
	conn, done, err := dialSelf(func(c net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("echo: %w", err)
	}
	return &echo{conn: conn, done: done}, nil
}

func (e *echo) roundTrip(message []byte) error {
	if _, err := e.conn.Write(message); err != nil {
		return err
	}
	e.got = append(e.got[:0], message...)
	_, err := io.ReadFull(e.conn, e.got)
	return err
}

func (e *echo) Close() error {
	err := e.conn.Close()
	<-e.done
	return err
}

// Cold shows that the log's disk is bounded when one group of a node is busy and
// many others are not: their entries lie at the log's beginning, which must be
// copied forward before it can be freed.
//
// Three nodes in this process host all groups. Every cold group gets some
// commands; then closed-loop clients propose to the hot group. Each line tells
// what the nodes' logs hold on disk by then. At the end the logs are opened
// again, and every cold group must still have all its entries.
//
//	go run ./cold
//	go run ./cold -groups 10000 -seconds 120
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/bench/internal/cluster"
	"github.com/quorate/quorate/bench/internal/usage"
	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
	"github.com/quorate/quorate/wal"
)

type options struct {
	groups, commands, clients, payload, nodes, segmentMiB int
	length, interval                                      time.Duration
	dir                                                   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cold:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	var o options
	var seconds, interval float64
	flag.IntVar(&o.groups, "groups", 1000, "groups; one of them is hot")
	flag.IntVar(&o.commands, "commands", 8, "commands that each cold group is given")
	flag.IntVar(&o.clients, "clients", 256, "closed-loop clients of the hot group")
	flag.IntVar(&o.payload, "payload", 1024, "bytes of a command")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes in this process")
	flag.IntVar(&o.segmentMiB, "segment", 64, "size of a log segment in MiB")
	flag.Float64Var(&seconds, "seconds", 60, "how long the hot group is written to")
	flag.Float64Var(&interval, "interval", 5, "seconds between two lines")
	flag.StringVar(&o.dir, "dir", "", "where the nodes' directories are made (default: the one for temporary files)")
	flag.Parse()
	if flag.NArg() > 0 || o.groups < 2 || o.commands < 1 || o.clients < 1 || o.payload < 1 || o.nodes < 1 || o.segmentMiB < 1 || seconds <= 0 || interval <= 0 {
		return errors.New("want no arguments, at least 2 groups, and positive numbers")
	}
	o.length, o.interval = time.Duration(seconds*float64(time.Second)), time.Duration(interval*float64(time.Second))
	dir, err := os.MkdirTemp(o.dir, "quorate-cold-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	c, err := cluster.Start(ctx, cluster.Config{
		Dir: filepath.ToSlash(dir), Nodes: o.nodes, Groups: o.groups,
		Node: func(cfg *node.Config) { cfg.SegmentSizeBytes = int64(o.segmentMiB) << 20 },
	})
	if err != nil {
		return err
	}
	var logs []string
	for i := range c.Nodes {
		logs = append(logs, c.WALDir(i))
	}
	written, err := load(ctx, c, &o)
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	return verify(logs, written)
}

// load fills the cold groups, writes to the hot one, and prints what becomes of
// the disk. It gives the last entry that each cold group had.
func load(ctx context.Context, c *cluster.Cluster, o *options) (map[raft.GroupID]raft.Index, error) {
	began := time.Now()
	if err := fill(ctx, c, o); err != nil {
		return nil, err
	}
	last := map[raft.GroupID]raft.Index{}
	for j := 1; j < o.groups; j++ {
		status, err := c.Groups[0][j].Status(ctx)
		if err != nil {
			return nil, err
		}
		last[c.Groups[0][j].ID()] = status.CommitIndex
	}
	fmt.Printf("%d nodes, %d groups, of which %d are cold with %d commands of %d B each, written in %.1f s; segments of %d MiB\n\n",
		o.nodes, o.groups, o.groups-1, o.commands, o.payload, time.Since(began).Seconds(), o.segmentMiB)
	fmt.Printf("%8s %10s %10s %14s   %s\n", "seconds", "ops/s", "CPU s/100k", "written MiB", "log on disk: files, MiB of each node; MiB of snapshots")

	ctx, cancel := context.WithTimeout(ctx, o.length)
	defer cancel()
	var operations atomic.Uint64
	var failed atomic.Uint64
	var clients sync.WaitGroup
	for range o.clients {
		clients.Go(func() {
			command := make([]byte, o.payload)
			for ctx.Err() == nil {
				g, err := c.Leader(ctx, 0)
				for err == nil && ctx.Err() == nil {
					if _, err = g.Propose(context.Background(), command); err == nil {
						operations.Add(1)
					}
				}
				if err != nil && ctx.Err() == nil {
					failed.Add(1)
				}
			}
		})
	}
	err := sample(ctx, c, o.interval, &operations)
	clients.Wait()
	if n := failed.Load(); n > 0 {
		fmt.Printf("%d proposals failed, leadership having moved\n", n)
	}
	return last, err
}

// fill gives every cold group its commands.
func fill(ctx context.Context, c *cluster.Cluster, o *options) error {
	var errs []error
	var mu sync.Mutex
	var clients sync.WaitGroup
	for k := range o.clients {
		clients.Go(func() {
			command := make([]byte, o.payload)
			for j := 1 + k; j < o.groups; j += o.clients {
				for n := 0; n < o.commands; {
					g, err := c.Leader(ctx, j)
					if err == nil {
						_, err = g.Propose(ctx, command)
					}
					switch {
					case err == nil:
						n++
					case errors.Is(err, node.ErrNotLeader) || errors.Is(err, node.ErrUnknownOutcome):
						// Leadership moved; one command more does no harm.
					default:
						mu.Lock()
						errs = append(errs, err)
						mu.Unlock()
						return
					}
				}
			}
		})
	}
	clients.Wait()
	return errors.Join(errs...)
}

// sample prints a line now and then until ctx ends.
func sample(ctx context.Context, c *cluster.Cluster, interval time.Duration, operations *atomic.Uint64) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	start, before, used := time.Now(), uint64(0), usage.Now()
	then := start
	counts := c.FS.Counts()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now, count, usedNow := time.Now(), operations.Load(), usage.Now()
		done := float64(max(count-before, 1))
		fmt.Printf("%8.0f %10.0f %10.2f %14.0f   ", now.Sub(start).Seconds(), done/now.Sub(then).Seconds(),
			usedNow.Sub(used).CPU.Seconds()/done*100_000, mebibytes(c.FS.Counts().Sub(counts).Bytes))
		for i := range c.Nodes {
			files, size, err := directory(c.WALDir(i))
			if err != nil {
				return err
			}
			_, snapshots, err := directory(path.Join(path.Dir(c.WALDir(i)), "snapshots"))
			if err != nil {
				return err
			}
			fmt.Printf("%3d, %4.0f; %4.1f   ", files, mebibytes(size), mebibytes(snapshots))
		}
		fmt.Println()
		then, before, used = now, count, usedNow
	}
}

// directory gives the number and size of the files in a directory. Files may
// come and go meanwhile.
func directory(name string) (files int, size uint64, err error) {
	entries, err := os.ReadDir(filepath.FromSlash(name))
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			continue
		}
		files++
		size += uint64(info.Size())
	}
	return files, size, err
}

func mebibytes(n uint64) float64 { return float64(n) / (1 << 20) }

// verify reads the logs, looks for what the cold groups had, and opens them.
func verify(logs []string, last map[raft.GroupID]raft.Index) error {
	fmt.Println()
	for i, dir := range logs {
		report, err := wal.Verify(vfs.OS(), dir)
		if err == nil {
			err = check(&report, last)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		began := time.Now()
		log, err := wal.Open(wal.Options{FS: vfs.OS(), Dir: dir, Identity: report.Identity})
		if err != nil {
			return fmt.Errorf("open %s: %w", dir, err)
		}
		opened := time.Since(began)
		s := log.Stats()
		if err := log.Close(); err != nil {
			return err
		}
		fmt.Printf("node %d: log opened in %.2f s; %d files of %.0f MiB in all, %.1f MiB of entries live; all %d cold groups have all their entries, verified\n",
			i+1, opened.Seconds(), s.Segments, mebibytes(uint64(s.Bytes)), mebibytes(uint64(s.LiveBytes)), len(last))
	}
	return nil
}

func check(report *wal.Report, last map[raft.GroupID]raft.Index) error {
	if len(report.Damages) > 0 {
		return fmt.Errorf("damaged: %v", report.Damages)
	}
	found := 0
	for _, g := range report.Groups {
		want, cold := last[g.Group]
		if !cold {
			continue
		}
		found++
		if len(g.Faults) > 0 || g.First != 1 || g.Last < want {
			return fmt.Errorf("group %d: the log has [%d, %d], want [1, %d]; faults: %v", g.Group, g.First, g.Last, want, g.Faults)
		}
	}
	if found != len(last) {
		return fmt.Errorf("%d cold groups in the log, want %d", found, len(last))
	}
	return nil
}

// Idle shows what groups cost that nobody uses: CPU, memory, messages and disk,
// for nodes in this process that host many groups without clients.
//
//	go run ./idle
//	go run ./idle -groups 3000 -seconds 60
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/bench/internal/cluster"
	"github.com/quorate/quorate/bench/internal/countfs"
	"github.com/quorate/quorate/bench/internal/usage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	groups := flag.Int("groups", 1000, "groups that each node hosts")
	nodes := flag.Int("nodes", 3, "nodes in this process")
	seconds := flag.Float64("seconds", 20, "how long the groups are watched, after half of that to settle")
	in := flag.String("dir", "", "where the nodes' directories are made (default: the one for temporary files)")
	flag.Parse()
	if flag.NArg() > 0 || *groups < 1 || *nodes < 1 || *seconds <= 0 {
		return errors.New("want no arguments and positive numbers")
	}
	window := time.Duration(*seconds * float64(time.Second))
	dir, err := os.MkdirTemp(*in, "quorate-idle-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	before := memory()
	began := time.Now()
	c, err := cluster.Start(ctx, cluster.Config{Dir: filepath.ToSlash(dir), Nodes: *nodes, Groups: *groups})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	fmt.Printf("%d nodes, %d groups each: all have leaders after %.1f s\n", *nodes, *groups, time.Since(began).Seconds())

	if err := pause(ctx, window/2); err != nil {
		return err
	}
	used, disk, sent := usage.Now(), c.FS.Counts(), messages(c)
	began = time.Now()
	if err := pause(ctx, window); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	used, disk = usage.Now().Sub(used), c.FS.Counts().Sub(disk)
	sentNow := messages(c)
	after := memory()
	fmt.Printf("CPU             %.3f cores\n", used.CPU.Seconds()/took)
	fmt.Printf("thread switches %.0f per second\n", float64(used.Switches)/took)
	fmt.Printf("messages        %.0f per second, in %.0f frames\n", float64(sentNow.messages-sent.messages)/took, float64(sentNow.frames-sent.frames)/took)
	fmt.Printf("allocations     %.0f per second\n", float64(used.Allocs)/took)
	fmt.Printf("disk            %s\n", diskOf(disk))
	fmt.Printf("heap            %.1f KiB per group and node\n", float64(after.heap-min(before.heap, after.heap))/1024/float64(*groups**nodes))
	fmt.Printf("resident        %.0f MiB in all\n", float64(after.resident)/(1<<20))
	fmt.Printf("goroutines      %d\n", after.goroutines)
	return nil
}

func diskOf(c countfs.Counts) string {
	return fmt.Sprintf("%d syncs, %d bytes written", c.Syncs(), c.Bytes)
}

type traffic struct{ messages, frames uint64 }

// messages gives what all nodes have sent.
func messages(c *cluster.Cluster) (t traffic) {
	for i := range c.Transports {
		for j := range c.Transports {
			s := c.Transports[i].Stats(c.Nodes[j].ID())
			t.messages += s.Sent
			t.frames += s.Frames
		}
	}
	return t
}

type memoryUse struct {
	heap, resident uint64
	goroutines     int
}

// memory collects garbage first.
func memory() memoryUse {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := memoryUse{heap: m.HeapAlloc, resident: m.Sys - m.HeapReleased, goroutines: runtime.NumGoroutine()}
	// Linux tells what is really resident.
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(b)); len(fields) > 1 {
			if pages, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
				u.resident = pages * uint64(os.Getpagesize())
			}
		}
	}
	return u
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quorate/quorate/compat/internal/cluster"
)

// A meter counts operations while it measures. The operations that count are those
// that begin and end in that time.
type meter struct {
	measuring atomic.Bool
	failed    atomic.Int64
	mu        sync.Mutex
	recorders []*recorder
}

// A recorder is one goroutine's part of a meter.
type recorder struct {
	meter     *meter
	latencies []time.Duration
	_         [64]byte // another one's must not lie beside
}

func (m *meter) recorder() *recorder {
	r := &recorder{meter: m}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recorders = append(m.recorders, r)
	return r
}

// begin gives the time at which an operation begins, zero if it does not count.
func (m *meter) begin() time.Time {
	if !m.measuring.Load() {
		return time.Time{}
	}
	return time.Now()
}

// record counts an operation that began at a time which begin gave.
func (r *recorder) record(began time.Time, err error) {
	switch {
	case began.IsZero() || !r.meter.measuring.Load():
	case err != nil:
		r.meter.failed.Add(1)
	default:
		r.latencies = append(r.latencies, time.Since(began))
	}
}

// latencies gives all of them in order, once nobody records any more.
func (m *meter) latencies() []time.Duration {
	var all []time.Duration
	for _, r := range m.recorders {
		all = append(all, r.latencies...)
	}
	slices.Sort(all)
	return all
}

// usage is what servers used so far, and the machine.
type usage struct {
	at            time.Time
	all, leader   time.Duration // processor time
	switches      int64
	syncs         float64 // of the logs
	busy, stolen  time.Duration
	own           time.Duration // this process's
	residentBytes int64
}

func measure(ctx context.Context, c *cluster.Cluster, leader *cluster.Node) (usage, error) {
	u := usage{at: time.Now()}
	for _, n := range c.Nodes {
		used, err := n.Usage()
		if err != nil {
			return u, err
		}
		u.all += used.CPU
		if n == leader {
			u.leader = used.CPU
		}
		u.switches += used.Switches
		u.residentBytes += used.ResidentBytes
		syncs, err := logSyncs(ctx, n)
		if err != nil {
			return u, err
		}
		u.syncs += syncs
	}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return u, err
	}
	u.own = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	var err error
	u.busy, u.stolen, err = machineTime()
	return u, err
}

// logSyncs is how often a node synced its log, by the name that both servers have
// for it.
func logSyncs(ctx context.Context, n *cluster.Node) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.ClientURL+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	const name = "\netcd_disk_wal_fsync_duration_seconds_count "
	_, rest, found := strings.Cut(string(b), name)
	if !found {
		return 0, fmt.Errorf("the metrics of %s have no%s", n.Name, name)
	}
	number, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(strings.TrimSpace(number), 64)
}

// machineTime is what all processors did and what a hypervisor took, from the
// first line of /proc/stat: ticks of user, nice, system, idle, iowait, irq,
// softirq, steal.
func machineTime() (busy, stolen time.Duration, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var ticks [9]int64
	for i := 1; i < len(ticks); i++ {
		if ticks[i], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
			return 0, 0, err
		}
	}
	const tick = 10 * time.Millisecond
	return tick * time.Duration(ticks[1]+ticks[2]+ticks[3]+ticks[6]+ticks[7]), tick * time.Duration(ticks[8]), nil
}

// profile fetches profiles of every node while the turn goes on.
func profile(ctx context.Context, o *options, c *cluster.Cluster, leader *cluster.Node, name string) error {
	if err := os.MkdirAll(o.profiles, 0o700); err != nil {
		return err
	}
	fetch := func(n *cluster.Node, what, query string) error {
		role := "follower-" + n.Name
		if n == leader {
			role = "leader"
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.ClientURL+"/debug/pprof/"+what+query, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("profile of %s: %s: %s", n.Name, response.Status, b)
		}
		return os.WriteFile(filepath.Join(o.profiles, name+"-"+role+"-"+what+".pprof"), b, 0o600)
	}
	var wg sync.WaitGroup
	errs := make(chan error, 3*len(c.Nodes))
	for _, n := range c.Nodes {
		wg.Go(func() { errs <- fetch(n, "profile", "?seconds="+strconv.Itoa(max(1, int(o.duration.Seconds())-1))) })
		wg.Go(func() { errs <- fetch(n, "allocs", "?seconds="+strconv.Itoa(max(1, int(o.duration.Seconds())-1))) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// load writes numbered keys, each once, and remembers which were acknowledged.
// A writer that gets no acknowledgement writes the same value again: that the
// first attempt may have been applied does no harm here, since to write a value
// twice is to write it once.
type load struct {
	client  *client
	members []string // HTTP addresses
	prefix  string

	mu sync.Mutex
	// acknowledged holds each key with the version that was given to it.
	acknowledged map[string]uint64
	refused      int // attempts that certainly did nothing
	unknown      int // attempts of which nobody knows
	last         time.Time
	gap          time.Duration // the longest time without an acknowledgement
}

func runLoad(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := newFlags("load", `kv load writes numbered keys through all members for some seconds, then reads the
list of keys at each member and looks for every write that was acknowledged. Kill,
pause and restart members meanwhile. It fails if one is lost.`, stderr)
	seconds := flags.Float64("seconds", 10, "for how many `seconds` to write")
	writers := flags.Int("writers", 8, "how many write at a time")
	name := flags.String("name", "demo", "the `name` that was given to kv cluster")
	addresses := flags.String("http", "", "the members' addresses, `HOST:PORT,HOST:PORT,...` (default: those of the cluster on this machine)")
	if _, err := parse(flags, args); err != nil {
		return err
	}
	if *seconds <= 0 || *writers < 1 || *writers > 256 {
		return wrong(flags, "--seconds must be positive and --writers from 1 to 256")
	}
	var members []string
	if *addresses != "" {
		members = strings.Split(*addresses, ",")
	} else {
		answer, err := askCluster(ctx, *name, controlRequest{Command: "status"})
		if err != nil {
			return err
		}
		for _, m := range answer.Members {
			members = append(members, m.HTTP)
		}
	}
	l := newLoad(members)
	l.write(ctx, time.Duration(*seconds*float64(time.Second)), *writers, stdout)
	return l.verify(ctx, stdout)
}

func newLoad(members []string) *load {
	return &load{
		client: newClient(2 * time.Second), members: members,
		prefix:       fmt.Sprintf("load/%d/", time.Now().UnixNano()),
		acknowledged: map[string]uint64{}, last: time.Now(),
	}
}

// write lets writers write until the time is over, and tells once a second how far
// they are.
func (l *load) write(ctx context.Context, lasting time.Duration, writers int, out io.Writer) {
	ctx, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() { l.writer(ctx, w) })
	}
	began := time.Now()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			l.mu.Lock()
			fmt.Fprintf(out, "%3.0f s  %9s acknowledged   longest gap %d ms\n", time.Since(began).Seconds(), thousands(len(l.acknowledged)), l.gap.Milliseconds())
			l.mu.Unlock()
		}
	}
	running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gap = max(l.gap, time.Since(l.last)) // an outage that lasts to the end counts, too
}

// writer writes one key after the other, each until it is acknowledged.
func (l *load) writer(ctx context.Context, w int) {
	member, failures := w, 0
	pause := time.NewTimer(0)
	defer pause.Stop()
	for n := 0; ctx.Err() == nil; {
		key := fmt.Sprintf("%sw%d/%d", l.prefix, w, n)
		a, err := l.client.do(ctx, http.MethodPut, keyURL(l.members[member%len(l.members)], key), fmt.Appendf(nil, "value %d of writer %d", n, w))
		if ctx.Err() != nil && err != nil {
			return // given up, not failed
		}
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("%w: status %d", errNotApplied, a.status)
		}
		l.note(key, a.version, err)
		member++ // all members in turn
		if err == nil {
			n, failures = n+1, 0
			continue
		}
		if failures++; failures%len(l.members) != 0 {
			continue // another may know better
		}
		pause.Reset(10 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

func (l *load) note(key string, version uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		now := time.Now()
		l.gap = max(l.gap, now.Sub(l.last))
		l.last = now
		l.acknowledged[key] = version
	case errors.Is(err, errUnknown):
		l.unknown++
	default:
		l.refused++
	}
}

// verify looks for every acknowledged write at every member that answers.
func (l *load) verify(ctx context.Context, out io.Writer) error {
	if len(l.acknowledged) == 0 {
		return errors.New("nothing was acknowledged: is a majority running? (kv status)")
	}
	asked, lost := 0, map[string]bool{}
	for _, member := range l.members {
		found, err := l.client.list(ctx, member, l.prefix)
		if err != nil {
			fmt.Fprintf(out, "%s cannot be read, so nothing was looked for there (kv restart all starts what is down)\n", member)
			continue
		}
		asked++
		for key, version := range l.acknowledged {
			// A later version is this key written again by an attempt whose
			// outcome was unknown.
			if found[key] < version {
				lost[key] = true
			}
		}
	}
	if asked == 0 {
		return errors.New("no member could be read")
	}
	fmt.Fprintf(out, "\n%s acknowledged, %s found, read at %d of %d members; %d lost; longest gap %d ms\n",
		thousands(len(l.acknowledged)), thousands(len(l.acknowledged)-len(lost)), asked, len(l.members), len(lost), l.gap.Milliseconds())
	fmt.Fprintf(out, "(%s attempts were refused and %s ended without an answer; each was made again)\n", thousands(l.refused), thousands(l.unknown))
	if len(lost) > 0 {
		return fmt.Errorf("%d acknowledged writes were lost", len(lost))
	}
	return nil
}

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

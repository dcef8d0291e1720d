//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// syncBuffer is a buffer that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestClusterCommands does what the help tells a user to do, with the commands as
// they are typed.
func TestClusterCommands(t *testing.T) {
	tmp := shortTempDir(t)
	t.Setenv("TMPDIR", tmp)
	base := consecutivePorts(t, 6)

	ctx, stop := context.WithCancel(t.Context())
	var out, problems syncBuffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{
			"cluster", "--http-port", fmt.Sprint(base), "--raft-port", fmt.Sprint(base + 3),
			"--election-timeout", electionTimeout.String(), "--segment-bytes", "262144",
		}, &out, &problems)
	}()
	ended := false
	defer func() {
		stop()
		if !ended {
			<-done
		}
		if t.Failed() {
			t.Logf("cluster:\n%s\n%s", out.String(), problems.String())
		}
	}()

	// kv runs a command to its end.
	kv := func(args ...string) (code int, stdout, stderr string) {
		t.Helper()
		var o, e bytes.Buffer
		code = run(t.Context(), args, &o, &e)
		return code, o.String(), e.String()
	}
	// must runs a command that has to work, and to say something.
	must := func(want string, args ...string) string {
		t.Helper()
		code, stdout, stderr := kv(args...)
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Fatalf("kv %s: exit code %d\n%s%s\nwant it to say %q", strings.Join(args, " "), code, stdout, stderr, want)
		}
		return stdout
	}
	eventually(t, "the cluster says what to try", func() bool { return strings.Contains(out.String(), "kill leader") })

	// writes loads the cluster for a moment, and reports whether it says what it should:
	// on a machine that is busy no write may have been taken. None that was is lost.
	writes := func(want string, args ...string) bool {
		t.Helper()
		code, stdout, stderr := kv(append([]string{"load"}, args...)...)
		if code != exitOK && !strings.Contains(stderr, "nothing was acknowledged") && !strings.Contains(stderr, "no member could be read") {
			t.Fatalf("kv load: exit code %d\n%s%s", code, stdout, stderr)
		}
		return code == exitOK && strings.Contains(stdout, want)
	}
	eventually(t, "there is a leader and two followers", func() bool {
		code, status, _ := kv("status")
		return code == exitOK && strings.Contains(status, "leader") && strings.Count(status, "follower") == 2
	})
	eventually(t, "writes are taken, and none is lost", func() bool {
		return writes(" 0 lost", "--seconds", "0.3", "--writers", "2")
	})
	eventually(t, "there is a leader to kill", func() bool {
		code, stdout, _ := kv("kill", "leader")
		return code == exitOK && strings.Contains(stdout, "; it led")
	})
	must("stopped", "status")
	must("was restarted", "restart", "all")
	must("nothing to restart", "restart", "all")
	eventually(t, "there is a leader to pause", func() bool {
		code, stdout, _ := kv("pause", "leader")
		return code == exitOK && strings.Contains(stdout, "SIGSTOP")
	})
	must("paused", "status")
	must("SIGCONT", "resume", "all")
	if code, _, stderr := kv("resume", "1"); code != exitFailed || !strings.Contains(stderr, "not paused") {
		t.Errorf("resume of a member that is not paused: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := kv("kill", "7"); code != exitFailed || !strings.Contains(stderr, "from 1 to 3") {
		t.Errorf("kill of a member that there is not: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := kv("cluster"); code != exitFailed || !strings.Contains(stderr, "runs already") {
		t.Errorf("a second cluster of the same name: exit code %d, %s", code, stderr)
	}
	must("none runs", "kill", "all")
	if code, _, stderr := kv("load", "--seconds", "0.2"); code != exitFailed || !strings.Contains(stderr, "is a majority running") {
		t.Errorf("load on a cluster that is down: exit code %d, %s", code, stderr)
	}
	must("node 3 was restarted", "restart", "all")
	eventually(t, "writes are taken again, and none is lost", func() bool {
		return writes("read at 3 of 3 members; 0 lost", "--seconds", "0.5")
	})

	stop()
	code := <-done
	ended = true
	if code != exitOK || problems.String() != "" {
		t.Errorf("the cluster ended with %d: %s", code, problems.String())
	}
	left, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if strings.HasPrefix(entry.Name(), "quorate-kv-") && !strings.HasSuffix(entry.Name(), fmt.Sprint("-", os.Getuid())) {
			t.Errorf("the cluster left %s behind", entry.Name())
		}
	}
	if code, _, stderr := kv("status"); code != exitFailed || !strings.Contains(stderr, "no cluster") {
		t.Errorf("status after the end: exit code %d, %s", code, stderr)
	}
}

// consecutivePorts finds n free ports in a row.
func consecutivePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		base := freePorts(t, 1)[0]
		cfg := clusterConfig{}
		for i := range n {
			cfg.http, cfg.raft = append(cfg.http, base+i), append(cfg.raft, base+i)
		}
		if cfg.checkPorts() == nil {
			return base
		}
	}
	t.Fatal("no free ports in a row")
	return 0
}

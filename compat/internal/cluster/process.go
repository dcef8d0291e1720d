package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Node is one server and the process that it runs in, if it runs. Its methods
// may be called by several goroutines.
type Node struct {
	Name      string
	ClientURL string
	PeerURL   string
	Dir       string
	LogPath   string

	path   string
	args   []string
	launch func(*exec.Cmd) error

	mu     sync.Mutex
	cmd    *exec.Cmd // nil while it does not run
	exited chan struct{}
	used   time.Duration // processor time of the processes that ended
}

// Endpoint is the client address without its scheme.
func (n *Node) Endpoint() string {
	_, addr, _ := strings.Cut(n.ClientURL, "://")
	return addr
}

// Start starts the process, in the directory of the one before.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return fmt.Errorf("cluster: %s runs already", n.Name)
	}
	log, err := os.OpenFile(n.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(n.path, n.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = withParent()
	// What the tester's shell sets must not configure the servers.
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "ETCD_") && !strings.HasPrefix(kv, "QUORATE_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	if err := n.launch(cmd); err != nil {
		return err
	}
	n.cmd, n.exited = cmd, make(chan struct{})
	go n.wait(cmd, n.exited)
	return nil
}

func (n *Node) wait(cmd *exec.Cmd, exited chan struct{}) {
	_ = cmd.Wait() // how it ended stands in its log
	n.mu.Lock()
	n.used += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	n.cmd = nil
	n.mu.Unlock()
	close(exited)
}

func (n *Node) signal(s syscall.Signal) (exited chan struct{}, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return nil, fmt.Errorf("cluster: %s does not run", n.Name)
	}
	return n.exited, n.cmd.Process.Signal(s)
}

// Kill ends the process as a crash does, and waits until it is gone.
func (n *Node) Kill() error {
	exited, err := n.signal(syscall.SIGKILL)
	if err != nil {
		return err
	}
	<-exited
	return nil
}

// Terminate asks the process to stop; after the patience it is ended by Dump, which
// is an error.
func (n *Node) Terminate(patience time.Duration) error {
	exited, err := n.signal(syscall.SIGTERM)
	if err != nil {
		return err
	}
	select {
	case <-exited:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("cluster: %s still runs %v after SIGTERM", n.Name, patience), n.Dump())
	}
}

// Pause stops the process where it stands; its connections stay open.
func (n *Node) Pause() error { _, err := n.signal(syscall.SIGSTOP); return err }

// Resume lets a paused process go on.
func (n *Node) Resume() error { _, err := n.signal(syscall.SIGCONT); return err }

// Dump ends the process and has it write what all its goroutines do into its log.
func (n *Node) Dump() error {
	exited, err := n.signal(syscall.SIGQUIT)
	if err != nil {
		return err
	}
	<-exited
	return nil
}

// Running says whether the process runs, paused or not.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil
}

// CPU is the processor time, user and system, of the node's processes so far.
func (n *Node) CPU() (time.Duration, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return n.used, nil
	}
	used, err := processorTime(n.cmd.Process.Pid)
	return n.used + used, err
}

// LogTail returns the last bytes of what the node wrote.
func (n *Node) LogTail(bytes int) string {
	b, err := os.ReadFile(n.LogPath)
	if err != nil {
		return err.Error()
	}
	if len(b) > bytes {
		b = b[len(b)-bytes:]
	}
	return string(b)
}

// Usage is what a process used since it was started.
type Usage struct {
	// CPU is processor time, user and system, in steps of 10 ms.
	CPU time.Duration
	// Switches counts how often its threads waited.
	Switches int64
	// ResidentBytes is the memory that it has now.
	ResidentBytes int64
}

// Usage is that of the node's process, which must run. It is read from /proc.
func (n *Node) Usage() (Usage, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return Usage{}, fmt.Errorf("cluster: %s does not run", n.Name)
	}
	dir := filepath.Join("/proc", strconv.Itoa(n.cmd.Process.Pid))
	u := Usage{}
	var err error
	if u.CPU, err = processorTime(n.cmd.Process.Pid); err != nil {
		return u, err
	}
	if u.ResidentBytes, err = field(filepath.Join(dir, "status"), "VmRSS:"); err != nil {
		return u, err
	}
	u.ResidentBytes <<= 10
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*", "status"))
	if err != nil {
		return u, err
	}
	for _, t := range threads {
		// A thread may end in between.
		if switches, err := field(t, "voluntary_ctxt_switches:"); err == nil {
			u.Switches += switches
		}
	}
	return u, nil
}

// field reads a number behind its name in a file of /proc.
func field(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut("\n"+string(b), "\n"+name)
	f := strings.Fields(rest)
	if !found || len(f) == 0 {
		return 0, fmt.Errorf("cluster: %s has no %s", path, name)
	}
	return strconv.ParseInt(f[0], 10, 64)
}

// processorTime reads fields 14 and 15 of /proc/pid/stat, in ticks of 10 ms.
func processorTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses and may contain blanks.
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("cluster: /proc/%d/stat has %d fields", pid, len(f))
	}
	var ticks int64
	for _, s := range f[11:13] {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += v
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

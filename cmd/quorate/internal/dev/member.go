package dev

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// What a member's process does.
const (
	Running = "running"
	Paused  = "paused"
	Stopped = "stopped"
)

// errNothingToDo: the member is already as it was asked to be.
var errNothingToDo = errors.New("nothing to do")

// Info is what a cluster knows of a process of its own.
type Info struct {
	Node     int    `json:"node"`
	Endpoint string `json:"endpoint"`
	Process  string `json:"process"` // Running, Paused or Stopped
	PID      int    `json:"pid,omitempty"`
}

// member is a process of a cluster. Its methods are safe for concurrent use.
type member struct {
	node     int
	id       uint64 // as clients see it
	endpoint string
	args     []string
	log      string
	cluster  *cluster

	mu      sync.Mutex
	process string
	cmd     *exec.Cmd
	// alive is the process's standard input: it stops when this is closed, also
	// because its parent died.
	alive io.Closer
	// expected: the process was asked to end.
	expected bool
	exited   chan struct{}
}

func (m *member) info() Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	info := Info{Node: m.node, Endpoint: m.endpoint, Process: m.process}
	if m.process != Stopped {
		info.PID = m.cmd.Process.Pid
	}
	return info
}

// start starts the process if it does not run.
func (m *member) start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != Stopped {
		return fmt.Errorf("node %d is %s: %w", m.node, m.process, errNothingToDo)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(self, m.args...)
	cmd.Env = cleanEnvironment(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	alive, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start node %d: %w", m.node, err), alive.Close())
	}
	m.cmd, m.alive, m.process, m.expected = cmd, alive, Running, false
	m.exited = make(chan struct{})
	m.cluster.processes.Go(func() { m.wait(cmd, m.exited) })
	return nil
}

// wait sees the process end.
func (m *member) wait(cmd *exec.Cmd, exited chan struct{}) {
	err := cmd.Wait()
	m.mu.Lock()
	m.process = Stopped
	expected := m.expected
	m.mu.Unlock()
	if !expected {
		how := "ended"
		if err != nil {
			how = err.Error()
		}
		m.cluster.say("node %d stopped by itself (%s): %s; all of it in %s", m.node, how, m.lastWords(), m.log)
	}
	close(exited)
}

// lastWords gives the end of the process's log.
func (m *member) lastWords() string {
	const most = 1 << 10
	f, err := os.Open(m.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		f.Seek(-most, io.SeekEnd)
	}
	tail, _ := io.ReadAll(io.LimitReader(f, most))
	tail = bytes.TrimSpace(tail)
	return string(tail[bytes.LastIndexByte(tail, '\n')+1:])
}

// kill ends the process as a power cut would, and waits until it is gone.
func (m *member) kill() error {
	m.mu.Lock()
	if m.process == Stopped {
		m.mu.Unlock()
		return fmt.Errorf("node %d does not run: %w", m.node, errNothingToDo)
	}
	m.expected = true
	err := m.cmd.Process.Kill()
	exited := m.exited
	m.mu.Unlock()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill node %d: %w", m.node, err)
	}
	<-exited
	return nil
}

func (m *member) pause() error  { return m.signal(Running, Paused, pauseProcess) }
func (m *member) resume() error { return m.signal(Paused, Running, resumeProcess) }

func (m *member) signal(from, to string, send func(*os.Process) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != from {
		return fmt.Errorf("node %d is %s, not %s: %w", m.node, m.process, from, errNothingToDo)
	}
	if err := send(m.cmd.Process); err != nil {
		return fmt.Errorf("node %d: %w", m.node, err)
	}
	m.process = to
	return nil
}

// restart starts the process, after ending it in order if it runs.
func (m *member) restart() error {
	if m.info().Process != Stopped {
		m.stop()
	}
	return m.start()
}

// stop asks the process to end, and kills it if it does not.
func (m *member) stop() {
	m.mu.Lock()
	if m.process == Stopped {
		m.mu.Unlock()
		return
	}
	m.expected = true
	if m.process == Paused {
		resumeProcess(m.cmd.Process)
	}
	m.alive.Close()
	exited := m.exited
	m.mu.Unlock()
	patience := time.NewTimer(10 * time.Second)
	defer patience.Stop()
	select {
	case <-exited:
	case <-patience.C:
		m.kill()
	}
}

package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside marks a process that Enter started.
const inside = "QUORATE_NEMESIS_NAMESPACE"

// Enter runs this program again in namespaces of its own, for the network, for
// mounts and for processes, which end with it, and reports its exit code. In the
// program that it started it reports false at once; there New can give a network of
// namespaces.
func Enter() (code int, ran bool, err error) {
	if os.Getenv(inside) != "" {
		// Mounts made here must not be seen outside, and this process is the first of
		// a namespace of processes.
		return 0, false, errors.Join(
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("proc", "/proc", "proc", 0, ""),
		)
	}
	self, err := os.Executable()
	if err != nil {
		return 0, false, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	// Pdeathsig is of the thread that starts the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, false, fmt.Errorf("network: no namespaces here: %w", err)
	}
	// The first process of a namespace hears only what it asks for.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode(), true, nil
	}
	return 0, true, err
}

// The addresses, in namespaces that nothing else is in.
func address(place int) net.IP { return net.IPv4(10, 77, 0, byte(place+2)).To4() }

// mtu is large, since each packet costs two system calls.
const mtu = 32 << 10

// namespaces is a switch between TUN devices.
type namespaces struct {
	ports  []*port // by place+1
	queues [][]*queue

	carried, lost atomic.Int64
	ended         chan struct{}
	wg            sync.WaitGroup
}

// port is a place.
type port struct {
	tun       *os.File
	namespace int // its file descriptor
}

// New gives a network with so many servers: of namespaces in a program that
// Enter started, else a Relay.
func New(servers int, seed uint64) (Network, error) {
	if os.Getenv(inside) == "" {
		return NewRelay(servers, seed)
	}
	n := &namespaces{ended: make(chan struct{})}
	for place := Clients; place < servers; place++ {
		p, err := newPort(place)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("network: the namespace of place %d: %w", place, err), n.Close())
		}
		n.ports = append(n.ports, p)
	}
	for from := range n.ports {
		row := make([]*queue, len(n.ports))
		for to := range row {
			row[to] = newQueue(seed+uint64(from)<<16+uint64(to), &n.carried, &n.lost, n.ended)
			n.wg.Go(func() { row[to].run(n.deliver(to)) })
		}
		n.queues = append(n.queues, row)
	}
	for from := range n.ports {
		n.wg.Go(func() { n.read(from) })
	}
	return n, nil
}

// newPort makes a namespace, but for the clients, who are in the one of this
// process, and a device in it.
func newPort(place int) (*port, error) {
	type made struct {
		p   *port
		err error
	}
	done := make(chan made)
	go func() {
		// The thread is never unlocked: it ends with this goroutine, and no other
		// meets its namespace.
		runtime.LockOSThread()
		if place == Clients {
			defer runtime.UnlockOSThread()
		} else if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{nil, err}
			return
		}
		namespace, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- made{nil, err}
			return
		}
		tun, err := openTUN(address(place))
		done <- made{&port{tun, namespace}, err}
	}()
	m := <-done
	return m.p, m.err
}

// openTUN makes a device with an address in the thread's namespace.
func openTUN(ip net.IP) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	const name = "quorate0"
	request := func(name string, code uint, fill func(*unix.Ifreq) error, on int) error {
		r, err := unix.NewIfreq(name)
		if err == nil && fill != nil {
			err = fill(r)
		}
		if err != nil {
			return err
		}
		return unix.IoctlIfreq(on, code, r)
	}
	flags := func(f uint16) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { r.SetUint16(f); return nil }
	}
	address := func(ip net.IP) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { return r.SetInet4Addr(ip) }
	}
	if err := request(name, unix.TUNSETIFF, flags(unix.IFF_TUN|unix.IFF_NO_PI), fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUN device: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	defer unix.Close(s)
	up := flags(unix.IFF_UP | unix.IFF_RUNNING)
	err = errors.Join(
		request("lo", unix.SIOCSIFFLAGS, up, s),
		request(name, unix.SIOCSIFADDR, address(ip), s),
		request(name, unix.SIOCSIFNETMASK, address(net.IPv4(255, 255, 255, 0).To4()), s),
		request(name, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }, s),
		request(name, unix.SIOCSIFFLAGS, up, s),
	)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

// read carries what one place sends until the device is closed.
func (n *namespaces) read(from int) {
	buffer := make([]byte, 64<<10)
	for {
		size, err := n.ports[from].tun.Read(buffer)
		if err != nil {
			return
		}
		packet := buffer[:size]
		// IPv4: the version in the first half byte, the destination from byte 16 on.
		if size < 20 || packet[0]>>4 != 4 || packet[16] != 10 || packet[17] != 77 || packet[18] != 0 {
			continue
		}
		to := int(packet[19]) - 2 + 1
		if to < 0 || to >= len(n.ports) || to == from {
			continue
		}
		n.queues[from][to].put(packet, n.deliver(to))
	}
}

func (n *namespaces) deliver(to int) func([]byte) {
	tun := n.ports[to].tun
	return func(packet []byte) { _, _ = tun.Write(packet) } // a full device drops, as a network does
}

func (n *namespaces) Kind() string { return "network namespaces" }

func (n *namespaces) Host(server int) string { return address(server).String() }

func (n *namespaces) Peer(_, to int, port string) (string, error) {
	return net.JoinHostPort(n.Host(to), port), nil
}

// Start starts the command on a thread that is in the server's namespace.
func (n *namespaces) Start(server int, cmd *exec.Cmd) error {
	done := make(chan error)
	go func() {
		// A process inherits its thread's namespace. The thread is not given back.
		runtime.LockOSThread()
		if err := unix.Setns(n.ports[server+1].namespace, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		// The signal at the death of the parent is that of the parent's thread, and
		// this one ends now. The first process of the namespace takes all with it.
		if cmd.SysProcAttr != nil {
			cmd.SysProcAttr.Pdeathsig = 0
		}
		done <- cmd.Start()
	}()
	return <-done
}

func (n *namespaces) Set(from, to int, l Link) { n.queues[from+1][to+1].set(l) }

func (n *namespaces) Heal() {
	for _, row := range n.queues {
		for _, q := range row {
			q.set(Link{})
		}
	}
}

func (n *namespaces) Packets() (carried, lost int64) { return n.carried.Load(), n.lost.Load() }

func (n *namespaces) Close() error {
	close(n.ended)
	var errs []error
	for _, p := range n.ports {
		errs = append(errs, p.tun.Close(), unix.Close(p.namespace))
	}
	n.wg.Wait()
	return errors.Join(errs...)
}

// Limit mounts a file system of so many bytes, in memory, on an empty directory:
// one that can be filled.
func Limit(dir string, bytes int64) error {
	if os.Getenv(inside) == "" {
		return errors.New("network: no namespace for mounts")
	}
	return unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", bytes))
}

// Inside reports whether New gives namespaces.
func Inside() bool { return os.Getenv(inside) != "" }

package worker

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Isolation is how a worker gets a network of its own.
type Isolation int

// Isolations, the wanted one first. Without privileges a network is only to be had together with
// a namespace of users; some containers permit neither.
const (
	OwnNetwork Isolation = iota
	OwnUsersAndNetwork
	NotIsolated
)

// isolate sets how the command is started. It ends with the thread that started it.
func isolate(cmd *exec.Cmd, how Isolation) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	switch how {
	case OwnNetwork:
		attr.Cloneflags = syscall.CLONE_NEWNET
	case OwnUsersAndNetwork:
		attr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	case NotIsolated:
	}
	cmd.SysProcAttr = attr
}

// socketBuffer is how much of an answer is under way between the two ends.
const socketBuffer = 512 << 10

// pair gives the two ends of a connection that has no name.
func pair() (ours *net.UnixConn, theirs *os.File, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	for _, end := range ends {
		_ = unix.SetsockoptInt(end, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer) // smaller is slower
	}
	theirs = os.NewFile(uintptr(ends[1]), "worker")
	near := os.NewFile(uintptr(ends[0]), "service")
	defer func() { _ = near.Close() }()
	conn, err := net.FileConn(near)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	ours, ok := conn.(*net.UnixConn)
	if !ok {
		_ = theirs.Close()
		return nil, nil, errors.New("a pair of sockets is not one")
	}
	return ours, theirs, nil
}

// residentOf is how much memory a process has that it shares with no file, in bytes; zero where
// nobody tells.
func residentOf(pid int) int64 {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw))
	if len(fields) < 3 {
		return 0
	}
	resident, err1 := strconv.ParseInt(fields[1], 10, 64)
	shared, err2 := strconv.ParseInt(fields[2], 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return (resident - shared) * int64(os.Getpagesize())
}

// killedForMemory counts the processes that the kernel ended since the start of the machine because
// memory ran out.
func killedForMemory() int64 {
	raw, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(count), 10, 64)
			return n
		}
	}
	return 0
}

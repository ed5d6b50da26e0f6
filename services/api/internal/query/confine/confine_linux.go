// Package confine takes from a process what it does not need, before it is given anything of somebody else: each
// layer stands by itself, so that where a kernel or a container does not offer one, the others still hold.
package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsyscall "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Landlocked tells whether the kernel has Landlock.
func Landlocked() bool {
	abi, err := llsyscall.LandlockGetABIVersion()
	return err == nil && abi > 0
}

// Restrict lets every thread open what the rules and own name, and reach what they name, as far as the kernel
// has Landlock. A second call narrows the first.
func Restrict(rules ...landlock.Rule) error {
	if !Landlocked() {
		return errors.New("the kernel does not offer it")
	}
	if err := landlock.V8.BestEffort().Restrict(append(rules, own()...)...); err != nil {
		return fmt.Errorf("restrict: %w", err)
	}
	return nil
}

// own is what a process needs of itself and of the machine.
func own() []landlock.Rule {
	return []landlock.Rule{
		// Where a second call finds the threads.
		landlock.RODirs(filepath.Join("/proc", strconv.Itoa(os.Getpid()), "task")).IgnoreIfMissing(),
		// DuckDB asks how much memory there is whenever it opens, and ends the process where it may not.
		landlock.ROFiles(filepath.Join("/proc", strconv.Itoa(os.Getpid()), "cgroup"), "/proc/meminfo").IgnoreIfMissing(),
		landlock.RODirs("/sys/fs/cgroup").IgnoreIfMissing(),
	}
}

// CloseStrangers closes the descriptors above a number that a library of the service may have left open for its children.
func CloseStrangers(above int) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n <= above {
			continue
		}
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(target, "anon_inode:") {
			continue // closed since, or the runtime's own
		}
		_ = unix.Close(n)
	}
	return nil
}

// LimitMemory sets the hard end of memory, and makes the worker the first to go where the machine's
// memory ends.
func LimitMemory(bytes int64) error {
	err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	if bytes > 0 {
		n := uint64(bytes)
		err = errors.Join(err, unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: n, Max: n}))
	}
	return errors.Join(err, os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0))
}

// DropCapabilities takes all from every thread but the one to read files whatever their mode, for
// parts may belong to another user; Landlock bounds what that opens.
func DropCapabilities() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now, next [2]unix.CapUserData
	if err := unix.Capget(&head, &now[0]); err != nil {
		return err
	}
	const keep = uint32(1) << unix.CAP_DAC_READ_SEARCH
	next[0].Effective, next[0].Permitted = now[0].Effective&keep, now[0].Permitted&keep
	head.Pid = 0
	_, _, failed := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&next[0])), 0)
	runtime.KeepAlive(&head)
	runtime.KeepAlive(&next)
	if failed != 0 {
		return failed
	}
	return nil
}

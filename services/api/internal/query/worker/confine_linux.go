package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	llsyscall "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// confine gives up what a worker does not need. Each layer stands by itself: where the kernel, or the
// container around us, does not offer one, the others still hold, and the report tells.
func confine(s setup) Report {
	r := Report{Network: s.Isolated}
	note := func(what string, err error) bool {
		if err != nil {
			r.Notes = append(r.Notes, what+": "+err.Error())
		}
		return err == nil
	}
	note("descriptors", closeStrangers())
	r.Rlimit = note("rlimit", limitMemory(s.DataBytes))
	r.Landlock = note("landlock", restrict(landlock.RODirs(slices.Concat(reachable(catalog.ExtractsDir(s.DataDir)), reachable(catalog.DerivedDir(s.DataDir)), []string{FetchedDir(s.DataDir)})...).IgnoreIfMissing(), s))
	r.Capabilities = note("capabilities", dropCapabilities())
	r.Seccomp = note("seccomp", filterCalls())
	if !s.Isolated {
		r.Notes = append(r.Notes, "network: the kernel gave no network of its own")
	}
	return r
}

// reachable are a folder of parts, and those that symbolic links lead to where a source, its data
// or a table stands elsewhere: Landlock knows where a file really is, not by what name it was asked for.
// What is linked later is seen by the processes that start after it.
func reachable(root string) []string {
	found := []string{root}
	look := []string{root}
	for range 3 { // <source>/data/<table>
		var next []string
		for _, folder := range look {
			entries, err := os.ReadDir(folder)
			if err != nil {
				continue // it is read no more by a statement
			}
			for _, e := range entries {
				path := filepath.Join(folder, e.Name())
				if e.Type()&os.ModeSymlink != 0 {
					target, err := filepath.EvalSymlinks(path)
					if err != nil {
						continue
					}
					found = append(found, target)
				} else if !e.IsDir() {
					continue
				}
				next = append(next, path)
			}
		}
		look = next
	}
	return found
}

// narrow leaves the worker the folders of the scope's tables, where Landlock is at work.
func narrow(s setup, views []lake.View) error {
	if !landlocked() {
		return nil
	}
	folders, files := placesOf(s.DataDir, views)
	rules := landlock.CompositeRule(landlock.RODirs(folders...).IgnoreIfMissing(), landlock.ROFiles(files...).IgnoreIfMissing())
	if err := restrict(rules, s); err != nil {
		return err
	}
	if seccomp.Supported() {
		return filterLast()
	}
	return nil
}

// landlocked tells whether the kernel has Landlock.
func landlocked() bool {
	abi, err := llsyscall.LandlockGetABIVersion()
	return err == nil && abi > 0
}

// restrict lets every thread open what readable names and the scratch, and no address. A second call
// narrows the first.
func restrict(readable landlock.Rule, s setup) error {
	if !landlocked() {
		return errors.New("the kernel does not offer it")
	}
	rules := []landlock.Rule{
		readable,
		// Where a second call finds the threads.
		landlock.RODirs(filepath.Join("/proc", strconv.Itoa(os.Getpid()), "task")).IgnoreIfMissing(),
		// DuckDB asks how much memory there is whenever it opens, and ends the process where it may not.
		landlock.ROFiles(filepath.Join("/proc", strconv.Itoa(os.Getpid()), "cgroup"), "/proc/meminfo").IgnoreIfMissing(),
		landlock.RODirs("/sys/fs/cgroup").IgnoreIfMissing(),
	}
	if s.Scratch != "" {
		rules = append(rules, landlock.RWDirs(s.Scratch))
	}
	if err := landlock.V8.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("restrict: %w", err)
	}
	return nil
}

// closeStrangers closes descriptors that a library of the service may have left open for its children.
func closeStrangers() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n <= connection {
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

// limitMemory sets the hard end of memory, and makes the worker the first to go where the machine's
// memory ends.
func limitMemory(bytes int64) error {
	err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	if bytes > 0 {
		n := uint64(bytes)
		err = errors.Join(err, unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: n, Max: n}))
	}
	return errors.Join(err, os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0))
}

// dropCapabilities takes all from every thread but the one to read files whatever their mode, for
// parts may belong to another user; Landlock bounds what that opens.
func dropCapabilities() error {
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

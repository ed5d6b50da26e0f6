package confine

import (
	"os"
	"slices"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// networkCalls are those of whoever reaches an address.
var networkCalls = []string{"socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmmsg"}

// clientCalls are what a client of the network does not ask for.
var clientCalls = []string{"listen", "accept", "accept4"}

// Network is what a process may do there.
type Network int

// Networks.
const (
	NoNetwork  Network = iota // no sockets
	ClientOnly                // others are called, and call nobody here
)

// refusedCalls are what neither DuckDB nor Go asks of the kernel to answer a statement, and what
// somebody would who took the process over: programs, other processes, mounts, namespaces,
// and doors into the kernel that have been found open before.
var refusedCalls = []string{
	"execve", "execveat", "fork", "vfork", "kill", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_open", "pidfd_send_signal", "pidfd_getfd",
	"mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount", "open_tree", "mount_setattr", "swapon", "swapoff",
	"unshare", "setns", "open_by_handle_at", "name_to_handle_at", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key",
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "acct", "quotactl", "iopl", "ioperm", "modify_ldt",
	"settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "sethostname", "setdomainname", "syslog", "vhangup", "mknod", "mknodat",
}

// FilterCalls has the kernel refuse calls to every thread, with EPERM.
func FilterCalls(network Network) error {
	machine, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	known := func(name string) bool {
		_, ok := machine.SyscallNames[name]
		return ok
	}
	sockets := networkCalls
	if network == ClientOnly {
		sockets = clientCalls
	}
	refused := slices.DeleteFunc(slices.Concat(refusedCalls, sockets), func(name string) bool { return !known(name) })
	policy := seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{
		{Names: refused, Action: seccomp.ActionErrno, NamesWithCondtions: []seccomp.NameWithConditions{
			// Threads are made, processes are not.
			{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsNotSet, Value: unix.CLONE_THREAD}}},
			// Go signals its own threads.
			{Name: "tgkill", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.NotEqual, Value: uint64(os.Getpid())}}},
		}},
	}}
	if known("clone3") {
		// What it makes stands in memory, where a filter cannot look: libraries fall back to clone.
		policy.Syscalls = append(policy.Syscalls, seccomp.SyscallGroup{Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)})
	}
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy})
}

// FilterLast refuses what only a second Restrict needed: it signals every thread by tkill, which could reach
// other processes too.
func FilterLast() error {
	if !seccomp.Supported() {
		return nil
	}
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{{Names: []string{"tkill"}, Action: seccomp.ActionErrno}},
	}})
}

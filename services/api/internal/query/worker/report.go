package worker

// Report tells which layers hold a worker.
type Report struct {
	// Landlock: the kernel opens no file for it but parts, and those of its tables once it has a scope,
	// and its scratch.
	Landlock bool
	// Network: it has a network of its own with nothing in it.
	Network bool
	// Seccomp: the kernel refuses it sockets, programs, other processes and mounts.
	Seccomp bool
	// Rlimit: its memory has a hard end, it writes no core, and the kernel ends it before others.
	Rlimit bool
	// Capabilities: it has none of those of an administrator, or never had any.
	Capabilities bool
	// Notes are the reasons for what does not hold.
	Notes []string
}

// Layers are the layers by name.
func (r Report) Layers() map[string]bool {
	return map[string]bool{
		"landlock": r.Landlock, "network": r.Network, "seccomp": r.Seccomp, "rlimit": r.Rlimit, "capabilities": r.Capabilities,
	}
}

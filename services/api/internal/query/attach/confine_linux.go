package attach

import (
	"path/filepath"

	"github.com/landlock-lsm/go-landlock/landlock"

	"github.com/agnes-platform/agnes/services/api/internal/query/confine"
)

// resolving is what a client of the network reads to find a host and to trust it.
var resolving = struct{ files, dirs []string }{
	files: []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", "/dev/null", "/dev/urandom"},
	dirs:  []string{"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/lib", "/lib", "/lib64", "/usr/lib64"},
}

// dnsPort is where names are asked for when an answer is too long for UDP, of which Landlock knows nothing.
const dnsPort = 53

// giveUp leaves the process the order's files, ports and folders, and tells what the kernel does not offer.
func giveUp(o order) (notes []string) {
	note := func(what string, err error) {
		if err != nil {
			notes = append(notes, what+": "+err.Error())
		}
	}
	note("descriptors", confine.CloseStrangers(2)) // the three that every process has
	note("rlimit", confine.LimitMemory(o.DataBytes))
	rules := []landlock.Rule{
		landlock.ROFiles(append(resolving.files, o.Files...)...).IgnoreIfMissing(),
		landlock.RODirs(resolving.dirs...).IgnoreIfMissing(),
		landlock.RWDirs(filepath.Dir(o.Path)),
	}
	if dir := o.Attachment.Directory; dir != "" && o.Attachment.Install {
		rules = append(rules, landlock.RWDirs(dir).IgnoreIfMissing())
	} else if dir != "" {
		rules = append(rules, landlock.RODirs(dir).IgnoreIfMissing())
	}
	for _, port := range append(o.Ports, dnsPort) {
		rules = append(rules, landlock.ConnectTCP(port))
	}
	note("landlock", confine.Restrict(rules...))
	note("capabilities", confine.DropCapabilities())
	note("seccomp", confine.FilterCalls(confine.ClientOnly))
	return notes
}

package worker

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/confine"
)

// giveUp gives up what a worker does not need. Each layer stands by itself: where the kernel, or the
// container around us, does not offer one, the others still hold, and the report tells.
func giveUp(s setup) Report {
	r := Report{Network: s.Isolated}
	note := func(what string, err error) bool {
		if err != nil {
			r.Notes = append(r.Notes, what+": "+err.Error())
		}
		return err == nil
	}
	note("descriptors", confine.CloseStrangers(connection))
	r.Rlimit = note("rlimit", confine.LimitMemory(s.DataBytes))
	r.Landlock = note("landlock", restrict(landlock.RODirs(slices.Concat(reachable(catalog.ExtractsDir(s.DataDir)), reachable(catalog.DerivedDir(s.DataDir)), []string{FetchedDir(s.DataDir)})...).IgnoreIfMissing(), s))
	r.Capabilities = note("capabilities", confine.DropCapabilities())
	r.Seccomp = note("seccomp", confine.FilterCalls(confine.NoNetwork))
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
	if !confine.Landlocked() {
		return nil
	}
	folders, files := placesOf(s.DataDir, views)
	rules := landlock.CompositeRule(landlock.RODirs(folders...).IgnoreIfMissing(), landlock.ROFiles(files...).IgnoreIfMissing())
	if err := restrict(rules, s); err != nil {
		return err
	}
	return confine.FilterLast()
}

// restrict lets the worker open what readable names and the scratch, and no address.
func restrict(readable landlock.Rule, s setup) error {
	rules := []landlock.Rule{readable}
	if s.Scratch != "" {
		rules = append(rules, landlock.RWDirs(s.Scratch))
	}
	return confine.Restrict(rules...)
}

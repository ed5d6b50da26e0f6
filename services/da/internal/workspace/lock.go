package workspace

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Lock makes the caller the only one who changes the workspace, until unlock or the end of the process.
// Where somebody else is at it, the error is of kind conflict, at once.
func (w *Workspace) Lock() (unlock func(), err error) {
	unlock, ok, err := lake.TryLock(filepath.Join(w.Metadata(), "sync.lock"))
	if err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "the workspace %s cannot be locked", w.Root)
	}
	if !ok {
		return nil, fault.New(fault.Conflict, "another `da sync` is at work in %s: wait for it to end", w.Root)
	}
	w.sweepAside()
	return unlock, nil
}

// sweepAside deletes what a killed process was about to rename.
func (w *Workspace) sweepAside() {
	entries, err := os.ReadDir(w.Metadata())
	if err != nil {
		return // what cannot be listed is in nobody's way
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), ".json.") {
			_ = os.Remove(filepath.Join(w.Metadata(), e.Name()))
		}
	}
}

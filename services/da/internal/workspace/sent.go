package workspace

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Sent is what was uploaded from the workspace, so that only what changed is sent again.
type Sent struct {
	// To is the server and the user that got it.
	To string `json:"to"`
	// Files has the SHA-256 (hex) of each, by "<kind>/<name>".
	Files map[string]string `json:"files"`
}

func (w *Workspace) sentFile() string { return filepath.Join(w.Metadata(), "uploads.json") }

// LoadSent reads what was uploaded to somebody. What went elsewhere, or cannot be understood, counts as
// nothing: sending a file twice loses nothing.
func (w *Workspace) LoadSent(to string) (*Sent, error) {
	none := &Sent{To: to, Files: map[string]string{}}
	raw, err := os.ReadFile(w.sentFile())
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "%s cannot be read", w.sentFile())
	}
	var s Sent
	if json.Unmarshal(raw, &s) != nil || s.To != to || s.Files == nil {
		return none, nil //nolint:nilerr // a damaged file counts as none
	}
	return &s, nil
}

// SaveSent remembers what was uploaded.
func (w *Workspace) SaveSent(s *Sent) error {
	if err := os.MkdirAll(w.Metadata(), 0o755); err != nil { //nolint:gosec // the analyst's own files, with the analyst's umask
		return fault.Wrap(err, fault.Permanent, "the folder %s cannot be made", w.Metadata())
	}
	return w.writeJSON(w.sentFile(), s)
}

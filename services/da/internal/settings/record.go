package settings

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// RecordFile holds what was last seen of each server's record of what was done.
const RecordFile = "audit.json"

// Record is what is remembered of a server's record, so that a later look at it can tell whether it was
// rewritten since.
type Record struct {
	// PublicKey is the key that its checkpoints are signed by.
	PublicKey string `json:"public_key"`
	// Seq and Hash are the newest head that a checkpoint vouched for.
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// LoadRecord gives what was last seen of the record of the server; nothing at all where it never was.
func (s *Settings) LoadRecord() (Record, error) {
	all, err := s.records()
	return all[s.Server], err
}

// SaveRecord remembers what was seen of the record of the server.
func (s *Settings) SaveRecord(r Record) error {
	all, err := s.records()
	if err != nil {
		return err
	}
	all[s.Server] = r
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fault.Wrap(err, fault.Internal, "what was seen of the record cannot be written")
	}
	return s.write(filepath.Join(s.Dir, RecordFile), append(raw, '\n'))
}

func (s *Settings) records() (map[string]Record, error) {
	path, all := filepath.Join(s.Dir, RecordFile), map[string]Record{}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil || all == nil {
		// Forgetting it in silence would forget what it is kept for.
		return map[string]Record{}, fault.Wrap(err, fault.Invalid, "%s cannot be read: restore it, or delete it to begin anew", path)
	}
	return all, nil
}

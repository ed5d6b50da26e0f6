package orchestrator

import (
	"os"
	"path/filepath"

	"github.com/agnes-platform/agnes/pkg/lake"
)

func (o *Orchestrator) tmpDir() string { return filepath.Join(o.dataDir, "tmp") }

// replace publishes a small file of the folder analytics whole. What a killed process leaves is
// under tmp/, where it is swept.
func (o *Orchestrator) replace(target string, content []byte) error {
	f, err := os.CreateTemp(o.tmpDir(), filepath.Base(target)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = lake.SwapFile(f.Name(), target)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

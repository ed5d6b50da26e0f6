package extract

import (
	"os"
	"path/filepath"
	"sync"
	"time"
)

// collectPause is how long the runs of one process leave old parts alone after they looked at them: a
// source that publishes several times a second need not look each time.
const collectPause = time.Minute

// memory is what the runs of one process know of a source, so that they need not read back what they
// wrote themselves. It is used under the source's lock; a nil memory knows nothing.
type memory struct {
	mu        sync.Mutex
	stamp     string // of the extract.duckdb that state is of; empty where nothing is known
	state     *state
	collected time.Time
}

// recall gives the state that stands, if it is the one that was remembered and its parts are there.
func (m *memory) recall(dataDir, source string) *state {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == nil || m.stamp == "" {
		return nil
	}
	stamp, err := StampOf(dataDir, source)
	if err != nil || stamp != m.stamp {
		return nil
	}
	for _, e := range m.state.entries {
		for _, p := range e.Parts {
			info, err := os.Lstat(filepath.Join(dataDir, filepath.FromSlash(p.Path)))
			if err != nil || !info.Mode().IsRegular() || info.Size() != p.SizeBytes {
				return nil
			}
		}
	}
	return m.state
}

// keep remembers a state that was just published. One with damaged tables is read back the next time.
func (m *memory) keep(dataDir, source string, s *state) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stamp, m.state = "", nil
	for _, e := range s.entries {
		if e.damaged {
			return
		}
	}
	if stamp, err := StampOf(dataDir, source); err == nil {
		m.stamp, m.state = stamp, s
	}
}

// content identifies what readers see of the version with a stamp; empty where that is not remembered.
func (m *memory) content(stamp string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == nil || m.stamp != stamp {
		return ""
	}
	return contentOf(m.state.tables(), m.state.remotes, nil)
}

// collects tells whether it is time to look for old parts, and takes it that this is done now.
func (m *memory) collects(grace time.Duration) bool {
	if m == nil {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.collected) < min(collectPause, grace/10) {
		return false
	}
	m.collected = time.Now()
	return true
}

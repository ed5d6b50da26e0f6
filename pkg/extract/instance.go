package extract

import (
	"context"
	"database/sql"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// instance is a DuckDB in memory and the one connection that is used of it: temporary tables, USE and
// transactions belong to that.
type instance struct {
	db    *lake.DB
	conn  *sql.Conn
	spill *lake.Scratch // where it spills, if that is its own
}

func openInstance(ctx context.Context, o lake.Options) (*instance, error) {
	db, err := lake.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(0) // a connection that is closed is gone, with all that belongs to it
	i := &instance{db: db}
	if err := i.connect(ctx); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

func (i *instance) connect(ctx context.Context) (err error) {
	if i.conn, err = i.db.Conn(ctx); err != nil {
		return lake.Scrub(err)
	}
	return nil
}

func (i *instance) close() {
	if i.conn != nil {
		_ = i.conn.Close()
	}
	_ = i.db.Close()
	if i.spill != nil {
		_ = i.spill.Close()
	}
}

// warm are the instances that the runs of one process pass on to each other: to open one and to close
// it takes as long as to write a small part, and a feed publishes several times a second. Each has one
// thread. Only an instance that is as it was opened, but for its connection, may be given back. A nil
// warm has none, and opens one for each who asks.
type warm struct {
	dataDir string
	memory  int64 // of each, in bytes
	idle    *idle[*instance]
}

// newWarm makes one for a data directory, which keeps so many idle instances with so many bytes of memory
// each. All have the same: to set the limit anew, even to what it is, makes DuckDB give its heap back to the
// system, which takes milliseconds.
func newWarm(dataDir string, most int, memory int64) *warm {
	return &warm{dataDir: dataDir, memory: memory, idle: newIdle(most, (*instance).close)}
}

// take gives an instance with one thread; where there is no warm, with so many bytes of memory. It spills to
// scratch of its own, which outlives runs: DuckDB does not change where it spills once it did.
func (w *warm) take(ctx context.Context, memory int64) (*instance, error) {
	if w == nil {
		return openInstance(ctx, lake.Options{MemoryBytes: memory, Threads: 1})
	}
	if i, found := w.idle.take(""); found {
		if err := i.connect(ctx); err == nil {
			return i, nil
		}
		i.close()
	}
	spill, err := newScratch(w.dataDir)
	if err != nil {
		return nil, err
	}
	i, err := openInstance(ctx, lake.Options{
		MemoryBytes: w.memory, Threads: 1, TempDir: spill.Dir,
		// What was read before is not read again: parts are named by what they hold.
		Settings: map[string]string{"enable_external_file_cache": "false"},
	})
	if err != nil {
		_ = spill.Close()
		return nil, err
	}
	i.spill = spill
	return i, nil
}

// give takes an instance back, which closes its connection; one that is not clean is closed.
func (w *warm) give(i *instance, clean bool) {
	if w == nil || !clean {
		i.close()
		return
	}
	err := i.conn.Close()
	i.conn = nil
	if err != nil {
		i.close()
		return
	}
	w.idle.give("", i)
}

// close closes what is idle, and from then on whatever is given back.
func (w *warm) close() { w.idle.close() }

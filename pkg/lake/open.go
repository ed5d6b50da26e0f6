package lake

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Defaults of Options.
const (
	DefaultMemoryBytes = 256 << 20
	// DefaultTempBytes bounds what one instance spills.
	DefaultTempBytes = 16 << 30
)

// Options say what to open, and within which limits. The zero value is an empty database in memory.
type Options struct {
	// Path of a database file; empty for one in memory. A file that is missing is made, unless ReadOnly.
	Path     string
	ReadOnly bool
	// MemoryBytes bounds this instance. Every instance has a budget of its own: whoever opens several
	// divides what there is. Zero means DefaultMemoryBytes.
	MemoryBytes int64
	// Threads that work for this instance; zero means one per core.
	Threads int
	// TempDir is where to spill, such as a Scratch's folder. Without one, nothing is spilled and work
	// that needs more than MemoryBytes fails.
	TempDir string
	// TempBytes bounds what is spilled; zero means DefaultTempBytes.
	TempBytes int64
	// Settings of DuckDB beyond these, by name.
	Settings map[string]string
}

// DB is one instance of DuckDB with limits. Extensions are neither installed nor loaded by
// themselves, and the time zone is UTC. It is safe for concurrent use; its connections share the
// limits. database/sql runs every statement of a string: give it a statement of somebody else's only
// after OneStatement. Temporary tables belong to the connection that made them.
type DB struct {
	*sql.DB
	catalog string
	release func()
	once    sync.Once
}

// Open opens DuckDB. A file that this process has open for writing cannot be opened a second time,
// and one that it reads cannot be opened for writing: that is fault.Conflict, and harms neither.
func Open(ctx context.Context, o Options) (*DB, error) {
	release := func() {}
	if o.Path != "" {
		abs, err := filepath.Abs(o.Path)
		if err != nil {
			return nil, fmt.Errorf("open database: %w", err)
		}
		o.Path = abs
		if release, err = openFiles.claim(abs, !o.ReadOnly); err != nil {
			return nil, err
		}
	}
	db, err := open(ctx, o)
	if err != nil {
		release()
		return nil, err
	}
	db.release = release
	return db, nil
}

func open(ctx context.Context, o Options) (*DB, error) {
	setup, err := o.statements()
	if err != nil {
		return nil, err
	}
	catalog := "memory"
	if o.Path != "" {
		catalog = catalogName(o.Path)
	}
	if o.Path != "" {
		mode := ""
		if o.ReadOnly {
			mode = " (READ_ONLY)"
		}
		setup = append(setup, "ATTACH "+QuoteLiteral(o.Path)+" AS "+QuoteIdent(catalog)+mode)
	}
	// The first connection sets up the instance; every connection works in the attached catalog.
	var once sync.Once
	connector, err := duckdb.NewConnector("", func(conn driver.ExecerContext) error {
		var err error
		once.Do(func() { err = run(ctx, conn, setup) })
		if err == nil && o.Path != "" {
			err = run(context.WithoutCancel(ctx), conn, []string{"USE " + QuoteIdent(catalog)})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open database: %w", Scrub(err))
	}
	db := &DB{DB: sql.OpenDB(connector), catalog: catalog, release: func() {}}
	if err := db.PingContext(ctx); err != nil {
		_ = db.DB.Close()
		return nil, fmt.Errorf("open database: %w", Scrub(err))
	}
	return db, nil
}

func run(ctx context.Context, conn driver.ExecerContext, statements []string) error {
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s, nil); err != nil {
			return err
		}
	}
	return nil
}

// catalogName is the name that DuckDB itself gives to a file's catalog.
func catalogName(path string) string {
	name := filepath.Base(path)
	if at := strings.IndexByte(name, '.'); at > 0 {
		name = name[:at]
	}
	switch strings.ToLower(name) {
	case "system", "temp", "memory":
		return name + "_db"
	}
	return name
}

var settingName = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]*\z`)

func (o Options) statements() ([]string, error) {
	if o.MemoryBytes <= 0 {
		o.MemoryBytes = DefaultMemoryBytes
	}
	if o.Threads <= 0 {
		o.Threads = runtime.NumCPU()
	}
	if o.TempBytes <= 0 {
		o.TempBytes = DefaultTempBytes
	}
	setup := []string{
		"SET GLOBAL memory_limit = " + QuoteLiteral(strconv.FormatInt(o.MemoryBytes, 10)+"B"),
		"SET GLOBAL threads = " + strconv.Itoa(o.Threads),
		"SET GLOBAL temp_directory = " + QuoteLiteral(o.TempDir),
		"SET GLOBAL autoinstall_known_extensions = false",
		"SET GLOBAL autoload_known_extensions = false",
		"SET GLOBAL TimeZone = 'UTC'",
	}
	if o.TempDir != "" {
		setup = append(setup, "SET GLOBAL max_temp_directory_size = "+QuoteLiteral(strconv.FormatInt(o.TempBytes, 10)+"B"))
	}
	names := make([]string, 0, len(o.Settings))
	for name := range o.Settings {
		if !settingName.MatchString(name) {
			return nil, fault.New(fault.Internal, "the setting %q is not a name", name)
		}
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		setup = append(setup, "SET GLOBAL "+name+" = "+QuoteLiteral(o.Settings[name]))
	}
	return setup, nil
}

// Catalog is the name of the opened file's catalog, to tell its tables from those of others.
func (d *DB) Catalog() string { return d.catalog }

// Close writes what is still to be written and closes the instance. It may be called more than once.
func (d *DB) Close() error {
	var err error
	d.once.Do(func() {
		err = Scrub(d.DB.Close())
		d.release()
	})
	return err
}

// openFiles are the database files that this process has open. POSIX locks do not protect a process
// from itself, and closing any descriptor of a file drops them all.
var openFiles = fileClaims{open: make(map[string]*fileClaim)}

type fileClaims struct {
	mu   sync.Mutex
	open map[string]*fileClaim
}

type fileClaim struct {
	readers int
	writer  bool
}

func (c *fileClaims) claim(path string, write bool) (release func(), err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.open[path]
	if held == nil {
		held = &fileClaim{}
		c.open[path] = held
	}
	if held.writer || (write && held.readers > 0) {
		return nil, fault.New(fault.Conflict, "the database %s is already open in this process", filepath.Base(path))
	}
	if write {
		held.writer = true
	} else {
		held.readers++
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if write {
			held.writer = false
		} else {
			held.readers--
		}
		if !held.writer && held.readers == 0 {
			delete(c.open, path)
		}
	}, nil
}

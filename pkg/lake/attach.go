package lake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Attachment is a catalog outside that an extension of DuckDB reads.
type Attachment struct {
	// Alias is what the catalog is called by the one statement that may read it.
	Alias string
	// Extension is DuckDB's name of it, such as "postgres".
	Extension string
	// Address is what ATTACH takes: a path, a URL, or what the extension has in its place.
	Address string
	// Secret holds what is kept out of statements that could be shown, by the names that the extension's CREATE SECRET
	// has for it; Options are those of ATTACH beside READ_ONLY.
	Secret, Options map[string]string
	// Directory is where extensions are, see extensionFolders. Only what is signed by DuckDB is loaded.
	Directory string
	// Cancel is a statement that ends at its place what the catalog does for this attachment; empty where there is none. It runs
	// beside the one that was given up, which would go on until it has something to send.
	Cancel string
	// Install has an extension that is missing fetched into Directory from DuckDB's repositories.
	Install bool
}

var (
	errNoExtension = fault.New(fault.Unavailable, "the extension is not installed")
	extensionName  = regexp.MustCompile(`\A[a-z][a-z0-9_]*\z`)
)

// DuckDBVersion is DuckDB's own, such as v1.5.5, which extensions have to be made for.
func DuckDBVersion() string { return mapping.LibraryVersion() }

// IsNoExtension tells whether an attachment failed because its extension is not there.
func IsNoExtension(err error) bool { return errors.Is(err, errNoExtension) }

// CopyAttached writes the answer of a statement over the attached catalog into a parquet file and tells how many
// rows it has. The statement is ours: nothing guards it, and the extension reaches the network. Whoever calls it for
// somebody else does so in a process that has nothing to lose. An extension that is missing is an error that
// IsNoExtension knows; others are Errors of DuckDB, and may name where the catalog lives.
func CopyAttached(ctx context.Context, o Options, a Attachment, query, path string) (rows int64, err error) {
	if !extensionName.MatchString(a.Extension) {
		return 0, fault.New(fault.Invalid, "the extension has no plain name")
	}
	o.Settings = map[string]string{"preserve_insertion_order": "false"} // less memory; unsigned extensions are off by default
	db, err := Open(ctx, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.loadExtension(ctx, a); err != nil {
		return 0, err
	}
	for _, statement := range a.statements() {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return 0, attachError(ctx, "attach", err)
		}
	}
	if a.Cancel != "" {
		cancelled := make(chan struct{})
		unwatch := context.AfterFunc(ctx, func() {
			defer close(cancelled)
			last, end := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
			defer end()
			_, _ = db.ExecContext(last, a.Cancel) // what it leaves running ends when it has something to send
		})
		defer func() {
			if !unwatch() {
				<-cancelled
			}
		}()
	}
	copying := "COPY (" + query + ") TO " + QuoteLiteral(path) + " (" + ParquetFormat + ")"
	if err := db.QueryRowContext(ctx, copying).Scan(&rows); err != nil {
		return 0, attachError(ctx, "copy", err)
	}
	return rows, nil
}

// cancelWithin is how long Attachment.Cancel may take.
const cancelWithin = 2 * time.Second

func attachError(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w", doing, Scrub(err))
}

// statements attach the catalog, and end what else could be set.
func (a Attachment) statements() []string {
	var all []string
	if len(a.Secret) > 0 {
		all = append(all, "CREATE TEMPORARY SECRET agnes_attachment (TYPE "+QuoteIdent(a.Extension)+pairs(a.Secret)+")")
	}
	options := pairs(a.Options)
	if len(a.Secret) > 0 {
		options += ", SECRET agnes_attachment"
	}
	return append(all,
		"ATTACH "+QuoteLiteral(a.Address)+" AS "+QuoteIdent(a.Alias)+" (TYPE "+QuoteIdent(a.Extension)+", READ_ONLY"+options+")",
		"SET GLOBAL lock_configuration = true",
	)
}

func pairs(options map[string]string) string {
	var text strings.Builder
	for name, value := range options {
		text.WriteString(", " + name + " " + QuoteLiteral(value))
	}
	return text.String()
}

// loadExtension loads the extension from its directory, into which it is installed before where that is allowed.
func (d *DB) loadExtension(ctx context.Context, a Attachment) error {
	if a.Directory == "" {
		return errNoExtension
	}
	if file := extensionFile(a.Directory, a.Extension); file != "" {
		if _, err := d.ExecContext(ctx, "LOAD "+QuoteLiteral(file)); err != nil {
			return attachError(ctx, "load the extension", err)
		}
		return nil
	}
	if !a.Install {
		return errNoExtension
	}
	name := QuoteIdent(a.Extension)
	if _, err := d.ExecContext(ctx, "SET GLOBAL extension_directory = "+QuoteLiteral(a.Directory)); err != nil {
		return attachError(ctx, "install the extension", err)
	}
	var failed error
	for _, from := range []string{"core", "community"} {
		_, err := d.ExecContext(ctx, "INSTALL "+name+" FROM "+from)
		if err == nil {
			failed = nil
			break
		}
		failed = errors.Join(failed, attachError(ctx, "install from "+from, err))
	}
	if failed != nil {
		return fmt.Errorf("%w: %w", errNoExtension, failed)
	}
	if _, err := d.ExecContext(ctx, "LOAD "+name); err != nil {
		return attachError(ctx, "load the extension", err)
	}
	return nil
}

// extensionFolders are where an extension may be below the directory: alone, as DuckDB installs it, and as the
// packages duckdb-extension-* of PyPI bring it.
var extensionFolders = []string{"", "VERSION", "VERSION/*", "duckdb_extension_*/extensions/VERSION"}

// extensionFile finds an extension in a directory; "" where it is not there. DuckDB calls some by two names.
func extensionFile(dir, name string) string {
	names := []string{name}
	switch name {
	case "sqlite", "postgres", "mysql":
		names = append(names, name+"_scanner")
	}
	dir = LiteralPath(dir)
	for _, n := range names {
		for _, below := range extensionFolders {
			found, _ := filepath.Glob(filepath.Join(dir, strings.ReplaceAll(below, "VERSION", DuckDBVersion()), n+".duckdb_extension")) // no bad pattern
			for _, file := range found {
				if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
					return file
				}
			}
		}
	}
	return ""
}

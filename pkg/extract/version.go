package extract

import (
	"context"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// How the rows of a table in an extract are stored.
const (
	StoredParts  = "parts"  // content-named parts, listed in _parts
	StoredFile   = "file"   // flat parquet files that another program wrote and may rewrite
	StoredInside = "inside" // a table or a view inside extract.duckdb: copy it out to serve it
	StoredRemote = "remote" // a view over a catalog of _remote_attach
)

// Version is one extract.duckdb as it was when OpenVersion read it, whoever wrote it.
type Version struct {
	Source string
	// Stamp identifies the file: equal stamps are the same version. See StampOf.
	Stamp string
	// Tables are the usable ones, ordered by name. One that is not usable is in Problems instead and
	// hides nothing else.
	Tables   []VersionTable
	Remotes  []catalog.Remote
	Problems []catalog.Problem
	// Tokens are the key/value pairs of _agnes; empty for extracts of other programs.
	Tokens map[string]string
}

// VersionTable is one table of a version.
type VersionTable struct {
	catalog.Table
	// Stored is one of the Stored constants.
	Stored string
	// Files are the absolute paths of the parquet files behind the table, in order.
	Files []string
}

// OpenVersion reads $DATA_DIR/extracts/<source>/extract.duckdb, and never changes it. It fails only
// where the file as a whole tells nothing: NotFound if there is none, Unavailable while another
// program is writing it, Permanent if it is not a DuckDB file with a _meta table. Everything less is
// a problem of one table, listed in Problems.
func OpenVersion(ctx context.Context, dataDir, source string) (*Version, error) {
	return nil, errSkeleton
}

// StampOf identifies the extract.duckdb that stands now, without opening it; "" if there is none.
func StampOf(dataDir, source string) (string, error) { return "", errSkeleton }

// CopyOut copies the rows of a table, however stored, into content-named parts under
// $DATA_DIR/<dir>: for tables of other programs, which promise nothing about their files.
func CopyOut(ctx context.Context, dataDir string, v *Version, table, dir string) ([]catalog.Part, error) {
	return nil, errSkeleton
}

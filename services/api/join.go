package api

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/download"
)

// joiner makes one parquet file of the parts of a table.
type joiner struct {
	// tmp is where files are written before they are in place.
	tmp string
}

// mergeMemory bounds a merge: it copies rows in order and needs no more.
const mergeMemory = 512 << 20

// Stitch gives the parts as one file without copying rows.
func (j joiner) Stitch(files []string) (download.File, error) {
	stitched, err := lake.Stitch(files)
	if err != nil {
		return nil, err // not a nil *Stitched, which would be a File
	}
	return stitched, nil
}

// Merge writes a table whose parts have different schemas, or that has none, as one file.
func (j joiner) Merge(ctx context.Context, columns []catalog.Column, files []string, target string) error {
	if len(columns) == 0 {
		return fault.New(fault.Invalid, "a table without columns cannot be a parquet file")
	}
	scratch, err := lake.NewScratch(j.tmp, name)
	if err != nil {
		return err
	}
	defer func() { _ = scratch.Close() }()
	db, err := lake.Open(ctx, lake.Options{MemoryBytes: mergeMemory, Threads: 1, TempDir: scratch.Dir})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	aside := scratch.Path(filepath.Base(target))
	query := fmt.Sprintf("COPY (%s) TO %s (%s)", selectAll(columns, files), lake.QuoteLiteral(aside), lake.ParquetFormat)
	if _, err := db.ExecContext(ctx, query); err != nil {
		return fmt.Errorf("merge parts: %w", lake.Scrub(err))
	}
	return lake.SwapFile(aside, target)
}

// selectAll reads the files in order under the columns of the table; a file that lacks a column has
// nulls in it.
func selectAll(columns []catalog.Column, files []string) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		value := "NULL"
		if len(files) > 0 {
			value = lake.QuoteIdent(c.Name)
		}
		list[i] = fmt.Sprintf("CAST(%s AS %s) AS %s", value, c.Type, lake.QuoteIdent(c.Name))
	}
	if len(files) == 0 {
		return "SELECT " + strings.Join(list, ", ") + " WHERE false"
	}
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = lake.QuoteLiteral(f)
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM read_parquet([" + strings.Join(quoted, ", ") + "], union_by_name = true)"
}

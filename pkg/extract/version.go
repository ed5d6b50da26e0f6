package extract

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
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

	damaged map[string]VersionTable // rows of _meta that are in Problems, with what is known of them
}

// VersionTable is one table of a version.
type VersionTable struct {
	catalog.Table
	// Stored is one of the Stored constants. Only parts and remote tables have a Fingerprint.
	Stored string
	// Files are the absolute paths of the parquet files behind the table, in order.
	Files []string

	from string // what CopyOut reads, where it is not the view of the table's name
}

// OpenVersion reads $DATA_DIR/extracts/<source>/extract.duckdb, and never changes it. It fails only
// where the file as a whole tells nothing: NotFound if there is none, Unavailable while another
// program is writing it, Permanent if it is not a DuckDB file with a _meta table. Everything less is
// a problem of one table, listed in Problems.
//
// The views of an extract reach files of their own source's folder only: whatever else they name is a
// problem of that table. A write-ahead log beside the file is read with it and left as it is (trap E4).
func OpenVersion(ctx context.Context, dataDir, source string) (*Version, error) {
	r, err := openExtract(ctx, dataDir, source, "", nil)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.read(ctx)
}

// StampOf identifies the extract.duckdb that stands now, without opening it; "" if there is none.
// Flat parquet files directly under data/, which other programs rewrite in place, count too.
func StampOf(dataDir, source string) (string, error) {
	if err := catalog.ValidSourceName(source); err != nil {
		return "", fault.Wrap(err, fault.Invalid, "%s", err.Error())
	}
	info, err := os.Stat(PointerPath(dataDir, source))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for the extract of %s: %w", source, err)
	}
	stamp := fileStamp(info)
	if wal, err := os.Stat(PointerPath(dataDir, source) + walSuffix); err == nil {
		stamp += "+" + fileStamp(wal)
	}
	entries, err := os.ReadDir(filepath.Join(SourceDir(dataDir, source), dataFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for the data of %s: %w", source, err)
	}
	var flat []string
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), parquetExt) {
			continue
		}
		if info, err := e.Info(); err == nil {
			flat = append(flat, e.Name()+":"+fileStamp(info))
		}
	}
	if len(flat) > 0 {
		stamp += "+" + shortHash(strings.Join(flat, "\n"))
	}
	return stamp, nil
}

func fileStamp(info fs.FileInfo) string {
	return fmt.Sprintf("%d-%d-%d", info.ModTime().UnixNano(), info.Size(), inode(info))
}

// Table finds a table by its exact name.
func (v *Version) Table(name string) (VersionTable, bool) {
	for _, t := range v.Tables {
		if t.Name == name {
			return t, true
		}
	}
	return VersionTable{}, false
}

// read makes the version of what the extract says.
func (r *extractReader) read(ctx context.Context) (*Version, error) {
	v := &Version{Source: r.source, Stamp: r.stamp, Tokens: map[string]string{}, damaged: map[string]VersionTable{}}
	if err := r.readObjects(ctx); err != nil {
		return nil, err
	}
	meta, err := r.readMeta(ctx)
	if err != nil {
		return nil, err
	}
	v.Tokens = r.readTokens(ctx, v)
	v.Remotes = r.readRemotes(ctx, v)
	parts := r.readParts(ctx, v)
	r.readColumns(ctx)
	seen := map[string]string{}
	for _, m := range meta {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if problem := nameProblem(m.Name, seen); problem != nil {
			v.Problems = append(v.Problems, *problem)
			continue
		}
		seen[strings.ToLower(m.Name)] = m.Name
		t := VersionTable{Table: m}
		if problem := r.resolve(ctx, &t, parts[m.Name]); problem != nil {
			problem.Table = m.Name
			v.Problems = append(v.Problems, *problem)
			v.damaged[m.Name] = t
			continue
		}
		v.Tables = append(v.Tables, t)
	}
	sort.Slice(v.Tables, func(i, j int) bool { return v.Tables[i].Name < v.Tables[j].Name })
	sort.SliceStable(v.Problems, func(i, j int) bool { return v.Problems[i].Table < v.Problems[j].Table })
	return v, nil
}

func nameProblem(name string, seen map[string]string) *catalog.Problem {
	if err := catalog.ValidTableName(name); err != nil {
		return &catalog.Problem{Table: name, Code: catalog.ProblemBadName, Message: err.Error()}
	}
	if other, dup := seen[strings.ToLower(name)]; dup {
		return &catalog.Problem{
			Table: name, Code: catalog.ProblemBadName,
			Message: fmt.Sprintf("_meta lists %q beside %q, which DuckDB cannot tell apart", name, other),
		}
	}
	return nil
}

// resolve finds out how a table of _meta is stored.
func (r *extractReader) resolve(ctx context.Context, t *VersionTable, parts []catalog.Part) *catalog.Problem {
	object, found := r.objects[strings.ToLower(t.Name)]
	if t.QueryMode == catalog.ModeRemote {
		return r.resolveRemote(t, object, found)
	}
	if len(parts) > 0 {
		t.Stored, t.Parts = StoredParts, parts
		if !found {
			return unreadable("_meta lists the table, but there is no view or table of that name")
		}
		return r.resolveParts(ctx, t)
	}
	if !found {
		return r.resolveFlat(ctx, t, unreadable("_meta lists the table, but there is no view or table of that name"))
	}
	columns, err := columnsOf(ctx, r.session.conn, "SELECT * FROM "+r.qualified(t.Name))
	if err != nil {
		return r.resolveFlat(ctx, t, unreadable("the view cannot be read: %s", err))
	}
	t.Stored, t.Columns = StoredInside, columns
	if body := viewBody(object.sql); object.view && body != "" {
		if files := r.filesOf(ctx, body); len(files) > 0 {
			t.Stored, t.Files = StoredFile, files
		}
	}
	return nil
}

func (r *extractReader) resolveRemote(t *VersionTable, object extractObject, found bool) *catalog.Problem {
	if !found {
		return unreadable("_meta lists the remote table, but there is no view of that name")
	}
	t.RemoteSQL = viewBody(object.sql)
	if !object.view || t.RemoteSQL == "" {
		return unreadable("_meta says that the table is remote, but it is not a view")
	}
	if at := remoteOf(t.RemoteSQL); at.alias != "" {
		t.RemoteSQL = at.query() // one spelling, however DuckDB writes it
	}
	t.Stored, t.Columns = StoredRemote, r.columns[strings.ToLower(t.Name)]
	t.Rows, t.SizeBytes = 0, 0
	t.Fingerprint = catalog.Fingerprint(t.Table)
	return nil
}

// resolveParts checks that the parts of a table are there. What they hold is vouched for by their names.
func (r *extractReader) resolveParts(ctx context.Context, t *VersionTable) *catalog.Problem {
	t.Rows, t.SizeBytes = 0, 0
	for _, p := range t.Parts {
		file := filepath.Join(r.dataDir, filepath.FromSlash(p.Path))
		info, err := os.Lstat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &catalog.Problem{Code: catalog.ProblemMissingFile, Message: "the part " + filepath.Base(file) + " is missing"}
		case err != nil:
			return unreadable("the part %s cannot be looked at", filepath.Base(file))
		case !info.Mode().IsRegular() || info.Size() != p.SizeBytes:
			return &catalog.Problem{Code: catalog.ProblemMissingFile, Message: "the part " + filepath.Base(file) + " is not the file that was published"}
		}
		t.Files = append(t.Files, file)
		t.Rows += p.Rows
		t.SizeBytes += p.SizeBytes
	}
	t.Columns = r.columns[strings.ToLower(t.Name)]
	if len(t.Columns) == 0 {
		columns, err := columnsOf(ctx, r.session.conn, "SELECT * FROM "+r.qualified(t.Name))
		if err != nil {
			return unreadable("the view cannot be read: %s", err)
		}
		t.Columns = columns
	}
	t.Fingerprint = catalog.Fingerprint(t.Table)
	return nil
}

// resolveFlat reads data/<table>.parquet or data/<table>/*.parquet for a table whose view does not
// work here, such as one with the absolute paths of another machine; otherwise the problem stands.
func (r *extractReader) resolveFlat(ctx context.Context, t *VersionTable, problem *catalog.Problem) *catalog.Problem {
	base := filepath.Join(r.dir, dataFolder)
	files := []string{filepath.Join(base, t.Name+parquetExt)}
	if info, err := os.Stat(files[0]); err != nil || !info.Mode().IsRegular() {
		files = nil
		entries, err := os.ReadDir(filepath.Join(base, t.Name))
		if err != nil {
			return problem
		}
		for _, e := range entries {
			if e.Type().IsRegular() && strings.HasSuffix(e.Name(), parquetExt) && !strings.HasPrefix(e.Name(), ".") {
				files = append(files, filepath.Join(base, t.Name, e.Name()))
			}
		}
	}
	if len(files) == 0 {
		return problem
	}
	from := readParquet(files)
	columns, err := columnsOf(ctx, r.session.conn, "SELECT * FROM "+from)
	if err != nil {
		return problem
	}
	t.Stored, t.Files, t.Columns, t.from = StoredFile, files, columns, from
	return nil
}

func unreadable(format string, args ...any) *catalog.Problem {
	return &catalog.Problem{Code: catalog.ProblemUnreadable, Message: fmt.Sprintf(format, args...)}
}

// CopyOut copies the rows of a table, however stored, into content-named parts under
// $DATA_DIR/<dir>/<folder of the table>: for tables of other programs, which promise nothing about
// their files. Equal rows give equal parts. An error leaves no part that was not there before.
func CopyOut(ctx context.Context, dataDir string, v *Version, table, dir string) ([]catalog.Part, error) {
	t, found := v.Table(table)
	if !found {
		return nil, fault.New(fault.NotFound, "the extract of %s has no usable table %q", v.Source, table)
	}
	if t.Stored == StoredRemote {
		return nil, fault.New(fault.Invalid, "the table %s is remote and has no rows to copy", table)
	}
	scratch, err := newScratch(dataDir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = scratch.Close() }()
	r, err := openExtract(ctx, dataDir, v.Source, scratch.Dir, nil)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.copyOut(ctx, t, dir)
}

func (r *extractReader) copyOut(ctx context.Context, t VersionTable, dir string) ([]catalog.Part, error) {
	from := t.from
	if from == "" {
		from = r.qualified(t.Name)
	}
	run := &tableRun{session: r.session, dir: r.session.dir, progress: func(string, string, int64, int64, int64) {}}
	w := newWriter(run, TableSpec{Name: t.Name})
	started := time.Now()
	if err := w.Query(ctx, "SELECT * FROM "+from, 0); err != nil {
		return nil, fault.Wrap(err, fault.KindOf(err), "the table %s cannot be copied: %s", t.Name, sentence(err))
	}
	// Rows and columns of a file that is being rewritten may be of two moments.
	for _, f := range t.Files {
		if info, err := os.Stat(f); err != nil || info.ModTime().After(started) {
			return nil, fault.New(fault.Unavailable, "the file %s changed while it was read", filepath.Base(f)).After(time.Second)
		}
	}
	path := func(sha string) string {
		return filepath.ToSlash(filepath.Join(dir, TableFolder(t.Name), sha+parquetExt))
	}
	placed, err := finished(ctx, r.dataDir, path, w.out.files, w.out.rows)
	if err != nil {
		return nil, err
	}
	return partsOf(placed), place(placed, func(string) {})
}

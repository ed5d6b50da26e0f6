package extract

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

const (
	readerCatalog = "extract" // what DuckDB itself would call the file
	readerMemory  = 256 << 20
	walSuffix     = ".wal"
	copyTries     = 3
	copyPause     = 100 * time.Millisecond
)

// extractReader is an extract.duckdb that is attached read-only to a DuckDB of its own, so that a
// broken file, or a handle that somebody else has on it, harms nothing (trap E1).
type extractReader struct {
	dataDir, source string
	dir             string // of the source
	stamp           string
	session         *session
	aside           *lake.Scratch // of a copy; nil for none

	objects map[string]extractObject // by lower-case name
	columns map[string][]catalog.Column
}

// extractObject is a table or a view.
type extractObject struct {
	view bool
	sql  string
}

// openExtract attaches the extract of a source. scratchDir is where CopyOut works; empty for reading.
// confined is a session that read the same source before and is to be used, and is closed where it is
// of no use; nil for a new one.
func openExtract(ctx context.Context, dataDir, source, scratchDir string, confined *session) (*extractReader, error) {
	r, err := findExtract(dataDir, source)
	if err != nil {
		if confined != nil {
			confined.close(false)
		}
		return nil, err
	}
	if confined != nil {
		r.session = confined
		if err := r.attachFile(ctx, PointerPath(r.dataDir, source)); err == nil {
			return r, nil
		}
		r.close()
	}
	r.session = &session{dir: scratchDir, memory: readerMemory, threads: 1}
	if err := r.attach(ctx); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// findExtract finds the file, and attaches nothing.
func findExtract(dataDir, source string) (*extractReader, error) {
	dataDir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, fmt.Errorf("resolve the data directory: %w", err)
	}
	stamp, err := StampOf(dataDir, source)
	if err != nil {
		return nil, err
	}
	if stamp == "" {
		return nil, fault.New(fault.NotFound, "the source %s has no extract", source)
	}
	return &extractReader{dataDir: dataDir, source: source, dir: SourceDir(dataDir, source), stamp: stamp}, nil
}

func (r *extractReader) close() {
	r.session.close(false)
	if r.aside != nil {
		_ = r.aside.Close()
	}
}

func (r *extractReader) attach(ctx context.Context) error {
	path := PointerPath(r.dataDir, r.source)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return fault.Wrap(errors.Join(err, errors.New("not a regular file")), fault.Permanent, "the extract of %s is not a file", r.source)
	}
	if f, err := os.Open(path); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the extract of %s cannot be opened: check the permissions", r.source)
	} else if err := f.Close(); err != nil {
		return fmt.Errorf("close the extract: %w", err)
	}
	err := r.attachFile(ctx, path)
	if err != nil && strings.Contains(err.Error(), "set lock on file") {
		err = r.attachCopy(ctx, path)
	}
	if err != nil {
		if ctx.Err() != nil || fault.Is(err, fault.Unavailable) {
			return err
		}
		if newerFormat.MatchString(err.Error()) {
			return fault.Wrap(err, fault.Permanent, "the extract of %s was written by a newer DuckDB: write it with storage_compatibility_version = 'v1.0.0'", r.source)
		}
		return fault.Wrap(err, fault.Permanent, "the extract of %s cannot be read: %s", r.source, err)
	}
	return r.confine(ctx)
}

func (r *extractReader) attachFile(ctx context.Context, path string) error {
	return r.session.exec(ctx, "ATTACH "+lake.QuoteLiteral(path)+" AS "+readerCatalog+" (READ_ONLY)")
}

// attachCopy copies a file that a living program holds open, with its write-ahead log, and attaches
// the copy. A copy during which either changed is thrown away.
func (r *extractReader) attachCopy(ctx context.Context, path string) error {
	var err error
	if r.aside, err = newScratch(r.dataDir); err != nil {
		return err
	}
	copied := filepath.Join(r.aside.Dir, extractFile)
	for try := range copyTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(copyPause):
			}
		}
		before := pairStamp(path)
		err = errors.Join(copyFile(path, copied), copyFile(path+walSuffix, copied+walSuffix))
		if err != nil || pairStamp(path) != before {
			continue
		}
		if err = r.attachFile(ctx, copied); err == nil {
			return nil
		}
	}
	return fault.Wrap(err, fault.Unavailable, "another program is writing the extract of %s: it must write aside and rename", r.source)
}

func pairStamp(path string) string {
	var stamp string
	for _, p := range []string{path, path + walSuffix} {
		if info, err := os.Stat(p); err == nil {
			stamp += fileStamp(info) + "/"
		}
	}
	return stamp
}

// copyFile copies a file; one that is not there is removed from the target.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("copy: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// newerFormat is what DuckDB says of a file that a newer version wrote.
var newerFormat = regexp.MustCompile(`database file with version number \d+`)

// confine lets the views of the extract reach nothing but the folder of their source.
func (r *extractReader) confine(ctx context.Context) error {
	dirs := []string{r.dir + string(filepath.Separator)}
	if r.session.dir != "" {
		dirs = append(dirs, r.session.dir+string(filepath.Separator))
	}
	for _, s := range []string{
		"SET GLOBAL enable_external_file_cache = false", // other programs rewrite files in place
		"SET GLOBAL allowed_directories = " + lake.QuoteList(dirs),
		"SET GLOBAL enable_external_access = false",
	} {
		if err := r.session.exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (r *extractReader) qualified(name string) string {
	return lake.QuoteName(readerCatalog, "main", name)
}

// readObjects lists the tables and views.
func (r *extractReader) readObjects(ctx context.Context) error {
	r.objects = map[string]extractObject{}
	for _, kind := range []string{"table", "view"} {
		query := fmt.Sprintf("SELECT %s_name, coalesce(sql, '') FROM duckdb_%ss() WHERE database_name = '%s' AND schema_name = 'main'", kind, kind, readerCatalog)
		err := r.session.rows(ctx, query, func(scan func(...any) error) error {
			var name string
			object := extractObject{view: kind == "view"}
			if err := scan(&name, &object.sql); err != nil {
				return err
			}
			r.objects[strings.ToLower(name)] = object
			return nil
		})
		if err != nil {
			return fault.Wrap(err, fault.Permanent, "the extract of %s cannot be read: %s", r.source, err)
		}
	}
	return nil
}

// readColumns reads the columns that views and tables were made with. Where that fails, each table
// is asked for by itself.
func (r *extractReader) readColumns(ctx context.Context) {
	r.columns = map[string][]catalog.Column{}
	query := "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = '" + readerCatalog +
		"' AND schema_name = 'main' ORDER BY table_name, column_index"
	err := r.session.rows(ctx, query, func(scan func(...any) error) error {
		var table string
		var c catalog.Column
		if err := scan(&table, &c.Name, &c.Type); err != nil {
			return err
		}
		table = strings.ToLower(table)
		r.columns[table] = append(r.columns[table], c)
		return nil
	})
	if err != nil {
		r.columns = map[string][]catalog.Column{}
	}
}

// field is one column of a contract table: its name, and the type it is read as.
type field struct{ name, as string }

// contractRows reads a table of the contract, tolerating columns that are missing or of another
// type: they are read as NULL.
func (r *extractReader) contractRows(ctx context.Context, table string, fields []field, need int, each func(scan func(...any) error) error) error {
	has, err := columnsOf(ctx, r.session.conn, "SELECT * FROM "+r.qualified(table))
	if err != nil {
		return err
	}
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = "CAST(NULL AS " + f.as + ")"
		for _, c := range has {
			if strings.EqualFold(c.Name, f.name) {
				list[i] = "TRY_CAST(" + lake.QuoteIdent(c.Name) + " AS " + f.as + ")"
			}
		}
		if i < need && strings.HasPrefix(list[i], "CAST(NULL") {
			return fault.New(fault.Permanent, "%s has no column %s", table, f.name)
		}
	}
	return r.session.rows(ctx, "SELECT "+strings.Join(list, ", ")+" FROM "+r.qualified(table), each)
}

func (r *extractReader) readMeta(ctx context.Context) ([]catalog.Table, error) {
	if _, found := r.objects["_meta"]; !found {
		return nil, fault.New(fault.Permanent, "the extract of %s has no _meta table", r.source)
	}
	fallback := time.Now().UTC()
	if info, err := os.Stat(PointerPath(r.dataDir, r.source)); err == nil {
		fallback = info.ModTime().UTC()
	}
	fields := []field{
		{"table_name", "VARCHAR"}, {"description", "VARCHAR"}, {"rows", "BIGINT"}, {"size_bytes", "BIGINT"},
		{"extracted_at", "TIMESTAMP"}, {"query_mode", "VARCHAR"},
	}
	var tables []catalog.Table
	err := r.contractRows(ctx, "_meta", fields, 1, func(scan func(...any) error) error {
		var name, description, mode *string
		var rows, size *int64
		var at *time.Time
		if err := scan(&name, &description, &rows, &size, &at, &mode); err != nil {
			return err
		}
		t := catalog.Table{
			Name: orZero(name), Description: orZero(description), Rows: max(orZero(rows), 0), SizeBytes: max(orZero(size), 0),
			ExtractedAt: fallback, QueryMode: strings.ToLower(orZero(mode)),
		}
		if at != nil {
			t.ExtractedAt = at.UTC()
		}
		if t.QueryMode != catalog.ModeRemote && t.QueryMode != catalog.ModeMaterialized {
			t.QueryMode = catalog.ModeLocal
		}
		tables = append(tables, t)
		return nil
	})
	if err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "the _meta table of %s cannot be read: %s", r.source, sentence(err))
	}
	return tables, nil
}

func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func (r *extractReader) readTokens(ctx context.Context, v *Version) map[string]string {
	tokens := map[string]string{}
	if _, found := r.objects["_agnes"]; !found {
		return tokens
	}
	err := r.contractRows(ctx, "_agnes", []field{{"key", "VARCHAR"}, {"value", "VARCHAR"}}, 2, func(scan func(...any) error) error {
		var key, value *string
		if err := scan(&key, &value); err != nil {
			return err
		}
		tokens[orZero(key)] = orZero(value)
		return nil
	})
	if err != nil {
		v.Problems = append(v.Problems, *unreadable("_agnes cannot be read: %s", sentence(err)))
	}
	return tokens
}

func (r *extractReader) readRemotes(ctx context.Context, v *Version) []catalog.Remote {
	var remotes []catalog.Remote
	if _, found := r.objects["_remote_attach"]; !found {
		return nil
	}
	fields := []field{{"alias", "VARCHAR"}, {"extension", "VARCHAR"}, {"url", "VARCHAR"}, {"token_env", "VARCHAR"}}
	err := r.contractRows(ctx, "_remote_attach", fields, 3, func(scan func(...any) error) error {
		var alias, extension, url, env *string
		if err := scan(&alias, &extension, &url, &env); err != nil {
			return err
		}
		remotes = append(remotes, catalog.Remote{Alias: orZero(alias), Extension: orZero(extension), URL: orZero(url), TokenEnv: orZero(env)})
		return nil
	})
	if err != nil {
		v.Problems = append(v.Problems, *unreadable("_remote_attach cannot be read: %s", sentence(err)))
		return nil
	}
	return remotes
}

var hexDigest = regexp.MustCompile(`\A[0-9a-f]+\z`)

// readParts reads _parts. A row that does not keep the contract takes its table's parts away, which
// is then read through its view like one of another program.
func (r *extractReader) readParts(ctx context.Context, v *Version) map[string][]catalog.Part {
	parts := map[string][]catalog.Part{}
	if _, found := r.objects["_parts"]; !found {
		return parts
	}
	bad := map[string]bool{}
	fields := []field{
		{"table_name", "VARCHAR"}, {"path", "VARCHAR"}, {"sha256", "VARCHAR"}, {"md5", "VARCHAR"}, {"size_bytes", "BIGINT"}, {"rows", "BIGINT"},
	}
	err := r.contractRows(ctx, "_parts", fields, len(fields), func(scan func(...any) error) error {
		var table, path, sha, md5 *string
		var size, rows *int64
		if err := scan(&table, &path, &sha, &md5, &size, &rows); err != nil {
			return err
		}
		p := catalog.Part{SHA256: orZero(sha), MD5: orZero(md5), SizeBytes: orZero(size), Rows: orZero(rows)}
		var problem string
		p.Path, problem = r.relativePath(orZero(path))
		switch {
		case problem != "":
		case size == nil || rows == nil || len(p.SHA256) != 64 || !hexDigest.MatchString(p.SHA256) || len(p.MD5) != 32 || !hexDigest.MatchString(p.MD5):
			problem = "a row has no usable sha256, md5, size_bytes or rows"
		case filepath.Base(p.Path) != p.SHA256+parquetExt:
			problem = "a part is not named by its content"
		}
		if problem != "" && !bad[orZero(table)] {
			bad[orZero(table)] = true
			v.Problems = append(v.Problems, catalog.Problem{Code: catalog.ProblemUnreadable, Message: fmt.Sprintf("_parts of %q is not used: %s", orZero(table), problem)})
		}
		parts[orZero(table)] = append(parts[orZero(table)], p)
		return nil
	})
	if err != nil {
		v.Problems = append(v.Problems, *unreadable("_parts cannot be read: %s", sentence(err)))
		return map[string][]catalog.Part{}
	}
	for table := range bad {
		delete(parts, table)
	}
	return parts
}

// relativePath gives a path of _parts relative to the data directory. It may be written relative to
// the data directory, relative to the source's folder, or absolute, and never leaves that folder (D13).
func (r *extractReader) relativePath(p string) (rel, problem string) {
	file := filepath.FromSlash(p)
	inData := filepath.Join(extractsDir, r.source) + string(filepath.Separator)
	switch {
	case p == "" || strings.ContainsRune(p, 0):
		return "", "a path is empty"
	case filepath.IsAbs(file):
	case strings.HasPrefix(file, inData):
		file = filepath.Join(r.dataDir, file)
	default:
		file = filepath.Join(r.dir, file)
	}
	inside, err := filepath.Rel(r.dir, file)
	if err != nil || !filepath.IsLocal(inside) {
		return "", "a path leaves the folder of the source"
	}
	return filepath.ToSlash(filepath.Join(inData, inside)), ""
}

var quotedParquet = regexp.MustCompile(`'((?:[^']|'')*\.parquet)'`)

// filesOf lists the parquet files that a view names and that its source's folder has.
func (r *extractReader) filesOf(ctx context.Context, body string) []string {
	var files []string
	for _, m := range quotedParquet.FindAllStringSubmatch(body, -1) {
		pattern := strings.ReplaceAll(m[1], "''", "'")
		query := "SELECT file FROM glob(" + lake.QuoteLiteral(pattern) + ")"
		err := r.session.rows(ctx, query, func(scan func(...any) error) error {
			var file string
			if err := scan(&file); err != nil {
				return err
			}
			files = append(files, file)
			return nil
		})
		if err != nil {
			return nil
		}
	}
	return files
}

// viewBody takes the SELECT out of DuckDB's CREATE VIEW; "" where it cannot be found.
func viewBody(sql string) string {
	depth, columns := 0, ""
	for i := 0; i < len(sql); {
		switch c := sql[i]; {
		case c == '"' || c == '\'':
			i += quotedEnd(sql[i:])
			continue
		case c == '(':
			if depth == 0 {
				columns = sql[i:]
			}
			depth++
		case c == ')':
			if depth--; depth == 0 {
				columns = columns[:len(columns)-len(sql[i+1:])]
			}
		case depth == 0 && len(sql) > i+4 && strings.EqualFold(sql[i:i+4], " AS "):
			body := strings.TrimRight(strings.TrimSpace(sql[i+4:]), ";")
			if columns != "" {
				return "SELECT * FROM (" + body + ") AS v" + columns
			}
			return body
		}
		i++
	}
	return ""
}

func readParquet(files []string) string {
	return "read_parquet(" + lake.QuoteList(literalGlobs(files)) + ")"
}

// sentence is what a user may read of an error: a fault's message, or what DuckDB said, scrubbed.
func sentence(err error) string {
	var f *fault.Error
	var e *lake.Error
	switch {
	case lake.DiskFull(err):
		return fullDisk
	case errors.As(err, &f):
		return f.Message
	case errors.As(err, &e):
		return e.Error()
	}
	return fault.Message(err)
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// newScratch makes scratch space for half-finished files.
func newScratch(dataDir string) (*lake.Scratch, error) {
	return lake.NewScratch(scratchRoot(dataDir), scratchOwner)
}

func scratchRoot(dataDir string) string { return filepath.Join(dataDir, "tmp") }

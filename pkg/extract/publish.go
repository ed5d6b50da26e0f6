package extract

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

const newCatalog = "agnes_new"

// publish builds the extract.duckdb of a state in scratch and swaps it in: what stood before stands
// whole until the rename, and the new one after it.
func publish(ctx context.Context, dataDir, source, scratch string, w *warm, s *state, step func(string)) error {
	file := filepath.Join(scratch, extractFile)
	if err := buildExtract(ctx, w, dataDir, file, s); err != nil {
		return fmt.Errorf("build the extract of %s: %w", source, err)
	}
	if _, err := os.Stat(file + walSuffix); err == nil {
		return fault.New(fault.Internal, "the new extract of %s was left with a write-ahead log", source)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		return fmt.Errorf("publish the extract of %s: %w", source, err)
	}
	step("swap")
	if err := lake.SwapFile(file, PointerPath(dataDir, source)); err != nil {
		return fmt.Errorf("publish the extract of %s: %w", source, err)
	}
	step("swapped")
	return nil
}

func buildExtract(ctx context.Context, w *warm, dataDir, file string, s *state) error {
	instance, err := w.take(ctx, readerMemory)
	if err != nil {
		return err
	}
	b := builder{ctx: ctx, conn: instance.conn, dataDir: dataDir}
	defer func() { w.give(instance, b.clean) }()
	b.exec("ATTACH " + lake.QuoteLiteral(file) + " AS " + newCatalog)
	b.stubs(s)
	b.exec("USE " + newCatalog)
	b.exec(quickSettings)
	b.exec("BEGIN")
	b.contract(s)
	b.insert("_meta", 6, metaRows(s))
	b.parts(s)
	b.insert("_agnes", 2, tokenRows(s))
	for _, name := range s.names() {
		b.view(s.entries[name])
	}
	b.exec("COMMIT")
	b.exec("CHECKPOINT " + newCatalog)
	b.exec("USE memory")
	b.exec("DETACH " + newCatalog)
	b.exec(usualSettings)
	b.clean = b.err == nil && !b.stubbed
	return b.err
}

// For a file of some hundred rows that is written once: the commit writes the file itself, where it
// would else write a log first and the file thereafter, and no compression is tried out.
const (
	quickSettings = "SET GLOBAL checkpoint_threshold = '0B'; SET GLOBAL force_compression = 'uncompressed'"
	usualSettings = "RESET GLOBAL checkpoint_threshold; RESET GLOBAL force_compression"
)

// builder writes one extract.duckdb; after an error it does nothing more.
type builder struct {
	ctx     context.Context //nolint:containedctx // lives as long as one call of buildExtract
	conn    *sql.Conn
	dataDir string
	err     error
	stubbed bool // catalogs stay attached
	clean   bool // nothing is left in the instance
}

func (b *builder) exec(statement string, args ...any) {
	if b.err != nil {
		return
	}
	if _, err := b.conn.ExecContext(b.ctx, statement, args...); err != nil {
		b.err = ended(b.ctx, err)
	}
}

// stubs attaches an empty catalog for each remote one, so that views over it can be made without it.
func (b *builder) stubs(s *state) {
	aliases := map[string]bool{}
	schemas := map[string]bool{}
	tables := map[string]bool{}
	for _, name := range s.names() {
		e := s.entries[name]
		r := e.remote
		if e.damaged || r.alias == "" || tables[strings.ToLower(lake.QuoteName(r.alias, r.schema, r.table))] {
			continue
		}
		if !aliases[strings.ToLower(r.alias)] {
			aliases[strings.ToLower(r.alias)] = true
			b.stubbed = true
			b.exec("ATTACH ':memory:' AS " + lake.QuoteIdent(r.alias))
		}
		if schema := strings.ToLower(lake.QuoteName(r.alias, r.schema)); !schemas[schema] {
			schemas[schema] = true
			b.exec("CREATE SCHEMA IF NOT EXISTS " + lake.QuoteName(r.alias, r.schema))
		}
		columns := make([]string, len(e.Columns))
		for i, c := range e.Columns {
			columns[i] = lake.QuoteIdent(c.Name) + " " + c.Type
		}
		tables[strings.ToLower(lake.QuoteName(r.alias, r.schema, r.table))] = true
		b.exec("CREATE TABLE " + lake.QuoteName(r.alias, r.schema, r.table) + " (" + strings.Join(columns, ", ") + ")")
	}
}

// contract makes the tables that the contract names.
func (b *builder) contract(s *state) {
	b.exec("CREATE TABLE _meta (table_name VARCHAR NOT NULL, description VARCHAR, rows BIGINT, size_bytes BIGINT, extracted_at TIMESTAMP, query_mode VARCHAR DEFAULT 'local')")
	b.exec("CREATE TABLE _parts (table_name VARCHAR NOT NULL, path VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, md5 VARCHAR NOT NULL, size_bytes BIGINT NOT NULL, rows BIGINT NOT NULL)")
	b.exec("CREATE TABLE _agnes (key VARCHAR NOT NULL, value VARCHAR NOT NULL)")
	if len(s.remotes) > 0 {
		b.exec("CREATE TABLE _remote_attach (alias VARCHAR, extension VARCHAR, url VARCHAR, token_env VARCHAR)")
	}
	var remotes [][]any
	for _, r := range s.remotes {
		remotes = append(remotes, []any{r.Alias, r.Extension, r.URL, r.TokenEnv})
	}
	b.insert("_remote_attach", 4, remotes)
}

// rowsAtOnce is how many rows one statement writes: a source may have thousands of parts, and each
// statement costs as much as a hundred rows.
const rowsAtOnce = 500

// insert writes rows of so many columns.
func (b *builder) insert(table string, columns int, rows [][]any) {
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	for some := range slices.Chunk(rows, rowsAtOnce) {
		b.exec("INSERT INTO "+table+" VALUES "+row+strings.Repeat(", "+row, len(some)-1), slices.Concat(some...)...)
	}
}

func metaRows(s *state) (rows [][]any) {
	for _, name := range s.names() {
		e := s.entries[name]
		rows = append(rows, []any{e.Name, e.Description, e.Rows, e.SizeBytes, e.ExtractedAt.UTC(), e.QueryMode})
	}
	return rows
}

// parts lists the parts of all tables, of each in their order. There may be thousands: as six lists
// they are written five times as fast as by as many values.
func (b *builder) parts(s *state) {
	var tables, paths, sha256, md5 []string
	var sizes, rows []int64
	for _, name := range s.names() {
		for _, p := range s.entries[name].Parts {
			tables, paths = append(tables, name), append(paths, p.Path)
			sha256, md5 = append(sha256, p.SHA256), append(md5, p.MD5)
			sizes, rows = append(sizes, p.SizeBytes), append(rows, p.Rows)
		}
	}
	if len(tables) == 0 {
		return
	}
	text, number := "unnest(CAST(? AS VARCHAR[]))", "unnest(CAST(? AS BIGINT[]))"
	b.exec("INSERT INTO _parts SELECT "+strings.Join([]string{text, text, text, text, number, number}, ", "), tables, paths, sha256, md5, sizes, rows)
}

func tokenRows(s *state) (rows [][]any) {
	add := func(key, value string) {
		if value != "" {
			rows = append(rows, []any{key, value})
		}
	}
	add(keyFormat, formatValue)
	add(keyDataDir, s.dataDir)
	for _, name := range s.names() {
		e := s.entries[name]
		add(keyToken+e.Name, e.token)
		add(keySpec+e.Name, e.spec)
		add(keyCompanion+e.Name, e.parent)
	}
	return rows
}

// view shows a table by its name.
func (b *builder) view(e *entry) {
	files := make([]string, len(e.Parts))
	for i, p := range e.Parts {
		files[i] = filepath.Join(b.dataDir, filepath.FromSlash(p.Path))
	}
	switch {
	case e.damaged:
	case e.RemoteSQL != "":
		b.exec("CREATE VIEW " + lake.QuoteIdent(e.Name) + " AS " + e.RemoteSQL)
	default:
		b.exec("CREATE VIEW " + lake.QuoteIdent(e.Name) + " AS SELECT * FROM " + readParquet(files))
	}
}

func sortRemotes(remotes []catalog.Remote) {
	sort.Slice(remotes, func(i, j int) bool { return remotes[i].Alias < remotes[j].Alias })
}

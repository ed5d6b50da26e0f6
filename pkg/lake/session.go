package lake

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// View is one table as a locked session shows it.
type View struct {
	// Schema and Name are those of the view: a source and a table of it.
	Schema, Name string
	// Aliases are unqualified names that stand for the table too.
	Aliases []string
	// Columns and their types, whatever the files say; without any, those of the files.
	Columns []catalog.Column
	// Files are the absolute paths of the parts. Without any, the table is empty.
	Files []string
	// Remote tells that the table stays where it lives: without Files, a query over it gets an error that
	// IsRemote knows.
	Remote bool
	// Fetched are the columns that the files of a remote table hold; each other one gives an error that
	// IsRemote knows to whoever reads it.
	Fetched []string
	// Problem, where it is not empty, is the error that a query over the table gets.
	Problem string
	// Deferred shows the names and types of Columns and opens no file, which costs a tenth: for
	// statements that ask what there is. Whoever reads the view gets an error that IsDeferred knows.
	// It needs Columns and means nothing without them.
	Deferred bool
	// Forms leaves out the aliases or the qualified name where a session needs one of them alone;
	// zero means both.
	Forms Forms
}

// names are those under which the view is made, quoted.
func (v View) names() []string {
	var names []string
	if v.Forms == 0 || v.Forms&FormQualified != 0 {
		names = append(names, QuoteName(v.Schema, v.Name))
	}
	if v.Forms == 0 || v.Forms&FormBare != 0 {
		for _, a := range v.Aliases {
			names = append(names, QuoteName("main", a))
		}
	}
	return names
}

// deferred tells whether the view is made without its files.
func (v View) deferred() bool {
	return v.Deferred && v.Problem == "" && len(v.Columns) > 0 && len(v.Files) > 0
}

// deferredMessage is the error of a view that is deferred.
const deferredMessage = "this table is named here and not opened"

// IsDeferred tells whether a query failed because it reads a view that is Deferred: it needs a session
// where the view is not.
func IsDeferred(err error) bool {
	var e *Error
	return errors.As(err, &e) && strings.Contains(e.Message, deferredMessage)
}

// SessionOptions say what a session shows, and within which limits.
type SessionOptions struct {
	Views []View
	// MemoryBytes bounds the session over all that runs in it at once; zero means DefaultMemoryBytes.
	MemoryBytes int64
	// Threads that work for the session; zero means one per core.
	Threads int
	// TempDir is where to spill; without one, nothing is spilled.
	TempDir string
	// TempBytes bounds what is spilled; zero means DefaultTempBytes.
	TempBytes int64
	// Output is a file that Copy may write; empty for none.
	Output string
	// Plan makes a session in which statements are planned: remote tables are empty stand-ins.
	Plan bool
}

// Session is an in-memory DuckDB that shows its views and reaches their files, and nothing else: no
// other file, no network, no extension, no setting. It is safe for concurrent use, and each query has
// a connection of its own.
//
// The locks permit writing to the files of the views; that no admitted statement writes is the
// gate's work, and that nobody could is the file system's, where the serving user may not write.
type Session struct {
	instance *instance
	threads  int
	plan     bool
	output   string
	problems map[string]error
}

// OpenSession opens a session. A view that cannot be made gives its error to the queries that use it
// and to Problems, and hides no other.
func OpenSession(ctx context.Context, o SessionOptions) (*Session, error) {
	s, err := OpenBlank(o)
	if err != nil {
		return nil, err
	}
	if err := s.Show(ctx, o.Views); err != nil {
		return nil, err
	}
	return s, nil
}

// OpenBlank opens a session that shows nothing yet and is not locked, whatever the views of o: what
// takes the time of opening is done before it is known for whom. Nothing of a user may reach it before
// Show.
func OpenBlank(o SessionOptions) (*Session, error) {
	if o.Threads <= 0 {
		o.Threads = runtime.NumCPU()
	}
	// Views are made by one thread: waking others takes longer than what they could take off it.
	limits := Options{MemoryBytes: o.MemoryBytes, Threads: 1, TempDir: o.TempDir, TempBytes: o.TempBytes}
	setup, err := limits.statements()
	if err != nil {
		return nil, err
	}
	setup = append(setup,
		"SET GLOBAL parquet_metadata_cache = true", // a part never changes
		"SET GLOBAL enable_external_file_cache = false",
		"SET GLOBAL allow_community_extensions = false",
		"SET GLOBAL allow_persistent_secrets = false",
	)
	if o.Plan {
		setup = append(setup, planSettings)
	}
	i, err := openInstance(setup)
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	return &Session{instance: i, threads: o.Threads, plan: o.Plan, output: o.Output, problems: make(map[string]error)}, nil
}

// Show gives a blank session its views, as OpenSession does, and locks it. After an error the session
// is closed.
func (s *Session) Show(ctx context.Context, views []View) error {
	if err := s.fill(ctx, views); err != nil {
		s.Close()
		return fmt.Errorf("open session: %w", err)
	}
	return nil
}

// fill makes the views and locks the session.
func (s *Session) fill(ctx context.Context, views []View) error {
	conn, err := s.instance.connect()
	if err != nil {
		return err
	}
	defer mapping.Disconnect(&conn)
	defer interruptOn(ctx, conn)()
	if err := s.make(ctx, conn, views); err != nil {
		return err
	}
	var files []string
	if s.output != "" {
		files = append(files, s.output)
	}
	for _, v := range views {
		if v.deferred() {
			continue
		}
		for _, f := range v.Files {
			files = append(files, f)
			if pattern := LiteralPath(f); pattern != f {
				files = append(files, pattern) // DuckDB asks for the pattern, and then for what it matches
			}
		}
	}
	return execute(conn, strings.Join([]string{
		"SET GLOBAL threads = " + strconv.Itoa(s.threads),
		"SET GLOBAL allowed_paths = " + QuoteList(files),
		"SET GLOBAL enable_external_access = false",
		"SET GLOBAL lock_configuration = true",
	}, ";\n"))
}

// make makes all views by one text in one transaction, which takes half of the time of one after the
// other; that is what happens where one of them cannot be made.
func (s *Session) make(ctx context.Context, conn mapping.Connection, views []View) error {
	// No plan is worth its time here; this is a setting of the connection, which ends with it.
	all := []string{"PRAGMA disable_optimizer", "BEGIN"}
	if s.plan {
		all = append(all, standInTables(views)...)
	}
	schemas := make(map[string]bool)
	for _, v := range views {
		if folded := strings.ToLower(v.Schema); !schemas[folded] {
			schemas[folded] = true
			all = append(all, "CREATE SCHEMA IF NOT EXISTS "+QuoteIdent(v.Schema))
		}
	}
	made := len(all)
	whole := true
	for i, v := range views {
		definition, err := s.definition(v, i)
		whole = whole && err == nil
		for _, name := range v.names() {
			all = append(all, "CREATE VIEW "+name+" AS "+definition)
		}
	}
	if whole && execute(conn, strings.Join(append(all, "COMMIT"), ";\n")) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_ = execute(conn, "ROLLBACK")           // where it began
	for _, statement := range all[2:made] { // a statement that makes a schema or a stand-in
		if err := execute(conn, statement); err != nil {
			return err
		}
	}
	for i, v := range views {
		if err := s.add(conn, v, i); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s.problems[catalog.TableID(v.Schema, v.Name)] = err
		}
	}
	return nil
}

// add makes one view and its aliases. Where that fails, the view is one that gives the error.
func (s *Session) add(conn mapping.Connection, v View, at int) error {
	definition, failed := s.definition(v, at)
	for i, name := range v.names() {
		if failed == nil {
			failed = execute(conn, "CREATE VIEW "+name+" AS "+definition)
		}
		if failed == nil {
			continue
		}
		message := "the table " + catalog.TableID(v.Schema, v.Name) + " cannot be read at the moment"
		broken := execute(conn, "CREATE VIEW "+name+" AS "+v.broken(message))
		if broken != nil { // a type that DuckDB does not know
			broken = execute(conn, "CREATE VIEW "+name+" AS "+View{}.broken(message))
		}
		if broken != nil && i == 0 {
			return failed // another view has the name
		}
	}
	return failed
}

// definition is that of the view at a place among those of the session.
func (s *Session) definition(v View, at int) (string, error) {
	definition, err := v.definition()
	if err == nil && s.plan && v.Remote && v.Problem == "" && len(v.Columns) > 0 {
		return v.overStandIn(at), nil
	}
	return definition, err
}

func (v View) definition() (string, error) {
	for _, c := range v.Columns {
		if err := validType(c.Type); err != nil {
			return "", fmt.Errorf("column %q: %w", c.Name, err)
		}
	}
	switch {
	case v.Problem != "":
		return v.broken(v.Problem), nil
	case v.Remote && len(v.Files) == 0:
		return v.broken(remoteMessage), nil
	case v.deferred():
		return v.broken(deferredMessage), nil
	case len(v.Files) > 0:
		files := make([]string, len(v.Files))
		for i, f := range v.Files {
			files[i] = LiteralPath(f)
		}
		return "SELECT " + v.list(v.held) +
			" FROM read_parquet(" + QuoteList(files) + ", hive_partitioning = false, union_by_name = false, filename = false)", nil
	case len(v.Columns) > 0:
		return "SELECT " + v.list(func(catalog.Column) string { return "NULL" }) + " WHERE false", nil
	}
	return "", fault.New(fault.Internal, "the table has neither columns nor files")
}

// held is what the files have of a column.
func (v View) held(c catalog.Column) string {
	if v.Remote && !slices.Contains(v.Fetched, c.Name) {
		return "error(" + QuoteLiteral(missingMessage) + ")"
	}
	return QuoteIdent(c.Name)
}

// broken is a definition that gives the message to whoever reads it.
func (v View) broken(message string) string {
	columns := "NULL"
	if len(v.Columns) > 0 && !slices.ContainsFunc(v.Columns, func(c catalog.Column) bool { return validType(c.Type) != nil }) {
		columns = v.list(func(catalog.Column) string { return "NULL" })
	}
	return "SELECT " + columns + " FROM (SELECT error(" + QuoteLiteral(message) + ") AS failed) WHERE failed IS NOT NULL"
}

// list casts what value gives for each column to the column's type.
func (v View) list(value func(catalog.Column) string) string {
	if len(v.Columns) == 0 {
		return "*"
	}
	columns := make([]string, len(v.Columns))
	for i, c := range v.Columns {
		columns[i] = "CAST(" + value(c) + " AS " + c.Type + ") AS " + QuoteIdent(c.Name)
	}
	return strings.Join(columns, ", ")
}

// validType tells why text cannot stand for a type in a CAST. Types come from files and programs
// that promise nothing: one must not end the CAST and begin something else.
func validType(text string) error {
	depth, tokens := 0, 0
	for lex := (lexer{sql: text}); ; tokens++ {
		t, ok := lex.next()
		if !ok {
			break
		}
		switch word := text[t.start:t.end]; {
		case t.kind == tokenUnclosed:
			return fault.New(fault.Internal, "%q is not a type", text)
		case t.kind != tokenSymbol:
		case word == "(":
			depth++
		case word == ")":
			depth--
		case strings.IndexByte("[],:.", word[0]) < 0:
			return fault.New(fault.Internal, "%q is not a type", text)
		}
		if depth < 0 {
			return fault.New(fault.Internal, "%q is not a type", text)
		}
	}
	if depth != 0 || tokens == 0 || strings.Contains(text, "--") || strings.Contains(text, "/*") || strings.ContainsRune(text, 0) {
		return fault.New(fault.Internal, "%q is not a type", text)
	}
	return nil
}

// Problems are the views that cannot be read, by "schema.name".
func (s *Session) Problems() map[string]error { return s.problems }

// Query runs one statement that only reads, and streams its answer. The error is fault.Invalid with a
// sentence for the user where the statement is not one, and an Error where DuckDB refused it.
func (s *Session) Query(ctx context.Context, sql string) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	conn, err := s.instance.connect()
	if err != nil {
		return nil, err
	}
	unwatch := interruptOn(ctx, conn)
	release := func() {
		unwatch()
		mapping.Disconnect(&conn)
	}
	statement, err := admit(conn, sql)
	if err != nil {
		release()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	return stream(ctx, statement, release)
}

// Copy runs one statement that only reads and writes its answer, at most limit rows where that is above zero, into the
// parquet file SessionOptions.Output. It tells how many rows that has. Errors are those of Query.
func (s *Session) Copy(ctx context.Context, sql string, limit int64) (rows int64, err error) {
	conn, err := s.instance.connect()
	if err != nil {
		return 0, err
	}
	defer mapping.Disconnect(&conn)
	defer interruptOn(ctx, conn)()
	if rows, err = s.copy(conn, sql, limit); err != nil && ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return rows, err
}

func (s *Session) copy(conn mapping.Connection, sql string, limit int64) (int64, error) {
	read, err := parseRead(sql, 0)
	if err != nil {
		return 0, err
	}
	if read.explain != "" {
		return 0, fault.New(fault.Invalid, "the plan of a statement is no table")
	}
	statement, err := admit(conn, sql)
	if err != nil {
		return 0, err
	}
	mapping.DestroyPrepare(&statement)
	query := "SELECT * FROM (\n" + read.query + "\n) AS q"
	if limit > 0 {
		query += " LIMIT " + strconv.FormatInt(limit, 10)
	}
	count, err := texts(conn, "COPY ("+query+") TO "+QuoteLiteral(s.output)+" ("+ParquetFormat+", USE_TMP_FILE false)")
	if err != nil {
		return 0, err
	}
	if len(count) != 1 {
		return 0, fault.New(fault.Internal, "DuckDB did not tell what it wrote")
	}
	return strconv.ParseInt(count[0], 10, 64)
}

// Close closes the session. Results that are still open keep what they need.
func (s *Session) Close() { s.instance.close() }
